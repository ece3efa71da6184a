//! The runtime that quinn's endpoints use in a simulation.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use quinn::{AsyncTimer, AsyncUdpSocket};

use crate::{
    clock::{Alarm, Clock},
    tasks, time,
};

/// A runtime for quinn's endpoints whose timers are exact to the nanosecond, from
/// [`Network::runtime`](crate::Network::runtime).
///
/// Quinn's own `TokioRuntime` works in a simulation too; its timers are late by up to a millisecond.
#[derive(Debug)]
pub struct SimRuntime {
    clock: Clock,
}

impl SimRuntime {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock }
    }
}

impl quinn::Runtime for SimRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(Timer {
            alarm: self.clock.alarm(),
            at,
        })
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tasks::spawn(future);
    }

    /// Returns an error: virtual time has no real sockets. Use [`Network::socket`](crate::Network::socket).
    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a simulated network has no real sockets",
        ))
    }

    fn now(&self) -> Instant {
        time::now()
    }
}

#[derive(Debug)]
struct Timer {
    alarm: Alarm,
    at: Instant,
}

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        // The alarm is moved by the next poll. If the old deadline comes first, it wakes the task once too often.
        self.at = at;
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll_at(self.at, cx)
    }
}
