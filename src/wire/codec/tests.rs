use proptest::prelude::*;

use super::super::{
    Connect, Connected, Delivery, Failure, FailureCode, Identity, Produce, Refused, Subscribe,
    TopicInfo,
    arbitrary::{arb_bytes, arb_packet, arb_topic},
};
use super::*;

const MAX_FRAME: usize = 64 * 1024;

fn encoded(packet: &Packet) -> BytesMut {
    let mut bytes = BytesMut::new();
    PacketCodec::new(MAX_FRAME)
        .encode(packet, &mut bytes)
        .unwrap();
    bytes
}

/// What a stream gave: its packets, and the error that ended it.
type Outcome = (Vec<Packet>, Option<DecodeError>);

/// Decodes a stream that arrives in pieces.
fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let (mut codec, mut src, mut packets) =
        (PacketCodec::new(MAX_FRAME), BytesMut::new(), Vec::new());
    for piece in pieces {
        src.extend_from_slice(piece);
        loop {
            match codec.decode(&mut src) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(CodecError::Decode(error)) => return (packets, Some(error)),
                Err(other) => panic!("{other}"),
            }
        }
    }
    (packets, None)
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 1).unwrap();
    [&length.to_le_bytes()[..], &[kind], body].concat()
}

fn error_of(bytes: &[u8]) -> DecodeError {
    decoded([bytes]).1.expect("these bytes are not a packet")
}

fn failure(detail: &str) -> Failure {
    Failure {
        code: FailureCode::Limit,
        detail: detail.to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_packet_comes_back_from_its_bytes(packet in arb_packet()) {
        prop_assert_eq!(decoded([&encoded(&packet)[..]]), (vec![packet], None));
    }
}
