//! Telemetry: log lines on stderr, as text or as JSON, as `[log]` says.
//!
//! Packets are TRACE, decisions DEBUG, changes of state INFO, what an operator must see WARN.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;

use crate::settings::Settings;

/// Starts it for this process. A second start changes nothing.
pub fn start(settings: &Settings) {
    let level = settings.log_level.parse().unwrap_or(LevelFilter::INFO);
    let lines = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level);
    // Somebody who logs in this process already keeps the log.
    let _ = if settings.log_json {
        lines.json().try_init().is_ok()
    } else {
        let colour = std::io::stderr().is_terminal();
        lines.with_ansi(colour).try_init().is_ok()
    };
}
