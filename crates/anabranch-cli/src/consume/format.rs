//! Pure: a message as a JSON object.
//!
//! ```text
//! {"offset":7,"timestamp":1700000000000,"event_time":1700000000000,"key":"k","headers":[{"name":"n","value":"v"}],"payload":"text"}
//! ```
//!
//! Bytes that are UTF-8 are a string. Others are base64 (RFC 4648, with padding) under the field's name and `_base64`, in
//! place of the field.

use std::str;

use anabranch::consumer::Received;
use serde::{Serialize, Serializer, ser::SerializeMap};

/// Appends the object, without a newline.
pub(super) fn json(received: &Received, out: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(out, &Object(received))
}

struct Object<'a>(&'a Received);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Received {
            offset,
            time,
            record,
            ..
        } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("offset", &offset.0)?;
        map.serialize_entry("timestamp", &time.0)?;
        map.serialize_entry("event_time", &record.time.0)?;
        match &record.key {
            Some(key) => bytes(&mut map, "key", "key_base64", key)?,
            None => map.serialize_entry("key", &())?,
        }
        let headers = record.headers.iter().map(|header| Header {
            name: &header.name,
            value: &header.value,
        });
        map.serialize_entry("headers", &headers.collect::<Vec<_>>())?;
        bytes(&mut map, "payload", "payload_base64", &record.payload)?;
        map.end()
    }
}

struct Header<'a> {
    name: &'a str,
    value: &'a [u8],
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("name", self.name)?;
        bytes(&mut map, "value", "value_base64", self.value)?;
        map.end()
    }
}

fn bytes<M: SerializeMap>(
    map: &mut M,
    as_text: &'static str,
    as_base64: &'static str,
    bytes: &[u8],
) -> Result<(), M::Error> {
    match str::from_utf8(bytes) {
        Ok(text) => map.serialize_entry(as_text, text),
        Err(_) => map.serialize_entry(as_base64, &base64(bytes)),
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |six: u32| char::from(DIGITS[(six & 63) as usize]);
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or_default());
        let all = at(0) << 16 | at(1) << 8 | at(2);
        text.push(digit(all >> 18));
        text.push(digit(all >> 12));
        text.push(if three.len() > 1 {
            digit(all >> 6)
        } else {
            '='
        });
        text.push(if three.len() > 2 { digit(all) } else { '=' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }
}
