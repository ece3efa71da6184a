//! The end of fjall's journal after a power cut.
//!
//! When the power goes while a group is being written, any of its pages may have reached the disk and any
//! may not. Where the end of the group has and something before it has not, fjall finds a finished group
//! whose checksum does not match, and refuses to open the database. But nobody was told that this group is
//! stored: it is what stands behind it that decides. Nothing: the group is cut off and the database opens.
//! Something whole: it was stored once and acknowledged, the journal is damaged, and that is said instead.
//! (Where nothing is ever synced, as much may have been lost anywhere, and everything from the first bad
//! group on is cut.)
//!
//! The journal of fjall 3 is a sequence of groups:
//!
//! ```text
//! 1 │ items u32 │ seqno u64
//!    2 │ kind u8 │ compression u8 │ keyspace u64 │ key length u16 │ length u32 │ length on disk u32 │ key │ value
//!    4 │ keyspace u64
//! 3 │ checksum u64 │ "FJL" 3                     numbers little-endian; xxh3 over the items' bytes
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, ErrorKind, Read},
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::Xxh3;

const TRAILER: [u8; 4] = *b"FJL\x03";

/// What a look through a journal found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Found {
    /// Where the first group begins whose checksum does not match.
    bad: Option<u64>,
    /// A whole group stands behind it.
    whole_behind: bool,
}

/// Cuts a torn group off the newest journal in `database`, and answers whether there was one. Where whole
/// groups stand behind it, it is cut only if `any_loss` is accepted.
pub(super) fn cut_torn_end(database: &Path, any_loss: bool) -> io::Result<bool> {
    let Some(journal) = newest(database)? else {
        return Ok(false);
    };
    let found = look_through(BufReader::with_capacity(1 << 20, File::open(&journal)?))?;
    let Some(at) = found.bad.filter(|_| any_loss || !found.whole_behind) else {
        return Ok(false);
    };
    let file = OpenOptions::new().write(true).open(&journal)?;
    file.set_len(at)?;
    file.sync_all()?;
    tracing::warn!(
        journal = %journal.display(),
        at,
        "the journal ended in a group that was not written to its end; it is cut off"
    );
    Ok(true)
}

fn newest(database: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in fs::read_dir(database)? {
        let path = entry?.path();
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse().ok());
        if path.extension().is_some_and(|ext| ext == "jnl") {
            newest = newest.max(number.map(|number: u64| (number, path)));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

fn look_through(journal: impl Read) -> io::Result<Found> {
    let mut groups = Groups { journal, at: 0 };
    let mut found = Found::default();
    loop {
        let at = groups.at;
        match groups.next() {
            Ok(Some(true)) if found.bad.is_some() => {
                found.whole_behind = true;
                return Ok(found);
            }
            Ok(Some(true)) => {}
            Ok(Some(false)) => {
                found.bad.get_or_insert(at);
            }
            Ok(None) => return Ok(found),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(found),
            Err(e) => return Err(e),
        }
    }
}

struct Groups<R> {
    journal: R,
    at: u64,
}

impl<R: Read> Groups<R> {
    /// Whether the next group matches its checksum; `None` where no finished group follows.
    fn next(&mut self) -> io::Result<Option<bool>> {
        if self.take()? != [1] {
            return Ok(None);
        }
        let items = u32::from_le_bytes(self.take()?);
        self.take::<8>()?;
        let (mut hash, mut seen) = (Xxh3::default(), 0);
        loop {
            let [tag] = self.take()?;
            match tag {
                2 => self.item(&mut hash)?,
                4 => {
                    hash.update(&[tag]);
                    hash.update(&self.take::<8>()?);
                }
                3 => break,
                _ => return Ok(None),
            }
            seen += 1;
        }
        let checksum = u64::from_le_bytes(self.take()?);
        if self.take()? != TRAILER {
            return Ok(None);
        }
        Ok(Some(checksum == hash.digest() && items == seen))
    }

    fn item(&mut self, hash: &mut Xxh3) -> io::Result<()> {
        let head: [u8; 20] = self.take()?;
        hash.update(&[2]);
        hash.update(&head);
        let key = u64::from(u16::from_le_bytes([head[10], head[11]]));
        let value = u32::from_le_bytes([head[16], head[17], head[18], head[19]]);
        let mut left = key + u64::from(value);
        let mut buffer = [0; 16 << 10];
        while left > 0 {
            let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
            let part = &mut buffer[..most];
            self.journal.read_exact(part)?;
            hash.update(part);
            left -= part.len() as u64;
            self.at += part.len() as u64;
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.journal.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }
}
