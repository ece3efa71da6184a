//! A process that may write no further, or open no more files: every system can arrange that, so these tests always
//! look. To the store, the first is a full disk.
//!
//! Limits hold for a whole process, so each test runs in one of its own: the test program starts itself.

use std::{
    env,
    process::{Command, Stdio},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{super::*, disk::fails_and_comes_back, *};

const ALONE: &str = "ANABRANCH_TEST_ALONE";

/// In a process of its own, true. Elsewhere it runs the test `name` in one, and passes if that does.
fn alone(name: &str) -> bool {
    if env::var_os(ALONE).is_some() {
        return true;
    }
    let name = name.split_once("::").unwrap().1;
    // Who writes beyond the limit is killed by a signal, unless it is ignored, which only a parent can arrange here.
    let ran = Command::new("sh")
        .args(["-c", r#"trap '' XFSZ; exec "$0" "$@""#])
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ALONE, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (&ran.stdout, &ran.stderr);
    let told = String::from_utf8_lossy(out) + String::from_utf8_lossy(err);
    assert!(ran.status.success(), "{told}");
    assert!(told.contains("1 passed"), "it did not run: {told}");
    false
}

macro_rules! name {
    ($name:ident) => {
        concat!(module_path!(), "::", stringify!($name))
    };
}

/// Sets the limit that counts to `most`, and answers what it was.
fn limit(resource: Resource, most: Option<u64>) -> Option<u64> {
    let before = getrlimit(resource);
    let now = Rlimit {
        current: most,
        ..before
    };
    setrlimit(resource, now).unwrap();
    before.current
}

async fn at_once(path: &Path) -> LogStore {
    let config = LogConfig {
        retry_after: Duration::ZERO,
        min_free_bytes: 0,
        ..LogConfig::default()
    };
    LogStore::open(path, config).await.unwrap()
}

#[tokio::test]
async fn a_disk_that_takes_no_more_refuses_until_it_does_and_stores_nothing_twice() {
    if !alone(name!(
        a_disk_that_takes_no_more_refuses_until_it_does_and_stores_nothing_twice
    )) {
        return;
    }
    let folder = folder();
    let store = at_once(folder.path()).await;
    let p = producer(&store, "p").await;
    let before = limit(Resource::Fsize, Some(2 << 20));
    let mend = || {
        limit(Resource::Fsize, before);
    };
    fails_and_comes_back(store, folder.path(), p, true, (|| {}, mend)).await;
}

#[tokio::test]
async fn a_process_with_too_many_open_files_refuses_until_it_has_fewer_and_stores_nothing_twice() {
    if !alone(name!(
        a_process_with_too_many_open_files_refuses_until_it_has_fewer_and_stores_nothing_twice
    )) {
        return;
    }
    let folder = folder();
    let store = at_once(folder.path()).await;
    let p = producer(&store, "p").await;
    limit(Resource::Nofile, Some(200));
    let mut open = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        open.push(file);
    }
    fails_and_comes_back(store, folder.path(), p, false, (|| {}, || drop(open))).await;
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_for_want_of_files_says_so_and_harms_nothing() {
    if !alone(name!(
        a_store_that_cannot_be_opened_for_want_of_files_says_so_and_harms_nothing
    )) {
        return;
    }
    let folder = folder();
    let store = open(folder.path()).await;
    let p = producer(&store, "p").await;
    base(&store, batch(p, 1, "a", 3)).await;
    store.close().await.unwrap();
    limit(Resource::Nofile, Some(64));
    let mut open_files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        open_files.push(file);
    }
    // With more and more room: at each step of the opening it may be the next file that is one too many.
    let store = loop {
        match LogStore::open(folder.path(), LogConfig::default()).await {
            Ok(store) => break store,
            Err(error) => {
                assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
                assert!(open_files.pop().is_some(), "{error:?}");
            }
        }
    };
    drop(open_files);
    assert_eq!(bases(&store, "a", 0).await, [0]);
    assert!(append(&store, batch(p, 1, "a", 3)).await.unwrap().repeat);
}

/// The reserve alone: no system is needed for that.
#[tokio::test]
async fn appends_leave_the_reserve_free_and_say_how_much_that_is() {
    let folder = folder();
    let config = LogConfig {
        min_free_bytes: u64::MAX,
        ..LogConfig::default()
    };
    let store = LogStore::open(folder.path(), config).await.unwrap();
    let p = producer(&store, "p").await;
    let error = append(&store, batch(p, 1, "a", 1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Refuses(_)), "{error:?}");
    assert!(error.to_string().contains(&u64::MAX.to_string()), "{error}");
    assert!(matches!(store.state(), StoreState::Refusing(_)));
    store.create_topic(&topic("a"), KEPT).await.unwrap();
    store.trim(&topic("a"), Trim::default()).await.unwrap();
}
