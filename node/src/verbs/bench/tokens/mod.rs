//! `bench tokens`: tokens a second where each waits for barriers, against a phase loop that holds none (rows D13 and M9, the paper's table).
//!
//! | file | what it is |
//! |---|---|
//! | `seat` | one node: worker, phase, barriers, log; pure, so that tests run it in virtual time |
//! | `barrier`, `log`, `inbound`, `phases`, `worker`, `watch` | the parts of it |
//! | `process` | a seat between ZeroMQ and its orders; `crew`: the processes of one way |
//! | `table` | what came of them all |

mod barrier;
mod crew;
mod frame;
mod inbound;
mod log;
mod phases;
mod process;
mod seat;
mod table;
mod watch;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;

use super::say;
use crate::cli::Context;
use crate::cli::bench::TokensArgs;
use crate::error::Failure;
use crate::limits;
use barrier::Kind;
use crew::Crew;
use process::Order;
use seat::{Config, Way};
use table::{Cell, Condition, Table};

pub use process::run as node;

/// For what is lost on its way when the tokens stop: a few rounds of gossip and questions.
const REST: Duration = Duration::from_secs(2);
/// Before a cut, and after its heal.
const AROUND_CUT: Duration = Duration::from_secs(5);

/// Where something is lost.
const LOSS_PERCENT: u32 = 1;
/// Where something takes its time.
const RTT_MS: u32 = 50;

/// The ways, in the order of the table. Those of one batch run at the same time, so that they
/// meet the same machine; more at once would take each other's time on two cores.
const BATCHES: [&[Way]; 2] = [
    &[
        Way::Asynchronous,
        blocking(1, Kind::Answered),
        blocking(4, Kind::Answered),
    ],
    &[blocking(4, Kind::Heard), blocking(4, Kind::Newest)],
];

const fn blocking(barriers: u32, kind: Kind) -> Way {
    Way::Blocking { barriers, kind }
}

/// What the network does: with and without loss, with and without a round trip.
fn conditions(args: &TokensArgs) -> Vec<Condition> {
    let all = |one: Option<u32>, other| one.map_or(vec![0, other], |it| vec![it]);
    let by_rtt = all(args.rtt, RTT_MS).into_iter();
    by_rtt
        .flat_map(|rtt| {
            all(args.loss, LOSS_PERCENT)
                .into_iter()
                .map(move |loss| (loss, rtt))
        })
        .map(|(loss, rtt)| Condition::new(loss, rtt))
        .collect()
}

pub async fn run(ctx: Context, args: TokensArgs) -> Result<(), Failure> {
    limits::raise_open_files();
    let program = std::env::current_exe()
        .map_err(|why| Failure::failed("no_program", format!("this program's path: {why}")))?;
    let bench = Bench { program, args };
    let mut table = Table::new(&bench.args);
    let conditions = conditions(&bench.args);
    for condition in conditions.iter().copied() {
        for ways in BATCHES {
            say(&format!(
                "{condition}: {} ways at the same time, {} s",
                ways.len(),
                bench.args.seconds
            ));
            table.cells.extend(bench.measure(ways, condition).await?);
        }
    }
    // In the worst weather.
    if let Some(condition) = conditions.last().copied()
        && bench.args.cut_seconds > 0
    {
        say(&format!(
            "{condition}: two halves cut apart for {} s, and healed",
            bench.args.cut_seconds
        ));
        table.cuts = bench.cut(&BATCHES.concat(), condition).await?;
    }
    ctx.answer(&table.report(), &table.words())
}

struct Bench {
    program: PathBuf,
    args: TokensArgs,
}

/// The processes of several ways.
type Crews = Vec<(Way, Crew)>;

impl Bench {
    async fn measure(&self, ways: &[Way], condition: Condition) -> Result<Vec<Cell>, Failure> {
        let mut crews = self.crews(ways, condition).await?;
        tell(&mut crews, &Order::Go).await?;
        sleep(Duration::from_secs(self.args.seconds.into())).await;
        end(condition, crews).await
    }

    /// The same, with a cut between.
    async fn cut(&self, ways: &[Way], condition: Condition) -> Result<Vec<Cell>, Failure> {
        let mut crews = self.crews(ways, condition).await?;
        tell(&mut crews, &Order::Go).await?;
        sleep(AROUND_CUT).await;
        tell(&mut crews, &Order::Cut).await?;
        sleep(Duration::from_secs(self.args.cut_seconds.into())).await;
        tell(&mut crews, &Order::Heal).await?;
        sleep(AROUND_CUT).await;
        end(condition, crews).await
    }

    async fn crews(&self, ways: &[Way], condition: Condition) -> Result<Crews, Failure> {
        let mut crews = Vec::new();
        for way in ways {
            let configs = configs(&self.args, *way, condition);
            crews.push((*way, Crew::start(&self.program, configs).await?));
        }
        Ok(crews)
    }
}

async fn end(condition: Condition, mut crews: Crews) -> Result<Vec<Cell>, Failure> {
    tell(&mut crews, &Order::Rest).await?;
    sleep(REST).await;
    let mut cells = Vec::new();
    for (way, crew) in crews {
        cells.push(Cell::of(way, condition, &crew.reports().await?));
    }
    Ok(cells)
}

/// One for each node.
fn configs(args: &TokensArgs, way: Way, condition: Condition) -> Vec<Config> {
    let nodes = args.nodes as usize;
    let config = |me| Config {
        me,
        nodes,
        way,
        loss: f64::from(condition.loss_percent) / 100.0,
        delay_us: u64::from(condition.rtt_ms) * 1_000 / 2,
        token_us: u64::from(args.token_ms) * 1_000,
        // The same workers in every cell: what differs is what they wait for.
        seed: args.seed,
    };
    (0..nodes).map(config).collect()
}

async fn tell(crews: &mut Crews, order: &Order) -> Result<(), Failure> {
    for (_, crew) in crews {
        crew.tell(order).await?;
    }
    Ok(())
}

#[cfg(test)]
mod world;
