//! Writes to standard output on a thread of its own.
//!
//! A pipe whose other end takes nothing blocks a write without end. The command can then give the write up and end: the
//! process does not wait for this thread.

use std::{io, sync::mpsc::SyncSender, thread};

use tokio::sync::mpsc;

use crate::output;

/// Writes blocks of bytes in their order.
pub(super) struct Writer {
    blocks: SyncSender<Vec<u8>>,
    written: mpsc::Receiver<(Vec<u8>, anyhow::Result<()>)>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let (blocks, to_write) = std::sync::mpsc::sync_channel::<Vec<u8>>(1);
        let (done, written) = mpsc::channel(1);
        thread::Builder::new()
            .name("standard output".into())
            .spawn(move || {
                for block in to_write {
                    let result = output::bytes(&block);
                    if done.blocking_send((block, result)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { blocks, written })
    }

    /// Writes `block`, waits until that is done, and empties it. When the future is dropped, the block is on its way, and
    /// nothing more can be written.
    pub(super) async fn write(&mut self, block: &mut Vec<u8>) -> anyhow::Result<()> {
        let ended = || anyhow::anyhow!("cannot write to standard output");
        self.blocks
            .send(std::mem::take(block))
            .map_err(|_| ended())?;
        let (mut empty, result) = self.written.recv().await.ok_or_else(ended)?;
        empty.clear();
        *block = empty;
        result
    }
}
