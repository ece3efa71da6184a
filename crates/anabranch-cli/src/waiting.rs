//! Says on standard error why there is no connection, and that there is one again.

use anabranch::conn::{ConnectErrorKind, ConnectionState};
use tokio::{sync::watch, task::JoinHandle};

use crate::progress;

/// Reports the states of a connection until it is dropped.
#[derive(Debug)]
pub(crate) struct Reporter(JoinHandle<()>);

impl Reporter {
    /// Begins to report. A command that `goes_on` without a connection also reports failures that waiting does not help;
    /// any other ends with them.
    pub(crate) fn begin(state: watch::Receiver<ConnectionState>, goes_on: bool) -> Self {
        let said = Said {
            goes_on,
            kind: None,
        };
        Self(tokio::spawn(report(state, said)))
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn report(mut state: watch::Receiver<ConnectionState>, mut said: Said) {
    loop {
        let line = said.line(&state.borrow_and_update());
        if let Some(line) = line {
            progress::say(line);
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

/// What was said last.
#[derive(Debug)]
struct Said {
    goes_on: bool,
    /// The kind of failure, until there is a connection again.
    kind: Option<ConnectErrorKind>,
}

impl Said {
    /// Returns the line to say about a state, where it is something new. How it ends for good is the command's to say.
    fn line(&mut self, state: &ConnectionState) -> Option<String> {
        match state {
            ConnectionState::Closed(_) => None,
            ConnectionState::Connected(_) => {
                let was_said = self.kind.take();
                was_said.map(|_| state.to_string())
            }
            _ => {
                let error = state.error()?;
                let is_said = error.is_retryable() || self.goes_on;
                let is_new = is_said && self.kind.replace(error.kind()) != Some(error.kind());
                is_new.then(|| format!("{error}; trying on"))
            }
        }
    }
}
