//! Pure: what was delivered, how fast, and what was in flight meanwhile.
//!
//! The estimator of [draft-cheng-iccrg-delivery-rate-estimation]: whoever sends a packet notes what had been delivered
//! until then; when it is acknowledged, the difference over the time is a sample of the delivered rate. quinn names
//! packets to a controller by the moment at which they were sent, so the notes are kept by moment, and packets sent
//! within a two-hundredth of a round trip share one.
//!
//! [draft-cheng-iccrg-delivery-rate-estimation]: https://datatracker.ietf.org/doc/html/draft-cheng-iccrg-delivery-rate-estimation

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Notes for each round trip: finer ones cost memory and say nothing more.
const NOTES_PER_ROUND: u32 = 200;
/// The most notes that are kept: with round trips that grow fivefold while packets are in flight.
const MOST_NOTES: usize = 1024;

/// What was so when a packet was sent.
#[derive(Debug, Clone, Copy)]
struct Note {
    sent: Instant,
    /// Bytes in flight, those of the packet included.
    in_flight: u64,
    /// Delivered until then, and when the last of it was.
    delivered: u64,
    delivered_at: Instant,
    /// When the packet was sent that was then the newest one acknowledged.
    newest_sent: Instant,
    app_limited: bool,
}

/// What one acknowledgement says about the path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// From sending the newest packet that it acknowledges to its coming.
    pub(super) rtt: Duration,
    /// What was in flight when that packet was sent.
    pub(super) in_flight: u64,
    /// Bytes a second delivered over that round trip; `None` where it cannot be told.
    pub(super) rate: Option<f64>,
    /// The application did not bring enough to fill the window in that time.
    pub(super) app_limited: bool,
}

/// The books of what was sent and delivered.
#[derive(Debug, Clone)]
pub(super) struct Deliveries {
    notes: VecDeque<Note>,
    in_flight: u64,
    delivered: u64,
    delivered_at: Instant,
    newest_sent: Instant,
    /// What is sent before so much is delivered is sent into a pipe that the application left partly empty.
    bubble: Option<u64>,
    /// The newest packet of the acknowledgement that is coming in.
    newest_acked: Option<Instant>,
}

