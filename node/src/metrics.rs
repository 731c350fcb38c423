//! Metrics: the node's numbers for Prometheus, over plain HTTP on the metrics address.
//!
//! `GET /metrics`, `/healthz` and `/readyz`, nothing else. `/healthz` is 200 while the node
//! answers and is a member; without a parent too, which it finds again by itself. `/readyz` is
//! 200 while it also has a parent, or stands at the top, and the disk refuses nothing. Both
//! say in words what is wrong.
//!
//! Labels are the node's sector and cluster and the names of fixed sets (states, counters),
//! never an agent or a peer: the number of series does not grow with the mesh.

mod agents;

use std::sync::atomic::AtomicU64;

use chorus_actors::Snapshot;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::live::Live;
use crate::{connections, report};

/// The longest request head in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

const TEXT: &str = "text/plain; charset=utf-8";
const UNAVAILABLE: &str = "503 Service Unavailable";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One label of a fixed set.
type Labels = [(&'static str, &'static str); 1];

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, live: Live) {
    let accept = async || listener.accept().await.map(|(stream, _)| stream);
    let one = |stream, _| serve_one(stream, live.clone());
    connections::serve("the metrics address", accept, one).await;
}

async fn serve_one(mut stream: TcpStream, live: Live) {
    let Some(head) = read_head(&mut stream).await else {
        return;
    };
    let (status, kind, body) = match route(&head) {
        Route::Metrics => match live.snapshot().await {
            Some(snapshot) => ("200 OK", OPENMETRICS, text(&snapshot)),
            None => stopping(),
        },
        Route::Health => match live.snapshot().await {
            Some(snapshot) => health(&snapshot),
            None => stopping(),
        },
        Route::Ready => match live.snapshot().await {
            Some(snapshot) if report::is_ready(&snapshot) => ("200 OK", TEXT, "ok\n".to_owned()),
            Some(snapshot) => (UNAVAILABLE, TEXT, report::stands(&snapshot) + "\n"),
            None => stopping(),
        },
        Route::NotFound => (
            "404 Not Found",
            TEXT,
            "there is /metrics, /healthz and /readyz\n".to_owned(),
        ),
        Route::NotAllowed => ("405 Method Not Allowed", TEXT, "GET only\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // Whoever hung up meanwhile wanted no answer.
    if stream.write_all((head + &body).as_bytes()).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

/// Status, type and body of an answer.
type Answer = (&'static str, &'static str, String);

/// A node without a parent goes on, and finds one by itself; one that was shut out does not.
fn health(snapshot: &Snapshot) -> Answer {
    let stands = || report::stands(snapshot);
    match () {
        () if report::is_revoked(snapshot) => (UNAVAILABLE, TEXT, stands() + "\n"),
        () if report::is_ready(snapshot) => ("200 OK", TEXT, "ok\n".to_owned()),
        () => (
            "200 OK",
            TEXT,
            format!("ok, but {}: see /readyz\n", stands()),
        ),
    }
}

fn stopping() -> Answer {
    (UNAVAILABLE, TEXT, "stopping\n".to_owned())
}

/// All of a request before its body; `None` when it is too long or is cut off.
async fn read_head(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    Metrics,
    Health,
    Ready,
    NotFound,
    NotAllowed,
}

fn route(head: &[u8]) -> Route {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next(), words.next().unwrap_or_default());
    match (method, target.split('?').next().unwrap_or_default()) {
        (Some("GET"), "/metrics") => Route::Metrics,
        (Some("GET"), "/healthz") => Route::Health,
        (Some("GET"), "/readyz") => Route::Ready,
        (Some("GET"), _) => Route::NotFound,
        _ => Route::NotAllowed,
    }
}

/// The node's numbers in the OpenMetrics text format.
fn text(snapshot: &Snapshot) -> String {
    let place = snapshot.me.place;
    let labels = [("sector", place.sector), ("cluster", place.cluster)];
    let labels = labels.map(|(name, value)| (name.into(), value.to_string().into()));
    let mut registry = Registry::with_prefix_and_labels("chorus", labels.into_iter());
    phase(&mut registry, snapshot);
    membership(&mut registry, snapshot);
    memory(&mut registry, snapshot);
    frames(&mut registry, snapshot);
    agents::agents(&mut registry, snapshot);
    let mut out = String::new();
    if let Err(why) = encode(&mut out, &registry) {
        tracing::warn!(%why, "metrics cannot be written");
    }
    out
}

fn phase(registry: &mut Registry, snapshot: &Snapshot) {
    let view = &snapshot.view;
    gauge(registry, "phase_theta_radians", "Own phase", view.theta);
    gauge(
        registry,
        "phase_omega_radians_per_second",
        "Own natural frequency",
        view.omega,
    );
    let order: Family<Labels, Gauge<f64, AtomicU64>> = Family::default();
    let scopes = [
        ("widest", Some(view.order)),
        ("sector", view.order_sector),
        ("cluster", view.order_cluster),
    ];
    for (scope, value) in scopes {
        if let Some(value) = value {
            order.get_or_create(&[("scope", scope)]).set(value);
        }
    }
    registry.register("order", "Order parameter r of a scope, 0 to 1", order);
    let members = f64::from(view.members);
    gauge(
        registry,
        "phase_members",
        "Members in the widest sum",
        members,
    );
}

fn membership(registry: &mut Registry, snapshot: &Snapshot) {
    let view = &snapshot.view;
    let peers: Family<Labels, Gauge> = Family::default();
    for (state, count) in ["live", "suspect", "evicted"].into_iter().zip(view.peers) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        peers.get_or_create(&[("state", state)]).set(count);
    }
    registry.register("peers", "Peers known, by state", peers);
    let members = snapshot.roster.len() as f64;
    gauge(registry, "roster_members", "Members on the roster", members);
    gauge(
        registry,
        "roster_members_live",
        "Members on the roster that live, with this node",
        report::live_members(snapshot) as f64,
    );
    let missing = snapshot.roster.missing_revocations() as f64;
    gauge(
        registry,
        "roster_missing_revocations",
        "Revocations known to exist and not here",
        missing,
    );
    let orphan = f64::from(u8::from(view.orphan));
    gauge(
        registry,
        "orphan",
        "1 while no parent can be reached",
        orphan,
    );
    let revoked = f64::from(u8::from(report::is_revoked(snapshot)));
    gauge(
        registry,
        "revoked",
        "1 once the mesh's root has shut this node out",
        revoked,
    );
    let mode: Family<Labels, Gauge> = Family::default();
    mode.get_or_create(&[("mode", report::mode(snapshot))])
        .set(1);
    registry.register("mode", "The mode that holds", mode);
    let storage: Family<Labels, Gauge> = Family::default();
    let state = report::storage_state(&snapshot.counters);
    storage.get_or_create(&[("state", state)]).set(1);
    registry.register("storage", "How the disk is; OK: all is written", storage);
    let uptime = snapshot.started.elapsed().as_secs_f64();
    gauge(registry, "uptime_seconds", "Since the node started", uptime);
}

fn memory(registry: &mut Registry, snapshot: &Snapshot) {
    let view = &snapshot.memory;
    let told = report::memory(view, report::live_members(snapshot));
    let number = |name: &str| told[name].as_f64().unwrap_or_default();
    for (name, field, about) in [
        ("memory_records", "records", "Keys held, deleted ones too"),
        ("memory_bytes", "bytes", "Bytes of the keys held"),
        ("memory_bytes_max", "bytes_max", "Bytes that it may hold"),
        ("memory_copies", "copies", "Members that should hold a key"),
        (
            "memory_copies_live",
            "copies_live",
            "Of these those that live",
        ),
        (
            "memory_neighbours",
            "neighbours",
            "Nodes whose memory is compared with",
        ),
        (
            "memory_behind",
            "behind",
            "Neighbours with whom it does not agree yet",
        ),
        (
            "memory_conflicts",
            "conflicts",
            "Keys in conflict by the log",
        ),
    ] {
        gauge(registry, name, about, number(field));
    }
    let survival: Family<Labels, Gauge<f64, AtomicU64>> = Family::default();
    for (loss, _) in report::LOSSES {
        if let Some(p) = told["survival"][loss].as_f64() {
            survival.get_or_create(&[("loss", loss)]).set(p);
        }
    }
    registry.register(
        "memory_survival",
        "Probability that a record outlives the loss of so many of the live members",
        survival,
    );
}

fn frames(registry: &mut Registry, snapshot: &Snapshot) {
    let view = &snapshot.view.counters;
    let gossip = [
        ("applied", view.applied),
        ("stale", view.stale),
        ("unwanted", view.unwanted),
        ("absurd", view.absurd),
        ("not_its_to_tell", view.not_its_to_tell),
        ("not_its_to_sum", view.not_its_to_sum),
        ("beyond_roster", view.beyond_roster),
        ("expired", view.expired),
    ];
    counters(
        registry,
        "gossip",
        "What was done with state",
        "outcome",
        &gossip,
    );
    counters(
        registry,
        "refused_frames",
        "Frames not taken, by reason",
        "reason",
        &snapshot.refusals,
    );
    counters(
        registry,
        "events",
        "What sockets, queues and store count",
        "event",
        &snapshot.counters,
    );
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge: Gauge<f64, AtomicU64> = Gauge::default();
    gauge.set(value);
    register(registry, name, help, gauge);
}

fn counters(
    registry: &mut Registry,
    name: &str,
    help: &str,
    label: &'static str,
    values: &[(&'static str, u64)],
) {
    let family: Family<Labels, Counter> = Family::default();
    for (value, count) in values {
        family.get_or_create(&[(label, *value)]).inc_by(*count);
    }
    register(registry, name, help, family);
}

fn register(registry: &mut Registry, name: &str, help: &str, metric: impl Metric) {
    registry.register(name, help, metric);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_paths_are_served_to_get_alone() {
        assert_eq!(route(b"GET /metrics HTTP/1.1\r\n\r\n"), Route::Metrics);
        assert_eq!(route(b"GET /metrics?x=1 HTTP/1.1\r\n\r\n"), Route::Metrics);
        assert_eq!(route(b"GET /healthz HTTP/1.0\r\n\r\n"), Route::Health);
        assert_eq!(route(b"GET /readyz HTTP/1.1\r\n\r\n"), Route::Ready);
        assert_eq!(route(b"GET /etc/passwd HTTP/1.1\r\n\r\n"), Route::NotFound);
        assert_eq!(route(b"POST /metrics HTTP/1.1\r\n\r\n"), Route::NotAllowed);
        assert_eq!(route(b"\xff\xfe"), Route::NotAllowed);
    }

    #[test]
    fn counters_carry_the_labels_of_their_set() {
        let mut registry = Registry::with_prefix("chorus");
        counters(&mut registry, "events", "help", "event", &[("sent", 7)]);
        let mut out = String::new();
        encode(&mut out, &registry).expect("it encodes");
        assert!(
            out.contains("chorus_events_total{event=\"sent\"} 7"),
            "{out}"
        );
    }
}
