//! Comments and documents are in plain English: phrases that readers stumbled over do not come back.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What is checked: files and folders from the root of the repository on.
const CHECKED: &[&str] = &[
    "CHANGELOG.md",
    "README.md",
    "benches",
    "crates",
    "design.md",
    "docs",
    "examples",
    "src",
    "tests",
];

/// Words and phrases that are not used, in lower case, and what to write instead.
const PHRASES: &[(&str, &str)] = &[
    ("stands", "is, exists, is connected"),
    ("stand", "are, exist"),
    ("stood", "was, existed"),
    ("so many", "the number, N"),
    ("so much", "the amount, N"),
    ("so long as", "while, for as long as"),
    ("lies", "is"),
    ("lay", "was"),
    ("books", "state, counts"),
    ("dice", "random generator, seed"),
    ("nobody", "no task, no caller"),
    ("somebody", "a task, a caller"),
    ("anybody", "any task, any caller"),
    ("everybody", "all tasks, all callers"),
    ("to who", "to the one that"),
    ("for who", "for the one that"),
    ("of who", "of the one that"),
    ("he", "it"),
    ("him", "it"),
    ("his", "its"),
    ("she", "it"),
    ("answers how", "returns how"),
    ("answers whether", "returns whether"),
    ("answers which", "returns which"),
    ("next door", "beside it"),
    ("the shell", "the driver"),
    ("news", "change, state"),
    ("road", "path, kind of call"),
    ("roads", "paths, kinds of calls"),
    ("ride", "stream"),
    ("door", "notify"),
    ("bell", "flag"),
    ("desk", "state"),
    ("seat", "lease"),
    ("pulse", "ping"),
    ("buried", "queued at the broker"),
    ("neighbour", "competing flow, next one"),
    ("overdue", "expired"),
    ("enrol", "register"),
    ("enrols", "registers"),
    ("enrolled", "registered"),
];

/// Phrases that are right where they are, in lower case.
const RIGHT: &[&str] = &[
    "stands for",
    "stand for",
    "stand-in",
    "man-in",
    "stand-alone",
    // "It reads on, so many batches are on their way."
    ", so many",
];

/// What the first line of a rustdoc paragraph does not begin with: tools show it without what is before it.
const DOC_STARTS: &[&str] = &[
    "The same in ",
    "The same of ",
    "Answers how ",
    "Answers what ",
    "Answers when ",
    "Answers whether ",
    "Their ",
    "And ",
    "Who ",
];

/// Lines that may keep a phrase, by file and by a part of the line.
const ALLOWED: &[(&str, &str)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        let mut inside: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        inside.sort();
        for path in inside.iter().filter(|path| !path.ends_with("target")) {
            files(path, found);
        }
    } else if path.extension().is_some_and(|e| e == "rs" || e == "md") {
        found.push(path.to_owned());
    }
}

/// The part of a line of Rust that is a comment.
fn comment(line: &str) -> Option<&str> {
    let mut start = 0;
    while let Some(at) = line[start..].find("//") {
        let at = start + at;
        let before = &line[..at];
        let in_string = before.matches('"').count() % 2 == 1;
        let in_address = before.ends_with(':');
        if !in_string && !in_address {
            return Some(line[at..].trim_start_matches(['/', '!']));
        }
        start = at + 2;
    }
    None
}

/// A line without what is between backticks, which is code.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("_")
}

