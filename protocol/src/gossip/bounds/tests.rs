//! Sums that hold more than the roster knows, from below, from beside and from above.

use super::*;
use crate::gossip::Counters;
use crate::gossip::telling::tests::*;
use crate::phase::field::PartialSum;
use crate::wire::message::{Message, PhaseNews, SumNews};

/// A sum over `members` nodes that stand together at `theta`.
fn sum(scope: Scope, members: u32, theta: f64) -> Sum {
    let part = PartialSum {
        members,
        ..PartialSum::of(theta, 6.0, members.into())
    };
    Sum { scope, part }
}

fn sums(own: Sum, above: Vec<Sum>) -> Message {
    let top = Role::Orchestrator;
    Message::Sums(SumNews { own, above, top })
}

fn c1() -> Scope {
    let place = place("s1", "c1");
    Scope::cluster(place.sector, place.cluster)
}

fn phase() -> Message {
    Message::Phase(PhaseNews {
        place: place("s1", "c1"),
        theta: 1.0,
        omega: 6.0,
        age_us: 0,
    })
}

/// How many nodes a node's own sum holds.
fn heads(node: &Node) -> u32 {
    node.gossip.subtree(node.now()).part.members
}

fn counters(node: &Node) -> Counters {
    node.gossip.counters
}

#[test]
fn an_agent_has_nobody_to_sum_up() {
    let mut lead = Node::new(LEAD);
    lead.beat(AGENT, Some(LEAD));
    lead.beat(OTHER_AGENT, Some(LEAD));
    lead.hear(AGENT, phase());
    lead.hear(OTHER_AGENT, phase());
    assert_eq!(heads(&lead), 3);
    for members in [1, 2, 1_000_000, u32::MAX] {
        lead.hear(AGENT, sums(sum(c1(), members, 4.0), Vec::new()));
    }
    // Its last phase still counts, until the TTL as ever.
    assert_eq!(heads(&lead), 3);
    assert_eq!(counters(&lead).not_its_to_sum, 4);
    assert!((lead.gossip.subtree(lead.now()).part.mean_phase() - 4.0).abs() > 1.0);
}

#[test]
fn a_lead_sums_up_no_more_agents_than_its_sector_has() {
    let mut coordinator = Node::new(COORDINATOR);
    coordinator.beat(LEAD, Some(COORDINATOR));
    coordinator.hear(LEAD, sums(sum(c1(), 3, 1.0), Vec::new()));
    assert_eq!(heads(&coordinator), 4);
    for members in [5, 6, 1_000_000, u32::MAX] {
        coordinator.hear(LEAD, sums(sum(c1(), members, 4.0), Vec::new()));
    }
    assert_eq!(heads(&coordinator), 4, "the last good one, until the TTL");
    assert_eq!(counters(&coordinator).beyond_roster, 4);
    assert_eq!(counters(&coordinator).absurd, 0);
}

#[test]
fn where_all_together_are_too_many_who_claims_most_beyond_its_seat_is_left_out() {
    let c2 = sum(
        Scope::cluster(place("s1", "c2").sector, place("s1", "c2").cluster),
        3,
        4.0,
    );
    for liar_first in [true, false] {
        let mut coordinator = Node::new(COORDINATOR);
        coordinator.beat(LEAD, Some(COORDINATOR));
        coordinator.beat(OTHER_LEAD, Some(COORDINATOR));
        // The other lead has no agent of its own, and could have those of the first.
        let mut said = [(LEAD, sum(c1(), 3, 1.0)), (OTHER_LEAD, c2)];
        if liar_first {
            said.reverse();
        }
        for (lead, own) in said {
            coordinator.hear(lead, sums(own, Vec::new()));
        }
        assert_eq!(heads(&coordinator), 4, "liar first: {liar_first}");
        let mean = coordinator.gossip.field.children(coordinator.now());
        assert_eq!(mean.len(), 1);
        assert_eq!(mean[0].0, c1());
        assert_eq!(counters(&coordinator).beyond_roster, 1);
    }
}

#[test]
fn a_part_stands_where_the_roster_says_and_not_where_its_sender_does() {
    let mut coordinator = Node::new(COORDINATOR);
    coordinator.beat(LEAD, Some(COORDINATOR));
    coordinator.hear(LEAD, sums(sum(Scope::MESH, 3, 1.0), Vec::new()));
    let parts = coordinator.gossip.field.children(coordinator.now());
    assert_eq!(parts[0].0, c1());
}

#[test]
fn no_more_come_from_above_than_there_are() {
    let mut agent = Node::new(AGENT);
    agent.tick(100);
    let sector = Scope::sector(place("s1", "c1").sector);
    let news = |cluster, of_sector, mesh| {
        let above = vec![sum(sector, of_sector, 1.0), sum(Scope::MESH, mesh, 1.0)];
        sums(sum(c1(), cluster, 1.0), above)
    };
    agent.hear(LEAD, news(3, 5, 7));
    let widest = |agent: &Node| agent.gossip.widest(agent.now()).part.members;
    assert_eq!(widest(&agent), 7);
    for (cluster, of_sector, mesh) in [(5, 5, 7), (3, 7, 7), (3, 5, 9), (3, 5, u32::MAX)] {
        agent.hear(LEAD, news(cluster, of_sector, mesh));
        assert_eq!(widest(&agent), 7);
    }
    assert_eq!(counters(&agent).beyond_roster, 4);
}

#[test]
fn an_eighth_more_than_the_roster_knows_may_be_newcomers_and_one_where_that_is_none() {
    assert_eq!(with_slack(0), 0);
    assert_eq!(with_slack(7), 8);
    assert_eq!(with_slack(30), 33);
    assert_eq!(with_slack(u32::MAX), u64::from(u32::MAX) + (1 << 29) - 1);
}
