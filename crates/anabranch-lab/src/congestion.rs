//! Sans-I/O: the congestion controllers that scenarios and cases name.

use std::{fmt, str::FromStr};

use anabranch::conn::Congestion;

/// The congestion controller of both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Controller {
    /// quinn's CUBIC, the producer's default.
    Cubic,
    /// quinn's New Reno.
    NewReno,
    /// quinn's BBR.
    Bbr,
    /// Thalweg, this project's own.
    Thalweg,
}

impl From<Controller> for Congestion {
    fn from(controller: Controller) -> Self {
        match controller {
            Controller::Cubic => Self::Cubic,
            Controller::NewReno => Self::NewReno,
            Controller::Bbr => Self::Bbr,
            Controller::Thalweg => Self::Thalweg,
        }
    }
}

impl FromStr for Controller {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "cubic" => Ok(Self::Cubic),
            "newreno" => Ok(Self::NewReno),
            "bbr" => Ok(Self::Bbr),
            "thalweg" => Ok(Self::Thalweg),
            _ => Err("must be cubic, newreno, bbr or thalweg".to_owned()),
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cubic => "cubic",
            Self::NewReno => "newreno",
            Self::Bbr => "bbr",
            Self::Thalweg => "thalweg",
        })
    }
}
