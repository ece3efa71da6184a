//! Processes that are killed when their test ends. The tests of `anabranch-lab` share this file.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

/// Time limit for a process to end. Long enough for every test here: a process that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(50);

/// Returns a command without the environment variables that change the behaviour of our programs.
pub fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("ANABRANCH_") || name == "RUST_LOG" {
            command.env_remove(&*name);
        }
    }
    command
}

/// The exit status and the output of a process.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ended {
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{}", self.stderr);
        self
    }

    /// Parses standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).expect(&self.stderr)
    }

    /// Returns standard error, which must be one line.
    #[track_caller]
    pub fn sentence(&self) -> &str {
        let line = self.stderr.trim_end();
        assert!(!line.is_empty() && !line.contains('\n'), "{}", self.stderr);
        line
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            status: output.status,
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A process that is killed when dropped.
pub struct Process {
    child: Option<Child>,
}

impl Process {
    pub fn spawn(command: &mut Command) -> Self {
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self {
            child: Some(piped.spawn().unwrap()),
        }
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    pub fn take_stdin(&mut self) -> ChildStdin {
        self.child().stdin.take().unwrap()
    }

    pub fn take_stdout(&mut self) -> impl Read + use<> {
        self.child().stdout.take().unwrap()
    }

    pub fn take_stderr(&mut self) -> impl Read + Send + use<> {
        self.child().stderr.take().unwrap()
    }

    /// Sends a signal by its name.
    pub fn signal(&mut self, name: &str) {
        let id = self.child().id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Returns whether every thread is stopped. Always true on systems other than Linux.
    pub fn is_frozen(&mut self) -> bool {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.child().id())) else {
            return true;
        };
        threads.flatten().all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // The state follows the name, which may hold anything and ends with the last parenthesis.
            stat.rsplit_once(") ")
                .is_none_or(|(_, state)| state.starts_with('T'))
        })
    }

    /// Waits until the process ends.
    pub fn end(mut self) -> Ended {
        let child = self.child.take().unwrap();
        let id = child.id().to_string();
        let (ended, end) = mpsc::sync_channel(1);
        thread::spawn(move || ended.send(child.wait_with_output()));
        match end.recv_timeout(LIMIT) {
            Ok(output) => output.unwrap().into(),
            Err(_) => {
                let _ = Command::new("kill").args(["-s", "KILL", &id]).status();
                panic!("the process does not end");
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs a command to its end, with empty standard input.
pub fn run(command: &mut Command) -> Ended {
    run_with(command, b"")
}

/// Runs a command to its end, with `stdin` as standard input.
pub fn run_with(command: &mut Command, stdin: &[u8]) -> Ended {
    let mut process = Process::spawn(command);
    let mut input = process.take_stdin();
    let stdin = stdin.to_vec();
    let writer = thread::spawn(move || {
        // The process may end before it has read everything.
        let _ = input.write_all(&stdin);
    });
    let ended = process.end();
    writer.join().unwrap();
    ended
}
