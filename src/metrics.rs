//! Every metric of this crate: its name, kind, unit and meaning. The only file with metric names.
//!
//! Metrics go to whatever recorder the application has installed for the [`metrics`](https://docs.rs/metrics)
//! crate; without one they cost an atomic load. [`describe`] tells the recorder what they mean, and [`BUCKETS`]
//! are bounds for the histograms, in seconds.
//!
//! Counting is done once a batch, not once a message.

use std::time::Duration;

use metrics::{Unit, counter, gauge, histogram};

/// What kind of metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// A present value.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name, as it is recorded.
    pub name: &'static str,
    /// What kind it is.
    pub kind: Kind,
    /// What it counts in.
    pub unit: Unit,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it is, and what a high value means.
    pub help: &'static str,
}

/// Bounds for histograms of seconds: 50 µs to a minute.
pub const BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

macro_rules! metrics {
    ($($const:ident = $name:literal, $kind:ident, $unit:ident, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[allow(dead_code, reason = "each end records its own")]
            const $const: &str = $name;
        )*

        /// All metrics.
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
        "Messages that a lane took from the queue.";
    ACKED = "anabranch_producer_messages_acked_total", Counter, Count, [],
        "Messages that the broker stored (OpenTelemetry: messaging.client.sent.messages).";
    FAILED = "anabranch_producer_messages_failed_total", Counter, Count, ["error"],
        "Accepted messages that ended without an acknowledgement. High: look at the label.";
    REJECTED = "anabranch_producer_messages_rejected_total", Counter, Count, ["error"],
        "Messages that were not accepted. High: the buffer is full, or messages are too large.";
    DROPPED = "anabranch_producer_messages_dropped_total", Counter, Count, [],
        "Messages without an outcome when their producer was dropped without a close. High: a missing close.";
    RETRIED = "anabranch_producer_retries_total", Counter, Count, [],
        "Batches written again after their stream was lost. High: a link that breaks.";
    QUEUE_MESSAGES = "anabranch_producer_queue_messages", Gauge, Count, [],
        "Messages that wait for a lane, when the scaler last looked. High: the network or the broker is slower than the application.";
    QUEUE_BYTES = "anabranch_producer_queue_bytes", Gauge, Bytes, [],
        "Their bytes.";
    QUEUE_WAIT = "anabranch_producer_queue_wait_seconds", Histogram, Seconds, [],
        "From the call to the batch, for the oldest message of each batch. High: too few lanes, or a full pipe.";
    BATCH_MESSAGES = "anabranch_producer_batch_messages", Histogram, Count, [],
        "Messages in a batch.";
    BATCH_BYTES = "anabranch_producer_batch_bytes", Histogram, Bytes, [],
        "Bytes of a batch.";
    ACK_DURATION = "anabranch_producer_ack_duration_seconds", Histogram, Seconds, [],
        "From the call to the acknowledgement, for the oldest message of each batch (OpenTelemetry: messaging.client.operation.duration).";
    HELD = "anabranch_producer_broker_held_seconds", Histogram, Seconds, [],
        "How long the broker had a batch before it answered. High: its store is slow.";
    LANES = "anabranch_producer_lanes", Gauge, Count, [],
        "Lanes that are open.";
    LANES_OPENED = "anabranch_producer_lanes_opened_total", Counter, Count, ["reason"],
        "Lanes opened, by reason.";
    LANES_RETIRED = "anabranch_producer_lanes_retired_total", Counter, Count, ["reason"],
        "Lanes retired, by reason.";
    DECISIONS = "anabranch_producer_scaler_decisions_total", Counter, Count, ["reason"],
        "Looks of the scaling policy, by the reason of its decision, holding included.";
    SPOOL_MESSAGES = "anabranch_producer_spool_messages", Gauge, Count, [],
        "Messages in the spool on disk. High: no server could be reached for long.";
    SPOOL_BYTES = "anabranch_producer_spool_bytes", Gauge, Bytes, [],
        "Their bytes.";
    SPOOLED = "anabranch_producer_spool_written_total", Counter, Count, [],
        "Messages written to the spool.";
    SPOOL_DELIVERED = "anabranch_producer_spool_delivered_total", Counter, Count, [],
        "Messages of the spool that the broker stored.";
    SPOOL_LOST = "anabranch_producer_spool_lost_total", Counter, Count, ["error"],
        "Messages of the spool that are damaged, or that the broker refused for good. High: look at the label and the log.";
    STREAMS = "anabranch_pool_streams", Gauge, Count, ["state"],
        "Streams of the pool that are idle, in use and opening, when the scaler last looked.";
    RTT = "anabranch_connection_rtt_seconds", Gauge, Seconds, [],
        "Smoothed round trip time of the connection, when the scaler last looked.";
    CWND = "anabranch_connection_cwnd_bytes", Gauge, Bytes, [],
        "Its congestion window. Low with a long queue: the network is the limit.";
    LOST = "anabranch_connection_lost_packets", Gauge, Count, [],
        "Packets of the present connection that were declared lost.";
    CONNECTS = "anabranch_connection_connects_total", Counter, Count, [],
        "Connections that came to stand. More than one a producer or consumer: reconnects.";
    CONNECT_FAILURES = "anabranch_connection_failures_total", Counter, Count, ["error"],
        "Attempts to connect that failed, and connections that were lost.";
    PING = "anabranch_connection_ping_rtt_seconds", Histogram, Seconds, [],
        "From a ping to its pong. High beside a low rtt: the broker's process is busy.";
    RECEIVED = "anabranch_consumer_messages_received_total", Counter, Count, [],
        "Messages that came from the broker.";
    RECEIVED_BYTES = "anabranch_consumer_received_bytes_total", Counter, Bytes, [],
        "Bytes of the batches they came in.";
    SKIPPED = "anabranch_consumer_messages_skipped_total", Counter, Count, [],
        "Offsets that were gone when this consumer came to them. High: retention is shorter than the consumer is slow.";
    BROKER_CONNECTIONS = "anabranch_broker_connections", Gauge, Count, [],
        "Connections that stand.";
    BROKER_REFUSED = "anabranch_broker_refused_total", Counter, Count, ["code"],
        "Connections, batches and questions that were refused, by code.";
    STORED_MESSAGES = "anabranch_broker_messages_stored_total", Counter, Count, [],
        "Messages stored.";
    STORED_BYTES = "anabranch_broker_stored_bytes_total", Counter, Bytes, [],
        "Bytes of the batches stored.";
    REPEATS = "anabranch_broker_batches_repeated_total", Counter, Count, [],
        "Batches that were stored already and only answered again.";
    COMMIT = "anabranch_broker_commit_seconds", Histogram, Seconds, [],
        "How long the store took for one group of batches. High: the disk is slow.";
    COMMIT_BATCHES = "anabranch_broker_commit_batches", Histogram, Count, [],
        "Batches in one group. High: many producers share each write.";
    STORE_REFUSES = "anabranch_broker_store_refuses", Gauge, Count, [],
        "1 while the store takes no writes (full, read-only, failed), when the broker last looked; else 0.";
    DELIVERED_MESSAGES = "anabranch_broker_messages_delivered_total", Counter, Count, [],
        "Messages sent to subscribers.";
    SUBSCRIPTIONS = "anabranch_broker_subscriptions", Gauge, Count, [],
        "Subscriptions that stand.";
    TRIMMED = "anabranch_broker_trimmed_bytes_total", Counter, Bytes, [],
        "Bytes that retention dropped.";
}

/// Tells the installed recorder what each metric is. To be called once, after the recorder was installed.
pub fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

/// Counts as `f64`, which gauges and histograms want: exact up to 2^53.
#[allow(clippy::cast_precision_loss)]
const fn float(n: u64) -> f64 {
    n as f64
}

#[cfg(feature = "producer")]
pub(crate) mod producer {
    use super::*;
    use crate::{
        pool::Status,
        producer::SendErrorKind,
        scaler::{Load, Reason},
    };

    pub(crate) fn batched(messages: usize, bytes: usize, waited: Duration) {
        counter!(BATCHED).increment(messages as u64);
        histogram!(BATCH_MESSAGES).record(float(messages as u64));
        histogram!(BATCH_BYTES).record(float(bytes as u64));
        histogram!(QUEUE_WAIT).record(waited);
    }

    pub(crate) fn acked(messages: u64, took: Duration, held: Duration) {
        counter!(ACKED).increment(messages);
        histogram!(ACK_DURATION).record(took);
        histogram!(HELD).record(held);
    }

    pub(crate) fn failed(messages: u64, kind: SendErrorKind) {
        counter!(FAILED, "error" => kind.as_str()).increment(messages);
    }

    pub(crate) fn rejected(kind: SendErrorKind) {
        counter!(REJECTED, "error" => kind.as_str()).increment(1);
    }

    pub(crate) fn dropped(messages: u64) {
        counter!(DROPPED).increment(messages);
    }

    pub(crate) fn retried(batches: u64) {
        if batches > 0 {
            counter!(RETRIED).increment(batches);
        }
    }

    pub(crate) fn decided(reason: Reason) {
        counter!(DECISIONS, "reason" => reason.as_str()).increment(1);
    }

    pub(crate) fn lanes_opened(reason: Reason, lanes: u64) {
        counter!(LANES_OPENED, "reason" => reason.as_str()).increment(lanes);
    }

    pub(crate) fn lanes_retired(reason: Reason, lanes: u64) {
        counter!(LANES_RETIRED, "reason" => reason.as_str()).increment(lanes);
    }

    /// What the scaler saw.
    pub(crate) fn looked(load: &Load, lanes: usize, pool: &Status) {
        gauge!(LANES).set(float(lanes as u64));
        gauge!(QUEUE_MESSAGES).set(float(load.queued_messages as u64));
        gauge!(QUEUE_BYTES).set(float(load.queued_bytes));
        gauge!(RTT).set(load.rtt);
        gauge!(CWND).set(float(load.cwnd));
        gauge!(LOST).set(float(load.packets_lost));
        gauge!(STREAMS, "state" => "idle").set(float(pool.idle as u64));
        gauge!(STREAMS, "state" => "in_use").set(float(pool.in_use as u64));
        gauge!(STREAMS, "state" => "opening").set(float(pool.opening as u64));
    }
}

#[cfg(feature = "spool")]
pub(crate) mod spool {
    use super::*;
    use crate::producer::SendErrorKind;

    pub(crate) fn holds(messages: u64, bytes: u64) {
        gauge!(SPOOL_MESSAGES).set(float(messages));
        gauge!(SPOOL_BYTES).set(float(bytes));
    }

    pub(crate) fn spooled(messages: u64) {
        counter!(SPOOLED).increment(messages);
    }

    pub(crate) fn delivered(messages: u64) {
        counter!(SPOOL_DELIVERED).increment(messages);
    }

    pub(crate) fn lost(messages: u64, kind: SendErrorKind) {
        counter!(SPOOL_LOST, "error" => kind.as_str()).increment(messages);
    }
}

#[cfg_attr(
    not(feature = "producer"),
    allow(dead_code, reason = "only clients connect")
)]
pub(crate) mod connection {
    use super::*;

