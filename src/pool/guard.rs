//! The guard: a stream in the hands of one holder, which goes back when it is dropped.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
    thread,
    time::Duration,
};

use super::{
    manage::ManageStream,
    shared::Shared,
    slot::Slot,
    status::{EvictReason, StreamId},
};

/// A stream of the pool, for as long as this is held. Reads and writes go through `Deref` and `DerefMut`.
///
/// Its own functions are called as `PooledStream::id(&stream)`, so that they never hide the stream's.
///
/// # Drop
///
/// Puts the stream back. It is tested at once with [`is_broken`](ManageStream::is_broken) and then probed in
/// the background before it is idle again; a bad one is discarded. A stream is discarded untested where
/// its state is unknown: between [`begin`](Self::begin) and [`end`](Self::end), and when a panic drops the guard.
/// Dropping never blocks and needs no runtime.
pub struct PooledStream<M: ManageStream> {
    /// `None` only once the stream was taken out to be given back.
    slot: Option<Slot<M::Stream>>,
    shared: Arc<Shared<M>>,
    /// Written when the guard reaches its caller; until then the stream goes back as it came.
    waited: Option<Duration>,
    mid_frame: bool,
}

impl<M: ManageStream> PooledStream<M> {
    /// A guard on its way to a caller.
    pub(super) const fn undelivered(slot: Slot<M::Stream>, shared: Arc<Shared<M>>) -> Self {
        Self {
            slot: Some(slot),
            shared,
            waited: None,
            mid_frame: false,
        }
    }

    /// The guard reached its caller.
    pub(super) fn deliver(mut self, waited: Duration) -> Self {
        self.waited = Some(waited);
        self.shared.change(|books, _| books.on_delivered(waited));
        self
    }

    /// The stream without its guard; the caller has to tell the books.
    pub(super) fn into_slot(mut self) -> Slot<M::Stream> {
        self.slot.take().expect(HELD)
    }

    /// Which of the pool's streams this is.
    #[must_use]
    pub fn id(this: &Self) -> StreamId {
        this.slot().id
    }

    /// How long the caller waited for it, from [`StreamPool::get`](super::StreamPool::get) to the guard.
    #[must_use]
    pub fn waited(this: &Self) -> Duration {
        this.waited.unwrap_or_default()
    }

    /// A frame begins: until [`end`](Self::end), dropping the guard resets the stream.
    ///
    /// Call it before the first await of a write (or of a read that may not be left half done). A future that is
    /// dropped at any await then cannot leave the rest of its frame to the next holder.
    pub const fn begin(this: &mut Self) {
        this.mid_frame = true;
    }

    /// The frame is complete, and the stream may be used by others again.
    pub const fn end(this: &mut Self) {
        this.mid_frame = false;
    }

    /// Whether the stream is within a frame, and would be discarded now.
    #[must_use]
    pub const fn is_mid_frame(this: &Self) -> bool {
        this.mid_frame
    }

    /// Throws the stream away: it is reset and never used again. The pool opens another where `min` or a
    /// waiting caller asks for one.
    pub fn discard(mut this: Self) {
        if let Some(slot) = this.slot.take() {
            this.shared
                .change(|books, _| books.retire(slot, EvictReason::Discarded));
        }
    }

    fn slot(&self) -> &Slot<M::Stream> {
        self.slot.as_ref().expect(HELD)
    }
}

const HELD: &str = "a guard holds its stream until it is consumed or dropped";

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
        } else if self.waited.is_some() && self.shared.manager.is_broken(&slot.stream) {
            Some(EvictReason::Broken)
        } else {
            None
        };
        let delivered = self.waited.is_some();
        self.shared.change(|books, now| match (bad, delivered) {
            (Some(why), _) => books.retire(slot, why),
            (None, true) => books.on_returned(slot, now),
            (None, false) => books.on_unused(slot),
        });
    }
}

impl<M: ManageStream> fmt::Debug for PooledStream<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledStream")
            .field("id", &self.slot.as_ref().map(|slot| slot.id))
            .field("waited", &self.waited)
            .field("mid_frame", &self.mid_frame)
            .finish_non_exhaustive()
    }
}
