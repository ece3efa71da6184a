//! Just enough of Rust's lexical structure to find paths in it.

/// Splits a source text into identifiers, `::` and single characters, without comments and without what is compiled for
/// tests only. Strings become `""`.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    without_tests(&all_tokens(text))
}

/// Joins tokens to a text in which words can be looked for.
pub(crate) fn code(tokens: &[String]) -> String {
    let mut code = String::new();
    let mut word_before = false;
    for token in tokens {
        let word = token.starts_with(is_word);
        if word && word_before {
            code.push(' ');
        }
        code.push_str(token);
        word_before = word;
    }
    code
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn all_tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    let is = |at: usize, pattern: &str| {
        let mut there = chars[at.min(chars.len())..].iter();
        pattern.chars().all(|c| there.next() == Some(&c))
    };
    while let Some(&c) = chars.get(at) {
        if is(at, "//") {
            while chars.get(at).is_some_and(|c| *c != '\n') {
                at += 1;
            }
        } else if is(at, "/*") {
            let mut depth = 0;
            loop {
                if is(at, "/*") {
                    depth += 1;
                    at += 2;
                } else if is(at, "*/") {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        break;
                    }
                } else if at < chars.len() {
                    at += 1;
                } else {
                    break;
                }
            }
        } else if c == '"' {
            at = string_end(&chars, at + 1);
            tokens.push("\"\"".to_owned());
        } else if c == '\'' {
            // A character, or a lifetime.
            let end = match chars.get(at + 1) {
                Some('\\') => (at + 3..chars.len()).find(|&i| chars[i] == '\''),
                Some(_) if chars.get(at + 2) == Some(&'\'') => Some(at + 2),
                _ => None,
            };
            at = end.map_or(at + 1, |end| end + 1);
        } else if is_word(c) {
            let start = at;
            while chars.get(at).copied().is_some_and(is_word) {
                at += 1;
            }
            let word: String = chars[start..at].iter().collect();
            // Raw strings begin with a word that is none.
            let hashes = (at..).take_while(|&i| chars.get(i) == Some(&'#')).count();
            if matches!(word.as_str(), "r" | "br" | "cr") && chars.get(at + hashes) == Some(&'"') {
                let end: String = format!("\"{}", "#".repeat(hashes));
                at += hashes + 1;
                while at < chars.len() && !is(at, &end) {
                    at += 1;
                }
                at += end.chars().count();
                tokens.push("\"\"".to_owned());
            } else {
                tokens.push(word);
            }
        } else if is(at, "::") {
            tokens.push("::".to_owned());
            at += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            at += 1;
        }
    }
    tokens
}

/// Returns the place after the end of the string that begins before `at`.
fn string_end(chars: &[char], mut at: usize) -> usize {
    while let Some(c) = chars.get(at) {
        match c {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// Leaves out each item with an attribute that compiles it for tests only.
fn without_tests(tokens: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if let Some(end) = attribute_end(tokens, at) {
            let attribute = tokens[at..end].concat();
            let for_tests = [
                "#[cfg(test)]",
                "#[cfg(all(test",
                "#[cfg(loom)]",
                "#[cfg(all(loom",
            ];
            if for_tests.iter().any(|start| attribute.starts_with(start)) {
                at = item_end(tokens, end);
                continue;
            }
        }
        kept.push(tokens[at].clone());
        at += 1;
    }
    kept
}

/// Returns the place after an attribute that begins at `at`.
fn attribute_end(tokens: &[String], at: usize) -> Option<usize> {
    (tokens.get(at)? == "#" && tokens.get(at + 1)? == "[").then(|| group_end(tokens, at + 1))
}

/// Returns the place after the bracket that closes the one at `at`.
fn group_end(tokens: &[String], at: usize) -> usize {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(at) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// Returns the place after the item, field, statement or arm that begins at `at`, further attributes included.
fn item_end(tokens: &[String], mut at: usize) -> usize {
    while let Some(end) = attribute_end(tokens, at) {
        at = end;
    }
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            ";" | "," => return at + 1,
            // The end of what surrounds a last field or statement.
            "}" | ")" | "]" => return at,
            "{" => {
                let end = group_end(tokens, at);
                // `use a::{b, c};` goes on behind its braces.
                return match tokens.get(end).map(String::as_str) {
                    Some(";" | ",") => end + 1,
                    _ => end,
                };
            }
            "(" | "[" => at = group_end(tokens, at),
            _ => at += 1,
        }
    }
    at
}
