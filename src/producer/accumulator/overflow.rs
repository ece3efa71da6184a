//! Where messages go that memory has no room for, and those that must come after them.

use std::{
    fmt,
    task::{Context, Poll},
};

use super::{
    accept::{Accumulator, PendingMessage, Route, Size, Submitted},
    budget::WaiterId,
};
use crate::producer::{Message, Receipt, SendError};

/// A store beside the memory of an [`Accumulator`], which decides for each message where it goes.
pub(crate) trait Overflow: fmt::Debug + Send + Sync {
    /// Accepts a message, in memory or here, or gives it its place in a line.
    fn submit(
        &self,
        memory: &Accumulator,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Submitted, SendError>;

    /// Accepts a message, in memory or here, if there is room at once.
    fn try_submit(
        &self,
        memory: &Accumulator,
        message: Message,
        route: Route,
        size: Size,
    ) -> Result<Receipt, SendError>;

    /// Ready once a waiting message was admitted, or is given back.
    fn poll_admitted(
        &self,
        memory: &Accumulator,
        waiter: WaiterId,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), PendingMessage>>;

    /// Takes a waiting message out of its line.
    fn withdraw(&self, memory: &Accumulator, waiter: WaiterId) -> Option<PendingMessage>;

    /// Learns that nothing in memory is without an outcome.
    fn on_memory_empty(&self);

    /// Returns how many messages here are without an outcome.
    fn unresolved(&self) -> u64;

    /// Accepts nothing more.
    fn close(&self);

    /// Gives everything without an outcome its last one, and returns the messages that are not kept here.
    fn end(&self, memory: &Accumulator, error: &SendError) -> Vec<Message>;
}
