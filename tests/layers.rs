//! Arrows point down, and files that say they are pure are.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may panic, start tasks, and has no public names"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Which folders a folder of `src` may name, beside itself and the files at the root.
const ARROWS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("pool", &[]),
    ("scaler", &[]),
    ("conn", &["wire"]),
    ("consumer", &["conn", "wire"]),
    ("store", &["wire"]),
    ("producer", &["conn", "pool", "scaler", "store", "wire"]),
    ("broker", &["conn", "store", "wire"]),
];

/// What a pure file has nothing to do with: waiting, the outside, the clock, chance.
const IMPURE: &[&str] = &[
    "async fn",
    ".await",
    "tokio::",
    "crate::time",
    "crate::tasks",
    "std::fs",
    "std::net::Udp",
    "Instant::now",
    "SystemTime",
    "fastrand::u",
    "fastrand::f",
    "thread_rng",
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file: without its tests and its comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("\n#[cfg(test)]\n").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn sources() -> (PathBuf, Vec<PathBuf>) {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&src, &mut found);
    found.retain(|p| {
        let name = p.to_string_lossy();
        let test_only = [
            "/tests/",
            "tests.rs",
            "/conn/loopback",
            "/conn/testing",
            "/wire/arbitrary",
        ];
        !test_only.iter().any(|t| name.contains(t))
    });
    assert!(found.len() > 50, "the sources were not found");
    (src, found)
}

#[test]
fn no_folder_names_one_above_it() {
    let (src, found) = sources();
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for path in found {
        let inside = path.strip_prefix(&src).unwrap();
        let Some(folder) = inside.parent().and_then(|p| p.iter().next()) else {
            continue;
        };
        let folder = folder.to_str().unwrap();
        let allowed = arrows
            .get(folder)
            .unwrap_or_else(|| panic!("src/{folder} has no arrows in this test"));
        let code = code(&path);
        // `use crate::{a::…, b::…}` and `crate::a::…` alike.
        let flat = code.replace(['\n', ' '], "");
        for (other, _) in ARROWS {
            let named = flat.contains(&format!("crate::{other}::"))
                || flat.split("usecrate::{").skip(1).any(|rest| {
                    let block = rest.split(";").next().unwrap_or_default();
                    block.starts_with(&format!("{other}::"))
                        || block.contains(&format!(",{other}::"))
                });
            if named && *other != folder && !allowed.contains(other) {
                wrong.push(format!("{} names {other}", inside.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that point up:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn files_that_say_they_are_pure_are() {
    let (src, found) = sources();
    let mut pure = 0;
    let mut wrong = Vec::new();
    for path in found {
        let text = fs::read_to_string(&path).unwrap();
        if !["//! Sans-I/O:", "//! Pure:"]
            .iter()
            .any(|head| text.starts_with(head))
        {
            continue;
        }
        pure += 1;
        let code = code(&path);
        for word in IMPURE {
            if code.contains(word) {
                let inside = path.strip_prefix(&src).unwrap();
                wrong.push(format!("{}: {word}", inside.display()));
            }
        }
    }
    assert!(pure > 15, "only {pure} pure files were found");
    assert!(wrong.is_empty(), "not pure:\n{}", wrong.join("\n"));
}
