//! What is wrong with agents and links, by the classes of the seed (6.1), and whether somebody above has
//! to know.

use chorus_actors::Snapshot;
use chorus_protocol::delivery::ESCALATED;
use chorus_protocol::impedance::faults::Fault;
use serde_json::{Value, json};

use super::name_of;

/// The classes that a node tells of.
pub const CLASSES: [&str; 3] = ["AGENT_CRASH", "IMPEDANCE_SPIKE", "TRANSIENT_NETWORK"];

/// An object for each cluster and class, and for each node that does not acknowledge.
pub fn faults(snapshot: &Snapshot) -> Vec<Value> {
    let of_agents = |it: &Fault| {
        let names = it.agents.iter();
        let names = names.map(|it| format!("{}/{}", name_of(snapshot, &it.node), it.agent));
        json!({
            "class": it.kind.name(),
            "sector": it.place.sector.as_str(),
            "cluster": it.place.cluster.as_str(),
            "many": it.many,
            "agents": names.collect::<Vec<_>>(),
            "escalated": it.escalated,
        })
    };
    let of_link = |(node, tries): &(_, u32)| {
        json!({
            "class": "TRANSIENT_NETWORK",
            "node": name_of(snapshot, node),
            "tries": tries,
            "escalated": *tries >= ESCALATED,
        })
    };
    let agents = snapshot.operations.faults.iter().map(of_agents);
    agents.chain(snapshot.unheard.iter().map(of_link)).collect()
}

/// One of them in words.
pub fn fault_words(fault: &Value) -> String {
    let text = |name: &str| fault[name].as_str().unwrap_or_default();
    let names = fault["agents"].as_array().into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    let (class, place) = (
        text("class"),
        format!("{}/{}", text("sector"), text("cluster")),
    );
    let what = match class {
        "AGENT_CRASH" => format!(
            "{} in {place} not there: {}",
            fault["many"],
            names.join(", ")
        ),
        "IMPEDANCE_SPIKE" => format!(
            "{} in {place} twice as slow as in the last hour, routed around: {}",
            fault["many"],
            names.join(", ")
        ),
        _ => format!(
            "{} has not acknowledged {} tries",
            text("node"),
            fault["tries"]
        ),
    };
    match fault["escalated"].as_bool() {
        Some(true) => format!("{class}, ESCALATED: {what}"),
        _ => format!("{class}: {what}"),
    }
}
