//! Files with secrets: read only if other users of the machine cannot write them, with a warning if they can read them.

use std::path::Path;

use anyhow::Context;

use crate::progress;

/// Reads a file with secrets.
///
/// # Errors
/// If it cannot be read, or every user of the machine can write it.
pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    let failed = || format!("cannot read the file {}", path.display());
    check(path).with_context(failed)?;
    std::fs::read_to_string(path).with_context(failed)
}

#[cfg(unix)]
fn check(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    let metadata = std::fs::metadata(path)?;
    let mode = metadata.permissions().mode();
    // A pipe or a terminal has no mode that says anything.
    if !metadata.is_file() {
        return Ok(());
    }
    if mode & 0o002 != 0 {
        anyhow::bail!(
            "other users can write it (mode {:04o}): chmod 600",
            mode & 0o7777
        );
    }
    if mode & 0o064 != 0 {
        progress::say(format_args!(
            "warning: other users may read or change {} (mode {:04o}): chmod 600",
            path.display(),
            mode & 0o7777
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check(_: &Path) -> anyhow::Result<()> {
    Ok(())
}