    pub(crate) fn connected() {
        counter!(CONNECTS).increment(1);
    }

    pub(crate) fn failed(error: &'static str) {
        counter!(CONNECT_FAILURES, "error" => error).increment(1);
    }

    pub(crate) fn ping(took: Duration) {
        histogram!(PING).record(took);
    }
}

#[cfg(feature = "producer")]
pub(crate) mod consumer {
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
    use super::*;
    use crate::wire::FailureCode;

    /// Counted in a gauge while it lives.
    #[derive(Debug)]
    pub(crate) struct Counted(&'static str);

    impl Counted {
        fn new(name: &'static str) -> Self {
            gauge!(name).increment(1.0);
            Self(name)
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            gauge!(self.0).decrement(1.0);
        }
    }

    pub(crate) fn connection() -> Counted {
        Counted::new(BROKER_CONNECTIONS)
    }

    pub(crate) fn subscription() -> Counted {
        Counted::new(SUBSCRIPTIONS)
    }

    pub(crate) fn refused(code: FailureCode) {
        counter!(BROKER_REFUSED, "code" => code.as_str()).increment(1);
    }

    pub(crate) fn committed(batches: usize, took: Duration) {
        histogram!(COMMIT).record(took);
        histogram!(COMMIT_BATCHES).record(float(batches as u64));
    }

    pub(crate) fn store_refuses(refuses: bool) {
        gauge!(STORE_REFUSES).set(if refuses { 1.0 } else { 0.0 });
    }

    pub(crate) fn stored(messages: u64, bytes: u64) {
        counter!(STORED_MESSAGES).increment(messages);
        counter!(STORED_BYTES).increment(bytes);
    }

    pub(crate) fn repeated() {
        counter!(REPEATS).increment(1);
    }

    pub(crate) fn delivered(messages: u64) {
        counter!(DELIVERED_MESSAGES).increment(messages);
    }

    pub(crate) fn trimmed(bytes: u64) {
        counter!(TRIMMED).increment(bytes);
    }
}
