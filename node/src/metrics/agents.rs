//! The agents' part of the metrics: how many, what is wrong with them, and what operations came to.

use std::sync::atomic::AtomicU64;

use chorus_actors::Snapshot;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::Value;

use super::gauge;
use crate::report;

pub(super) fn agents(registry: &mut Registry, snapshot: &Snapshot) {
    let operations = &snapshot.operations;
    let (total, active) = operations.kpis.agents();
    for (name, help, value) in [
        ("agents_listed", "Agents known here and beneath", total),
        ("agents_active", "Of those, the ones that are there", active),
    ] {
        gauge(registry, name, help, value as f64);
    }
    let faults: Family<[(&str, String); 2], Gauge> = Family::default();
    let found = report::faults(snapshot);
    for class in report::CLASSES {
        for escalated in [true, false] {
            let alike = |it: &&Value| it["class"] == class && it["escalated"] == escalated;
            let labels = [
                ("class", class.to_owned()),
                ("escalated", escalated.to_string()),
            ];
            let many = found.iter().filter(alike).count();
            let many = i64::try_from(many).unwrap_or(i64::MAX);
            faults.get_or_create(&labels).set(many);
        }
    }
    registry.register(
        "faults",
        "Clusters with such a fault, or nodes that do not acknowledge",
        faults,
    );
    let rows = report::kpi::kpis(&operations.kpis, operations.now);
    let values: Family<[(&str, String); 2], Gauge<f64, AtomicU64>> = Family::default();
    let cases: Family<[(&str, String); 2], Gauge<f64, AtomicU64>> = Family::default();
    for row in &rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let labels = [("measure", text("name")), ("window", text("window"))];
        if let Some(value) = row["value"].as_f64() {
            values.get_or_create(&labels).set(value);
        }
        let of = row["of"].as_f64().unwrap_or_default();
        cases.get_or_create(&labels).set(of);
    }
    registry.register(
        "kpi",
        "A measure of operations: a share, or milliseconds",
        values,
    );
    registry.register("kpi_cases", "Of how many things a measure is", cases);
}
