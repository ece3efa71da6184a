//! Sans-I/O: samples of the delivery rate, and of the packets in flight that went with it.
//!
//! This is the estimator of [draft-cheng-iccrg-delivery-rate-estimation]. A record of each packet sent holds how much had
//! been delivered by then. When the packet is acknowledged, the difference over the elapsed time is a sample of the
//! delivery rate. quinn names packets to a controller by the time they were sent, so the records are kept by time, and
//! packets sent within a two-hundredth of a round trip share one.
//!
//! [draft-cheng-iccrg-delivery-rate-estimation]: https://datatracker.ietf.org/doc/html/draft-cheng-iccrg-delivery-rate-estimation

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Records for each round trip: more would need memory without improving the samples.
const RECORDS_PER_ROUND: u32 = 200;
/// The maximum number of records: enough for a round trip that grows fivefold while packets are in flight.
const MAX_RECORDS: usize = 1024;

/// The state of the path when a packet was sent.
#[derive(Debug, Clone, Copy)]
struct SendRecord {
    sent: Instant,
    /// Bytes in flight, the packet included.
    in_flight: u64,
    /// Bytes delivered by then.
    delivered: u64,
    /// When the last of those bytes were delivered.
    delivered_at: Instant,
    /// When the packet was sent that was the newest acknowledged one by then.
    newest_acked_sent: Instant,
    app_limited: bool,
}

/// The measurements that one acknowledgement gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RateSample {
    /// The RTT of the newest packet that it acknowledges.
    pub(super) rtt: Duration,
    /// Bytes in flight when that packet was sent.
    pub(super) in_flight: u64,
    /// The delivery rate over that round trip, in bytes a second; `None` where it cannot be computed.
    pub(super) rate: Option<f64>,
    /// Whether the application sent too little to fill the window during that round trip.
    pub(super) app_limited: bool,
}

/// The packets in flight, and the records by which their acknowledgements become samples.
#[derive(Debug, Clone)]
pub(super) struct RateSampler {
    records: VecDeque<SendRecord>,
    /// Bytes in flight.
    in_flight: u64,
    /// Bytes delivered since the beginning.
    delivered: u64,
    delivered_at: Instant,
    /// When the newest acknowledged packet was sent.
    newest_acked_sent: Instant,
    /// Packets sent before this number of bytes is delivered are application limited; `None` when none are.
    app_limited_until: Option<u64>,
    /// When the newest packet of the present acknowledgement was sent; `None` between acknowledgements.
    acked_sent: Option<Instant>,
}

