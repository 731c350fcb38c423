//! `agents`: who they are, and how soon each is ready.

use chorus_storage::Home;
use serde_json::{Value, json};

use super::whom_of;
use crate::cli::Context;
use crate::cli::operations::AgentsArgs;
use crate::control::operations::Agents;
use crate::control::{self, Request};
use crate::error::Failure;

pub async fn agents(ctx: Context, args: AgentsArgs) -> Result<(), Failure> {
    let (capabilities, class) = whom_of(&args.whom)?;
    let ask = Agents {
        all: args.all,
        capabilities,
        class,
        up_to_ms: args.up_to,
        limit: args.limit as usize,
        history: args.history,
    };
    let lines = control::ask(&Home::at(&ctx.dir), &Request::Agents { ask }).await?;
    let head = lines.first().cloned().unwrap_or_default();
    let all = |name: &str| -> Vec<Value> {
        let pages = lines.iter().filter_map(|line| line[name].as_array());
        pages.flatten().cloned().collect()
    };
    let (rows, history) = (all("agents"), all("history"));
    let words = words(&head, &rows, &history);
    let mut report = json!({
        "schema": "chorus.agents/1",
        "total": head["total"],
        "by_capability": head["by_capability"],
        "by_class": head["by_class"],
        "summary": head["summary"],
        "agents": rows,
    });
    if args.history {
        report["history"] = history.into();
    }
    ctx.answer(&report, &words)
}

fn words(head: &Value, rows: &[Value], history: &[Value]) -> String {
    let summary = &head["summary"];
    let mut words = format!(
        "{} agents here and beneath, {} active",
        head["total"], summary["active"]
    );
    if let (Some(mean), Some(p95)) = (summary["mean_ms"].as_f64(), summary["p95_ms"].as_u64()) {
        words += &format!("; impedance {mean:.0} ms on average, 95 of 100 up to {p95} ms");
    }
    let away = rows.iter().filter(|it| it["state"] == "offline").count();
    if away > 0 {
        words += &format!("; {away} offline");
    }
    for row in rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let can = row["capabilities"].as_array().into_iter().flatten();
        let can: Vec<&str> = can.filter_map(Value::as_str).collect();
        let who = format!("{}/{}", text("node"), text("name"));
        words += &format!(
            "\n  {who:<28} {} {:<11} {:>7} ms  {}",
            text("class"),
            text("state"),
            row["impedance_ms"].to_string(),
            can.join(",")
        );
    }
    for point in history {
        words += &format!(
            "\n  {:>5} s ago  {} of {} active, {:.0} ms",
            point["age_ms"].as_u64().unwrap_or_default() / 1_000,
            point["active"],
            point["count"],
            point["mean_ms"].as_f64().unwrap_or_default(),
        );
    }
    words
}
