//! A handle of one direction of the network, to observe it and to change it.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    config::{ConfigError, LinkConfig},
    counters::Counters,
    link::{Change, LinkId},
    shared::Shared,
    tasks, time,
};

/// One direction of the network, from [`Network::connect`](crate::Network::connect) or
/// [`Network::direction`](crate::Network::direction).
///
/// Clones are handles of the same direction. Dropping them does not remove it.
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
    pub(crate) fn new(shared: Arc<Shared>, link: LinkId) -> Self {
        Self { shared, link }
    }

    pub(crate) fn id(&self) -> LinkId {
        self.link
    }

    /// Returns the present configuration.
    #[must_use]
    pub fn config(&self) -> LinkConfig {
        self.shared.state().link(self.link).config().clone()
    }

    /// Returns the counters as of now.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let now = time::now();
        let mut state = self.shared.state();
        let link = state.link(self.link);
        link.on_time(now);
        *link.counters()
    }

    /// Changes the direction now.
    ///
    /// # Errors
    ///
    /// If the change is invalid; then nothing changes.
    pub fn apply(&self, change: &Change) -> Result<(), ConfigError> {
        self.shared.change(self.link, change)
    }

    /// Schedules changes, each at a time after this call. All changes are checked at once. Those with the same time are
    /// applied in the given order.
    ///
    /// ```
    /// use std::time::Duration;
    /// use quinn_simnet::{Change, LinkConfig, Rate};
    ///
    /// quinn_simnet::run(7, async |net| {
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
    /// If one of the changes is invalid; then none is scheduled.
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
        tasks::spawn(async move {
            for (after, change) in changes {
                this.shared.clock().sleep_until(start + after).await;
                this.shared.change_checked(this.link, &change);
            }
        });
        Ok(())
    }

    /// Drops every packet that is sent from now on. Packets in flight still arrive.
    pub fn cut(&self) {
        self.shared.change_checked(self.link, &Change::Cut);
    }

    /// Ends a cut.
    pub fn restore(&self) {
        self.shared.change_checked(self.link, &Change::Restore);
    }

    /// Loses the next `packets` packets, whatever the configured loss.
    pub fn lose_next(&self, packets: u64) {
        self.shared
            .change_checked(self.link, &Change::LoseNext(packets));
    }
}
