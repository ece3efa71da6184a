//! Sans-I/O: how many streams carry the messages of `send_async`, and what becomes of two producers of one name.

use std::{fmt, num::NonZeroUsize, str::FromStr, sync::Arc};

use crate::{
    config::ConfigError,
    scaler::{self, Adaptive, Fixed, MAX_LANES, ScalePolicy},
};

/// The streams of [`Strategy::PerMessage`] where a text names no number: a few less than a broker permits by default.
const PER_MESSAGE: NonZeroUsize = NonZeroUsize::new(100).expect("100 is not 0");

/// How many streams carry the messages of `send_async`.
///
/// Can be read from text: `adaptive`, a number of lanes such as `8`, `per-message`, or `per-message:50`.
///
/// ```
/// use anabranch::producer::Strategy;
///
/// let strategy: Strategy = "8".parse()?;
/// assert!(matches!(strategy, Strategy::Fixed(lanes) if lanes.get() == 8));
/// # Ok::<_, anabranch::producer::StrategyError>(())
/// ```
#[derive(Clone, Default)]
pub enum Strategy {
    /// One lane, and more while the backlog passes a threshold and another lane helps: [`scaler::Adaptive`] with
    /// [`Config::scaler`](super::Config::scaler).
    #[default]
    Adaptive,
    /// Always this number of lanes, at most [`scaler::MAX_LANES`].
    Fixed(NonZeroUsize),
    /// A stream for each message, and at most this number of open streams: the naive way, for comparison. The broker's own
    /// limit applies too.
    PerMessage(NonZeroUsize),
    /// As many lanes as a policy of your own decides. See [`Strategy::custom`].
    Custom(PolicyFactory),
}

/// Makes a scaling policy for each producer that starts.
#[derive(Clone)]
pub struct PolicyFactory(Arc<dyn Fn() -> Box<dyn ScalePolicy> + Send + Sync>);

impl fmt::Debug for PolicyFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PolicyFactory")
    }
}

/// The lanes that a strategy leads to.
pub(super) enum Scaling {
    /// Lanes, as many as this policy decides.
    Policy(Box<dyn ScalePolicy>),
    /// No lanes, and at most this number of streams.
    PerMessage(usize),
}

impl Strategy {
    /// Lets a policy decide. `make` is called once for each producer that starts.
    pub fn custom<P: ScalePolicy + 'static>(make: impl Fn() -> P + Send + Sync + 'static) -> Self {
        Self::Custom(PolicyFactory(Arc::new(move || Box::new(make()))))
    }

    /// Returns the most lanes that it leads to.
    pub(super) const fn max_lanes(&self, scaler: &scaler::Config) -> usize {
        match self {
            Self::Adaptive => scaler.max_lanes,
            Self::Fixed(n) => n.get(),
            Self::Custom(_) => MAX_LANES,
            Self::PerMessage(_) => 1,
        }
    }

    /// Makes the policy, if there are lanes.
    pub(super) fn scaling(&self, scaler: &scaler::Config) -> Result<Scaling, ConfigError> {
        Ok(match self {
            Self::Adaptive => Scaling::Policy(Box::new(Adaptive::new(scaler.clone())?)),
            Self::Fixed(n) => Scaling::Policy(Box::new(Fixed::new(*n))),
            Self::PerMessage(streams) => Scaling::PerMessage(streams.get()),
            Self::Custom(PolicyFactory(make)) => Scaling::Policy(make()),
        })
    }
}

/// A text that is not a [`Strategy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be adaptive, per-message, per-message:STREAMS or a number of lanes from 1 to {MAX_LANES}"
)]
pub struct StrategyError(());

impl FromStr for Strategy {
    type Err = StrategyError;

    fn from_str(text: &str) -> Result<Self, StrategyError> {
        let wrong = |_| StrategyError(());
        match (text, text.strip_prefix("per-message:")) {
            ("adaptive", _) => return Ok(Self::Adaptive),
            ("per-message", _) => return Ok(Self::PerMessage(PER_MESSAGE)),
            (_, Some(streams)) => return streams.parse().map(Self::PerMessage).map_err(wrong),
            _ => {}
        }
        let lanes: NonZeroUsize = text.parse().map_err(wrong)?;
        match lanes.get() <= MAX_LANES {
            true => Ok(Self::Fixed(lanes)),
            false => Err(StrategyError(())),
        }
    }
}

/// Writes the text that [`Strategy::from_str`] reads, and `custom` for a policy of your own.
impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adaptive => f.write_str("adaptive"),
            Self::Fixed(n) => n.fmt(f),
            Self::PerMessage(n) => write!(f, "per-message:{n}"),
            Self::Custom(_) => f.write_str("custom"),
        }
    }
}

impl fmt::Debug for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(feature = "serde")]
crate::de::text_option!(Strategy, Strategy::from_str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strategy_is_read_from_a_word_or_a_number_of_lanes() {
        for text in ["adaptive", "1", "64", "per-message:50"] {
            assert_eq!(text.parse::<Strategy>().unwrap().to_string(), text);
        }
        let named: Strategy = "per-message".parse().unwrap();
        assert_eq!(named.to_string(), "per-message:100");
        for wrong in [
            "",
            "0",
            "65",
            "-1",
            "Adaptive",
            "per-message:0",
            "per-message:",
            "custom",
        ] {
            assert!(wrong.parse::<Strategy>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_policy_is_made_for_each_producer() {
        let strategy = Strategy::custom(|| Fixed::new(NonZeroUsize::MIN));
        for strategy in [strategy.clone(), strategy] {
            let scaling = strategy.scaling(&scaler::Config::default()).unwrap();
            assert!(matches!(scaling, Scaling::Policy(_)));
        }
    }
}
