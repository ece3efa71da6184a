//! The table of failures in the design names a test for each failure, and each of those tests exists.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

const DESIGN: &str = include_str!("../design.md");

/// An attribute that makes a function a test is at most this many lines before it.
const ATTRIBUTE_LINES: usize = 6;

/// Returns the tests that the table names for each failure. A row without a failure continues the one before it.
fn failures() -> BTreeMap<String, Vec<String>> {
    let section = DESIGN.lines().skip_while(|line| *line != "## Failures");
    let section = section.skip(1).take_while(|line| !line.starts_with('#'));
    let rows = section.filter(|line| line.starts_with('|')).skip(2);
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut failure = String::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [what, _, _, tests] = cells[..] else {
            panic!("four cells in a row: {row}");
        };
        if !what.is_empty() {
            what.clone_into(&mut failure);
            let before = found.insert(failure.clone(), Vec::new());
            assert_eq!(before, None, "{what:?} is named twice");
        }
        let tests = tests.split('`').skip(1).step_by(2).map(str::to_owned);
        found
            .get_mut(&failure)
            .expect("the first row names a failure")
            .extend(tests);
    }
    found
}

/// Returns the name of the function that a line declares. A comment declares none.
fn function(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    let rest = line.strip_prefix("fn ")?;
    let name = rest
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .next()?;
    Some(name).filter(|name| !name.is_empty())
}

fn is_test_attribute(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("#[test]") || line.starts_with("#[tokio::test")
}

/// Adds the names of the tests in a source text: functions with an attribute of a test, and functions that a macro of
/// the same file makes a test of, as one of the names with which it is called.
fn tests_in(text: &str, found: &mut BTreeSet<String>) {
    let lines: Vec<_> = text.lines().collect();
    let mut by_macro = false;
    for (n, line) in lines.iter().enumerate() {
        if is_test_attribute(line) {
            let after = lines[n + 1..].iter().take(ATTRIBUTE_LINES);
            let mut after = after.map(|line| line.trim_start());
            let declared = after.find(|line| line.contains("fn "));
            by_macro |= declared.is_some_and(|line| line.contains("fn $"));
        }
        let Some(name) = function(line) else { continue };
        // An attribute before the end of an earlier function belongs to that one.
        let before = lines[..n].iter().rev().take(ATTRIBUTE_LINES);
        let mut own = before.take_while(|line| line.trim() != "}");
        if own.any(|line| is_test_attribute(line)) {
            found.insert(name.to_owned());
        }
    }
    if by_macro {
        let named: BTreeSet<_> = lines.iter().map(|line| line.trim()).collect();
        let functions = lines.iter().filter_map(|line| function(line));
        found.extend(functions.filter(|f| named.contains(f)).map(str::to_owned));
    }
}

fn tests_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            tests_in(&fs::read_to_string(&path).unwrap(), found);
        }
    }
}

#[test]
fn every_failure_in_the_design_names_a_test_and_every_test_is_there() {
    let failures = failures();
    assert!(failures.len() > 30, "the table is not where it was");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut known = BTreeSet::new();
    for folder in ["src", "tests", "crates"] {
        tests_below(&root.join(folder), &mut known);
    }
    assert!(known.len() > 500, "the tests were not found");

    for (failure, tests) in failures {
        assert!(!tests.is_empty(), "no test for {failure:?}");
        for test in tests {
            let matches: Vec<_> = match test.strip_suffix('…') {
                None => known.iter().filter(|name| **name == test).collect(),
                Some(beginning) => {
                    let begins = |name: &&String| name.starts_with(beginning);
                    known.iter().filter(begins).collect()
                }
            };
            assert_eq!(matches.len(), 1, "{failure}: {test} is {matches:?}");
        }
    }
}

#[test]
fn a_helper_or_a_test_that_is_commented_out_is_no_test() {
    let source = "
#[test]
fn one() {
}

fn helper() {
}

// #[test]
// fn commented() {}

#[tokio::test(start_paused = true)]
#[cfg(unix)]
async fn two() {}

macro_rules! all {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() { super::$name(1) }
    )* }
}
all! {
    three
    // four
}
fn three(n: u8) {}
fn four(n: u8) {}
";
    let mut found = BTreeSet::new();
    tests_in(source, &mut found);
    assert_eq!(Vec::from_iter(&found), ["one", "three", "two"]);
}
