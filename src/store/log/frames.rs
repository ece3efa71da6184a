//! Reading the frames of a segment, a bounded piece at a time.

use std::{io, sync::Arc};

use super::{
    super::dedup_window::RequestContent,
    disk::DiskFile,
    format::{
        BLOCK, FRAME_HEADER, FRAME_MAGIC, Frame, FrameHeader, Record, SEGMENT_HEADER, TRAILER,
        decode_head, is_trailer, is_zero, zero_parts,
    },
};

/// Bytes that are read with one call: a multiple of a sector.
const PIECE: u64 = 1 << 20;

/// What is at one place of a segment.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// A frame that matches its checksums.
    Frame(Box<Frame>),
    /// Zeros up to the end.
    Nothing,
    /// A frame of which a sector is missing. Unless something says that it was synced, nothing of it was answered.
    Torn(Damaged),
    /// A frame that was written whole and has changed since, or bytes that are no frame.
    Damaged(Damaged),
}

/// What is known of a frame that does not match its checksums.
#[derive(Debug, Clone, Default)]
pub(super) struct Damaged {
    /// Its header, if that matches its checksum.
    pub(super) header: Option<FrameHeader>,
    /// Its records, if they match theirs: then its batches do not.
    pub(super) frame: Option<Box<Frame>>,
}

/// Reads the frames of a segment from its front on. Holds one piece of it, or the records of a frame if they are larger.
#[derive(Debug)]
pub(super) struct Frames {
    file: Arc<dyn DiskFile>,
    salt: u64,
    /// The offset at which frames end at the latest.
    limit: u64,
    at: u64,
    piece: Vec<u8>,
    piece_at: u64,
}

impl Frames {
    /// Reads a segment up to `limit`, or to the end of its file.
    pub(super) fn new(file: Arc<dyn DiskFile>, salt: u64, limit: u64) -> io::Result<Self> {
        let limit = limit.min(file.len()?);
        Ok(Self {
            file,
            salt,
            limit,
            at: SEGMENT_HEADER as u64,
            piece: Vec::new(),
            piece_at: 0,
        })
    }

    /// Returns the offset of the next look.
    pub(super) const fn at(&self) -> u64 {
        self.at
    }

    /// Returns the offset at which frames end at the latest.
    pub(super) const fn limit(&self) -> u64 {
        self.limit
    }

    /// Moves the next look.
    pub(super) const fn go_to(&mut self, at: u64) {
        self.at = at;
    }

    /// Returns up to `len` bytes from `at` on, fewer before the limit.
    fn bytes(&mut self, at: u64, len: u64) -> io::Result<&[u8]> {
        let end = at.saturating_add(len).min(self.limit);
        let at = at.min(end);
        let held = self.piece_at..self.piece_at + self.piece.len() as u64;
        if at < held.start || end > held.end {
            let most = len.max(PIECE).min(self.limit - at);
            self.piece.resize(to_usize(most)?, 0);
            self.piece.shrink_to(to_usize(most.max(PIECE))?);
            self.piece_at = at;
            if let Err(error) = self.file.read_at(&mut self.piece, at) {
                self.piece.clear();
                return Err(error);
            }
        }
        let from = to_usize(at - self.piece_at)?;
        Ok(&self.piece[from..from + to_usize(end - at)?])
    }

    /// Calls `each` with the bytes of a range, in pieces that end at multiples of [`PIECE`], until it returns `false`.
    fn pieces(
        &mut self,
        from: u64,
        to: u64,
        mut each: impl FnMut(&[u8], u64) -> bool,
    ) -> io::Result<()> {
        let mut at = from;
        while at < to {
            let end = ((at / PIECE + 1) * PIECE).min(to);
            if !each(self.bytes(at, end - at)?, at) {
                break;
            }
            at = end;
        }
        Ok(())
    }

    /// Whether there is nothing but zeros from `from` on.
    pub(super) fn is_zero_from(&mut self, from: u64) -> io::Result<bool> {
        let mut zero = true;
        self.pieces(from, self.limit, |piece, _| {
            zero &= is_zero(piece);
            zero
        })?;
        Ok(zero)
    }

