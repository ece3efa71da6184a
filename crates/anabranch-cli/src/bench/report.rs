//! Sans-I/O: the figures of the runs, and their medians.

use std::{fmt, time::Duration};

use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::{
    disk::Disk,
    load::{Sent, Times},
};
use crate::stats::{as_f64, median, millionths, rounded, whole};

/// The flags of the measurement.
#[derive(Debug, Serialize)]
pub(super) struct Setting {
    /// Payload of a message, in bytes.
    pub(super) size: u32,
    /// Number of messages of each run.
    pub(super) messages: u64,
    /// Store of the broker in this process. `None` for a broker elsewhere.
    pub(super) store: Option<String>,
    pub(super) strategy: String,
    pub(super) mode: String,
    pub(super) congestion: String,
    pub(super) producers: u32,
    pub(super) topics: u32,
    pub(super) tasks: u32,
    /// Whether the tasks are threads.
    pub(super) threads: bool,
    pub(super) rate: Option<u32>,
}

/// The raw measurement of one run.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) messages: u64,
    pub(super) size: u32,
    pub(super) sent: Sent,
    /// CPU time of this process per message.
    pub(super) client_cpu: Option<Duration>,
    /// CPU time of the broker's process per message.
    pub(super) broker_cpu: Option<Duration>,
    /// Time that quinn alone took for the same bytes.
    pub(super) bulk: Option<Duration>,
    /// CPU time of quinn alone, for the bytes of one message.
    pub(super) bulk_cpu: Option<Duration>,
    /// Round-trip times of quinn alone.
    pub(super) ping_pong: Option<Times>,
    /// Allocations per message.
    pub(super) allocations: Option<f64>,
    /// Bytes that this process has written to disk.
    pub(super) written: Option<u64>,
    pub(super) disk: Option<Disk>,
}

/// The figures of one run, or the medians of several.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Run {
    messages_per_second: f64,
    /// Payload throughput. A megabyte is 10^6 bytes.
    megabytes_per_second: f64,
    /// Throughput of quinn alone.
    baseline_megabytes_per_second: Option<f64>,
    /// Payload throughput divided by that of quinn alone.
    efficiency: Option<f64>,
    /// Times from call to receipt.
    ack_ms: Quantiles,
    /// Round-trip times of quinn alone.
    baseline_ms: Option<Quantiles>,
    /// Median of `ack_ms` divided by that of `baseline_ms`.
    latency_ratio: Option<f64>,
    /// Throughput of the disk alone.
    disk_megabytes_per_second: Option<f64>,
    /// Size of each write to the disk.
    disk_group_bytes: Option<f64>,
    /// Times of a write to the disk with its fdatasync.
    disk_ms: Option<Quantiles>,
    /// Payload throughput divided by that of the disk alone.
    disk_efficiency: Option<f64>,
    client_cpu_us_per_message: Option<f64>,
    broker_cpu_us_per_message: Option<f64>,
    /// CPU time of both ends of quinn alone, for the bytes of one message.
    baseline_cpu_us_per_message: Option<f64>,
    allocations_per_message: Option<f64>,
    /// Bytes written to disk for a byte of payload.
    bytes_written_per_byte: Option<f64>,
}

/// Quantiles of times, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Quantiles {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl Quantiles {
    fn of(times: &Times) -> Self {
        let ms = |nanos: u64| millionths(as_f64(nanos) / 1e6);
        Self {
            p50: ms(times.value_at_quantile(0.5)),
            p90: ms(times.value_at_quantile(0.9)),
            p99: ms(times.value_at_quantile(0.99)),
            p999: ms(times.value_at_quantile(0.999)),
            max: ms(times.max()),
        }
    }

    /// Returns the median of each quantile, and the largest maximum.
    fn median<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Option<Self> {
        let of = |figure: fn(&Self) -> f64| median(all.clone().map(figure)).map(millionths);
        Some(Self {
            p50: of(|times| times.p50)?,
            p90: of(|times| times.p90)?,
            p99: of(|times| times.p99)?,
            p999: of(|times| times.p999)?,
            max: all.clone().map(|times| times.max).reduce(f64::max)?,
        })
    }
}

