//! Reads files that are tracked: each holds a number.
//!
//! It looks ten times a second instead of being notified (inotify): a few bytes are read soon, and it sees files that a
//! mount covers, that are on other hosts, whose directory comes later.

use std::{
    fmt, fs,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::Duration,
};

use nix::libc::O_NONBLOCK;
use tokio::{sync::mpsc::Sender, task::spawn_blocking, time};

use crate::{
    config::vrrp::{File, Kind},
    vrrp::tracker::Reading,
    vrrp::watch::Report,
};

const AGAIN: Duration = Duration::from_millis(100);
/// A number with all that may stand around it.
const LONGEST: u64 = 64;

/// Why a file says nothing.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("is not a file")]
    NoFile,
    #[error("does not hold a whole number")]
    NoNumber,
}

/// Reads it and reports what changes, as long as somebody listens.
pub(super) async fn track(file: File, reports: Sender<Report>) {
    let mut ticks = time::interval(AGAIN);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut told = None;
    let mut doubtful = false;
    loop {
        ticks.tick().await;
        let path = file.file.clone();
        // Only a panic there could be reported.
        let Ok(read) = spawn_blocking(move || read(&path)).await else { return };
        // Who writes without renaming empties it first: what is unusable must be so twice.
        let settled = read.is_ok() || doubtful;
        doubtful = read.is_err();
        let reading = read.as_ref().map_or(Reading::Unusable, |number| Reading::Number(*number));
        if !settled || told == Some(reading) {
            continue;
        }
        let said = match (&read, told) {
            (Err(why), _) => {
                Some(why as &dyn fmt::Display).map(|why| format!("{} {why}", file.file.display()))
            }
            (Ok(_), Some(Reading::Unusable)) => Some(format!("{} is read again", file.file.display())),
            // Numbers may change all the time.
            (Ok(_), _) => None,
        };
        told = Some(reading);
        if reports.send(Report::new(Kind::File, &file.name, reading, said)).await.is_err() {
            return;
        }
    }
}

fn read(path: &Path) -> Result<i32, Unusable> {
    // A pipe without a writer is not waited for.
    let file = fs::OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Unusable::NoFile);
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    number(&bytes).ok_or(Unusable::NoNumber)
}

fn number(bytes: &[u8]) -> Option<i32> {
    let text = str::from_utf8(bytes).ok().filter(|text| text.len() as u64 <= LONGEST)?;
    text.trim_ascii().parse().ok()
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn a_number_may_have_a_sign_and_space_around_it() {
        let cases: [(&[u8], Option<i32>); 9] = [
            (b"10\n", Some(10)),
            (b" -5 ", Some(-5)),
            (b"+7", Some(7)),
            (b"", None),
            (b"ten", None),
            (b"1.5", None),
            (b"10 20", None),
            (b"99999999999", None),
            (&[b' '; 100], None),
        ];
        for (bytes, wanted) in cases {
            assert_eq!(number(bytes), wanted, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn numbers_are_told_and_what_is_no_number_is_said_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("load");
        let (reports, mut told) = mpsc::channel(1);
        let task = tokio::spawn(track(File { name: "load".into(), file: path.clone() }, reports));
        let mut next = async || told.recv().await.map(|report| (report.reading, report.said)).unwrap();
        let missing = next().await;
        assert_eq!(missing.0, Reading::Unusable);
        assert!(missing.1.unwrap().contains("cannot be read: No such file"));
        fs::write(&path, "10\n").unwrap();
        assert_eq!(next().await, (Reading::Number(10), Some(format!("{} is read again", path.display()))));
        fs::write(&path, "-3").unwrap();
        assert_eq!(next().await, (Reading::Number(-3), None));
        fs::write(&path, "many").unwrap();
        let no_number = next().await;
        assert_eq!(
            no_number,
            (Reading::Unusable, Some(format!("{} does not hold a whole number", path.display())))
        );
        task.abort();
    }
}
