//! Which sockets have something to read: one `epoll` over the descriptors by which libzmq
//! says so.
//!
//! libzmq's own poll makes a system call for every socket each time, and an agent of thirty
//! has some forty. Such a descriptor tells of a change once; any call on its socket may take
//! the notice away, and it comes again only after the socket was read empty (ZMQ_FD in
//! zmq_getsockopt(3)). So whoever leaves something in a socket, sends on one that is also
//! read, or changes its options asks for another look at it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::inward::Which;
use super::keys::Key;

/// Notices taken from the kernel at once; the rest comes with the next wait.
const EVENTS_MAX: usize = 64;
/// No descriptor has this number.
const WAKE: Token = Token(usize::MAX);

/// What can be read. Of the links, those to parents come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Wake,
    Zap,
    Subscriber,
    Dealer(Key),
    Router,
    Door,
    /// Who comes to a listening socket, and who leaves.
    Gate(Which),
    Hears(Key),
    Sibling(Key),
    Question(u64),
}

/// The descriptors that are waited for, and whose they are.
#[derive(Debug)]
pub struct Readiness {
    poll: Poll,
    events: Events,
    sources: BTreeMap<RawFd, Source>,
    again: BTreeSet<Source>,
}

impl Readiness {
    /// Nothing but a way to end the wait from another thread.
    pub fn new() -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let readiness = Self {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            sources: BTreeMap::new(),
            again: BTreeSet::new(),
        };
        Ok((readiness, waker))
    }

    /// Waits for these sockets from now on, and for no others. To be called after any was
    /// made: a closed one leaves by itself, since the kernel forgets its descriptor. Each is
    /// looked at once, for what came before. One that cannot be waited for keeps none of the
    /// others from it; the error is that of the last such.
    pub fn watch<'a>(
        &mut self,
        sockets: impl Iterator<Item = (Source, &'a zmq::Socket)>,
    ) -> io::Result<()> {
        self.sources.clear();
        let mut all = Ok(());
        for (source, socket) in sockets {
            self.again.insert(source);
            if let Err(why) = self.watch_one(source, socket) {
                all = Err(why);
            }
        }
        all
    }

    fn watch_one(&mut self, source: Source, socket: &zmq::Socket) -> io::Result<()> {
        let fd = socket.get_fd().map_err(io::Error::other)?;
        self.sources.insert(fd, source);
        let token = Token(usize::try_from(fd).map_err(io::Error::other)?);
        let registry = self.poll.registry();
        match registry.register(&mut SourceFd(&fd), token, Interest::READABLE) {
            // It is the same socket as before: another could not have its number yet.
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            registered => registered,
        }
    }

    /// Reports `source` with the next wait, which then does not wait.
    pub fn look_again(&mut self, source: Source) {
        self.again.insert(source);
    }

    /// What has something to read, or may have; empty when the time is over.
    pub fn wait(&mut self, timeout: Duration) -> BTreeSet<Source> {
        let mut ready = std::mem::take(&mut self.again);
        let timeout = if ready.is_empty() {
            timeout
        } else {
            Duration::ZERO
        };
        if self.poll.poll(&mut self.events, Some(timeout)).is_err() {
            return ready; // a signal came in between
        }
        for event in &self.events {
            match event.token() {
                WAKE => ready.insert(Source::Wake),
                Token(fd) => {
                    let fd = RawFd::try_from(fd).ok();
                    // None: it was closed meanwhile, and the kernel has yet to forget it.
                    let source = fd.and_then(|fd| self.sources.get(&fd));
                    source.is_some_and(|source| ready.insert(*source))
                }
            };
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn pair(context: &zmq::Context, number: u64) -> (zmq::Socket, zmq::Socket) {
        let made = || {
            let socket = context.socket(zmq::PAIR).unwrap();
            socket.set_linger(0).unwrap();
            socket
        };
        let (one, other) = (made(), made());
        one.bind(&format!("inproc://{number}")).unwrap();
        other.connect(&format!("inproc://{number}")).unwrap();
        (one, other)
    }

    fn next(readiness: &mut Readiness) -> Vec<Source> {
        readiness.wait(LONG).into_iter().collect()
    }

    #[test]
    fn each_change_is_told_once_and_what_is_left_behind_only_on_demand() {
        let context = zmq::Context::new();
        let (near, far) = pair(&context, 0);
        let (mut readiness, waker) = Readiness::new().unwrap();
        readiness
            .watch([(Source::Door, &near)].into_iter())
            .unwrap();
        assert_eq!(next(&mut readiness), [Source::Door]); // new, so it is looked at
        while near.recv_msg(zmq::DONTWAIT).is_ok() {}

        far.send("one", 0).unwrap();
        far.send("two", 0).unwrap();
        assert_eq!(next(&mut readiness), [Source::Door]);
        near.recv_msg(0).unwrap();
        waker.wake().unwrap();
        assert_eq!(next(&mut readiness), [Source::Wake]);
        readiness.look_again(Source::Door);
        assert_eq!(next(&mut readiness), [Source::Door]);
    }

    #[test]
    fn a_closed_socket_is_not_reported_under_the_number_that_another_took_over() {
        let context = zmq::Context::new();
        let (mut readiness, _waker) = Readiness::new().unwrap();
        let (mut numbers, mut again) = (BTreeSet::new(), 0);
        let (mut n, deadline) = (0, Instant::now() + LONG);
        while n < 200 || again == 0 {
            // They come back when libzmq has closed them, on a thread of its own.
            assert!(Instant::now() < deadline, "none came twice: {numbers:?}");
            if n >= 200 {
                std::thread::sleep(Duration::from_millis(5));
            }
            let (near, far) = pair(&context, n);
            again += usize::from(!numbers.insert(near.get_fd().unwrap()));
            let watched = [(Source::Question(n), &near)];
            readiness.watch(watched.into_iter()).unwrap();
            assert_eq!(next(&mut readiness), [Source::Question(n)]);
            while near.recv_msg(zmq::DONTWAIT).is_ok() {}
            far.send("now", 0).unwrap();
            assert_eq!(next(&mut readiness), [Source::Question(n)]);
            n += 1;
        }
    }
}
