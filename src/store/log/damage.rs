//! Sans-I/O: what was found to be damaged while the store runs.

use std::collections::BTreeMap;

use crate::{Offset, TopicName};

/// The most places that are remembered.
const MOST: usize = 1000;

/// Damage that was found by reads and by the verification.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// The number of messages of each damaged batch, by its place.
    batches: BTreeMap<(TopicName, Offset), u32>,
    /// Places of which no batch can be told, in words.
    places: Vec<String>,
    /// There is more than is remembered.
    more: bool,
}

impl Damage {
    /// Adds a batch. `false` if it is known.
    pub(super) fn add(&mut self, topic: &TopicName, base: Offset, count: u32) -> bool {
        let place = (topic.clone(), base);
        if self.batches.contains_key(&place) {
            return false;
        }
        if self.batches.len() >= MOST {
            return !std::mem::replace(&mut self.more, true);
        }
        self.batches.insert(place, count);
        true
    }

    /// Adds a place that cannot be read. `false` if it is known.
    pub(super) fn add_place(&mut self, place: &str) -> bool {
        if self.places.iter().any(|known| known == place) {
            return false;
        }
        if self.places.len() >= MOST {
            return !std::mem::replace(&mut self.more, true);
        }
        self.places.push(place.to_owned());
        true
    }

    /// Drops what retention has removed from a topic.
    pub(super) fn trimmed(&mut self, topic: &TopicName, first: Offset) {
        if self.batches.is_empty() {
            return;
        }
        self.batches.retain(|(name, base), count| {
            name != topic || base.0.saturating_add((*count).into()) > first.0
        });
    }

    /// Returns what is damaged, in a sentence; `None` if nothing is known to be.
    pub(super) fn said(&self) -> Option<String> {
        let least = if self.more { "at least " } else { "" };
        let batches = self.batches.first_key_value().map(|((topic, base), _)| {
            let messages: u64 = self.batches.values().map(|count| u64::from(*count)).sum();
            format!(
                "{least}{messages} messages in {} batches do not match their checksums, the first at topic {topic}, offset {base}",
                self.batches.len()
            )
        });
        let places = self.places.first().map(|first| match self.places.len() {
            1 => first.clone(),
            count => format!("{first}, and {least}{} places more", count - 1),
        });
        match (batches, places) {
            (Some(batches), Some(places)) => Some(format!("{batches}; {places}")),
            (batches, places) => batches.or(places),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_counted_once_and_bounded_and_goes_with_what_is_trimmed() {
        let mut damage = Damage::default();
        assert_eq!(damage.said(), None);
        let a = TopicName::new("a").unwrap();
        assert!(damage.add(&a, Offset(5), 2));
        assert!(!damage.add(&a, Offset(5), 2));
        assert!(
            damage
                .said()
                .unwrap()
                .starts_with("2 messages in 1 batches")
        );
        for n in 0..2 * MOST as u64 {
            damage.add(&a, Offset(10 + n), 1);
        }
        assert_eq!(damage.batches.len(), MOST);
        assert!(damage.said().unwrap().starts_with("at least"));
        damage.trimmed(&a, Offset(6));
        assert_eq!(damage.batches.len(), MOST, "a message of it is left");
        damage.trimmed(&a, Offset(7));
        assert_eq!(damage.batches.len(), MOST - 1);
    }
}
