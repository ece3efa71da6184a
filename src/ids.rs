//! Numbers that mean something, each with a type of its own.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<u64> for $name {
            fn from(n: u64) -> Self {
                Self(n)
            }
        }
    };
}

number! {
    /// Names one request of one producer, for as long as that producer lives. A request that is sent again
    /// keeps its id, which is how the broker knows that it has it already.
    RequestId
}
number! {
    /// The place of a message in its topic, counted from 0 and never used twice.
    Offset
}
number! {
    /// One incarnation of a producer: given by the broker when the producer first connects, kept across
    /// its reconnects, never given again. Of two incarnations of one name, the later has the greater number.
    ProducerId
}
number! {
    /// Milliseconds since the Unix epoch.
    Timestamp
}
