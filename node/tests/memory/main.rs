//! Memory as its owner meets it: the verbs with a real node.

mod conflict;
mod files;
mod interrupted;
mod node;
mod timeline;
mod values;
