//! Telemetry: log lines on stderr, as text or as JSON, as `[log]` says.
//!
//! Packets are TRACE, decisions DEBUG, changes of state INFO, what an operator must see WARN.

use std::io::IsTerminal;

use chorus_actors::memory::realm::LOGGED;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::Settings;

/// Starts it for this process. A second start changes nothing.
pub fn start(settings: &Settings) {
    let level = settings.log_level.parse().unwrap_or(LevelFilter::INFO);
    // What the library beneath the realms warns of concerns its authors: our own events say
    // what happened.
    let library = level.min(LevelFilter::ERROR);
    let levels = LOGGED
        .into_iter()
        .fold(Targets::new().with_default(level), |levels, name| {
            levels.with_target(name, library)
        });
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = tracing_subscriber::registry().with(levels);
    // Somebody who logs in this process already keeps the log.
    let _ = if settings.log_json {
        log.with(lines.json()).try_init().is_ok()
    } else {
        let colour = std::io::stderr().is_terminal();
        log.with(lines.with_ansi(colour)).try_init().is_ok()
    };
}
