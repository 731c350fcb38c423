//! Why sockets do not come up.

/// Why the sockets did not come up. Nothing is bound then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("this libzmq has no CURVE: build with the workspace's own zmq-sys")]
    NoCurve,
    #[error("admission control failed its self-test ({0}): nothing was bound; report this")]
    SelfTest(&'static str),
    #[error("cannot listen on {endpoint} ({source}): free the port or choose another address")]
    Bind {
        endpoint: String,
        source: std::io::Error,
    },
    #[error("ZeroMQ refused {what} ({source}): check the limit on open files")]
    Zmq {
        what: &'static str,
        source: zmq::Error,
    },
    #[error("the sockets cannot be waited for ({0}): check the limit on open files")]
    Wait(std::io::Error),
    #[error("the socket thread could not be started ({0}): check the limit on threads")]
    Spawn(std::io::Error),
    #[error("the socket thread ended while it started: see the log above")]
    Died,
}

impl Error {
    pub(super) fn zmq(what: &'static str, source: zmq::Error) -> Self {
        Self::Zmq { what, source }
    }
}
