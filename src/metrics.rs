//! Every metric of this crate: its name, kind, unit, labels and meaning. No other file contains a metric name.
//!
//! Metrics go to the recorder that the application has installed for the [`metrics`](https://docs.rs/metrics) crate.
//! Without a recorder, recording costs one atomic load. [`describe`] passes the help texts to the recorder, and
//! [`BUCKETS`] are bounds for the histograms of seconds.
//!
//! Metrics are recorded once per batch, not once per message. The functions below take numbers and label strings only,
//! so this file depends on no other part of the crate.

use metrics::Unit;

/// The kind of a metric, as Prometheus defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A sum that only grows.
    Counter,
    /// A current value, which may fall.
    Gauge,
    /// A distribution of values.
    Histogram,
}

/// The description of one metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The name under which the metric is recorded.
    pub name: &'static str,
    /// The kind of the metric.
    pub kind: Kind,
    /// The unit of its values.
    pub unit: Unit,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// The help text: what is measured, and where useful what a high value means.
    pub help: &'static str,
}

/// Bucket bounds for histograms of seconds, from 50 µs to one minute.
pub const BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

macro_rules! metrics {
    ($($const:ident = $name:literal, $kind:ident, $unit:ident, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[allow(dead_code, reason = "the client and the broker each record a part of them")]
            const $const: &str = $name;
        )*

        /// The descriptions of all metrics.
        pub const ALL: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            unit: Unit::$unit,
            labels: &[$($label),*],
            help: $help,
        },)*];
    };
}

