//! Pure: what a policy gets to see.

use std::time::{Duration, Instant};

/// One look at the producer: its queue, its lanes, its answers and its network.
///
/// The producer fills it afresh for every call of [`decide`](super::ScalePolicy::decide). Values that grow
/// (`acked_bytes`, `packets_sent`, `packets_lost`, `congestion_events`) are totals, so that a policy can
/// measure any stretch of time it likes; a packet total that has become smaller means a new connection.
///
/// [`Adaptive`](super::Adaptive) does without `lanes_idle` and `ack_p99`; they are here for other policies.
///
/// A policy's own test starts from the default, in which nothing is queued, open or measured:
///
/// ```
/// use anabranch::scaler::Load;
///
/// let mut load = Load::default();
/// load.lanes = 2;
/// load.queued_messages = 500;
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Load {
    /// Messages that no lane has taken yet.
    pub queued_messages: usize,
    /// Their bytes.
    pub queued_bytes: u64,
    /// How long the first of them has waited; zero while the queue is empty.
    pub oldest_wait: Duration,

    /// Lanes that take batches: open, probed, and not being retired.
    pub lanes: usize,
    /// Lanes that were asked for and are not ready yet, counted from the decision that asked. One whose
    /// opening fails leaves this count.
    pub lanes_opening: usize,
    /// Lanes that another batch would wait on: the window is full, the lane is stalled, its answers take more than twice
    /// a [`round`](Self::round), or the stream's flow control blocks. A lane that only waits for its turn at the shared congestion window
    /// is not busy: another lane would wait for the same turn.
    pub lanes_busy: usize,
    /// Lanes with nothing unanswered.
    pub lanes_idle: usize,
    /// Messages taken by lanes and not answered yet.
    pub in_flight_messages: usize,
    /// Their bytes.
    pub in_flight_bytes: u64,
    /// Bytes that one lane may have unanswered before it takes nothing more.
    pub lane_window: u64,
    /// How many more streams the peer permits at this moment.
    pub peer_streams_left: usize,

    /// Bytes answered since the producer began.
    pub acked_bytes: u64,
    /// When the last answer came; `None` before the first.
    pub acked_at: Option<Instant>,
    /// Bytes answered per second over the last two rounds or so; `None` before the first answer.
    pub ack_rate: Option<f64>,
    /// The mean time from a batch's sending to its answer, recent ones weighing more; `None` before the first answer.
    pub ack_mean: Option<Duration>,
    /// The 99th percentile of the time from a batch's sending to its answer; `None` without recent answers.
    pub ack_p99: Option<Duration>,
    /// How long the broker held recent batches on average: the time to the answer without the network's share.
    pub broker_hold: Option<Duration>,

    /// The smoothed round trip time of the connection.
    pub rtt: Duration,
    /// The least round trip time seen.
    pub min_rtt: Duration,
    /// The congestion window in bytes, shared by all lanes.
    pub cwnd: u64,
    /// Bytes in one packet at most.
    pub mtu: u64,
    /// Bytes that QUIC has sent and the peer has not acknowledged.
    pub bytes_in_flight: u64,
    /// QUIC had nothing left to send when it last could: the window above is an old one, never filled since.
    pub app_limited: bool,
    /// A lane waits for QUIC to take what it has: the send window is full, which follows the congestion window. It may be so
    /// with less than that window in flight, for what came and lies behind a lost packet counts until that has come too.
    pub send_blocked: bool,
    /// Packets sent on this connection.
    pub packets_sent: u64,
    /// Packets of it that were declared lost.
    pub packets_lost: u64,
    /// How often the congestion controller was told of a loss.
    pub congestion_events: u64,
}

impl Load {
    /// Lanes that are open or on their way.
    #[must_use]
    pub fn total_lanes(&self) -> usize {
        self.lanes.saturating_add(self.lanes_opening)
    }

    /// Nothing is queued and nothing is unanswered.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.queued_messages == 0 && self.in_flight_messages == 0 && self.in_flight_bytes == 0
    }

    /// The time from giving a lane work to seeing the answer: a round trip and the broker's hold.
    ///
    /// An answer that arrives now speaks for what the lanes did one round ago. At least 5 ms, so that on a
    /// local network a round still holds several answers and several looks, and at most an hour.
    #[must_use]
    pub fn round(&self) -> Duration {
        const LEAST: Duration = Duration::from_millis(5);
        const MOST: Duration = Duration::from_secs(3600);
        self.rtt
            .saturating_add(self.broker_hold.unwrap_or_default())
            .clamp(LEAST, MOST)
    }
}
