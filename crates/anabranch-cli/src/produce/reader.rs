//! Reads files and standard input, in a thread.
//!
//! A read of a terminal may block forever. The process exits without waiting for the thread.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
};

use anyhow::{Context, bail};
use tokio::sync::mpsc;

use super::{
    lines::{Framing, Piece, Splitter},
    tally::Tally,
};

/// Size of a read, in bytes.
const BLOCK: usize = 256 << 10;
/// Capacity of the channel to the sender, in items.
const QUEUE: usize = 4;

/// A part of the input.
#[derive(Debug)]
pub(super) enum Item {
    /// The start of a file.
    File(Arc<str>),
    /// Messages of the file.
    Piece(Piece),
    /// The rest of the file cannot be read.
    Failed(Arc<str>, io::Error),
}

/// Open files.
pub(super) struct Input {
    open: Vec<(Arc<str>, Box<dyn Read + Send>)>,
    /// Bytes of all files together. `None` if one of them is a pipe or a terminal.
    size: Option<u64>,
}

impl Input {
    /// Opens all `paths`. No path, or `-`, is standard input.
    ///
    /// # Errors
    /// The first path that cannot be opened.
    pub(super) fn open(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let stdin = [PathBuf::from("-")];
        let paths = if paths.is_empty() { &stdin } else { paths };
        let mut input = Self {
            open: Vec::new(),
            size: Some(0),
        };
        for path in paths {
            let (name, file, size) = open(path)?;
            input.open.push((name, file));
            input.size = input.size.zip(size).map(|(all, one)| all + one);
        }
        Ok(input)
    }

    /// Returns the number of bytes of all files together, if it is known.
    pub(super) const fn size(&self) -> Option<u64> {
        self.size
    }

    /// Starts the thread that reads. Messages with more than `max_message` bytes are dropped.
    pub(super) fn read(
        self,
        framing: Framing,
        max_message: usize,
        tally: Arc<Tally>,
    ) -> io::Result<ReaderHandle> {
        let (sender, items) = mpsc::channel(QUEUE);
        let stop = Arc::new(StopState::default());
        let reader = Reader {
            framing,
            max_message,
            sender,
            tally,
            stop: Arc::clone(&stop),
        };
        thread::Builder::new()
            .name("reader".into())
            .spawn(move || reader.run(self))?;
        Ok(ReaderHandle { items, stop })
    }
}

/// The name of a file, its bytes, and its size if it is a regular one.
type Opened = (Arc<str>, Box<dyn Read + Send>, Option<u64>);

fn open(path: &Path) -> anyhow::Result<Opened> {
    if path == Path::new("-") {
        return Ok(("standard input".into(), Box::new(io::stdin()), stdin_size()));
    }
    let cannot = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(cannot)?;
    let metadata = file.metadata().with_context(cannot)?;
    if metadata.is_dir() {
        bail!("{}: is a folder", cannot());
    }
    let size = metadata.is_file().then_some(metadata.len());
    Ok((path.display().to_string().into(), Box::new(file), size))
}

/// Returns the size of standard input, if a shell has made it a regular file.
#[cfg(unix)]
fn stdin_size() -> Option<u64> {
    use std::os::fd::AsFd;
    let file = File::from(io::stdin().as_fd().try_clone_to_owned().ok()?);
    let metadata = file.metadata().ok()?;
    metadata.is_file().then_some(metadata.len())
}

#[cfg(not(unix))]
fn stdin_size() -> Option<u64> {
    None
}

/// How the sender stops the reader.
///
/// Both flags are sequentially consistent: either the reader sees `stopped` before it sends what it has read, or
/// [`ReaderHandle::stop`] sees `holding` and keeps the channel open for it.
#[derive(Debug, Default)]
struct StopState {
    /// Set by the sender: read no more.
    stopped: AtomicBool,
    /// Set by the reader while it has data to send.
    holding: AtomicBool,
}

/// The receiving end of a reader.
pub(super) struct ReaderHandle {
    items: mpsc::Receiver<Item>,
    stop: Arc<StopState>,
}

impl ReaderHandle {
    /// Waits for the next item. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Item> {
        self.items.recv().await
    }

    /// Returns the next item, if it has arrived.
    pub(super) fn try_next(&mut self) -> Option<Item> {
        self.items.try_recv().ok()
    }

    /// Stops reading. What was read still arrives, followed by the end.
    pub(super) fn stop(&mut self) {
        self.stop.stopped.store(true, SeqCst);
        // A reader without data may block in a read forever, so it is not waited for.
        if !self.stop.holding.load(SeqCst) {
            self.close();
        }
    }

    /// Closes the channel. Items already in it still arrive.
    pub(super) fn close(&mut self) {
        self.items.close();
    }
}

/// The reader was stopped, or the channel is closed.
struct Stopped;

struct Reader {
    framing: Framing,
    max_message: usize,
    sender: mpsc::Sender<Item>,
    tally: Arc<Tally>,
    stop: Arc<StopState>,
}

impl Reader {
    fn run(&self, input: Input) {
        for (name, file) in input.open {
            if self.read(&name, file).is_err() {
                return;
            }
        }
    }

    fn read(&self, name: &Arc<str>, file: Box<dyn Read + Send>) -> Result<(), Stopped> {
        self.send(Item::File(Arc::clone(name)))?;
        let mut file = BufReader::with_capacity(BLOCK, file);
        let mut splitter = Splitter::new(self.framing, self.max_message);
        loop {
            self.stop.holding.store(false, SeqCst);
            if self.stop.stopped.load(SeqCst) {
                return Err(Stopped);
            }
            let read = file.fill_buf();
            self.stop.holding.store(true, SeqCst);
            // Data read after the stop is dropped.
            if self.stop.stopped.load(SeqCst) {
                return Err(Stopped);
            }
            let read = match read {
                Ok([]) => break,
                Ok(bytes) => {
                    splitter.push(bytes, |piece| self.send_piece(piece))?;
                    bytes.len()
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => {
                    self.send(Item::Failed(Arc::clone(name), error))?;
                    break;
                }
            };
            file.consume(read);
        }
        splitter
            .end()
            .map_or(Ok(()), |piece| self.send_piece(piece))
    }

    /// Counts a piece as read, and sends it.
    fn send_piece(&self, piece: Piece) -> Result<(), Stopped> {
        self.tally
            .on_read(piece.messages(self.framing), piece.bytes());
        self.send(Item::Piece(piece))
    }

    fn send(&self, item: Item) -> Result<(), Stopped> {
        self.sender.blocking_send(item).map_err(|_| Stopped)
    }
}