impl Run {
    pub(super) fn new(measured: Measured) -> Self {
        let payload = as_f64(measured.messages) * f64::from(measured.size);
        let per_second = |amount: f64, time: Duration| amount / time.as_secs_f64();
        let rate = per_second(payload, measured.sent.took) / 1e6;
        let baseline = measured.bulk.map(|took| per_second(payload, took) / 1e6);
        let ack_ms = Quantiles::of(&measured.sent.acks);
        let baseline_ms = measured.ping_pong.as_ref().map(Quantiles::of);
        let disk = measured.disk.as_ref();
        let disk_rate = disk.map(|disk| per_second(as_f64(disk.bytes), disk.took) / 1e6);
        let micros = |time: Duration| rounded(time.as_secs_f64() * 1e6);
        Self {
            messages_per_second: rounded(per_second(as_f64(measured.messages), measured.sent.took)),
            megabytes_per_second: rounded(rate),
            baseline_megabytes_per_second: baseline.map(rounded),
            efficiency: baseline.map(|baseline| millionths(rate / baseline)),
            ack_ms,
            latency_ratio: baseline_ms.map(|alone| rounded(ack_ms.p50 / alone.p50)),
            baseline_ms,
            disk_megabytes_per_second: disk_rate.map(rounded),
            disk_group_bytes: disk.map(|disk| as_f64(disk.group)),
            disk_ms: disk.map(|disk| Quantiles::of(&disk.groups)),
            disk_efficiency: disk_rate.map(|disk| millionths(rate / disk)),
            client_cpu_us_per_message: measured.client_cpu.map(micros),
            broker_cpu_us_per_message: measured.broker_cpu.map(micros),
            baseline_cpu_us_per_message: measured.bulk_cpu.map(micros),
            allocations_per_message: measured.allocations.map(millionths),
            bytes_written_per_byte: measured
                .written
                .map(|written| rounded(as_f64(written) / payload)),
        }
    }

    /// Returns the median of each figure. A ratio is the median of the ratios of the runs.
    fn median(runs: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(runs.iter().map(figure));
        let any = |figure: fn(&Self) -> Option<f64>| median(runs.iter().filter_map(figure));
        let times = |figure: fn(&Self) -> Option<&Quantiles>| {
            Quantiles::median(runs.iter().filter_map(figure))
        };
        Self {
            messages_per_second: of(|run| run.messages_per_second).unwrap_or_default(),
            megabytes_per_second: of(|run| run.megabytes_per_second).unwrap_or_default(),
            baseline_megabytes_per_second: any(|run| run.baseline_megabytes_per_second),
            efficiency: any(|run| run.efficiency),
            ack_ms: times(|run| Some(&run.ack_ms)).unwrap_or(Quantiles {
                p50: 0.0,
                p90: 0.0,
                p99: 0.0,
                p999: 0.0,
                max: 0.0,
            }),
            baseline_ms: times(|run| run.baseline_ms.as_ref()),
            latency_ratio: any(|run| run.latency_ratio),
            disk_megabytes_per_second: any(|run| run.disk_megabytes_per_second),
            disk_group_bytes: any(|run| run.disk_group_bytes),
            disk_ms: times(|run| run.disk_ms.as_ref()),
            disk_efficiency: any(|run| run.disk_efficiency),
            client_cpu_us_per_message: any(|run| run.client_cpu_us_per_message),
            broker_cpu_us_per_message: any(|run| run.broker_cpu_us_per_message),
            baseline_cpu_us_per_message: any(|run| run.baseline_cpu_us_per_message),
            allocations_per_message: any(|run| run.allocations_per_message),
            bytes_written_per_byte: any(|run| run.bytes_written_per_byte),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages/s, {:.1} MB/s, p50 {:.3} ms, p99 {:.3} ms",
            HumanCount(whole(self.messages_per_second)),
            self.megabytes_per_second,
            self.ack_ms.p50,
            self.ack_ms.p99,
        )?;
        if let (Some(baseline), Some(ratio)) = (self.baseline_megabytes_per_second, self.efficiency)
        {
            write!(f, "; quinn {baseline:.1} MB/s, ratio {ratio:.3}")?;
        }
        if let (Some(alone), Some(ratio)) = (&self.baseline_ms, self.latency_ratio) {
            write!(f, "; quinn p50 {:.3} ms, ratio {ratio:.2}", alone.p50)?;
        }
        if let (Some(disk), Some(ratio)) = (self.disk_megabytes_per_second, self.disk_efficiency) {
            write!(f, "; disk {disk:.1} MB/s, ratio {ratio:.3}")?;
        }
        Ok(())
    }
}

/// The smallest and the largest figure of the runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Spread {
    min: f64,
    max: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        Some(Self {
            min: figures.clone().reduce(f64::min)?,
            max: figures.reduce(f64::max)?,
        })
    }
}

/// The whole measurement.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    setting: Setting,
    #[serde(flatten)]
    median: Run,
    messages_per_second_spread: Option<Spread>,
    efficiency_spread: Option<Spread>,
    peak_rss_bytes: Option<u64>,
    /// Largest number of lanes that a producer had open at once.
    lanes_max: usize,
    runs: Vec<Run>,
}