metrics! {
    BATCHED = "anabranch_producer_messages_batched_total", Counter, Count, [],
        "Messages that lanes have taken from the queue and put into batches.";
    ACKED = "anabranch_producer_messages_acked_total", Counter, Count, [],
        "Messages that the broker has stored and acknowledged (OpenTelemetry: messaging.client.sent.messages).";
    FAILED = "anabranch_producer_messages_failed_total", Counter, Count, ["error"],
        "Accepted messages that ended with an error instead of an acknowledgement, by kind of error.";
    REJECTED = "anabranch_producer_messages_rejected_total", Counter, Count, ["error"],
        "Messages that the producer did not accept, by kind of error. High: the buffer is full, or messages are too large.";
    DROPPED = "anabranch_producer_messages_dropped_total", Counter, Count, [],
        "Messages without an outcome when their producer was dropped. High: a call of close is missing.";
    RETRIED = "anabranch_producer_retries_total", Counter, Count, [],
        "Batches written again because their stream was lost. High: the connection breaks often.";
    QUEUE_MESSAGES = "anabranch_producer_queue_messages", Gauge, Count, [],
        "Messages in the queue that no lane has taken yet, at the last scaler tick. High: the network or the broker is slower than the application.";
    QUEUE_BYTES = "anabranch_producer_queue_bytes", Gauge, Bytes, [],
        "Bytes of the messages in the queue that no lane has taken yet, at the last scaler tick.";
    QUEUE_WAIT = "anabranch_producer_queue_wait_seconds", Histogram, Seconds, [],
        "Time from the send call to the batch, for the oldest message of each batch. High: too few lanes, or a full congestion window.";
    BATCH_MESSAGES = "anabranch_producer_batch_messages", Histogram, Count, [],
        "Number of messages in a batch that a producer sends.";
    BATCH_BYTES = "anabranch_producer_batch_bytes", Histogram, Bytes, [],
        "Encoded size of a batch that a producer sends.";
    ACK_DURATION = "anabranch_producer_ack_duration_seconds", Histogram, Seconds, [],
        "Time from the send call to the acknowledgement, for the oldest message of each batch (OpenTelemetry: messaging.client.operation.duration).";
    BROKER_PROCESSING = "anabranch_producer_broker_processing_seconds", Histogram, Seconds, [],
        "Time from the broker's receipt of a batch to its response, as the broker reports it. High: its store is slow.";
    LANES = "anabranch_producer_lanes", Gauge, Count, [],
        "Lanes of the producer that are open, at the last scaler tick.";
    LANES_OPENED = "anabranch_producer_lanes_opened_total", Counter, Count, ["reason"],
        "Lanes that the scaler has opened, by reason.";
    LANES_RETIRED = "anabranch_producer_lanes_retired_total", Counter, Count, ["reason"],
        "Lanes that the scaler has retired, by reason.";
    DECISIONS = "anabranch_producer_scaler_decisions_total", Counter, Count, ["reason"],
        "Decisions of the scaler, one a tick, by reason. Decisions to change nothing are included.";
    SPOOL_MESSAGES = "anabranch_producer_spool_messages", Gauge, Count, [],
        "Messages in the producer's spool on disk. High: no server has been reachable for long.";
    SPOOL_BYTES = "anabranch_producer_spool_bytes", Gauge, Bytes, [],
        "Bytes of the messages in the producer's spool on disk.";
    SPOOL_WRITTEN = "anabranch_producer_spool_messages_written_total", Counter, Count, [],
        "Messages that the producer has written to its spool on disk.";
    SPOOL_DELIVERED = "anabranch_producer_spool_messages_delivered_total", Counter, Count, [],
        "Messages that went from the producer's spool to the broker and were stored there.";
    SPOOL_LOST = "anabranch_producer_spool_messages_lost_total", Counter, Count, ["error"],
        "Messages of the producer's spool that were damaged on disk or refused for good by the broker, by kind of error.";
    STREAMS = "anabranch_pool_streams", Gauge, Count, ["state"],
        "Streams of the producer's stream pool, by state (idle, in_use, opening), at the last scaler tick.";
    STREAMS_EVICTED = "anabranch_pool_streams_evicted_total", Counter, Count, ["reason"],
        "Streams that the producer's stream pool has closed, by reason. High for anything but idle, aged and closed: streams fail.";
    RTT = "anabranch_connection_rtt_seconds", Gauge, Seconds, [],
        "Smoothed round trip time of the producer's connection, at the last scaler tick.";
    CWND = "anabranch_connection_cwnd_bytes", Gauge, Bytes, [],
        "Congestion window of the producer's connection, at the last scaler tick. Low beside a long queue: the network is the limit.";
    PACKETS_LOST = "anabranch_connection_packets_lost_total", Counter, Count, [],
        "Packets that the producer's connections have declared lost, counted at each scaler tick.";
    CONNECTS = "anabranch_connection_connects_total", Counter, Count, [],
        "Connections that producers and consumers have established. More than one each: they reconnected.";
    CONNECT_FAILURES = "anabranch_connection_failures_total", Counter, Count, ["error"],
        "Attempts to connect that failed, and established connections that were lost, by kind of error.";
    PING = "anabranch_connection_ping_rtt_seconds", Histogram, Seconds, [],
        "Time from a ping to its pong. High beside a low anabranch_connection_rtt_seconds: the broker's process is busy.";
    RECEIVED = "anabranch_consumer_messages_received_total", Counter, Count, [],
        "Messages that consumers have received from the broker.";
    RECEIVED_BYTES = "anabranch_consumer_received_bytes_total", Counter, Bytes, [],
        "Encoded bytes of the batches that consumers have received from the broker.";
    SKIPPED = "anabranch_consumer_messages_skipped_total", Counter, Count, [],
        "Messages that retention had dropped before the consumer reached them. High: the consumer is too slow for the retention.";
    BROKER_CONNECTIONS = "anabranch_broker_connections", Gauge, Count, [],
        "Client connections of the broker that are open.";
    REJECTIONS = "anabranch_broker_rejections_total", Counter, Count, ["code"],
        "Requests that the broker has refused (connections, batches, subscriptions, queries), by failure code.";
    STORE_DAMAGED = "anabranch_store_damaged_messages_total", Counter, Count, [],
        "Stored messages found not to match their checksums, by a read or by the verification in the background. High: the disk changes what it holds.";
    STORE_VERIFIED = "anabranch_store_verified_bytes_total", Counter, Bytes, [],
        "Bytes of the log that the verification in the background has read.";
    STORED_MESSAGES = "anabranch_broker_messages_stored_total", Counter, Count, [],
        "Messages that the broker has stored.";
    STORED_BYTES = "anabranch_broker_stored_bytes_total", Counter, Bytes, [],
        "Encoded bytes of the batches that the broker has stored.";
    DUPLICATES = "anabranch_broker_batches_duplicate_total", Counter, Count, [],
        "Batches that the broker had stored already: it answered them again and stored nothing.";
    COMMIT = "anabranch_broker_commit_seconds", Histogram, Seconds, [],
        "Time that the broker's store took for one group commit. High: the disk is slow.";
    COMMIT_BATCHES = "anabranch_broker_commit_batches", Histogram, Count, [],
        "Number of batches in one group commit of the broker. High: many producers share each write.";
    STORE_READ_ONLY = "anabranch_broker_store_read_only", Gauge, Count, [],
        "1 while the broker's store takes no writes (disk full, read-only or failed), else 0.";
    CERTIFICATE_EXPIRES = "anabranch_broker_certificate_expires_seconds", Gauge, Seconds, [],
        "When the broker's certificate expires, in seconds since 1970. Low beside time(): clients will refuse the broker soon.";
    DELIVERED_MESSAGES = "anabranch_broker_messages_delivered_total", Counter, Count, [],
        "Messages that the broker has sent to subscribers.";
    SUBSCRIPTIONS = "anabranch_broker_subscriptions", Gauge, Count, [],
        "Subscriptions of the broker that are open.";
    TRIMMED = "anabranch_broker_trimmed_bytes_total", Counter, Bytes, [],
        "Bytes of stored batches that the broker has dropped by retention.";
}

