//! What the files are made of in which threads meet.
//!
//! `tests/models` compiles those same files with a `sync` of its own, made of [loom](https://docs.rs/loom)'s types, and goes
//! through the ways in which their threads can meet. So they take these from here and nowhere else.

pub(crate) use std::sync::{
    Mutex, MutexGuard, TryLockError,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
};

pub(crate) use crossbeam_queue::{ArrayQueue, SegQueue};
pub(crate) use futures_util::task::AtomicWaker;
