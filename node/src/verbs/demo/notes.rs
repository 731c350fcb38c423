//! Notes: a small file of JSON lines that one node imports while another is dead, and that the
//! dead one reads once it is back.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::mesh::Mesh;
use crate::error::Failure;

/// What agents may have learned, one object a line, in the form in which `export` prints it.
const LINES: &str = r#"{"id":"plan","step":1,"goal":"warm the greenhouse before dawn"}
{"id":"sensor/7","celsius":18.50,"seen":["s1-c1-a1"]}
{"id":"lesson/3","text":"the north valve sticks below 4 °C"}
{"id":"budget","joules":12345678901234567890}
{"id":"question","text":"who has the key to the shed?","answers":null}
"#;
/// The field that names each.
const KEY: &str = "id";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// How many lines there are.
pub fn count() -> usize {
    LINES.lines().count()
}

/// Where the file is.
pub fn path(mesh: &Mesh) -> PathBuf {
    mesh.dir.join("memory.jsonl")
}

/// Writes the file and lets a node import it.
pub async fn import(mesh: &Mesh, at: usize) -> Result<(), Failure> {
    let path = path(mesh);
    let unwritten = |why| Failure::failed("not_written", format!("{}: {why}", path.display()));
    std::fs::write(&path, LINES).map_err(unwritten)?;
    let file = path.to_string_lossy();
    let words = ["--json", "memory", "import", &file, "--key", KEY];
    let told = mesh.chorus(at, &words, false).await?;
    let told: Value = serde_json::from_str(&told).unwrap_or_default();
    match told["imported"].as_u64() == u64::try_from(count()).ok() {
        true => Ok(()),
        false => Err(Failure::failed(
            "not_imported",
            format!("{}: {told}", path.display()),
        )),
    }
}

/// Waits until a node holds every line as it was written; how long that took.
pub async fn until_read(mesh: &mut Mesh, at: usize) -> Result<Duration, Failure> {
    let began = Instant::now();
    loop {
        let held = mesh.chorus(at, &["memory", "export"], false).await?;
        let there = LINES
            .lines()
            .filter(|line| held.lines().any(|it| it == *line));
        let there = there.count();
        if there == count() {
            return Ok(began.elapsed());
        }
        mesh.progress = format!(
            "{} reads {there} of {} lines of memory",
            mesh.players[at].seat.name,
            count()
        );
        mesh.all_run()?;
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_an_object_with_a_name_of_its_own() {
        let line = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let mut names: Vec<String> = LINES.lines().map(|it| line(it)[KEY].to_string()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count());
    }
}