/// Describes every metric to the installed recorder. Call it once, after installing the recorder.
pub fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

/// Converts a count for gauges and histograms.
#[cfg(any(feature = "producer", feature = "broker"))]
#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
const fn float(n: u64) -> f64 {
    n as f64
}

#[cfg(feature = "producer")]
pub(crate) mod producer {
    use std::time::Duration;

    use ::metrics::{counter, gauge, histogram};

    use super::*;

    pub(crate) fn batched(messages: usize, bytes: usize, queue_wait: Duration) {
        counter!(BATCHED).increment(messages as u64);
        histogram!(BATCH_MESSAGES).record(float(messages as u64));
        histogram!(BATCH_BYTES).record(float(bytes as u64));
        histogram!(QUEUE_WAIT).record(queue_wait);
    }

    pub(crate) fn acked(messages: u64, duration: Duration, broker_processing: Duration) {
        counter!(ACKED).increment(messages);
        histogram!(ACK_DURATION).record(duration);
        histogram!(BROKER_PROCESSING).record(broker_processing);
    }

    pub(crate) fn failed(messages: u64, error: &'static str) {
        counter!(FAILED, "error" => error).increment(messages);
    }

    pub(crate) fn rejected(error: &'static str) {
        counter!(REJECTED, "error" => error).increment(1);
    }

    pub(crate) fn dropped(messages: u64) {
        counter!(DROPPED).increment(messages);
    }

    pub(crate) fn retried(batches: u64) {
        if batches > 0 {
            counter!(RETRIED).increment(batches);
        }
    }

    pub(crate) fn scaler_decided(reason: &'static str) {
        counter!(DECISIONS, "reason" => reason).increment(1);
    }

    pub(crate) fn lanes_opened(reason: &'static str, lanes: u64) {
        counter!(LANES_OPENED, "reason" => reason).increment(lanes);
    }

    pub(crate) fn lanes_retired(reason: &'static str, lanes: u64) {
        counter!(LANES_RETIRED, "reason" => reason).increment(lanes);
    }

    pub(crate) fn lanes(open: usize) {
        gauge!(LANES).set(float(open as u64));
    }

    pub(crate) fn queue(messages: usize, bytes: u64) {
        gauge!(QUEUE_MESSAGES).set(float(messages as u64));
        gauge!(QUEUE_BYTES).set(float(bytes));
    }

    /// Records the state of the network path. `newly_lost` counts the packets lost since the call before.
    pub(crate) fn path(rtt: Duration, cwnd: u64, newly_lost: u64) {
        gauge!(RTT).set(rtt);
        gauge!(CWND).set(float(cwnd));
        counter!(PACKETS_LOST).increment(newly_lost);
    }

    pub(crate) fn stream_evicted(reason: &'static str) {
        counter!(STREAMS_EVICTED, "reason" => reason).increment(1);
    }

