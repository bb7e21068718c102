//! Directories for tests, and what is in them.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A directory of its own for a test, which ends with it.
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new() -> Place {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("corde-test-fs-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        // What the system resolves, as `canonicalize` answers with that.
        Place(path.canonicalize().unwrap())
    }

    /// With a file of that content.
    pub(crate) fn with(content: impl AsRef<[u8]>) -> (Place, PathBuf) {
        let place = Place::new();
        let path = place.0.join("file");
        std::fs::write(&path, content).unwrap();
        (place, path)
    }

    pub(crate) fn with_fifo() -> (Place, PathBuf) {
        let place = Place::new();
        let path = place.0.join("fifo");
        let name = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: the name ends with a zero.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        (place, path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// More than is read in place.
pub(crate) const LARGE: usize = 300_000;

pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}
