//! The data folder: who may have it, and what it is.
//!
//! ```text
//! data/
//!   lock      held by the one process that has the folder open
//!   format    one line that says what this is and in which version; written once, when the folder is made
//!   log/      the database
//! ```
//!
//! The lock and the format are this store's own and not the database's, so that a folder of a later version is
//! recognised before anything in it is touched, and so that the folder stays this process's while the
//! database is closed and opened again after a failure.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

/// The version of the folder that this program writes and reads.
pub(super) const FORMAT: u32 = 1;

const FORMAT_LINE: &str = "anabranch data folder, format ";

/// What may stand in a folder that is not a data folder yet: traces of making one, and of a mount point.
const HARMLESS: [&str; 3] = ["lock", "format.new", "lost+found"];

/// Why a data folder could not be opened. Every message is a sentence that names the folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another store in this one, has it open.
    #[error("the data folder {} is in use by another broker", .0.display())]
    InUse(PathBuf),
    /// Something in the path is a file.
    #[error("the data folder {} cannot be: there is a file in its place", .0.display())]
    NotAFolder(PathBuf),
    /// It holds files, and none of them says that it is a data folder.
    #[error("the folder {} is not empty and is no data folder", .0.display())]
    NotOurs(PathBuf),
    /// It may not be written.
    #[error("the data folder {} cannot be written", .folder.display())]
    ReadOnly {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A later version of the program has written it.
    #[error("the data folder {} has format {found}, and this version reads formats up to {FORMAT}", .folder.display())]
    LaterVersion {
        /// The folder.
        folder: PathBuf,
        /// The format it has.
        found: u32,
    },
    /// What stands in it is not what was written.
    #[error("the data folder {} is damaged: {why}", .folder.display())]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What was found.
        why: String,
    },
    /// Reading or writing failed.
    #[error("the data folder {} cannot be opened", .folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(folder: &Path, source: io::Error) -> Self {
        let folder = folder.to_path_buf();
        match source.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { folder, source }
            }
            ErrorKind::NotADirectory => Self::NotAFolder(folder),
            _ => Self::Io { folder, source },
        }
    }

    pub(super) fn damaged(folder: &Path, why: impl ToString) -> Self {
        Self::Damaged {
            folder: folder.to_path_buf(),
            why: why.to_string(),
        }
    }
}

/// A data folder that is this store's until it is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Held, not read: the lock ends with the file.
    _lock: File,
}

impl Folder {
    /// Takes the folder at `path`, making it where there is none.
    pub(super) fn take(path: PathBuf) -> Result<Self, OpenError> {
        let failed = |source| OpenError::io(&path, source);
        if fs::metadata(&path).is_ok_and(|found| !found.is_dir()) {
            return Err(OpenError::NotAFolder(path));
        }
        fs::create_dir_all(&path).map_err(failed)?;
        let is_ours = || path.join("format").try_exists().map_err(failed);
        // Asked twice: another opening may be making it just now, and makes the format before anything else.
        if !is_ours()? && holds_other_things(&path).map_err(failed)? && !is_ours()? {
            return Err(OpenError::NotOurs(path));
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path)),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let folder = Self { path, _lock: lock };
        folder.check_format()?;
        folder.drop_unfinished().map_err(|e| folder.failed(e))?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the database stands.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join("log")
    }

    fn failed(&self, source: io::Error) -> OpenError {
        OpenError::io(&self.path, source)
    }

    fn check_format(&self) -> Result<(), OpenError> {
        let text = match fs::read_to_string(self.path.join("format")) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return self.write_format().map_err(|e| self.failed(e));
            }
            Err(e) => return Err(self.failed(e)),
        };
        let version = text.strip_prefix(FORMAT_LINE);
        match version.and_then(|version| version.trim_end().parse().ok()) {
            Some(found) if found > FORMAT => Err(OpenError::LaterVersion {
                folder: self.path.clone(),
                found,
            }),
            Some(FORMAT) => Ok(()),
            _ => Err(OpenError::damaged(
                &self.path,
                "its format file says nothing sensible",
            )),
        }
    }

    /// In one step: whoever sees a format file sees all of it.
    fn write_format(&self) -> io::Result<()> {
        let new = self.path.join("format.new");
        let mut file = File::create(&new)?;
        writeln!(file, "{FORMAT_LINE}{FORMAT}")?;
        file.sync_all()?;
        fs::rename(&new, self.path.join("format"))?;
        sync_folder(&self.path)
    }

    /// Removes a database whose making was cut short. The database writes its `version` last of all, so
    /// without one nobody has ever put anything in.
    fn drop_unfinished(&self) -> io::Result<()> {
        let database = self.database();
        if database.try_exists()? && !database.join("version").try_exists()? {
            fs::remove_dir_all(database)?;
        }
        Ok(())
    }

    /// How many bytes the disk has left for this process.
    #[cfg(unix)]
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.path)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    /// How many bytes the disk has left for this process: not known here.
    #[cfg(not(unix))]
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    /// Finds out whether `bytes` can be written to this disk.
    pub(super) fn probe(&self, bytes: usize) -> io::Result<()> {
        let path = self.path.join("probe");
        let written = (|| {
            let mut file = File::create(&path)?;
            let chunk = [0x5a; 64 << 10];
            for _ in 0..bytes.div_ceil(chunk.len()) {
                file.write_all(&chunk)?;
            }
            file.sync_all()
        })();
        fs::remove_file(&path).or_else(|e| match e.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(e),
        })?;
        written
    }
}

fn holds_other_things(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if !HARMLESS.iter().any(|harmless| name == *harmless) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
