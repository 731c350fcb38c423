//! What crate `zmq` 0.10 needs of `zmq-sys` 0.12, over a libzmq 4.3.5 built **with CURVE**.
//!
//! The published `zmq-sys` builds libzmq 4.3.4 without libsodium, so that
//! `zmq::has("curve")` is false and no link can be encrypted; the workspace puts this crate
//! in its place by `[patch.crates-io]`. `build.rs` does the difference: libsodium comes
//! from `libsodium-sys-stable` (source inside the package), libzmq from `zeromq-src`.
//!
//! The declarations in `ffi.rs` and `errno.rs` are the generated bindings of
//! <https://github.com/erickt/rust-zmq> (`zmq-sys` 0.12.0, copyright Erick Tryzelaar, MIT or
//! Apache-2.0 at choice), cut to what is named there; that licence is `LICENSE-MIT` beside
//! this crate. Unix only.

// Only for its native library, which libzmq calls.
use libsodium_sys as _;

pub mod errno;

#[allow(non_camel_case_types)]
mod ffi;

pub use ffi::*;
pub use std::os::unix::io::RawFd;
