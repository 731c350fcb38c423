//! State: what the running node says of its disk, of what it lost before this start, and of
//! homes that were copied.

use serde_json::Value;

use super::check::{Check, Grade};
use crate::report::{REWOUND_HINT, memory_words, rewound};

/// The disk now, the store, the journal and the small files as this start found them; who runs
/// twice.
pub fn checks(health: &Value) -> Vec<Check> {
    let counter = |name: &str| health["counters"][name].as_u64().unwrap_or(0);
    let mut checks = vec![disk(
        counter("store_broken"),
        counter("disk_full"),
        counter("items_unwritten"),
    )];
    checks.extend(store(
        counter("store_lost") > 0,
        counter("mirror_lost") > 0,
        counter("store_damaged") > 0,
    ));
    if counter("journal_began") > 0 {
        let detail = "the journal that counts the uses of tokens was missing at this start, had \
            lost something, or had left out uses under a clock that was ahead; every token made \
            here before is void";
        checks.push(
            Check::new("tokens", Grade::Warn, detail).hint("make new ones with `chorus invite`"),
        );
    }
    if counter("entry_mended") > 0 {
        let detail = "mesh/entry or mesh/delegation was damaged; it was written anew";
        checks.push(Check::new("entry", Grade::Warn, detail));
    }
    if let Some(run) = health["later_run"].as_u64() {
        let detail = rewound(run);
        checks.push(Check::new("run", Grade::Fail, detail).hint(REWOUND_HINT));
    }
    let twins = health["twins"].as_array().into_iter().flatten();
    let twins: Vec<&str> = twins.filter_map(Value::as_str).collect();
    if !twins.is_empty() {
        let detail = format!(
            "two processes run with the keys of one node: {}",
            twins.join(", ")
        );
        checks.push(
            Check::new("twins", Grade::Fail, detail).hint(
                "a home was copied: stop one of the two; `chorus join` makes a home of its own",
            ),
        );
    }
    checks
}

/// What memory holds, what its copies are good for, and whether there is room for more.
pub fn memory(memory: &Value) -> Option<Check> {
    let (bytes, max) = (memory["bytes"].as_u64()?, memory["bytes_max"].as_u64()?);
    let detail = memory_words(memory);
    Some(match bytes < max - max / 10 {
        true => Check::new("memory", Grade::Ok, detail),
        false => Check::new("memory", Grade::Warn, format!("nearly full: {detail}"))
            .hint("delete what is not needed, or raise memory.bytes_max and start the node again"),
    })
}

/// Whether what must be kept is kept.
fn disk(broken: u64, full: u64, unwritten: u64) -> Check {
    let waiting = format!("{unwritten} changes of the directory are not on disk");
    match (broken, full, unwritten) {
        (0, 0, 0) => Check::new("disk", Grade::Ok, "everything that must be kept is on it"),
        (0, 0, _) => Check::new(
            "disk",
            Grade::Warn,
            format!("{waiting}; they are tried again"),
        )
        .hint("if this stays, look at the disk and at the node's log"),
        (0, ..) => Check::new("disk", Grade::Warn, format!("STORAGE_FULL: {waiting}")).hint(
            "make room on the disk that holds the home; the node goes on and writes them then",
        ),
        _ => Check::new(
            "disk",
            Grade::Fail,
            format!("the store is broken; {waiting}"),
        )
        .hint("make room, then start the node again: only a new process can open its store"),
    }
}

/// What of the directory was lost before this start.
fn store(lost: bool, mirror_lost: bool, damaged: bool) -> Option<Check> {
    let peers = "compare `chorus peers` with another node";
    match (lost, mirror_lost, damaged) {
        (true, true, _) => Some(
            Check::new(
                "store",
                Grade::Warn,
                "the store and mesh/roster were both lost before this start: members and \
                 revocations come back only from peers",
            )
            .hint(peers),
        ),
        (true, false, _) => Some(
            Check::new(
                "store",
                Grade::Warn,
                "the store was lost before this start; it began again with mesh/roster",
            )
            .hint(peers),
        ),
        (false, _, true) => Some(
            Check::new(
                "store",
                Grade::Warn,
                "the store was damaged before this start; what could be read goes on, peers give \
                 back the rest",
            )
            .hint(peers),
        ),
        (false, true, false) => Some(Check::new(
            "store",
            Grade::Warn,
            "mesh/roster was missing or damaged at this start; it was written anew",
        )),
        (false, false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(counters: &[&str]) -> Vec<(&'static str, Grade, String)> {
        let counters = counters.iter().map(|name| ((*name).to_owned(), json!(1)));
        let counters: serde_json::Map<String, Value> = counters.collect();
        let checks = checks(&json!({ "counters": counters }));
        let row = |it: Check| (it.name, it.grade, it.detail);
        checks.into_iter().map(row).collect()
    }

    #[test]
    fn a_node_that_runs_twice_is_a_failure() {
        let rows = checks(&json!({"twins": ["a1"]}));
        let twins = rows.iter().find(|row| row.name == "twins");
        let twins = twins.map(|row| (row.grade, row.detail.ends_with(": a1")));
        assert_eq!(twins, Some((Grade::Fail, true)));
        assert!(
            checks(&json!({"twins": []}))
                .iter()
                .all(|row| row.name != "twins")
        );
    }

    #[test]
    fn memory_that_is_nearly_full_is_said() {
        let grade = |bytes: u64| {
            let memory = json!({"bytes": bytes, "bytes_max": 1000, "survival": null});
            super::memory(&memory).map(|it| (it.grade, it.hint.is_empty()))
        };
        assert_eq!(grade(899), Some((Grade::Ok, true)));
        assert_eq!(grade(900), Some((Grade::Warn, false)));
        assert!(super::memory(&Value::Null).is_none());
    }

    #[test]
    fn a_sound_node_has_one_line_and_each_fault_says_itself() {
        let sound = of(&[]);
        assert!(
            matches!(sound.as_slice(), [("disk", Grade::Ok, _)]),
            "{sound:?}"
        );
        for (fault, name, grade, word) in [
            ("disk_full", "disk", Grade::Warn, "STORAGE_FULL"),
            ("items_unwritten", "disk", Grade::Warn, "not on disk"),
            ("store_broken", "disk", Grade::Fail, "broken"),
            ("store_lost", "store", Grade::Warn, "mesh/roster"),
            ("mirror_lost", "store", Grade::Warn, "mesh/roster"),
            ("store_damaged", "store", Grade::Warn, "damaged"),
            ("journal_began", "tokens", Grade::Warn, "void"),
            ("entry_mended", "entry", Grade::Warn, "mesh/entry"),
        ] {
            let rows = of(&[fault]);
            let said = |row: &(&str, Grade, String)| {
                row.0 == name && row.1 == grade && row.2.contains(word)
            };
            assert!(rows.iter().any(said), "{fault}: {rows:?}");
        }
        let both = of(&["store_lost", "mirror_lost"]);
        assert!(
            both.iter().any(|row| row.2.contains("both lost")),
            "{both:?}"
        );
    }
}
