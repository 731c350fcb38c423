//! `bench agents`: real nodes and commands whose processing follows the model of `bench arrival`, asked
//! as soon as each can and together at T.

use std::io::{BufRead, Write};
use std::time::Duration;

use chorus_protocol::arrival::trial::model::{Agent, Population};
use chorus_protocol::impedance::{Class, Weight};
use chorus_protocol::units::{Noise, Seeded};
use serde::Deserialize;
use serde_json::{Value, json};

use super::arrival::population;
use super::mesh::with_mesh;
use super::say;
use crate::cli::Context;
use crate::cli::bench::{AgentArgs, AgentsArgs};
use crate::control::operations::{Ask, At};
use crate::error::Failure;
use crate::verbs::demo::agents::{Kinds, Wanted, put};
use crate::verbs::demo::mesh::Mesh;

/// Questions before anything is known of an agent: from then on its own delays count.
const UNKNOWN: u32 = 8;
/// The window around T, and the longest that a question waits for its last answer, in ms.
const WINDOW_MS: u64 = 500;
const PATIENT_MS: u64 = 20_000;
/// How far from then T may lie.
const LIMIT_MS: u64 = 10_000;
const AT_T: &str = "together at T";
/// One question in so many meets another that was asked just before it.
const CROWDED: u32 = 3;

pub async fn run(ctx: &Context, args: AgentsArgs) -> Result<(), Failure> {
    let failed = |why| Failure::failed("no_program", format!("this program's path: {why}"));
    let agents = args.agents as usize;
    let wanted = Wanted {
        agents,
        questions: 0,
        kinds: Kinds::Model {
            program: std::env::current_exe().map_err(failed)?,
            classes: mix(&population()?, agents),
        },
    };
    let measure = async |mesh: &mut Mesh| measure(mesh, &args).await;
    let report = with_mesh(wanted, args.hosts as usize, measure).await?;
    ctx.answer(&report, &words(&report))
}

/// The classes of so many agents in the model's shares, without people.
fn mix(population: &Population, agents: usize) -> Vec<Class> {
    let counted = population.iter().filter(|(class, _)| !class.is_human());
    let all: Vec<Class> = counted
        .flat_map(|(class, its)| std::iter::repeat_n(*class, its.agents))
        .collect();
    (0..agents).map(|n| all[n * all.len() / agents]).collect()
}

async fn measure(mesh: &Mesh, args: &AgentsArgs) -> Result<Value, Failure> {
    let mut noise = Seeded::new(args.seed);
    let at_once = |ask: &mut Ask| ask.window_ms = PATIENT_MS;
    let at_t = |ask: &mut Ask| {
        (ask.at, ask.window_ms) = (At::AutoWithinMs(LIMIT_MS), WINDOW_MS);
    };
    let mut rows = Vec::new();
    let learned = args.rounds;
    for (name, rounds, how) in [
        (
            "at once, nothing learned",
            UNKNOWN,
            &at_once as &dyn Fn(&mut Ask),
        ),
        ("at once, learned", learned, &at_once),
        (AT_T, learned, &at_t),
    ] {
        let mut asked = Vec::new();
        for round in 0..rounds {
            if round % 10 == 0 {
                say(&format!("{name}: question {} of {rounds}", round + 1));
            }
            let mut ask = question(&mut noise)?;
            how(&mut ask);
            let one = put(mesh.home(0), ask);
            let answer = match round % CROWDED {
                0 => {
                    let mut other = question(&mut noise)?;
                    other.window_ms = PATIENT_MS;
                    let (before, it) = tokio::join!(put(mesh.home(0), other), one);
                    before.and(it)
                }
                _ => one.await,
            };
            let mut answer = answer?;
            if name != AT_T && answer["ready"] != answer["expected"] {
                let message =
                    format!("not all agents answer a question that waits for them: {answer}");
                return Err(Failure::failed("no_answer", message));
            }
            if name != AT_T {
                // There is no T, so no window around it.
                answer["hit_rate"] = Value::Null;
            }
            asked.push(answer);
        }
        rows.push(row(name, &asked));
    }
    Ok(json!({
        "schema": "chorus.bench_agents/1",
        "agents": args.agents,
        "processes": args.hosts + 1,
        "seed": args.seed,
        "window_ms": WINDOW_MS,
        "rows": rows,
    }))
}

/// One of a weight by chance; its text says the weight, for that is all that a command sees of it.
fn question(noise: &mut Seeded) -> Result<Ask, Failure> {
    let weight = 2.0 * noise.uniform();
    let mut ask = Ask::new(weight.to_string());
    ask.weight =
        Weight::new(weight as f32).map_err(|why| Failure::failed("bad_weight", why.to_string()))?;
    ask.patient = true;
    Ok(ask)
}

