//! Options from files and the environment: every option has one form as text, whatever the format around it.

use std::{fmt, marker::PhantomData, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, Unexpected, Visitor},
};

use crate::units;

/// A value that options have: durations and sizes are written with units, other types as text or as they are.
pub(crate) trait ReadOption: Sized {
    /// Replaces the value by what is written. A table keeps those of its fields that are left out.
    fn read<'de, D: Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error>;
}

/// The value of an option that is being read.
pub(crate) struct Slot<'a, T>(pub(crate) &'a mut T);

impl<'de, T: ReadOption> DeserializeSeed<'de> for Slot<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.0.read(from)
    }
}

/// Reads text by a function.
struct Text<T, E>(fn(&str) -> Result<T, E>);

impl<T, E: fmt::Display> Visitor<'_> for Text<T, E> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<F: Error>(self, text: &str) -> Result<T, F> {
        (self.0)(text).map_err(|error| F::custom(format_args!("{text:?}: {error}")))
    }
}

/// Reads a whole number, or a size with a unit.
struct Size<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for Size<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a size with a unit, such as 65536 or \"64KiB\"")
    }

    fn visit_u64<F: Error>(self, number: u64) -> Result<T, F> {
        let wrong = || F::invalid_value(Unexpected::Unsigned(number), &self);
        T::try_from(number).map_err(|_| wrong())
    }

    fn visit_i64<F: Error>(self, number: i64) -> Result<T, F> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(F::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_str<F: Error>(self, text: &str) -> Result<T, F> {
        let number = units::parse_size(text)
            .map_err(|error| F::custom(format_args!("{text:?}: {error}")))?;
        self.visit_u64(number)
    }
}

/// Reads a number, or a percentage.
struct Ratio;

impl Visitor<'_> for Ratio {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a percentage, such as 0.1 or \"10%\"")
    }

    fn visit_f64<F: Error>(self, number: f64) -> Result<f64, F> {
        Ok(number)
    }

    #[allow(clippy::cast_precision_loss, reason = "a ratio is a small number")]
    fn visit_u64<F: Error>(self, number: u64) -> Result<f64, F> {
        Ok(number as f64)
    }

    fn visit_str<F: Error>(self, text: &str) -> Result<f64, F> {
        units::parse_ratio(text).map_err(|error| F::custom(format_args!("{text:?}: {error}")))
    }
}

macro_rules! written {
    ($($type:ty: $reader:expr, $method:ident;)+) => {$(
        impl ReadOption for $type {
            fn read<'de, D: Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
                *self = from.$method($reader)?;
                Ok(())
            }
        }
    )+};
}

written! {
    Duration: Text(units::parse_duration), deserialize_str;
    SocketAddr: Text(SocketAddr::from_str), deserialize_str;
    u16: Size(PhantomData), deserialize_any;
    u32: Size(PhantomData), deserialize_any;
    u64: Size(PhantomData), deserialize_any;
    usize: Size(PhantomData), deserialize_any;
    f64: Ratio, deserialize_any;
}

macro_rules! as_it_is {
    ($($type:ty),+ $(,)?) => {$(
        impl ReadOption for $type {
            fn read<'de, D: Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
                *self = Self::deserialize(from)?;
                Ok(())
            }
        }
    )+};
}

as_it_is!(bool, String, PathBuf, Vec<String>);

/// `none` switches off what a duration switches on.
impl ReadOption for Option<Duration> {
    fn read<'de, D: Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
        let read = |text: &str| match text {
            "none" => Ok(None),
            text => units::parse_duration(text).map(Some),
        };
        *self = from.deserialize_str(Text(read))?;
        Ok(())
    }
}

/// Makes options that have no value unless they are written, from a type that has a default.
macro_rules! where_given {
    ($($type:ty = $default:expr),+ $(,)?) => {$(
        impl $crate::de::ReadOption for Option<$type> {
            fn read<'de, D: serde::Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
                self.get_or_insert_with(|| $default).read(from)
            }
        }
    )+};
}
pub(crate) use where_given;

where_given!(
    SocketAddr = SocketAddr::from(([0; 4], 0)),
    String = String::new(),
    PathBuf = PathBuf::new(),
    u64 = 0,
);

/// Reads text by a function.
pub(crate) fn text<'de, D, T, E>(from: D, read: fn(&str) -> Result<T, E>) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: fmt::Display,
{
    from.deserialize_str(Text(read))
}

/// Makes an option of a type that is read from text.
macro_rules! text_option {
    ($type:ty, $read:expr) => {
        impl $crate::de::ReadOption for $type {
            fn read<'de, D: serde::Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
                *self = $crate::de::text(from, $read)?;
                Ok(())
            }
        }
    };
}
pub(crate) use text_option;

