//! A tree of machines with agents that do as they are told, in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use chorus_protocol::ids::{Incarnation, Label, NodeId, Place};
use chorus_protocol::impedance::Class;
use chorus_protocol::op::gather::Config;
use chorus_protocol::op::{
    Agent, Input, Operations, Order, Output, Question, Report, Request, Said, Select, Took, When,
};
use chorus_protocol::units::{Micros, Noise, Seeded};

pub const HOP: Micros = Micros::from_millis(2);

pub fn id(n: usize) -> NodeId {
    NodeId([n as u8 + 1; 32])
}

pub fn label(text: &str) -> Label {
    Label::new(text).unwrap()
}

/// What an agent does with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Does {
    Says(Said, u64),
    Hangs,
}

pub fn ready(text: &str, after_ms: u64) -> Does {
    Does::Says(Said::Ready(text.as_bytes().to_vec()), after_ms)
}

#[derive(Debug, Clone)]
pub enum What {
    Input(Input),
    Dies,
}

/// A tree of nodes, the agents on them, and what is under way between them.
pub struct Mesh {
    pub now: Micros,
    pub nodes: Vec<Option<Operations>>,
    parents: Vec<Option<usize>>,
    agents: BTreeMap<(usize, Label), Does>,
    under_way: BTreeMap<(Micros, u64), (usize, What)>,
    events: u64,
    /// Each word about an operation that went up, by its sender.
    pub words: Vec<usize>,
    pub heard: Vec<(Micros, Output)>,
    /// What comes twice, in a hundred.
    pub repeats: f64,
    noise: Seeded,
}

impl Mesh {
    /// Nodes by their parents; the first has none.
    pub fn new(parents: &[Option<usize>]) -> Self {
        let machine = |n| Some(Operations::new(id(n), Incarnation::new(0, 1)));
        let mut mesh = Self {
            now: Micros::ZERO,
            nodes: (0..parents.len()).map(machine).collect(),
            parents: parents.to_vec(),
            agents: BTreeMap::new(),
            under_way: BTreeMap::new(),
            events: 0,
            words: Vec::new(),
            heard: Vec::new(),
            repeats: 0.0,
            noise: Seeded::new(1),
        };
        for n in 0..parents.len() {
            mesh.stand(n);
        }
        mesh
    }

    /// One above `sectors`, each above as many leads.
    pub fn tree(sectors: usize, leads: usize) -> Self {
        let mut parents = vec![None];
        for _ in 0..sectors {
            parents.push(Some(0));
            let coordinator = parents.len() - 1;
            parents.extend(vec![Some(coordinator); leads]);
        }
        Self::new(&parents)
    }

    pub fn host(&mut self, node: usize, agents: &[(&str, &[&str], Does)]) {
        for (name, _, does) in agents {
            self.agents.insert((node, label(name)), does.clone());
        }
        let agents = agents.iter().map(|(name, can, _)| Agent {
            name: label(name),
            class: Class::Edge,
            capabilities: can.iter().map(|it| label(it)).collect(),
            context: None,
        });
        let agents = Input::Agents(agents.collect());
        self.give(node, agents);
    }

    /// Gives each node a place, from where it tells of its agents one by one.
    pub fn place(&mut self) {
        for n in 0..self.nodes.len() {
            let (sector, cluster) = (label("s1"), label(&format!("c{n}")));
            self.give(n, Input::Place(Place { sector, cluster }));
        }
    }

    /// Tells a node who stands around it.
    pub fn stand(&mut self, n: usize) {
        let lives = |other: &usize| self.nodes[*other].is_some();
        let parent = self.parents[n].filter(lives);
        let parent = parent.map(|it| (id(it), Incarnation::new(0, 1)));
        let children = (0..self.nodes.len()).filter(|it| self.parents[*it] == Some(n));
        let children: BTreeSet<NodeId> = children.filter(lives).map(id).collect();
        self.give(n, Input::Around(parent, children));
    }

    pub fn later(&mut self, after: Micros, node: usize, what: What) {
        self.events += 1;
        let at = (self.now + after, self.events);
        self.under_way.insert(at, (node, what));
    }

    pub fn give(&mut self, n: usize, input: Input) {
        let Some(machine) = &mut self.nodes[n] else {
            return;
        };
        for output in machine.handle(input, self.now) {
            match output {
                Output::Send(to, order) => {
                    if matches!(order, Order::Said(_)) {
                        self.words.push(n);
                    }
                    let to = (0..self.nodes.len()).find(|it| id(*it) == to).unwrap();
                    let input = What::Input(Input::Order(id(n), order));
                    if self.noise.uniform() < self.repeats {
                        self.later(HOP + HOP, to, input.clone());
                    }
                    self.later(HOP, to, input);
                }
                Output::Run {
                    operation, agent, ..
                } => {
                    if let Does::Says(said, after_ms) = self.agents[&(n, agent)].clone() {
                        let worked = Micros::from_millis(after_ms);
                        let took = Took {
                            waited: Micros::ZERO,
                            worked,
                        };
                        let said = Input::Answered(operation, agent, said, Some(took));
                        self.later(worked, n, What::Input(said));
                    }
                }
                told => self.heard.push((self.now, told)),
            }
        }
    }

    pub fn dies(&mut self, n: usize) {
        self.nodes[n] = None;
        for other in 0..self.nodes.len() {
            let near = self.parents[other] == Some(n) || self.parents[n] == Some(other);
            if near {
                self.stand(other);
            }
        }
    }

    /// Lets time pass until then.
    pub fn run(&mut self, until: Micros) {
        loop {
            let due = self.nodes.iter().flatten().map(Operations::next_deadline);
            let due = due.min().unwrap_or(Micros::NEVER);
            let next = self
                .under_way
                .keys()
                .next()
                .map_or(Micros::NEVER, |it| it.0);
            let at = due.min(next);
            if at > until {
                self.now = until;
                return;
            }
            self.now = self.now.max(at);
            if next <= due {
                let (_, (node, what)) = self.under_way.pop_first().unwrap();
                match what {
                    What::Input(input) => self.give(node, input),
                    What::Dies => self.dies(node),
                }
            } else {
                for n in 0..self.nodes.len() {
                    let machine = self.nodes[n].as_ref();
                    if machine.is_some_and(|it| it.next_deadline() <= self.now) {
                        self.give(n, Input::Tick);
                    }
                }
            }
        }
    }

    pub fn ask(&mut self, select: Select, window: Micros) {
        self.ask_when(select, window, When::Now);
    }

    pub fn ask_when(&mut self, select: Select, window: Micros, when: When) {
        let config = Config {
            window,
            ..Config::default()
        };
        let question = Question {
            select,
            request: Request::new(b"?".to_vec()),
            config,
            when,
        };
        self.give(0, Input::Begin(7, Box::new(question)));
    }

    /// How it ended, and when. It ends once.
    pub fn report(&self) -> (Micros, &Report) {
        let done = self.heard.iter().filter_map(|(at, it)| match it {
            Output::Done(7, report) => Some((*at, &**report)),
            _ => None,
        });
        let done: Vec<_> = done.collect();
        assert_eq!(done.len(), 1, "{done:?}");
        done[0]
    }

    pub fn late(&self) -> u32 {
        let late = self.heard.iter().filter_map(|(_, it)| match it {
            Output::Late(7, many, _) => Some(*many),
            _ => None,
        });
        late.sum()
    }
}
