//! Check: one line of what `doctor` found, and the table of all of them.

use serde_json::{Value, json};

use crate::error::Failure;
use crate::report;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// As it should be.
    Ok,
    /// It works, but somebody should look.
    Warn,
    /// Wrong.
    Fail,
    /// It could not be tried, so nothing is known: never counted as passed.
    Skipped,
}

impl Grade {
    /// The word in JSON and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Grade::Ok => "ok",
            Grade::Warn => "warn",
            Grade::Fail => "fail",
            Grade::Skipped => "skipped",
        }
    }
}

/// One line of the table.
#[derive(Debug)]
pub struct Check {
    /// What was looked at; a stable word for programs.
    pub name: &'static str,
    /// How it came out.
    pub grade: Grade,
    /// What was done and what was seen.
    pub detail: String,
    /// What to do; empty when there is nothing to do.
    pub hint: String,
}

impl Check {
    /// A check with nothing to do about it.
    pub fn new(name: &'static str, grade: Grade, detail: impl Into<String>) -> Self {
        Self {
            name,
            grade,
            detail: detail.into(),
            hint: String::new(),
        }
    }

    /// A check that failed as `why` says.
    pub fn failed(name: &'static str, why: &Failure) -> Self {
        Self::new(name, Grade::Fail, why.to_string()).hint(why.hint.clone())
    }

    /// The same check, with what to do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

/// How many failed.
pub fn failed(checks: &[Check]) -> usize {
    let failed = checks.iter().filter(|check| check.grade == Grade::Fail);
    failed.count()
}

/// `chorus.doctor/1`.
pub fn json_of(checks: &[Check]) -> Value {
    let rows: Vec<Value> = checks
        .iter()
        .map(|it| {
            json!({
                "check": it.name,
                "grade": it.grade.as_str(),
                "detail": it.detail,
                "hint": it.hint,
            })
        })
        .collect();
    json!({"schema": "chorus.doctor/1", "failed": failed(checks), "checks": rows})
}

/// The table for people.
pub fn words_of(checks: &[Check]) -> String {
    let rows: Vec<[String; 3]> = checks
        .iter()
        .map(|it| {
            let detail = match it.hint.as_str() {
                "" => it.detail.clone(),
                hint => format!("{}; {hint}", it.detail),
            };
            [it.grade.as_str().into(), it.name.into(), detail]
        })
        .collect();
    report::columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_tried_is_no_failure_and_not_ok_and_a_hint_stands_apart() {
        let checks = [
            Check::new("a", Grade::Skipped, "nothing to try with"),
            Check::new("b", Grade::Fail, "it is wrong").hint("mend it"),
        ];
        assert_eq!(failed(&checks), 1);
        let words = words_of(&checks);
        assert!(
            words.starts_with("skipped  a  nothing to try with\n"),
            "{words}"
        );
        assert!(words.ends_with("it is wrong; mend it"), "{words}");
        let rows = json_of(&checks);
        assert_eq!(rows["checks"][0]["grade"], "skipped");
        assert_eq!(rows["checks"][1]["hint"], "mend it");
    }
}
