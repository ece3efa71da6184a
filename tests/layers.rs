//! Arrows between modules point one way, folders have no import circles, and sans-I/O files do no I/O.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "layers/lexer.rs"]
mod lexer;
#[path = "layers/modules.rs"]
mod modules;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use modules::{Crate, FACADE};

/// Which modules at the root of the library a module there may use. Those that are not listed here fail the test.
const ARROWS: &[(&str, &[&str])] = &[
    // Files that all folders may use.
    ("config", &[]),
    ("de", &["units"]),
    ("ids", &[]),
    ("metrics", &[]),
    ("ordered_watch", &[]),
    ("sync", &[]),
    ("tasks", &[]),
    ("text", &[]),
    ("time", &["ids"]),
    ("topic", &[]),
    ("units", &[]),
    // Folders, from below.
    ("pool", &[]),
    ("scaler", &[]),
    ("wire", &[]),
    ("conn", &["wire"]),
    ("store", &["wire"]),
    ("admin", &["conn", "wire"]),
    ("consumer", &["conn", "wire"]),
    ("producer", &["conn", "pool", "scaler", "store", "wire"]),
    ("broker", &["conn", "store", "wire"]),
    ("sim", &["conn"]),
    (
        "testing",
        &["broker", "conn", "consumer", "producer", "store", "wire"],
    ),
];

/// Files at the root that every folder may use.
const SHARED: &[&str] = &[
    "config",
    "de",
    "ids",
    "metrics",
    "ordered_watch",
    "sync",
    "tasks",
    "text",
    "time",
    "topic",
    "units",
];

/// The rooms of folders, from the top down: a room may use those after it only.
const ROOMS: &[(&str, &[&str])] = &[
    ("conn", &["client", "server", "quic", "tls"]),
    (
        "scaler",
        &["adaptive", "fixed", "meter", "decision", "load", "config"],
    ),
    (
        "store",
        &[
            "log",
            "log_format",
            "memory",
            "delegate",
            "plan",
            "catalog",
            "dedup_window",
            "trim",
        ],
    ),
    (
        "producer",
        &[
            "builder",
            "start",
            "producer",
            "sink",
            "send",
            "inner",
            "scaling",
            "spool",
            "sender",
            "accumulator",
            "receipt",
            "waiters",
            "error",
            "message",
            "config",
            "spool_config",
            "strategy",
            "limits",
        ],
    ),
    (
        "producer/sender",
        &[
            "expiry",
            "lane",
            "per_message",
            "recovery",
            "context",
            "source",
            "requests",
            "run_size",
            "transport",
            "expired",
            "lane_stats",
            "streams",
            "write_gate",
            "batcher",
            "in_flight",
        ],
    ),
    (
        "producer/accumulator",
        &[
            "accept",
            "ordered",
            "queue_reader",
            "backlog_alarm",
            "flush_epochs",
            "queue",
            "queued",
            "chunk",
            "count",
            "budget",
            "hand_over",
            "key_shards",
            "lane_waker",
            "sleeper",
            "thread_number",
        ],
    ),
];

/// Folders with import circles that are known. Each goes when its circle is gone.
const CIRCLES: &[&str] = &[];

/// Files that say they are sans-I/O and are not yet.
const NOT_YET_SANS_IO: &[&str] = &[];

/// Words that a sans-I/O file does not contain: waiting, the outside, locks, the clock, randomness.
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
    "Mutex",
    "RwLock",
    "Atomic",
    "fastrand::u",
    "fastrand::f",
    "thread_rng",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The library, the crates beside it and their programs, by name. Read once for all tests.
static CRATES: LazyLock<Vec<(String, Crate)>> = LazyLock::new(|| {
    let mut found = vec![(
        "anabranch".to_owned(),
        Crate::read(&root().join("src/lib.rs")),
    )];
    let mut folders: Vec<_> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let bin = folder.join("src/bin").join(&name).join("main.rs");
        for (suffix, start) in [
            ("", folder.join("src/lib.rs")),
            (" (program)", folder.join("src/main.rs")),
            (" (program)", bin),
        ] {
            if start.exists() {
                found.push((format!("{name}{suffix}"), Crate::read(&start)));
            }
        }
    }
    found
});

fn library() -> &'static Crate {
    &CRATES[0].1
}

#[test]
fn no_module_at_the_root_uses_one_above_it() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for arrow in library().arrows() {
        if arrow.folder.is_some() || arrow.from == FACADE {
            continue;
        }
        let Some(below) = allowed.get(arrow.from.as_str()) else {
            panic!("src/{} has no arrows in this test", arrow.from);
        };
        let shared = SHARED.contains(&arrow.to.as_str()) && !SHARED.contains(&arrow.from.as_str());
        if !below.contains(&arrow.to.as_str()) && !shared {
            wrong.push(format!("{}: {} uses {}", arrow.file, arrow.from, arrow.to));
        }
    }
    assert!(wrong.is_empty(), "arrows up:\n{}", wrong.join("\n"));
}

