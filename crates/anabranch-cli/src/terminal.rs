//! Sans-I/O: text of other people for a terminal.
//!
//! A message, a key or the reason that a broker gives may hold bytes that a terminal obeys: they can hide text, change the
//! title, or answer for the user. On a terminal they are shown instead.

/// Appends `bytes`, with control characters and bytes that are not UTF-8 as `\xNN`, and characters that change the
/// direction of writing as `\u{NNNN}`. Newlines and tabs stay.
pub(crate) fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => out.push(u8::try_from(c).unwrap_or(b' ')),
                c if c.is_ascii_control() => out.extend(format!("\\x{:02x}", u32::from(c)).bytes()),
                c if is_obeyed(c) => out.extend(format!("\\u{{{:x}}}", u32::from(c)).bytes()),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            out.extend(format!("\\x{byte:02x}").bytes());
        }
    }
}

/// Appends JSON, with characters that a terminal obeys as `\uNNNN`, so that it is the same JSON.
pub(crate) fn escape_json(json: &[u8], out: &mut Vec<u8>) {
    for c in String::from_utf8_lossy(json).chars() {
        match is_obeyed(c) {
            true => out.extend(format!("\\u{:04x}", u32::from(c)).bytes()),
            false => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Returns whether a terminal obeys a character instead of showing it.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &[u8]) -> String {
        let mut out = Vec::new();
        escape(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_a_terminal_obeys_is_shown_and_the_rest_is_as_it_was() {
        assert_eq!(escaped("Lübeck 数据\t1\n2".as_bytes()), "Lübeck 数据\t1\n2");
        assert_eq!(
            escaped(b"\x1b]0;title\x07\r\x7f\0"),
            r"\x1b]0;title\x07\x0d\x7f\x00"
        );
        assert_eq!(
            escaped("\u{9b}31m \u{202e}gpj".as_bytes()),
            r"\u{9b}31m \u{202e}gpj"
        );
        assert_eq!(escaped(b"\xff\xfe ok \xc3"), r"\xff\xfe ok \xc3");
    }

    #[test]
    fn json_that_is_escaped_is_the_same_json() {
        let text = "a\u{9b}b\u{202e}\u{1b}";
        let json = serde_json::to_vec(text).unwrap();
        let mut out = Vec::new();
        escape_json(&json, &mut out);
        assert!(out.is_ascii(), "{out:?}");
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }
}