impl Deliveries {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            notes: VecDeque::new(),
            in_flight: 0,
            delivered: 0,
            delivered_at: now,
            newest_sent: now,
            bubble: None,
            newest_acked: None,
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// When something was last delivered.
    pub(super) fn delivered_at(&self) -> Instant {
        self.delivered_at
    }

    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64, rtt: Duration) {
        if self.in_flight == 0 {
            // Time without anything in flight is no time in which little was delivered.
            self.delivered_at = now;
            self.newest_sent = now;
        }
        self.in_flight += bytes;
        let shared = self
            .notes
            .back()
            .is_some_and(|last| now.saturating_duration_since(last.sent) < rtt / NOTES_PER_ROUND);
        if (shared && self.in_flight > bytes) || self.notes.len() >= MOST_NOTES {
            return;
        }
        self.notes.push_back(Note {
            sent: now,
            in_flight: self.in_flight,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            newest_sent: self.newest_sent,
            app_limited: self.bubble.is_some(),
        });
    }

    pub(super) fn on_ack(&mut self, sent: Instant, bytes: u64) {
        self.delivered += bytes;
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.newest_acked = self.newest_acked.max(Some(sent));
    }

    pub(super) fn on_lost(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// The acknowledgement is complete. Says what it is worth, unless all of it is about packets that were
    /// overtaken.
    pub(super) fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
    ) -> Option<Sample> {
        self.in_flight = in_flight;
        self.delivered_at = now;
        if self.bubble.is_some_and(|until| self.delivered > until) {
            self.bubble = None;
        }
        if app_limited {
            self.bubble = Some(self.delivered + in_flight);
        }
        let sent = self.newest_acked.take()?;
        if sent < self.newest_sent {
            return None;
        }
        self.newest_sent = sent;
        // Later acknowledgements of what is older are no samples, so its notes are done with.
        while self.notes.get(1).is_some_and(|next| next.sent <= sent) {
            self.notes.pop_front();
        }
        let note = self.notes.front().filter(|note| note.sent <= sent)?;
        let rtt = now.saturating_duration_since(sent);
        let sending = note.sent.saturating_duration_since(note.newest_sent);
        let arriving = now.saturating_duration_since(note.delivered_at);
        let time = sending.max(arriving).as_secs_f64();
        #[expect(
            clippy::cast_precision_loss,
            reason = "rates need no more than 52 bits"
        )]
        let rate = (time > 0.0).then(|| (self.delivered - note.delivered) as f64 / time);
        Some(Sample {
            rtt,
            in_flight: note.in_flight,
            rate,
            app_limited: note.app_limited,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, clippy::unwrap_used)]

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A packet of 1000 bytes each millisecond, each acknowledged after 50: in the end the next sample.
    fn steady(deliveries: &mut Deliveries, from: Instant, packets: u32, limited: bool) -> Sample {
        let mut last = None;
        for k in 0..packets + 50 {
            let now = from + MS * k;
            if k >= 50 {
                deliveries.on_ack(now - 50 * MS, 1000);
                last = deliveries.on_end_acks(now, deliveries.in_flight(), limited);
            }
            if k < packets {
                deliveries.on_sent(now, 1000, 50 * MS);
            }
        }
        last.unwrap()
    }

    #[test]
    fn a_steady_flow_is_sampled_exactly() {
        let start = Instant::now();
        let mut deliveries = Deliveries::new(start);
        let sample = steady(&mut deliveries, start, 200, false);
        assert_eq!(sample.rtt, 50 * MS);
        assert_eq!(sample.in_flight, 50_000);
        let rate = sample.rate.unwrap();
        assert!((rate - 1e6).abs() < 2.1e4, "{rate}");
        assert!(!sample.app_limited);
        assert_eq!(deliveries.in_flight(), 0);
    }

    #[test]
    fn a_rest_does_not_count_as_time_in_which_little_was_delivered() {
        let start = Instant::now();
        let mut deliveries = Deliveries::new(start);
        steady(&mut deliveries, start, 200, false);
        let sample = steady(&mut deliveries, start + MS * 60_000, 200, false);
        assert!((sample.rate.unwrap() - 1e6).abs() < 2.1e4, "{sample:?}");
    }

    #[test]
    fn acknowledgements_that_come_all_at_once_are_no_higher_rate() {
        let start = Instant::now();
        let mut deliveries = Deliveries::new(start);
        for k in 0..100 {
            deliveries.on_sent(start + MS * k, 1000, 50 * MS);
        }
        // The first acknowledgement comes in time, and all others together, late.
        deliveries.on_ack(start, 1000);
        deliveries.on_end_acks(start + 50 * MS, 99_000, false);
        for k in 1..100 {
            deliveries.on_ack(start + MS * k, 1000);
        }
        let sample = deliveries.on_end_acks(start + 150 * MS, 0, false).unwrap();
        assert!(sample.rate.unwrap() <= 1e6, "{sample:?}");
    }

    #[test]
    fn what_was_sent_into_a_pipe_that_the_application_left_empty_is_marked() {
        let start = Instant::now();
        let mut deliveries = Deliveries::new(start);
        assert!(steady(&mut deliveries, start, 200, true).app_limited);
    }

    #[test]
    fn packets_that_were_overtaken_are_no_samples() {
        let start = Instant::now();
        let mut deliveries = Deliveries::new(start);
        deliveries.on_sent(start, 1000, 50 * MS);
        deliveries.on_sent(start + MS, 1000, 50 * MS);
        deliveries.on_ack(start + MS, 1000);
        assert!(
            deliveries
                .on_end_acks(start + 51 * MS, 1000, false)
                .is_some()
        );
        deliveries.on_ack(start, 1000);
        assert!(deliveries.on_end_acks(start + 90 * MS, 0, false).is_none());
    }

    #[test]
    fn the_notes_are_bounded_however_much_is_sent() {
        let start = Instant::now();
        let mut deliveries = Deliveries::new(start);
        for k in 0..100_000 {
            deliveries.on_sent(start + MS * k, 1000, MS);
        }
        assert!(deliveries.notes.len() <= MOST_NOTES);
        assert_eq!(deliveries.in_flight(), 100_000_000);
    }
}
