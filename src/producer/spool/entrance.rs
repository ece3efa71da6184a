//! The way in, and back: which side a message goes to, and what happens to those that wait when that changes.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use super::{Spool, course};
use crate::{
    TopicName,
    metrics::producer as metrics,
    producer::{
        Fate, Message, Receipt, SendError, SendErrorKind, Undelivered,
        budget::{Cost, Entrance, Ticket},
        core::Core,
        intake::{Applicant, Entered, Size, Way},
        receipt::Promise,
    },
};

/// The most bytes and messages of one group commit.
const GROUP: course::Size = course::Size {
    messages: 4096,
    bytes: 1 << 20,
};

/// A message on its way to disk.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) message: Message,
    way: Way,
    pub(super) size: Size,
    /// The call, in nanoseconds since the producer began.
    at: u64,
    /// What its receipt was made of.
    pub(super) promise: Arc<Promise>,
    /// Which flush waits for it.
    pub(super) era: u64,
}

impl Staged {
    /// The moment of the call.
    pub(super) fn called(&self, core: &Core) -> Instant {
        core.moment(self.at)
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

    fn accept(&mut self, core: &Core, applicant: Applicant) {
        let Applicant {
            message,
            way,
            size,
            at,
            receipt,
        } = applicant;
        // Whoever waits no longer has given up the receipt, not the message.
        let _ = receipt.send(self.push(core, message, way, size, at));
    }

    fn push(&mut self, core: &Core, message: Message, way: Way, size: Size, at: u64) -> Receipt {
        let promise = Arc::<Promise>::default();
        let receipt = Receipt::new(Arc::clone(&promise), 0);
        self.messages.push_back(Staged {
            message,
            way,
            size,
            at,
            promise,
            era: core.eras.begin(),
        });
        receipt
    }
}

impl Spool {
    /// Takes a message in, on the side where messages go now, or gives it its place among those that wait for room.
    pub(in crate::producer) fn enter(
        &self,
        core: &Core,
        message: Message,
        way: Way,
        size: Size,
    ) -> Result<Entered, SendError> {
        loop {
            let course = self.course();
            if !course.is_memory() {
                return self.stage(core, message, way, size);
            }
            if !course.may_begin() || core.budget.is_closed() {
                return core.enter_memory(message, way, size);
            }
            if core.budget.try_take(size.cost) {
                return core.admit(message, way, size).map(Entered::Accepted);
            }
            drop(course);
            self.begin(core);
        }
    }

    /// As [`Spool::enter`], and never waits.
    pub(in crate::producer) fn enter_now(
        &self,
        core: &Core,
        message: Message,
        way: Way,
        size: Size,
    ) -> Result<Receipt, SendError> {
        loop {
            let course = self.course();
            if !course.is_memory() {
                return self.stage_now(core, message, way, size);
            }
            if !course.may_begin() || core.budget.is_closed() {
                return core.enter_memory_now(message, way, size);
            }
            if core.budget.try_take(size.cost) {
                return core.admit(message, way, size);
            }
            drop(course);
            self.begin(core);
        }
    }

    fn stage(
        &self,
        core: &Core,
        message: Message,
        way: Way,
        size: Size,
    ) -> Result<Entered, SendError> {
        let mut staging = self.staging();
        if staging.closed {
            return Err(core.reject(SendErrorKind::Closed, message));
        }
        let (applicant, waiting) = core.applicant(message, way, size);
        let entered = match self.room.enter(size.cost, applicant) {
            Entrance::Admitted(Applicant { message, at, .. }) => {
                let receipt = staging.push(core, message, way, size, at);
                Ok(Entered::Accepted(receipt))
            }
            Entrance::Waiting(ticket) => Ok(Entered::Waiting(ticket, waiting)),
            Entrance::Closed(applicant) => {
                Err(core.reject(SendErrorKind::Closed, applicant.message))
            }
        };
        drop(staging);
        self.write_door.notify_one();
        entered
    }

