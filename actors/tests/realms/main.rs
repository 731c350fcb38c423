//! Swarms of several nodes on the loopback interface, putting, getting and asking for real.

mod abuse;
mod asking;
mod cable;
mod closed;
mod links;
mod nodes;
mod values;
