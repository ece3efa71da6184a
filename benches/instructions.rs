//! How many instructions the pieces take, counted by callgrind: a figure that a noisy machine does not move.
//!
//! `cargo bench --all-features --bench instructions` prints the table, and fails where a piece takes more than its bound and the tolerance.
//! Each piece is run twice in a process of its own, the second time for longer: the difference has no start and end in it.
//!
//! A bound is what was counted when it was last written down. Who makes a piece faster writes down the new one.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench may panic"
)]

#[path = "pieces/mod.rs"]
mod pieces;

use std::{
    env,
    hint::black_box,
    process::{Command, ExitCode},
};

use anabranch::store::Fsync;
use pieces::{Appending, BATCH, EndToEnd, Enqueue, GROUP};

/// How far over its bound a piece may be: other versions of compiler, system and processor count a little differently.
const TOLERANCE: f64 = 1.15;

struct Piece {
    name: &'static str,
    /// Runs the piece this number of times.
    run: fn(usize),
    /// How often it is done the first time, and how much longer the second.
    rounds: usize,
    /// Messages of a round.
    messages: usize,
    /// Instructions a message.
    bound: f64,
}

const PIECES: [Piece; 7] = [
    Piece {
        name: "enqueue",
        run: |rounds| {
            let enqueue = Enqueue::new();
            enqueue.run(rounds);
            // Its drop would hand every message back.
            std::mem::forget(enqueue);
        },
        rounds: 20_000,
        messages: 1,
        bound: 900.0,
    },
    Piece {
        name: "check",
        run: |rounds| {
            let batch = pieces::batch();
            (0..rounds).for_each(|_| _ = black_box(pieces::check(&batch)));
        },
        rounds: 100,
        messages: BATCH,
        bound: 160.0,
    },
    Piece {
        name: "read",
        run: |rounds| {
            let batch = pieces::batch();
            (0..rounds).for_each(|_| _ = black_box(pieces::read(&batch)));
        },
        rounds: 100,
        messages: BATCH,
        bound: 550.0,
    },
    Piece {
        name: "dedupe (a batch)",
        run: |rounds| _ = black_box(pieces::dedupe(rounds as u64)),
        rounds: 20_000,
        messages: 1,
        bound: 2000.0,
    },
    Piece {
        name: "append to memory",
        run: |rounds| Appending::memory().run(rounds),
        rounds: 10,
        messages: BATCH * GROUP,
        bound: 120.0,
    },
    Piece {
        name: "append to log",
        // As many as fill several segments: making and sealing them counts.
        run: |rounds| Appending::log(Fsync::Never).run(rounds),
        rounds: 40,
        messages: BATCH * GROUP,
        bound: 190.0,
    },
    Piece {
        name: "end to end",
        run: |rounds| {
            let all = EndToEnd::new();
            (0..rounds).for_each(|_| all.run(10_000));
        },
        rounds: 3,
        messages: 10_000,
        bound: 3400.0,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = env::args().collect();
    if let [_, run, name, rounds] = &args[..]
        && run == "--run"
    {
        let piece = PIECES.iter().find(|piece| piece.name == name).unwrap();
        (piece.run)(rounds.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("valgrind is not here: nothing was counted");
        return ExitCode::SUCCESS;
    }
    println!("{:<20}{:>14}{:>10}", "instructions", "a message", "bound");
    let mut held = true;
    for piece in &PIECES {
        let more = instructions(piece, 2 * piece.rounds) - instructions(piece, piece.rounds);
        let each = more / (piece.rounds * piece.messages) as f64;
        let over = each > piece.bound * TOLERANCE;
        let mark = if over { "  OVER" } else { "" };
        println!("{:<20}{each:>14.1}{:>10.1}{mark}", piece.name, piece.bound);
        held &= !over;
    }
    match held {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Counts the instructions of a process that runs the piece `rounds` times.
fn instructions(piece: &Piece, rounds: usize) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().unwrap())
        .args(["--run", piece.name, &rounds.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", piece.name);
    let counted = said.lines().find_map(|line| line.split_once("Collected :"));
    counted.unwrap().1.trim().parse().unwrap()
}
