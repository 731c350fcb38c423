//! `doctor`: looks for what is wrong with this home, this machine, and the node that runs.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use chorus_actors::transport::sockets::CurveKeys;
use chorus_storage::Home;
use serde_json::{Value, json};

use crate::cli::Context;
use crate::control::{self, Request};
use crate::error::{Failure, exit};
use crate::settings::{DOOR_PORT_OFFSET, Settings};
use crate::{home, report};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grade {
    Ok,
    Warn,
    Fail,
}

impl Grade {
    fn as_str(self) -> &'static str {
        match self {
            Grade::Ok => "ok",
            Grade::Warn => "warn",
            Grade::Fail => "fail",
        }
    }
}

/// One line of the table.
#[derive(Debug)]
struct Check {
    name: &'static str,
    grade: Grade,
    detail: String,
}

fn check(name: &'static str, grade: Grade, detail: impl Into<String>) -> Check {
    let detail = detail.into();
    Check {
        name,
        grade,
        detail,
    }
}

pub async fn run(ctx: Context) -> Result<(), Failure> {
    let home = Home::at(&ctx.dir);
    let mut checks = keys(&home);
    let settings = Settings::load(&ctx);
    checks.push(match &settings {
        Ok(_) => check("configuration", Grade::Ok, "valid"),
        Err(why) => check(
            "configuration",
            Grade::Fail,
            format!("{why} ({})", why.hint),
        ),
    });
    checks.push(match CurveKeys::generate() {
        Ok(_) => check("encryption", Grade::Ok, "libzmq has CURVE"),
        Err(why) => check("encryption", Grade::Fail, why.to_string()),
    });
    match control::ask(&home, &Request::Health {}).await {
        Ok(lines) => checks.extend(running(lines.first().unwrap_or(&Value::Null))),
        Err(why) if why.code == "not_running" => {
            checks.push(check(
                "node",
                Grade::Warn,
                "does not run; `chorus run` starts it",
            ));
            checks.extend(settings.iter().flat_map(ports));
        }
        Err(why) => checks.push(check("node", Grade::Fail, why.to_string())),
    }
    finish(&ctx, &checks)
}

/// Prints the table; a failed check is exit 1.
fn finish(ctx: &Context, checks: &[Check]) -> Result<(), Failure> {
    let failed = checks
        .iter()
        .filter(|check| check.grade == Grade::Fail)
        .count();
    let rows: Vec<Value> = checks
        .iter()
        .map(|it| json!({"check": it.name, "grade": it.grade.as_str(), "detail": it.detail}))
        .collect();
    let table: Vec<[String; 3]> = checks
        .iter()
        .map(|it| [it.grade.as_str().into(), it.name.into(), it.detail.clone()])
        .collect();
    let answer = json!({"schema": "chorus.doctor/1", "failed": failed, "checks": rows});
    ctx.answer(&answer, &report::columns(&table));
    if failed == 0 {
        return Ok(());
    }
    if ctx.json {
        // The object above says it all; a second one would break whoever parses stdout.
        let _ = std::io::stdout().flush();
        std::process::exit(i32::from(exit::FAILED));
    }
    let plural = if failed == 1 { "check" } else { "checks" };
    Err(Failure::failed(
        "unhealthy",
        format!("{failed} {plural} failed"),
    ))
}

/// Keys are there, readable, and nobody else's to read.
fn keys(home: &Home) -> Vec<Check> {
    let mut checks = vec![match home::load(home.dir()) {
        Ok(loaded) => {
            let detail = format!(
                "node {} in mesh {}",
                loaded.identity.id().short(),
                loaded.mesh.short()
            );
            check("home", Grade::Ok, detail)
        }
        Err(why) => check(
            "home",
            Grade::Fail,
            format!("{why} {}", why.hint).trim_end(),
        ),
    }];
    let private = [
        ("node key", home.node_key()),
        ("link key", home.curve_key()),
        ("root key", home.root_key()),
    ];
    for (name, path) in private {
        // Only the home where the mesh was made has a root key; a missing other is above.
        if path.exists() {
            checks.push(private_file(name, &path));
        }
    }
    checks
}

fn private_file(name: &'static str, path: &Path) -> Check {
    match std::fs::metadata(path).map(|it| it.permissions().mode() & 0o7777) {
        Ok(mode) if mode & 0o077 == 0 => check(name, Grade::Ok, format!("mode {mode:04o}")),
        Ok(mode) => {
            let detail = format!(
                "mode {mode:04o}: others can read it; chmod 600 {}",
                path.display()
            );
            check(name, Grade::Fail, detail)
        }
        Err(why) => check(name, Grade::Fail, format!("{}: {why}", path.display())),
    }
}

