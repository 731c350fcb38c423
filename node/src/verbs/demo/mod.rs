//! `demo`: a real mesh on this machine, every node a process of its own over loopback; one
//! is killed with SIGKILL, and the mesh is watched noticing it and becoming whole again, with
//! what was written meanwhile. A dozen agents are asked while it dies, and again at the end.

pub mod agents;
pub mod cast;
pub mod mesh;
mod notes;
mod picture;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::cli::Context;
use crate::cli::demo::DemoArgs;
use crate::error::{Failure, exit};
use crate::verbs::operations::Kpis;
use crate::verbs::run::Interrupts;
use agents::{Kinds, Wanted};
use mesh::Mesh;

/// The whole tale without the end of the processes, which takes at most five seconds.
const TALE_MAX: Duration = Duration::from_secs(84);
/// Between two looks at all nodes.
const LOOK: Duration = Duration::from_millis(100);
/// Between two looks at the one that counts, while time is measured.
const LOOK_CLOSELY: Duration = Duration::from_millis(10);

/// What there is to tell at the end.
#[derive(Debug)]
struct Tale {
    killed: String,
    detect_ms: u64,
    recover_ms: u64,
    /// Who imported the notes while the other was dead.
    wrote: String,
    /// Until that one had them, once it was back and coupled.
    read_ms: u64,
    /// What became of a question while the one died, and of the last when all were back.
    dying: Value,
    whole: Value,
    kpis: Kpis,
    statuses: Vec<Value>,
}

pub async fn run(ctx: Context, dir: Option<PathBuf>, args: DemoArgs) -> Result<(), Failure> {
    let (keep, nodes) = (args.keep, args.nodes);
    let wanted = Wanted {
        agents: args.agents as usize,
        questions: args.questions as usize,
        kinds: Kinds::Mixed {
            openai: args.openai,
        },
    };
    let fresh = || std::env::temp_dir().join(format!("chorus-demo-{}", std::process::id()));
    let dir = dir.unwrap_or_else(fresh);
    let mut interrupts = Interrupts::new()?;
    let mut mesh = Mesh::new(dir, cast::cast(nodes as usize), wanted)?;
    let tale_max = TALE_MAX + agents::spare(&mesh.wanted);
    let told = tokio::select! {
        told = timeout(tale_max, tell(&mut mesh)) => told.ok(),
        signal = interrupts.next() => Some(Err(
            Failure::failed("interrupted", format!("interrupted by {signal}; the nodes are stopped"))
        )),
    };
    let told = told.unwrap_or_else(|| {
        let message = format!("the mesh did not become whole in time: {}", mesh.progress);
        Err(Failure::new(exit::TIMEOUT, "not_whole", message)
            .hint(format!("see the logs in {}", mesh.dir.display())))
    });
    let ended = match told {
        Ok(tale) => {
            let shown = show(&ctx, &mesh, &tale);
            if keep {
                let (program, dir) = (mesh.program.display(), mesh.dir.display());
                say(&format!(
                    "it keeps running; look with `{program} --dir {dir}/operator peers`"
                ));
                say("stop it with ctrl-C");
                interrupts.next().await;
            }
            shown
        }
        Err(failure) => Err(failure),
    };
    mesh.stop().await;
    ended
}

/// Builds the mesh, breaks it, and waits until it is whole again.
async fn tell(mesh: &mut Mesh) -> Result<Tale, Failure> {
    let count = mesh.players.len();
    say(&format!("{count} nodes in {}", mesh.dir.display()));
    let began = Instant::now();
    mesh.found().await?;
    for at in 1..count {
        mesh.enrol(at).await?;
        say(&format!(
            "{} has joined and runs",
            mesh.players[at].seat.name
        ));
    }
    until_whole(mesh).await?;
    let seconds = began.elapsed().as_secs_f64();
    say(&format!("whole after {seconds:.1} s: {}", mesh.progress));

    let wanted = mesh.wanted.clone();
    agents::until_known(mesh, wanted.agents).await?;
    say(&format!(
        "{} agents are known to the operator",
        wanted.agents
    ));

    let victim = cast::victim(mesh.players.iter().map(|player| &player.seat));
    let killed = mesh.players[victim].seat.name.clone();
    let before = mesh.seen_by_operator(&killed).await?["incarnation"].as_u64();
    mesh.kill(victim).await?;
    let at = Instant::now();
    say(&format!(
        "{killed} was killed with SIGKILL, and all agents are asked"
    ));
    let dying = tokio::spawn(agents::ask_while_dying(mesh.home(0).clone()));
    while mesh.seen_by_operator(&killed).await?["state"] == "live" {
        sleep(LOOK_CLOSELY).await;
    }
    let detect_ms = agents::millis(at);
    say(&format!("the operator knows after {detect_ms} ms"));

    let dying = dying
        .await
        .unwrap_or_else(|why| Err(Failure::failed("crashed", format!("the question: {why}"))))?;
    say(&agents::words(&dying));

    let writer = (0..count).rev().find(|at| *at != victim).unwrap_or(0);
    let wrote = mesh.players[writer].seat.name.clone();
    notes::import(mesh, writer).await?;
    let (lines, path) = (notes::count(), notes::path(mesh));
    say(&format!(
        "{lines} lines of {} were imported at {wrote}",
        path.display()
    ));

    let at = Instant::now();
    mesh.start(victim).await?;
    say(&format!("{killed} was started again"));
    loop {
        let seen = mesh.seen_by_operator(&killed).await?;
        // Its last run's state may still be on its way; only a new run's counts.
        let returned = seen["state"] == "live" && seen["incarnation"].as_u64() > before;
        if returned && is_whole(mesh, 0).await && is_whole(mesh, victim).await {
            break;
        }
        mesh.all_run()?;
        sleep(LOOK_CLOSELY).await;
    }
    let recover_ms = agents::millis(at);
    say(&format!("it is back and coupled after {recover_ms} ms"));
    let read_ms = notes::until_read(mesh, victim).await?.as_millis() as u64;
    say(&format!("it reads all {lines} lines {read_ms} ms later"));
    let statuses = until_whole(mesh).await?;
    agents::until_known(mesh, wanted.agents).await?;
    let whole = agents::ask_whole(mesh, &wanted).await?;
    say(&agents::words(&whole));
    let kpis = Kpis::read(mesh.home(0)).await?;
    Ok(Tale {
        killed,
        detect_ms,
        recover_ms,
        wrote,
        read_ms,
        dying,
        whole,
        kpis,
        statuses,
    })
}