#[test]
fn no_folder_has_an_import_circle() {
    let mut wrong = Vec::new();
    let mut known: BTreeSet<_> = CIRCLES.iter().map(|folder| (*folder).to_owned()).collect();
    for (name, one) in CRATES.iter() {
        let mut folders: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        // The page of a folder may hold what its rooms share, and use them.
        let between = |arrow: &modules::Arrow| arrow.from != FACADE && arrow.to != FACADE;
        for arrow in one.arrows().into_iter().filter(between) {
            let folder = arrow
                .folder
                .map_or_else(|| name.clone(), |f| format!("{name}/{f}"));
            let from = folders.entry(folder).or_default().entry(arrow.from);
            from.or_default().insert(arrow.to);
        }
        for (folder, uses) in folders {
            let circle = circle(&uses);
            if !circle.is_empty() && !known.remove(&folder) {
                wrong.push(format!("{folder}: {}", circle.join(" → ")));
            }
        }
    }
    assert!(wrong.is_empty(), "import circles:\n{}", wrong.join("\n"));
}

/// Returns a circle among the rooms of a folder, as the rooms that are passed; empty if there is none.
fn circle(uses: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    fn visit(
        room: &str,
        uses: &BTreeMap<String, BTreeSet<String>>,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if let Some(start) = path.iter().position(|passed| passed == room) {
            path.drain(..start);
            path.push(room.to_owned());
            return true;
        }
        if !done.insert(room.to_owned()) {
            return false;
        }
        path.push(room.to_owned());
        for next in uses.get(room).into_iter().flatten() {
            if visit(next, uses, path, done) {
                return true;
            }
        }
        path.pop();
        false
    }
    let mut done = BTreeSet::new();
    for room in uses.keys() {
        let mut path = Vec::new();
        if visit(room, uses, &mut path, &mut done) {
            return path;
        }
    }
    Vec::new()
}

#[test]
fn rooms_of_a_folder_use_only_rooms_below_them() {
    let mut wrong = Vec::new();
    for (folder, rooms) in ROOMS {
        let there = library().rooms(folder);
        let listed: BTreeSet<_> = rooms.iter().map(|room| (*room).to_owned()).collect();
        assert_eq!(there, listed, "the rooms of {folder}");
    }
    for arrow in library().arrows() {
        let Some(folder) = &arrow.folder else {
            continue;
        };
        let Some((_, rooms)) = ROOMS.iter().find(|(name, _)| name == folder) else {
            continue;
        };
        let place = |room: &str| rooms.iter().position(|other| *other == room);
        if arrow.from != FACADE && arrow.to != FACADE && place(&arrow.from) > place(&arrow.to) {
            wrong.push(format!("{}: {} uses {}", arrow.file, arrow.from, arrow.to));
        }
    }
    assert!(wrong.is_empty(), "arrows up:\n{}", wrong.join("\n"));
}

#[test]
fn files_that_say_they_are_sans_io_are() {
    let mut found = 0;
    let mut wrong = Vec::new();
    for (_, one) in CRATES.iter() {
        for file in one.files() {
            if NOT_YET_SANS_IO.contains(&modules::shown(&file).as_str()) {
                continue;
            }
            let text = fs::read_to_string(&file).unwrap();
            assert!(!text.starts_with("//! Pure:"), "{}", file.display());
            if !text.starts_with("//! Sans-I/O:") {
                continue;
            }
            found += 1;
            let code = lexer::code(&lexer::tokens(&text));
            for word in IMPURE {
                if code.contains(word) {
                    wrong.push(format!("{}: {word}", modules::shown(&file)));
                }
            }
        }
    }
    assert!(found > 40, "only {found} sans-I/O files were found");
    assert!(wrong.is_empty(), "not sans-I/O:\n{}", wrong.join("\n"));
}

/// The page of the producer follows one message through a numbered list of files.
#[test]
fn the_walk_of_a_message_names_at_most_ten_files_that_exist() {
    let folder = root().join("src/producer");
    let page = fs::read_to_string(folder.join("mod.rs")).unwrap();
    let steps = page.lines().filter_map(|line| {
        let step = line.strip_prefix("//! ")?;
        let (number, rest) = step.split_once(". ")?;
        number.parse::<usize>().is_ok().then_some(rest)
    });
    let mut files: Vec<PathBuf> = Vec::new();
    for step in steps {
        let names = step.split('`').skip(1).step_by(2);
        for name in names.filter(|name| name.ends_with(".rs")) {
            let file = folder.join(name);
            assert!(file.is_file(), "{name} is in the walk and does not exist");
            assert!(!files.contains(&file), "{name} is entered twice");
            files.push(file);
        }
    }
    let steps = files.len();
    assert!((6..=10).contains(&steps), "{steps} files in the walk");
}
