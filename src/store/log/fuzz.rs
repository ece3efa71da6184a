//! What the fuzz targets in `fuzz/` run. The tests run it too, over the corpora and seeded changes of them.
//!
//! Checksums keep a fuzzer from ever reaching what is behind them. So each function takes its input as it is, and once more as
//! the content of something with the right checksums.

#![cfg_attr(
    not(fuzzing),
    allow(unreachable_pub, reason = "public for the fuzz targets only")
)]

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio_util::codec::Decoder as _;

use super::{
    disk::DiskFile,
    format::{
        self, EndMark, FrameContext, INDEX_BLOCK, IndexKey, Manifest, SEGMENT_HEADER, SnapshotKey,
    },
    frames::{Found, Frames},
    recover,
    walk::{Part, Walk},
};
use crate::wire::{Batch, PacketCodec};

const SALT: u64 = 7;

/// A file in memory, to be read only.
#[derive(Debug)]
struct Memory(Vec<u8>);

impl DiskFile for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let end = at.checked_add(bytes.len());
        let found = end.and_then(|end| self.0.get(at..end));
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn shrink(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn will_need(&self, _: u64, _: u64) {}

    fn drop_cache(&self) {}
}

/// Reads a segment in every way, and returns what is at its front.
fn read_segment(bytes: Vec<u8>) -> Found {
    let len = bytes.len() as u64;
    let file: Arc<dyn DiskFile> = Arc::new(Memory(bytes));
    let frames = || Frames::new(Arc::clone(&file), SALT, u64::MAX).expect("it is in memory");
    let scan = recover::scan(&mut frames(), (0, 0), |_| Ok(())).expect("it is in memory");
    assert!(scan.seal.end <= len.max(SEGMENT_HEADER as u64));
    for is_known in [false, true] {
        let walk = Walk::new(Arc::clone(&file), SALT, (len, is_known), 0);
        let mut walk = walk.expect("it is in memory");
        walk.check_batches();
        let (mut at, mut parts) = (walk.at(), 0);
        while let Some(part) = walk.part().expect("it is in memory") {
            let is_gap = matches!(part, Part::Unreadable(gap) if gap.bytes == 0);
            assert!(walk.at() > at || is_gap, "a part that is no gap has bytes");
            (at, parts) = (walk.at(), parts + 1);
            assert!(parts <= len, "it comes to an end");
        }
        assert!(at <= len.max(SEGMENT_HEADER as u64));
    }
    frames().look().expect("it is in memory")
}

/// A segment with this content; and one with a frame whose records and batches are this content: a byte for the number of
/// records, two for their length, the records, the batches. A frame with the right checksums is never taken for a torn one.
pub fn frames(data: &[u8]) {
    let header = [0; SEGMENT_HEADER];
    read_segment([&header[..], data].concat());

    let Some((&[records, low, high], content)) = data.split_first_chunk() else {
        return;
    };
    let len = usize::from(u16::from_le_bytes([low, high])).min(content.len());
    let (head, body) = content.split_at(len);
    let mut frame = Vec::new();
    let context = FrameContext {
        salt: SALT,
        at: SEGMENT_HEADER as u64,
        number: 0,
        previous: 0,
    };
    format::encode_frame(&mut frame, context, (records.into(), head), &[body]);
    let found = read_segment([&header[..], &frame].concat());
    assert!(
        matches!(found, Found::Frame(_) | Found::Damaged(_)),
        "{found:?}"
    );
}

/// The items of a piece. What is decoded encodes to the same bytes.
pub fn snapshot(data: &[u8]) {
    let key = SnapshotKey { log: 1, start: 2 };
    let piece = key.encode_piece(3, data);
    let Some((header, items)) = piece.split_first_chunk() else {
        return;
    };
    let (len, sum) = SnapshotKey::piece_header(*header);
    assert_eq!(len as usize, items.len());
    assert_eq!(key.decode_piece(4, sum, items), None, "it is another piece");
    if let Some(decoded) = key.decode_piece(3, sum, items) {
        let mut again = Vec::new();
        decoded.iter().for_each(|item| item.encode(&mut again));
        assert_eq!(again, data);
    }
}

/// A manifest, an index, an end mark. What is decoded of a manifest encodes to the same.
pub fn files(data: &[u8]) {
    let sealed = |data: &[u8]| [data, &crc32fast::hash(data).to_le_bytes()].concat();
    for bytes in [data.to_vec(), sealed(data)] {
        if let Some(manifest) = Manifest::decode(&bytes) {
            assert_eq!(Manifest::decode(&manifest.encode()), Some(manifest));
        }
        EndMark::decode(&bytes);
        let key = IndexKey {
            log: 1,
            number: 1,
            generation: 0,
        };
        let _ = format::decode_index_header(&bytes, key);
        let directory = format::decode_directory(&[&[0; 64], &bytes[..]].concat(), 1);
        drop(directory);
    }
    let mut rows = data.to_vec();
    rows.resize(INDEX_BLOCK - 32, 0);
    let mut block = sealed(&rows);
    block.resize(INDEX_BLOCK, 0);
    let rows = format::decode_rows(&block, 1);
    assert_eq!(
        rows.map(|rows| rows.len()),
        Some(format::ROWS_A_BLOCK as usize)
    );
}

/// Packets of a stream, in one piece and byte by byte, and a batch. How the bytes are split makes no difference.
pub fn wire(data: &[u8]) {
    let decode = |step: usize| {
        let mut codec = PacketCodec::new(1 << 16);
        let (mut bytes, mut packets) = (BytesMut::new(), Vec::new());
        for piece in data.chunks(step) {
            bytes.extend_from_slice(piece);
            loop {
                match codec.decode(&mut bytes) {
                    Ok(Some(packet)) => packets.push(format!("{packet:?}")),
                    Ok(None) => break,
                    Err(_) => return (packets, true),
                }
            }
        }
        (packets, false)
    };
    assert_eq!(decode(data.len().max(1)), decode(1));

    let sealed = [&crc32fast::hash(data).to_le_bytes(), data].concat();
    for bytes in [data.to_vec(), sealed] {
        let checked = Batch::check(&bytes);
        let decoded = Batch::decode(Bytes::from(bytes));
        assert_eq!(checked.is_ok(), decoded.is_ok());
        if let Ok(batch) = decoded {
            assert_eq!(batch.records().count(), batch.count() as usize);
        }
    }
}
