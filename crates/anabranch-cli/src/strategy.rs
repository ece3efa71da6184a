//! Sans-I/O: the value of the flag `--strategy`.

use std::{fmt, num::NonZeroUsize, str::FromStr};

use anabranch::{producer::Strategy, scaler::MAX_LANES};

/// Streams that are open at once with one stream per message. A few less than a broker permits by default, for its other
/// streams.
const PER_MESSAGE_STREAMS: NonZeroUsize = NonZeroUsize::new(100).expect("100 is not 0");

/// How many lanes carry messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lanes {
    Adaptive,
    Fixed(NonZeroUsize),
    PerMessage,
}

impl FromStr for Lanes {
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

impl fmt::Display for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adaptive => f.write_str("adaptive"),
            Self::Fixed(lanes) => lanes.fmt(f),
            Self::PerMessage => f.write_str("per-message"),
        }
    }
}

impl Lanes {
    /// Converts to the library's type.
    pub(crate) fn strategy(self) -> Strategy {
        match self {
            Self::Adaptive => Strategy::Adaptive,
            Self::Fixed(lanes) => Strategy::Fixed(lanes),
            Self::PerMessage => Strategy::PerMessage(PER_MESSAGE_STREAMS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_is_a_word_or_a_number_of_lanes() {
        assert_eq!("adaptive".parse(), Ok(Lanes::Adaptive));
        assert_eq!("per-message".parse(), Ok(Lanes::PerMessage));
        let lanes = NonZeroUsize::new(64).unwrap();
        assert_eq!("64".parse(), Ok(Lanes::Fixed(lanes)));
        for text in ["adaptive", "per-message", "64"] {
            assert_eq!(text.parse::<Lanes>().unwrap().to_string(), text);
        }
        for wrong in ["", "0", "65", "-1", "Adaptive", "many"] {
            assert!(wrong.parse::<Lanes>().is_err(), "{wrong}");
        }
    }
}
