//! Counts processes that are tracked.
//!
//! It looks into /proc. The kernel would tell of every process that begins and ends (the proc connector), but only a
//! daemon with CAP_NET_ADMIN in the first user namespace, in no container, and about all of them: hosts that start
//! thousands of processes a second would pay for those that are tracked.

use std::{
    fs, io,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc::Sender, task::spawn_blocking, time};

use crate::{
    config::vrrp::{Kind, Process},
    vrrp::tracker::{Quorum, Reading},
    vrrp::watch::Report,
};

/// Those that were found are looked at again after this.
const AGAIN: Duration = Duration::from_millis(100);
/// All of /proc is looked through every time so many looks have passed, and when one that was found is gone.
const LOOKS: u32 = 10;
/// The kernel keeps this much of a process's name.
const COMM: usize = 15;

/// Counts them and reports when there are enough and when there are not, as long as somebody listens.
pub(super) async fn track(process: Process, reports: Sender<Report>) {
    let mut ticks = time::interval(AGAIN);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let (mut quorum, mut found, mut looks) = (Quorum::default(), Vec::new(), 0);
    loop {
        ticks.tick().await;
        let (meant, whole) = (process.clone(), looks % LOOKS == 0);
        // Only a panic there could be reported.
        let Ok(now_found) = spawn_blocking(move || look(&meant, found, whole)).await else { return };
        found = now_found;
        looks += 1;
        let count = found.len();
        let enough = count >= process.quorum as usize;
        if let Some(up) = quorum.look(enough, process.delay, clock()) {
            let said = format!("{count} of at least {} run", process.quorum);
            let reading = if up { Reading::Up } else { Reading::Down };
            if reports.send(Report::new(Kind::Process, &process.name, reading, Some(said))).await.is_err() {
                return;
            }
        }
    }
}

fn look(process: &Process, mut found: Vec<u32>, whole: bool) -> Vec<u32> {
    let before = found.len();
    found.retain(|pid| is_running(process, *pid));
    if whole || found.len() < before {
        all().filter(|pid| is_running(process, *pid)).collect()
    } else {
        found
    }
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// One that ends meanwhile is gone.
fn is_running(process: &Process, pid: u32) -> bool {
    let read = |file: &str| fs::read(format!("/proc/{pid}/{file}"));
    let is_meant = || -> io::Result<bool> {
        let stat = read("stat")?;
        let Some((name, state)) = name_and_state(&stat) else { return Ok(false) };
        // A zombie waits for nothing but its parent.
        if matches!(state, b'Z' | b'X') {
            return Ok(false);
        }
        Ok(match &*process.process {
            [word] if !word.contains('/') => {
                let word = word.as_bytes();
                name == word.get(..COMM).unwrap_or(word)
            }
            words => begins_with(&read("cmdline")?, words),
        })
    };
    is_meant().unwrap_or(false)
}

/// From `7 (NAME) S ...`; there may be anything in the name.
fn name_and_state(stat: &[u8]) -> Option<(&[u8], u8)> {
    let from = stat.iter().position(|byte| *byte == b'(')?;
    let to = stat.iter().rposition(|byte| *byte == b')')?;
    Some((stat.get(from + 1..to)?, *stat.get(to + 2)?))
}

fn begins_with(cmdline: &[u8], words: &[String]) -> bool {
    let mut have = cmdline.split(|byte| *byte == 0);
    let mut wanted = words.iter().map(String::as_bytes);
    let (Some(program), Some(want)) = (have.next(), wanted.next()) else { return false };
    let file = program.rsplit(|byte| *byte == b'/').next().unwrap_or(program);
    let program = if want.contains(&b'/') { program } else { file };
    program == want && wanted.all(|want| have.next() == Some(want))
}

fn clock() -> Instant {
    time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        type Case = (&'static [u8], Option<(&'static [u8], u8)>);
        let cases: [Case; 4] = [
            (b"7 (nginx) S 1 7", Some((b"nginx", b'S'))),
            (b"7 (a) b (c) Z 1 7", Some((b"a) b (c", b'Z'))),
            (b"7 () R 1", Some((b"", b'R'))),
            (b"7 (cut", None),
        ];
        for (stat, wanted) in cases {
            assert_eq!(name_and_state(stat), wanted);
        }
    }

    #[test]
    fn a_command_line_is_meant_by_its_beginning() {
        let line = b"/usr/bin/python3\0-m\0http.server\0";
        let cases: [(&[&str], bool); 7] = [
            (&["python3", "-m"], true),
            (&["/usr/bin/python3"], true),
            (&["/usr/bin/python3", "-m", "http.server"], true),
            (&["/bin/python3", "-m"], false),
            (&["python3", "-m", "http"], false),
            (&["python"], false),
            (&["python3", "-m", "http.server", "80"], false),
        ];
        for (words, meant) in cases {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(begins_with(line, &words), meant, "{words:?}");
        }
    }

    struct Running(Child);

    impl Running {
        fn begin(seconds: &str) -> Self {
            Self(Command::new("sleep").arg(seconds).spawn().unwrap())
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[tokio::test]
    async fn what_begins_and_ends_is_told() {
        // A command line that no other process has.
        let seconds = format!("3{:09}", std::process::id());
        let process = vec!["sleep".to_owned(), seconds.clone()];
        let process = Process { name: "sleeper".into(), process, quorum: 2, delay: Duration::ZERO };
        let _first = Running::begin(&seconds);
        let (reports, mut told) = mpsc::channel(1);
        let task = tokio::spawn(track(process, reports));
        assert_eq!(told.recv().await.unwrap().reading, Reading::Down);
        let mut second = Running::begin(&seconds);
        assert_eq!(told.recv().await.unwrap().reading, Reading::Up);
        // Nobody has waited for it yet: a zombie.
        second.0.kill().unwrap();
        let report = told.recv().await.unwrap();
        assert_eq!(report.reading, Reading::Down);
        assert_eq!(report.said.unwrap(), "1 of at least 2 run");
        task.abort();
    }
}
