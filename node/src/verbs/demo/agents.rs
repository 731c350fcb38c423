//! The agents of the demo, of several kinds and spread over the mesh, and what they are asked.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chorus_protocol::impedance::Class;
use chorus_storage::Home;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::mesh::Mesh;
use crate::control::operations::{Agents, Ask, At};
use crate::control::{self, Request};
use crate::error::Failure;

/// Speaks one JSON object a line, as any command does that somebody plugs in.
const SCRIPT: &str = r#"while read -r line; do id=$(printf '%s' "$line" | sed 's/.*"id":\([0-9]*\).*/\1/'); echo "{\"id\":$id,\"answer\":\"a shell heard it\"}"; done"#;
/// The whole window of the question while a node dies: longer than it takes to notice.
const DYING: u64 = 8_000;
/// How long a question to a whole mesh may take from then to its T.
const LIMIT: u64 = 5_000;

/// How many agents there are, of which kinds, and how often all are asked.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub agents: usize,
    pub questions: usize,
    pub kinds: Kinds,
}

/// Of which kinds agents are.
#[derive(Debug, Clone)]
pub enum Kinds {
    /// Of several, with an OpenAI-compatible endpoint among them if there is one.
    Mixed { openai: Option<String> },
    /// All answer at once with what they are asked.
    Echoes,
    /// Commands, `PROGRAM bench agent`, that take as long as an agent of their class in the model.
    Model {
        program: PathBuf,
        classes: Vec<Class>,
    },
}

/// Writes the agents of the player `at` into its home's file, before it starts.
pub fn equip(wanted: &Wanted, home: &Home, at: usize, players: usize) -> Result<(), Failure> {
    let hosts = players - 1;
    let own = (0..wanted.agents).filter(|n| at == 1 + n % hosts);
    let tables: String = match &wanted.kinds {
        Kinds::Mixed { openai } => own.map(|n| table(openai.as_deref(), n)).collect(),
        Kinds::Echoes => echoes(own.count()),
        Kinds::Model { program, classes } => {
            own.map(|n| command(program, home, classes[n], n)).collect()
        }
    };
    let path = home.config();
    let file = std::fs::File::options().append(true).open(&path);
    let written = file.and_then(|mut it| it.write_all(tables.as_bytes()));
    written.map_err(|why| Failure::failed("not_written", format!("{}: {why}", path.display())))
}

fn echoes(count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!(
            "\n[[agent]]\nname = \"e\"\nkind = \"builtin\"\nrun = \"echo\"\ncount = {count}\n"
        ),
    }
}

fn command(program: &Path, home: &Home, class: Class, n: usize) -> String {
    format!(
        "\n[[agent]]\nname = \"agent-{n}\"\nclass = \"{class}\"\nkind = \"exec\"\nconcurrency = 1\n\
         command = ['{}', \"--dir\", '{}', \"bench\", \"agent\", \"--class\", \"{class}\", \"--seed\", \"{n}\"]\n",
        program.display(),
        home.dir().display()
    )
}

fn table(openai: Option<&str>, n: usize) -> String {
    let kind = match (n % 4, openai) {
        (0, _) => "kind = \"builtin\"\nrun = \"echo\"".to_owned(),
        (1, _) => "kind = \"builtin\"\nrun = \"sysinfo\"".to_owned(),
        (2, Some(url)) => format!("kind = \"openai\"\nurl = \"{url}\"\nmodel = \"demo\""),
        _ => format!("kind = \"exec\"\ncommand = [\"sh\", \"-c\", '''{SCRIPT}''']"),
    };
    format!("\n[[agent]]\nname = \"agent-{n}\"\n{kind}\ncapabilities = [\"demo\"]\n")
}

/// Waits until the operator knows of all of them.
pub async fn until_known(mesh: &mut Mesh, wanted: usize) -> Result<(), Failure> {
    loop {
        let ask = Agents::default();
        let lines = control::ask(mesh.home(0), &Request::Agents { ask }).await?;
        let known = lines.first().and_then(|it| it["total"].as_u64());
        mesh.progress = format!("{} of {wanted} agents known", known.unwrap_or_default());
        if known == Some(wanted as u64) {
            return Ok(());
        }
        mesh.all_run()?;
        sleep(Duration::from_millis(50)).await;
    }
}

