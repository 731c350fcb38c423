//! Layers: default, file, environment and flags, laid on one another by the `config`
//! crate; each value keeps the name of its layer.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};

use chorus_storage::Home;
use config::{Config, ConfigError, File, FileFormat, Map, Source, ValueKind};
use toml::Value;

use super::keys::{KEYS, Key, Kind, SECTIONS};
use crate::error::Failure;

/// The tables of agents.
const AGENT: &str = "agent";

/// What environment variables of settings begin with: `CHORUS__NET__LISTEN`.
const PREFIX: &str = "CHORUS__";

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The home's `chorus.toml`.
    File(PathBuf),
    /// This environment variable.
    Environment(String),
    /// The command line.
    Flag,
}

impl Origin {
    /// What stands in a merged value of `file`: see [`Layer`].
    fn of(value: &config::Value, file: &Path) -> Self {
        match (value.origin(), &value.kind) {
            (Some("default"), _) => Self::Default,
            (Some("command line"), _) => Self::Flag,
            (Some(name), _) => Self::Environment(name.trim_start_matches('$').to_owned()),
            // A table that stands where a value should has no layer; what is in it has.
            (None, ValueKind::Table(inside)) if !inside.is_empty() => inside
                .values()
                .next()
                .map_or(Self::Default, |first| Self::of(first, file)),
            (None, _) => Self::File(file.to_owned()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "${name}"),
            Origin::Flag => f.write_str("command line"),
        }
    }
}

/// A value that counts, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// The setting.
    pub key: &'static str,
    /// Its value; of the setting's kind.
    pub value: Value,
    /// Which layer it is from.
    pub origin: Origin,
    /// What is allowed, in words.
    pub allowed: &'static str,
}

impl Effective {
    /// "This value may not be."
    pub fn refuse(&self) -> Failure {
        let Self {
            key,
            value,
            origin,
            allowed,
        } = self;
        let message = format!("{key} = {value} is not allowed: {allowed} (from {origin})");
        Failure::usage("bad_setting", message)
    }
}

/// Every setting with its value, by name.
pub type Values = BTreeMap<&'static str, Effective>;

/// A layer whose values come as text and know their own names: all but the file, whose
/// values have no origin.
#[derive(Debug, Clone, Default)]
struct Layer(Map<String, config::Value>);

impl Layer {
    fn put(&mut self, key: &Key, text: &str, origin: Origin) {
        let value = config::Value::new(Some(&origin.to_string()), from_text(key.kind, text));
        self.0.insert(key.name.to_owned(), value);
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, config::Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

/// The setting of this name, if there is one.
pub fn known(name: &str, origin: &Origin) -> Result<&'static Key, Failure> {
    let key = KEYS.iter().find(|key| key.name == name);
    key.ok_or_else(|| unknown(name, origin))
}

/// The setting that an environment variable is for; `None` where it is for something else.
/// Not every `CHORUS_…` is ours (`CHORUS_DIR`, or what an orchestrator of containers sets for
/// a service of that name); but one that is a setting's in all but underscores was meant so.
pub fn setting_of(variable: &str) -> Result<Option<&'static Key>, Failure> {
    if let Some(rest) = variable.strip_prefix(PREFIX) {
        let name = rest.to_lowercase().replacen("__", ".", 1);
        let origin = Origin::Environment(variable.to_owned());
        return known(&name, &origin).map(Some);
    }
    let words = |text: &str| {
        text.split('_')
            .filter(|it| !it.is_empty())
            .collect::<String>()
    };
    let mut variables = KEYS.iter().map(|key| variable_of(key.name));
    match variables.find(|it| words(it) == words(variable)) {
        None => Ok(None),
        Some(meant) => {
            let message = format!("the environment variable {variable} sets nothing");
            Err(Failure::usage("unknown_setting", message)
                .hint(format!("two underscores before section and key: {meant}")))
        }
    }
}

/// By which environment variable a setting is given.
fn variable_of(name: &str) -> String {
    format!("{PREFIX}{}", name.to_uppercase().replace('.', "__"))
}

/// Puts the layers on one another. `environment` is all of the process's;
/// `flags` are pairs of a setting's name and text.
pub fn read(
    file: &Path,
    environment: impl Iterator<Item = (String, String)>,
    flags: &[(String, String)],
) -> Result<Values, Failure> {
    let (mut defaults, mut variables, mut told) = <(Layer, Layer, Layer)>::default();
    for key in &KEYS {
        defaults.put(key, key.default, Origin::Default);
    }
    for (variable, text) in environment {
        if let Some(key) = setting_of(&variable)? {
            variables.put(key, &text, Origin::Environment(variable));
        }
    }
    for (name, text) in flags {
        told.put(known(name, &Origin::Flag)?, text, Origin::Flag);
    }
    let merged = Config::builder()
        .add_source(defaults)
        .add_source(File::from_str(&text_of(file)?, FileFormat::Toml))
        .add_source(variables)
        .add_source(told)
        .build()
        .and_then(|merged| merged.collect());
    let merged = merged.map_err(|why| {
        let why = match &why {
            ConfigError::FileParse { cause, .. } => cause.to_string(),
            other => other.to_string(),
        };
        let message = format!("{} is not TOML: {}", file.display(), why.trim());
        Failure::usage("bad_config", message)
    })?;
    let mut values = Values::new();
    // Sorted, so that of several mistakes the same is told each time.
    for (section, value) in BTreeMap::from_iter(merged) {
        let known = SECTIONS.contains(&section.as_str());
        match value.kind {
            ValueKind::Table(keys) if known => {
                for (key, value) in BTreeMap::from_iter(keys) {
                    let origin = Origin::of(&value, file);
                    put(&mut values, &format!("{section}.{key}"), value.kind, origin)?;
                }
            }
            // Of tables that repeat there are no layers: `agents.rs` reads them.
            ValueKind::Array(_) if section == AGENT => {}
            _ => return Err(no_section(&section, file)),
        }
    }
    Ok(values)
}

