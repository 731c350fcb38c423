//! The library that was built is the one that is needed: libzmq 4.3.5 with CURVE.

use std::ffi::CString;

#[test]
fn libzmq_has_curve() {
    let curve = CString::new("curve").expect("no zero byte inside");
    assert_eq!(unsafe { zmq_sys::zmq_has(curve.as_ptr()) }, 1);
}

#[test]
fn libzmq_is_the_bundled_release() {
    let (mut major, mut minor, mut patch) = (0, 0, 0);
    unsafe { zmq_sys::zmq_version(&mut major, &mut minor, &mut patch) };
    assert_eq!((major, minor, patch), (4, 3, 5));
}
