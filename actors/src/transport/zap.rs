//! The ZAP handler: who may shake hands. It runs on the socket thread, at
//! `inproc://zeromq.zap.01`, and binds each admitted connection to its peer's CURVE key.
//!
//! Invariant: without this handler CURVE lets everyone in, so it is up before any socket
//! binds, and it refuses every mechanism but CURVE.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::counters::{Counters, count};
use super::keys::Key;

/// Domain of every socket that serves members.
pub const MESH: &str = "mesh";
/// Domain of the door, where any CURVE key may speak.
pub const DOOR: &str = "door";

const ENDPOINT: &str = "inproc://zeromq.zap.01";

/// Which keys are let in, and which were.
pub struct Zap {
    socket: zmq::Socket,
    allow: Arc<BTreeSet<Key>>,
    /// Members let in since the listening sockets were last built: only their removal can
    /// leave a connection open. At most as large as the allow-list.
    admitted: BTreeSet<Key>,
    /// Members that are not let in for a while, and until when: at most the allow-list.
    shut_out: BTreeMap<Key, Instant>,
    /// The wrong key that is being tried on ourselves.
    pub probe: Option<Key>,
    counters: Arc<Counters>,
}

impl Zap {
    /// Binds the handler, which lets no member in yet.
    pub fn start(context: &zmq::Context) -> zmq::Result<Self> {
        let socket = context.socket(zmq::REP)?;
        socket.set_linger(0)?;
        socket.bind(ENDPOINT)?;
        Ok(Self {
            socket,
            allow: Arc::default(),
            admitted: BTreeSet::new(),
            shut_out: BTreeMap::new(),
            probe: None,
            counters: Arc::default(),
        })
    }

    /// Ends the self-test: from here on the real list counts, and what happens is counted.
    pub fn go_live(&mut self, allow: Arc<BTreeSet<Key>>, counters: Arc<Counters>) {
        (self.allow, self.counters) = (allow, counters);
        self.forget_admitted();
    }

    /// To be waited for together with the others.
    pub fn socket(&self) -> &zmq::Socket {
        &self.socket
    }

    /// Whether a member's frames are to be taken.
    pub fn allows(&self, key: &Key) -> bool {
        self.allow.contains(key) && !self.shut_out.contains_key(key)
    }

    /// Lets a member in no more until then. True if it was let in before.
    pub fn shut_out(&mut self, key: Key, until: Instant) -> bool {
        self.allow.contains(&key) && self.shut_out.insert(key, until).is_none()
    }

    /// Lets those in again whose time is over.
    pub fn forgive(&mut self, now: Instant) {
        self.shut_out.retain(|_, until| now < *until);
    }

    /// Takes over a new allow-list. Returns the keys that left it, and whether one of them
    /// was let in earlier and so may still be connected.
    pub fn replace_allow(&mut self, allow: Arc<BTreeSet<Key>>) -> (Vec<Key>, bool) {
        let removed: Vec<Key> = self.allow.difference(&allow).copied().collect();
        let connected = removed.iter().any(|key| self.admitted.contains(key));
        self.shut_out.retain(|key, _| allow.contains(key));
        self.allow = allow;
        (removed, connected)
    }

    /// The listening sockets were built anew: nobody is connected.
    pub fn forget_admitted(&mut self) {
        self.admitted.clear();
    }

    /// Answers every handshake that waits.
    pub fn serve(&mut self) {
        while let Ok(request) = self.socket.recv_multipart(zmq::DONTWAIT) {
            let (code, user) = match self.judge(&request) {
                Verdict::Admit(key) => ("200", hex(&key)),
                // The peer's libzmq gives up for good after 400: it comes again only when
                // its owner dials again. After 300 it would try every 2 s for ever.
                Verdict::Refuse => ("400", String::new()),
            };
            let id = request.get(1).cloned().unwrap_or_default();
            let reply: [&[u8]; 6] = [b"1.0", &id, code.as_bytes(), b"", user.as_bytes(), b""];
            // The only failure is a peer that has gone meanwhile.
            let _ = self.socket.send_multipart(reply, zmq::DONTWAIT);
        }
    }

    /// Frames: version, request id, domain, address, routing id, mechanism, key.
    fn judge(&mut self, request: &[Vec<u8>]) -> Verdict {
        let verdict = match request {
            [version, _, domain, _, _, mechanism, key]
                if version == b"1.0" && mechanism == b"CURVE" =>
            {
                match Key::try_from(key.as_slice()) {
                    Ok(key) => self.judge_key(domain, key),
                    Err(_) => Verdict::Refuse,
                }
            }
            _ => Verdict::Refuse,
        };
        count(self.counter_of(&verdict, request));
        verdict
    }