/// The home's file if it is empty. Refuses a home in which a node lives without one: every
/// home is made with one. A home that cannot be looked into is for others to tell of.
pub fn empty_file(home: &Home) -> Result<Option<PathBuf>, Failure> {
    let file = home.config();
    match std::fs::metadata(&file) {
        Ok(it) => Ok((it.len() == 0).then_some(file)),
        Err(why) if why.kind() == NotFound && home.is_used().unwrap_or(false) => {
            Err(without_file(home))
        }
        Err(_) => Ok(None),
    }
}

/// A node whose file was deleted would come back at other addresses than it is known by.
fn without_file(home: &Home) -> Failure {
    let message = format!(
        "a node lives in {}, but its chorus.toml is gone; without it the node would listen, and \
         be reached, elsewhere than before",
        home.dir().display()
    );
    Failure::usage("no_config", message).hint(
        "restore it, or write it again: `listen` and `advertise` under [net] \
         (run/addresses.json says those of the last run); a comment alone means the defaults",
    )
}

/// The file's text. A missing file is an empty one.
pub fn text_of(path: &Path) -> Result<String, Failure> {
    match std::fs::read_to_string(path) {
        Err(why) if why.kind() == NotFound => Ok(String::new()),
        read => read.map_err(|why| {
            let message = format!("{}: {why}", path.display());
            Failure::usage("bad_config", message)
        }),
    }
}

/// Takes a value over, if there is such a setting and the value is of its kind.
fn put(values: &mut Values, name: &str, kind: ValueKind, origin: Origin) -> Result<(), Failure> {
    let key = known(name, &origin)?;
    let value = match (key.kind, to_toml(kind)) {
        // `coupling = 4` is as good as `4.0`.
        (Kind::Number, Value::Integer(n)) => Value::Float(n as f64),
        (_, value) => value,
    };
    let is_of_kind = match (key.kind, &value) {
        (Kind::Text, Value::String(_)) => true,
        (Kind::List, Value::Array(values)) => values.iter().all(Value::is_str),
        (Kind::Whole(min, max), Value::Integer(n)) => (min..=max).contains(n),
        (Kind::Number, Value::Float(n)) => n.is_finite(),
        _ => false,
    };
    let effective = Effective {
        key: key.name,
        value,
        origin,
        allowed: key.allowed,
    };
    if !is_of_kind {
        return Err(effective.refuse());
    }
    values.insert(key.name, effective);
    Ok(())
}

/// The same value as it would stand in the file.
fn to_toml(kind: ValueKind) -> Value {
    match kind {
        ValueKind::Boolean(value) => Value::Boolean(value),
        ValueKind::I64(value) => Value::Integer(value),
        ValueKind::Float(value) => Value::Float(value),
        ValueKind::String(value) => Value::String(value),
        ValueKind::Array(values) => Value::Array(
            values
                .into_iter()
                .map(|value| to_toml(value.kind))
                .collect(),
        ),
        ValueKind::Table(values) => {
            let values = values.into_iter();
            Value::Table(
                values
                    .map(|(key, value)| (key, to_toml(value.kind)))
                    .collect(),
            )
        }
        // TOML has none of these: its whole numbers are all of 64 bits.
        other => Value::String(other.to_string()),
    }
}

/// What text from outside a file means. What makes no sense stays text, which
/// is then refused as itself.
fn from_text(kind: Kind, text: &str) -> ValueKind {
    let as_is = || ValueKind::String(text.to_owned());
    match kind {
        Kind::Text => as_is(),
        Kind::Whole(..) => text.parse().map_or_else(|_| as_is(), ValueKind::I64),
        Kind::Number => text.parse().map_or_else(|_| as_is(), ValueKind::Float),
        Kind::List => {
            let words = text.split(',').map(str::trim);
            let words = words.filter(|word| !word.is_empty());
            ValueKind::Array(words.map(config::Value::from).collect())
        }
    }
}

fn no_section(name: &str, file: &Path) -> Failure {
    let message = format!("`{name}` in {} is no section", file.display());
    Failure::usage("unknown_setting", message).hint(format!("allowed: {}", sections()))
}

fn sections() -> String {
    format!("[{}] [[{AGENT}]]", SECTIONS.join("] ["))
}

fn unknown(name: &str, origin: &Origin) -> Failure {
    let message = format!("there is no setting `{name}` (from {origin})");
    let section = name.split('.').next().unwrap_or_default();
    let prefix = format!("{section}.");
    let known = KEYS.iter().map(|key| key.name);
    let near: Vec<&str> = known.filter(|known| known.starts_with(&prefix)).collect();
    let alike = KEYS.iter().map(|key| key.name).filter(|known| {
        let own = known.split_once('.').map(|(_, key)| key);
        own == name.rsplit('.').next()
    });
    let alike: Vec<&str> = alike.collect();
    let hint = match (near.as_slice(), alike.as_slice()) {
        ([], []) if SECTIONS.contains(&section) => format!("[{section}] has no settings yet"),
        ([], []) => format!("allowed: {}", sections()),
        ([], alike) => format!("did you mean {}?", alike.join(" or ")),
        (near, _) => format!("allowed: {}", near.join(", ")),
    };
    // With a mistake in another layer it would say no more than this.
    let listed = match origin {
        Origin::Flag => "; `chorus config show` lists every setting",
        _ => "",
    };
    Failure::usage("unknown_setting", message).hint(format!("{hint}{listed}"))
}