    /// Returns the link that the first frame names as that before it.
    pub(super) fn first_link(&mut self) -> io::Result<u64> {
        let salt = self.salt;
        let first = self.bytes(SEGMENT_HEADER as u64, FRAME_HEADER as u64)?;
        Ok(FrameHeader::decode(first, salt).map_or(0, |header| header.previous))
    }

    /// Looks at what is at the present place, and moves behind it if it is a whole frame.
    pub(super) fn look(&mut self) -> io::Result<Found> {
        let (at, salt) = (self.at, self.salt);
        let front = self.bytes(at, FRAME_HEADER as u64)?;
        let Some(header) = FrameHeader::decode(front, salt) else {
            // The header is in one sector or two. One that is missing as a whole was not written.
            let missing = zero_parts(front, at);
            return Ok(match missing {
                _ if self.is_zero_from(at)? => Found::Nothing,
                0 => Found::Damaged(Damaged::default()),
                _ => Found::Torn(Damaged::default()),
            });
        };
        let end = at.saturating_add(header.len as u64);
        let front = self.bytes(at, (FRAME_HEADER + header.head) as u64)?;
        let frame = decode_head(front, &header, salt).map(|records| {
            Box::new(Frame {
                header,
                at: usize::try_from(at).unwrap_or(usize::MAX),
                records,
            })
        });
        if end > self.limit {
            return Ok(Found::Damaged(Damaged {
                header: Some(header),
                frame,
            }));
        }
        let body = at + (FRAME_HEADER + header.head) as u64;
        let trailer = end - TRAILER as u64;
        let mut frame = frame;
        let mut sum = crc32fast::Hasher::new();
        let mut starts = Starts::of(frame.as_deref());
        self.pieces(body, trailer, |piece, at| {
            sum.update(piece);
            starts.take(piece, at);
            true
        })?;
        if let Some(frame) = &mut frame {
            starts.fill(frame);
        }
        let ends = is_trailer(self.bytes(trailer, TRAILER as u64)?, &header);
        match frame {
            Some(frame) if ends && sum.finalize() == header.body_crc => {
                self.at = end;
                Ok(Found::Frame(frame))
            }
            frame => {
                let mut zeros = 0;
                self.pieces(at, end, |piece, at| {
                    zeros += zero_parts(piece, at);
                    true
                })?;
                let known = Damaged {
                    header: Some(header),
                    frame,
                };
                Ok(match zeros > header.zeros {
                    true => Found::Torn(known),
                    false => Found::Damaged(known),
                })
            }
        }
    }

    /// Returns the offset and header of the first frame after `after`, by its header alone.
    pub(super) fn next_header(&mut self, after: u64) -> io::Result<Option<(u64, FrameHeader)>> {
        let salt = self.salt;
        let from = (after + 8).next_multiple_of(8);
        let (mut places, mut candidates) = (from, Vec::new());
        while places < self.limit {
            let end = ((places / PIECE + 1) * PIECE).min(self.limit);
            candidates.clear();
            let piece = self.bytes(places, end - places)?;
            // Most of a segment that is not full is zero.
            for (n, block) in piece.chunks(BLOCK).enumerate().filter(|(_, b)| !is_zero(b)) {
                let starts = (0..block.len()).step_by(8);
                let starts = starts.filter(|at| block[*at..].starts_with(FRAME_MAGIC));
                candidates.extend(starts.map(|at| places + (n * BLOCK + at) as u64));
            }
            for place in &candidates {
                let front = self.bytes(*place, FRAME_HEADER as u64)?;
                if let Some(header) = FrameHeader::decode(front, salt) {
                    return Ok(Some((*place, header)));
                }
            }
            places = end;
        }
        Ok(None)
    }
}

/// The first bytes of the batches of a frame: their checksums.
#[derive(Debug, Default)]
struct Starts {
    /// Where each begins, and what of it was seen.
    batches: Vec<(u64, Vec<u8>)>,
    /// Those before it are complete.
    next: usize,
}

