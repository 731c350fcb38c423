//! Memory: records that outlive the nodes that wrote them.
//!
//! | file | what it is |
//! |---|---|
//! | `checkpoint/` | the phases of all nodes at one moment, signed up the tree, whole on every node |
//! | `key` | names of records, whose they are, and where they stand among all keys |
//! | `record` | one signed write |
//! | `siblings` | what stands under one key: the writes that no other has seen |
//! | `index` | digests by which two stores find where they differ |
//! | `placement` | which nodes hold a key |
//! | `parcel` | what nodes say to each other about records |
//! | `replication` | the machine that spreads writes, counts copies and compares stores |

pub mod checkpoint;
pub mod index;
pub mod key;
pub mod parcel;
pub mod placement;
pub mod record;
pub mod replication;
pub mod siblings;