impl Report {
    pub(super) fn new(
        setting: Setting,
        runs: Vec<Run>,
        lanes_max: usize,
        peak_rss_bytes: Option<u64>,
    ) -> Self {
        Self {
            setting,
            median: Run::median(&runs),
            messages_per_second_spread: Spread::of(runs.iter().map(|run| run.messages_per_second)),
            efficiency_spread: Spread::of(runs.iter().filter_map(|run| run.efficiency)),
            peak_rss_bytes,
            lanes_max,
            runs,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            setting, median, ..
        } = self;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, what: fmt::Arguments<'_>| {
            writeln!(f, "{name:<20}{what}")
        };
        let embedded = setting.store.is_some();
        row(
            f,
            "measured",
            format_args!(
                "{} runs of {} messages of {} bytes, mode {}, strategy {}, {}",
                self.runs.len(),
                HumanCount(setting.messages),
                setting.size,
                setting.mode,
                setting.strategy,
                match &setting.store {
                    Some(store) => format!("store {store}"),
                    None => "a broker elsewhere".into(),
                }
            ),
        )?;
        let thousands = |figure| HumanCount(whole(figure)).to_string();
        let spread = self
            .messages_per_second_spread
            .map_or_else(String::new, |s| {
                format!(" ({} to {})", thousands(s.min), thousands(s.max))
            });
        row(
            f,
            "messages/s",
            format_args!("{}{spread}", thousands(median.messages_per_second)),
        )?;
        row(
            f,
            "MB/s",
            format_args!("{:.1}", median.megabytes_per_second),
        )?;
        if let (Some(baseline), Some(ratio), Some(spread)) = (
            median.baseline_megabytes_per_second,
            median.efficiency,
            self.efficiency_spread,
        ) {
            row(
                f,
                "quinn alone, MB/s",
                format_args!(
                    "{baseline:.1}; ratio {ratio:.3} ({:.3} to {:.3})",
                    spread.min, spread.max
                ),
            )?;
        }
        if let (Some(disk), Some(ratio)) =
            (median.disk_megabytes_per_second, median.disk_efficiency)
        {
            row(
                f,
                "disk alone, MB/s",
                format_args!(
                    "{disk:.1} in groups of {}; ratio {ratio:.3}",
                    HumanBytes(whole(median.disk_group_bytes.unwrap_or(0.0)))
                ),
            )?;
        }
        let quantiles = [
            ("call to receipt, ms", Some(&median.ack_ms)),
            ("quinn alone, ms", median.baseline_ms.as_ref()),
            ("disk alone, ms", median.disk_ms.as_ref()),
        ];
        for (name, times) in quantiles {
            if let Some(times) = times {
                row(f, name, format_args!("{times}"))?;
            }
        }
        if let Some(ratio) = median.latency_ratio {
            row(f, "ratio of p50", format_args!("{ratio:.2}"))?;
        }
        if let Some(cpu) = median.client_cpu_us_per_message {
            let who = if embedded { "both ends" } else { "client" };
            row(f, "CPU, us/message", format_args!("{cpu:.3} ({who})"))?;
        }
        if let Some(cpu) = median.broker_cpu_us_per_message {
            row(f, "", format_args!("{cpu:.3} (broker)"))?;
        }
        if let Some(cpu) = median.baseline_cpu_us_per_message {
            row(f, "", format_args!("{cpu:.3} (quinn alone, both ends)"))?;
        }
        if let Some(written) = median.bytes_written_per_byte {
            row(f, "disk bytes/byte", format_args!("{written:.3}"))?;
        }
        if let Some(allocations) = median.allocations_per_message {
            row(f, "allocations/message", format_args!("{allocations:.4}"))?;
        }
        if let Some(bytes) = self.peak_rss_bytes {
            row(f, "peak memory", format_args!("{}", HumanBytes(bytes)))?;
        }
        write!(f, "{:<20}{}", "most lanes", self.lanes_max)
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {:.3}, p90 {:.3}, p99 {:.3}, p99.9 {:.3}, max {:.3}",
            self.p50, self.p90, self.p99, self.p999, self.max
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::times;

    /// Returns a run in which a message took `took` microseconds, and its bytes with quinn alone took `alone`.
    fn run(took: u64, alone: u64) -> Run {
        let mut acks = times();
        acks.record(took * 1000).unwrap();
        Run::new(Measured {
            messages: 1000,
            size: 100,
            sent: Sent {
                took: Duration::from_micros(took * 1000),
                acks,
            },
            client_cpu: Some(Duration::from_nanos(350)),
            broker_cpu: None,
            bulk: Some(Duration::from_micros(alone * 1000)),
            bulk_cpu: None,
            allocations: None,
            written: None,
            ping_pong: None,
            disk: None,
        })
    }

    #[test]
    fn the_figures_of_a_run_are_amounts_over_times() {
        let run = run(2, 1);
        assert_eq!(run.messages_per_second, 500_000.0);
        assert_eq!(run.megabytes_per_second, 50.0);
        assert_eq!(run.baseline_megabytes_per_second, Some(100.0));
        assert_eq!(run.efficiency, Some(0.5));
        assert_eq!(run.client_cpu_us_per_message, Some(0.35));
        assert_eq!(run.disk_efficiency, None);
    }

    #[test]
    fn the_ratio_is_the_median_of_the_ratios_and_not_the_ratio_of_the_medians() {
        // The ratios are 1/2, 1/4 and 1/2; that of the medians of the times, 1 and 4, is 1/4.
        let median = Run::median(&[run(2, 1), run(4, 1), run(100, 50)]);
        assert_eq!(median.efficiency, Some(0.5));
        assert_eq!(median.messages_per_second, 250_000.0);
        // The maximum is not a median.
        assert!((median.ack_ms.max - 0.1).abs() < 0.001, "{median:?}");
        assert!((median.ack_ms.p50 - 0.004).abs() < 0.001, "{median:?}");
    }
}
