//! The processes of the test, which end with it.

use std::{
    io::{BufRead, BufReader},
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::PATIENCE;

/// The part of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Broker,
    Producer,
    Consumer,
}

impl Part {
    pub const ALL: [Self; 3] = [Self::Broker, Self::Producer, Self::Consumer];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }
}

/// The test that a client process runs. With [`PART`] set, it is that client instead.
const TEST: &str = "killed::processes_that_are_killed_under_load_lose_and_repeat_nothing";

/// Environment variables that tell a client process what it is.
const PART: &str = "ANABRANCH_KILLS_PART";
const FOLDER: &str = "ANABRANCH_KILLS_FOLDER";
const PORT: &str = "ANABRANCH_KILLS_PORT";
const LIFE: &str = "ANABRANCH_KILLS_LIFE";

pub struct Process(Child);

impl Process {
    /// Starts `anabranch serve`, and waits until it listens.
    pub fn broker(folder: &Path, port: u16) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
        command
            .args(["serve", "--output", "json", "--listen"])
            .arg(format!("127.0.0.1:{port}"))
            .arg("--data")
            .arg(folder.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = Self(command.spawn().unwrap());
        let mut line = String::new();
        let stdout = process.0.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert!(line.contains("listening"), "the broker does not serve");
        process
    }

    /// Starts this test program as a client.
    pub fn client(part: Part, folder: &Path, port: u16, life: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", TEST])
            .env(PART, part.name())
            .env(FOLDER, folder)
            .env(PORT, port.to_string())
            .env(LIFE, life.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Kills the process (SIGKILL).
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Closes standard input, which tells a client to end, and waits until it has ended.
    pub fn end_gracefully(&mut self) {
        drop(self.0.stdin.take());
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "the process does not end");
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a client process is: its part, the folder of the test, the broker's port, and its number among those of its part.
pub struct Role {
    pub part: Part,
    pub folder: PathBuf,
    pub port: u16,
    pub life: u64,
}

/// Returns the role of this process. `None` for the test itself.
pub fn role() -> Option<Role> {
    let part = std::env::var(PART).ok()?;
    let number = |name| std::env::var(name).unwrap();
    Some(Role {
        part: Part::of_name(&part).unwrap(),
        folder: std::env::var_os(FOLDER).unwrap().into(),
        port: number(PORT).parse().unwrap(),
        life: number(LIFE).parse().unwrap(),
    })
}

/// Returns a port that was free a moment ago.
pub fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}
