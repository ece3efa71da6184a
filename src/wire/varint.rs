//! Sans-I/O: LEB128 varints (seven bits in each byte, lowest first), and zigzag for signed numbers.
//!
//! Each number has one encoding: an encoding that is longer than necessary is refused.

/// The most bytes of a varint.
pub(super) const MAX_LEN: usize = 10;

/// Why bytes do not begin with a varint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VarintError {
    /// The bytes end within the varint.
    Short,
    /// The varint is longer than necessary, or has more than 64 bits.
    Malformed,
}

/// Returns the length of the encoding of `value`.
#[inline]
pub(super) const fn len(value: u64) -> usize {
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Writes `value` at the start of `out`. Returns the number of bytes written.
///
/// # Panics
/// If `out` has fewer than [`len`] bytes.
#[inline]
pub(super) fn write(out: &mut [u8], mut value: u64) -> usize {
    let mut at = 0;
    while value >= 0x80 {
        out[at] = low_byte(value) | 0x80;
        value >>= 7;
        at += 1;
    }
    out[at] = low_byte(value);
    at + 1
}

#[inline]
const fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

/// Reads the varint at `at`. Returns its value and the index after it.
#[inline]
pub(super) fn read(bytes: &[u8], at: usize) -> Result<(u64, usize), VarintError> {
    match bytes.get(at) {
        Some(&byte) if byte < 0x80 => Ok((u64::from(byte), at + 1)),
        Some(_) => read_long(bytes, at),
        None => Err(VarintError::Short),
    }
}

fn read_long(bytes: &[u8], at: usize) -> Result<(u64, usize), VarintError> {
    let mut value = 0;
    for (i, &byte) in bytes
        .get(at..)
        .unwrap_or_default()
        .iter()
        .take(MAX_LEN)
        .enumerate()
    {
        let bits = u64::from(byte & 0x7f);
        if i == MAX_LEN - 1 && bits > 1 {
            return Err(VarintError::Malformed);
        }
        value |= bits << (7 * i);
        if byte < 0x80 {
            // The last byte is zero, so there is a shorter encoding.
            let overlong = byte == 0 && i > 0;
            return if overlong {
                Err(VarintError::Malformed)
            } else {
                Ok((value, at + i + 1))
            };
        }
        if i == MAX_LEN - 1 {
            return Err(VarintError::Malformed);
        }
    }
    Err(VarintError::Short)
}

/// Maps small numbers of either sign to small unsigned numbers.
#[inline]
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
#[inline]
pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(value: u64) -> Vec<u8> {
        let mut out = [0; MAX_LEN];
        let len = write(&mut out, value);
        out[..len].to_vec()
    }

    #[test]
    fn known_numbers_have_their_known_bytes() {
        assert_eq!(encoded(0), [0]);
        assert_eq!(encoded(127), [0x7f]);
        assert_eq!(encoded(128), [0x80, 0x01]);
        assert_eq!(encoded(300), [0xac, 0x02]);
        assert_eq!(
            encoded(u64::MAX),
            [255, 255, 255, 255, 255, 255, 255, 255, 255, 1]
        );
        assert_eq!([0, -1, 1, -2, 2].map(zigzag), [0, 1, 2, 3, 4]);
        assert_eq!([i64::MIN, i64::MAX].map(zigzag), [u64::MAX, u64::MAX - 1]);
    }

    #[test]
    fn a_number_that_is_longer_than_it_must_be_is_refused() {
        assert_eq!(read(&[0x80, 0x00], 0), Err(VarintError::Malformed));
        assert_eq!(read(&[0xff, 0x80, 0x00], 0), Err(VarintError::Malformed));
    }

    #[test]
    fn a_number_over_64_bits_is_refused() {
        let mut bytes = [0xff; MAX_LEN];
        bytes[9] = 0x02;
        assert_eq!(read(&bytes, 0), Err(VarintError::Malformed));
        assert_eq!(read(&[0xff; 11], 0), Err(VarintError::Malformed));
        assert_eq!(read(&[0x80; 10], 0), Err(VarintError::Malformed));
    }

    proptest! {
        #[test]
        fn every_number_comes_back_from_its_bytes(shift in 0_u32..64, raw: u64) {
            let value = raw >> shift;
            let bytes = encoded(value);
            prop_assert_eq!(bytes.len(), len(value));
            prop_assert_eq!(read(&bytes, 0), Ok((value, bytes.len())));
            prop_assert_eq!(zigzag(unzigzag(value)), value);
            for cut in 0..bytes.len() {
                prop_assert_eq!(read(&bytes[..cut], 0), Err(VarintError::Short));
            }
        }

        #[test]
        fn bytes_that_are_a_number_are_its_only_encoding(bytes in prop::collection::vec(any::<u8>(), 0..12), at in 0_usize..14) {
            if let Ok((value, end)) = read(&bytes, at) {
                prop_assert_eq!(encoded(value), &bytes[at..end]);
            }
        }
    }
}
