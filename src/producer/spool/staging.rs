//! The way in, and back: which side a message goes to, and what happens to those that wait when that changes.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use super::{Spool, mode};
use crate::{
    TopicName,
    metrics::producer as metrics,
    producer::{
        Fate, Message, Receipt, SendError, SendErrorKind, Undelivered,
        accumulator::accept::{PendingMessage, Route, Size, Submitted},
        accumulator::budget::{Cost, Reservation, WaiterId},
        receipt::Promise,
        shared::Shared,
    },
};

/// The most bytes and messages of one group commit.
const GROUP: mode::Size = mode::Size {
    messages: 4096,
    bytes: 1 << 20,
};

/// A message on its way to disk.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) message: Message,
    route: Route,
    pub(super) size: Size,
    /// The call, in nanoseconds since the producer began.
    at: u64,
    /// What its receipt was made of.
    pub(super) promise: Arc<Promise>,
    /// Which flush waits for it.
    pub(super) epoch: u64,
}

impl Staged {
    /// The moment of the call.
    pub(super) fn called(&self, shared: &Shared) -> Instant {
        shared.moment(self.at)
    }
}

/// Messages on their way to disk, in the order of the calls.
#[derive(Debug, Default)]
pub(super) struct Staging {
    messages: VecDeque<Staged>,
    closed: bool,
}

impl Staging {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    fn accept(&mut self, shared: &Shared, pending: PendingMessage) {
        let PendingMessage {
            message,
            route,
            size,
            at,
            receipt,
        } = pending;
        // Whoever waits no longer has given up the receipt, not the message.
        let _ = receipt.send(self.push(shared, message, route, size, at));
    }

    fn push(
        &mut self,
        shared: &Shared,
        message: Message,
        route: Route,
        size: Size,
        at: u64,
    ) -> Receipt {
        let promise = Arc::<Promise>::default();
        let receipt = Receipt::new(Arc::clone(&promise), 0);
        self.messages.push_back(Staged {
            message,
            route,
            size,
            at,
            promise,
            epoch: shared.epochs.begin(),
        });
        receipt
    }
}

