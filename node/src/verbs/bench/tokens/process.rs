//! One node of the bench as a process: a seat between a ring of ZeroMQ sockets and the orders of whoever started it.
//!
//! Orders come as lines of JSON on stdin, answers leave so on stdout. When stdin ends, so does
//! the process: it outlives nobody.

use std::io::BufRead;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use chorus_actors::transport::ring::{Contact, Ring};
use chorus_protocol::units::Micros;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::frame::{Frame, Said};
use super::seat::{Config, Output, Seat};
use super::watch::Report;
use crate::cli::{lost, print_line};
use crate::error::Failure;

/// The topic of what is for all.
const ALL: &str = "all.";
/// Between two greetings.
const GREET: Duration = Duration::from_millis(100);
/// Between two looks at the orders, at most.
const LOOK: Duration = Duration::from_millis(50);
/// How long the one that started it may take to say what it shall do.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a node is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// Who it is: it listens.
    Be(Config),
    /// Where all listen, by their numbers: it meets them.
    Meet(Vec<Address>),
    Go,
    Cut,
    Heal,
    Rest,
    Report,
}

/// What a node answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Answer {
    Listens(Address),
    /// It hears all others, and all others hear it.
    Met,
    Report(Box<Report>),
}

/// Where a node is heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    endpoint: String,
    /// Its CURVE key in hex digits.
    key: String,
}

impl Address {
    fn of(contact: &Contact) -> Self {
        Self {
            endpoint: contact.endpoint.clone(),
            key: HEXLOWER.encode(&contact.key),
        }
    }

    fn contact(&self) -> Option<Contact> {
        let key = HEXLOWER.decode(self.key.as_bytes()).ok()?;
        Some(Contact {
            endpoint: self.endpoint.clone(),
            key: key.try_into().ok()?,
        })
    }
}

/// `bench token-node`.
pub fn run() -> Result<(), Failure> {
    let orders = orders()?;
    let Order::Be(config) = next(&orders)? else {
        return Err(out_of_turn());
    };
    let own = topic(config.me);
    let (ring, contact) = Ring::open(&[ALL, &own]).map_err(no_ring)?;
    answer(&Answer::Listens(Address::of(&contact)))?;
    let Order::Meet(addresses) = next(&orders)? else {
        return Err(out_of_turn());
    };
    for (_, address) in addresses
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != config.me)
    {
        let contact = address.contact().ok_or_else(out_of_turn)?;
        ring.dial(&contact).map_err(no_ring)?;
    }
    meet(&ring, &config, &orders)?;
    measure(&ring, config, &orders)
}

/// Greets until all have met and the order to go is there.
fn meet(ring: &Ring, config: &Config, orders: &Receiver<Order>) -> Result<(), Failure> {
    let mut heard = vec![false; config.nodes];
    let mut hear_us = vec![false; config.nodes];
    for all in [&mut heard, &mut hear_us] {
        all[config.me] = true;
    }
    let mut has_met = false;
    loop {
        let hello = Said::Hello {
            heard: heard.clone(),
        };
        publish(ring, ALL, config.me, hello);
        ring.wait(GREET);
        while let Some(frame) = ring.next().and_then(|it| read(&it)) {
            if let Said::Hello { heard: theirs } = frame.said
                && frame.from < config.nodes
            {
                heard[frame.from] = true;
                hear_us[frame.from] = theirs.get(config.me) == Some(&true);
            }
        }
        if !has_met && heard.iter().chain(&hear_us).all(|it| *it) {
            has_met = true;
            answer(&Answer::Met)?;
        }
        match orders.try_recv() {
            Ok(Order::Go) => return Ok(()),
            Ok(_) => return Err(out_of_turn()),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(left_alone()),
        }
    }
}

fn measure(ring: &Ring, config: Config, orders: &Receiver<Order>) -> Result<(), Failure> {
    let begun = Instant::now();
    let now = || Micros(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    let mut malformed = 0;
    let mut seat = Seat::new(config, now()).ok_or_else(out_of_turn)?;
    loop {
        match orders.try_recv() {
            Ok(Order::Cut) => seat.cut(now()),
            Ok(Order::Heal) => seat.heal(now()),
            Ok(Order::Rest) => seat.rest(now()),
            Ok(Order::Report) => {
                let mut report = seat.report();
                report.malformed += malformed;
                return answer(&Answer::Report(Box::new(report)));
            }
            Ok(_) => return Err(out_of_turn()),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Err(left_alone()),
        }
        let span = seat.next_deadline().since(now());
        ring.wait(Duration::from_micros(span.0).min(LOOK));
        while let Some(bytes) = ring.next() {
            match read(&bytes) {
                Some(frame) => seat.take(frame, now()),
                None => malformed += 1,
            }
        }
        for output in seat.tick(now()) {
            match output {
                Output::All(frame) => send(ring, ALL, &frame),
                Output::To(to, frame) => send(ring, &topic(to), &frame),
            }
        }
    }
}

/// With an end, for a subscription to `n1` would also hear what is for `n10`.
fn topic(node: usize) -> String {
    format!("n{node}.")
}

fn publish(ring: &Ring, topic: &str, from: usize, said: Said) {
    send(ring, topic, &Frame { from, said });
}

fn send(ring: &Ring, topic: &str, frame: &Frame) {
    // What is said is numbers and lists of them, all of which JSON has.
    if let Ok(bytes) = serde_json::to_vec(frame) {
        ring.publish(topic, &bytes);
    }
}

fn read(bytes: &[u8]) -> Option<Frame> {
    serde_json::from_slice(bytes).ok()
}

/// The orders, from a thread that waits for them.
fn orders() -> Result<Receiver<Order>, Failure> {
    let (send, orders) = sync_channel(16);
    let read = move || {
        for line in std::io::stdin().lock().lines() {
            let order = line.ok().and_then(|line| serde_json::from_str(&line).ok());
            let Some(order) = order else { return };
            if send.send(order).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("orders".into())
        .spawn(read)
        .map_err(|why| Failure::failed("no_thread", format!("a thread was refused: {why}")))?;
    Ok(orders)
}

fn next(orders: &Receiver<Order>) -> Result<Order, Failure> {
    orders.recv_timeout(PATIENCE).map_err(|why| match why {
        RecvTimeoutError::Timeout => out_of_turn(),
        RecvTimeoutError::Disconnected => left_alone(),
    })
}

fn answer(what: &Answer) -> Result<(), Failure> {
    let text = serde_json::to_string(what);
    let text = text.map_err(|why| Failure::failed("bad_answer", why.to_string()))?;
    print_line(&text).map_err(|why| Failure::failed("output_lost", lost(&why)))
}

fn no_ring(why: impl std::fmt::Display) -> Failure {
    Failure::failed("no_sockets", why.to_string())
}

fn left_alone() -> Failure {
    Failure::failed("left_alone", "the bench that started this process is gone")
}

fn out_of_turn() -> Failure {
    Failure::usage("out_of_turn", "this is not what comes next")
        .hint("`chorus bench tokens` starts these processes itself")
}
