//! The far end: an embedded durable broker.

mod accept;
mod auth;
mod commit;
mod config;
mod lane;
mod outgoing;
mod retention;
mod session;
mod shared;
pub mod store;
mod stream;
mod subscription;
mod topics;

use std::fmt;

pub use auth::{Pattern, PatternError, Permissions, TokenFileError, Tokens, TokensError};
pub use config::{Config, ConfigError, Limits, Problem, Retention};

use crate::wire::{Failure, FailureCode};

/// A refusal with its sentence: an error's own line, without its sources.
fn failure(code: FailureCode, detail: impl fmt::Display) -> Failure {
    Failure {
        code,
        detail: detail.to_string(),
    }
}
