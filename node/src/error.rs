//! Failure: how every verb says what went wrong, to a person or to a program.
//!
//! With `--json` it is one `chorus.error/1` object on stdout, otherwise words
//! on stderr. The exit code tells a script what kind of failure it is.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

/// Exit codes, the same for every verb.
pub mod exit {
    /// It was done wrong or could not be done.
    pub const FAILED: u8 = 1;
    /// The command line or the configuration is wrong.
    pub const USAGE: u8 = 2;
    /// Somebody who is needed does not answer.
    pub const UNREACHABLE: u8 = 3;
    /// Somebody, or a rule, says no.
    pub const REFUSED: u8 = 4;
    /// Part of it was done.
    #[allow(dead_code, reason = "the contract of exit codes is kept in one place")]
    pub const PARTIAL: u8 = 5;
    /// It did not end in time.
    #[allow(dead_code, reason = "the contract of exit codes is kept in one place")]
    pub const TIMEOUT: u8 = 6;
    /// It was done, but nobody confirmed it.
    #[allow(dead_code, reason = "the contract of exit codes is kept in one place")]
    pub const NOT_CONFIRMED: u8 = 7;
}

/// Why a verb did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// A stable word for programs, such as `home_used`.
    pub code: String,
    /// What failed, and whose fault it is.
    pub message: String,
    /// What to do; empty when there is nothing to say.
    pub hint: String,
    /// The process's exit code, one of [`exit`].
    pub exit: u8,
}

impl Failure {
    /// A failure with an exit code of its own.
    pub fn new(exit: u8, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            hint: String::new(),
            exit,
        }
    }

    /// Something could not be done: exit 1.
    pub fn failed(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(exit::FAILED, code, message)
    }

    /// The command line or the configuration is wrong: exit 2.
    pub fn usage(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, code, message)
    }

    /// Somebody does not answer: exit 3.
    pub fn unreachable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(exit::UNREACHABLE, code, message)
    }

    /// Somebody says no: exit 4.
    pub fn refused(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(exit::REFUSED, code, message)
    }

    /// The same failure, with what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Prints it where the caller looks for it, and gives the exit code.
    pub fn report(&self, json: bool) -> ExitCode {
        if json {
            let printed = crate::cli::print_json(&json!({
                "schema": "chorus.error/1",
                "code": self.code,
                "message": self.message,
                "hint": self.hint,
                "exit": self.exit,
            }));
            if printed.is_err() {
                // Who reads JSON is not reached; a person may be.
                let _ = writeln!(std::io::stderr(), "error: {}", self.message);
            }
        } else {
            let mut words = format!("error: {}\n", self.message);
            if !self.hint.is_empty() {
                words.push_str(&format!("  hint: {}\n", self.hint));
            }
            // A closed stderr leaves nobody to tell; the exit code still says it.
            let _ = std::io::stderr().write_all(words.as_bytes());
        }
        ExitCode::from(self.exit)
    }
}
