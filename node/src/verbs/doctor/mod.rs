//! `doctor`: looks for what is wrong with this home, this machine, and the node that runs,
//! which it also tries from outside as a stranger would.

mod check;
mod knocks;
mod machine;
mod state;

use chorus_storage::Home;
use serde_json::Value;

use crate::cli::Context;
use crate::control::{self, Request};
use crate::error::Failure;
use crate::home::{self, Loaded};
use crate::report::ends_low;
use crate::settings::Settings;
use crate::verbs::recall::hindrance;
use crate::verbs::run::addresses;
use check::{Check, Grade};
pub use knocks::uses;

pub async fn run(ctx: Context) -> Result<(), Failure> {
    let home = Home::at(&ctx.dir);
    let loaded = home::load(&ctx.dir);
    let mut checks = machine::keys(&home, &loaded);
    checks.extend(machine::set_aside(&home));
    let settings = Settings::load(&ctx);
    checks.extend(machine::machine(&settings));
    match control::ask(&home, &Request::Health {}).await {
        Ok(lines) => {
            if let Ok(loaded) = &loaded {
                checks.extend(knocks::all(loaded, &addresses(&home).unwrap_or_default()));
            }
            // What it says after the knocks counts: it has seen them.
            let before = lines.into_iter().next().unwrap_or_default();
            let after = control::ask(&home, &Request::Health {}).await;
            let after = after.ok().and_then(|lines| lines.into_iter().next());
            let health = after.unwrap_or(before);
            checks.push(knocks::revoked(&health));
            checks.extend(running(&health));
        }
        Err(why) if ["not_running", "no_node"].contains(&why.code.as_str()) => {
            checks.extend(settings.iter().flat_map(machine::ports));
            // Before the store is opened, which may make room.
            checks.extend(loaded.iter().filter_map(|it| machine::disk(&it.home)));
            checks.extend(
                loaded
                    .ok()
                    .map(|it| not_running(it, &settings))
                    .into_iter()
                    .flatten(),
            );
        }
        Err(why) => checks.push(Check::failed("node", &why)),
    }
    finish(&ctx, &checks)
}

/// A node that does not run cannot be tried; that is said, not passed over, and so is what
/// `run` would say.
fn not_running(loaded: Loaded, settings: &Result<Settings, Failure>) -> Vec<Check> {
    let start = match settings {
        Ok(settings) => start(home::plan(loaded, settings).and_then(|it| hindrance(&it))),
        Err(_) => Check::new("start", Grade::Skipped, "the configuration is refused"),
    };
    let node = Check::new("node", Grade::Warn, "does not run");
    let node = match start.grade {
        Grade::Ok => node.hint("`chorus run` starts it"),
        _ => node.hint("see the line `start`"),
    };
    let detail = "strangers and bad tokens were not tried: the node does not run";
    let refusals = Check::new("refusals", Grade::Skipped, detail);
    vec![
        start,
        node,
        refusals.hint("run `chorus doctor` again beside it"),
    ]
}

/// What keeps the node from beginning: an error ends `run`, and for a failure it waits.
fn start(hindrance: Result<Option<Failure>, Failure>) -> Check {
    match hindrance {
        Ok(None) => {
            let detail = "the roster, the settings and the count of starts let it begin";
            Check::new("start", Grade::Ok, detail)
        }
        Ok(Some(why)) | Err(why) => Check::failed("start", &why),
    }
}

/// Prints the table; a failed check is exit 1.
fn finish(ctx: &Context, checks: &[Check]) -> Result<(), Failure> {
    let failed = check::failed(checks);
    let (json, words) = (check::json_of(checks), check::words_of(checks));
    if failed == 0 {
        return ctx.answer(&json, &words);
    }
    let message = match failed {
        1 => "1 check failed".to_owned(),
        n => format!("{n} checks failed"),
    };
    let failure =
        Failure::failed("unhealthy", message).hint("see the lines that begin with `fail`");
    ctx.answer_failed(&json, &words, failure)
}

