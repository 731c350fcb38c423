//! `config`: the effective configuration, and whether it is valid.

use serde_json::json;

use crate::cli::{ConfigVerb, Context};
use crate::error::Failure;
use crate::settings::{KEYS, Settings};

pub fn run(ctx: &Context, what: ConfigVerb) -> Result<(), Failure> {
    let settings = Settings::load(ctx)?;
    match what {
        ConfigVerb::Check => {
            let answer = json!({ "schema": "chorus.config/1", "valid": true });
            ctx.answer(&answer, "the configuration is valid");
        }
        ConfigVerb::Show => show(ctx, &settings),
    }
    Ok(())
}

fn show(ctx: &Context, settings: &Settings) {
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
    let answer = json!({ "schema": "chorus.config/1", "valid": true, "values": values });
    let lines = settings.effective().map(|it| {
        let setting = format!("{} = {}", it.key, it.value);
        format!("{setting:<50} # {}", it.origin)
    });
    let lines: Vec<String> = lines.collect();
    ctx.answer(&answer, &lines.join("\n"));
}
