//! One direction of the network, in your hand: to read it, to change it, to cut it.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    config::{ConfigError, LinkConfig},
    counters::Counters,
    link::Change,
    network::Shared,
};
use crate::time;

/// The place of a link in its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LinkId(pub(super) usize);

/// One direction of the network. From [`Network::connect`](super::Network::connect) or
/// [`Network::direction`](super::Network::direction); clones are the same direction, and dropping them all
/// changes nothing about it.
#[derive(Clone)]
pub struct Direction {
    shared: Arc<Shared>,
    link: LinkId,
}

impl fmt::Debug for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direction")
            .field("config", &self.config())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

impl Direction {
    pub(super) fn new(shared: Arc<Shared>, link: LinkId) -> Self {
        Self { shared, link }
    }

    pub(super) fn id(&self) -> LinkId {
        self.link
    }

    /// What the direction is like now.
    #[must_use]
    pub fn config(&self) -> LinkConfig {
        self.shared.state().link(self.link).config().clone()
    }

    /// What the direction has seen up to now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let now = time::now();
        let mut state = self.shared.state();
        let link = state.link(self.link);
        link.on_time(now);
        *link.counters()
    }

    /// Changes the direction, now.
    ///
    /// # Errors
    ///
    /// If it cannot be changed so; then nothing has changed.
    pub fn apply(&self, change: &Change) -> Result<(), ConfigError> {
        self.shared.change(self.link, change)
    }

    /// Changes the direction time and again: each change comes so long after this call. The changes are checked
    /// before the first one, and those of the same moment come in the order given.
    ///
    /// ```
    /// use std::time::Duration;
    /// use quinn_simnet::{self as sim, Change, LinkConfig, Rate};
    ///
    /// sim::run(7, async |net| {
    ///     let (a, b) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    ///     let (there, _back) = net.connect(a, b, LinkConfig::broadband()).unwrap();
    ///     there
    ///         .schedule([
    ///             (Duration::from_secs(5), Change::Rate(Some(Rate::mbit(10)))),
    ///             (Duration::from_secs(9), Change::Rate(Some(Rate::mbit(100)))),
    ///         ])
    ///         .unwrap();
    ///     net.sleep(Duration::from_secs(6)).await;
    ///     assert_eq!(there.config().rate, Some(Rate::mbit(10)));
    /// });
    /// ```
    ///
    /// # Errors
    ///
    /// If one of the changes cannot be; then none will come.
    pub fn schedule(
        &self,
        changes: impl IntoIterator<Item = (Duration, Change)>,
    ) -> Result<(), ConfigError> {
        let start = time::now();
        let mut changes: Vec<_> = changes.into_iter().collect();
        for (_, change) in &changes {
            change.check()?;
        }
        changes.sort_by_key(|(after, _)| *after);
        let this = self.clone();
        self.shared.runtime().start(async move {
            for (after, change) in changes {
                this.shared.clock().sleep_until(start + after).await;
                if let Err(error) = this.apply(&change) {
                    tracing::warn!(%error, "a change that was checked is refused");
                }
            }
        });
        Ok(())
    }

    /// Drops everything that is sent from now on. What was sent before still arrives.
    pub fn cut(&self) {
        self.shared.change_freely(self.link, &Change::Cut);
    }

    /// The end of a cut.
    pub fn restore(&self) {
        self.shared.change_freely(self.link, &Change::Restore);
    }

    /// Loses the next so many packets, whatever the dice say.
    pub fn lose_next(&self, packets: u64) {
        self.shared
            .change_freely(self.link, &Change::LoseNext(packets));
    }
}
