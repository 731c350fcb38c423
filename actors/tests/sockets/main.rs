//! Socket threads of several nodes on the loopback interface, talking for real.

mod admission;
mod crowds;
mod flow;
mod inner_door;
mod nodes;
