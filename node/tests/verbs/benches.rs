//! The benches give their tables; what the figures are is measured elsewhere, not asserted here.

use serde_json::Value;

use super::chorus::Homes;

#[test]
fn arrival_has_a_row_for_each_mode_beside_the_figures_of_its_file() {
    let homes = Homes::new();
    let said = homes.run(
        "none",
        &["bench", "arrival", "--messages", "3000", "--json"],
    );
    assert_eq!(said.exit, 0, "{}", said.stderr);
    let table = said.json("chorus.bench-arrival/1");
    assert!(table["messages"].as_u64().unwrap() >= 3_000, "{table}");
    let modes = table["modes"].as_array().unwrap();
    let known = modes.iter().filter(|mode| mode["expected"].is_object());
    assert_eq!((modes.len(), known.count()), (8, 6), "{table}");
    for mode in modes {
        let [near, inside] =
            ["within_50_percent", "window_percent"].map(|name| mode[name].as_f64().unwrap());
        assert!(0.0 < near && near <= inside && inside <= 100.0, "{mode}");
    }
    for chain in table["reliability"].as_array().unwrap() {
        let deciles = chain["structured"]["deciles"].as_array().unwrap();
        let counted = deciles.iter().map(|it| it["messages"].as_u64().unwrap());
        assert_eq!(counted.sum::<u64>(), table["messages"].as_u64().unwrap());
    }

    let again = homes.run(
        "none",
        &["bench", "arrival", "--messages", "3000", "--json"],
    );
    assert_eq!(again.stdout, said.stdout, "the same seed, the same table");
    let words = homes
        .run("none", &["bench", "arrival", "--messages", "1"])
        .stdout;
    assert!(words.contains("structured q95 + hold"), "{words}");
    let refused = homes.run("none", &["bench", "arrival", "--messages", "0", "--json"]);
    refused.failure(2, "usage");
}

/// Real processes and real sockets, few and short.
#[test]
fn tokens_flow_in_every_way_and_all_are_known_to_all() {
    let homes = Homes::new();
    let words = "bench tokens --nodes 3 --seconds 2 --token-ms 100 --loss 1 --rtt 20 \
        --cut-seconds 0 --json";
    let words: Vec<&str> = words.split_whitespace().collect();
    let said = homes.run("none", &words);
    assert_eq!(said.exit, 0, "{}", said.stderr);
    let table = said.json("chorus.bench-tokens/1");
    let cells = table["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 5, "{table}");
    for cell in cells {
        assert!(cell["tokens"].as_u64().unwrap() > 0, "{cell}");
        assert_eq!(
            (&cell["missing"], &cell["split_brains"]),
            (&0.into(), &0.into()),
            "{cell}"
        );
        let frames = &cell["frames"];
        assert_eq!(
            (&frames["malformed"], &frames["overflowed"]),
            (&0.into(), &0.into())
        );
        assert!(frames["heard"].as_u64().unwrap() > 0, "{cell}");
        let is_free = cell["barriers"] == 0;
        assert_eq!(cell["asynchronous_over_this"].is_null(), is_free, "{cell}");
    }
}

#[test]
fn a_node_of_the_bench_that_nobody_speaks_with_ends() {
    let homes = Homes::new();
    let said = homes.run("none", &["bench", "token-node", "--json"]);
    said.failure(1, "left_alone");
}

/// Real nodes and commands, few and short.
#[test]
fn agents_of_the_model_are_asked_at_once_and_together_at_t() {
    let homes = Homes::new();
    let words = "bench agents --agents 8 --hosts 2 --rounds 3 --json";
    let words: Vec<&str> = words.split_whitespace().collect();
    let said = homes.run("none", &words);
    assert_eq!(said.exit, 0, "{}", said.stderr);
    let table = said.json("chorus.bench_agents/1");
    let rows = table["rows"].as_array().unwrap();
    let asked = rows.iter().map(|it| it["questions"].as_u64().unwrap());
    assert_eq!(asked.collect::<Vec<_>>(), [8, 3, 3]);
    for row in &rows[..2] {
        assert_eq!(
            (&row["ready"], &row["hit_rate"]),
            (&1.0.into(), &Value::Null)
        );
    }
    let [first, then] = [0, 1].map(|at| rows[at]["confidence_mean"].as_f64().unwrap());
    assert!(
        first < then,
        "confidence comes from what was measured: {table}"
    );
    let at_t = |name: &str| rows[2][name].as_f64().unwrap();
    assert!(
        at_t("hit_rate") > 0.0 && at_t("hold_ms_mean") > 0.0,
        "{table}"
    );
    let parts = at_t("ready") + at_t("skipped");
    assert!(0.0 < at_t("ready") && parts <= 1.0 + 1e-9, "{table}");
}