    fn judge_key(&mut self, domain: &[u8], key: Key) -> Verdict {
        if domain == MESH.as_bytes() && self.allows(&key) {
            self.admitted.insert(key);
            return Verdict::Admit(key);
        }
        // How many come to the door is the porter's affair.
        if domain == DOOR.as_bytes() {
            return Verdict::Admit(key);
        }
        Verdict::Refuse
    }

    fn counter_of(&self, verdict: &Verdict, request: &[Vec<u8>]) -> &AtomicU64 {
        let probe = self.probe.as_ref().map(|key| key.as_slice());
        match verdict {
            Verdict::Admit(_) => &self.counters.zap_admitted,
            Verdict::Refuse if probe.is_some() && request.get(6).map(Vec::as_slice) == probe => {
                &self.counters.probe_refused
            }
            Verdict::Refuse => &self.counters.zap_refused,
        }
    }
}

enum Verdict {
    Admit(Key),
    Refuse,
}

/// 64 lowercase digits: metadata must be text.
fn hex(key: &Key) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key that `hex` wrote.
pub fn key_from_hex(text: &str) -> Option<Key> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut key = [0; 32];
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handler(allow: &[Key]) -> Zap {
        let context = zmq::Context::new();
        let mut zap = Zap::start(&context).unwrap();
        zap.go_live(Arc::new(allow.iter().copied().collect()), Arc::default());
        zap
    }

    fn request(domain: &str, mechanism: &str, key: &[u8]) -> Vec<Vec<u8>> {
        let frames: [&[u8]; 7] = [
            b"1.0",
            b"1",
            domain.as_bytes(),
            b"127.0.0.1",
            b"",
            mechanism.as_bytes(),
            key,
        ];
        frames.iter().map(|frame| frame.to_vec()).collect()
    }

    fn admits(zap: &mut Zap, domain: &str, mechanism: &str, key: &[u8]) -> bool {
        let verdict = zap.judge(&request(domain, mechanism, key));
        matches!(verdict, Verdict::Admit(_))
    }

    #[test]
    fn only_curve_and_only_listed_keys_enter_the_mesh() {
        let mut zap = handler(&[[1; 32]]);
        assert!(admits(&mut zap, MESH, "CURVE", &[1; 32]));
        assert!(!admits(&mut zap, MESH, "CURVE", &[2; 32]));
        assert!(!admits(&mut zap, MESH, "CURVE", &[1; 31]));
        assert!(!admits(&mut zap, MESH, "NULL", &[1; 32]));
        assert!(!admits(&mut zap, MESH, "PLAIN", &[1; 32]));
        assert!(!admits(&mut zap, "", "CURVE", &[1; 32]));
    }

    #[test]
    fn the_door_takes_any_curve_key_and_nothing_else() {
        let mut zap = handler(&[]);
        assert!(!admits(&mut zap, DOOR, "NULL", &[7; 32]));
        assert!(!admits(&mut zap, DOOR, "CURVE", &[7; 31]));
        assert!(admits(&mut zap, DOOR, "CURVE", &[7; 32]));
    }

    #[test]
    fn only_the_removal_of_a_connected_key_asks_for_a_rebuild() {
        let mut zap = handler(&[[1; 32], [2; 32]]);
        assert!(admits(&mut zap, MESH, "CURVE", &[1; 32]));
        let without = |keys: &[Key]| Arc::new(keys.iter().copied().collect::<BTreeSet<_>>());
        assert_eq!(
            zap.replace_allow(without(&[[1; 32], [3; 32]])),
            (vec![[2; 32]], false)
        );
        assert_eq!(
            zap.replace_allow(without(&[[3; 32]])),
            (vec![[1; 32]], true)
        );
    }

    #[test]
    fn a_member_that_is_shut_out_comes_back_when_its_time_is_over() {
        let mut zap = handler(&[[1; 32], [2; 32]]);
        let until = Instant::now() + std::time::Duration::from_secs(1);
        assert!(zap.shut_out([1; 32], until));
        assert!(!zap.shut_out([1; 32], until));
        assert!(!zap.shut_out([3; 32], until));
        assert!(!admits(&mut zap, MESH, "CURVE", &[1; 32]) && !zap.allows(&[1; 32]));
        assert!(admits(&mut zap, MESH, "CURVE", &[2; 32]));
        zap.forgive(until);
        assert!(admits(&mut zap, MESH, "CURVE", &[1; 32]) && zap.allows(&[1; 32]));
    }

    #[test]
    fn a_key_survives_hex_and_nothing_else_is_a_key() {
        let key: Key = std::array::from_fn(|n| n as u8 * 7);
        assert_eq!(key_from_hex(&hex(&key)), Some(key));
        assert_eq!(key_from_hex(&"é".repeat(32)), None);
        assert_eq!(key_from_hex(&"zz".repeat(32)), None);
    }
}
