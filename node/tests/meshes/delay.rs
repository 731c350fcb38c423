//! A cable with a delay, between two namespaces: a TAP interface at each end, and threads
//! of the test that carry each frame over when its time has come. (`tc netem` is not in
//! every kernel.) Frames keep their order, as in a queue.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chorus_protocol::units::{Noise, Seeded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::ioctl::{Setter, ioctl};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Frames on their way in one direction; more are lost.
const FRAMES_MAX: usize = 4096;
/// How often a cable looks whether it shall end.
const LOOK: Duration = Duration::from_millis(100);

/// How long one direction takes: evenly between `mean - jitter` and `mean + jitter`.
#[derive(Debug, Clone, Copy)]
pub struct Delay {
    pub mean: Duration,
    pub jitter: Duration,
}

impl Delay {
    pub const fn millis(mean: u64, jitter: u64) -> Self {
        Self {
            mean: Duration::from_millis(mean),
            jitter: Duration::from_millis(jitter),
        }
    }

    fn next(&self, noise: &mut Seeded) -> Duration {
        self.mean - self.jitter + self.jitter.mul_f64(2.0 * noise.uniform())
    }
}

/// The cable. It is cut when this is dropped.
pub struct Cable {
    over: Arc<AtomicBool>,
    carried: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

/// An end: a namespace, and the name of the interface that is made in it.
pub type End<'a> = (&'a str, &'a str);

impl Cable {
    /// Lays a cable; the interfaces are made and still down.
    pub fn lay(from: End<'_>, to: End<'_>, there: Delay, back: Delay, seed: u64) -> Self {
        let ends = [from, to].map(|end| Arc::new(tap(end).unwrap()));
        let mut cable = Self {
            over: Arc::default(),
            carried: Arc::default(),
            threads: Vec::new(),
        };
        for (n, delay) in [there, back].into_iter().enumerate() {
            let (a, b) = (ends[n].clone(), ends[1 - n].clone());
            let (over, carried) = (cable.over.clone(), cable.carried.clone());
            let noise = Seeded::new(seed * 2 + n as u64);
            let carry = move || carry(&a, &b, delay, noise, &over, &carried);
            cable.threads.push(std::thread::spawn(carry));
        }
        cable
    }

    /// Frames carried, in both directions.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Carries frames one way until it is over.
fn carry(
    from: &File,
    to: &File,
    delay: Delay,
    mut noise: Seeded,
    over: &AtomicBool,
    carried: &AtomicU64,
) {
    let mut queue: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut last = Instant::now();
    let mut buffer = vec![0; 65_536];
    while !over.load(Ordering::Relaxed) {
        let now = Instant::now();
        while queue.front().is_some_and(|(due, _)| *due <= now) {
            let (_, frame) = queue.pop_front().unwrap();
            // An interface that is down or full loses it, as a real one would.
            let mut to = to;
            if to.write(&frame).is_ok() {
                carried.fetch_add(1, Ordering::Relaxed);
            }
        }
        let wait = queue.front().map_or(LOOK, |(due, _)| *due - now).min(LOOK);
        let wait = Timespec::try_from(wait).unwrap();
        let mut look = [PollFd::new(from, PollFlags::IN)];
        if poll(&mut look, Some(&wait)) != Ok(1) {
            continue;
        }
        let mut from = from;
        match from.read(&mut buffer) {
            Ok(length) if queue.len() < FRAMES_MAX => {
                last = last.max(Instant::now() + delay.next(&mut noise));
                queue.push_back((last, buffer[..length].to_vec()));
            }
            Ok(_) => {}
            // It is not up yet, or went with its namespace.
            Err(_) => {
                let _ = poll(&mut [], Some(&Timespec::try_from(LOOK / 10).unwrap()));
            }
        }
    }
}

/// `struct ifreq` of Linux, as far as TUNSETIFF reads it.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

const IFF_TAP: u16 = 0x0002;
/// No header before the frame.
const IFF_NO_PI: u16 = 0x1000;
const TUNSETIFF: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<i32>(b'T', 202);

/// Makes a TAP interface. It belongs to the namespace in which its file is opened, so a
/// thread goes there, and ends.
fn tap((space, name): End<'_>) -> io::Result<File> {
    let make = || -> io::Result<File> {
        let space = File::open(format!("/var/run/netns/{space}"))?;
        move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
        let mut options = File::options();
        let file = options.read(true).write(true).open("/dev/net/tun")?;
        let mut request = Request {
            name: [0; 16],
            flags: IFF_TAP | IFF_NO_PI,
            rest: [0; 22],
        };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: TUNSETIFF reads and writes one `struct ifreq`, which is 40 bytes and
        // begins with the name and the flags; `Setter` hands over a pointer to it.
        #[allow(unsafe_code)]
        unsafe {
            ioctl(&file, Setter::<TUNSETIFF, Request>::new(request))?;
        }
        Ok(file)
    };
    std::thread::scope(|scope| scope.spawn(make).join().expect("no panic in there"))
}
