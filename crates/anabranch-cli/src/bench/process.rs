//! CPU time and memory of a process, from `/proc`. `None` on systems other than Linux.

use std::{fs, time::Duration};

/// Unit of CPU times in `/proc`: `USER_HZ` is 100, whatever the kernel's own clock is.
const TICK: Duration = Duration::from_millis(10);

/// Returns the user and system CPU time of a process, or of this one, over all its threads.
pub(crate) fn cpu(pid: Option<u32>) -> Option<Duration> {
    let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    ticks(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// Returns the peak resident memory of this process, in bytes.
pub(crate) fn peak_rss() -> Option<u64> {
    peak(&fs::read_to_string("/proc/self/status").ok()?)
}

/// Returns the bytes that this process has caused to be written to disks.
pub(crate) fn written() -> Option<u64> {
    let io = fs::read_to_string("/proc/self/io").ok()?;
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes:"))?;
    line.trim().parse().ok()
}

/// Parses the fields `utime` and `stime`. They follow the process name, which may hold anything and ends with the last
/// parenthesis.
fn ticks(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * user.checked_add(system)?)
}

fn peak(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 70 30 0 0 20 0 4 0";
        assert_eq!(ticks(stat), Some(Duration::from_secs(1)));
        assert_eq!(ticks("42 (a"), None);
    }

    #[test]
    fn the_most_memory_is_told_in_bytes() {
        assert_eq!(peak("VmPeak:\t 9 kB\nVmHWM:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(peak("VmPeak:\t 9 kB\n"), None);
    }
}