impl RateSampler {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            records: VecDeque::new(),
            in_flight: 0,
            delivered: 0,
            delivered_at: now,
            newest_acked_sent: now,
            app_limited_until: None,
            acked_sent: None,
        }
    }

    /// Returns the bytes in flight.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Returns the time of the last acknowledgement.
    pub(super) fn delivered_at(&self) -> Instant {
        self.delivered_at
    }

    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64, rtt: Duration) {
        if self.in_flight == 0 {
            // An idle time must not count as one with a low rate.
            self.delivered_at = now;
            self.newest_acked_sent = now;
        }
        self.in_flight += bytes;
        let shares_record = self
            .records
            .back()
            .is_some_and(|last| now.saturating_duration_since(last.sent) < rtt / RECORDS_PER_ROUND);
        if (shares_record && self.in_flight > bytes) || self.records.len() >= MAX_RECORDS {
            return;
        }
        self.records.push_back(SendRecord {
            sent: now,
            in_flight: self.in_flight,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            newest_acked_sent: self.newest_acked_sent,
            app_limited: self.app_limited_until.is_some(),
        });
    }

    pub(super) fn on_ack(&mut self, sent: Instant, bytes: u64) {
        self.delivered += bytes;
        self.in_flight = self.in_flight.saturating_sub(bytes);
        self.acked_sent = self.acked_sent.max(Some(sent));
    }

    pub(super) fn on_lost(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// Ends an acknowledgement. Returns its sample; `None` if it acknowledges reordered packets only, which were sent
    /// before the newest acknowledged one.
    pub(super) fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
    ) -> Option<RateSample> {
        self.in_flight = in_flight;
        self.delivered_at = now;
        if self
            .app_limited_until
            .is_some_and(|until| self.delivered > until)
        {
            self.app_limited_until = None;
        }
        if app_limited {
            self.app_limited_until = Some(self.delivered + in_flight);
        }
        let sent = self.acked_sent.take()?;
        if sent < self.newest_acked_sent {
            return None;
        }
        self.newest_acked_sent = sent;
        // Acknowledgements of older packets give no samples, so their records are no longer needed.
        while self.records.get(1).is_some_and(|next| next.sent <= sent) {
            self.records.pop_front();
        }
        let record = self.records.front().filter(|record| record.sent <= sent)?;
        let rtt = now.saturating_duration_since(sent);
        let send_elapsed = record
            .sent
            .saturating_duration_since(record.newest_acked_sent);
        let ack_elapsed = now.saturating_duration_since(record.delivered_at);
        let elapsed = send_elapsed.max(ack_elapsed).as_secs_f64();
        #[expect(
            clippy::cast_precision_loss,
            reason = "rates need no more than 52 bits"
        )]
        let rate = (elapsed > 0.0).then(|| (self.delivered - record.delivered) as f64 / elapsed);
        Some(RateSample {
            rtt,
            in_flight: record.in_flight,
            rate,
            app_limited: record.app_limited,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "tests may read the clock")]

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends a packet of 1000 bytes each millisecond, each acknowledged after 50. Returns the last sample.
    fn steady(sampler: &mut RateSampler, from: Instant, packets: u32, limited: bool) -> RateSample {
        let mut last = None;
        for k in 0..packets + 50 {
            let now = from + MS * k;
            if k >= 50 {
                sampler.on_ack(now - 50 * MS, 1000);
                last = sampler.on_end_acks(now, sampler.in_flight(), limited);
            }
            if k < packets {
                sampler.on_sent(now, 1000, 50 * MS);
            }
        }
        last.unwrap()
    }

    #[test]
    fn a_steady_flow_is_sampled_exactly() {
        let start = Instant::now();
        let mut sampler = RateSampler::new(start);
        let sample = steady(&mut sampler, start, 200, false);
        assert_eq!(sample.rtt, 50 * MS);
        assert_eq!(sample.in_flight, 50_000);
        let rate = sample.rate.unwrap();
        assert!((rate - 1e6).abs() < 2.1e4, "{rate}");
        assert!(!sample.app_limited);
        assert_eq!(sampler.in_flight(), 0);
    }

    #[test]
    fn a_rest_does_not_count_as_time_in_which_little_was_delivered() {
        let start = Instant::now();
        let mut sampler = RateSampler::new(start);
        steady(&mut sampler, start, 200, false);
        let sample = steady(&mut sampler, start + MS * 60_000, 200, false);
        assert!((sample.rate.unwrap() - 1e6).abs() < 2.1e4, "{sample:?}");
    }

    #[test]
    fn acknowledgements_that_come_all_at_once_are_no_higher_rate() {
        let start = Instant::now();
        let mut sampler = RateSampler::new(start);
        for k in 0..100 {
            sampler.on_sent(start + MS * k, 1000, 50 * MS);
        }
        // The first acknowledgement is in time; all others come late and together.
        sampler.on_ack(start, 1000);
        sampler.on_end_acks(start + 50 * MS, 99_000, false);
        for k in 1..100 {
            sampler.on_ack(start + MS * k, 1000);
        }
        let sample = sampler.on_end_acks(start + 150 * MS, 0, false).unwrap();
        assert!(sample.rate.unwrap() <= 1e6, "{sample:?}");
    }

    #[test]
    fn what_was_sent_into_a_pipe_that_the_application_left_empty_is_marked() {
        let start = Instant::now();
        let mut sampler = RateSampler::new(start);
        assert!(steady(&mut sampler, start, 200, true).app_limited);
    }

    #[test]
    fn packets_that_were_overtaken_are_no_samples() {
        let start = Instant::now();
        let mut sampler = RateSampler::new(start);
        sampler.on_sent(start, 1000, 50 * MS);
        sampler.on_sent(start + MS, 1000, 50 * MS);
        sampler.on_ack(start + MS, 1000);
        assert!(sampler.on_end_acks(start + 51 * MS, 1000, false).is_some());
        sampler.on_ack(start, 1000);
        assert!(sampler.on_end_acks(start + 90 * MS, 0, false).is_none());
    }

    #[test]
    fn the_records_are_bounded_however_much_is_sent() {
        let start = Instant::now();
        let mut sampler = RateSampler::new(start);
        for k in 0..100_000 {
            sampler.on_sent(start + MS * k, 1000, MS);
        }
        assert!(sampler.records.len() <= MAX_RECORDS);
        assert_eq!(sampler.in_flight(), 100_000_000);
    }
}
