//! What only a server needs of a connection.

mod admission;
mod dev_certs;
mod endpoint;
mod private_file;
mod stateless_reset;

pub use {
    admission::{ActiveCounts, Admission, HandshakeError, handshake},
    dev_certs::{DevCerts, DevCertsError},
    endpoint::{server_config, server_endpoint},
    stateless_reset::StatelessResetKey,
};
