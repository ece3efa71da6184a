//! Where a reader starts.
//!
//! A broker starts a subscription at the earliest or latest message, or at an offset. The last messages, and those since a
//! time, are an offset that is found first: with one subscription for the bounds of the topic, and for a time with one more
//! for each halving of the offsets between them.

use std::{str::FromStr, time::Duration};

use anabranch::{
    Offset, Timestamp,
    consumer::{Config, ConsumeError, Consumer, Start},
    units,
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The value of `--from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct From(pub(super) Start);

impl FromStr for From {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match text {
            "earliest" => Start::Earliest,
            "latest" => Start::Latest,
            offset => {
                let offset = offset.parse();
                Start::Offset(Offset(
                    offset.map_err(|_| "must be earliest, latest or an offset")?,
                ))
            }
        }))
    }
}

/// The value of `--since`: a time, or a time that has passed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    At(Timestamp),
    Ago(Duration),
}

impl FromStr for Since {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ago) = units::parse_duration(text) {
            return Ok(Self::Ago(ago));
        }
        let time = OffsetDateTime::parse(text, &Rfc3339);
        let time = time.map_err(
            |_| "must be a time such as 2026-01-31T09:00:00Z, or 15m for 15 minutes ago",
        )?;
        let millis = time.unix_timestamp_nanos() / 1_000_000;
        Ok(Self::At(Timestamp(u64::try_from(millis).unwrap_or(0))))
    }
}

impl Since {
    fn time(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::Ago(ago) => {
                let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
                Timestamp(now.0.saturating_sub(ago))
            }
        }
    }
}

/// Subscribes without a name at `from`, with room for one batch.
async fn look(config: &Config, from: Start) -> Result<Consumer, ConsumeError> {
    let mut config = config.clone();
    config.name = None;
    config.from = from;
    config.credit_bytes = 1;
    Consumer::builder().config(config).subscribe().await
}

/// Returns where the last `count` messages of the topic start.
pub(super) async fn last(config: &Config, count: u64) -> Result<Start, ConsumeError> {
    let topic = look(config, Start::Earliest).await?;
    let start = topic.end().0.saturating_sub(count).max(topic.start().0);
    Ok(Start::Offset(Offset(start)))
}

/// Returns where the messages start that were stored at `since` or later, by the broker's clock.
pub(super) async fn since(config: &Config, since: Since) -> Result<Start, ConsumeError> {
    let since = since.time(std::time::SystemTime::now().into());
    let topic = look(config, Start::Earliest).await?;
    let mut search = Search {
        low: topic.start().0,
        high: topic.end().0,
    };
    drop(topic);
    while let Some(middle) = search.next() {
        let mut consumer = look(config, Start::Offset(Offset(middle))).await?;
        let found = match consumer.is_caught_up() {
            true => None,
            false => Some(consumer.recv().await?),
        };
        let before = found.filter(|message| message.time < since);
        search.on_answer(middle, before.map(|message| message.offset.0));
    }
    Ok(Start::Offset(Offset(search.low)))
}

/// A binary search for the first offset that is not before a time.
#[derive(Debug)]
struct Search {
    low: u64,
    high: u64,
}

impl Search {
    /// Returns the offset to look at next. `None`: `low` is the answer.
    fn next(&self) -> Option<u64> {
        (self.low < self.high).then(|| self.low + (self.high - self.low) / 2)
    }

    /// Takes what the first message at or after `middle` says: its offset if it is before the time, else `None`.
    fn on_answer(&mut self, middle: u64, before: Option<u64>) {
        match before {
            Some(offset) => self.low = offset.max(middle).saturating_add(1).min(self.high),
            None => self.high = middle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_a_word_or_an_offset() {
        assert_eq!("earliest".parse(), Ok(From(Start::Earliest)));
        assert_eq!("latest".parse(), Ok(From(Start::Latest)));
        assert_eq!("7".parse(), Ok(From(Start::Offset(Offset(7)))));
        for wrong in ["", "-1", "first", "Earliest"] {
            assert!(wrong.parse::<From>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_a_date_or_a_duration_ago() {
        let at = |millis| Ok(Since::At(Timestamp(millis)));
        assert_eq!("2023-11-14T22:13:20.5Z".parse(), at(1_700_000_000_500));
        assert_eq!("2023-11-14T23:13:20+01:00".parse(), at(1_700_000_000_000));
        assert_eq!("15m".parse(), Ok(Since::Ago(Duration::from_secs(900))));
        let ago: Since = "2s".parse().unwrap();
        assert_eq!(ago.time(Timestamp(5000)), Timestamp(3000));
        assert_eq!(ago.time(Timestamp(5)), Timestamp(0));
        for wrong in ["", "yesterday", "2023-11-14", "12:00"] {
            assert!(wrong.parse::<Since>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_search_finds_the_first_offset_whatever_retention_left() {
        // Offsets that exist, and the first of them that is not before the time.
        for (first, end, gap) in [
            (0, 100, 0..0),
            (40, 100, 40..70),
            (0, 1, 0..0),
            (7, 7, 0..0),
        ] {
            for answer in first..=end {
                let exists = |offset: &u64| !gap.contains(offset);
                let mut search = Search {
                    low: first,
                    high: end,
                };
                let mut looks = 0;
                while let Some(middle) = search.next() {
                    looks += 1;
                    let found = (middle..end).find(exists);
                    search.on_answer(middle, found.filter(|offset| *offset < answer));
                }
                let expected = (answer..end).find(exists).unwrap_or(end);
                let found = (search.low..end).find(exists).unwrap_or(end);
                assert_eq!(found, expected, "{first}..{end} without {gap:?}");
                assert!(looks <= 8, "{looks}");
            }
        }
    }
}
