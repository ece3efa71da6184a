//! What the library's `sync` is, made of loom's types.

use std::task::{Context, Poll, Waker};

pub use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence},
};

/// As tokio's, for one who waits at a time: a permit that is kept.
#[derive(Debug)]
pub struct Notify(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    permit: bool,
    waiting: Option<Waker>,
}

impl Notify {
    pub fn new() -> Self {
        Self(Mutex::new(State::default()))
    }

    pub fn notify_one(&self) {
        let waiting = {
            let mut state = self.0.lock().unwrap();
            state.permit = true;
            state.waiting.take()
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    pub async fn notified(&self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.lock().unwrap();
        if std::mem::take(&mut state.permit) {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }
}
