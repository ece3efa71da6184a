//! The data folder: its lock, its format, and why it cannot be opened.
//!
//! The `format` file is written last when a folder is created. A folder without one is either being created, or none of
//! ours; a folder of another version is recognised before anything in it is touched.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use super::disk::private;

/// The version of the folder that this program writes and reads.
pub(super) const FORMAT: u32 = 2;

const FORMAT_LINE: &str = "anabranch data folder, format ";

/// Files that may be in a folder that is not a data folder yet.
const HARMLESS: [&str; 2] = ["lock", "lost+found"];

/// A data folder that could not be opened. Every message is a sentence that names the folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another store in this one, has it open.
    #[error("the data folder {} is in use by another broker", .0.display())]
    InUse(PathBuf),
    /// A file is in the place of the folder or of one above it.
    #[error("the data folder {} cannot be created: there is a file in its place", .0.display())]
    NotAFolder(PathBuf),
    /// The folder holds files and is no data folder.
    #[error("the folder {} is not empty and is no data folder", .0.display())]
    NotOurs(PathBuf),
    /// The folder cannot be written.
    #[error("the data folder {} cannot be written", .folder.display())]
    ReadOnly {
        /// The folder.
        folder: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A later version of the program has written it.
    #[error("the data folder {} has format {found}, and this version reads format {FORMAT}", .folder.display())]
    LaterVersion {
        /// The folder.
        folder: PathBuf,
        /// The format it has.
        found: u32,
    },
    /// An earlier version of the program has written it, in a format that is no longer read.
    #[error("the data folder {} has format {found}, which this version no longer reads: use another folder, or remove it", .folder.display())]
    EarlierVersion {
        /// The folder.
        folder: PathBuf,
        /// The format it has.
        found: u32,
    },
    /// The content is not what was written.
    #[error("the data folder {} is damaged: {why}", .folder.display())]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// The place of the damage, and the messages concerned.
        why: String,
    },
    /// Reading or writing failed.
    #[error("the data folder {} cannot be opened", .folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// The error of the system.
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

/// A data folder, locked for this store until it is dropped.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    /// The folder has a `format` file: its creation was completed.
    pub(super) complete: bool,
    /// Held, not read: the lock ends with the file.
    _lock: File,
}

impl DataDir {
    /// Locks the folder at `path`, creating it if it does not exist.
    pub(super) fn take(path: PathBuf) -> Result<Self, OpenError> {
        if fs::metadata(&path).is_ok_and(|found| !found.is_dir()) {
            return Err(OpenError::NotAFolder(path));
        }
        create(&path).map_err(|source| OpenError::io(&path, source))?;
        Self::lock(path)
    }

    /// Locks the folder at `path`, which must exist.
    pub(super) fn lock(path: PathBuf) -> Result<Self, OpenError> {
        let failed = |source| OpenError::io(&path, source);
        let is_ours = || path.join("format").try_exists().map_err(failed);
        // Asked twice: another opening may be creating it at this moment, and writes `format` last of all.
        if !is_ours()? && holds_other_things(&path).map_err(failed)? && !is_ours()? {
            return Err(OpenError::NotOurs(path));
        }
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        private(&mut options);
        let lock = options.open(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path)),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let complete = check_format(&path)?;
        Ok(Self {
            path,
            complete,
            _lock: lock,
        })
    }

    /// Locks the folder at `path` without changing anything in it.
    pub(super) fn inspect(path: &Path) -> Result<Option<File>, OpenError> {
        let failed = |source| OpenError::io(path, source);
        if !fs::metadata(path).map_err(failed)?.is_dir() {
            return Err(OpenError::NotAFolder(path.to_path_buf()));
        }
        let lock = match OpenOptions::new().write(true).open(path.join("lock")) {
            Ok(lock) => lock,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(path.to_path_buf())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        check_format(path)?;
        Ok(Some(lock))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the `format` file. The folder is complete afterwards.
    pub(super) fn write_format(&mut self) -> io::Result<()> {
        let new = self.path.join("format.new");
        let mut options = OpenOptions::new();
        options.create(true).truncate(true).write(true);
        private(&mut options);
        let mut file = options.open(&new)?;
        writeln!(file, "{FORMAT_LINE}{FORMAT}")?;
        file.sync_all()?;
        fs::rename(&new, self.path.join("format"))?;
        sync_folder(&self.path)?;
        self.complete = true;
        Ok(())
    }
}

/// Creates the folder and those above it. Only the owner may enter it.
fn create(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    while let Some(parent) = missing.pop().and_then(Path::parent) {
        let here = Path::new(".");
        sync_folder(if parent.as_os_str().is_empty() {
            here
        } else {
            parent
        })?;
    }
    Ok(())
}

/// Returns whether the folder has a format file, and that it is of this version.
fn check_format(path: &Path) -> Result<bool, OpenError> {
    let text = match fs::read_to_string(path.join("format")) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) if e.kind() == ErrorKind::InvalidData => String::new(),
        Err(e) => return Err(OpenError::io(path, e)),
    };
    let folder = path.to_path_buf();
    let version = text.strip_prefix(FORMAT_LINE);
    let version = version.and_then(|version| version.strip_suffix('\n'));
    match version.and_then(|version| version.parse().ok()) {
        Some(FORMAT) => Ok(true),
        Some(found) if found > FORMAT => Err(OpenError::LaterVersion { folder, found }),
        Some(found) => Err(OpenError::EarlierVersion { folder, found }),
        None => Err(OpenError::damaged(
            path,
            "its format file does not name a format",
        )),
    }
}

/// Whether the folder holds files that are neither a data folder's nor traces of its creation.
fn holds_other_things(path: &Path) -> io::Result<bool> {
    let ours = |name: &str| {
        HARMLESS.contains(&name)
            || name == "manifest"
            || name == "reserve"
            || name == "end"
            || [".new", ".seg", ".idx", ".snap"]
                .iter()
                .any(|end| name.ends_with(end))
    };
    for entry in fs::read_dir(path)? {
        if !entry?.file_name().to_str().is_some_and(ours) {
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
