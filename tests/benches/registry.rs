//! What it costs to find the best of 30,000 agents (row F4, F14, F15: microseconds), and to hear of a change.

use std::hint::black_box;
use std::time::Instant;

use chorus_protocol::ids::{AgentName, Label, NodeId, Place};
use chorus_protocol::impedance::{Class, Flags, Need, Reading, Registry, State};
use chorus_protocol::units::{Micros, Noise, Seeded};

const AGENTS: u64 = 30_000;
const ROUNDS: u32 = 20_000;
const CAN: [&str; 6] = ["text", "vision", "db", "route", "ethics", "code"];

fn label(text: &str) -> Label {
    Label::new(text).expect("a name")
}

fn place(n: u64) -> Place {
    Place {
        sector: label(&format!("s{}", n / 300)),
        cluster: label(&format!("c{}", n / 30)),
    }
}

fn reading(n: u64, noise: &mut Seeded) -> Reading {
    let can = CAN.iter().filter(|_| noise.uniform() < 0.3);
    let capabilities = can.map(|it| label(it)).collect();
    Reading {
        class: Class::of_mix(n),
        place: place(n),
        state: State::Active,
        z_ms: (noise.uniform() * 900.0) as u32,
        net_ms: 1.0,
        unit_ms: 1.0,
        queue: 0,
        reliability: None,
        drift: 0.0,
        flags: Flags::default(),
        context: None,
        capabilities,
    }
}

fn name(n: u64) -> AgentName {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(n / 30).to_be_bytes());
    AgentName {
        node: NodeId(id),
        agent: label(&format!("a{}", n % 30)),
    }
}

/// Microseconds of one, in the mean.
fn micros(mut what: impl FnMut(u64)) -> f64 {
    let began = Instant::now();
    (0..u64::from(ROUNDS)).for_each(&mut what);
    began.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS)
}

fn main() {
    let mut noise = Seeded::new(1);
    let mut registry = Registry::default();
    for n in 0..AGENTS {
        registry.update(name(n), reading(n, &mut noise), Micros::ZERO);
    }
    let (text, both) = ([label("text")], [label("text"), label("vision")]);
    let best = micros(|_| {
        black_box(registry.best(1, Need::of(black_box(&text))));
    });
    let ten = micros(|_| {
        black_box(registry.best(10, Need::of(black_box(&both))));
    });
    let cluster = micros(|n| {
        black_box(registry.best_in_cluster(place(n % AGENTS), Need::of(&text)));
    });
    let changed = micros(|n| {
        let n = n % AGENTS;
        registry.update(name(n), reading(n, &mut noise), Micros(n));
    });
    println!(
        "registry of {AGENTS} agents: best that can do a thing {best:.2} us (microseconds), the ten \
         best that can do two {ten:.2} us, best of a cluster {cluster:.2} us, a change {changed:.2} us"
    );
}
