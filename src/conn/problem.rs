//! Pure: what is wrong with options.
pub(crate) use crate::config::Problems;
pub use crate::config::{ConfigError, Problem};
