//! What a thousand questions and answers cost where nobody gathers: bare ROUTER and DEALER over
//! loopback, each answer signed by its agent and checked by whoever asked.
//!
//! Both ends are in this process, so its CPU is that of all. The questions go out one after the
//! other without waiting and are signed once, and only the answers are signed each: a bare mesh
//! could hardly do less. Prints one line, microseconds of CPU a round trip.

use std::time::Duration;

use chorus_protocol::wire::identity::{Identity, PublicKey};
use rustix::time::{ClockId, clock_gettime};

const TRIPS: u32 = 1_000;
const ROUNDS: u32 = 20;

fn main() {
    let identity = Identity::from_seed(&[7; 32]);
    let key = PublicKey::new(&identity.id()).expect("a key");
    let context = zmq::Context::new();
    let router = context.socket(zmq::ROUTER).expect("a socket");
    router.set_sndhwm(0).expect("no limit");
    router.set_rcvhwm(0).expect("no limit");
    router.bind("tcp://127.0.0.1:*").expect("a free port");
    let endpoint = router.get_last_endpoint().expect("bound").expect("text");
    let agent = context.socket(zmq::DEALER).expect("a socket");
    agent.set_identity(b"agent").expect("a name");
    agent.connect(&endpoint).expect("an endpoint");
    let agents = std::thread::spawn(move || {
        agent.send("here", 0).expect("sent");
        // An empty question ends it.
        while let Some(question) = agent.recv_bytes(0).ok().filter(|it| !it.is_empty()) {
            let signature = identity.sign(&[&question]);
            agent
                .send_multipart([question, signature.to_vec()], 0)
                .expect("sent");
        }
    });
    let ask = |question: &[u8]| router.send_multipart([b"agent", question], 0).is_ok();
    router.recv_multipart(0).expect("it is there");
    let before = cpu();
    for round in 0..ROUNDS {
        for trip in 0..TRIPS {
            assert!(ask(format!("round {round} {trip:04}").as_bytes()));
        }
        for _ in 0..TRIPS {
            let parts = router.recv_multipart(0).expect("an answer");
            let [_, question, signature] = &parts[..] else {
                panic!("{parts:?}");
            };
            let signature = signature.as_slice().try_into().expect("64 bytes");
            assert!(key.verifies(question, signature));
        }
    }
    let each = (cpu() - before) / (ROUNDS * TRIPS);
    println!(
        "round trips: {:.1} us of CPU each, bare ROUTER and DEALER with an Ed25519 signature",
        each.as_secs_f64() * 1e6
    );
    ask(b"");
    agents.join().expect("it ends");
}

/// What this process has used.
fn cpu() -> Duration {
    let it = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(it.tv_sec as u64, it.tv_nsec as u32)
}
