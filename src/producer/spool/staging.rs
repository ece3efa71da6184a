//! Staging: accepts messages for memory or disk, and moves those that wait when the mode changes.

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
        Fate, Message, Receipt, SendError, SendErrorKind,
        accumulator::{
            Accumulator, Cost, Overflow, PendingMessage, Reservation, Route, Size, Submitted,
            WaiterId,
        },
        receipt::Promise,
        sender::{Request, Requests},
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
    /// The time of the call, in nanoseconds since the producer began.
    at: u64,
    /// The promise of its receipt.
    pub(super) promise: Arc<Promise>,
    /// The flush epoch that it belongs to.
    pub(super) epoch: u64,
}

impl Staged {
    /// Returns the time of the call.
    pub(super) fn called(&self, memory: &Accumulator) -> Instant {
        memory.moment(self.at)
    }
}

/// What the writer takes at a time.
#[derive(Debug)]
pub(super) enum Taken {
    /// Batches that lanes have made, which memory held.
    Batches(Vec<Request>),
    Messages(Vec<Staged>),
}

/// Messages on their way to disk, in the order of the calls.
#[derive(Debug, Default)]
pub(super) struct Staging {
    /// What memory held, which was accepted before all `messages`. It keeps its room in memory until it is on disk.
    batches: VecDeque<Request>,
    messages: VecDeque<Staged>,
    /// The number of messages in the batches that the writer has taken.
    pub(super) writing: usize,
    closed: bool,
}

impl Staging {
    pub(super) fn len(&self) -> usize {
        self.batches.len() + self.messages.len()
    }

    /// Takes batches for a group. Those that do not fit stay.
    fn take_batches(&mut self, mode: &mode::Mode) -> (Vec<Request>, mode::Size) {
        let (mut group, mut so_far) = (Vec::new(), mode::Size::default());
        while let Some(next) = self.batches.front() {
            let len = next.batch.len() as u64;
            let full = so_far.bytes >= GROUP.bytes || so_far.messages >= GROUP.messages;
            if full || !mode.may_write(so_far, len) {
                break;
            }
            so_far.messages += next.messages as u64;
            so_far.bytes += len;
            group.extend(self.batches.pop_front());
        }
        (group, so_far)
    }

    fn accept(&mut self, memory: &Accumulator, pending: PendingMessage) {
        let PendingMessage {
            message,
            route,
            size,
            at,
            receipt,
        } = pending;
        // A caller that no longer waits has given up the receipt, not the message.
        let _ = receipt.send(self.push(memory, message, route, size, at));
    }

    fn push(
        &mut self,
        memory: &Accumulator,
        message: Message,
        route: Route,
        size: Size,
        at: u64,
    ) -> Receipt {
        let promise = Arc::new(Promise::of_one());
        let receipt = Receipt::new(Arc::clone(&promise), 0);
        self.messages.push_back(Staged {
            message,
            route,
            size,
            at,
            promise,
            epoch: memory.epochs().begin(),
        });
        receipt
    }
}

