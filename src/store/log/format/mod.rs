//! Sans-I/O: encoding and decoding the bytes of the log. What they are is said in
//! [`log_format`](super::super::log_format).
//!
//! A file for each kind of file on disk, `record` and `frame` for what is in a segment, and `fields` for all of them.

mod end_mark;
mod fields;
mod frame;
mod index_file;
mod manifest;
mod record;
mod segment;
mod snapshot;

pub(super) use self::{
    end_mark::EndMark,
    fields::is_intact,
    frame::{
        BLOCK, FRAME_HEADER, FRAME_MAGIC, Frame, FrameContext, FrameHeader, TRAILER, decode_head,
        encode_frame, frame_len, is_trailer, is_zero, zero_parts,
    },
    index_file::{
        Directory, Entry, INDEX_BLOCK, IndexKey, ROWS_A_BLOCK, Run, decode_directory,
        decode_index_header, decode_rows, encode_index,
    },
    manifest::{Manifest, Seal, SegmentEntry, SnapshotEntry},
    record::{BatchRecord, Record},
    segment::{
        SEGMENT_HEADER, SegmentHeader, index_name, parse_name, parse_snapshot_name, segment_name,
        snapshot_name,
    },
    snapshot::{Item, PIECE_HEADER, SNAPSHOT_HEADER, SnapshotKey},
};
