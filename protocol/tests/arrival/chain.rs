//! The whole way: profile, prediction, schedule in buckets of 10 ms, outcome, table of reliability.

use chorus_protocol::arrival::reliability::Table;
use chorus_protocol::arrival::schedule::{Compensation, schedule};
use chorus_protocol::arrival::{Aim, Outcome, predict};
use chorus_protocol::ids::NodeId;
use chorus_protocol::impedance::{Class, Profile};
use chorus_protocol::units::{Micros, Seeded};

use super::model::{Agent, Parameters, vectors};
use super::{BURN_IN, MESSAGES, WINDOW, micros, weight};

/// What came of messages to everybody at once.
struct Chain {
    table: Table,
    /// The same outcomes, promised by the seed's formula.
    by_the_seed: Table,
    skipped: usize,
}

/// Seed 3.1, `calculate_confidence`, of an agent that never failed and was just heard.
fn promised_by_the_seed(profile: &Profile) -> f32 {
    (0.5 - 0.3 * profile.drift() + 0.2).clamp(0.0, 1.0)
}

/// 320 messages to each of the file's 448 agents, all to be READY `notice` after they are thought
/// of.
fn run(aim: Aim, notice: Micros) -> Chain {
    let file = vectors();
    let mut noise = Seeded::new(77);
    let mut agents = Vec::new();
    for class in Class::ALL.into_iter().filter(|class| !class.is_human()) {
        let parameters = Parameters::of(&file, class);
        agents.extend((0..parameters.agents).map(|_| {
            let agent = Agent::new(class, parameters, &mut noise);
            (agent, Profile::new(class))
        }));
    }
    let mut chain = Chain {
        table: Table::default(),
        by_the_seed: Table::default(),
        skipped: 0,
    };
    for n in 0..MESSAGES {
        let now = Micros::from_secs(10 * n as u64);
        let messages: Vec<_> = agents
            .iter_mut()
            .map(|(agent, _)| agent.next(&mut noise))
            .collect();
        let both = || agents.iter().map(|(_, profile)| profile).zip(&messages);
        let predictions: Vec<_> = both()
            .map(|(profile, message)| {
                predict::predict(profile, weight(message), message.queue, aim, WINDOW)
            })
            .collect();
        let named = predictions.iter().enumerate();
        let targets = named.map(|(at, prediction)| (name(at), *prediction));
        let plan = schedule(now + notice, now, targets);
        assert_eq!(plan.expected(), agents.len());
        if n >= BURN_IN {
            chain.skipped += plan.skipped.len();
            for target in plan.batches.iter().flat_map(|batch| &batch.targets) {
                let at = number(target.agent);
                let delay = micros(messages[at].delay);
                let sent = target.compensation;
                chain.table.record(&Outcome::of(&sent, delay, WINDOW));
                let confidence = promised_by_the_seed(&agents[at].1);
                let sent = Compensation { confidence, ..sent };
                chain.by_the_seed.record(&Outcome::of(&sent, delay, WINDOW));
            }
        }
        for (at, (_, profile)) in agents.iter_mut().enumerate() {
            let message = &messages[at];
            predict::learn(profile, &predictions[at], micros(message.delay));
            profile.echoed(micros(message.rtt), Micros::ZERO);
            profile.processed(micros(message.processing), weight(message));
            profile.waited(message.queue, micros(message.wait));
        }
    }
    chain
}

fn name(at: usize) -> NodeId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(at as u64).to_be_bytes());
    NodeId(id)
}

fn number(id: NodeId) -> usize {
    id.0[..8]
        .iter()
        .fold(0, |n, byte| n << 8 | usize::from(*byte))
}

fn show(what: &str, table: &Table) {
    let percent = |share: Option<f64>| 100.0 * share.unwrap_or_default();
    let (near, inside) = (percent(table.near_rate()), percent(table.hit_rate()));
    let errors = [0.5, 0.9, 0.99].map(|q| table.error(q).unwrap_or_default().0 as f64 / 1e3);
    let idle = table.mean_idle().map(|idle| idle.as_millis());
    println!("{what}: {near:.2} % within 50 ms, {inside:.2} % in the window");
    println!("  error p50, p90, p99: {errors:.1?} ms; mean idle {idle:?} ms");
    println!(
        "  promised and kept differ by {:.2} points",
        percent(table.miscalibration())
    );
    for decile in table.deciles().iter().filter(|decile| decile.messages > 0) {
        let (promised, kept) = (percent(decile.promised()), percent(decile.kept()));
        println!(
            "  {:>6} messages: promised {promised:.1} %, kept {kept:.1} %",
            decile.messages
        );
    }
}

/// Honest: on the whole within two points, and no decile of a thousand messages off by five.
fn is_calibrated(table: &Table) -> bool {
    let large = table
        .deciles()
        .iter()
        .filter(|decile| decile.messages >= 1_000);
    let mut off = large.filter_map(|it| Some((it.promised()? - it.kept()?).abs()));
    off.all(|off| off < 0.05) && table.miscalibration().is_some_and(|off| off < 0.02)
}

#[test]
fn confidence_is_kept_through_the_whole_chain() {
    for (aim, near, inside) in [(Aim::HELD_95, 0.98, 0.99), (Aim::Unheld, 0.75, 0.975)] {
        let chain = run(aim, Micros::from_secs(60));
        show(&format!("{aim:?}"), &chain.table);
        assert_eq!((chain.skipped, chain.table.messages()), (0, 89_600));
        assert!(chain.table.near_rate().is_some_and(|rate| rate >= near));
        assert!(chain.table.hit_rate().is_some_and(|rate| rate >= inside));
        assert!(is_calibrated(&chain.table));
        assert!(
            !is_calibrated(&chain.by_the_seed),
            "the check above tells it apart"
        );
    }
}

#[test]
fn who_cannot_make_it_is_skipped_and_who_is_sent_to_still_arrives() {
    let chain = run(Aim::HELD_95, Micros::from_millis(300));
    show("300 ms of notice", &chain.table);
    // Classes C and D, and what E has of slow ones: a third of all.
    assert!(
        (20_000..45_000).contains(&chain.skipped),
        "{}",
        chain.skipped
    );
    assert!(chain.table.near_rate().is_some_and(|rate| rate >= 0.98));
}
