//! Runs a program on a terminal.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    process::{Command, Stdio},
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// Opens a terminal. Returns the end that shows, and the end that a program is given.
fn open() -> (File, File) {
    let shows = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&shows).unwrap();
    unlockpt(&shows).unwrap();
    let name = ptsname(&shows, Vec::new()).unwrap();
    let program = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    (File::from(shows), program)
}

/// Runs a command whose standard output and standard error are a terminal, and returns what that shows.
pub fn run(command: &mut Command) -> String {
    let (mut shows, program) = open();
    command.stdin(Stdio::null());
    command.stdout(program.try_clone().unwrap()).stderr(program);
    let mut child = command.spawn().unwrap();
    // The command holds copies of the program's end. Without them, the reads below end with the process.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut shown = Vec::new();
    let mut block = [0; 4096];
    // Linux answers with an error when no program has the terminal open any more.
    while let Ok(read @ 1..) = shows.read(&mut block) {
        shown.extend_from_slice(&block[..read]);
    }
    child.wait().unwrap();
    String::from_utf8_lossy(&shown).into_owned()
}
