//! Keys: every setting there is, with its kind, default, range and meaning.
//!
//! A default that the protocol has is checked against it by a test, so that
//! there are not two truths. A section without keys is accepted and may be empty.

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Text.
    Text,
    /// A list of texts.
    List,
    /// A whole number in this range, both ends allowed.
    Whole(i64, i64),
    /// A number; its range is checked with the others of its section.
    Number,
}

/// A setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// `section.key`.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// The default, written as the environment would; a list's words are parted by commas.
    pub default: &'static str,
    /// What is allowed, in words, with the unit.
    pub allowed: &'static str,
    /// What it does, and where the default comes from.
    pub about: &'static str,
}

/// The sections of the file.
pub const SECTIONS: [&str; 10] = [
    "node",
    "net",
    "gossip",
    "phase",
    "membership",
    "memory",
    "store",
    "limits",
    "metrics",
    "log",
];

/// Milliseconds: up to ten minutes for every span.
const SPAN_MS: Kind = Kind::Whole(1, 600_000);

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    allowed: &'static str,
    about: &'static str,
) -> Key {
    Key {
        name,
        kind,
        default,
        allowed,
        about,
    }
}

const LABEL: &str = "empty, or 1 to 24 of a-z, 0-9, - _ . :";

/// Every setting, in the order in which people read them.
pub const KEYS: [Key; 29] = [
    key(
        "node.name",
        Kind::Text,
        "",
        LABEL,
        "The name this node must have on the roster; empty: any. It does not rename.",
    ),
    key(
        "node.role",
        Kind::Text,
        "",
        "empty, orchestrator, coordinator, lead or agent",
        "The role this node must have on the roster; empty: any.",
    ),
    key(
        "node.sector",
        Kind::Text,
        "",
        LABEL,
        "The sector this node must stand in; empty: any.",
    ),
    key(
        "node.cluster",
        Kind::Text,
        "",
        LABEL,
        "The cluster this node must stand in; empty: any.",
    ),
    key(
        "net.listen",
        Kind::Text,
        "0.0.0.0:7400",
        "ADDRESS:PORT with an IP address ([…] for IPv6), port 0 or 1 to 65531",
        "ROUTER listens here, PUB one port up, SUB two, the door four; port 0 chooses all.",
    ),
    key(
        "net.advertise",
        Kind::List,
        "",
        "up to 8 host names or IP addresses, without a port",
        "By what others reach this node, best first; none: it only connects outward.",
    ),
    key(
        "gossip.period_ms",
        SPAN_MS,
        "100",
        "1 to 600000 ms",
        "Between two frames of phase. The mathematics' 10 Hz.",
    ),
    key(
        "gossip.phase_ttl_ms",
        SPAN_MS,
        "1000",
        "1 to 600000 ms, more than 1.5 gossip.period_ms",
        "A phase not renewed for this long leaves the field. Ten periods.",
    ),
    key(
        "gossip.heartbeat_ms",
        SPAN_MS,
        "5000",
        "1 to 600000 ms",
        "Between two heartbeats.",
    ),
    key(
        "gossip.news_ms",
        SPAN_MS,
        "1000",
        "1 to 600000 ms",
        "Between two rounds of peer exchange.",
    ),
    key(
        "phase.coupling",
        Kind::Number,
        "4.0",
        "0 to 100 rad/s; times phase.dt_s below 1",
        "K, how strongly phases pull at each other.",
    ),
    key(
        "phase.sigma",
        Kind::Number,
        "0.1",
        "0 to 10 rad/√s",
        "The noise of a phase.",
    ),
    key(
        "phase.dt_s",
        Kind::Number,
        "0.01",
        "0.0001 to 0.1 s",
        "Length of an integration step.",
    ),
    key(
        "phase.spread",
        Kind::Number,
        "0.5",
        "0 to 10 rad/s",
        "Standard deviation of the natural frequencies.",
    ),
    key(
        "phase.base_hz",
        Kind::Number,
        "1.0",
        "above 0 to 100 Hz",
        "The mean natural frequency.",
    ),
    key(
        "phase.velocity_max",
        Kind::Number,
        "25.132741228718345",
        "2π·phase.base_hz to 10000 rad/s",
        "Bound on the speed of a phase; 4·2π·1 Hz stops only faults.",
    ),
    key(
        "membership.ttl_ms",
        SPAN_MS,
        "30000",
        "1 to 600000 ms, more than membership.silence_heartbeat_ms and its rounds of probes",
        "A node unheard for this long is evicted where no detector watches it.",
    ),
    key(
        "membership.silence_ms",
        SPAN_MS,
        "1000",
        "1 to 600000 ms, at least twice gossip.period_ms",
        "Silence that makes a peer suspect where phases flow. Ten periods.",
    ),
    key(
        "membership.silence_heartbeat_ms",
        SPAN_MS,
        "10200",
        "1 to 600000 ms, more than gossip.heartbeat_ms",
        "The same where only heartbeats flow: two of them and their jitter.",
    ),
    key(
        "membership.round_ms",
        SPAN_MS,
        "500",
        "1 to 600000 ms",
        "Length of one round of probes.",
    ),
    key(
        "membership.rounds",
        Kind::Whole(1, 20),
        "3",
        "1 to 20",
        "Rounds of probes before eviction.",
    ),
    key(
        "membership.patience_ms",
        SPAN_MS,
        "2000",
        "1 to 600000 ms",
        "How long a possible parent may take to answer; after a round in vain one of them, each time another, is given 5/2 of this.",
    ),
    key(
        "membership.retry_better_ms",
        SPAN_MS,
        "5000",
        "1 to 600000 ms",
        "Between two tries to get back to a better parent.",
    ),
    key(
        "memory.copies",
        Kind::Whole(1, 100),
        "20",
        "1 to 100; the same on every node of a mesh",
        "How many nodes hold each key, or all where there are fewer. Kademlia's k.",
    ),
    key(
        "memory.bytes_max",
        Kind::Whole(1_048_576, 1_099_511_627_776),
        "1073741824",
        "1048576 to 1099511627776 bytes",
        "What this node's memory may come to, without the files' overhead; more is refused. A \
         wild guess, 1 GiB.",
    ),
    key(
        "memory.checkpoint_s",
        Kind::Whole(2, 86_400),
        "60",
        "2 to 86400 s",
        "Between two checkpoints of the phase vector, at least. The mathematics' one a minute.",
    ),
    key(
        "metrics.listen",
        Kind::Text,
        "127.0.0.1:7409",
        "empty, or ADDRESS:PORT with an IP address; port 0 chooses",
        "Where the metrics page is served; empty: nowhere.",
    ),
    key(
        "log.level",
        Kind::Text,
        "info",
        "off, error, warn, info, debug or trace",
        "The least important line that is written.",
    ),
    key(
        "log.format",
        Kind::Text,
        "text",
        "text or json",
        "Lines for people or for programs.",
    ),
];