    fn stage_now(
        &self,
        core: &Core,
        message: Message,
        way: Way,
        size: Size,
    ) -> Result<Receipt, SendError> {
        let mut staging = self.staging();
        if staging.closed {
            return Err(core.reject(SendErrorKind::Closed, message));
        }
        if !self.room.try_take(size.cost) {
            return Err(core.reject(SendErrorKind::Full, message));
        }
        let (Applicant { message, at, .. }, _) = core.applicant(message, way, size);
        let receipt = staging.push(core, message, way, size, at);
        drop(staging);
        self.write_door.notify_one();
        Ok(receipt)
    }

    /// Messages go to disk from now on, those first that wait for room in memory.
    fn begin(&self, core: &Core) {
        let mut course = self.steer();
        if !course.may_begin() {
            return;
        }
        course.begin();
        tracing::info!("no connection and no room in memory: messages go to the spool");
        let mut staging = self.staging();
        core.budget.hand_over(&self.room);
        self.room.admit(|applicant| staging.accept(core, applicant));
        drop(staging);
        drop(course);
        self.write_door.notify_one();
        self.tell(|_| {});
    }

    /// The connection came or went.
    pub(super) fn on_link(&self, core: &Core, up: bool) {
        self.steer().on_link(up);
        // Who waits for room in memory would wait for the connection.
        if !up && core.budget.waiting() > 0 {
            self.begin(core);
        }
        self.write_door.notify_one();
        self.drain_door.notify_one();
        self.tell(|_| {});
    }

