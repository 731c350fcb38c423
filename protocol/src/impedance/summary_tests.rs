//! Summaries of small meshes beside what a scan of all agents gives.

use super::*;
use crate::ids::{BadLabel, Label, NodeId};
use crate::impedance::{Class, Flags};
use crate::units::{Noise, Seeded};

fn place(sector: usize, cluster: usize) -> Result<Place, BadLabel> {
    Ok(Place {
        sector: Label::new(&format!("s{sector}"))?,
        cluster: Label::new(&format!("c{cluster}"))?,
    })
}

fn reading(place: Place, state: State, z_ms: u32) -> Reading {
    Reading {
        class: Class::Serverless,
        place,
        state,
        z_ms,
        net_ms: 0.0,
        unit_ms: 0.0,
        queue: 0,
        reliability: None,
        drift: 0.0,
        flags: Flags::default(),
        context: None,
        capabilities: Vec::new(),
    }
}

fn node(n: usize) -> AgentName {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&(n as u64).to_be_bytes());
    AgentName {
        node: NodeId(id),
        agent: Label::new("e").expect("a name"),
    }
}

/// One cluster with agents of these states and Z.
fn cluster(place: Place, agents: &[(State, u32)]) -> Cluster {
    let mut tally = Tally::default();
    for (n, (state, z_ms)) in agents.iter().enumerate() {
        tally.add(node(n), &reading(place, *state, *z_ms));
    }
    Cluster { place, tally }
}

#[test]
fn a_mesh_up_the_tree_is_the_mesh_in_one_scan() -> Result<(), BadLabel> {
    let mut noise = Seeded::new(5);
    let (mut sectors, mut all, mut of_p95s) = (Vec::new(), Vec::new(), Vec::new());
    for s in 0..10 {
        let mut clusters = Vec::new();
        for c in 0..10 {
            // Some clusters are far slower than others.
            let mean = if c == 0 {
                700.0
            } else {
                20.0 + 10.0 * c as f64
            };
            let agents: Vec<(State, u32)> = (0..30)
                .map(|_| {
                    (
                        State::Active,
                        (mean * (0.3 * noise.gaussian()).exp()) as u32,
                    )
                })
                .collect();
            all.extend(agents.iter().map(|(_, z)| (*z).min(1_000)));
            let summary = cluster(place(s, c)?, &agents);
            of_p95s.extend(summary.tally.p95());
            clusters.push(summary);
        }
        sectors.push(Sector::of(place(s, 0)?.sector, &clusters));
    }
    let mesh = Mesh::of(&sectors);
    all.sort_unstable();
    let exact = f64::from(all[(0.95 * all.len() as f64).ceil() as usize - 1]);
    let p95 = mesh
        .tally
        .p95()
        .map(|score| f64::from(score.get()))
        .unwrap_or_default();
    assert!((p95 - exact).abs() <= exact / 32.0 + 0.5, "{p95} {exact}");
    let sum: u64 = all.iter().map(|z| u64::from(*z)).sum();
    assert_eq!(mesh.tally.mean(), Some(sum as f64 / 3_000.0));
    assert_eq!((mesh.tally.count, mesh.tally.active), (3_000, 3_000));
    assert_eq!((mesh.sectors_healthy, mesh.sectors_degraded), (10, 0));
    let ends =
        [mesh.tally.fastest, mesh.tally.slowest].map(|it| it.map(|it| it.score.get().into()));
    assert_eq!(ends, [all.first().copied(), all.last().copied()]);
    // A percentile of percentiles, as in the seed, is another number.
    of_p95s.sort_unstable();
    let wrong = f64::from(of_p95s[94].get());
    assert!((wrong - exact).abs() > exact / 8.0, "{wrong} {exact}");
    Ok(())
}

