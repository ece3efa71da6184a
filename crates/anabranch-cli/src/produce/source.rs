//! Where lines come from: files and standard input, read by a thread of its own.
//!
//! Reading may block for as long as nobody types. The thread is not waited for: at the program's end it is left where it
//! stands.

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

/// How much is read at once.
const BLOCK: usize = 256 << 10;
/// Pieces that may wait to be sent.
const WAITING: usize = 4;

/// Something that was read.
#[derive(Debug)]
pub(super) enum Item {
    /// Another file begins.
    File(Arc<str>),
    /// Lines of it.
    Piece(Piece),
    /// It could not be read on.
    Failed(Arc<str>, io::Error),
}

/// Files that are open.
pub(super) struct Source {
    open: Vec<(Arc<str>, Box<dyn Read + Send>)>,
}

impl Source {
    /// Opens all of `paths`; none means standard input, and so does `-`.
    ///
    /// # Errors
    /// Names the one that cannot be opened.
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

    /// Begins to read. Lines with more than `most` bytes are not kept.
    pub(super) fn read(self, most: usize, tally: Arc<Tally>) -> io::Result<Reading> {
        let (sender, items) = mpsc::channel(WAITING);
        let gate = Arc::new(Gate::default());
        let reader = Reader {
            sender,
            tally,
            gate: Arc::clone(&gate),
        };
        thread::Builder::new()
            .name("reader".into())
            .spawn(move || reader.run(self, most))?;
        Ok(Reading { items, gate })
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
        bail!("{}: it is a folder", cannot());
    }
    Ok((path.display().to_string().into(), Box::new(file)))
}

/// How the end of reading is agreed upon: the reader either sees `stopped` before it hands on what it has read, or
/// whoever set it sees `holding`.
#[derive(Debug, Default)]
struct Gate {
    /// Nothing more is to be read.
    stopped: AtomicBool,
    /// The reader has something that it will hand on.
    holding: AtomicBool,
}

/// What is being read, as its receiver sees it.
pub(super) struct Reading {
    items: mpsc::Receiver<Item>,
    gate: Arc<Gate>,
}

impl Reading {
    /// The next item. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Item> {
        self.items.recv().await
    }

    /// The next item, if it is there.
    pub(super) fn next_there(&mut self) -> Option<Item> {
        self.items.try_recv().ok()
    }

    /// Reads nothing more. What was read still comes, and then the end.
    pub(super) fn stop(&mut self) {
        self.gate.stopped.store(true, SeqCst);
        // A reader that holds nothing may sit in a read that never ends; it is not waited for.
        if !self.gate.holding.load(SeqCst) {
            self.refuse();
        }
    }

    /// Takes nothing more but what waits here already.
    pub(super) fn refuse(&mut self) {
        self.items.close();
    }
}

/// There is nothing more to do for a reader.
struct Enough;

struct Reader {
    sender: mpsc::Sender<Item>,
    tally: Arc<Tally>,
    gate: Arc<Gate>,
}

impl Reader {
    fn run(&self, source: Source, most: usize) {
        for (name, file) in source.open {
            if self.read(&name, file, most).is_err() {
                return;
            }
        }
    }

    fn read(&self, name: &Arc<str>, file: Box<dyn Read + Send>, most: usize) -> Result<(), Enough> {
        self.send(Item::File(Arc::clone(name)))?;
        let mut file = BufReader::with_capacity(BLOCK, file);
        let mut splitter = Splitter::new(most);
        loop {
            self.gate.holding.store(false, SeqCst);
            if self.gate.stopped.load(SeqCst) {
                return Err(Enough);
            }
            let read = file.fill_buf();
            self.gate.holding.store(true, SeqCst);
            // What comes after the stop is left alone.
            if self.gate.stopped.load(SeqCst) {
                return Err(Enough);
            }
            let read = match read {
                Ok([]) => break,
                Ok(bytes) => {
                    splitter.push(bytes, |piece| self.hand_on(piece))?;
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
        splitter.end().map_or(Ok(()), |piece| self.hand_on(piece))
    }

    /// Counted before it is handed on: it has been read, whatever becomes of it.
    fn hand_on(&self, piece: Piece) -> Result<(), Enough> {
        self.tally.on_read(piece.lines(), piece.bytes());
        self.send(Item::Piece(piece))
    }

    fn send(&self, item: Item) -> Result<(), Enough> {
        self.sender.blocking_send(item).map_err(|_| Enough)
    }
}
