//! Agents: the `[[agent]]` tables of the home's file, one for each agent that the node hosts.

mod kinds;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chorus_actors::worker::AgentPlan;
use chorus_protocol::ids::Label;
use chorus_protocol::impedance::Class;
use serde::Deserialize;

use self::kinds::{Api, Kind, backend};
use crate::error::Failure;

/// Most agents of one node.
const AGENTS_MAX: usize = 10_000;
/// Most capabilities of one agent.
const CAPABILITIES_MAX: usize = 16;
/// What an agent works on at once, and what may wait, where nothing is said.
const CONCURRENCY: usize = 4;
const QUEUE: usize = 64;
/// How long an agent may take, where nothing is said.
const TIMEOUT_MS: u64 = 60_000;
/// The same of a person, who may be away from the desk.
const HUMAN_TIMEOUT_MS: u64 = 3_600_000;

/// The file, of which only this is looked at here.
#[derive(Debug, Default, Deserialize)]
struct Tables {
    #[serde(default)]
    agent: Vec<Table>,
}

/// One table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    kind: Kind,
    /// Which of those that are built in.
    run: Option<String>,
    /// The command and its arguments.
    command: Option<Vec<String>>,
    /// The base of an endpoint.
    url: Option<String>,
    /// The model's name there.
    model: Option<String>,
    /// The file with the endpoint's key, from the home on.
    key_file: Option<PathBuf>,
    /// What is spoken with it.
    api: Option<Api>,
    /// The most tokens of an answer.
    max_tokens: Option<u32>,
    /// What the model is told before each question.
    system: Option<String>,
    /// A to F; where nothing is said what is usual for the kind.
    class: Option<String>,
    #[serde(default)]
    capabilities: Vec<String>,
    /// So many of them: NAME-1, NAME-2, …
    count: Option<usize>,
    concurrency: Option<usize>,
    queue: Option<usize>,
    timeout_ms: Option<u64>,
}

/// The agents that the text of the file names.
pub fn read(text: &str, file: &Path) -> Result<Vec<AgentPlan>, Failure> {
    let tables: Tables = toml::from_str(text).map_err(|why| {
        let message = format!("[[agent]] in {}: {}", file.display(), why.message());
        Failure::usage("bad_agent", message).hint(
            "an agent has `name` and `kind = \"builtin\"` with `run = \"echo\"` or `\"sysinfo\"`, \
             or `kind = \"exec\"` with `command = [\"PROGRAM\", …]`, or `kind = \"openai\"` with \
             `url` and `model` (and `key_file`, `api`, `max_tokens`, `system`), or \
             `kind = \"human\"`, and may have class, capabilities, count, concurrency, queue and timeout_ms",
        )
    })?;
    let mut agents = Vec::new();
    let mut names = BTreeSet::new();
    let dir = file.parent().unwrap_or(Path::new("."));
    for table in &tables.agent {
        for plan in plans(table, dir).map_err(|why| refused(table, file, &why))? {
            if !names.insert(plan.name) {
                let why = format!("there are two agents called {}", plan.name);
                return Err(refused(table, file, &why));
            }
            agents.push(plan);
        }
    }
    if agents.len() > AGENTS_MAX {
        let message = format!(
            "{} agents in {}: a node hosts at most {AGENTS_MAX}",
            agents.len(),
            file.display()
        );
        return Err(Failure::usage("bad_agent", message));
    }
    Ok(agents)
}

fn refused(table: &Table, file: &Path, why: &str) -> Failure {
    let message = format!("[[agent]] {:?} in {}: {why}", table.name, file.display());
    Failure::usage("bad_agent", message)
}

fn plans(table: &Table, dir: &Path) -> Result<Vec<AgentPlan>, String> {
    let backend = backend(table, dir)?;
    let label = |text: &String| Label::new(text).map_err(|why| why.to_string());
    let capabilities: Vec<Label> = table
        .capabilities
        .iter()
        .map(label)
        .collect::<Result<_, _>>()?;
    if capabilities.len() > CAPABILITIES_MAX {
        return Err(format!("at most {CAPABILITIES_MAX} capabilities"));
    }
    let class = table.class.as_deref().map(str::parse::<Class>);
    let class = class.transpose().map_err(|why| why.to_string())?;
    let class = class.unwrap_or(table.kind.class());
    if matches!(table.kind, Kind::Human) && !class.is_human() {
        return Err(format!(
            "class {class} is not for people, who have a time scale of their own: F"
        ));
    }
    let within = |name: &str, value: usize, max: usize| match (1..=max).contains(&value) {
        true => Ok(value),
        false => Err(format!("{name} = {value} is not 1 to {max}")),
    };
    let concurrency = within(
        "concurrency",
        table.concurrency.unwrap_or(CONCURRENCY),
        1_000,
    )?;
    let queue = within("queue", table.queue.unwrap_or(QUEUE), 10_000)?;
    let usual_ms = match table.kind {
        Kind::Human => HUMAN_TIMEOUT_MS,
        _ => TIMEOUT_MS,
    };
    let timeout_ms = table.timeout_ms.unwrap_or(usual_ms);
    if !(1..=86_400_000).contains(&timeout_ms) {
        return Err(format!(
            "timeout_ms = {timeout_ms} is not 1 to 86400000, a day"
        ));
    }
    let names = match table.count {
        None => vec![label(&table.name)?],
        Some(many) => {
            let many = within("count", many, AGENTS_MAX)?;
            let names = (1..=many).map(|n| label(&format!("{}-{n}", table.name)));
            names.collect::<Result<_, _>>()?
        }
    };
    let plan = |name| AgentPlan {
        name,
        class,
        capabilities: capabilities.clone(),
        backend: backend.clone(),
        concurrency,
        queue,
        timeout: Duration::from_millis(timeout_ms),
    };
    Ok(names.into_iter().map(plan).collect())
}

