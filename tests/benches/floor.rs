//! What gossip through a lead of thirty costs where nobody signs, checks or thinks: bare
//! libzmq with CURVE, a PUB and a SUB at each end, frames as long as Chorus has them.
//!
//! No node that speaks through libzmq can cost less than this and its signatures, so the
//! bench of the mesh is printed beside it. Thirty agents publish ten times a second, each at
//! a time of its own; the lead reads all of them and publishes one frame as often. The lead,
//! one agent and the other agents are a process each. All read only when they publish: what
//! is left is libzmq's own thread, its system calls and its cipher.
//!
//! Prints one line: percent of a core of the lead and of an agent, and the frames that the
//! lead heard each second.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use zmq::{Context, CurveKeyPair, Socket, SocketType};

const AGENTS: u32 = 30;
const PERIOD: Duration = Duration::from_millis(100);
const SETTLE: Duration = Duration::from_secs(3);
const SPAN: Duration = Duration::from_secs(15);
/// Longer than the lead measures; it ends its agents before.
const LIFE: Duration = Duration::from_secs(60);
/// As long as the bench of frames says that a phase is, and the sums of three scopes.
const PHASE_BYTES: usize = 216;
const SUMS_BYTES: usize = 514;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "agents", count, hears, heard, key] => {
            agents(count.parse().expect("a count"), hears, heard, key);
        }
        _ => lead(),
    }
}

fn lead() {
    let keys = pair();
    let context = Context::new();
    let (subscriber, heard) = listener(&context, zmq::SUB, &keys);
    let (publisher, hears) = listener(&context, zmq::PUB, &keys);
    let key = zmq::z85_encode(&keys.public_key).expect("32 bytes");
    let (one, others) = (
        Agents::start(1, &hears, &heard, &key),
        Agents::start(AGENTS - 1, &hears, &heard, &key),
    );
    let mut round = || {
        let _ = publisher.send(vec![1; SUMS_BYTES], zmq::DONTWAIT);
    };
    serve(&subscriber, Instant::now(), SETTLE, &mut round);
    let pids = [std::process::id(), one.0.id()];
    let before = pids.map(cpu);
    let begun = Instant::now();
    let frames = serve(&subscriber, begun, SPAN, &mut round);
    let span = begun.elapsed();
    let after = pids.map(cpu);
    drop((one, others));
    let share = |at: usize| 100.0 * (after[at] - before[at]).div_duration_f64(span);
    println!(
        "floor: lead {:.3} % of a core, agent {:.3} %, {:.0} frames a second",
        share(0),
        share(1),
        f64::from(frames) / span.as_secs_f64()
    );
}

/// Some agents in one process, which the lead ends by dropping this.
struct Agents(Child);

impl Agents {
    fn start(count: u32, hears: &str, heard: &str, key: &str) -> Self {
        let own = std::env::current_exe().expect("our own file");
        let mut child = Command::new(own)
            .args(["agents", &count.to_string(), hears, heard, key])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        // They say so when they begin.
        let said = child.stdout.take().expect("a pipe");
        let _ = BufReader::new(said).read_line(&mut String::new());
        Self(child)
    }
}

impl Drop for Agents {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn agents(count: u32, hears: &str, heard: &str, key: &str) {
    let server = zmq::z85_decode(key).expect("a key");
    let agent = |at: u32| {
        let (context, keys) = (Context::new(), pair());
        let subscriber = dialler(&context, zmq::SUB, &keys, &server, hears);
        let publisher = dialler(&context, zmq::PUB, &keys, &server, heard);
        let start = Instant::now() + PERIOD * at / count;
        let mut round = || {
            let _ = publisher.send(vec![1; PHASE_BYTES], zmq::DONTWAIT);
        };
        serve(&subscriber, start, LIFE, &mut round);
    };
    println!("begun");
    let _ = std::io::stdout().flush();
    std::thread::scope(|scope| {
        (0..count).for_each(|at| drop(scope.spawn(move || agent(at))));
    });
}

/// Reads what came and does `round`, once in each period from `start` on: who looks more
/// often pays more. Returns how many frames came within `span`.
fn serve(subscriber: &Socket, start: Instant, span: Duration, round: &mut dyn FnMut()) -> u32 {
    let deadline = start + span;
    let (mut due, mut frames) = (start, 0);
    while due < deadline {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        while subscriber.recv_msg(zmq::DONTWAIT).is_ok() {
            frames += 1;
        }
        round();
        due = (due + PERIOD).max(Instant::now());
    }
    frames
}

fn pair() -> CurveKeyPair {
    CurveKeyPair::new().expect("this libzmq has CURVE")
}

fn listener(context: &Context, kind: SocketType, keys: &CurveKeyPair) -> (Socket, String) {
    let socket = context.socket(kind).expect("a socket");
    socket.set_curve_server(true).expect("CURVE");
    socket.set_curve_secretkey(&keys.secret_key).expect("a key");
    hear_all(&socket, kind);
    socket.bind("tcp://127.0.0.1:*").expect("a free port");
    let endpoint = socket.get_last_endpoint().expect("bound");
    (socket, endpoint.expect("text"))
}

fn dialler(
    context: &Context,
    kind: SocketType,
    keys: &CurveKeyPair,
    server: &[u8],
    endpoint: &str,
) -> Socket {
    let socket = context.socket(kind).expect("a socket");
    socket.set_curve_serverkey(server).expect("a key");
    socket.set_curve_publickey(&keys.public_key).expect("a key");
    socket.set_curve_secretkey(&keys.secret_key).expect("a key");
    hear_all(&socket, kind);
    socket.connect(endpoint).expect("an endpoint");
    socket
}

fn hear_all(socket: &Socket, kind: SocketType) {
    if kind == zmq::SUB {
        socket.set_subscribe(b"").expect("subscribed");
    }
}

/// What all threads of a process have used.
fn cpu(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    let used = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(used.sum())
}
