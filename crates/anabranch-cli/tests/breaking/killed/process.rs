//! A process that is killed, or ends with the harness.

use std::{
    io::{BufRead, BufReader},
    net::UdpSocket,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::PATIENCE;

/// What a process does.
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

    /// The test that is this process.
    const fn test(self) -> &'static str {
        match self {
            Self::Broker => unreachable!(),
            Self::Producer => "killed::producer::process",
            Self::Consumer => "killed::consumer::process",
        }
    }
}

/// How the harness tells a process who it is.
pub const FOLDER: &str = "ANABRANCH_KILLS_FOLDER";
pub const PORT: &str = "ANABRANCH_KILLS_PORT";
pub const LIFE: &str = "ANABRANCH_KILLS_LIFE";

pub struct Process(Child);

impl Process {
    /// `anabranch serve`; returns when it serves.
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

    /// This test program, as one of its other parts.
    pub fn client(part: Part, folder: &Path, port: u16, life: u64) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", part.test()])
            .env(FOLDER, folder)
            .env(PORT, port.to_string())
            .env(LIFE, life.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// `SIGKILL`.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Closes its standard input, by which a client knows that it is to end, and waits until it has.
    pub fn end_in_order(&mut self) {
        drop(self.0.stdin.take());
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end");
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

/// What the harness told this process, if there is a harness: folder, port and life.
pub fn told() -> Option<(std::path::PathBuf, u16, u64)> {
    let port = std::env::var(PORT).ok()?.parse().ok()?;
    let life = std::env::var(LIFE).ok()?.parse().ok()?;
    Some((std::env::var_os(FOLDER)?.into(), port, life))
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}
