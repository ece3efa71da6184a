//! The bytes of the log on disk, format 2. This page is enough to write a reader.
//!
//! Integers are little-endian. `crc(…)` is CRC-32 (IEEE). Strings are UTF-8.
//!
//! # Folder
//!
//! ```text
//! lock                         held by the process that has the folder open
//! format                       the line "anabranch data folder, format 2"; written last when a folder is created
//! manifest                     the files that belong to the log; replaced as a whole by a rename
//! <number>.<generation>.seg    a segment of the log, 10 and 4 decimal digits; generation 0 until it is compacted
//! <number>.<generation>.idx    the index of a sealed segment; can be rebuilt from it
//! <frame>.snap                 the catalog at a frame, 20 decimal digits; the last two are kept
//! end                          how far the log went when the file was written last
//! reserve                      space that is given up when the disk is full and the manifest must be written
//! *.new                        a file that is being written; of no meaning
//! ```
//!
//! # Manifest
//!
//! ```text
//! "ANABMAN2" │ generation u64 │ log u64 │ first producer id u64 │ snapshots u32 │ segments u32
//! snapshot   start u64 │ length u64                                                                        each, oldest first
//! segment    number u32 │ generation u32 │ flags u32 │ 0 u32 │ first u64 │ next u64 │ link u64 │ end u64 │ messages u64   each
//! crc of everything before u32
//! ```
//!
//! `log` is the random identity of the log, repeated in every file. The flags of a segment are 1 (sealed) and 2
//! (compacted). A sealed segment has the frames from number `first` up to, but without, `next`; `link` is the link of the
//! last one, `end` the offset after it in the file, and `messages` the number of messages in its batches. What follows
//! `end` is no part of the log: the remains of a write that failed or was cut. For a segment that is not sealed `end` is
//! the length with which its file was made, the other four are 0, and its frames tell where it ends. The last two or three
//! segments are not sealed.
//!
//! # Segment
//!
//! ```text
//! "ANABSEG2" │ log u64 │ number u32 │ generation u32 │ number before u32 │ 0 u32 │ salt u64 │ 0 × 20 │ crc u32        64 bytes
//! frame, frame, … each at a multiple of 8, zeros up to the length of the file
//! ```
//!
//! # Frame
//!
//! A frame is one group commit: its records hold all that changes, so messages and dedup entries are written together or
//! not at all. Frame `n + 1` is written only after frame `n` is on disk.
//!
//! ```text
//!  0  magic "ANBF"          24  records u32                            48  records, `head length` bytes
//!  4  length u32            28  head length u32                            batches, in the order of their records
//!  8  number u64            32  zero parts u32                             zeros up to the trailer
//! 16  previous u64          36  body crc u32: batches and zeros            trailer: !header crc u32 │ "FNBA"
//!                           40  head crc u32: salt u64 and records         length is a multiple of 8
//!                           44  header crc u32: salt u64 and bytes 0 to 44
//! ```
//!
//! `previous` is the link of the frame before, in this segment or in the one before, and 0 in the first frame of a log. The
//! link of a frame is `header crc << 32 | head crc`. In a compacted segment the numbers begin with 0 and so do the links.
//!
//! `zero parts` counts the parts of the frame that are zero, where a part is the overlap of the frame with one aligned
//! sector of 512 bytes of the file. It tells a torn frame from a damaged one. A segment is never overwritten, so a sector that
//! did not reach the disk is zero; a frame that does not match its checksums although no sector is missing was written
//! whole and has changed since.
//!
//! # Records
//!
//! ```text
//! 1 batch     topic u32 │ base u64 │ time u64 │ messages u32 │ length u32 │ producer u64 │ request u64 │ low u64
//! 2 topic     id u32 │ name length u8 │ name
//! 3 trim      topic u32 │ first u64
//! 4 position  topic u32 │ next u64 │ name length u16 │ name
//! 5 producer  id u64 │ instance u64 │ seen u64 │ next producer id u64 │ name length u16 │ name
//! 6 forget    id u64
//! 7 retention topic u32 │ milliseconds u64 │ bytes u64: 0 is the limit of the broker, the greatest number is none
//! 8 delete    topic u32
//! ```
//!
//! A batch record appends a batch and adds its request to the dedup window of its producer, whose low-water mark becomes
//! `low`. The entry has the topic and the first four bytes of the batch, which are its checksum. A producer record fences the
//! producer that had the name before. A position whose `next` is the greatest number removes the position. A delete record
//! removes a topic, its positions, and the dedup entries of its batches; its batches in older segments belong to no topic
//! then. The number of a topic is never used again.
//!
//! # Index
//!
//! ```text
//! "ANABIDX2" │ log u64 │ number u32 │ generation u32 │ rows u32 │ topics u32 │ crc u32 │ 0 × 24                 64 bytes
//! topic      id u32 │ first row u32 │ rows u32 │ 0 u32 │ base u64 │ end u64 │ bytes u64 │ newest time u64           each, then crc u32
//! zeros up to a multiple of 4096, then rows in blocks of 4096 bytes: 127 rows │ crc u32 │ 0 × 28
//! row        base u64 │ time u64 │ messages u32 │ length u32 │ offset in the segment u32 │ 0 u32
//! ```
//!
//! # Snapshot
//!
//! ```text
//! "ANABSNP2" │ log u64 │ start u64 │ crc u32 │ 0 u32
//! piece      length u32 │ crc of (log, start, index of the piece u64, items) u32 │ items         each; the last is empty
//! item  1    next producer id u64
//!       2    topic: id u32 │ first u64 │ next u64 │ retention as in record 7 │ name length u8 │ name
//!       3    producer: id u64 │ instance u64 │ seen u64 │ low u64 │ name length u16 │ name
//!              │ entries u32 │ each: request u64 │ base u64 │ time u64 │ topic u32 │ checksum u32
//!       4    position: as record 4
//!       5    next topic u32
//! ```
//!
//! A snapshot is written while the log goes on: each item is at least as new as frame `start`, and may be newer. Applying all
//! frames from `start` on, in order, leads to the same catalog whatever the age of the items. A frame may name a topic that
//! the snapshot does not have any more; a later one deletes it.
//!
//! # End mark
//!
//! ```text
//! slot       "ANABEND2" │ log u64 │ next u64 │ link u64 │ segment u32 │ end u64 │ messages u64 │ crc u32 │ zeros     512 bytes
//! ```
//!
//! Two slots, written in turn, at most a second after a frame; the one with the greater `next` counts. When it was written, all
//! frames before number `next` were on disk, `link` was the link of the last one, `end` the offset after it in `segment`, and
//! `messages` the number of messages in that segment. So a log that ends before `next` has lost something, although zeros in
//! place of its last frames look as if they had never been written. Nothing can say that of the last second before a kill.
