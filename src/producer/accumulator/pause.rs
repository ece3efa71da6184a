//! Places within a call at which a test can stop the thread that makes it.

use std::{
    cell::RefCell,
    sync::mpsc::{Receiver, SyncSender},
};

/// A place within a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    /// There is room for the message, and it is not counted yet.
    NotCounted,
    /// The message is in the open chunk, which is out of its place.
    ChunkOut,
    /// The message is counted, and not in its ordered queue yet.
    NotQueued,
    /// The message is in its queue, and no lane is woken for it yet.
    NobodyWoken,
}

/// How a thread is stopped.
struct Stop {
    at: Point,
    stopped: SyncSender<()>,
    go_on: Receiver<()>,
}

thread_local! {
    static STOP: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

/// Makes this thread stop the first time that it comes to a place: it tells so, and waits until it may go on.
pub(crate) fn stop_this_thread(at: Point, stopped: SyncSender<()>, go_on: Receiver<()>) {
    STOP.set(Some(Stop { at, stopped, go_on }));
}

/// Stops this thread, if it is to be stopped here.
pub(super) fn at(point: Point) {
    let stop = STOP.with_borrow_mut(|stop| stop.take_if(|stop| stop.at == point));
    if let Some(stop) = stop {
        stop.stopped.send(()).unwrap();
        stop.go_on.recv().unwrap();
    }
}