/// Makes a struct of options deserialise: fields that are left out keep their defaults, and a name that is no field is an
/// error. Every field must be listed, those that cannot be written as text after `except`.
macro_rules! table_of_options {
    (
        $config:ident = $default:expr;
        $($(#[$meta:meta])? $field:ident),+ $(,)?
        $(; except $($other:ident),+)?
    ) => {
        impl $crate::de::ReadOption for $config {
            fn read<'de, D: serde::Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
                const FIELDS: &[&str] = &[$($(#[$meta])? stringify!($field)),+];
                struct Table<'a>(&'a mut $config);
                impl<'de> serde::de::Visitor<'de> for Table<'_> {
                    type Value = ();

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a table of options")
                    }

                    fn visit_map<A>(self, mut map: A) -> Result<(), A::Error>
                    where
                        A: serde::de::MapAccess<'de>,
                    {
                        use $crate::de::Slot;
                        let $config {
                            $($(#[$meta])? $field,)+ $($($other: _,)+)?
                        } = self.0;
                        while let Some(name) = map.next_key::<String>()? {
                            match name.as_str() {
                                $($(#[$meta])? stringify!($field) => {
                                    map.next_value_seed(Slot(&mut *$field))?;
                                })+
                                name => return Err(serde::de::Error::unknown_field(name, FIELDS)),
                            }
                        }
                        Ok(())
                    }
                }
                from.deserialize_struct(stringify!($config), FIELDS, Table(self))
            }
        }

        impl<'de> serde::Deserialize<'de> for $config {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let mut config: $config = $default;
                $crate::de::ReadOption::read(&mut config, from)?;
                Ok(config)
            }
        }
    };
}
pub(crate) use table_of_options;

#[cfg(all(test, feature = "producer"))]
mod tests {
    use std::time::Duration;

    use crate::producer::{Config, NameConflict, Strategy, WhenFull};

    fn read(text: &str) -> Result<Config, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_read_with_units_and_those_left_out_keep_their_defaults() {
        let config = read(
            r#"{
                "topic": "events",
                "strategy": "8",
                "name": "p",
                "name_conflict": "distinct",
                "when_full": "250ms",
                "buffer_bytes": "1.5MiB",
                "buffer_messages": 1000,
                "linger": "5ms",
                "scaler": { "min_gain": "20%", "max_lanes": 4 },
                "pool": { "check_interval": "none", "max_age": "1h" },
                "connection": {
                    "servers": ["a.example:1", "b.example:2"],
                    "token": "secret",
                    "tls": { "ca_file": "ca.pem", "certificate": "c.pem", "key": "k.pem" },
                    "reconnect_backoff": { "max": "1m" },
                    "transport": { "congestion": "thalweg", "gso": false }
                }
            }"#,
        )
        .unwrap();
        config.check().unwrap();
        assert!(matches!(config.strategy, Strategy::Fixed(n) if n.get() == 8));
        assert_eq!(config.name_conflict, NameConflict::Distinct);
        let patience = Duration::from_millis(250);
        assert_eq!(config.when_full, WhenFull::WaitFor(patience));
        assert_eq!(
            (config.buffer_bytes, config.buffer_messages),
            (3 << 19, 1000)
        );
        assert_eq!(config.batch_bytes, Config::default().batch_bytes);
        assert_eq!((config.scaler.min_gain, config.scaler.max_lanes), (0.2, 4));
        assert_eq!(config.pool.check_interval, None);
        assert_eq!(config.pool.max_age, Some(Duration::from_secs(3600)));
        assert_eq!(config.connection.servers.len(), 2);
        assert_eq!(config.connection.token.read().unwrap(), "secret");
        assert!(!config.connection.transport.gso);
    }

    #[test]
    fn a_wrong_option_is_told_with_its_text_and_what_it_should_be() {
        for (text, told) in [
            (r#"{"linger": "soon"}"#, r#""soon": expected a duration"#),
            (r#"{"linger": 5}"#, "expected text"),
            (r#"{"batch_bytes": "1 K"}"#, "expected a size"),
            (r#"{"batch_messages": -1}"#, "a number or a size"),
            (r#"{"strategy": "many"}"#, "must be adaptive"),
            (r#"{"bufer_bytes": 1}"#, "unknown field `bufer_bytes`"),
            (r#"{"pool": {"most": 1}}"#, "unknown field `most`"),
            (
                r#"{"connection": {"tls": {"certificate": "c.pem"}}}"#,
                "certificate and key",
            ),
            (
                r#"{"connection": {"transport": {"congestion": "fast"}}}"#,
                "must be cubic",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[cfg(feature = "spool")]
    #[test]
    fn a_spool_needs_its_folder() {
        let config = read(r#"{"spool": {"folder": "here", "max_bytes": "2GiB"}}"#).unwrap();
        let spool = config.spool.unwrap();
        assert_eq!(spool.max_bytes, 2 << 30);
        let config = read(r#"{"spool": {"receipts": "when-spooled"}}"#).unwrap();
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains("spool.folder"), "{error}");
    }
}