/// What the running node says that it has checked.
fn running(health: &Value) -> Vec<Check> {
    let counter = |name: &str| health["counters"][name].as_u64().unwrap_or(0);
    let number = |name: &str| health[name].as_u64().unwrap_or(0);
    let mut checks = vec![match health["revoked"]["self"] == true {
        false => Check::new("node", Grade::Ok, "runs"),
        true => Check::new("node", Grade::Fail, "the mesh's root revoked this node")
            .hint("ask for a token, and join with new keys in a new home"),
    }];
    // The sockets bind only after a wrong key and a client without CURVE were turned away.
    checks.push(match counter("fail_open") {
        0 => Check::new(
            "admission",
            Grade::Ok,
            format!(
                "a stranger's key and a client without keys were refused before any port opened; \
                 {} later probes and {} handshakes refused since",
                counter("probe_refused"),
                counter("zap_refused")
            ),
        ),
        n => Check::new(
            "admission",
            Grade::Fail,
            format!("{n} came in without an admitted key"),
        )
        .hint("stop this node and report it"),
    });
    let role = health["role"].as_str().unwrap_or_default();
    checks.push(
        match (health["parent"].as_str(), health["orphan"] == true) {
            (Some(name), _) => match ends_low(health) {
                None => Check::new("parent", Grade::Ok, name),
                Some(top) => Check::new(
                    "parent",
                    Grade::Warn,
                    format!("{name}, but the way up ends at a {top}"),
                )
                .hint("who stands above it is down or cut off; another way up is looked for"),
            },
            (None, true) => Check::new(
                "parent",
                Grade::Warn,
                "none can be reached; siblings are spoken to directly meanwhile",
            )
            .hint("does the parent run, and is its address right in `chorus config show` there?"),
            (None, false) if role == "orchestrator" => {
                Check::new("parent", Grade::Ok, "none: at the top")
            }
            (None, false) => Check::new("parent", Grade::Warn, "none yet")
                .hint("one is looked for; if this stays, does the parent run?"),
        },
    );
    let (live, members) = (number("live"), number("members"));
    let told = format!("{live} of {members} live");
    checks.push(if live == members {
        Check::new("members", Grade::Ok, told)
    } else {
        Check::new("members", Grade::Warn, told).hint("`chorus peers --all` says who is missing")
    });
    checks.push(match number("missing_revocations") {
        0 => Check::new("revocations", Grade::Ok, "none is missing"),
        n => Check::new(
            "revocations",
            Grade::Warn,
            format!("{n} known to exist and not here yet: the roster is old or being fetched"),
        ),
    });
    let doubles = health["duplicate_names"].as_array().into_iter().flatten();
    let doubles: Vec<&str> = doubles.filter_map(Value::as_str).collect();
    if !doubles.is_empty() {
        let detail = format!("claimed by more than one node: {}", doubles.join(", "));
        checks.push(Check::new("names", Grade::Warn, detail));
    }
    if number("locked_groups") > 1 {
        let detail = format!(
            "{} groups are locked apart from each other",
            number("locked_groups")
        );
        checks.push(Check::new("phases", Grade::Warn, detail));
    }
    checks.extend(state::checks(health));
    checks.extend(state::memory(&health["memory"]));
    checks
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grade(checks: &[Check], name: &str) -> Option<Grade> {
        let found = checks.iter().find(|check| check.name == name);
        found.map(|check| check.grade)
    }

    #[test]
    fn a_node_that_lets_strangers_in_fails_and_an_orphan_is_warned_of() {
        let sound = json!({
            "role": "agent", "parent": "lead", "orphan": false, "members": 2, "live": 2,
            "missing_revocations": 0, "counters": {"fail_open": 0},
            "top": "orchestrator", "cut_off_above": false
        });
        assert!(running(&sound).iter().all(|check| check.grade == Grade::Ok));
        let low = json!({"parent": "lead", "top": "coordinator", "cut_off_above": true});
        assert_eq!(grade(&running(&low), "parent"), Some(Grade::Warn));
        let bad = json!({
            "role": "agent", "parent": null, "orphan": true, "members": 2, "live": 1,
            "missing_revocations": 3, "counters": {"fail_open": 1}, "duplicate_names": ["a"],
            "locked_groups": 2
        });
        let checks = running(&bad);
        assert_eq!(grade(&checks, "admission"), Some(Grade::Fail));
        for name in ["parent", "members", "revocations", "names", "phases"] {
            assert_eq!(grade(&checks, name), Some(Grade::Warn), "{name}");
        }
    }
}
