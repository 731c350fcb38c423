//! Limits of the system on this process, and raising the one that a node runs into.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that a node with a hundred children may have: each child is three connections,
/// each of up to 32 siblings that are listened to a socket with its signal, each of up to 16
/// links outward three sockets with their signals and monitors, and some hundred for
/// strangers, commands and the store.
pub const OPEN_FILES_NEEDED: u64 = 1024;

/// Raises the number of files that may be open to the most that the system allows. Sockets
/// count as files, and the usual soft limit is for programs that still use `select`.
pub fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    // Refused only where nothing can be done about it; `doctor` tells the limit.
    let _ = setrlimit(Resource::Nofile, raised);
}

/// The most files that a node started here could have open; `None`: any number.
pub fn open_files_max() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}
