//! A small disk of its own, for tests that fill one. Tests of the node use it too.

#![allow(dead_code)] // each test file uses its part

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A tmpfs that is unmounted when it is dropped.
pub struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    /// `None`, said loudly, where mounting is not allowed.
    pub fn mount(test: &str, size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "chorus-test"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            _ => {
                // Past the capture of the test harness, for the gate to count.
                let _ = writeln!(
                    std::io::stderr(),
                    "skipped: {test} SKIPPED (needs root to mount a tmpfs)"
                );
                None
            }
        }
    }
    pub fn path(&self) -> &Path {
        self.0.path()
    }
    /// Fills all that is left and returns the file that holds it.
    pub fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = fs::File::create(&path).unwrap();
        while file.write(&[1; 4096]).is_ok_and(|n| n > 0) {}
        path
    }
    /// Gives the room back. A process that another test is just starting holds the
    /// file for a moment, between its fork and its exec, so the room is waited for.
    pub fn empty(&self, filler: &Path) {
        fs::remove_file(filler).unwrap();
        let probe = self.path().join("probe");
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::write(&probe, [0; 256 * 1024]).is_err() {
            assert!(Instant::now() < deadline, "the room never came back");
            std::thread::sleep(Duration::from_millis(2));
        }
        fs::remove_file(probe).unwrap();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
