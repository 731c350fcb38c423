//! Settings: the whole configuration, read in layers and checked before a port opens.
//!
//! Default < `DIR/chorus.toml` < `CHORUS__SECTION__KEY` < command line. A key
//! that does not exist is refused in every layer; a bad value is named with its
//! key, what is allowed, and the layer it is from. Secrets are never settings.

pub mod agents;
mod keys;
mod layers;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use chorus_actors::MemoryPlan;
use chorus_actors::transport::sockets::Ports;
use chorus_actors::worker::AgentPlan;
use chorus_protocol::gossip;
use chorus_protocol::ids::{Label, Role};
use chorus_protocol::membership::detector;
use chorus_protocol::memory::checkpoint;
use chorus_protocol::phase::{gate, kuramoto};
use chorus_protocol::trust::item::{ADDRESSES_MAX, Entry, HOST_BYTES_MAX};
use chorus_protocol::units::Micros;
use chorus_storage::Home;
use toml::Value;

use crate::cli::Context;
use crate::error::Failure;
pub use keys::KEYS;
use layers::Origin;
pub use layers::{Effective, Values};

/// The door listens so many ports above the first.
pub const DOOR_PORT_OFFSET: u16 = 4;

/// A configuration that is valid as a whole.
#[derive(Debug, Clone)]
pub struct Settings {
    values: Values,
    /// The address to listen on.
    pub host: IpAddr,
    /// The ports; all 0 when the system chooses.
    pub ports: Ports,
    /// Names by which others reach this node, best first.
    pub advertise: Vec<String>,
    /// How it gossips.
    pub gossip: gossip::Config,
    /// How it keeps memory.
    pub memory: MemoryPlan,
    /// How it makes checkpoints.
    pub checkpoints: checkpoint::Config,
    /// The agents that it hosts.
    pub agents: Vec<AgentPlan>,
    /// Where metrics are served; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// Whether log lines are JSON.
    pub log_json: bool,
    /// The home's `chorus.toml` if it is empty, which no home begins with.
    pub empty_file: Option<PathBuf>,
}

/// Refuses settings of the command line that do not exist, for verbs that read none too:
/// whoever gives one expects it to count.
pub fn refuse_unknown_flags(overrides: &[(String, String)]) -> Result<(), Failure> {
    let mut names = overrides.iter().map(|(name, _)| name);
    names.try_for_each(|name| layers::known(name, &Origin::Flag).map(drop))
}

/// The same for the environment.
pub fn refuse_unknown_variables() -> Result<(), Failure> {
    environment().try_for_each(|(name, _)| layers::setting_of(&name).map(drop))
}

/// The process's variables. One that is not text is none of ours, or is refused as `�`.
fn environment() -> impl Iterator<Item = (String, String)> {
    let text = |s: std::ffi::OsString| s.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (text(name), text(value)))
}

impl Settings {
    /// The settings of the home and the command line in `ctx`.
    pub fn load(ctx: &Context) -> Result<Self, Failure> {
        let home = Home::at(&ctx.dir);
        let empty_file = layers::empty_file(&home)?;
        let values = layers::read(&home.config(), environment(), &ctx.overrides)?;
        let agents = agents::read(&layers::text_of(&home.config())?, &home.config())?;
        Ok(Self {
            empty_file,
            agents,
            ..Self::of(values)?
        })
    }

    /// Checks every value, alone and against the others.
    fn of(values: Values) -> Result<Self, Failure> {
        let reader = Reader(&values);
        for name in ["node.name", "node.sector", "node.cluster"] {
            reader.check(name, |text| text.is_empty() || Label::new(text).is_ok())?;
        }
        reader.check("node.role", |text| {
            text.is_empty() || text.parse::<Role>().is_ok()
        })?;
        let (host, ports) = reader.listen()?;
        let advertise = reader.advertise()?;
        let gossip = reader.gossip()?;
        let metrics = match reader.text("metrics.listen") {
            "" => None,
            text => Some(text.parse().map_err(|_| reader.refuse("metrics.listen"))?),
        };
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        reader.check("log.level", |text| levels.contains(&text))?;
        reader.check("log.format", |text| ["text", "json"].contains(&text))?;
        Ok(Self {
            host,
            ports,
            advertise,
            gossip,
            memory: MemoryPlan {
                copies: reader.whole("memory.copies") as usize,
                bytes_max: reader.whole("memory.bytes_max"),
            },
            checkpoints: checkpoint::Config::every(Micros::from_secs(
                reader.whole("memory.checkpoint_s"),
            )),
            agents: Vec::new(),
            metrics,
            log_level: reader.text("log.level").to_owned(),
            log_json: reader.text("log.format") == "json",
            empty_file: None,
            values,
        })
    }

    /// Every value with its origin, in the order in which people read them.
    pub fn effective(&self) -> impl Iterator<Item = &Effective> {
        KEYS.iter().filter_map(|key| self.values.get(key.name))
    }

    /// Whether nobody is told where it listens, and nobody said where it should.
    pub fn is_outward_only(&self) -> bool {
        let listen = self.values.get("net.listen");
        self.advertise.is_empty() && listen.is_none_or(|it| it.origin == Origin::Default)
    }

