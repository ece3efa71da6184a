//! A server's side of connections.
//!
//! | | |
//! |---|---|
//! | [`server_endpoint`], [`server_config`] | the QUIC endpoint |
//! | [`Admission`] | which attempts to connect are accepted |
//! | [`StatelessResetKey`] | how clients learn of a restart |
//! | [`DevCerts`] | development certificates (feature `dev-certs`) |
//! | `TestCertificate` | a certificate in memory (features `testing`, `sim`) |

#[cfg(any(feature = "broker", test))]
mod admission;
#[cfg(any(feature = "dev-certs", test))]
mod dev_certs;
#[cfg(any(feature = "broker", test))]
mod endpoint;
mod private_file;
#[cfg(any(feature = "broker", test))]
mod stateless_reset;
#[cfg(all(feature = "dev-certs", any(feature = "testing", feature = "sim")))]
mod test_certificate;

#[cfg(any(feature = "broker", test))]
pub(crate) use admission::{ActiveCounts, handshake};
#[cfg(any(feature = "dev-certs", test))]
pub use dev_certs::{DevCerts, DevCertsError};
#[cfg(all(feature = "dev-certs", any(feature = "testing", feature = "sim")))]
pub use test_certificate::TestCertificate;
#[cfg(any(feature = "broker", test))]
pub use {
    admission::Admission,
    endpoint::{server_config, server_endpoint},
    stateless_reset::StatelessResetKey,
};
