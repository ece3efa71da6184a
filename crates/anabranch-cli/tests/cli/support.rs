//! Runs `anabranch`, above all `anabranch serve`.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader},
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use super::process::{Ended, command};
pub use super::process::{Process, run, run_with};

/// The topic of most tests.
pub const TOPIC: &str = "lines";

/// Returns a command that runs `anabranch`.
pub fn anabranch<I: IntoIterator<Item: AsRef<OsStr>>>(args: I) -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_anabranch"));
    command.args(args);
    command
}

/// A running `anabranch serve` with a temporary data folder.
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

    /// Starts the broker with more flags.
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
        self.announced("listening").parse().unwrap()
    }

    fn announced(&self, field: &str) -> &str {
        self.announced[field].as_str().unwrap()
    }

    /// Returns the command `anabranch COMMAND`, with flags that reach this broker, and `more`.
    pub fn client(&self, command: &str, more: &[&str]) -> Command {
        let mut client = anabranch([command, "--server", self.announced("server")]);
        client.args(["--ca", self.announced("ca")]).args(more);
        client
    }

    /// Returns the command `anabranch WORDS MORE`, with flags after it that reach this broker.
    pub fn client_of(&self, words: &[&str], more: &[&str]) -> Command {
        let mut client = anabranch(words.iter().chain(more));
        client.args(["--server", self.announced("server")]);
        client.args(["--ca", self.announced("ca")]);
        client
    }

    /// Returns the command `anabranch produce` to [`TOPIC`], with its summary as JSON.
    pub fn produce(&self, more: &[&str]) -> Command {
        let mut client = self.client("produce", &["--topic", TOPIC, "--output", "json"]);
        client.args(more);
        client
    }

    /// Returns the command `anabranch consume` of [`TOPIC`].
    pub fn consume(&self, more: &[&str]) -> Command {
        let mut client = self.client("consume", &["--topic", TOPIC]);
        client.args(more);
        client
    }

    /// Reads all messages of [`TOPIC`], as lines.
    pub fn read_all(&self) -> Vec<u8> {
        run(&mut self.consume(&[])).expect_code(0).stdout
    }

    /// Returns the number of messages in [`TOPIC`].
    pub fn stored(&self) -> u64 {
        let listed = run(&mut self.client("topics", &["--output", "json"])).expect_code(0);
        let topics = listed.json();
        let topics = topics.as_array().unwrap();
        let topic = topics.iter().find(|topic| topic["name"] == TOPIC);
        topic.map_or(0, |topic| topic["messages"].as_u64().unwrap())
    }

    /// Waits until `messages` messages are stored.
    pub fn wait_until_stored(&self, messages: u64) {
        while self.stored() < messages {}
    }

    /// Stops the process (SIGSTOP), and waits until every thread is stopped.
    pub fn freeze(&mut self) {
        self.process.signal("STOP");
        while !self.process.is_frozen() {}
    }

    /// Lets the process go on after [`Serve::freeze`].
    pub fn thaw(&mut self) {
        self.process.signal("CONT");
    }

    /// Sends a signal by its name.
    pub fn signal(&mut self, name: &str) {
        self.process.signal(name);
    }

    /// Returns the lines of standard error as they come. Can be called once.
    pub fn log(&mut self) -> impl Iterator<Item = String> + use<> {
        BufReader::new(self.process.take_stderr())
            .lines()
            .map(Result::unwrap)
    }

    /// Ends the process by SIGTERM. It must exit with code 0 and must not have warned of anything.
    pub fn stop(self) -> Stopped {
        let (ended, stopped) = self.end_by("TERM");
        let log = ended.expect_code(0).stderr;
        for level in ["WARN", "ERROR", "warning:", "error:"] {
            assert!(!log.contains(level), "{log}");
        }
        stopped
    }

    /// Kills the process (SIGKILL).
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

/// A stopped broker.
pub struct Stopped {
    listen: String,
    flags: Vec<String>,
    folder: TempDir,
}

impl Stopped {
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the broker again, with the same data and at the same port.
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

/// Starts `anabranch serve`, and waits for its announcement.
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

/// Returns a port that was free a moment ago.
pub fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// Writes a file in a folder.
pub fn file(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    // Some hold secrets, which others must not read.
    #[cfg(unix)]
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}
