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
    lines::{Piece, Splitter},
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
    /// Lines of the file.
    Piece(Piece),
    /// The rest of the file cannot be read.
    Failed(Arc<str>, io::Error),
}

/// Open files.
pub(super) struct Input {
    open: Vec<(Arc<str>, Box<dyn Read + Send>)>,
}

impl Input {
    /// Opens all `paths`. No path, or `-`, is standard input.
    ///
    /// # Errors
    /// The first path that cannot be opened.
    pub(super) fn open(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let open = match paths {
            [] => vec![stdin()],
            paths => paths
                .iter()
                .map(|path| open(path))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self { open })
    }

    /// Starts the thread that reads. Lines with more than `max_line` bytes are dropped.
    pub(super) fn read(self, max_line: usize, tally: Arc<Tally>) -> io::Result<ReaderHandle> {
        let (sender, items) = mpsc::channel(QUEUE);
        let stop = Arc::new(StopState::default());
        let reader = Reader {
            sender,
            tally,
            stop: Arc::clone(&stop),
        };
        thread::Builder::new()
            .name("reader".into())
            .spawn(move || reader.run(self, max_line))?;
        Ok(ReaderHandle { items, stop })
    }
}

fn stdin() -> (Arc<str>, Box<dyn Read + Send>) {
    ("standard input".into(), Box::new(io::stdin()))
}

fn open(path: &Path) -> anyhow::Result<(Arc<str>, Box<dyn Read + Send>)> {
    if path == Path::new("-") {
        return Ok(stdin());
    }
    let cannot = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(cannot)?;
    if file.metadata().with_context(cannot)?.is_dir() {
        bail!("{}: is a folder", cannot());
    }
    Ok((path.display().to_string().into(), Box::new(file)))
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
    sender: mpsc::Sender<Item>,
    tally: Arc<Tally>,
    stop: Arc<StopState>,
}

impl Reader {
    fn run(&self, input: Input, max_line: usize) {
        for (name, file) in input.open {
            if self.read(&name, file, max_line).is_err() {
                return;
            }
        }
    }

    fn read(
        &self,
        name: &Arc<str>,
        file: Box<dyn Read + Send>,
        max_line: usize,
    ) -> Result<(), Stopped> {
        self.send(Item::File(Arc::clone(name)))?;
        let mut file = BufReader::with_capacity(BLOCK, file);
        let mut splitter = Splitter::new(max_line);
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
        self.tally.on_read(piece.lines(), piece.bytes());
        self.send(Item::Piece(piece))
    }

    fn send(&self, item: Item) -> Result<(), Stopped> {
        self.sender.blocking_send(item).map_err(|_| Stopped)
    }
}
