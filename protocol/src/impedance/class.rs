//! The six classes of agents (seed 2.2): where they run, what they are best for, what to expect of one unmeasured.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Samples of an agent's own that replace the priors of its class.
pub const PRIOR_UNTIL: usize = 8;

/// What kind of agent it is. A person tells; it is not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// A: edge functions.
    #[serde(rename = "A")]
    Edge,
    /// B: serverless functions.
    #[serde(rename = "B")]
    Serverless,
    /// C: containers and servers that run for long.
    #[serde(rename = "C")]
    Persistent,
    /// D: machines with a GPU.
    #[serde(rename = "D")]
    Gpu,
    /// E: small hardware on the spot.
    #[serde(rename = "E")]
    Local,
    /// F: people. Same scheduler, own time scale: see [`Class::is_human`].
    #[serde(rename = "F")]
    Human,
}

/// What the seed's table says of a class, and what stands in for measurements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    /// The letter that commands, JSON and the wire use.
    pub letter: char,
    /// Typical latency in milliseconds, low and high; `None` where the seed gives no figures
    /// (E: "depends on the network"; F: "seconds to hours").
    pub latency_ms: Option<(u32, u32)>,
    /// What agents of the class are best for.
    pub best_for: &'static str,
    /// The most CPU time of one message in milliseconds, where there is a cap.
    pub cpu_cap_ms: Option<u32>,
    /// Of the seed's 30,000 agents, how many are of the class: the mix of `bench mesh`.
    pub allocation: u32,
    /// Processing at weight 0 and an empty queue in milliseconds, until [`PRIOR_UNTIL`]
    /// samples are in (seed 3.1, `base_times`).
    pub processing_prior_ms: u32,
    /// Round trip in milliseconds, until [`PRIOR_UNTIL`] samples are in: the middle of the range
    /// of the model in `tests/vectors/arrival.json` (of E the geometric one).
    pub rtt_prior_ms: u32,
}

impl Class {
    /// All of them, from A to F.
    pub const ALL: [Class; 6] = [
        Class::Edge,
        Class::Serverless,
        Class::Persistent,
        Class::Gpu,
        Class::Local,
        Class::Human,
    ];

    /// The row of the table.
    #[rustfmt::skip]
    pub const fn traits(self) -> Traits {
        let (letter, latency_ms, cpu_cap_ms, allocation, processing_prior_ms, rtt_prior_ms) = match self {
            Class::Edge =>       ('A', Some((5, 20)),             Some(50), 10_000, 10,     12),
            Class::Serverless => ('B', Some((50, 150)),           None,     8_000,  50,     100),
            Class::Persistent => ('C', Some((100, 300)),          None,     5_000,  200,    200),
            Class::Gpu =>        ('D', Some((200, 500)),          None,     2_000,  100,    350),
            Class::Local =>      ('E', None,                      None,     3_000,  150,    90),
            Class::Human =>      ('F', None,                      None,     2_000,  60_000, 100),
        };
        let best_for = match self {
            Class::Edge => "routing, light transforms, caches",
            Class::Serverless => "API handlers, databases, integrations",
            Class::Persistent => "complex reasoning, batches, training",
            Class::Gpu => "embeddings, inference, vision",
            Class::Local => "sensors, local state, the physical world",
            Class::Human => "high stakes, new situations, oversight",
        };
        Traits { letter, latency_ms, best_for, cpu_cap_ms, allocation, processing_prior_ms, rtt_prior_ms }
    }

    /// Whether it is a person. People are scheduled like all others, but on a time scale of their
    /// own: they are no candidates for a window of 500 ms unless asked for by class, their score
    /// is always the highest, and no summary of scores counts them.
    pub const fn is_human(self) -> bool {
        matches!(self, Class::Human)
    }

    /// The class whose turn it is when `n` agents are made in the seed's mix: any 30 in a row
    /// hold 10 A, 8 B, 5 C, 2 D, 3 E and 2 F.
    pub const fn of_mix(n: u64) -> Class {
        let turn = (n % 30) as u32;
        let mut below = 0;
        let mut at = 0;
        while at + 1 < Class::ALL.len() {
            below += Class::ALL[at].traits().allocation / 1_000;
            if turn < below {
                return Class::ALL[at];
            }
            at += 1;
        }
        Class::Human
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.traits().letter.encode_utf8(&mut [0; 4]))
    }
}

/// Text that is not a class.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a class: A, B, C, D, E or F")]
pub struct BadClass(pub String);

impl FromStr for Class {
    type Err = BadClass;
    fn from_str(text: &str) -> Result<Self, BadClass> {
        let named = |class: &Class| text.chars().eq([class.traits().letter]);
        let found = Class::ALL.into_iter().find(named);
        found.ok_or_else(|| BadClass(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_seeds() {
        let table = Class::ALL.map(Class::traits);
        assert_eq!(
            table.map(|row| row.allocation),
            [10_000, 8_000, 5_000, 2_000, 3_000, 2_000]
        );
        assert_eq!(
            table.map(|row| row.processing_prior_ms),
            [10, 50, 200, 100, 150, 60_000]
        );
        let ranges = table.map(|row| row.latency_ms);
        assert_eq!(ranges[..2], [Some((5, 20)), Some((50, 150))]);
        assert_eq!(
            ranges[2..],
            [Some((100, 300)), Some((200, 500)), None, None]
        );
        assert_eq!(
            table.map(|row| row.cpu_cap_ms),
            [Some(50), None, None, None, None, None]
        );
        assert_eq!(
            Class::ALL.map(Class::is_human).map(u8::from),
            [0, 0, 0, 0, 0, 1]
        );
    }

    #[test]
    fn the_mix_is_the_allocation() {
        for class in Class::ALL {
            let made = (0..30_000).filter(|n| Class::of_mix(*n) == class).count();
            assert_eq!(made, class.traits().allocation as usize, "{class}");
        }
    }

    #[test]
    fn letters_are_read_and_written() {
        for class in Class::ALL {
            assert_eq!(class.to_string().parse(), Ok(class));
            let json = serde_json::to_string(&class).map_err(|e| e.to_string());
            assert_eq!(json, Ok(format!("\"{class}\"")));
        }
        for bad in ["", "a", "G", "AB"] {
            assert_eq!(bad.parse::<Class>(), Err(BadClass(bad.into())));
        }
    }
}
