//! A listening socket with its gate: while too many connections stand there that have not
//! shaken hands, the kernel lets no further one come.
//!
//! libzmq takes every connection at once and bounds neither their number nor their memory: a
//! thousand strangers without a word would use up the descriptors of the whole process. It
//! can neither pause a listener nor end a connection, and taking back a bind ends all of
//! them, members' too. So the gate works below libzmq: a filter on the listening descriptor
//! drops whatever would begin a connection. Established ones have their own descriptors and
//! feel nothing; who is dropped tries again after a second, as TCP does.

use std::io;
use std::os::fd::RawFd;
use std::time::Instant;

use super::counters::{Counters, count};
use super::crowd::{Arrival, Crowd};
use super::monitored::Monitored;

/// How many may be connected to one socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Without having shaken hands.
    pub unfinished: usize,
    /// At all.
    pub open: usize,
}

impl Bounds {
    /// For one of the three sockets of the mesh: of the descriptors of this process at most
    /// three sixteenths for strangers, and three fifths for everybody.
    pub fn of_this_process() -> Self {
        use rustix::process::{Resource, getrlimit};
        let files = getrlimit(Resource::Nofile).current;
        Self::within(files.map(|files| usize::try_from(files).unwrap_or(usize::MAX)))
    }

    fn within(files: Option<usize>) -> Self {
        let files = files.unwrap_or(usize::MAX);
        Self {
            unfinished: (files / 16).clamp(16, 128),
            open: files / 5,
        }
    }

    /// For a socket before which somebody else keeps watch.
    pub fn none() -> Self {
        Self {
            unfinished: usize::MAX,
            open: usize::MAX,
        }
    }
}

/// A socket that listens, and whom it lets come.
pub struct Gate {
    watched: Monitored,
    crowd: Crowd,
    bounds: Bounds,
    /// Of the socket that listens, once it does. libzmq keeps it open as long as the socket,
    /// since nothing here takes a bind back.
    fd: Option<RawFd>,
    shut: bool,
}

impl Gate {
    /// `socket` has yet to bind. `number` is used once in a context.
    pub fn new(
        context: &zmq::Context,
        socket: zmq::Socket,
        number: u64,
        bounds: Bounds,
    ) -> zmq::Result<Self> {
        Ok(Self {
            watched: Monitored::listening(context, socket, number)?,
            crowd: Crowd::default(),
            bounds,
            fd: None,
            shut: false,
        })
    }

    pub fn socket(&self) -> &zmq::Socket {
        &self.watched.socket
    }

    /// Where it tells of connections, to be waited for and followed by [`Gate::look`].
    pub fn events(&self) -> &zmq::Socket {
        &self.watched.events
    }

    /// Sees who came and who left, and shuts or opens. True when it has just been shut; an
    /// error where the system has no such filter.
    pub fn look(&mut self, now: Instant, counters: &Counters) -> io::Result<bool> {
        let Self {
            watched, crowd, fd, ..
        } = self;
        for arrival in watched.arrivals() {
            if let Arrival::Listens(at) = arrival {
                *fd = Some(at);
            }
            if crowd.see(arrival, now) {
                count(&counters.unshaken);
            }
        }
        crowd.age(now);
        let (unfinished, open) = (crowd.unfinished(), crowd.open());
        let Bounds {
            unfinished: few,
            open: most,
        } = self.bounds;
        if !self.shut && (unfinished > few || open > most) {
            // Before the try: where it fails it is not tried with each look.
            self.shut = true;
            self.fd.map_or(Ok(()), filter::shut)?;
            count(&counters.gate_shut);
            return Ok(true);
        }
        if self.shut && unfinished <= few / 2 && open <= most {
            // Before the try here too: where no filter could be set there is none to take away.
            self.shut = false;
            self.fd.map_or(Ok(()), filter::open)?;
        }
        Ok(false)
    }
}

/// The filter on a listening descriptor.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod filter {
    use std::io;
    use std::os::fd::RawFd;

    /// `ret #0`: of no packet a single byte is taken.
    const NOTHING: libc::sock_filter = libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: 0,
    };

    pub fn shut(fd: RawFd) -> io::Result<()> {
        let mut program = [NOTHING];
        let program = libc::sock_fprog {
            len: 1,
            filter: program.as_mut_ptr(),
        };
        set(fd, libc::SO_ATTACH_FILTER, &program)
    }

    pub fn open(fd: RawFd) -> io::Result<()> {
        set(fd, libc::SO_DETACH_FILTER, &0_i32)
    }

    fn set<T>(fd: RawFd, option: libc::c_int, value: &T) -> io::Result<()> {
        // It is a few bytes long, whatever it is.
        let length = size_of::<T>() as libc::socklen_t;
        let value = std::ptr::from_ref(value).cast();
        // SAFETY: the kernel reads `length` bytes of `value`, and the program it may point
        // to, before the call returns; a descriptor that is none of a socket is an error.
        #[allow(unsafe_code)]
        let done = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, value, length) };
        if done == 0 {
            return Ok(());
        }
        Err(io::Error::last_os_error())
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod filter {
    use std::io;
    use std::os::fd::RawFd;

    pub fn shut(_: RawFd) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn open(_: RawFd) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_few_descriptors_keeps_most_of_them_for_itself_and_its_members() {
        let few = Bounds::within(Some(1024));
        assert_eq!((few.unfinished, few.open), (64, 204));
        assert_eq!(Bounds::within(Some(100)).unfinished, 16);
        assert_eq!(Bounds::within(None).unfinished, 128);
    }
}
