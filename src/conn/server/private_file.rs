//! Atomic writes of files with restricted permissions.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

/// Replaces the file at `path` with one that holds `bytes`. A reader sees the old file or the new one, and the new one has
/// `mode` from the start (on Unix).
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    match fs::remove_file(&new) {
        // A file left by a crash may have other permissions.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}
