//! Layers: default, file, environment and flags, each read apart so that every
//! value can say where it comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Value;

use super::keys::{KEYS, Kind, SECTIONS};
use crate::error::Failure;

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

/// Puts the layers on one another. `environment` is all of the process's;
/// `flags` are pairs of a setting's name and text.
pub fn read(
    file: &Path,
    environment: impl Iterator<Item = (String, String)>,
    flags: &[(String, String)],
) -> Result<Values, Failure> {
    let mut values = Values::new();
    for key in &KEYS {
        put(
            &mut values,
            key.name,
            from_text(key.kind, key.default),
            Origin::Default,
        )?;
    }
    for (name, value) in of_file(file)? {
        put(&mut values, &name, value, Origin::File(file.to_path_buf()))?;
    }
    for (variable, text) in environment {
        if let Some(rest) = variable.strip_prefix(PREFIX) {
            let name = rest.to_lowercase().replacen("__", ".", 1);
            let origin = Origin::Environment(variable);
            put(&mut values, &name, from_text(kind_of(&name), &text), origin)?;
        }
    }
    for (name, text) in flags {
        put(
            &mut values,
            name,
            from_text(kind_of(name), text),
            Origin::Flag,
        )?;
    }
    Ok(values)
}

/// The file's settings as `section.key`. A missing file is an empty one.
fn of_file(path: &Path) -> Result<Vec<(String, Value)>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => {
            let message = format!("{}: {why}", path.display());
            return Err(Failure::usage("bad_config", message));
        }
    };
    let table: toml::Table = text.parse().map_err(|why: toml::de::Error| {
        let message = format!("{} is not TOML: {}", path.display(), why.to_string().trim());
        Failure::usage("bad_config", message)
    })?;
    let mut settings = Vec::new();
    for (section, value) in table {
        let known = SECTIONS.contains(&section.as_str());
        match value {
            Value::Table(keys) if known => {
                settings.extend(
                    keys.into_iter()
                        .map(|(key, v)| (format!("{section}.{key}"), v)),
                );
            }
            _ => {
                let message = format!("`{section}` in {} is no section", path.display());
                let hint = format!("allowed: [{}]", SECTIONS.join("] ["));
                return Err(Failure::usage("unknown_setting", message).hint(hint));
            }
        }
    }
    Ok(settings)
}

/// Sets a value over that of an earlier layer, if there is such a setting and
/// the value is of its kind.
fn put(values: &mut Values, name: &str, value: Value, origin: Origin) -> Result<(), Failure> {
    let Some(key) = KEYS.iter().find(|key| key.name == name) else {
        return Err(unknown(name, &origin));
    };
    let is_of_kind = match (key.kind, &value) {
        (Kind::Text, Value::String(_)) => true,
        (Kind::List, Value::Array(values)) => values.iter().all(Value::is_str),
        (Kind::Whole(min, max), Value::Integer(n)) => (min..=max).contains(n),
        // `coupling = 4` is as good as `4.0`.
        (Kind::Number, Value::Integer(_)) => true,
        (Kind::Number, Value::Float(n)) => n.is_finite(),
        _ => false,
    };
    let value = match (key.kind, value) {
        (Kind::Number, Value::Integer(n)) => Value::Float(n as f64),
        (_, value) => value,
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

fn kind_of(name: &str) -> Kind {
    let key = KEYS.iter().find(|key| key.name == name);
    key.map_or(Kind::Text, |key| key.kind)
}

/// What text from outside a file means. What makes no sense stays text, which
/// is then refused as itself.
fn from_text(kind: Kind, text: &str) -> Value {
    let as_is = || Value::String(text.to_owned());
    match kind {
        Kind::Text => as_is(),
        Kind::Whole(..) => text.parse().map_or_else(|_| as_is(), Value::Integer),
        Kind::Number => text.parse().map_or_else(|_| as_is(), Value::Float),
        Kind::List => {
            let words = text
                .split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty());
            Value::Array(words.map(|word| Value::String(word.to_owned())).collect())
        }
    }
}

fn unknown(name: &str, origin: &Origin) -> Failure {
    let message = format!("there is no setting `{name}` (from {origin})");
    let section = name.split('.').next().unwrap_or_default();
    let prefix = format!("{section}.");
    let known = KEYS.iter().map(|key| key.name);
    let near: Vec<&str> = known.filter(|known| known.starts_with(&prefix)).collect();
    let hint = match (near.is_empty(), SECTIONS.contains(&section)) {
        (false, _) => format!("allowed: {}", near.join(", ")),
        (true, true) => format!("[{section}] has no settings yet"),
        (true, false) => format!("allowed: [{}]", SECTIONS.join("] [")),
    };
    Failure::usage("unknown_setting", message).hint(hint)
}