    pub(crate) fn pool_streams(idle: usize, in_use: usize, opening: usize) {
        for (state, streams) in [("idle", idle), ("in_use", in_use), ("opening", opening)] {
            gauge!(STREAMS, "state" => state).set(float(streams as u64));
        }
    }
}

#[cfg(feature = "spool")]
pub(crate) mod spool {
    use ::metrics::{counter, gauge};

    use super::*;

    pub(crate) fn size(messages: u64, bytes: u64) {
        gauge!(SPOOL_MESSAGES).set(float(messages));
        gauge!(SPOOL_BYTES).set(float(bytes));
    }

    pub(crate) fn written(messages: u64) {
        counter!(SPOOL_WRITTEN).increment(messages);
    }

    pub(crate) fn delivered(messages: u64) {
        counter!(SPOOL_DELIVERED).increment(messages);
    }

    pub(crate) fn lost(messages: u64, error: &'static str) {
        counter!(SPOOL_LOST, "error" => error).increment(messages);
    }
}

#[cfg(any(feature = "producer", test))]
pub(crate) mod connection {
    use std::time::Duration;

    use ::metrics::{counter, histogram};

    use super::*;

    pub(crate) fn connected() {
        counter!(CONNECTS).increment(1);
    }

    pub(crate) fn failed(error: &'static str) {
        counter!(CONNECT_FAILURES, "error" => error).increment(1);
    }

    pub(crate) fn ping(rtt: Duration) {
        histogram!(PING).record(rtt);
    }
}

#[cfg(feature = "producer")]
pub(crate) mod consumer {
    use ::metrics::counter;

    use super::*;

    pub(crate) fn received(messages: u64, bytes: u64) {
        counter!(RECEIVED).increment(messages);
        counter!(RECEIVED_BYTES).increment(bytes);
    }

    pub(crate) fn skipped(messages: u64) {
        if messages > 0 {
            counter!(SKIPPED).increment(messages);
        }
    }
}

#[cfg(feature = "broker")]
pub(crate) mod broker {
    use std::time::Duration;

    use ::metrics::{counter, gauge, histogram};

    use super::*;

    /// Counts one in a gauge until it is dropped.
    #[derive(Debug)]
    pub(crate) struct GaugeGuard(&'static str);

    impl GaugeGuard {
        fn new(name: &'static str) -> Self {
            gauge!(name).increment(1.0);
            Self(name)
        }
    }

    impl Drop for GaugeGuard {
        fn drop(&mut self) {
            gauge!(self.0).decrement(1.0);
        }
    }

    pub(crate) fn connection() -> GaugeGuard {
        GaugeGuard::new(BROKER_CONNECTIONS)
    }

    pub(crate) fn subscription() -> GaugeGuard {
        GaugeGuard::new(SUBSCRIPTIONS)
    }

    pub(crate) fn rejected(code: &'static str) {
        counter!(REJECTIONS, "code" => code).increment(1);
    }

    pub(crate) fn committed(batches: usize, duration: Duration) {
        histogram!(COMMIT).record(duration);
        histogram!(COMMIT_BATCHES).record(float(batches as u64));
    }

    pub(crate) fn store_read_only(read_only: bool) {
        gauge!(STORE_READ_ONLY).set(if read_only { 1.0 } else { 0.0 });
    }

    pub(crate) fn certificate_expires(at: Duration) {
        gauge!(CERTIFICATE_EXPIRES).set(at.as_secs_f64());
    }

    pub(crate) fn stored(messages: u64, bytes: u64) {
        counter!(STORED_MESSAGES).increment(messages);
        counter!(STORED_BYTES).increment(bytes);
    }

    pub(crate) fn duplicate() {
        counter!(DUPLICATES).increment(1);
    }

    pub(crate) fn delivered(messages: u64) {
        counter!(DELIVERED_MESSAGES).increment(messages);
    }

    pub(crate) fn trimmed(bytes: u64) {
        counter!(TRIMMED).increment(bytes);
    }
}

#[cfg(any(feature = "broker", feature = "spool"))]
pub(crate) mod store {
    use ::metrics::counter;

    use super::*;

    pub(crate) fn damaged(messages: u64) {
        counter!(STORE_DAMAGED).increment(messages);
    }

    pub(crate) fn verified(bytes: u64) {
        counter!(STORE_VERIFIED).increment(bytes);
    }
}