/// Asks all agents in the moment in which a node dies.
pub async fn ask_while_dying(operator: Home) -> Result<Value, Failure> {
    let mut ask = Ask::new("who is there?".to_owned());
    (ask.window_ms, ask.patient) = (DYING, true);
    put(&operator, ask).await
}

/// Asks all agents to be ready together, as often as is wanted; the last answer.
pub async fn ask_whole(mesh: &Mesh, wanted: &Wanted) -> Result<Value, Failure> {
    let mut last = Value::Null;
    for n in 1..=wanted.questions.max(1) {
        let mut ask = Ask::new(format!("who is there? ({n})"));
        ask.at = At::AutoWithinMs(LIMIT);
        ask.patient = true;
        last = put(mesh.home(0), ask).await?;
    }
    Ok(last)
}

/// Puts a question to all agents; the counts, that must be whole.
pub async fn put(operator: &Home, ask: Ask) -> Result<Value, Failure> {
    let request = Request::Gather { ask };
    let within = Duration::from_secs(30);
    let lines = control::ask_within(operator, &request, within).await?;
    let report = lines.into_iter().next().unwrap_or_default();
    let number = |name: &str| report[name].as_u64().unwrap_or_default();
    let states = ["ready", "conflict", "transit", "skipped"];
    let sum: u64 = states.into_iter().map(number).sum();
    if number("expected") != sum || sum == 0 {
        let message = format!("the count of a question is not whole: {report}");
        return Err(Failure::failed("not_whole", message));
    }
    let mut counts = json!({});
    for name in [
        &states[..],
        &[
            "expected",
            "outcome",
            "elapsed_ms",
            "decision",
            "hit_rate",
            "within_50_ms",
            "idle_ms_mean",
            "confidence_mean",
            "arrival_error_ms",
        ],
    ]
    .concat()
    {
        counts[name] = report[name].clone();
    }
    Ok(counts)
}

/// The counts in words.
pub fn words(counts: &Value) -> String {
    format!(
        "{} expected = {} ready + {} conflict + {} transit + {} skipped ({}, after {:.0} ms)",
        counts["expected"],
        counts["ready"],
        counts["conflict"],
        counts["transit"],
        counts["skipped"],
        counts["decision"].as_str().unwrap_or_default(),
        counts["elapsed_ms"].as_f64().unwrap_or_default(),
    )
}

/// How long the questions may take beyond the rest of the tale.
pub fn spare(wanted: &Wanted) -> Duration {
    Duration::from_millis(LIMIT) * u32::try_from(wanted.questions).unwrap_or(u32::MAX)
}

/// How long something took, in milliseconds.
pub fn millis(began: Instant) -> u64 {
    began.elapsed().as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::agents::read;

    #[test]
    fn each_agent_stands_on_one_node_and_its_table_is_sound() {
        let mixed = |openai| Kinds::Mixed { openai };
        let model = Kinds::Model {
            program: "/usr/bin/it".into(),
            classes: [Class::Edge, Class::Gpu].repeat(13),
        };
        let endpoint = Some("http://127.0.0.1:1/v1".to_owned());
        for kinds in [mixed(None), mixed(endpoint), model] {
            let wanted = Wanted {
                agents: 25,
                questions: 1,
                kinds,
            };
            let mut names = std::collections::BTreeSet::new();
            for at in 1..12 {
                let dir = tempfile::tempdir().expect("a folder");
                let home = Home::at(dir.path());
                std::fs::write(home.config(), "").expect("a file");
                equip(&wanted, &home, at, 12).expect("it is written");
                let text = std::fs::read_to_string(home.config()).expect("it is there");
                let plans = read(&text, &home.config()).expect("sound tables");
                names.extend(plans.into_iter().map(|it| it.name));
            }
            assert_eq!(names.len(), 25);
        }
    }
}
