//! Sans-I/O: what a policy sees of the producer.

use std::time::{Duration, Instant};

/// A snapshot of the producer: its queue, its lanes, its answers and its network.
///
/// The producer makes one for every call of [`decide`](super::ScalePolicy::decide). `acked_bytes`, `packets_sent`,
/// `packets_lost` and `congestion_events` are totals, so that a policy can measure over any time. A packet total that has
/// become smaller means a new connection.
///
/// [`Adaptive`](super::Adaptive) does not use `lanes_idle` and `ack_p99`; they are for other policies.
///
/// Tests of a policy start from the default, in which nothing is queued, open or measured:
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
    /// Bytes of the messages that no lane has taken yet.
    pub queued_bytes: u64,
    /// How long the first queued message has waited. Zero while the queue is empty.
    pub oldest_wait: Duration,

    /// Lanes that take batches: open, probed, and not being retired.
    pub lanes: usize,
    /// Lanes that a decision asked for and that are not ready yet. One that fails to open leaves this count.
    pub lanes_opening: usize,
    /// Lanes on which another batch would wait: the window is full, the lane makes no progress, its answers take more than twice a
    /// [`round`](Self::round), or the stream's flow control blocks. A lane that only waits for the shared congestion window is
    /// not busy, because another lane would wait as well.
    pub lanes_busy: usize,
    /// Lanes with nothing unanswered.
    pub lanes_idle: usize,
    /// Messages taken by lanes and not answered yet.
    pub in_flight_messages: usize,
    /// Bytes of the messages taken by lanes and not answered yet.
    pub in_flight_bytes: u64,
    /// The most bytes that one lane may have unanswered.
    pub lane_window: u64,
    /// How many more streams the peer permits at this moment.
    pub peer_streams_left: usize,

    /// Bytes answered since the producer began.
    pub acked_bytes: u64,
    /// When the last answer came; `None` before the first.
    pub acked_at: Option<Instant>,
    /// Bytes answered per second, over about the last two rounds. `None` before the first answer.
    pub ack_rate: Option<f64>,
    /// Mean time from sending a batch to its answer, recent ones weighing more. `None` before the first answer.
    pub ack_mean: Option<Duration>,
    /// 99th percentile of the time from sending a batch to its answer. `None` without recent answers.
    pub ack_p99: Option<Duration>,
    /// Mean time for which the broker held recent batches: the time to the answer without the network's share. `None` before the
    /// first answer.
    pub broker_hold: Option<Duration>,

    /// The smoothed round trip time of the connection.
    pub rtt: Duration,
    /// The least round trip time of the connection.
    pub min_rtt: Duration,
    /// The congestion window in bytes, shared by all lanes.
    pub cwnd: u64,
    /// The most bytes in one packet.
    pub mtu: u64,
    /// Bytes that QUIC has sent and the peer has not acknowledged.
    pub bytes_in_flight: u64,
    /// Whether QUIC had nothing left to send when it last could. Then `cwnd` was not filled since.
    pub app_limited: bool,
    /// Whether a lane waits for QUIC to take its bytes, because the send window is full. That window follows `cwnd`. It may be full
    /// with less than `cwnd` in flight: bytes behind a lost packet count in it until that packet has arrived.
    pub send_blocked: bool,
    /// Packets sent on this connection.
    pub packets_sent: u64,
    /// Packets of this connection that were declared lost.
    pub packets_lost: u64,
    /// How often the congestion controller reacted to a loss on this connection.
    pub congestion_events: u64,
}

impl Load {
    /// Returns the number of lanes that are open or opening.
    #[must_use]
    pub fn total_lanes(&self) -> usize {
        self.lanes.saturating_add(self.lanes_opening)
    }

    /// Whether nothing is queued and nothing is unanswered.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.queued_messages == 0 && self.in_flight_messages == 0 && self.in_flight_bytes == 0
    }

    /// Returns the time from giving a lane work to its answer: a round trip and the broker's hold.
    ///
    /// An answer that arrives now tells what the lanes did one round ago. At least 5 ms, so that on a local network a round has
    /// several answers and several calls of the policy; at most an hour.
    #[must_use]
    pub fn round(&self) -> Duration {
        const MIN: Duration = Duration::from_millis(5);
        const MAX: Duration = Duration::from_secs(3600);
        self.rtt
            .saturating_add(self.broker_hold.unwrap_or_default())
            .clamp(MIN, MAX)
    }
}
