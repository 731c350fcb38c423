//! A population of oscillators under a tree agent, cluster (30), sector (10), root, in virtual time.
//!
//! Every 0.1 s each live agent says its phase; sums climb to the root and the
//! root's sum comes down again over the same six hops. A frame is lost on each
//! hop by itself; a listener that loses one keeps what it had, older. The delay
//! of the whole way is spent at its end. Steps, sums, rotation, weights and
//! expiry are those that nodes use; only the mistakes are made here.

use std::collections::VecDeque;
use std::f64::consts::TAU;

use chorus_protocol::ids::NodeId;
use chorus_protocol::phase::kuramoto::{Config, Oscillator, Phase, natural_frequency};
use chorus_protocol::phase::{Complex, Field, Gate, PartialSum, gate};
use chorus_protocol::units::{Micros, Noise, Seeded, wrap};

const TICK: Micros = Micros::from_millis(10);
const GOSSIP: Micros = Micros::from_millis(100);
const CLUSTER: usize = 30;
const SECTOR: usize = 10;

/// How sums are used: rightly, or with one mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Rotated to now, gated, divided by the live weight.
    Right,
    /// Late sums are taken as if they were of now.
    NotRotated,
    /// Divided by how many there once were.
    DividedByAll,
}

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub nodes: usize,
    pub seed: u64,
    pub sums: Use,
    pub delay: Micros,
    pub loss: f64,
    pub seconds: u64,
    /// This fraction of the agents, in every cluster, falls silent after two fifths of the time.
    pub dead: f64,
}

/// What came of it. The steady part is the last third.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// When the live nodes' r reached 0.95 first, s.
    pub locked_s: Option<f64>,
    /// Mean r of the live nodes over the steady part.
    pub order: f64,
    /// Turns of the mean field each second over the steady part.
    pub frequency_hz: f64,
    /// Mean phase velocity of the live nodes over the steady part, less their mean ω, rad/s.
    pub bias: f64,
    /// Members in the root's sum at the end.
    pub members: u32,
}

/// The last sum that a listener has from one child or from its parent.
#[derive(Clone, Copy, Default)]
struct Entry {
    part: PartialSum,
    heard: Micros,
    gate: Gate,
}

/// One hop: an entry for each sender, some of them never heard.
struct Hop {
    entries: Vec<Option<Entry>>,
    loss: f64,
}

impl Hop {
    fn new(senders: usize, loss: f64) -> Self {
        Self {
            entries: vec![None; senders],
            loss,
        }
    }
    fn say(&mut self, sender: usize, part: PartialSum, now: Micros, noise: &mut Seeded) {
        if noise.uniform() >= self.loss {
            let gate = self.entries[sender].map_or_else(Gate::default, |entry| entry.gate);
            self.entries[sender] = Some(Entry {
                part,
                heard: now,
                gate,
            });
        }
    }
    /// A gossip period has passed: weights move, silent entries go.
    fn settle(&mut self, now: Micros) {
        let config = gate::Config::default();
        for slot in &mut self.entries {
            let expired = slot
                .as_mut()
                .is_some_and(|entry| !entry.gate.step(&config, now.since(entry.heard), GOSSIP));
            if expired {
                *slot = None;
            }
        }
    }
    /// What `sender` said, with the age it has now.
    fn aged(&self, sender: usize, now: Micros) -> Option<PartialSum> {
        let entry = self.entries[sender]?;
        Some(entry.part.aged(now.since(entry.heard)))
    }
    /// The weighted sum of one of `listeners`, as of now. Senders are dealt out in turn.
    fn sum(&self, listener: usize, listeners: usize, now: Micros, sums: Use) -> PartialSum {
        let senders = (listener..self.entries.len()).step_by(listeners);
        let parts: Vec<PartialSum> = senders
            .filter_map(|i| {
                let mut part = self.aged(i, now)?.scaled(self.entries[i]?.gate.weight());
                if sums == Use::NotRotated {
                    part.age = Micros::ZERO;
                }
                Some(part)
            })
            .collect();
        PartialSum::merged(&parts)
    }
}

struct World {
    setup: Setup,
    config: Config,
    agents: Vec<Oscillator>,
    live: usize,
    up: [Hop; 3],
    down: [Hop; 3],
    fields: Vec<Option<Field>>,
    on_the_way: VecDeque<(Micros, Vec<Option<PartialSum>>)>,
    noise: Seeded,
    members: u32,
}

impl World {
    fn new(setup: Setup) -> Self {
        let config = Config::default();
        let mut noise = Seeded::new(setup.seed);
        let omegas: Vec<f64> = (0..setup.nodes as u64)
            .map(|i| {
                let mut id = [0; 32];
                id[..8].copy_from_slice(&setup.seed.to_le_bytes());
                id[8..16].copy_from_slice(&i.to_le_bytes());
                natural_frequency(&NodeId(id), &config)
            })
            .collect();
        let mean = omegas.iter().sum::<f64>() / setup.nodes as f64;
        let agents = omegas.iter().map(|omega| {
            let theta = Phase::new(TAU * noise.uniform()).expect("finite");
            let centred = omega - mean + TAU * config.base_hz;
            Oscillator::new(theta, centred, Micros::ZERO)
        });
        let agents: Vec<Oscillator> = agents.collect();
        let clusters = setup.nodes.div_ceil(CLUSTER);
        let sectors = clusters.div_ceil(SECTOR);
        let hops = || [setup.nodes, clusters, sectors].map(|n| Hop::new(n, setup.loss));
        Self {
            up: hops(),
            down: hops(),
            fields: vec![None; setup.nodes],
            on_the_way: VecDeque::new(),
            live: setup.nodes,
            members: 0,
            setup,
            config,
            agents,
            noise,
        }
    }

