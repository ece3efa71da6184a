//! Text that looks like a log, the same in every run.

use std::fmt::Write;

/// A small random number generator (Knuth's), with the same numbers in every run.
pub struct Rng(u64);

impl Rng {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

const WORDS: &[&str] = &[
    "accepted", "lane", "stream", "opened", "closed", "order", "Lübeck", "shipment", "retry",
    "after", "the", "broker", "answered", "timeout", "queue", "数据", "sensor", "reading", "of",
    "value",
];

/// Returns `lines` numbered lines, each with a newline.
pub fn log(lines: u64) -> String {
    let mut rng = Rng::new(lines);
    let mut text = String::new();
    for n in 0..lines {
        write!(text, "2026-11-22T10:{:02}:{:02} {n}", n / 60 % 60, n % 60).unwrap();
        for _ in 0..rng.below(24) {
            let word = rng.below(WORDS.len() as u64);
            text.push(' ');
            text.push_str(WORDS[usize::try_from(word).unwrap()]);
        }
        text.push('\n');
    }
    text
}

/// Returns the lines, sorted by their bytes.
pub fn sorted(text: &[u8]) -> Vec<&[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut lines: Vec<_> = text.split(|byte| *byte == b'\n').collect();
    lines.sort_unstable();
    lines
}
