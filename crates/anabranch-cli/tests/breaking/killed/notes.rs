//! The events that a process writes to its file, one per line, and how they are read back.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use super::process::Part;
use crate::history::{
    ConsumerNumber, Event, History, MessageId, Order, Outcome, ProducerNumber, ReaderName,
};

/// The name of all consumers.
const NAME: ReaderName = ReaderName(0);

/// Returns the file of the `life`th process of a part.
pub fn file(folder: &Path, part: Part, life: u64) -> PathBuf {
    folder.join(format!("{}-{life}", part.name()))
}

/// The file of a process.
pub struct Notes(File);

impl Notes {
    pub fn new(path: &Path) -> Self {
        Self(File::create(path).unwrap())
    }

    /// Writes a line with one system call, so that a kill leaves whole lines.
    pub fn line(&mut self, line: &str) {
        self.0.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Returns the number in a payload.
pub fn id_of(payload: &[u8]) -> MessageId {
    MessageId(std::str::from_utf8(payload).unwrap().parse().unwrap())
}

/// Returns the whole lines of a file, each as a word and numbers.
fn lines(path: &Path) -> Vec<(String, Vec<u64>)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let line = |line: &str| {
        let mut words = line.split(' ');
        let word = words.next().unwrap().to_owned();
        (word, words.map(|n| n.parse().unwrap()).collect())
    };
    whole.lines().map(line).collect()
}

pub fn last_delivered(path: &Path) -> Option<u64> {
    let delivered = lines(path).into_iter().rev();
    let mut delivered = delivered.filter(|(word, _)| word == "delivered");
    delivered.next().map(|(_, numbers)| numbers[0])
}

pub fn read_producer(path: &Path, life: u64, history: &mut History) {
    for (word, numbers) in lines(path) {
        let id = MessageId(numbers[0]);
        history.push(match word.as_str() {
            "call" => Event::Called {
                id,
                producer: ProducerNumber(life),
                order: match numbers[1] {
                    0 => Order::OfCalls,
                    1 => Order::None,
                    key => Order::OfKey(key),
                },
            },
            word => Event::Ended {
                id,
                outcome: match word {
                    "stored" => Outcome::Stored(numbers[1]),
                    "not-stored" => Outcome::NotStored,
                    _ => Outcome::Unknown,
                },
            },
        });
    }
}

pub fn read_consumer(path: &Path, life: u64, history: &mut History) {
    let consumer = ConsumerNumber(life);
    for (word, numbers) in lines(path) {
        let next = numbers[0];
        history.push(match word.as_str() {
            "began" => Event::Began {
                consumer,
                name: NAME,
                next,
            },
            "delivered" => Event::Delivered {
                consumer,
                offset: next,
                id: MessageId(numbers[1]),
            },
            "acknowledged" => Event::Acknowledged { consumer, next },
            _ => Event::Confirmed { consumer, next },
        });
    }
}
