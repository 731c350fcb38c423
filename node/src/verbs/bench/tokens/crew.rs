//! The processes of one way of the bench, seen from the one that started them.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::process::{Answer, Order};
use super::seat::Config;
use super::watch::Report;
use crate::error::{Failure, exit};

/// How long a process may take to answer: sixty that start at once take some seconds.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// One process; it is killed when this goes.
struct Member {
    _child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// All nodes of one way.
pub struct Crew(Vec<Member>);

impl Crew {
    /// Starts one process for each of `configs`, and returns when all have met all.
    pub async fn start(program: &Path, configs: Vec<Config>) -> Result<Self, Failure> {
        let mut crew = Self(Vec::new());
        for config in configs {
            let mut member = Member::start(program)?;
            member.tell(&Order::Be(config)).await?;
            crew.0.push(member);
        }
        let mut addresses = Vec::new();
        for member in &mut crew.0 {
            match member.answer().await? {
                Answer::Listens(address) => addresses.push(address),
                other => return Err(misunderstood(&other)),
            }
        }
        crew.tell(&Order::Meet(addresses)).await?;
        for member in &mut crew.0 {
            match member.answer().await? {
                Answer::Met => {}
                other => return Err(misunderstood(&other)),
            }
        }
        Ok(crew)
    }

    /// The same order to all.
    pub async fn tell(&mut self, order: &Order) -> Result<(), Failure> {
        for member in &mut self.0 {
            member.tell(order).await?;
        }
        Ok(())
    }

    /// What came of each; they end with it.
    pub async fn reports(mut self) -> Result<Vec<Report>, Failure> {
        self.tell(&Order::Report).await?;
        let mut reports = Vec::new();
        for member in &mut self.0 {
            match member.answer().await? {
                Answer::Report(report) => reports.push(*report),
                other => return Err(misunderstood(&other)),
            }
        }
        Ok(reports)
    }
}

impl Member {
    fn start(program: &Path) -> Result<Self, Failure> {
        let child = Command::new(program)
            // It has no home; but where nobody says, one is looked for.
            .args(["--dir", ".", "bench", "token-node"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let no_process =
            |why: String| Failure::failed("no_process", format!("a node could not start: {why}"));
        let mut child = child.map_err(|why| no_process(why.to_string()))?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(no_process("it has no pipes".into()));
        };
        Ok(Self {
            _child: child,
            orders,
            answers: BufReader::new(answers).lines(),
        })
    }

    async fn tell(&mut self, order: &Order) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(order).map_err(|why| lost(&why))?;
        line.push(b'\n');
        self.orders.write_all(&line).await.map_err(|why| lost(&why))
    }

    async fn answer(&mut self) -> Result<Answer, Failure> {
        let line = timeout(ANSWER_MAX, self.answers.next_line()).await;
        let line = line.map_err(|_| {
            Failure::new(
                exit::TIMEOUT,
                "node_silent",
                "a node of the bench does not answer",
            )
            .hint("try fewer --nodes, or look at the limit on open files with `chorus doctor`")
        })?;
        let line = line.map_err(|why| lost(&why))?;
        let line = line.ok_or_else(|| lost(&"it ended"))?;
        serde_json::from_str(&line).map_err(|_| lost(&line))
    }
}

fn lost(why: &dyn std::fmt::Display) -> Failure {
    Failure::failed("node_lost", format!("a node of the bench is lost: {why}"))
}

fn misunderstood(answer: &Answer) -> Failure {
    lost(&format!("{answer:?} is not what it was asked for"))
}
