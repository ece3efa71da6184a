//! The design's table of failures: each row has a test beside it, and each of those tests exists.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

const DESIGN: &str = include_str!("../design.md");

/// The rows of the table under a heading, as cells, without the two lines of its head.
fn table(heading: &str) -> Vec<Vec<String>> {
    let section = DESIGN.lines().skip_while(|line| *line != heading).skip(1);
    let section = section.take_while(|line| !line.starts_with('#'));
    let rows = section.filter(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| {
        let cells = row.trim_matches('|').split(" | ");
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(cells).collect()
}

/// The names of all functions in the sources and the tests.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let after_fn = text.split("fn ").skip(1);
            let names = after_fn.map(|rest| {
                let is_name = |c: char| c.is_alphanumeric() || c == '_';
                rest.chars().take_while(|c| is_name(*c)).collect()
            });
            found.extend(names);
        }
    }
}

#[test]
fn every_failure_in_the_design_has_a_test_beside_it_and_every_test_is_there() {
    let failures = table("## When things fail");
    assert!(failures.len() > 20, "the table is not where it was");
    let mut beside: BTreeMap<_, _> = BTreeMap::new();
    for row in table("### The test beside each row") {
        let [what, tests] = row.try_into().expect("two cells a row");
        assert_eq!(beside.insert(what, tests), None, "named twice");
    }
    let mut known = BTreeSet::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    functions(&root.join("src"), &mut known);
    functions(&root.join("tests"), &mut known);
    functions(&root.join("crates"), &mut known);

    for row in failures {
        let tests = beside.remove(&row[0]);
        let tests = tests.unwrap_or_else(|| panic!("no test beside {:?}", row[0]));
        // Names stand between backticks.
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test beside {:?}", row[0]);
        for name in names {
            assert!(known.contains(name), "no function is called {name}");
        }
    }
    assert_eq!(beside, BTreeMap::new(), "tests beside rows that are gone");
}
