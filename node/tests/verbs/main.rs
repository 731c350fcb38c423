//! The verbs that make homes and read settings, as a user meets them: by the binary.

mod benches;
mod chorus;
mod config;
mod homes;
mod joining;
mod lost;
mod starts;
mod troubles;
