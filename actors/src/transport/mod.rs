//! Links to other nodes. `sockets` is what the rest of the node sees of ZeroMQ; the thread
//! behind it (`zmq_thread` and the files it is made of) is the only code of a node that touches
//! a ZeroMQ socket. It moves bytes and knows nothing of what they mean. `ring` is for benches.

pub mod actor;
mod admission;
pub mod ask;
mod backoff;
mod config;
pub mod counters;
mod crowd;
mod door;
mod endpoint;
mod error;
mod gate;
mod gathering;
pub mod handshake;
mod inbox;
mod inner_door;
mod inward;
mod keys;
pub mod knock;
mod leaving;
mod limiter;
mod links;
mod messages;
mod monitored;
pub(crate) mod names;
mod outward;
mod owing;
mod porter;
mod publishing;
mod readiness;
mod reading;
pub mod ring;
mod selftest;
mod sending;
mod shares;
pub mod sockets;
mod tally;
mod told;
mod topics;
mod twins;
mod zap;
mod zmq_thread;

pub(crate) use endpoint::endpoint_of;
pub(crate) use limiter::Bucket;
