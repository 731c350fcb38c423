//! Builds libzmq 4.3.5 from source against the libsodium that `libsodium-sys-stable`
//! has built, so that CURVE is always there: upstream's `zmq-sys` builds without it.

use std::env;
use std::path::PathBuf;

use zeromq_src::LibLocation;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=DEP_SODIUM_LIB");
    println!("cargo:rerun-if-env-changed=DEP_SODIUM_INCLUDE");
    let sodium = LibLocation::new(sodium("DEP_SODIUM_LIB"), sodium("DEP_SODIUM_INCLUDE"));
    zeromq_src::Build::new()
        .with_libsodium(Some(sodium))
        .build();
}

/// A folder that the build of libsodium announced. It is not announced when libsodium
/// is taken from elsewhere; without it libzmq would come out without CURVE, so stop.
fn sodium(name: &str) -> PathBuf {
    match env::var_os(name) {
        Some(folder) => PathBuf::from(folder),
        None => panic!(
            "{name} is not set: unset SODIUM_LIB_DIR, so that libsodium is built from source"
        ),
    }
}