/// Whether the ports that the node would take are free.
fn ports(settings: &Settings) -> Vec<Check> {
    let taken = |port: u16| {
        let address = SocketAddr::new(settings.host, port);
        TcpListener::bind(address)
            .err()
            .map(|why| format!("{address}: {why}"))
    };
    let wanted = settings.ports;
    let listening = [
        wanted.router,
        wanted.publisher,
        wanted.subscriber,
        wanted.door,
    ];
    let metrics = settings.metrics.map_or(0, |address| address.port());
    let busy: Vec<String> = listening
        .into_iter()
        .filter(|port| *port != 0)
        .filter_map(taken)
        .collect();
    if !busy.is_empty() {
        return vec![check("ports", Grade::Fail, busy.join("; "))];
    }
    let detail = match wanted.router {
        0 => "chosen when the node starts".to_owned(),
        first => format!(
            "{first} to {} are free",
            first.saturating_add(DOOR_PORT_OFFSET)
        ),
    };
    let mut checks = vec![check("ports", Grade::Ok, detail)];
    if let Some(address) = settings.metrics
        && metrics != 0
        && let Err(why) = TcpListener::bind(address)
    {
        checks.push(check("metrics", Grade::Fail, format!("{address}: {why}")));
    }
    checks
}

/// What the running node says that it has checked.
fn running(health: &Value) -> Vec<Check> {
    let counter = |name: &str| health["counters"][name].as_u64().unwrap_or(0);
    let number = |name: &str| health[name].as_u64().unwrap_or(0);
    let mut checks = vec![check("node", Grade::Ok, "runs")];
    // The sockets bind only after a wrong key and a client without CURVE were turned away.
    checks.push(match counter("fail_open") {
        0 => check(
            "admission",
            Grade::Ok,
            format!(
                "a stranger's key and a client without keys were refused before any port opened; \
                 {} later probes and {} handshakes refused since",
                counter("probe_refused"),
                counter("zap_refused")
            ),
        ),
        n => check(
            "admission",
            Grade::Fail,
            format!("{n} came in without an admitted key"),
        ),
    });
    let role = health["role"].as_str().unwrap_or_default();
    checks.push(
        match (health["parent"].as_str(), health["orphan"] == true) {
            (Some(name), _) => check("parent", Grade::Ok, name),
            (None, true) => check(
                "parent",
                Grade::Warn,
                "none can be reached; siblings are spoken to directly meanwhile",
            ),
            (None, false) if role == "orchestrator" => {
                check("parent", Grade::Ok, "none: at the top")
            }
            (None, false) => check("parent", Grade::Warn, "none yet"),
        },
    );
    let (live, members) = (number("live"), number("members"));
    checks.push(check(
        "members",
        if live == members {
            Grade::Ok
        } else {
            Grade::Warn
        },
        format!("{live} of {members} live"),
    ));
    checks.push(match number("missing_revocations") {
        0 => check("revocations", Grade::Ok, "none is missing"),
        n => check(
            "revocations",
            Grade::Warn,
            format!("{n} known to exist and not here yet: the roster is old or being fetched"),
        ),
    });
    let doubles = health["duplicate_names"].as_array().into_iter().flatten();
    let doubles: Vec<&str> = doubles.filter_map(Value::as_str).collect();
    if !doubles.is_empty() {
        let detail = format!("claimed by more than one node: {}", doubles.join(", "));
        checks.push(check("names", Grade::Warn, detail));
    }
    if number("locked_groups") > 1 {
        let detail = format!(
            "{} groups are locked apart from each other",
            number("locked_groups")
        );
        checks.push(check("phases", Grade::Warn, detail));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grade(checks: &[Check], name: &str) -> Option<Grade> {
        let found = checks.iter().find(|check| check.name == name);
        found.map(|check| check.grade)
    }

    #[test]
    fn a_node_that_lets_strangers_in_fails_and_an_orphan_is_warned_of() {
        let sound = json!({
            "role": "agent", "parent": "lead", "orphan": false, "members": 2, "live": 2,
            "missing_revocations": 0, "counters": {"fail_open": 0}
        });
        assert!(running(&sound).iter().all(|check| check.grade == Grade::Ok));
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

    #[test]
    fn a_key_that_others_can_read_fails() {
        let dir = std::env::temp_dir().join(format!("chorus-doctor-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let path = dir.join("key");
        std::fs::write(&path, "x").expect("a file");
        let set = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&path, permissions).expect("its mode");
            private_file("node key", &path).grade
        };
        assert_eq!([set(0o600), set(0o640)], [Grade::Ok, Grade::Fail]);
        std::fs::remove_dir_all(&dir).expect("it is removed");
    }
}
