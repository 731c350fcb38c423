//! Strangers who talk at a door without end, with keys that cost them nothing, keep nobody
//! out who comes with a token.

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

use chorus_actors::transport::sockets::CurveKeys;
use chorus_storage::Home;
use chorus_storage::home::read_key;
use support::{Process, enrol, found, hold, until};

const STRANGERS: usize = 50;
/// Between two messages of one stranger.
const EVERY: Duration = Duration::from_millis(50);
/// What the strangers say, bytes: one half may go on with it for long, the other half is cut
/// off after four and so shakes hands again and again.
const LENGTHS: [usize; 2] = [100, 3_900];
const JOINS: usize = 6;

/// The door of the node at `home`, and the key that it proves.
fn door(home: &Path) -> (String, [u8; 32]) {
    let home = Home::at(home);
    let addresses = std::fs::read(home.addresses()).unwrap();
    let addresses: serde_json::Value = serde_json::from_slice(&addresses).unwrap();
    let door = addresses["door"].as_str().unwrap();
    let keys = CurveKeys::from_secret(read_key(&home.curve_key()).unwrap());
    (door.to_owned(), keys.public)
}

fn stranger(context: &zmq::Context, door: &str, server: &[u8; 32]) -> zmq::Socket {
    let keys = CurveKeys::generate().unwrap();
    let socket = context.socket(zmq::DEALER).unwrap();
    socket.set_linger(0).unwrap();
    socket.set_curve_serverkey(server).unwrap();
    socket.set_curve_publickey(&keys.public).unwrap();
    socket.set_curve_secretkey(&keys.secret).unwrap();
    socket.connect(door).unwrap();
    socket
}

/// All strangers talk until `over`.
fn talk(door: &str, server: &[u8; 32], over: &AtomicBool) {
    let context = zmq::Context::new();
    let strangers = (0..STRANGERS).map(|_| stranger(&context, door, server));
    let strangers: Vec<_> = strangers.collect();
    while !over.load(Ordering::Relaxed) {
        for (stranger, length) in strangers.iter().zip(LENGTHS.iter().cycle()) {
            // Whether it arrives is asked of the door.
            let _ = stranger.send(vec![0; *length], zmq::DONTWAIT);
        }
        hold(EVERY);
    }
}

/// How many messages the host has turned away.
fn refused(host: &Process) -> u64 {
    let status = host.status().unwrap_or_default();
    status["frames"]["dropped"].as_u64().unwrap_or(0)
}

#[test]
fn strangers_who_talk_without_end_keep_no_newcomer_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Process::new(dir.path(), "host", None);
    found(&host, "127.0.0.1");
    host.start();
    let (endpoint, server) = door(&host.home);
    let over = AtomicBool::new(false);
    let joined = scope(|threads| {
        threads.spawn(|| talk(&endpoint, &server, &over));
        until("the crowd is turned away", Duration::from_secs(30), || {
            refused(&host) > 20 * STRANGERS as u64
        });
        let join = |n| {
            let guest = Process::new(dir.path(), &format!("guest{n}"), None);
            let (host, began) = (&host, Instant::now());
            // Each on a thread of its own, whose end says whether it was let in.
            let join = threads.spawn(move || enrol(host, &guest, ["agent", "s1", "c1"], &[]));
            join.join().ok().map(|()| began.elapsed())
        };
        let joined: Vec<_> = (0..JOINS).map(join).collect();
        over.store(true, Ordering::Relaxed);
        joined
    });
    println!("the joins took {joined:?}");
    assert!(joined.iter().all(Option::is_some), "{joined:?}");
}
