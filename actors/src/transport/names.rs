//! Names: looked up on threads of their own. libzmq asks the resolver on the very thread that
//! moves the bytes of every connection, and a resolver that does not answer stops them all for
//! seconds at a time. So libzmq is given addresses and never a name.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::endpoint_of;

/// How long an answer is good; then it is used while a new one is looked for.
const FRESH: Duration = Duration::from_secs(10);
/// How soon a name that did not resolve is looked up again.
const AGAIN: Duration = Duration::from_secs(2);
/// Lookups at once: each holds a thread for as long as the resolver takes, seconds at worst.
const LOOKUPS_MAX: usize = 16;
/// Names that are remembered.
const NAMES_MAX: usize = 1024;
/// Addresses that are remembered of a name: a machine's networks.
const ADDRESSES_MAX: usize = 4;
const STACK_BYTES: usize = 256 * 1024;

type Lookup = Box<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;
type Told = Box<dyn Fn() + Send + Sync>;

/// What is known of names. Clones share it.
#[derive(Clone)]
pub struct Names(Arc<Shared>);

struct Shared {
    table: Mutex<Table>,
    answered: Condvar,
    news: AtomicBool,
    lookup: Lookup,
    told: Told,
}

#[derive(Default)]
struct Table {
    names: BTreeMap<String, Known>,
    lookups: usize,
}

#[derive(Default)]
struct Known {
    /// The last addresses that were told, best first. A lookup that fails does not take them
    /// away: while the line to the resolver is down, what it once said is the best there is.
    addresses: Vec<IpAddr>,
    /// When a lookup last ended.
    ended: Option<Instant>,
    looking: bool,
}

impl Names {
    /// Asks the system's resolver; `told` is called on another thread after each answer.
    pub fn new(told: impl Fn() + Send + Sync + 'static) -> Self {
        Self::with(Box::new(system), told)
    }

    fn with(lookup: Lookup, told: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared {
            table: Mutex::default(),
            answered: Condvar::new(),
            news: AtomicBool::new(false),
            lookup,
            told: Box::new(told),
        }))
    }

    /// `tcp://name:port` with the name's address in its place; `None` while there is none.
    /// What has an address already, or is of another form, stays as it is.
    pub fn endpoint(&self, endpoint: &str) -> Option<String> {
        self.endpoints(endpoint).into_iter().next()
    }

    /// The same with each of the name's addresses, best first; none while there is none.
    pub fn endpoints(&self, endpoint: &str) -> Vec<String> {
        let Some((name, port)) = named(endpoint) else {
            return vec![endpoint.to_owned()];
        };
        let addresses = self.addresses(name).into_iter();
        addresses
            .map(|it| endpoint_of(&it.to_string(), port))
            .collect()
    }

    /// The same for whoever can wait: `None` when the name does not resolve, or not by `deadline`.
    pub fn wait(&self, endpoint: &str, deadline: Instant) -> Option<String> {
        loop {
            if let Some(found) = self.endpoint(endpoint) {
                return Some(found);
            }
            let (name, _) = named(endpoint)?;
            let table = self.table();
            let known = table.names.get(name);
            if known.is_some_and(|it| !it.addresses.is_empty()) {
                continue; // told since we looked
            }
            let failed = known.is_some_and(|it| !it.looking && it.ended.is_some());
            let left = deadline.saturating_duration_since(Instant::now());
            if failed || left.is_zero() {
                return None;
            }
            // Whatever ends the wait, the loop looks again.
            drop(self.0.answered.wait_timeout(table, left));
        }
    }

    /// Whether there was an answer since this was last asked.
    pub fn take_news(&self) -> bool {
        self.0.news.swap(false, Ordering::AcqRel)
    }

    /// The addresses as they are known, and a lookup beside that if it is time for one.
    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let now = Instant::now();
        let mut table = self.table();
        if !table.names.contains_key(name) {
            table.make_room();
        }
        let room = table.lookups < LOOKUPS_MAX;
        let known = table.names.entry(name.to_owned()).or_default();
        let addresses = known.addresses.clone();
        let span = if addresses.is_empty() { AGAIN } else { FRESH };
        let due = |at| now.saturating_duration_since(at) >= span;
        if room && !known.looking && known.ended.is_none_or(due) {
            known.looking = true;
            table.lookups += 1;
            drop(table);
            self.look_up(name.to_owned());
        }
        addresses
    }

    fn look_up(&self, name: String) {
        let this = self.clone();
        let asked = name.clone();
        let look = move || {
            let answer = (this.0.lookup)(&asked);
            this.answer(&asked, answer);
        };
        let thread = std::thread::Builder::new().name("chorus-name".into());
        if let Err(why) = thread.stack_size(STACK_BYTES).spawn(look) {
            self.answer(&name, Err(why));
        }
    }

    fn answer(&self, name: &str, answer: io::Result<Vec<IpAddr>>) {
        let mut table = self.table();
        table.lookups -= 1;
        let known = table.names.entry(name.to_owned()).or_default();
        (known.looking, known.ended) = (false, Some(Instant::now()));
        match answer {
            Ok(addresses) => known.addresses = addresses,
            Err(why) => tracing::debug!(name, %why, "the name does not resolve"),
        }
        drop(table);
        self.0.news.store(true, Ordering::Release);
        self.0.answered.notify_all();
        (self.0.told)();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nobody panics while holding it, and each state of it is a sound one.
        self.0.table.lock().unwrap_or_else(|it| it.into_inner())
    }
}

