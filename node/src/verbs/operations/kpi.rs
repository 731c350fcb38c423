//! `kpi`: how a node's operations came out, in seven measures.

use chorus_storage::Home;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::control::{self, Request};
use crate::error::Failure;

pub async fn kpi(ctx: Context) -> Result<(), Failure> {
    let kpis = Kpis::read(&Home::at(&ctx.dir)).await?;
    let mut report = json!({ "schema": "chorus.kpi/1" });
    kpis.report(&mut report);
    ctx.answer(&report, &kpis.words())
}

/// How a node's operations came out.
#[derive(Debug)]
pub struct Kpis {
    measures: Vec<Value>,
    reliability: Value,
}

impl Kpis {
    /// Asks the node of a home.
    pub async fn read(home: &Home) -> Result<Self, Failure> {
        let mut measures = control::ask(home, &Request::Kpi {}).await?;
        let mut last = measures.pop().unwrap_or_default();
        let reliability = last["reliability"].take();
        Ok(Self {
            measures,
            reliability,
        })
    }

    /// Puts them into a report.
    pub fn report(&self, report: &mut Value) {
        report["kpis"] = json!(self.measures);
        report["reliability"] = self.reliability.clone();
    }

    /// As two tables.
    pub fn words(&self) -> String {
        format!("{}{}", table(&self.measures), tenths(&self.reliability))
    }
}

/// What was promised of messages, and what came of it.
fn tenths(reliability: &Value) -> String {
    let percent = |row: &Value, name: &str| match row[name].as_f64() {
        Some(share) => format!("{:.1} %", share * 100.0),
        None => "-".to_owned(),
    };
    let rows = reliability["tenths"].as_array();
    let mut words = String::new();
    for row in rows.into_iter().flatten() {
        if words.is_empty() {
            words += &format!(
                "\n\n{:<24} {:>12} {:>14}",
                "messages of the last day", "promised", "kept"
            );
        }
        words += &format!(
            "\n{:<24} {:>12} {:>14}",
            row["messages"].to_string(),
            percent(row, "promised"),
            percent(row, "kept")
        );
    }
    words
}

/// The measures as a table.
fn table(rows: &[Value]) -> String {
    let mut words = format!(
        "{:<24} {:>12} {:>14} {:>9} {:>8}  {}",
        "measure", "value", "goal", "window", "of", "state"
    );
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let unit = text("unit");
        let value = match row["value"].as_f64() {
            None => "-".to_owned(),
            Some(share) if unit == "share" => format!("{:.2} %", share * 100.0),
            Some(ms) if ms >= 10_000.0 => format!("{:.1} s", ms / 1e3),
            Some(ms) => format!("{ms:.1} ms"),
        };
        words += &format!(
            "\n{:<24} {value:>12} {:>14} {:>9} {:>8}  {}",
            text("name"),
            text("goal"),
            text("window"),
            row["of"].to_string(),
            text("state"),
        );
    }
    words
}
