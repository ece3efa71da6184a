//! What everything that sends shares.

use std::sync::Arc;

use super::{requests::Requests, run_size::RunSize, transport::Transport};
use crate::producer::{Config, accumulator::Accumulator};

/// What the lanes of one producer share. A clone refers to the same things.
#[derive(Debug, Clone)]
pub(crate) struct LaneContext {
    pub(crate) config: Arc<Config>,
    pub(crate) accumulator: Arc<Accumulator>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) run_size: Arc<RunSize>,
    pub(crate) transport: Transport,
}

impl LaneContext {
    pub(crate) fn new(
        config: Arc<Config>,
        accumulator: Arc<Accumulator>,
        transport: Transport,
    ) -> Self {
        let run_size = RunSize::new(&config);
        accumulator.set_chunk_bytes(run_size.first().chunk);
        Self {
            requests: Arc::new(Requests::new(Arc::clone(&accumulator))),
            run_size: Arc::new(run_size),
            config,
            accumulator,
            transport,
        }
    }
}
