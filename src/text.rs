//! Sans-I/O: text of a peer, for logs, errors and terminals.

/// The most bytes of a peer's text that are shown.
pub(crate) const MAX_REASON: usize = 1000;

/// Returns a text of a peer for logs, errors and terminals: cut after `max` bytes, with a space for each character that
/// controls a terminal, ends a line, is invisible, or changes the direction in which text is shown.
pub(crate) fn printable(text: &str, max: usize) -> String {
    text[..text.floor_char_boundary(max)]
        .chars()
        .map(|c| if is_shown(c) { c } else { ' ' })
        .collect()
}

fn is_shown(c: char) -> bool {
    let hidden = matches!(
        u32::from(c),
        0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff
    );
    !c.is_control() && !hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_is_one_line_that_controls_nothing() {
        let hostile = "a\u{1b}[31mb\r\nc\u{202e}d\u{2028}e\u{9b}f";
        assert_eq!(printable(hostile, 100), "a [31mb  c d e f");
        assert_eq!(printable("\u{e4}\u{e4}", 3), "\u{e4}");
        assert_eq!(
            printable("plain, \u{fc}nl\u{e4}ut", 100),
            "plain, \u{fc}nl\u{e4}ut"
        );
    }
}