    /// The last `fraction` of the agents says nothing any more.
    fn kill(&mut self, fraction: f64) {
        self.live = ((1.0 - fraction) * self.setup.nodes as f64).round() as usize;
    }

    /// One round of gossip: up, and down again.
    fn gossip(&mut self, now: Micros) {
        let sums = self.setup.sums;
        for i in 0..self.live {
            let leaf = PartialSum::of(self.agents[i].phase(now), self.agents[i].omega(), 1.0);
            self.up[0].say(i, leaf, now, &mut self.noise);
        }
        self.up[0].settle(now);
        for level in 0..2 {
            let (below, above) = self.up.split_at_mut(level + 1);
            let listeners = above[0].entries.len();
            for i in 0..listeners {
                let sum = below[level].sum(i, listeners, now, sums);
                if sum.members > 0 {
                    above[0].say(i, sum, now, &mut self.noise);
                }
            }
            above[0].settle(now);
        }
        let root = self.up[2].sum(0, 1, now, sums);
        self.members = root.members;
        for i in 0..self.down[2].entries.len() {
            self.down[2].say(i, root, now, &mut self.noise);
        }
        self.down[2].settle(now);
        for level in [1, 0] {
            let (to, from) = self.down.split_at_mut(level + 1);
            let parents = from[0].entries.len();
            for i in 0..to[level].entries.len() {
                if let Some(sum) = from[0].aged(i % parents, now) {
                    to[level].say(i, sum, now, &mut self.noise);
                }
            }
            to[level].settle(now);
        }
        let heard = (0..self.live).map(|i| self.down[0].aged(i, now)).collect();
        self.on_the_way.push_back((now + self.setup.delay, heard));
    }

    /// What has arrived becomes the agents' fields.
    fn deliver(&mut self, now: Micros) {
        while self.on_the_way.front().is_some_and(|(due, _)| *due <= now) {
            let Some((_, heard)) = self.on_the_way.pop_front() else {
                return;
            };
            self.fields = heard.into_iter().map(|sum| self.field(sum?, now)).collect();
        }
    }

    fn field(&self, sum: PartialSum, now: Micros) -> Option<Field> {
        match self.setup.sums {
            Use::Right => sum.aged(self.setup.delay).field(now),
            Use::NotRotated => Some(Field {
                z: sum.mean_field()?,
                omega: 0.0,
                at: now,
            }),
            Use::DividedByAll => {
                let field = sum.aged(self.setup.delay).field(now)?;
                let share = sum.weight / self.setup.nodes as f64;
                let z = Complex {
                    re: field.z.re * share,
                    im: field.z.im * share,
                };
                Some(Field { z, ..field })
            }
        }
    }

    /// The live agents' own mean field, as nobody in the mesh can see it.
    fn truth(&self, now: Micros) -> Complex {
        let mut sum = PartialSum::zero();
        for agent in &self.agents[..self.live] {
            sum.add(&PartialSum::of(agent.phase(now), 0.0, 1.0));
        }
        sum.mean_field().expect("somebody lives")
    }
}

/// a in (−π, π].
fn signed(a: f64) -> f64 {
    let d = wrap(a);
    if d > TAU / 2.0 { d - TAU } else { d }
}

/// Runs a population from random phases.
pub fn run(setup: Setup) -> Outcome {
    let mut world = World::new(setup);
    let ticks = Micros::from_secs(setup.seconds).0 / TICK.0;
    let (death, steady) = (ticks * 2 / 5, ticks * 2 / 3);
    let mut outcome = Outcome {
        locked_s: None,
        order: 0.0,
        frequency_hz: 0.0,
        bias: 0.0,
        members: 0,
    };
    let (mut turned, mut travelled) = (0.0, 0.0);
    let mut before = world.truth(Micros::ZERO);
    for tick in 0..ticks {
        let now = TICK.times(tick);
        if tick == death && setup.dead > 0.0 {
            world.kill(setup.dead);
        }
        if now.0.is_multiple_of(GOSSIP.0) {
            world.gossip(now);
        }
        world.deliver(now);
        let next = now + TICK;
        for i in 0..world.live {
            let was = world.agents[i].phase(now);
            let field = world.fields[i];
            world.agents[i].advance(next, field.as_ref(), &world.config, &mut world.noise);
            if tick >= steady {
                travelled += signed(world.agents[i].phase(next) - was);
            }
        }
        let z = world.truth(next);
        if z.abs() >= 0.95 {
            outcome.locked_s.get_or_insert(next.as_secs_f64());
        }
        if tick >= steady {
            outcome.order += z.abs();
            turned += signed(z.arg() - before.arg());
        }
        before = z;
    }
    let span_s = (ticks - steady) as f64 * TICK.as_secs_f64();
    let live = &world.agents[..world.live];
    let mean_omega = live.iter().map(Oscillator::omega).sum::<f64>() / live.len() as f64;
    outcome.order /= (ticks - steady) as f64;
    outcome.frequency_hz = turned / TAU / span_s;
    outcome.bias = travelled / live.len() as f64 / span_s - mean_omega;
    outcome.members = world.members;
    outcome
}
