//! `bench mesh`: live agents in a few processes, real ZeroMQ between them, all asked at once and together at T.

use std::time::Duration;

use serde_json::{Value, json};

use super::say;
use crate::cli::Context;
use crate::cli::bench::MeshArgs;
use crate::control::operations::{Ask, At};
use crate::error::Failure;
use crate::verbs::demo::agents::{Kinds, Wanted, put, until_known};
use crate::verbs::demo::cast::Seat;
use crate::verbs::demo::mesh::Mesh;
use crate::verbs::operations::cascade::PARALLEL;

/// How long the mesh may take until all agents are known.
const KNOWN_MAX: Duration = Duration::from_secs(120);
/// Questions before those that count.
const WARM_UP: u32 = 10;
/// The window of a question in ms that waits for every answer.
const PATIENT_MS: u64 = 30_000;

pub async fn run(ctx: &Context, args: MeshArgs) -> Result<(), Failure> {
    let wanted = Wanted {
        agents: args.agents as usize,
        questions: 0,
        kinds: Kinds::Echoes,
    };
    let hosts = args.hosts as usize;
    let measure = async |mesh: &mut Mesh| measure(mesh, &args).await;
    let report = with_mesh(wanted, hosts, measure).await?;
    ctx.answer(&report, &words(&report))
}

/// What `measure` finds in a mesh of an operator above so many hosts, all of whose agents are known.
pub async fn with_mesh(
    wanted: Wanted,
    hosts: usize,
    measure: impl AsyncFnOnce(&mut Mesh) -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    let dir = std::env::temp_dir().join(format!("chorus-bench-{}", std::process::id()));
    let mut mesh = Mesh::new(dir.clone(), seats(hosts), wanted)?;
    let measured = match start(&mut mesh).await {
        Ok(()) => measure(&mut mesh).await,
        Err(failure) => Err(failure),
    };
    mesh.stop().await;
    if measured.is_ok() {
        // What is left of it nobody needs.
        let _ = std::fs::remove_dir_all(dir);
    }
    measured
}

async fn start(mesh: &mut Mesh) -> Result<(), Failure> {
    let (agents, hosts) = (mesh.wanted.agents, mesh.players.len() - 1);
    say(&format!("{agents} agents in {hosts} processes"));
    mesh.found().await?;
    for at in 1..=hosts {
        mesh.enrol(at).await?;
    }
    let known = tokio::time::timeout(KNOWN_MAX, until_known(mesh, agents)).await;
    known.unwrap_or_else(|_| {
        let message = "the agents are not all known after two minutes";
        Err(Failure::failed("not_known", message))
    })
}

fn seats(hosts: usize) -> Vec<Seat> {
    let seat = |name: String, role, sector: String| Seat {
        cluster: sector.clone(),
        name,
        role,
        sector,
    };
    let operator = seat("operator".into(), "orchestrator", "hq".into());
    let hosts = (1..=hosts).map(|n| seat(format!("h{n}"), "coordinator", format!("s{n}")));
    [operator].into_iter().chain(hosts).collect()
}

async fn measure(mesh: &mut Mesh, args: &MeshArgs) -> Result<Value, Failure> {
    let hosts = mesh.players.len() - 1;
    let cascade = |ask: &mut Ask| (ask.window_ms, ask.minimum) = PARALLEL;
    let all = |ask: &mut Ask| (ask.window_ms, ask.patient) = (PATIENT_MS, true);
    let at_t = |ask: &mut Ask| (ask.at, ask.window_ms) = (At::AutoWithinMs(5_000), 500);
    series(mesh, WARM_UP, &all).await?;
    let rows = [
        (
            "cascade parallel",
            series(mesh, args.rounds, &cascade).await?,
        ),
        ("every answer", series(mesh, args.rounds, &all).await?),
        (
            "together at T",
            series(mesh, args.rounds.min(20), &at_t).await?,
        ),
    ];
    let agents = f64::from(args.agents);
    let rows = rows.map(|(name, it)| it.row(name, agents));
    let memory_kb: u64 = (1..=hosts).filter_map(|at| mesh.memory_kb(at)).sum();
    Ok(json!({
        "schema": "chorus.bench_mesh/1",
        "agents": args.agents,
        "processes": hosts + 1,
        "rows": rows,
        "memory_mb": memory_kb as f64 / 1024.0,
        "operator_memory_mb": mesh.memory_kb(0).unwrap_or_default() as f64 / 1024.0,
        "memory_kb_per_agent": memory_kb as f64 / agents,
    }))
}

/// Questions that were put one after the other.
struct Series {
    elapsed_ms: Vec<f64>,
    ready: f64,
    successes: usize,
    cpu: Duration,
    last: Value,
}

async fn series(mesh: &Mesh, rounds: u32, how: &impl Fn(&mut Ask)) -> Result<Series, Failure> {
    let before = mesh.cpu();
    let mut series = Series {
        elapsed_ms: Vec::new(),
        ready: 0.0,
        successes: 0,
        cpu: Duration::ZERO,
        last: Value::Null,
    };
    for round in 0..rounds {
        let mut ask = Ask::new(format!("round {round}"));
        how(&mut ask);
        let counts = put(mesh.home(0), ask).await?;
        let number = |name: &str| counts[name].as_f64().unwrap_or_default();
        series.elapsed_ms.push(number("elapsed_ms"));
        series.ready += number("ready") / number("expected").max(1.0);
        series.successes += usize::from(counts["outcome"] == "SUCCESS");
        series.last = counts;
    }
    series.cpu = mesh.cpu().saturating_sub(before);
    series.elapsed_ms.sort_by(f64::total_cmp);
    Ok(series)
}

impl Series {
    fn row(&self, name: &str, agents: f64) -> Value {
        let rounds = self.elapsed_ms.len().max(1);
        let of = |q: f64| {
            let at = (q * rounds as f64).ceil() as usize;
            self.elapsed_ms.get(at.saturating_sub(1)).copied()
        };
        let cpu_us = self.cpu.as_micros() as f64 / rounds as f64 / agents;
        json!({
            "name": name,
            "rounds": rounds,
            "successes": self.successes,
            "p50_ms": of(0.5),
            "p95_ms": of(0.95),
            "ready": self.ready / rounds as f64,
            "cpu_us_per_agent": cpu_us,
            "hit_rate": self.last["hit_rate"],
            "arrival_error_ms": self.last["arrival_error_ms"],
        })
    }
}

fn words(report: &Value) -> String {
    let mut words = format!(
        "{} agents in {} processes; hosts {:.0} MB ({:.1} KB an agent), operator {:.0} MB\n{:<17} {:>6} {:>9} {:>9} {:>8} {:>14}",
        report["agents"],
        report["processes"],
        report["memory_mb"].as_f64().unwrap_or_default(),
        report["memory_kb_per_agent"].as_f64().unwrap_or_default(),
        report["operator_memory_mb"].as_f64().unwrap_or_default(),
        "",
        "rounds",
        "p50 ms",
        "p95 ms",
        "ready",
        "CPU us/agent",
    );
    for row in report["rows"].as_array().into_iter().flatten() {
        let number = |name: &str| row[name].as_f64().unwrap_or_default();
        words += &format!(
            "\n{:<17} {:>6} {:>9.1} {:>9.1} {:>6.2} % {:>14.2}",
            row["name"].as_str().unwrap_or_default(),
            row["rounds"].to_string(),
            number("p50_ms"),
            number("p95_ms"),
            number("ready") * 100.0,
            number("cpu_us_per_agent"),
        );
    }
    words
}
