//! What the wire costs a message: encoding into a batch, checking it, and taking frames apart.
//!
//! `cargo bench --bench wire`
#![allow(clippy::unwrap_used, reason = "a bench may panic")]

use anabranch::{
    RequestId, TopicName,
    consumer::Record,
    wire::internals::{Batch, BatchBuilder, PacketCodec, produce_head},
};
use bytes::{Bytes, BytesMut};
use divan::{Bencher, counter::ItemsCount};
use tokio_util::codec::Decoder;

const MESSAGES: usize = 500;
const SIZES: [usize; 2] = [100, 1024];

fn main() {
    divan::main();
}

fn record(size: usize) -> Record {
    Record {
        payload: vec![7; size].into(),
        ..Record::default()
    }
}

fn batch(size: usize) -> Bytes {
    let mut builder = BatchBuilder::new(0);
    let record = record(size);
    for _ in 0..MESSAGES {
        builder.push(&record);
    }
    builder.finish()
}

#[divan::bench(args = SIZES)]
fn encode(bencher: Bencher<'_, '_>, size: usize) {
    let mut builder = BatchBuilder::new(MESSAGES * (size + 16));
    let record = record(size);
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        for _ in 0..MESSAGES {
            builder.push(&record);
        }
        builder.finish()
    });
}

#[divan::bench(args = SIZES)]
fn check(bencher: Bencher<'_, '_>, size: usize) {
    let batch = batch(size);
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .bench_local(|| Batch::check(&batch).unwrap());
}

#[divan::bench(args = SIZES)]
fn take_a_frame_apart(bencher: Bencher<'_, '_>, size: usize) {
    let batch = batch(size);
    let topic = TopicName::new("events").unwrap();
    let head = produce_head(RequestId(1), RequestId(1), &topic, batch.len());
    let frame = [&head[..], &batch[..]].concat();
    let mut codec = PacketCodec::new(16 << 20);
    bencher
        .counter(ItemsCount::new(MESSAGES))
        .with_inputs(|| BytesMut::from(&frame[..]))
        .bench_local_refs(|bytes| codec.decode(bytes).unwrap());
}
