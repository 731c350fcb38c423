//! Socket threads of several nodes on the loopback interface, talking for real.

mod admission;
mod flow;
mod inner_door;
mod nodes;