#[test]
fn a_sector_names_its_best_and_its_worst_cluster() -> Result<(), BadLabel> {
    let clusters = [
        cluster(place(1, 1)?, &[(State::Active, 100), (State::Active, 200)]),
        cluster(place(1, 2)?, &[(State::Active, 20), (State::Degraded, 990)]),
        cluster(place(1, 3)?, &[(State::Active, 150)]),
        cluster(place(1, 4)?, &[(State::Offline, 1)]),
        cluster(place(2, 5)?, &[(State::Active, 1)]),
    ];
    let sector = Sector::of(place(1, 0)?.sector, &clusters);
    assert_eq!(
        (sector.clusters, sector.tally.count, sector.tally.active),
        (4, 6, 4)
    );
    // Of equals the first by name; one of whom nobody answers has no mean.
    let best = sector
        .healthiest
        .map(|it| (it.cluster.to_string(), it.mean));
    assert_eq!(best, Some(("c1".into(), 150.0)));
    let worst = sector.sickest.map(|it| (it.cluster.to_string(), it.mean));
    assert_eq!(worst, Some(("c2".into(), 505.0)));
    Ok(())
}

#[test]
fn the_silent_and_people_count_but_have_no_score() -> Result<(), BadLabel> {
    let here = place(1, 1)?;
    let states = [
        State::Active,
        State::Degraded,
        State::Offline,
        State::Quarantined,
    ];
    let mut summary = cluster(here, &states.map(|state| (state, 100)));
    let person = Reading {
        class: Class::Human,
        ..reading(here, State::Active, 60_000)
    };
    summary.tally.add(node(9), &person);
    assert_eq!((summary.tally.count, summary.tally.active), (5, 2));
    assert_eq!(summary.tally.mean(), Some(100.0));
    assert_eq!(summary.tally.slowest.map(|it| it.agent), Some(node(1)));
    assert_eq!(summary.tally.fastest.map(|it| it.agent), Some(node(0)));
    Ok(())
}

#[test]
fn healthy_is_above_95_in_a_hundred() -> Result<(), BadLabel> {
    let with = |silent: usize| -> Result<Sector, BadLabel> {
        let mut agents = vec![(State::Active, 10); 100];
        agents[..silent].fill((State::Offline, 10));
        Ok(Sector::of(
            place(1, 0)?.sector,
            &[cluster(place(1, 1)?, &agents)],
        ))
    };
    let sectors = [with(4)?, with(5)?, Sector::of(place(1, 0)?.sector, &[])];
    assert_eq!(
        sectors.each_ref().map(Sector::is_healthy),
        [true, false, false]
    );
    let mesh = Mesh::of(&sectors);
    assert_eq!((mesh.sectors_healthy, mesh.sectors_degraded), (1, 2));
    assert_eq!(mesh.tally.active_rate(), Some(191.0 / 200.0));
    Ok(())
}

#[test]
fn nobody_has_neither_mean_nor_rate() {
    let nobody = Tally::default();
    assert_eq!(
        (nobody.mean(), nobody.p95(), nobody.active_rate()),
        (None, None, None)
    );
    assert_eq!(Mesh::of([]), Mesh::default());
}

#[test]
fn a_merge_of_hostile_counts_stays_a_number() {
    let mut huge = Tally {
        count: u32::MAX,
        active: u32::MAX,
        sum: u64::MAX,
        ..Tally::default()
    };
    huge.merge(&huge.clone());
    assert_eq!(
        (huge.count, huge.active, huge.sum),
        (u32::MAX, u32::MAX, u64::MAX)
    );
    assert_eq!(huge.mean(), None);
}

#[test]
fn a_cluster_of_thirty_fits_a_gossip_frame_and_comes_back() -> Result<(), BadLabel> {
    let agents: Vec<(State, u32)> = (0..30).map(|n| (State::Active, 33 * n)).collect();
    let sent = cluster(place(1, 1)?, &agents);
    let bytes = rmp_serde::to_vec_named(&sent).unwrap_or_default();
    assert!(!bytes.is_empty() && bytes.len() < 400, "{}", bytes.len());
    assert_eq!(rmp_serde::from_slice(&bytes).ok(), Some(sent));
    assert_eq!(size_of::<Tally>(), 592);
    Ok(())
}