impl Spool {
    /// Take a message in, on the side where messages go now, or gives it its place among those that wait for room.
    pub(in crate::producer) fn enter(
        &self,
        shared: &Shared,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Submitted, SendError> {
        loop {
            let mode = self.mode();
            if !mode.is_memory() {
                return self.stage(shared, message, route, size);
            }
            if !mode.may_begin() || shared.budget.is_closed() {
                return shared.enter_memory(message, route, size);
            }
            if shared.budget.try_take(size.cost) {
                return shared.admit(message, route, size).map(Submitted::Accepted);
            }
            drop(mode);
            self.begin(shared);
        }
    }

    /// As [`Spool::enter`], and never waits.
    pub(in crate::producer) fn enter_now(
        &self,
        shared: &Shared,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Receipt, SendError> {
        loop {
            let mode = self.mode();
            if !mode.is_memory() {
                return self.stage_now(shared, message, route, size);
            }
            if !mode.may_begin() || shared.budget.is_closed() {
                return shared.enter_memory_now(message, route, size);
            }
            if shared.budget.try_take(size.cost) {
                return shared.admit(message, route, size);
            }
            drop(mode);
            self.begin(shared);
        }
    }

    fn stage(
        &self,
        shared: &Shared,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Submitted, SendError> {
        let mut staging = self.staging();
        if staging.closed {
            return Err(shared.reject(SendErrorKind::Closed, message));
        }
        let (pending, waiting) = shared.pending(message, route, size);
        let entered = match self.room.enter(size.cost, pending) {
            Reservation::Admitted(PendingMessage { message, at, .. }) => {
                let receipt = staging.push(shared, message, route, size, at);
                Ok(Submitted::Accepted(receipt))
            }
            Reservation::Waiting(waiter) => Ok(Submitted::Waiting(waiter, waiting)),
            Reservation::Closed(pending) => {
                Err(shared.reject(SendErrorKind::Closed, pending.message))
            }
        };
        drop(staging);
        self.write_notify.notify_one();
        entered
    }

    fn stage_now(
        &self,
        shared: &Shared,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Receipt, SendError> {
        let mut staging = self.staging();
        if staging.closed {
            return Err(shared.reject(SendErrorKind::Closed, message));
        }
        if !self.room.try_take(size.cost) {
            return Err(shared.reject(SendErrorKind::Full, message));
        }
        let (PendingMessage { message, at, .. }, _) = shared.pending(message, route, size);
        let receipt = staging.push(shared, message, route, size, at);
        drop(staging);
        self.write_notify.notify_one();
        Ok(receipt)
    }

    /// Messages go to disk from now on, those first that wait for room in memory.
    fn begin(&self, shared: &Shared) {
        let mut mode = self.mode_mut();
        if !mode.may_begin() {
            return;
        }
        mode.begin();
        tracing::info!("no connection and no room in memory: messages go to the spool");
        let mut staging = self.staging();
        shared.budget.transfer_waiters(&self.room);
        self.room.admit(|pending| staging.accept(shared, pending));
        drop(staging);
        drop(mode);
        self.write_notify.notify_one();
        self.tell(|_| {});
    }

    /// The connection came or went.
    pub(super) fn on_link(&self, shared: &Shared, up: bool) {
        self.mode_mut().on_link(up);
        // Who waits for room in memory would wait for the connection.
        if !up && shared.budget.waiting() > 0 {
            self.begin(shared);
        }
        self.write_notify.notify_one();
        self.replay_notify.notify_one();
        self.tell(|_| {});
    }

    /// As [`Shared::poll_entered`], on either side.
    pub(crate) fn poll_entered(
        &self,
        shared: &Shared,
        waiter: WaiterId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PendingMessage>> {
        let mode = self.mode();
        match mode.is_memory() {
            true => shared.budget.poll_admitted(waiter, cx),
            false => self.room.poll_admitted(waiter, cx),
        }
    }

    /// As [`Shared::leave`], on either side.
    pub(crate) fn leave(&self, shared: &Shared, waiter: WaiterId) -> Option<PendingMessage> {
        let mode = self.mode();
        if mode.is_memory() {
            return shared
                .budget
                .leave(waiter, |admitted| shared.admitted(admitted));
        }
        let mut staging = self.staging();
        let left = self
            .room
            .leave(waiter, |pending| staging.accept(shared, pending));
        self.write_notify.notify_one();
        left
    }

    /// Gives back what messages took of staging.
    pub(super) fn free(&self, shared: &Shared, cost: Cost) {
        let mut staging = self.staging();
        self.room
            .release(cost, |pending| staging.accept(shared, pending));
        drop(staging);
        self.write_notify.notify_one();
    }

    /// Take what is to be written next. The caller has it in hand until `Course::on_written`.
    pub(super) fn take_group(&self) -> Vec<Staged> {
        let mut mode = self.mode_mut();
        let mut staging = self.staging();
        let mut so_far = mode::Size::default();
        let mut group = Vec::new();
        while let Some(next) = staging.messages.front() {
            let len = next.size.encoded as u64;
            let full = so_far.bytes >= GROUP.bytes || so_far.messages >= GROUP.messages;
            if full || !mode.may_write(so_far, len) {
                break;
            }
            so_far.messages += 1;
            so_far.bytes += len;
            group.extend(staging.messages.pop_front());
        }
        if !group.is_empty() {
            mode.on_taken(so_far.bytes);
        }
        group
    }

    /// What was taken is not on disk: it goes back to where it came from.
    pub(super) fn put_back(&self, group: Vec<Staged>) {
        let held = self.log.held();
        let mut mode = self.mode_mut();
        let mut staging = self.staging();
        for staged in group.into_iter().rev() {
            staging.messages.push_front(staged);
        }
        mode.on_written(held);
        drop(staging);
        drop(mode);
        // Where there is a connection again, nothing need go to disk.
        self.replay_notify.notify_one();
    }

    /// When the oldest message on its way to disk was called.
    pub(super) fn oldest_staged(&self, shared: &Shared) -> Option<Instant> {
        self.staging().messages.front().map(|s| s.called(shared))
    }

    /// Messages that were called before `call` and have no place on disk yet are not stored.
    pub(super) fn expire_staged(&self, shared: &Shared, call: Instant, error: &SendError) {
        loop {
            let late = {
                let mut staging = self.staging();
                let is_late = |staged: &Staged| staged.called(shared) <= call;
                staging
                    .messages
                    .front()
                    .is_some_and(is_late)
                    .then(|| staging.messages.pop_front())
                    .flatten()
            };
            let Some(late) = late else { return };
            self.give_up(shared, late, error.clone());
        }
    }

    /// A message that has no place on disk is not stored.
    pub(super) fn give_up(&self, shared: &Shared, staged: Staged, error: SendError) {
        metrics::failed(1, error.kind().as_str());
        staged.promise.failed(error, vec![staged.message]);
        self.free(shared, staged.size.cost);
        shared.epochs.resolved(staged.epoch, 1);
    }

    /// Where everything on disk is answered, messages go the usual way from now on: those first that are on their way to
    /// disk, then those that wait for room there. True where that is so.
    pub(super) fn try_end(&self, shared: &Shared) -> bool {
        let mut mode = self.mode_mut();
        if !mode.is_over() {
            return false;
        }
        let mut staging = self.staging();
        let mut total = Cost::default();
        for staged in &staging.messages {
            total.add(staged.size.cost);
        }
        // Memory is whole, and larger than staging: there is room.
        if total.messages > 0 && !shared.budget.try_take(total) {
            return false;
        }
        mode.end();
        tracing::info!("everything in the spool is delivered");
        self.room.transfer_waiters(&shared.budget);
        for Staged {
            message,
            route,
            size,
            at,
            promise,
            epoch,
        } in staging.messages.drain(..)
        {
            // It has its receipt already.
            drop(shared.accept_as(&message, route, size, at, Some((promise, epoch))));
        }
        // Nobody waits there any more.
        self.room.release(total, |_| ());
        shared.budget.admit(|admitted| shared.admitted(admitted));
        drop(staging);
        drop(mode);
        self.tell(|_| {});
        true
    }

    /// Nobody enters any more; those who wait for room get their messages back.
    pub(crate) fn close_entrance(&self) {
        self.staging().closed = true;
        self.room.close();
    }

    /// The producer ends: what is on its way to disk is handed back, and receipts of what is there are told so.
    pub(crate) fn end(&self, shared: &Shared, error: &SendError) -> Vec<Undelivered> {
        self.close_entrance();
        let staged: Vec<_> = self.staging().messages.drain(..).collect();
        let mut left = Vec::new();
        for staged in staged {
            left.push(Undelivered {
                message: staged.message.clone(),
                fate: Fate::NotStored,
            });
            self.give_up(shared, staged, error.clone().with_fate(Fate::NotStored));
        }
        self.waiting().close();
        let on_disk = error.clone().with_fate(Fate::Spooled);
        self.tell_waiting(shared, |_| true, &on_disk);
        left
    }

    /// Tells the oldest receipts that wait, for as long as `which` says so of their call.
    pub(super) fn tell_waiting(
        &self,
        shared: &Shared,
        which: impl Fn(Instant) -> bool,
        error: &SendError,
    ) {
        loop {
            let told = {
                let mut waiting = self.waiting();
                let is_next = waiting.oldest().is_some_and(&which);
                is_next.then(|| waiting.pop()).flatten()
            };
            let Some((promises, epochs)) = told else {
                return;
            };
            metrics::failed(promises.len() as u64, error.kind().as_str());
            for promise in promises {
                promise.failed(error.clone(), Vec::new());
            }
            resolve(shared, epochs);
        }
    }
}

/// Where a message goes.
pub(super) fn topic_of<'a>(shared: &'a Shared, staged: &'a Staged) -> &'a TopicName {
    staged.message.topic().unwrap_or(&shared.topic)
}

/// Flushes need not wait for these any more.
pub(super) fn resolve(shared: &Shared, epochs: [u64; 2]) {
    for (epoch, messages) in (0..).zip(epochs) {
        if messages > 0 {
            shared.epochs.resolved(epoch, messages);
        }
    }
}
