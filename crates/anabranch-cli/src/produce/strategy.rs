//! Pure: how many streams, as it is written on the command line.

use std::{fmt, num::NonZeroUsize, str::FromStr};

use anabranch::{producer::Strategy, scaler::MAX_LANES};

/// Streams that are open at once, where each message has its own: what a broker allows by default, with some left
/// for the rest.
const PER_MESSAGE: NonZeroUsize = NonZeroUsize::new(100).expect("it is not zero");

/// How many streams carry messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    Adaptive,
    Fixed(NonZeroUsize),
    PerMessage,
}

impl FromStr for Streams {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "adaptive" => return Ok(Self::Adaptive),
            "per-message" => return Ok(Self::PerMessage),
            _ => {}
        }
        match text.parse::<NonZeroUsize>() {
            Ok(lanes) if lanes.get() <= MAX_LANES => Ok(Self::Fixed(lanes)),
            _ => Err(format!(
                "must be adaptive, per-message or a number from 1 to {MAX_LANES}"
            )),
        }
    }
}

impl fmt::Display for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adaptive => f.write_str("adaptive"),
            Self::Fixed(lanes) => lanes.fmt(f),
            Self::PerMessage => f.write_str("per-message"),
        }
    }
}

impl Streams {
    /// The same for the library.
    pub(crate) fn strategy(self) -> Strategy {
        match self {
            Self::Adaptive => Strategy::Adaptive,
            Self::Fixed(lanes) => Strategy::Fixed(lanes),
            Self::PerMessage => Strategy::PerMessage(PER_MESSAGE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_is_a_word_or_a_number_of_lanes() {
        assert_eq!("adaptive".parse(), Ok(Streams::Adaptive));
        assert_eq!("per-message".parse(), Ok(Streams::PerMessage));
        let lanes = NonZeroUsize::new(64).unwrap();
        assert_eq!("64".parse(), Ok(Streams::Fixed(lanes)));
        for text in ["adaptive", "per-message", "64"] {
            assert_eq!(text.parse::<Streams>().unwrap().to_string(), text);
        }
        for wrong in ["", "0", "65", "-1", "Adaptive", "many"] {
            assert!(wrong.parse::<Streams>().is_err(), "{wrong}");
        }
    }
}
