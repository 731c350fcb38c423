//! Key: the secret that an endpoint asks for. It is read from a file for each question, so that a
//! new one counts at once, and stands in no configuration, no environment and no log.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hyper::header::HeaderValue;

/// The longest key in bytes.
const KEY_BYTES_MAX: usize = 4 * 1024;

/// A key as the endpoint gets it. Its `Debug` shows nothing of it.
#[derive(Debug, Clone)]
pub struct Key(HeaderValue);

impl Key {
    /// Reads it; the reason why it cannot be read names the file, never what is in it.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bad = |why: &dyn std::fmt::Display| format!("key file {}: {why}", path.display());
        let file = File::open(path).map_err(|why| bad(&why))?;
        let mode = file.metadata().map_err(|why| bad(&why))?.permissions();
        let mode = mode.mode() & 0o7777;
        if mode & 0o077 != 0 {
            let why = format!("its mode is {mode:04o}, others can read it: run `chmod 600` on it");
            return Err(bad(&why));
        }
        let mut text = String::new();
        let mut file = file.take(KEY_BYTES_MAX as u64 + 1);
        file.read_to_string(&mut text).map_err(|why| bad(&why))?;
        let key = text.trim();
        if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.bytes().all(|b| b.is_ascii_graphic())
        {
            return Err(bad(&"it is not one line of visible letters"));
        }
        let mut header = HeaderValue::try_from(format!("Bearer {key}"))
            .map_err(|_| bad(&"it is not one line of visible letters"))?;
        header.set_sensitive(true);
        Ok(Self(header))
    }

    /// What goes with a question.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// A text of the endpoint's without the key, which it may have said again.
    pub fn kept_from(&self, text: &str) -> String {
        let key = self.0.to_str().ok();
        match key.and_then(|it| it.strip_prefix("Bearer ")) {
            Some(key) => text.replace(key, "…"),
            None => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_key_is_one_line_of_a_file_of_ones_own_and_is_never_shown() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("key");
        let why = |path: &Path| Key::read(path).expect_err("it is no key");
        assert!(why(&path).contains("No such file"), "{}", why(&path));
        let write = |text: &str, mode| {
            fs::write(&path, text).expect("it is written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        };
        write("sk-secret\n", 0o644);
        assert!(why(&path).contains("0644") && why(&path).contains("chmod 600"));
        for text in ["", "\n", "two\nlines\n", "two words", "gr\u{fc}n"] {
            write(text, 0o600);
            assert!(why(&path).contains("one line"), "{}", why(&path));
        }
        write(&"x".repeat(KEY_BYTES_MAX + 1), 0o600);
        assert!(why(&path).contains("one line"), "{}", why(&path));
        write("sk-secret\n", 0o400);
        let key = Key::read(&path).expect("a key");
        assert_eq!(key.header().as_bytes(), b"Bearer sk-secret");
        assert!(!format!("{key:?}").contains("secret"));
        assert_eq!(key.kept_from("bad key sk-secret."), "bad key ….");
    }
}
