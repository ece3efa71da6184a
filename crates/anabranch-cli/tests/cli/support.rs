//! Processes that end with their test, and what they say.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes: a test that waits so long has found a hang.
const LIMIT: Duration = Duration::from_secs(50);

pub const TOPIC: &str = "lines";

/// The program, with nothing of our environment but what a program needs.
pub fn anabranch<I: IntoIterator<Item: AsRef<OsStr>>>(args: I) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("ANABRANCH_") || name == "RUST_LOG" {
            command.env_remove(&*name);
        }
    }
    command.args(args);
    command
}

/// What a process that has ended left behind.
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

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).expect(&self.stderr)
    }

    /// Standard error, which must be one line.
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

/// A process that is killed when its test is done with it.
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

    /// Whether every thread is stopped, where the system tells (Linux).
    fn stands_still(&mut self) -> bool {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", self.child().id())) else {
            return true;
        };
        threads.flatten().all(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // The state is behind the name, which may hold anything but ends with the last bracket.
            stat.rsplit_once(") ")
                .is_none_or(|(_, state)| state.starts_with('T'))
        })
    }

    /// Waits for the end.
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

/// Runs a command to its end, with nothing to read.
pub fn run(command: &mut Command) -> Ended {
    run_with(command, b"")
}

/// Runs a command to its end.
pub fn run_with(command: &mut Command, stdin: &[u8]) -> Ended {
    let mut process = Process::spawn(command);
    let mut input = process.take_stdin();
    let stdin = stdin.to_vec();
    let writer = thread::spawn(move || {
        // It may end before it has read everything.
        let _ = input.write_all(&stdin);
    });
    let ended = process.end();
    writer.join().unwrap();
    ended
}

/// `anabranch serve` in a folder of its own.
pub struct Serve {
    process: Process,
    pub announced: Value,
    flags: Vec<String>,
    folder: TempDir,
}

impl Serve {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With more flags.
    pub fn with(flags: &[&str]) -> Self {
        let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
        let folder = tempfile::tempdir().unwrap();
        let (process, announced) = start(folder.path(), "127.0.0.1:0", &flags);
        Self {
            process,
            announced,
            flags,
            folder,
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn address(&self) -> SocketAddr {
        self.said("listening").parse().unwrap()
    }

    fn said(&self, field: &str) -> &str {
        self.announced[field].as_str().unwrap()
    }

    /// `anabranch` with `command`, the flags that reach this broker, and `more`.
    pub fn client(&self, command: &str, more: &[&str]) -> Command {
        let mut client = anabranch([command, "--server", self.said("server")]);
        client.args(["--ca", self.said("ca")]).args(more);
        client
    }

    /// `anabranch produce` to [`TOPIC`], with its result as JSON.
    pub fn produce(&self, more: &[&str]) -> Command {
        let mut client = self.client("produce", &["--topic", TOPIC, "--output", "json"]);
        client.args(more);
        client
    }

    /// `anabranch consume` of [`TOPIC`].
    pub fn consume(&self, more: &[&str]) -> Command {
        let mut client = self.client("consume", &["--topic", TOPIC]);
        client.args(more);
        client
    }

    /// Everything in [`TOPIC`], line by line.
    pub fn read_all(&self) -> Vec<u8> {
        run(&mut self.consume(&[])).expect_code(0).stdout
    }

    /// How many messages [`TOPIC`] has.
    pub fn stored(&self) -> u64 {
        let listed = run(&mut self.client("topics", &["--output", "json"])).expect_code(0);
        let topics = listed.json();
        let topics = topics.as_array().unwrap();
        let topic = topics.iter().find(|topic| topic["name"] == TOPIC);
        topic.map_or(0, |topic| topic["messages"].as_u64().unwrap())
    }

    /// Waits until so many are stored.
    pub fn wait_until_stored(&self, messages: u64) {
        while self.stored() < messages {}
    }

    /// Makes the process stand still; returns when every thread of it does.
    pub fn freeze(&mut self) {
        self.process.signal("STOP");
        while !self.process.stands_still() {}
    }

    /// Ends the process by SIGTERM; it must end well.
    pub fn stop(self) -> Stopped {
        let (ended, stopped) = self.end_by("TERM");
        assert_eq!(ended.expect_code(0).stderr, "");
        stopped
    }

    /// Kills the process: it has no time to do anything.
    pub fn kill(self) -> Stopped {
        self.end_by("KILL").1
    }

    fn end_by(self, signal: &str) -> (Ended, Stopped) {
        let Self {
            mut process,
            announced,
            flags,
            folder,
        } = self;
        process.signal(signal);
        let stopped = Stopped {
            listen: announced["listening"].as_str().unwrap().into(),
            flags,
            folder,
        };
        (process.end(), stopped)
    }
}

/// A broker that was stopped.
pub struct Stopped {
    listen: String,
    flags: Vec<String>,
    folder: TempDir,
}

impl Stopped {
    /// Starts it again, with the same data and at the same port.
    pub fn start_again(self) -> Serve {
        let (process, announced) = start(self.folder.path(), &self.listen, &self.flags);
        Serve {
            process,
            announced,
            flags: self.flags,
            folder: self.folder,
        }
    }
}

/// Starts `anabranch serve` and waits until it says that it serves.
fn start(data: &Path, listen: &str, flags: &[String]) -> (Process, Value) {
    let mut command = anabranch(["serve", "--listen", listen, "--output", "json", "--data"]);
    let mut process = Process::spawn(command.arg(data).args(flags));
    let mut line = String::new();
    let mut stdout = BufReader::new(process.take_stdout());
    stdout.read_line(&mut line).unwrap();
    let Ok(announced) = serde_json::from_str(&line) else {
        panic!("it does not serve: {}", process.end().stderr);
    };
    (process, announced)
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// A file in a folder.
pub fn file(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}