    /// As [`Core::poll_entered`], on either side.
    pub(crate) fn poll_entered(
        &self,
        core: &Core,
        ticket: Ticket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Applicant>> {
        let course = self.course();
        match course.is_memory() {
            true => core.budget.poll_admitted(ticket, cx),
            false => self.room.poll_admitted(ticket, cx),
        }
    }

    /// As [`Core::leave`], on either side.
    pub(crate) fn leave(&self, core: &Core, ticket: Ticket) -> Option<Applicant> {
        let course = self.course();
        if course.is_memory() {
            return core
                .budget
                .leave(ticket, |admitted| core.admitted(admitted));
        }
        let mut staging = self.staging();
        let left = self
            .room
            .leave(ticket, |applicant| staging.accept(core, applicant));
        self.write_door.notify_one();
        left
    }

    /// Gives back what messages took of staging.
    pub(super) fn free(&self, core: &Core, cost: Cost) {
        let mut staging = self.staging();
        self.room
            .release(cost, |applicant| staging.accept(core, applicant));
        drop(staging);
        self.write_door.notify_one();
    }

    /// Takes what is to be written next. The caller has it in hand until `Course::on_written`.
    pub(super) fn take_group(&self) -> Vec<Staged> {
        let mut course = self.steer();
        let mut staging = self.staging();
        let mut so_far = course::Size::default();
        let mut group = Vec::new();
        while let Some(next) = staging.messages.front() {
            let len = next.size.encoded as u64;
            let full = so_far.bytes >= GROUP.bytes || so_far.messages >= GROUP.messages;
            if full || !course.may_write(so_far, len) {
                break;
            }
            so_far.messages += 1;
            so_far.bytes += len;
            group.extend(staging.messages.pop_front());
        }
        if !group.is_empty() {
            course.on_taken(so_far.bytes);
        }
        group
    }

    /// What was taken is not on disk: it goes back to where it came from.
    pub(super) fn put_back(&self, group: Vec<Staged>) {
        let held = self.log.held();
        let mut course = self.steer();
        let mut staging = self.staging();
        for staged in group.into_iter().rev() {
            staging.messages.push_front(staged);
        }
        course.on_written(held);
        drop(staging);
        drop(course);
        // Where there is a connection again, nothing need go to disk.
        self.drain_door.notify_one();
    }

    /// When the oldest message on its way to disk was called.
    pub(super) fn oldest_staged(&self, core: &Core) -> Option<Instant> {
        self.staging().messages.front().map(|s| s.called(core))
    }

    /// Messages that were called before `call` and have no place on disk yet are not stored.
    pub(super) fn expire_staged(&self, core: &Core, call: Instant, error: &SendError) {
        loop {
            let late = {
                let mut staging = self.staging();
                let is_late = |staged: &Staged| staged.called(core) <= call;
                staging
                    .messages
                    .front()
                    .is_some_and(is_late)
                    .then(|| staging.messages.pop_front())
                    .flatten()
            };
            let Some(late) = late else { return };
            self.give_up(core, late, error.clone());
        }
    }

    /// A message that has no place on disk is not stored.
    pub(super) fn give_up(&self, core: &Core, staged: Staged, error: SendError) {
        metrics::failed(1, error.kind());
        staged.promise.failed(error, vec![staged.message]);
        self.free(core, staged.size.cost);
        core.eras.resolved(staged.era, 1);
    }

    /// Where everything on disk is answered, messages go the usual way from now on: those first that are on their way to
    /// disk, then those that wait for room there. True where that is so.
    pub(super) fn try_end(&self, core: &Core) -> bool {
        let mut course = self.steer();
        if !course.is_over() {
            return false;
        }
        let mut staging = self.staging();
        let mut total = Cost::default();
        for staged in &staging.messages {
            total.add(staged.size.cost);
        }
        // Memory is whole, and larger than staging: there is room.
        if total.messages > 0 && !core.budget.try_take(total) {
            return false;
        }
        course.end();
        tracing::info!("everything in the spool is delivered");
        self.room.hand_over(&core.budget);
        for Staged {
            message,
            way,
            size,
            at,
            promise,
            era,
        } in staging.messages.drain(..)
        {
            // It has its receipt already.
            drop(core.accept_as(&message, way, size, at, Some((promise, era))));
        }
        // Nobody waits there any more.
        self.room.release(total, |_| ());
        core.budget.admit(|admitted| core.admitted(admitted));
        drop(staging);
        drop(course);
        self.tell(|_| {});
        true
    }

    /// Nobody enters any more; those who wait for room get their messages back.
    pub(crate) fn close_entrance(&self) {
        self.staging().closed = true;
        self.room.close();
    }

    /// The producer ends: what is on its way to disk is handed back, and receipts of what is there are told so.
    pub(crate) fn end(&self, core: &Core, error: &SendError) -> Vec<Undelivered> {
        self.close_entrance();
        let staged: Vec<_> = self.staging().messages.drain(..).collect();
        let mut left = Vec::new();
        for staged in staged {
            left.push(Undelivered {
                message: staged.message.clone(),
                fate: Fate::NotStored,
            });
            self.give_up(core, staged, error.clone().with_fate(Fate::NotStored));
        }
        self.waiting().close();
        let on_disk = error.clone().with_fate(Fate::Spooled);
        self.tell_waiting(core, |_| true, &on_disk);
        left
    }

    /// Tells the oldest receipts that wait, for as long as `which` says so of their call.
    pub(super) fn tell_waiting(
        &self,
        core: &Core,
        which: impl Fn(Instant) -> bool,
        error: &SendError,
    ) {
        loop {
            let told = {
                let mut waiting = self.waiting();
                let is_next = waiting.oldest().is_some_and(&which);
                is_next.then(|| waiting.pop()).flatten()
            };
            let Some((promises, eras)) = told else { return };
            metrics::failed(promises.len() as u64, error.kind());
            for promise in promises {
                promise.failed(error.clone(), Vec::new());
            }
            resolve(core, eras);
        }
    }
}

/// Where a message goes.
pub(super) fn topic_of<'a>(core: &'a Core, staged: &'a Staged) -> &'a TopicName {
    staged.message.topic.as_ref().unwrap_or(&core.topic)
}

/// Flushes need not wait for these any more.
pub(super) fn resolve(core: &Core, eras: [u64; 2]) {
    for (era, messages) in (0..).zip(eras) {
        if messages > 0 {
            core.eras.resolved(era, messages);
        }
    }
}