    /// Refuses `[node]` where it says something else than the roster, which decides.
    pub fn agrees_with(&self, entry: &Entry) -> Result<(), Failure> {
        let place = entry.place;
        for (key, is) in [
            ("node.name", entry.name.as_str()),
            ("node.role", entry.role.as_str()),
            ("node.sector", place.sector.as_str()),
            ("node.cluster", place.cluster.as_str()),
        ] {
            let reader = Reader(&self.values);
            let said = reader.text(key);
            if !said.is_empty() && said != is {
                let origin = &reader.get(key).origin;
                let message =
                    format!("{key} = \"{said}\" (from {origin}), but the roster says `{is}`");
                return Err(Failure::usage("differs_from_roster", message)
                    .hint("take the setting out; the roster decides, and a new token changes it"));
            }
        }
        Ok(())
    }
}

/// Typed looks at values, which are of their setting's kind already.
struct Reader<'v>(&'v Values);

impl Reader<'_> {
    fn get(&self, key: &str) -> &Effective {
        let value = self.0.get(key);
        value.expect("invariant: every key of the table has a value, and only those are asked for")
    }

    fn refuse(&self, key: &str) -> Failure {
        self.get(key).refuse()
    }

    /// Refuses a value because of another one, which may be the one to change.
    fn refuse_beside(&self, key: &str, other: &str) -> Failure {
        let Effective { value, origin, .. } = self.get(other);
        self.refuse(key)
            .hint(format!("{other} is {value} (from {origin})"))
    }

    fn text(&self, key: &str) -> &str {
        self.get(key).value.as_str().unwrap_or_default()
    }

    fn whole(&self, key: &str) -> u64 {
        let number = self.get(key).value.as_integer();
        number.and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
    }

    fn number(&self, key: &str) -> f64 {
        self.get(key).value.as_float().unwrap_or(f64::NAN)
    }

    fn span(&self, key: &str) -> Micros {
        Micros::from_millis(self.whole(key))
    }

    fn check(&self, key: &str, is_allowed: impl Fn(&str) -> bool) -> Result<(), Failure> {
        match is_allowed(self.text(key)) {
            true => Ok(()),
            false => Err(self.refuse(key)),
        }
    }

    fn listen(&self) -> Result<(IpAddr, Ports), Failure> {
        let refuse = || self.refuse("net.listen");
        let address: SocketAddr = self.text("net.listen").parse().map_err(|_| refuse())?;
        let first = address.port();
        if first == 0 {
            return Ok((address.ip(), Ports::default()));
        }
        let door = first.checked_add(DOOR_PORT_OFFSET).ok_or_else(refuse)?;
        let ports = Ports {
            router: first,
            publisher: first + 1,
            subscriber: first + 2,
            memory: first + 3,
            door,
        };
        Ok((address.ip(), ports))
    }

    fn advertise(&self) -> Result<Vec<String>, Failure> {
        let list = self.get("net.advertise").value.as_array();
        let hosts = list.into_iter().flatten().filter_map(Value::as_str);
        let hosts: Vec<String> = hosts.map(str::to_owned).collect();
        let is_host = |host: &String| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
            let length = (1..=HOST_BYTES_MAX).contains(&host.len());
            length && (host.bytes().all(plain) || host.parse::<IpAddr>().is_ok())
        };
        if hosts.len() > ADDRESSES_MAX || !hosts.iter().all(is_host) {
            return Err(self.refuse("net.advertise"));
        }
        Ok(hosts)
    }

    fn gossip(&self) -> Result<gossip::Config, Failure> {
        let phase = self.phase()?;
        let (period, phase_ttl) = (
            self.span("gossip.period_ms"),
            self.span("gossip.phase_ttl_ms"),
        );
        let gate = gate::Config {
            gossip_period: period,
            ttl: phase_ttl,
        };
        gate.validate()
            .map_err(|_| self.refuse_beside("gossip.phase_ttl_ms", "gossip.period_ms"))?;
        let heartbeat = self.span("gossip.heartbeat_ms");
        let detector = detector::Config {
            silence: self.span("membership.silence_ms"),
            silence_heartbeat: self.span("membership.silence_heartbeat_ms"),
            round: self.span("membership.round_ms"),
            rounds: u8::try_from(self.whole("membership.rounds"))
                .map_err(|_| self.refuse("membership.rounds"))?,
        };
        if detector.silence < period.times(2) {
            return Err(self.refuse_beside("membership.silence_ms", "gossip.period_ms"));
        }
        if detector.silence_heartbeat <= heartbeat {
            return Err(
                self.refuse_beside("membership.silence_heartbeat_ms", "gossip.heartbeat_ms")
            );
        }
        let membership_ttl = self.span("membership.ttl_ms");
        let rounds = detector.round.times(u64::from(detector.rounds));
        if membership_ttl <= detector.silence_heartbeat + rounds {
            return Err(self.refuse_beside("membership.ttl_ms", "membership.silence_heartbeat_ms"));
        }
        Ok(gossip::Config {
            period,
            phase_ttl,
            heartbeat,
            news: self.span("gossip.news_ms"),
            membership_ttl,
            patience: self.span("membership.patience_ms"),
            retry_better: self.span("membership.retry_better_ms"),
            detector,
            phase,
            gate,
        })
    }

    fn phase(&self) -> Result<kuramoto::Config, Failure> {
        let phase = kuramoto::Config {
            coupling: self.number("phase.coupling"),
            sigma: self.number("phase.sigma"),
            dt_s: self.number("phase.dt_s"),
            spread: self.number("phase.spread"),
            base_hz: self.number("phase.base_hz"),
            velocity_max: self.number("phase.velocity_max"),
        };
        match phase.validate() {
            Err(kuramoto::Error::Setting { key, .. }) => Err(self.refuse(&format!("phase.{key}"))),
            Err(other) => Err(Failure::usage("bad_setting", other.to_string())),
            Ok(()) => Ok(phase),
        }
    }
}

#[cfg(test)]
mod tests;
