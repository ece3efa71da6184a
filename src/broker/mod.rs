//! The far end: an embedded durable broker.

mod accept;
mod auth;
mod builder;
mod commit;
mod config;
mod lane;
mod outgoing;
mod retention;
mod running;
mod session;
mod shared;
pub mod store;
mod stream;
mod subscription;
#[cfg(test)]
pub(crate) mod tests;
mod topics;

use std::fmt;

pub use auth::{Pattern, PatternError, Permissions, TokenFileError, Tokens, TokensError};
pub use builder::{Builder, StartError};
pub use config::{Config, DEFAULT_PORT, Limits, Retention};
pub use running::{Broker, Handle, ServeError, ShutdownError};

use crate::{
    metrics::broker as metrics,
    wire::{Failure, FailureCode},
};

/// A refusal with its sentence: an error's own line, without its sources. Counted.
fn failure(code: FailureCode, detail: impl fmt::Display) -> Failure {
    metrics::refused(code);
    Failure {
        code,
        detail: detail.to_string(),
    }
}
