//! What tests run against that is not ours: installed by `make test`, missing where it could not be had.

use std::path::{Path, PathBuf};

/// A program of Debian's, or none where it is not installed, which is said.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    there(Path::new("/usr/bin").join(name))
}

/// A file of the packages that `tests/tools` lists: `python/…` from the Python index, `node_modules/…` from npm.
pub(crate) fn package(path: &str) -> Option<PathBuf> {
    // The test binary lies in TARGET/debug/deps.
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    there(target.join("tools").join(path))
}

fn there(path: PathBuf) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not there; `make test` installs it where it can", path.display());
    None
}
