//! Kinds: what answers in place of an agent, and which keys of a table say so.

use std::fmt;
use std::path::Path;

use chorus_actors::worker::Backend;
use chorus_actors::worker::openai::{self, Endpoint};
use chorus_protocol::impedance::Class;
use serde::Deserialize;

use super::Table;

/// The longest name of a model, and the longest system text, in bytes.
const MODEL_BYTES_MAX: usize = 256;
const SYSTEM_BYTES_MAX: usize = 16 * 1024;
/// Most tokens that an answer may be asked for; at a byte each more than one may have.
const TOKENS_MAX: u32 = 16 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Builtin,
    Exec,
    OpenAi,
    Human,
}

impl Kind {
    /// What is usual: what is built in answers at once, a command is a process that runs for
    /// long, a model wants a GPU.
    pub const fn class(self) -> Class {
        match self {
            Kind::Builtin => Class::Edge,
            Kind::Exec => Class::Persistent,
            Kind::OpenAi => Class::Gpu,
            Kind::Human => Class::Human,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Builtin => "builtin",
            Kind::Exec => "exec",
            Kind::OpenAi => "openai",
            Kind::Human => "human",
        })
    }
}

/// What is spoken with an endpoint.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    Chat,
    Completions,
}

/// What a table says that answers; files that it names are sought from `dir` on.
pub fn backend(table: &Table, dir: &Path) -> Result<Backend, String> {
    belongs(table)?;
    match table.kind {
        Kind::Builtin => match table.run.as_deref() {
            Some("echo") => Ok(Backend::Echo),
            Some("sysinfo") => Ok(Backend::Sysinfo),
            Some(other) => Err(format!(
                "run = {other:?} is neither \"echo\" nor \"sysinfo\""
            )),
            None => Err("`run` is missing: \"echo\" or \"sysinfo\"".into()),
        },
        Kind::Exec => match table.command.as_deref() {
            None | Some([]) => {
                Err("`command` is missing: a list, the program first, then its arguments".into())
            }
            Some(command) => Ok(Backend::Exec(command.to_vec())),
        },
        Kind::OpenAi => endpoint(table, dir).map(Backend::OpenAi),
        Kind::Human => Ok(Backend::Human),
    }
}

/// Refuses a key that says something of another kind: whoever wrote it expects it to count.
fn belongs(table: &Table) -> Result<(), String> {
    let keys = [
        ("run", table.run.is_some(), Kind::Builtin),
        ("command", table.command.is_some(), Kind::Exec),
        ("url", table.url.is_some(), Kind::OpenAi),
        ("model", table.model.is_some(), Kind::OpenAi),
        ("key_file", table.key_file.is_some(), Kind::OpenAi),
        ("api", table.api.is_some(), Kind::OpenAi),
        ("max_tokens", table.max_tokens.is_some(), Kind::OpenAi),
        ("system", table.system.is_some(), Kind::OpenAi),
    ];
    let foreign = keys.iter().find(|(_, is, of)| *is && *of != table.kind);
    if let Some((name, _, of)) = foreign {
        return Err(format!(
            "`{name}` is for kind = \"{of}\", not \"{}\"",
            table.kind
        ));
    }
    if table.kind == Kind::Human && table.concurrency.is_some() {
        let why = "`concurrency` is not for kind = \"human\": a person sees all that wait, \
                   at most `queue`";
        return Err(why.into());
    }
    Ok(())
}