impl Table {
    /// Forgets the name that was looked up longest ago, if there are too many.
    fn make_room(&mut self) {
        if self.names.len() < NAMES_MAX {
            return;
        }
        let idle = self.names.iter().filter(|(_, it)| !it.looking);
        let oldest = idle.min_by_key(|(_, it)| it.ended).map(|(name, _)| name);
        if let Some(name) = oldest.cloned() {
            self.names.remove(&name);
        }
    }
}

/// The name and the port of `tcp://name:port`; `None` where an address stands, or no name can.
fn named(endpoint: &str) -> Option<(&str, u16)> {
    let (host, port) = endpoint.strip_prefix("tcp://")?.rsplit_once(':')?;
    let is_address = host.starts_with('[') || host.parse::<IpAddr>().is_ok();
    let port = port.parse().ok()?;
    (!is_address && !host.is_empty()).then_some((host, port))
}

/// IPv4 first where a name has both: that is what libzmq took when it was asked.
fn system(name: &str) -> io::Result<Vec<IpAddr>> {
    let mut found: Vec<IpAddr> = (name, 0).to_socket_addrs()?.map(|it| it.ip()).collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found.dedup();
    found.truncate(ADDRESSES_MAX);
    match found.is_empty() {
        true => Err(io::Error::other("no address of it")),
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn an_address_is_no_name_and_a_name_is_looked_up_once() {
        let (told, heard) = mpsc::channel();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let lookup = move |name: &str| {
            seen.lock().unwrap().push(name.to_owned());
            Ok(vec![IpAddr::from([10, 0, 0, 7]), [10, 0, 1, 7].into()])
        };
        let names = Names::with(Box::new(lookup), move || told.send(()).unwrap());
        for plain in ["tcp://10.1.1.1:7", "tcp://[::1]:7", "a word", "tcp://a:b"] {
            assert_eq!(names.endpoint(plain).as_deref(), Some(plain));
        }
        assert_eq!(names.endpoint("tcp://op:7"), None);
        names.endpoint("tcp://op:8");
        heard.recv_timeout(PATIENCE).unwrap();
        assert!(names.take_news() && !names.take_news());
        let found = names.endpoint("tcp://op:8");
        assert_eq!(found.as_deref(), Some("tcp://10.0.0.7:8"));
        let all = ["tcp://10.0.0.7:8", "tcp://10.0.1.7:8"];
        assert_eq!(names.endpoints("tcp://op:8"), all);
        assert_eq!(*asked.lock().unwrap(), ["op"]);
    }

    #[test]
    fn a_silent_resolver_keeps_nobody_else_waiting_and_holds_few_threads() {
        let (release, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let lookup = move |name: &str| {
            if name == "quick" {
                return Ok(vec![IpAddr::from([10, 0, 0, 8])]);
            }
            // Until the test is over.
            let _ = held.lock().unwrap().recv();
            Err(io::Error::other("silence"))
        };
        let names = Names::with(Box::new(lookup), || {});
        assert_eq!(names.endpoint("tcp://mute:7"), None);
        let soon = Instant::now() + PATIENCE;
        let found = names.wait("tcp://quick:7", soon);
        assert_eq!(found.as_deref(), Some("tcp://10.0.0.8:7"));
        assert_eq!(names.wait("tcp://mute:7", Instant::now()), None);
        for n in 0..2 * LOOKUPS_MAX {
            names.endpoint(&format!("tcp://mute{n}:7"));
        }
        assert_eq!(names.table().lookups, LOOKUPS_MAX);
        drop(release);
    }

    #[test]
    fn what_was_once_told_is_kept_when_the_resolver_fails() {
        let lookup = |_: &str| Err(io::Error::other("the line is down"));
        let names = Names::with(Box::new(lookup), || {});
        let known = Known {
            addresses: vec![[10, 0, 0, 9].into()],
            ..Known::default()
        };
        names.table().names.insert("op".into(), known);
        let found = names.endpoint("tcp://op:7");
        assert_eq!(found.as_deref(), Some("tcp://10.0.0.9:7"));
        let deadline = Instant::now() + PATIENCE;
        while !names.take_news() {
            assert!(Instant::now() < deadline, "it was never looked up");
            std::thread::yield_now();
        }
        assert_eq!(names.endpoint("tcp://op:7"), found);
        // One that never resolved is told at once, not at the deadline.
        assert_eq!(names.wait("tcp://other:7", deadline), None);
        assert!(Instant::now() < deadline);
    }
}
