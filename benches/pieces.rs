//! What the pieces cost a message, in time: the call, checking, reading, the dedupe window, both stores, and all of it together.
//!
//! `cargo bench --bench pieces`
#![allow(clippy::unwrap_used, reason = "a bench may panic")]

#[path = "pieces/mod.rs"]
mod pieces;

use anabranch::store::Fsync;
use divan::{AllocProfiler, Bencher, counter::ItemsCount};
use pieces::{Appending, BATCH, EndToEnd, Enqueue, GROUP};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const MESSAGES: usize = 10_000;
const REQUESTS: u64 = 10_000;

#[divan::bench(sample_size = 1)]
fn enqueue(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .with_inputs(Enqueue::new)
        .bench_local_refs(|enqueue| enqueue.run(MESSAGES));
}

#[divan::bench]
fn check(bencher: Bencher<'_, '_>) {
    let batch = pieces::batch();
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| pieces::check(&batch));
}

#[divan::bench]
fn read(bencher: Bencher<'_, '_>) {
    let batch = pieces::batch();
    bencher
        .counter(ItemsCount::new(BATCH))
        .bench_local(|| pieces::read(&batch));
}

#[divan::bench]
fn dedupe(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(REQUESTS))
        .bench_local(|| pieces::dedupe(REQUESTS));
}

fn append(bencher: Bencher<'_, '_>, mut store: Appending) {
    bencher
        .counter(ItemsCount::new(BATCH * GROUP))
        .bench_local(|| store.run(1));
}

#[divan::bench(sample_count = 20)]
fn append_to_memory(bencher: Bencher<'_, '_>) {
    append(bencher, Appending::memory());
}

#[divan::bench(sample_count = 20)]
fn append_to_log_without_sync(bencher: Bencher<'_, '_>) {
    append(bencher, Appending::log(Fsync::Never));
}

#[divan::bench(sample_count = 20)]
fn append_to_log(bencher: Bencher<'_, '_>) {
    append(bencher, Appending::log(Fsync::Always));
}

#[divan::bench(sample_count = 20)]
fn end_to_end(bencher: Bencher<'_, '_>) {
    let end_to_end = EndToEnd::new();
    end_to_end.run(MESSAGES);
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .bench_local(|| end_to_end.run(MESSAGES));
}