fn endpoint(table: &Table, dir: &Path) -> Result<Endpoint, String> {
    let url = table.url.as_deref();
    let url = url.ok_or("`url` is missing, such as \"http://127.0.0.1:8000/v1\"")?;
    let url = url.parse().map_err(|why| format!("url = {url:?}: {why}"))?;
    let model = table.model.as_deref().unwrap_or_default();
    if model.is_empty() || model.len() > MODEL_BYTES_MAX {
        return Err(format!(
            "`model` is missing: its name at the endpoint, at most {MODEL_BYTES_MAX} bytes"
        ));
    }
    if let Some(most) = table.max_tokens
        && !(1..=TOKENS_MAX).contains(&most)
    {
        return Err(format!("max_tokens = {most} is not 1 to {TOKENS_MAX}"));
    }
    let system = table.system.clone();
    if system
        .as_ref()
        .is_some_and(|it| it.len() > SYSTEM_BYTES_MAX)
    {
        return Err(format!("`system` has more than {SYSTEM_BYTES_MAX} bytes"));
    }
    let key_file = table.key_file.as_ref().map(|path| dir.join(path));
    // It is read for each question; that it can be read is better known now.
    key_file.as_deref().map_or(Ok(()), openai::check_key)?;
    Ok(Endpoint {
        url,
        model: model.to_owned(),
        key_file,
        api: match table.api {
            None | Some(Api::Chat) => openai::Api::Chat,
            Some(Api::Completions) => openai::Api::Completions,
        },
        max_tokens: table.max_tokens,
        system,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use chorus_actors::worker::AgentPlan;

    use super::*;
    use crate::error::Failure;

    fn agents(dir: &Path, text: &str) -> Result<Vec<AgentPlan>, Failure> {
        let text = format!("[[agent]]\nname = \"a\"\n{text}\n");
        super::super::read(&text, &dir.join("chorus.toml"))
    }

    const MODEL: &str = "kind = \"openai\"\nurl = \"http://127.0.0.1:8000/v1\"\nmodel = \"m\"\n";

    #[test]
    fn a_model_has_an_endpoint_and_a_person_an_hour() {
        let dir = tempfile::tempdir().expect("a folder");
        let plans = agents(dir.path(), MODEL).expect("a sound table");
        let Backend::OpenAi(plain) = &plans[0].backend else {
            panic!("{plans:?}");
        };
        assert_eq!(plain.url.to_string(), "http://127.0.0.1:8000/v1");
        assert_eq!((plain.api, &plain.key_file), (openai::Api::Chat, &None));
        assert_eq!(plans[0].timeout, Duration::from_secs(60));

        let key = dir.path().join("llm.key");
        fs::write(&key, "sk-1\n").expect("it is written");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("its mode");
        let more = "api = \"completions\"\nmax_tokens = 9\nsystem = \"s\"\nkey_file = \"llm.key\"";
        let plans = agents(dir.path(), &format!("{MODEL}{more}")).expect("a sound table");
        let full = Endpoint {
            api: openai::Api::Completions,
            max_tokens: Some(9),
            system: Some("s".into()),
            key_file: Some(key),
            ..plain.clone()
        };
        assert_eq!(plans[0].backend, Backend::OpenAi(full));

        let plans = agents(dir.path(), "kind = \"human\"\nqueue = 5").expect("a sound table");
        assert_eq!((&plans[0].backend, plans[0].queue), (&Backend::Human, 5));
        assert_eq!(plans[0].timeout, Duration::from_secs(3_600));
        let short = "kind = \"human\"\ntimeout_ms = 1000";
        let plans = agents(dir.path(), short).expect("a sound table");
        assert_eq!(plans[0].timeout, Duration::from_secs(1));
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_what_would() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = dir.path().join("open.key");
        fs::write(&open, "sk-1\n").expect("it is written");
        fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).expect("its mode");
        let with = |more: &str| format!("{MODEL}{more}");
        for (text, why) in [
            (
                "kind = \"openai\"\nmodel = \"m\"".into(),
                "`url` is missing",
            ),
            (
                "kind = \"openai\"\nurl = \"http://a/v1\"".into(),
                "`model` is missing",
            ),
            (
                "kind = \"openai\"\nurl = \"a:1\"\nmodel = \"m\"".into(),
                "http://",
            ),
            (
                "kind = \"openai\"\nurl = \"https://a/v1\"\nmodel = \"m\"".into(),
                "proxy",
            ),
            (with("max_tokens = 0"), "max_tokens = 0"),
            (with("api = \"chats\""), "unknown variant"),
            (with("key = \"sk-1\""), "unknown field"),
            (with("key_file = \"none.key\""), "none.key"),
            (with("key_file = \"open.key\""), "chmod 600"),
            (with("run = \"echo\""), "`run` is for kind = \"builtin\""),
            (
                "kind = \"human\"\nmodel = \"m\"".into(),
                "`model` is for kind = \"openai\", not \"human\"",
            ),
            (
                "kind = \"exec\"\ncommand = [\"a\"]\nsystem = \"s\"".into(),
                "`system` is for",
            ),
            ("kind = \"human\"\nconcurrency = 2".into(), "`queue`"),
        ] {
            let failure = agents(dir.path(), &text).expect_err(&text);
            assert_eq!((failure.exit, failure.code.as_str()), (2, "bad_agent"));
            assert!(failure.message.contains(why), "{why}: {}", failure.message);
            assert!(!failure.message.contains("sk-1"), "{}", failure.message);
        }
    }
}
