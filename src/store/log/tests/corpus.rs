//! The corpora of the fuzz targets, and seeded changes of them.

use std::{fs, path::Path};

use super::super::fuzz;

/// Changes that are tried of each corpus. More of them with `ANABRANCH_FUZZ=count`.
const CHANGES: u32 = 3000;

/// Changes some bytes as a fuzzer does.
fn change(rng: &mut fastrand::Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut data = rng.choice(corpus).unwrap().clone();
    for _ in 0..rng.u32(1..6) {
        let at = rng.usize(0..=data.len());
        match rng.u8(0..6) {
            0 => data.truncate(at),
            1 => data.insert(at, rng.u8(..)),
            2 if at < data.len() => drop(data.remove(at)),
            3 if at < data.len() => data[at] ^= 1 << rng.u8(0..8),
            4 if at < data.len() => data[at] = *rng.choice([0, 1, 127, 128, 255].iter()).unwrap(),
            _ => {
                let other = rng.choice(corpus).unwrap();
                let from = rng.usize(0..=other.len());
                let to = rng.usize(from..=other.len());
                data.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    data.truncate(1 << 16);
    data
}

fn runs(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let corpus: Vec<_> = names.iter().map(|name| fs::read(name).unwrap()).collect();
    assert!(corpus.len() >= 3, "the corpus of {name} is there");
    corpus.iter().for_each(|data| target(data));
    let changes = std::env::var("ANABRANCH_FUZZ").ok();
    let changes = changes
        .and_then(|count| count.parse().ok())
        .unwrap_or(CHANGES);
    let mut rng = fastrand::Rng::with_seed(11);
    for _ in 0..changes {
        target(&change(&mut rng, &corpus));
    }
}

#[test]
fn the_corpus_of_frames_is_read_without_a_panic_and_a_whole_frame_is_never_torn() {
    runs("frames", fuzz::frames);
}

#[test]
fn the_corpus_of_snapshots_decodes_to_what_encodes_to_the_same() {
    runs("snapshot", fuzz::snapshot);
}

#[test]
fn the_corpus_of_manifests_and_indexes_is_read_without_a_panic() {
    runs("files", fuzz::files);
}

#[test]
fn the_corpus_of_packets_decodes_alike_however_it_is_split() {
    runs("wire", fuzz::wire);
}
