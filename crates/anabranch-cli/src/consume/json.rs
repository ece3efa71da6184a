//! Sans-I/O: a message as a JSON object.
//!
//! ```text
//! {"offset":7,"timestamp":1700000000000,"event_time":1700000000000,"key":"k","headers":[{"name":"n","value":"v"}],"payload":"text"}
//! ```
//!
//! Bytes that are UTF-8 are a string. Others are base64 (RFC 4648, with padding), in a field with the suffix `_base64` that
//! replaces the plain one.

use std::str;

use anabranch::consumer::Received;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Serialize, Serializer, ser::SerializeMap};

/// Appends the JSON object of a message, without a newline.
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
        Err(_) => map.serialize_entry(as_base64, &BASE64_STANDARD.encode(bytes)),
    }
}