impl Overflow for Spool {
    fn submit(
        &self,
        memory: &Accumulator,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Submitted, SendError> {
        loop {
            let mode = self.mode();
            if !mode.is_memory() {
                return self.stage(memory, message, route, size);
            }
            if !mode.may_begin() || memory.is_closed() {
                return memory.submit_to_memory(message, route, size);
            }
            if memory.try_reserve(size.cost) {
                return memory
                    .accept_reserved(message, route, size)
                    .map(Submitted::Accepted);
            }
            drop(mode);
            self.begin(memory);
        }
    }

    fn try_submit(
        &self,
        memory: &Accumulator,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Receipt, SendError> {
        loop {
            let mode = self.mode();
            if !mode.is_memory() {
                return self.try_stage(memory, message, route, size);
            }
            if !mode.may_begin() || memory.is_closed() {
                return memory.try_submit_to_memory(message, route, size);
            }
            if memory.try_reserve(size.cost) {
                return memory.accept_reserved(message, route, size);
            }
            drop(mode);
            self.begin(memory);
        }
    }

    fn poll_admitted(
        &self,
        memory: &Accumulator,
        waiter: &WaiterId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PendingMessage>> {
        // Held until the end: the mode decides which line the waiter is in.
        let mode = self.mode();
        match mode.waits_in_memory() {
            true => memory.poll_admitted_to_memory(waiter, cx),
            false => self.room.poll_admitted(waiter, cx),
        }
    }

    fn withdraw(&self, memory: &Accumulator, waiter: &WaiterId) -> Option<PendingMessage> {
        let mode = self.mode();
        if mode.waits_in_memory() {
            return memory.withdraw_from_memory(waiter);
        }
        let mut staging = self.staging();
        let withdrawn = self.room.withdraw(waiter);
        self.stage_admitted(memory, &mut staging);
        self.write_notify.notify_one();
        withdrawn
    }

    fn on_released(&self, is_empty: bool) {
        if is_empty {
            self.replay_notify.notify_one();
        }
        // Only during a sweep there is something to do.
        if self
            .requests()
            .is_some_and(|requests| requests.is_sweeping())
        {
            self.sweep_notify.notify_one();
        }
    }

    fn unresolved(&self) -> u64 {
        u64::from(self.room.used().messages) + self.pending_receipts().len() as u64
    }

    fn close(&self) {
        self.staging().closed = true;
        self.room.close();
    }

    fn end(&self, memory: &Accumulator, error: &SendError) -> Vec<Message> {
        Overflow::close(self);
        let (batches, staged): (Vec<_>, Vec<_>) = {
            let mut staging = self.staging();
            let batches = staging.batches.drain(..).collect();
            (batches, staging.messages.drain(..).collect())
        };
        let mut left = Vec::new();
        for batch in batches {
            left.extend(give_up_batch(
                memory,
                batch,
                &error.clone().with_fate(Fate::NotStored),
            ));
        }
        for staged in staged {
            left.push(staged.message.clone());
            self.give_up(memory, staged, error.clone().with_fate(Fate::NotStored));
        }
        self.pending_receipts().close();
        let on_disk = error.clone().with_fate(Fate::Spooled);
        self.fail_receipts(memory, |_| true, &on_disk);
        left
    }
}

impl Spool {
    fn stage(
        &self,
        memory: &Accumulator,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Submitted, SendError> {
        let mut staging = self.staging();
        if staging.closed {
            return Err(memory.reject(SendErrorKind::Closed, message));
        }
        let (pending, receipt) = memory.pending(message, route, size);
        let submitted = match self.room.reserve(size.cost, pending) {
            Reservation::Granted(PendingMessage { message, at, .. }) => {
                let receipt = staging.push(memory, message, route, size, at);
                Ok(Submitted::Accepted(receipt))
            }
            Reservation::Waiting(waiter) => Ok(Submitted::Waiting(waiter, receipt)),
            Reservation::Closed(pending) => {
                Err(memory.reject(SendErrorKind::Closed, pending.message))
            }
        };
        drop(staging);
        self.write_notify.notify_one();
        submitted
    }

    fn try_stage(
        &self,
        memory: &Accumulator,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Receipt, SendError> {
        let mut staging = self.staging();
        if staging.closed {
            return Err(memory.reject(SendErrorKind::Closed, message));
        }
        if !self.room.try_take(size.cost) {
            return Err(memory.reject(SendErrorKind::Full, message));
        }
        let (PendingMessage { message, at, .. }, _) = memory.pending(message, route, size);
        let receipt = staging.push(memory, message, route, size, at);
        drop(staging);
        self.write_notify.notify_one();
        Ok(receipt)
    }

    /// Accepts the waiting messages that staging has room for.
    fn stage_admitted(&self, memory: &Accumulator, staging: &mut Staging) {
        while let Some(mut admitted) = self.room.admit() {
            for pending in admitted.take() {
                staging.accept(memory, pending);
            }
        }
    }

    /// Sends messages to disk from now on, first those that wait for room in memory.
    pub(super) fn begin(&self, memory: &Accumulator) {
        let mut mode = self.mode_mut();
        if !mode.may_begin() {
            return;
        }
        match self.sweeps() {
            true => self.begin_sweep(&mut mode),
            false => mode.begin(),
        }
        tracing::info!("there is no connection: messages go to the spool");
        let mut staging = self.staging();
        memory.transfer_waiters_to(&self.room);
        self.stage_admitted(memory, &mut staging);
        drop(staging);
        drop(mode);
        self.write_notify.notify_one();
        self.publish(|_| {});
    }

    /// Returns whether what memory holds goes to disk now. On a disk that takes no writes it would only wait and expire.
    fn sweeps(&self) -> bool {
        self.requests.get().is_some() && self.state.borrow().last_error.is_none()
    }

    /// Returns what lanes have registered, where memory goes to disk.
    fn requests(&self) -> Option<Arc<Requests>> {
        self.requests.get()?.upgrade()
    }

    fn begin_sweep(&self, mode: &mut mode::Mode) {
        if let Some(requests) = self.requests() {
            requests.begin_sweep();
            mode.begin_sweep();
            self.sweep_notify.notify_one();
        }
    }

    /// Sends what memory holds to disk, with or without a connection. Called when no more messages are accepted.
    pub(super) fn sweep(&self) {
        let mut mode = self.mode_mut();
        if mode.is_memory() && self.sweeps() {
            mode.begin_last_sweep();
            self.begin_sweep(&mut mode);
        }
    }

    /// Adds batches that memory held.
    pub(super) fn stage_batches(&self, batches: Vec<Request>) {
        self.staging().batches.extend(batches);
    }

    /// Returns the number of messages in staged batches and in those that are being written.
    pub(super) fn staged_in_batches(&self) -> usize {
        let staging = self.staging();
        let staged: usize = staging.batches.iter().map(|batch| batch.messages).sum();
        staged + staging.writing
    }

    /// Notes that the connection came or went.
    pub(super) fn on_connection(&self, memory: &Accumulator, connected: bool) {
        self.mode_mut().on_connection(connected);
        // Calls that wait for room in memory would wait until the connection is back.
        if !connected && memory.waiting_calls() > 0 {
            self.begin(memory);
        }
        self.write_notify.notify_one();
        self.replay_notify.notify_one();
        self.publish(|_| {});
    }

    /// Frees the room that messages took in staging.
    pub(super) fn free(&self, memory: &Accumulator, cost: Cost) {
        let mut staging = self.staging();
        if self.room.release(cost) {
            self.stage_admitted(memory, &mut staging);
        }
        drop(staging);
        self.write_notify.notify_one();
    }

    /// Takes the messages to write next. They count as being written until [`Mode::on_written`](mode::Mode::on_written).
    pub(super) fn take_group(&self) -> Option<Taken> {
        let mut mode = self.mode_mut();
        let mut staging = self.staging();
        let (batches, size) = staging.take_batches(&mode);
        if !batches.is_empty() {
            staging.writing = batches.iter().map(|batch| batch.messages).sum();
            mode.on_taken(size.bytes);
            return Some(Taken::Batches(batches));
        }
        // What memory holds goes first.
        if mode.is_sweeping() || !staging.batches.is_empty() {
            return None;
        }
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
        if group.is_empty() {
            return None;
        }
        mode.on_taken(so_far.bytes);
        Some(Taken::Messages(group))
    }

    /// Puts messages that are not on disk back to the front of staging.
    pub(super) fn put_back(&self, group: Taken) {
        let held = self.log.held();
        let mut mode = self.mode_mut();
        let mut staging = self.staging();
        staging.writing = 0;
        match group {
            Taken::Batches(batches) => {
                for batch in batches.into_iter().rev() {
                    staging.batches.push_front(batch);
                }
            }
            Taken::Messages(messages) => {
                for staged in messages.into_iter().rev() {
                    staging.messages.push_front(staged);
                }
            }
        }
        mode.on_written(held);
        drop(staging);
        drop(mode);
        // The replay may be over now, and then they go to memory.
        self.replay_notify.notify_one();
    }

    /// Returns the time of the call of the oldest message on its way to disk.
    pub(super) fn oldest_staged(&self, memory: &Accumulator) -> Option<Instant> {
        let staging = self.staging();
        let batch = staging.batches.iter().map(|batch| batch.at).min();
        batch.or_else(|| staging.messages.front().map(|s| s.called(memory)))
    }

    /// Gives up the messages whose call was at or before `call`, and that are not on disk yet.
    pub(super) fn expire_staged(&self, memory: &Accumulator, call: Instant, error: &SendError) {
        let late: Vec<_> = {
            let mut staging = self.staging();
            let (late, rest) = std::mem::take(&mut staging.batches)
                .into_iter()
                .partition::<Vec<_>, _>(|batch| batch.at <= call);
            staging.batches = rest.into();
            late
        };
        for batch in late {
            drop(give_up_batch(memory, batch, error));
        }
        loop {
            let late = {
                let mut staging = self.staging();
                let is_late = |staged: &Staged| staged.called(memory) <= call;
                staging
                    .messages
                    .front()
                    .is_some_and(is_late)
                    .then(|| staging.messages.pop_front())
                    .flatten()
            };
            let Some(late) = late else { return };
            self.give_up(memory, late, error.clone());
        }
    }

    /// Completes a message that is not on disk with an error.
    pub(super) fn give_up(&self, memory: &Accumulator, staged: Staged, error: SendError) {
        metrics::failed(1, error.kind().as_str());
        staged.promise.failed(error, vec![staged.message]);
        self.free(memory, staged.size.cost);
        memory.epochs().resolved(staged.epoch, 1);
    }

    /// Ends the replay if it is over, and sends messages to memory from now on: first those in staging, then those that
    /// wait for room in staging. Returns whether it ended.
    pub(super) fn try_end(&self, memory: &Accumulator) -> bool {
        let mut mode = self.mode_mut();
        if !mode.is_over() {
            return false;
        }
        let mut staging = self.staging();
        let mut total = Cost::default();
        for staged in &staging.messages {
            total.add(staged.size.cost);
        }
        // Memory is empty, and larger than staging: there is room.
        if total.messages > 0 && !memory.try_reserve(total) {
            return false;
        }
        mode.end();
        tracing::info!("everything in the spool is delivered");
        memory.take_waiters_of(&self.room);
        for Staged {
            message,
            route,
            size,
            at,
            promise,
            epoch,
        } in staging.messages.drain(..)
        {
            // Its caller has the receipt already.
            drop(memory.append(message, route, size, at, Some((promise, epoch))));
        }
        // No call waits for staging any more.
        let _ = self.room.release(total);
        memory.accept_admitted();
        drop(staging);
        drop(mode);
        self.publish(|_| {});
        true
    }

    /// Completes the oldest receipts of messages on disk with an error, while `which` holds for the time of their call.
    pub(super) fn fail_receipts(
        &self,
        memory: &Accumulator,
        which: impl Fn(Instant) -> bool,
        error: &SendError,
    ) {
        loop {
            let oldest = {
                let mut pending = self.pending_receipts();
                let is_next = pending.oldest().is_some_and(&which);
                is_next.then(|| pending.pop()).flatten()
            };
            let Some((promises, epochs)) = oldest else {
                return;
            };
            metrics::failed(promises.len() as u64, error.kind().as_str());
            for slot in promises.into_iter().filter(|slot| slot.index == 0) {
                slot.promise.failed(error.clone(), Vec::new());
            }
            memory.epochs().resolved_each(epochs);
        }
    }
}

/// Completes a batch that is not on disk with an error, and returns its messages.
pub(super) fn give_up_batch(
    memory: &Accumulator,
    batch: Request,
    error: &SendError,
) -> Vec<Message> {
    metrics::failed(batch.messages as u64, error.kind().as_str());
    let messages = batch.to_messages();
    let mut rest = messages.as_slice();
    for part in &batch.parts {
        let (of_part, after) = rest.split_at(part.messages.min(rest.len()));
        part.promise.failed(error.clone(), of_part.to_vec());
        rest = after;
    }
    memory.release(batch.cost, batch.epochs);
    messages
}

/// Returns the topic of a staged message.
pub(super) fn topic_of<'a>(memory: &'a Accumulator, staged: &'a Staged) -> &'a TopicName {
    staged.message.topic().unwrap_or(memory.topic())
}
