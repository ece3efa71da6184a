//! What the files that park and wake are made of.
//!
//! `tests/models` compiles those same files with a `sync` of its own, made of [loom](https://docs.rs/loom)'s types, and goes
//! through the ways in which their threads can meet. So they take these from here and nowhere else.

pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
};

pub(crate) use tokio::sync::Notify;