/// What a series of questions came to.
fn row(name: &str, asked: &[Value]) -> Value {
    let of = |path: &str| -> Vec<f64> {
        let found = asked.iter().filter_map(|it| it.pointer(path)?.as_f64());
        found.collect()
    };
    let mean = |path: &str| {
        let all = of(path);
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    };
    let middle = |path: &str| {
        let mut all = of(path);
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    };
    let part = |path: &str| Some(mean(path)? / mean("/expected")?);
    json!({
        "name": name,
        "questions": asked.len(),
        "ready": part("/ready"),
        "skipped": part("/skipped"),
        "within_50_ms": mean("/within_50_ms"),
        "hit_rate": mean("/hit_rate"),
        "confidence_mean": mean("/confidence_mean"),
        "hold_ms_mean": mean("/idle_ms_mean"),
        "error_ms": {
            "p50": middle("/arrival_error_ms/p50"),
            "p90": middle("/arrival_error_ms/p90"),
        },
        "elapsed_ms_p50": middle("/elapsed_ms"),
    })
}

fn words(report: &Value) -> String {
    let mut words = format!(
        "{} agents of classes A to E, each a command, in {} processes; one question in {CROWDED} \
         meets another\n{:<26} {:>9} {:>9} {:>11} {:>10} {:>11} {:>8} {:>9}",
        report["agents"],
        report["processes"],
        "",
        "questions",
        "ready",
        "within 50ms",
        "in window",
        "confidence",
        "hold ms",
        "error p90",
    );
    for row in report["rows"].as_array().into_iter().flatten() {
        let percent = |name: &str| match row[name].as_f64() {
            Some(share) => format!("{:.1} %", share * 100.0),
            None => "-".to_owned(),
        };
        let millis = |path: &str| match row.pointer(path).and_then(Value::as_f64) {
            Some(it) => format!("{it:.1}"),
            None => "-".to_owned(),
        };
        words += &format!(
            "\n{:<26} {:>9} {:>9} {:>11} {:>10} {:>11} {:>8} {:>9}",
            row["name"].as_str().unwrap_or_default(),
            row["questions"].to_string(),
            percent("ready"),
            percent("within_50_ms"),
            percent("hit_rate"),
            percent("confidence_mean"),
            millis("/hold_ms_mean"),
            millis("/error_ms/p90"),
        );
    }
    words
}

/// What a node puts to a command.
#[derive(Deserialize)]
struct Line {
    id: u64,
    question: String,
}

/// Answers each line on stdin after as long as an agent of the class takes in the model.
pub async fn agent(args: &AgentArgs) -> Result<(), Failure> {
    let failed = |why: String| Failure::failed("bad_line", why);
    let population = population()?;
    let its = population.get(&args.class);
    let mut its = *its.ok_or_else(|| failed(format!("no class {}", args.class)))?;
    // Whoever waits here waits for another question, so the model's queue is left out.
    its.queue_mean = 0.0;
    let mut noise = Seeded::new(args.seed);
    let mut agent = Agent::new(args.class, its, &mut noise);
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|why| failed(why.to_string()))?;
        let Line { id, question } =
            serde_json::from_str(&line).map_err(|why| failed(why.to_string()))?;
        let weight = question.parse().unwrap_or_default();
        let message = agent.next_of(weight, &mut noise);
        tokio::time::sleep(Duration::from_secs_f64(message.processing / 1e3)).await;
        let answer = json!({"id": id, "answer": "done"});
        writeln!(std::io::stdout(), "{answer}").map_err(|why| failed(why.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_mixed_as_in_the_model_and_none_is_a_person() {
        let population = population().unwrap();
        let of = |agents, class| {
            let mix = mix(&population, agents);
            assert_eq!(mix.len(), agents);
            mix.into_iter().filter(|it| *it == class).count()
        };
        let hundred = [
            Class::Edge,
            Class::Serverless,
            Class::Persistent,
            Class::Gpu,
            Class::Local,
        ]
        .map(|class| of(100, class));
        assert_eq!(hundred, [36, 29, 18, 7, 10]);
        assert_eq!((of(100, Class::Human), of(1, Class::Edge)), (0, 1));
    }

    #[test]
    fn a_row_is_the_mean_of_what_there_is() {
        let asked = [
            json!({"expected": 4, "ready": 4, "hit_rate": 1.0, "arrival_error_ms": {"p90": 2.0}}),
            json!({"expected": 4, "ready": 1, "hit_rate": null, "arrival_error_ms": {"p90": 9.0}}),
        ];
        let row = row("some", &asked);
        assert_eq!(
            (&row["ready"], &row["hit_rate"]),
            (&json!(0.625), &json!(1.0))
        );
        assert_eq!(
            (&row["within_50_ms"], &row["error_ms"]["p90"]),
            (&json!(null), &json!(9.0))
        );
    }
}
