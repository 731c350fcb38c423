//! Progress: a bar of ready, conflict, transit and skipped on a terminal, as they come.

use std::io::{IsTerminal, Write};

use serde_json::Value;

/// Letters of the whole bar.
const WIDTH: u64 = 40;

/// The bar. Where stderr is no terminal, or the answer is for a program, there is none.
#[derive(Debug)]
pub struct Bar {
    on: bool,
    shown: bool,
}

impl Bar {
    pub fn new(json: bool) -> Self {
        Self {
            on: !json && std::io::stderr().is_terminal(),
            shown: false,
        }
    }

    /// Draws how far it is over what was drawn.
    pub fn show(&mut self, progress: &Value) {
        if self.on {
            self.shown = true;
            let mut stderr = std::io::stderr().lock();
            // A bar that cannot be drawn keeps nobody from an answer.
            let _ = write!(stderr, "\r\x1b[K{}", line(progress));
            let _ = stderr.flush();
        }
    }

    /// Takes it away.
    pub fn done(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// `#` ready, `!` conflict, `-` skipped, `.` on the way.
fn line(progress: &Value) -> String {
    let number = |name: &str| progress[name].as_u64().unwrap_or_default();
    let all = number("expected").max(1);
    let mut bar = String::new();
    let mut sum = 0;
    for (name, sign) in [("ready", "#"), ("conflict", "!"), ("skipped", "-")] {
        sum += number(name);
        let end = (sum.min(all) * WIDTH / all) as usize;
        bar += &sign.repeat(end.saturating_sub(bar.len()));
    }
    let ready = number("ready");
    format!("[{bar:.<40}] {ready} of {all} ready")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_state_has_its_part_of_the_bar() {
        let progress = json!({"expected": 80, "ready": 40, "conflict": 20, "skipped": 10});
        let bar = format!(
            "[{}{}{}{}]",
            "#".repeat(20),
            "!".repeat(10),
            "-".repeat(5),
            ".".repeat(5)
        );
        assert_eq!(line(&progress), format!("{bar} 40 of 80 ready"));
        assert!(line(&json!({})).contains("0 of 1"));
        assert_eq!(
            line(&json!({"expected": 3, "ready": 9})).len(),
            42 + " 9 of 3 ready".len()
        );
    }
}
