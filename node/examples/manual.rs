//! Writes what a package brings beside the binary, from the same tables: the man pages and
//! shell completions of the command line, and an example configuration.
//!
//!     cargo run -p chorus-node --example manual -- FOLDER

// Of the binary's own modules only the tables are used here.
#[allow(dead_code)]
#[path = "../src/cli.rs"]
mod cli;
#[allow(dead_code)]
#[path = "../src/error.rs"]
mod error;
#[allow(dead_code)]
#[path = "../src/settings/keys.rs"]
mod keys;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;
use toml::Value;

use keys::{KEYS, Key, Kind};

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: manual FOLDER");
        return ExitCode::from(2);
    };
    match write_all(&PathBuf::from(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn write_all(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut command = cli::Cli::command();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "chorus", folder)?;
    }
    clap_mangen::generate_to(cli::Cli::command(), folder)?;
    fs::write(folder.join("chorus.toml"), example())
}

/// Every setting with its meaning and its default, commented out.
fn example() -> String {
    let mut text = String::from(
        "# The configuration of a node. It lies in the node's home as chorus.toml; every value\n\
         # here is the default, and what is not changed is better left out.\n\
         # CHORUS__SECTION__KEY in the environment stands above it; `chorus config show` says\n\
         # what holds and why.\n",
    );
    let mut section = "";
    for key in &KEYS {
        let (of, name) = key.name.split_once('.').unwrap_or(("", key.name));
        if of != section {
            section = of;
            let _ = write!(text, "\n[{section}]\n");
        }
        let Key { about, allowed, .. } = key;
        let _ = writeln!(
            text,
            "# {about}\n# Allowed: {allowed}.\n#{name} = {}",
            value(key)
        );
    }
    text
}

/// A setting's default as the file has it.
fn value(key: &Key) -> String {
    match key.kind {
        Kind::Text => Value::from(key.default).to_string(),
        Kind::List => {
            let words = key.default.split(',').filter(|word| !word.is_empty());
            Value::from(words.collect::<Vec<_>>()).to_string()
        }
        Kind::Whole(..) | Kind::Number => key.default.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_has_every_setting_with_its_default_and_sets_none() {
        let text = example();
        let as_it_is: toml::Table = text.parse().unwrap();
        let values = |table: &toml::Table| {
            let sections = table.values().map(|it| it.as_table().unwrap().len());
            sections.sum::<usize>()
        };
        assert_eq!(values(&as_it_is), 0);
        // What is commented out without a space is a setting.
        let set = text.lines().map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') => setting,
            _ => line,
        });
        let set: toml::Table = set.collect::<Vec<_>>().join("\n").parse().unwrap();
        assert_eq!(values(&set), KEYS.len());
        for key in &KEYS {
            let (section, name) = key.name.split_once('.').unwrap();
            let plain = match &set[section][name] {
                Value::String(text) => text.clone(),
                Value::Array(words) if words.is_empty() => String::new(),
                Value::Float(number) => format!("{number:?}"),
                other => other.to_string(),
            };
            assert_eq!(plain, key.default, "{}", key.name);
        }
    }

    #[test]
    fn every_verb_has_a_page_and_a_completion() {
        let dir = tempfile::tempdir().unwrap();
        write_all(dir.path()).unwrap();
        let completion = fs::read_to_string(dir.path().join("chorus.bash")).unwrap();
        for verb in cli::Cli::command().get_subcommands() {
            let page = dir.path().join(format!("chorus-{}.1", verb.get_name()));
            let page = fs::read_to_string(page).unwrap();
            assert!(page.contains("Example"), "{}", verb.get_name());
            assert!(completion.contains(verb.get_name()));
        }
        assert!(dir.path().join("chorus.1").exists());
        assert!(dir.path().join("_chorus").exists());
        assert!(dir.path().join("chorus.fish").exists());
    }
}