impl Starts {
    const LEN: usize = 4;

    fn of(frame: Option<&Frame>) -> Self {
        let batches = frame.into_iter().flat_map(Frame::batches);
        let batches = batches.map(|(_, at)| (at as u64, Vec::new()));
        Self {
            batches: batches.collect(),
            next: 0,
        }
    }

    /// Takes what `piece`, which begins at `at`, has of them.
    fn take(&mut self, piece: &[u8], at: u64) {
        let end = at + piece.len() as u64;
        while let Some((start, seen)) = self.batches.get_mut(self.next) {
            let from = *start + seen.len() as u64;
            if from >= end {
                break;
            }
            let from = usize::try_from(from - at).unwrap_or(piece.len());
            let to = piece.len().min(from + Self::LEN - seen.len());
            seen.extend_from_slice(&piece[from..to]);
            if seen.len() < Self::LEN {
                break;
            }
            self.next += 1;
        }
    }

    /// Notes them in the records of the batches.
    fn fill(self, frame: &mut Frame) {
        let batches = frame.records.iter_mut().filter_map(|record| match record {
            Record::Batch(batch) => Some(batch),
            _ => None,
        });
        for (batch, (_, mut seen)) in batches.zip(self.batches) {
            seen.truncate(batch.len as usize);
            batch.checksum = RequestContent::of(batch.topic.0, &seen).checksum;
        }
    }
}

fn to_usize(len: u64) -> io::Result<usize> {
    usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::store::log::format::{FrameContext, encode_frame};

    /// A file in memory that notes the largest read.
    #[derive(Debug)]
    struct Memory(Vec<u8>, AtomicUsize);

    impl DiskFile for Memory {
        fn len(&self) -> io::Result<u64> {
            Ok(self.0.len() as u64)
        }

        fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
            self.1.fetch_max(bytes.len(), Relaxed);
            let at = usize::try_from(at).unwrap();
            bytes.copy_from_slice(&self.0[at..at + bytes.len()]);
            Ok(())
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            unreachable!()
        }

        fn sync(&self) -> io::Result<()> {
            unreachable!()
        }

        fn allocate(&self, _: u64) -> io::Result<()> {
            unreachable!()
        }

        fn shrink(&self, _: u64) -> io::Result<()> {
            unreachable!()
        }

        fn will_need(&self, _: u64, _: u64) {}

        fn drop_cache(&self) {}
    }

    #[test]
    fn a_segment_is_read_in_pieces_of_a_bounded_size_whatever_the_size_of_its_frames() {
        let mut segment = vec![0; SEGMENT_HEADER];
        let batch = vec![5; 700_000];
        let (mut frame, mut link) = (Vec::new(), 0);
        for number in 0..5 {
            let context = FrameContext {
                salt: 7,
                at: segment.len() as u64,
                number,
                previous: link,
            };
            let batches: Vec<&[u8]> = (0..number).map(|_| batch.as_slice()).collect();
            link = encode_frame(&mut frame, context, (0, &[]), &batches).link;
            segment.extend_from_slice(&frame);
        }
        let whole = segment.len();
        segment.resize(whole + (5 << 20), 0);
        let file = Arc::new(Memory(segment, AtomicUsize::new(0)));
        let mut frames = Frames::new(Arc::<Memory>::clone(&file), 7, u64::MAX).unwrap();
        for number in 0..5 {
            match frames.look().unwrap() {
                Found::Frame(frame) => assert_eq!(frame.header.number, number),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(frames.at(), whole as u64);
        assert!(matches!(frames.look().unwrap(), Found::Nothing));
        frames.go_to(SEGMENT_HEADER as u64);
        let mut found = 0;
        let mut at = 0;
        while let Some((place, header)) = frames.next_header(at).unwrap() {
            assert_eq!(header.number, found);
            (found, at) = (found + 1, place);
        }
        assert_eq!(found, 5);
        assert_eq!(file.1.load(Relaxed) as u64, PIECE);
    }
}
