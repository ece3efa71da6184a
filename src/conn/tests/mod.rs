//! Tests of several files together, and the network and the broker that tests of other folders borrow.

mod defaults;
mod loopback;
mod memory_network;
mod supervisor;
mod test_broker;
mod tls;

pub(crate) use {
    memory_network::{At, Memory},
    test_broker::{Answer, TestBroker, certs, client},
};