#[cfg(test)]
mod tests {
    use chorus_actors::worker::Backend;

    use super::*;

    fn parsed(text: &str) -> Result<Vec<AgentPlan>, Failure> {
        read(text, Path::new("chorus.toml"))
    }

    #[test]
    fn a_table_is_an_agent_or_as_many_as_it_counts() {
        let agents = parsed(
            "[net]\nlisten = \"0.0.0.0:0\"\n\
             [[agent]]\nname = \"e\"\nkind = \"builtin\"\nrun = \"echo\"\ncapabilities = [\"text\"]\n\
             [[agent]]\nname = \"m\"\nkind = \"builtin\"\nrun = \"sysinfo\"\ncount = 3\nqueue = 7\n",
        )
        .expect("sound tables");
        let names: Vec<_> = agents.iter().map(|it| it.name.to_string()).collect();
        assert_eq!(names, ["e", "m-1", "m-2", "m-3"]);
        assert_eq!(agents[0].capabilities, [Label::new("text").unwrap()]);
        assert_eq!(
            (&agents[0].backend, &agents[3].backend),
            (&Backend::Echo, &Backend::Sysinfo)
        );
        assert_eq!((agents[0].queue, agents[3].queue), (QUEUE, 7));
        assert_eq!(parsed("[net]\n").map(|it| it.len()), Ok(0));
        let exec = "[[agent]]\nname = \"x\"\nkind = \"exec\"\ncommand = [\"python3\", \"a.py\"]\n";
        let agents = parsed(exec).expect("a sound table");
        let command = vec!["python3".to_owned(), "a.py".to_owned()];
        assert_eq!(agents[0].backend, Backend::Exec(command));
    }

    #[test]
    fn a_mistake_is_told_with_the_agent_and_the_file() {
        for (text, why) in [
            (
                "name = \"E\"\nkind = \"builtin\"\nrun = \"echo\"",
                "is not a name",
            ),
            ("name = \"e\"\nkind = \"builtin\"", "`run` is missing"),
            ("name = \"e\"\nkind = \"builtin\"\nrun = \"ls\"", "neither"),
            ("name = \"e\"\nkind = \"magic\"", "unknown variant"),
            ("name = \"e\"\nkind = \"exec\"", "`command` is missing"),
            (
                "name = \"e\"\nkind = \"exec\"\ncommand = []",
                "`command` is missing",
            ),
            (
                "name = \"e\"\nkind = \"exec\"\ncommand = [\"a\"]\nrun = \"echo\"",
                "`run` is for",
            ),
            (
                "name = \"e\"\nkind = \"builtin\"\nrun = \"echo\"\ncolour = 1",
                "unknown field",
            ),
            (
                "name = \"e\"\nkind = \"builtin\"\nrun = \"echo\"\nclass = \"G\"",
                "not a class",
            ),
            (
                "name = \"e\"\nkind = \"builtin\"\nrun = \"echo\"\ncount = 0",
                "count = 0",
            ),
            (
                "name = \"e\"\nkind = \"builtin\"\nrun = \"echo\"\nqueue = 0",
                "queue = 0",
            ),
            (
                "name = \"e\"\nkind = \"builtin\"\nrun = \"echo\"\ntimeout_ms = 0",
                "timeout_ms",
            ),
        ] {
            let failure = parsed(&format!("[[agent]]\n{text}\n")).expect_err(text);
            assert_eq!((failure.exit, failure.code.as_str()), (2, "bad_agent"));
            assert!(failure.message.contains(why), "{why}: {}", failure.message);
            assert!(
                failure.message.contains("chorus.toml"),
                "{}",
                failure.message
            );
        }
        let one = "[[agent]]\nname = \"e\"\nkind = \"builtin\"\nrun = \"echo\"\n";
        let failure = parsed(&one.repeat(2)).expect_err("two of a name");
        assert!(failure.message.contains("two agents called e"));
    }
}
