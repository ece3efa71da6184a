//! The guard: a stream with one holder. It goes back to the pool when it is dropped.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
    thread,
};

use super::{
    manage::ManageStream,
    shared::Shared,
    slot::Slot,
    status::{EvictReason, StreamId},
};

/// A stream of the pool, held by one caller. Reads and writes go through `Deref` and `DerefMut`.
///
/// Its functions are called as `PooledStream::id(&stream)`, so that none hides a method of the stream.
///
/// # Drop
///
/// Gives the stream back. It is tested at once with [`is_broken`](ManageStream::is_broken), and probed in the background before
/// it is idle again. A bad stream is discarded. A stream in an unknown state is discarded without a test: within a frame
/// (between [`begin`](Self::begin) and [`end`](Self::end)), and when a panic drops the guard. The drop never blocks and needs
/// no runtime.
pub struct PooledStream<M: ManageStream> {
    /// `None` only while the guard is being consumed.
    slot: Option<Slot<M::Stream>>,
    shared: Arc<Shared<M>>,
    mid_frame: bool,
}

impl<M: ManageStream> PooledStream<M> {
    pub(super) const fn new(slot: Slot<M::Stream>, shared: Arc<Shared<M>>) -> Self {
        Self {
            slot: Some(slot),
            shared,
            mid_frame: false,
        }
    }

    /// Returns which of the pool's streams this is.
    #[must_use]
    pub fn id(this: &Self) -> StreamId {
        this.slot().id
    }

    /// Marks the begin of a frame. Until [`end`](Self::end) a drop of the guard discards the stream.
    ///
    /// Call it before the first await of a write, or of a read that must be complete. A future that is dropped at an await then
    /// cannot leave the rest of its frame to the next holder.
    pub const fn begin(this: &mut Self) {
        this.mid_frame = true;
    }

    /// Marks the end of a frame. The stream may be used by others again.
    pub const fn end(this: &mut Self) {
        this.mid_frame = false;
    }

    /// Returns the stream and the mark of its frames, to be used independently.
    ///
    /// A holder that borrows the stream for longer than one frame, for instance in two halves, marks frames with the second.
    pub fn with_mark(this: &mut Self) -> (&mut M::Stream, FrameMark<'_>) {
        let slot = this.slot.as_mut().expect(HELD);
        (&mut slot.stream, FrameMark(&mut this.mid_frame))
    }

    /// Discards the stream: it is reset and never used again. The pool opens another where `min` or a waiting caller needs one.
    pub fn discard(mut this: Self) {
        if let Some(slot) = this.slot.take() {
            this.shared
                .change(|state, _| state.on_unusable(slot, EvictReason::Discarded));
        }
    }

    fn slot(&self) -> &Slot<M::Stream> {
        self.slot.as_ref().expect(HELD)
    }
}

const HELD: &str = "a guard holds its stream until it is consumed or dropped";

/// Marks frames on a stream that is borrowed at the same time. See [`PooledStream::with_mark`].
#[derive(Debug)]
pub struct FrameMark<'a>(&'a mut bool);

impl FrameMark<'_> {
    /// Marks the begin of a frame, as [`PooledStream::begin`] does.
    pub const fn begin(&mut self) {
        *self.0 = true;
    }

    /// Marks the end of a frame, as [`PooledStream::end`] does.
    pub const fn end(&mut self) {
        *self.0 = false;
    }
}

impl<M: ManageStream> Deref for PooledStream<M> {
    type Target = M::Stream;

    fn deref(&self) -> &M::Stream {
        &self.slot().stream
    }
}

impl<M: ManageStream> DerefMut for PooledStream<M> {
    fn deref_mut(&mut self) -> &mut M::Stream {
        &mut self.slot.as_mut().expect(HELD).stream
    }
}

impl<M: ManageStream> Drop for PooledStream<M> {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else {
            return;
        };
        let bad = if self.mid_frame || thread::panicking() {
            Some(EvictReason::Dirty)
        } else if self.shared.manager.is_broken(&slot.stream) {
            Some(EvictReason::Broken)
        } else {
            None
        };
        self.shared.change(|state, now| match bad {
            Some(reason) => state.on_unusable(slot, reason),
            None => state.on_returned(slot, now),
        });
    }
}

impl<M: ManageStream> fmt::Debug for PooledStream<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledStream")
            .field("id", &self.slot.as_ref().map(|slot| slot.id))
            .field("mid_frame", &self.mid_frame)
            .finish_non_exhaustive()
    }
}
