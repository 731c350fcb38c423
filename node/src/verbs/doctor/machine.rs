//! What the home and the machine are like: keys, settings, ports, names, limits.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use chorus_actors::transport::sockets::CurveKeys;
use chorus_storage::Home;
use chorus_storage::home::write_atomic;

use super::check::{Check, Grade};
use crate::error::Failure;
use crate::home::{self, Loaded};
use crate::limits;
use crate::settings::{DOOR_PORT_OFFSET, Settings};

/// Keys are there, readable, and nobody else's to read.
pub fn keys(home: &Home, loaded: &Result<Loaded, Failure>) -> Vec<Check> {
    let mut checks = vec![match loaded {
        Ok(loaded) => {
            let detail = format!(
                "node {} in mesh {}",
                loaded.identity.id().short(),
                loaded.mesh.short()
            );
            Check::new("home", Grade::Ok, detail)
        }
        Err(why) => Check::failed("home", why),
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
        Ok(mode) if mode & 0o077 == 0 => Check::new(name, Grade::Ok, format!("mode {mode:04o}")),
        Ok(mode) => {
            let detail = format!("mode {mode:04o}: others can read it");
            Check::new(name, Grade::Fail, detail).hint(format!("chmod 600 {}", path.display()))
        }
        Err(why) => Check::new(name, Grade::Fail, format!("{}: {why}", path.display())),
    }
}

/// What an earlier start found damaged and put beside the store.
pub fn set_aside(home: &Home) -> Option<Check> {
    let entries = std::fs::read_dir(home.dir()).ok()?.flatten();
    let names = entries.map(|it| it.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|it| it.contains(".damaged-")).collect();
    names.sort();
    (!names.is_empty()).then(|| {
        let detail = format!(
            "a damaged store was set aside: {}. What this node alone had may be only there",
            names.join(", ")
        );
        Check::new("set aside", Grade::Warn, detail).hint(
            "once `chorus status` says that memory agrees with all neighbours nothing else is \
             missed here: remove it, or keep it for somebody who can read sled's files",
        )
    })
}

/// Whether the home takes a small file, as a start must write one. The superuser writes none
/// in another's home; the line `start` says so.
pub fn disk(home: &Home) -> Option<Check> {
    home.refuse_superuser().ok()?;
    let path = home.identity().join("doctor");
    let written = write_atomic(&path, b"doctor\n", 0o600);
    let _ = std::fs::remove_file(&path);
    Some(match written {
        Ok(()) => Check::new("disk", Grade::Ok, "the home takes a file"),
        Err(why) => Check::failed("disk", &home::told(&why)),
    })
}

/// What a node needs that the settings say, and the machine must give.
pub fn machine(settings: &Result<Settings, Failure>) -> Vec<Check> {
    let mut checks = vec![match settings {
        Ok(settings) => configuration(settings.empty_file.as_deref()),
        Err(why) => Check::failed("configuration", why),
    }];
    checks.push(match CurveKeys::generate() {
        Ok(_) => Check::new("encryption", Grade::Ok, "libzmq has CURVE"),
        Err(why) => Check::new("encryption", Grade::Fail, why.to_string())
            .hint("build chorus from its own sources: they bring a libzmq with CURVE"),
    });
    checks.push(open_files(limits::open_files_max()));
    checks.extend(settings.iter().filter_map(advertised));
    checks
}

fn configuration(empty: Option<&Path>) -> Check {
    let name = "configuration";
    match empty {
        None => Check::new(name, Grade::Ok, "valid"),
        Some(file) => {
            let detail = format!("{} is empty: defaults count", file.display());
            Check::new(name, Grade::Warn, detail)
                .hint("write into it what this node needs, or a comment if that is meant")
        }
    }
}

/// Whether as many files can be open as a node with all its children needs.
fn open_files(limit: Option<u64>) -> Check {
    let needed = limits::OPEN_FILES_NEEDED;
    let (name, detail) = match limit {
        None => ("open files", "no limit".to_owned()),
        Some(limit) => (
            "open files",
            format!("up to {limit}; a node with 100 children needs {needed}"),
        ),
    };
    match limit {
        Some(limit) if limit < needed => Check::new(name, Grade::Warn, detail).hint(
            "raise the hard limit (`ulimit -Hn`, or LimitNOFILE= in a unit of systemd), or give \
             this node fewer children",
        ),
        _ => Check::new(name, Grade::Ok, detail),
    }
}

/// Whether the names by which others shall reach this node mean anything here.
fn advertised(settings: &Settings) -> Option<Check> {
    let unknown = home::unresolved(&settings.advertise);
    let name = "advertised names";
    if settings.advertise.is_empty() {
        return None;
    }
    let all = settings.advertise.join(", ");
    Some(match unknown.as_slice() {
        [] => Check::new(name, Grade::Ok, all),
        unknown => Check::new(
            name,
            Grade::Warn,
            format!("does not resolve on this machine: {}", unknown.join(", ")),
        )
        .hint("mend net.advertise, or the name's record, or others cannot connect to this node"),
    })
}

/// Whether the ports that the node would take are free.
pub fn ports(settings: &Settings) -> Vec<Check> {
    let wanted = settings.ports;
    let listening = [
        wanted.router,
        wanted.publisher,
        wanted.subscriber,
        wanted.memory,
        wanted.door,
    ];
    let taken = |port: u16| {
        let address = SocketAddr::new(settings.host, port);
        let why = TcpListener::bind(address).err()?;
        Some(format!("{address}: {why}"))
    };
    let busy: Vec<String> = listening
        .into_iter()
        .filter(|port| *port != 0)
        .filter_map(taken)
        .collect();
    let mut checks = vec![match (busy.as_slice(), wanted.router) {
        ([], 0) => Check::new("ports", Grade::Ok, "chosen when the node starts"),
        ([], first) => {
            let last = first.saturating_add(DOOR_PORT_OFFSET);
            Check::new("ports", Grade::Ok, format!("{first} to {last} are free"))
        }
        _ => Check::new("ports", Grade::Fail, busy.join(", "))
            .hint("end what has the port, or set net.listen to another"),
    }];
    checks.extend(settings.metrics.and_then(metrics));
    checks
}

/// The metrics' port. One that is taken is no fault: the node takes another.
fn metrics(address: SocketAddr) -> Option<Check> {
    let why = TcpListener::bind(address).err()?;
    let (grade, detail, hint) = match why.kind() {
        ErrorKind::AddrInUse => (
            Grade::Ok,
            format!("{address} is taken; the node will choose another port"),
            "run/addresses.json will say which",
        ),
        _ => (
            Grade::Fail,
            format!("{address}: {why}"),
            "set metrics.listen to an address of this machine, or empty for no metrics",
        ),
    };
    Some(Check::new("metrics", grade, detail).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metrics_port_that_is_taken_is_no_failure_but_a_foreign_address_is() {
        let other = TcpListener::bind("127.0.0.1:0").expect("a port");
        let taken = other.local_addr().expect("its address");
        assert_eq!(metrics(taken).map(|it| it.grade), Some(Grade::Ok));
        // An address for documentation, which no machine has.
        let foreign = "192.0.2.1:7409".parse().expect("an address");
        assert_eq!(metrics(foreign).map(|it| it.grade), Some(Grade::Fail));
    }

    #[test]
    fn too_few_open_files_are_warned_of() {
        let grade = |limit| open_files(limit).grade;
        assert_eq!(grade(None), Grade::Ok);
        assert_eq!(grade(Some(limits::OPEN_FILES_NEEDED)), Grade::Ok);
        assert_eq!(grade(Some(limits::OPEN_FILES_NEEDED - 1)), Grade::Warn);
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
