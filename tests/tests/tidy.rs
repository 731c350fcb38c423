//! Tidy: what the compiler does not check, read from the sources themselves.

use std::fs;
use std::path::{Path, PathBuf};

/// Most lines of a file.
const LINES_MAX: usize = 400;

/// What may stand at the top level; `.git` and `target` are not shipped.
const TOP: &str = ".cargo .ci .dockerignore .editorconfig .git .gitattributes .gitignore \
    CHANGELOG.md Cargo.lock Cargo.toml LICENSE-APACHE LICENSE-MIT README.md actors deny.toml \
    docker node protocol rust-toolchain.toml scripts storage systemd target tests";

/// What marks unfinished work. In halves, so that this file does not find itself.
const UNFINISHED: [&str; 5] = [
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("FIX", "ME"),
    concat!("not yet ", "implemented"),
    concat!("#[ig", "nore"),
];

/// What would give `protocol` a clock, a thread, a socket or an order that differs from
/// run to run. Its clippy.toml refuses most of these by type; this also sees paths.
const IMPURE: [&str; 14] = [
    "tokio",
    "ractor",
    "zmq::",
    "sled::",
    "libp2p",
    "std::net",
    "std::fs",
    "std::thread",
    "std::env",
    "Instant::now",
    "SystemTime",
    "HashMap",
    "HashSet",
    "Mutex",
];

/// One source file.
struct Source {
    /// From the top level on.
    path: String,
    text: String,
}

impl Source {
    /// The numbered lines, without what follows `//`. (A `//` in a string hides the rest
    /// of that line from these checks, which costs nothing.)
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line.split("//").next().unwrap_or(line)))
    }
}

fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the workspace").to_owned()
}

/// Every source with this extension, outside what is built.
fn sources(extension: &str) -> Vec<Source> {
    let top = top();
    let mut folders = vec![top.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the sources") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() && name != "target" && name != ".git" {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(Source {
                    text: fs::read_to_string(&path).expect("UTF-8"),
                    path: path
                        .strip_prefix(&top)
                        .expect("below")
                        .display()
                        .to_string(),
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(
        !found.is_empty(),
        "no .{extension} found: the walk is broken"
    );
    found
}

/// Fails with every finding at once.
fn none(findings: Vec<String>, rule: &str) {
    assert!(findings.is_empty(), "{rule}:\n  {}", findings.join("\n  "));
}

#[test]
fn files_are_short() {
    let lengths = sources("rs")
        .into_iter()
        .map(|source| (source.path, source.text.lines().count()));
    let over = lengths.filter(|(_, lines)| *lines > LINES_MAX);
    none(
        over.map(|(path, lines)| format!("{path}: {lines}"))
            .collect(),
        "files over 400 lines",
    );
}

#[test]
fn each_file_says_first_what_it_is() {
    let silent = sources("rs")
        .into_iter()
        .filter(|source| !source.text.starts_with("//! "));
    none(
        silent.map(|source| source.path).collect(),
        "files that do not begin with a `//!` line",
    );
}

#[test]
fn nothing_is_left_unfinished_or_ignored() {
    let mut findings = Vec::new();
    for source in sources("rs") {
        for (at, line) in source.text.lines().enumerate() {
            if let Some(mark) = UNFINISHED.iter().find(|mark| line.contains(**mark)) {
                findings.push(format!("{}:{}: {mark}", source.path, at + 1));
            }
        }
    }
    none(findings, "unfinished work");
}

/// A test may only nap between two looks at a condition that has a deadline, so a sleep
/// is taken for one where the lines right above it name the deadline or compare with what elapsed.
#[test]
fn no_test_sleeps_without_a_deadline() {
    const NEAR: usize = 12;
    let mut findings = Vec::new();
    for source in sources("rs") {
        let is_test_file = source.path.contains("/tests/") || source.path.starts_with("tests/");
        let mut in_tests = is_test_file;
        let mut deadline_at = 0;
        for (at, line) in source.code() {
            in_tests |= line.contains("#[cfg(test)]");
            if line.to_lowercase().contains("deadline") || line.contains(".elapsed() <") {
                deadline_at = at;
            }
            let near = deadline_at > 0 && at - deadline_at <= NEAR;
            if in_tests && line.contains(concat!("sle", "ep(")) && !near {
                findings.push(format!("{}:{at}", source.path));
            }
        }
    }
    none(findings, "a test waits for a condition with a deadline");
}

#[test]
fn protocol_stays_pure() {
    let mut findings = Vec::new();
    for source in sources("rs") {
        if !source.path.starts_with("protocol/src/") {
            continue;
        }
        for (at, line) in source.code() {
            if let Some(word) = IMPURE.iter().find(|word| line.contains(**word)) {
                findings.push(format!("{}:{at}: {word}", source.path));
            }
        }
    }
    none(findings, "protocol names what is not pure");
}

/// One folder speaks with it; the others speak of members, keys and bytes. The bench of memory
/// has it for a yardstick.
#[test]
fn only_the_realms_and_their_yardstick_name_libp2p() {
    let mut findings = Vec::new();
    let mut inside = 0;
    for source in sources("rs") {
        let is_realm = source.path.starts_with("actors/src/memory/realm/")
            || source.path == "actors/benches/memory/bare.rs";
        for (at, line) in source.code() {
            let names = line.contains("libp2p");
            inside += usize::from(names && is_realm);
            if names && !is_realm && !source.path.starts_with("tests/tests/") {
                findings.push(format!("{}:{at}", source.path));
            }
        }
    }
    assert!(inside > 0, "no line names it: the walk is broken");
    none(findings, "libp2p outside actors/src/memory/realm");
}

/// The example of a client is one file that a person reads in a sitting.
#[test]
fn the_agent_stays_short() {
    let agent = sources("py");
    let agent = agent
        .iter()
        .find(|source| source.path == "scripts/agent.py")
        .expect("the agent");
    // Without its heading (a shebang and a docstring), comments and empty lines.
    let code = agent.text.splitn(3, "\"\"\"").nth(2).expect("a docstring");
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
    let lines = code.lines().filter(is_code).count();
    assert!(lines <= 120, "{lines} lines");
}

#[test]
fn the_top_level_holds_only_what_is_listed() {
    let entries = fs::read_dir(top()).expect("the top level");
    let names = entries.map(|entry| {
        let name = entry.expect("an entry").file_name();
        name.to_string_lossy().into_owned()
    });
    let stray = names.filter(|name| TOP.split_whitespace().all(|listed| listed != name));
    none(stray.collect(), "not meant for the top level");
}
