//! The program, as its users meet it: real processes, real ports of this machine, what they write and their exit codes.
#![allow(clippy::disallowed_methods, unreachable_pub)]

mod ask;
mod bad_input;
mod certificates;
mod consume;
mod demo;
mod interrupt;
mod order;
mod outage;
mod serve;
mod support;
mod text;