/// Looks at every node until each sees all the others live and in phase.
async fn until_whole(mesh: &mut Mesh) -> Result<Vec<Value>, Failure> {
    let count = mesh.players.len();
    let mut said = Instant::now();
    loop {
        mesh.all_run()?;
        let mut statuses = Vec::with_capacity(count);
        for at in 0..count {
            // One that does not answer yet is not whole yet.
            statuses.push(mesh.status(at).await.unwrap_or_default());
        }
        let whole = statuses
            .iter()
            .filter(|status| sees_all(status, count))
            .count();
        let order = statuses[0]["phase"]["order"].as_f64().unwrap_or(0.0);
        mesh.progress = format!("{whole} of {count} nodes see everybody, r = {order:.3}");
        if whole == count {
            return Ok(statuses);
        }
        if said.elapsed() > Duration::from_secs(2) {
            say(&mesh.progress);
            said = Instant::now();
        }
        sleep(LOOK).await;
    }
}

async fn is_whole(mesh: &Mesh, at: usize) -> bool {
    let status = mesh.status(at).await;
    status.is_ok_and(|status| sees_all(&status, mesh.players.len()))
}

/// Whether a node sees all `count` live, and in phase.
fn sees_all(status: &Value, count: usize) -> bool {
    let count = count as u64;
    let live = status["phase"]["live"].as_u64() == Some(count);
    let peers = status["peers"]["live"].as_u64() == Some(count - 1);
    let order = status["phase"]["order"].as_f64();
    live && peers && order >= Some(cast::ORDER_MIN)
}

fn show(ctx: &Context, mesh: &Mesh, tale: &Tale) -> Result<(), Failure> {
    let seats: Vec<_> = mesh.players.iter().map(|player| &player.seat).collect();
    let mut answer = json!({
        "schema": "chorus.demo/1",
        "dir": mesh.dir,
        "nodes": seats.len(),
        "killed": tale.killed,
        "detect_ms": tale.detect_ms,
        "recover_ms": tale.recover_ms,
        "order": tale.statuses[0]["phase"]["order"],
        "memory": {
            "lines": notes::count(),
            "written_on": tale.wrote,
            "read_on": tale.killed,
            "read_ms": tale.read_ms,
        },
        "agents": {
            "asked_while_dying": tale.dying,
            "asked_when_whole": tale.whole,
        },
    });
    tale.kpis.report(&mut answer);
    let back = format!(
        "{} was killed: known after {:.1} s, back and coupled {:.1} s after its restart",
        tale.killed,
        tale.detect_ms as f64 / 1e3,
        tale.recover_ms as f64 / 1e3
    );
    let memory = format!(
        "meanwhile {} lines went into memory at {}; {} read them when it was back",
        notes::count(),
        tale.wrote,
        tale.killed
    );
    let picture = picture::draw(&seats, &tale.statuses, &tale.killed);
    let asked = format!(
        "asked while it died:  {}\nasked when it was back: {}",
        agents::words(&tale.dying),
        agents::words(&tale.whole)
    );
    let kpis = tale.kpis.words();
    let homes = format!("homes and logs: {}", mesh.dir.display());
    let text = format!("{picture}\n\n{back}\n{memory}\n{asked}\n\n{kpis}\n\n{homes}");
    ctx.answer(&answer, &text)
}

/// Progress, for people.
fn say(text: &str) {
    eprintln!("demo: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_content_only_when_all_live_and_keep_time() {
        let status = |live: u64, peers: u64, order: f64| json!({"phase": {"live": live, "order": order}, "peers": {"live": peers}});
        assert!(sees_all(&status(3, 2, 0.99), 3));
        for bad in [
            status(2, 2, 0.99),
            status(3, 1, 0.99),
            status(3, 2, 0.9),
            Value::Null,
        ] {
            assert!(!sees_all(&bad, 3), "{bad}");
        }
    }
}
