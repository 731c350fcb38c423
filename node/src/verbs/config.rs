//! `config`: the effective configuration, and whether it is valid.

use chorus_storage::Home;
use serde_json::json;

use crate::cli::{ConfigVerb, Context};
use crate::control::operations::agent_row;
use crate::error::Failure;
use crate::home::broken;
use crate::settings::{KEYS, Settings};

pub fn run(ctx: &Context, what: ConfigVerb) -> Result<(), Failure> {
    let settings = Settings::load(ctx)?;
    match what {
        ConfigVerb::Check => check(ctx),
        ConfigVerb::Show => show(ctx, &settings),
    }
}

/// A service checks before its first start as well, so a home that is yet to be made is no
/// failure; but whoever has mistyped `--dir` must not be told that theirs is valid.
fn check(ctx: &Context) -> Result<(), Failure> {
    let home = Home::at(&ctx.dir);
    let node = home.is_used().map_err(broken)?;
    let answer = json!({ "schema": "chorus.config/1", "valid": true, "node": node });
    let words = match (node, home.config().exists()) {
        (true, _) => "the configuration is valid".to_owned(),
        (false, file) => {
            let dir = ctx.dir.display();
            let what = if file {
                "chorus.toml"
            } else {
                "what flags and environment set"
            };
            format!("there is no node in {dir} yet; {what} is valid")
        }
    };
    ctx.answer(&answer, &words)
}

fn show(ctx: &Context, settings: &Settings) -> Result<(), Failure> {
    let about = |name| {
        KEYS.iter()
            .find(|key| key.name == name)
            .map(|key| key.about)
    };
    let values: Vec<_> = settings
        .effective()
        .map(|it| {
            json!({
                "key": it.key,
                "value": it.value,
                "origin": it.origin.to_string(),
                "allowed": it.allowed,
                "about": about(it.key),
            })
        })
        .collect();
    let agents: Vec<_> = settings.agents.iter().map(agent_row).collect();
    let answer = json!({
        "schema": "chorus.config/1",
        "valid": true,
        "values": values,
        "agents": agents,
    });
    let lines = settings.effective().map(|it| {
        let setting = format!("{} = {}", it.key, it.value);
        format!("{setting:<50} # {}", it.origin)
    });
    let agents = settings.agents.iter().map(|agent| {
        let which = format!("[[agent]] {} ({})", agent.name, agent.backend.name());
        format!("{which:<50} # {}", Home::at(&ctx.dir).config().display())
    });
    let lines: Vec<String> = lines.chain(agents).collect();
    ctx.answer(&answer, &lines.join("\n"))
}