/// Whether a phrase is in a text as whole words. Both are in lower case.
fn contains(text: &str, phrase: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(phrase).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + phrase.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// What is wrong with a line of prose.
fn wrong_words(prose: &str) -> Vec<String> {
    let mut text = without_code(prose).to_lowercase();
    for right in RIGHT {
        text = text.replace(right, "");
    }
    let found = PHRASES.iter().filter(|(phrase, _)| contains(&text, phrase));
    found
        .map(|(phrase, instead)| format!("\"{phrase}\" (instead: {instead})"))
        .collect()
}

/// What is wrong in a file, each with its line.
fn wrong_in(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let name = path.strip_prefix(root()).unwrap().display().to_string();
    let is_rust = path.extension().is_some_and(|e| e == "rs");
    let mut wrong = Vec::new();
    let mut in_code = false;
    let mut in_doc = false;
    for (n, line) in (1..).zip(text.lines()) {
        let prose = match is_rust {
            true => comment(line),
            false => Some(line),
        };
        let Some(prose) = prose else {
            in_doc = false;
            in_code = false;
            continue;
        };
        if prose.trim_start().starts_with("```") {
            in_code = !in_code;
            continue;
        }
        let allowed = |(file, part): &(&str, &str)| *file == name && line.contains(part);
        if in_code || ALLOWED.iter().any(allowed) {
            continue;
        }
        let is_doc = line.trim_start().starts_with("///");
        let mut found = wrong_words(prose);
        if is_doc && !in_doc {
            let starts = DOC_STARTS
                .iter()
                .filter(|s| prose.trim_start().starts_with(**s));
            found.extend(starts.map(|start| format!("begins with \"{start}\"")));
        }
        in_doc = is_doc;
        wrong.extend(found.iter().map(|what| format!("{name}:{n}: {what}")));
    }
    wrong
}

#[test]
fn comments_and_documents_are_in_plain_words() {
    let mut found = Vec::new();
    for path in CHECKED {
        let path = root().join(path);
        assert!(path.exists(), "{} is not there", path.display());
        files(&path, &mut found);
    }
    let wrong: Vec<_> = found.iter().flat_map(|file| wrong_in(file)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Lists what is left in the folders that are not checked yet:
/// `cargo test --all-features --test words -- --ignored --nocapture`.
#[test]
#[ignore = "a list for those who mend it"]
fn what_is_left_in_all_folders() {
    let mut found = Vec::new();
    for path in [
        "README.md",
        "design.md",
        "crates/quinn-thalweg",
        "docs",
        "examples",
        "src",
        "crates",
        "tests",
        "examples",
        "benches",
    ] {
        files(&root().join(path), &mut found);
    }
    let wrong: Vec<_> = found.iter().flat_map(|file| wrong_in(file)).collect();
    println!("{}\n{} in all", wrong.join("\n"), wrong.len());
}

#[test]
fn phrases_are_found_in_comments_only_and_as_whole_words() {
    assert_eq!(comment("    let a = 1; // one"), Some(" one"));
    assert_eq!(comment("    /// Returns it."), Some(" Returns it."));
    assert_eq!(comment("let a = \"https://example.com\";"), None);
    assert_eq!(comment("let a = b;"), None);
    assert!(!wrong_words("It stands there.").is_empty());
    assert!(!wrong_words("Nobody waits.").is_empty());
    assert!(wrong_words("N stands for the number; we understand `stands`.").is_empty());
    assert!(wrong_words("The bellows of the house; here is this history.").is_empty());
}

/// A document that grows past what can be read in its time is not read.
#[test]
fn documents_keep_their_size() {
    let design = fs::read_to_string(root().join("design.md")).unwrap();
    assert!(
        design.lines().count() <= 300,
        "design.md has more than 300 lines"
    );
    for (n, line) in (1..).zip(design.lines()) {
        assert!(
            line.chars().count() <= 120,
            "design.md:{n} has more than 120 columns"
        );
    }
    let glossary = design.lines().skip_while(|line| *line != "## Glossary");
    let glossary = glossary.skip(1).take_while(|line| !line.starts_with("## "));
    let entries = glossary.filter(|line| line.starts_with("| ")).count() - 1;
    assert!(
        (10..=20).contains(&entries),
        "{entries} entries in the glossary"
    );
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(
        readme.lines().count() <= 130,
        "README.md has more than 130 lines"
    );
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut found = Vec::new();
    for path in [
        "README.md",
        "design.md",
        "CHANGELOG.md",
        "crates/quinn-thalweg",
        "docs",
        "examples",
        "examples",
        "crates",
        "benches",
    ] {
        files(&root().join(path), &mut found);
    }
    found.retain(|path| path.extension().is_some_and(|e| e == "md"));
    assert!(found.len() > 20, "the documents were not found");
    let mut wrong = Vec::new();
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        for part in text.split("](").skip(1) {
            let link = part.split(')').next().unwrap_or_default();
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            if !path.parent().unwrap().join(file).exists() {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links to nothing:\n{}", wrong.join("\n"));
}

/// Examples of one program and one library connect to one port.
#[cfg(feature = "broker")]
#[test]
fn the_readme_uses_the_default_port() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let port = anabranch::broker::DEFAULT_PORT.to_string();
    for host in ["localhost:", "127.0.0.1:", "broker.example:"] {
        for after in readme.split(host).skip(1) {
            assert!(
                after.starts_with(&port),
                "{host}{}",
                &after[..after.len().min(6)]
            );
        }
    }
}
