//! A download over one connection that goes on as far as it is allowed to, so that a test can do things in the middle of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use lb_tests::http::Connection;
use lb_tests::{Site, process, wait_until};

use crate::given::PATIENCE;

/// How long a download may stand still or take.
const LIMIT: Duration = Duration::from_secs(60);

/// A download that has begun.
pub(crate) struct Download {
    /// The name of the real server it comes from.
    pub(crate) server: String,
    /// The client's address and port.
    pub(crate) client: SocketAddr,
    size: u64,
    /// The SHA-256 of the file, by the program `sha256sum`.
    digest: String,
    progress: Progress,
    thread: JoinHandle<Result<Result<String>>>,
}

#[derive(Clone, Default)]
struct Progress {
    received: Arc<AtomicU64>,
    allowed: Arc<AtomicU64>,
}

impl Download {
    /// Starts one of so many random bytes through the VIP.
    pub(crate) fn start(site: &Site, vip: SocketAddr, size: u64) -> Result<Self> {
        let path = site.files().join("random");
        io::copy(&mut File::open("/dev/urandom")?.take(size), &mut File::create(&path)?)?;
        let digest = digest(&process::run(Command::new("sha256sum").arg(&path))?);
        let progress = Progress::default();
        let shared = progress.clone();
        let (tell, told) = mpsc::channel();
        let thread = site.client.spawn(move || {
            let mut connection = Connection::open(vip)?;
            let server = connection.get("/")?.trim().to_owned();
            tell.send((server.clone(), connection.local()?)).context("nobody waits for the download")?;
            let digest = receive(&mut connection, shared)?;
            ensure!(connection.get("/")?.trim() == server, "another server answered at the end");
            Ok(digest)
        })?;
        let (server, client) = told.recv().context("the download did not begin")?;
        Ok(Self { server, client, size, digest, progress, thread })
    }

    /// Lets a part of the file arrive, 0 to 1, and waits until it has.
    pub(crate) fn advance(&self, part: f64) -> Result<()> {
        let bytes = self.allow(part);
        wait_until(&format!("{bytes} bytes to arrive"), LIMIT, || {
            self.progress.received.load(Ordering::Relaxed) >= bytes || self.thread.is_finished()
        })?;
        ensure!(part >= 1.0 || !self.thread.is_finished(), "the download ended");
        Ok(())
    }

    /// Lets a part of the file arrive, 0 to 1; returns its length.
    pub(crate) fn allow(&self, part: f64) -> u64 {
        let bytes = (self.size as f64 * part) as u64;
        self.progress.allowed.store(bytes, Ordering::Relaxed);
        bytes
    }

    /// Lets the rest arrive; the content has to be that of the file. Returns its SHA-256.
    pub(crate) fn finish(self) -> Result<String> {
        self.allow(1.0);
        wait_until("the end of the download", LIMIT, || self.thread.is_finished())?;
        let received =
            self.thread.join().map_err(|_| anyhow!("the client panicked"))??.context("download")?;
        ensure!(received == self.digest, "SHA-256 {received} arrived, {} was sent", self.digest);
        Ok(received)
    }
}

/// Fetches the file into the program `sha256sum`; nothing of it is kept.
fn receive(connection: &mut Connection, progress: Progress) -> Result<String> {
    let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut sink = Gate { sink: sum.stdin.take().context("a pipe to sha256sum")?, progress };
    connection.fetch("/files/random", &mut sink)?;
    drop(sink);
    Ok(digest(&String::from_utf8(sum.wait_with_output()?.stdout)?))
}

/// The first word of what `sha256sum` prints.
fn digest(line: &str) -> String {
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

/// Takes bytes when they are allowed; until then the connection's window fills up.
struct Gate {
    sink: ChildStdin,
    progress: Progress,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Progress { received, allowed } = &self.progress;
        let room = || allowed.load(Ordering::Relaxed).saturating_sub(received.load(Ordering::Relaxed));
        wait_until("more to be allowed", PATIENCE * 2, || room() > 0).map_err(io::Error::other)?;
        let length = bytes.len().min(usize::try_from(room()).unwrap_or(usize::MAX));
        self.sink.write_all(&bytes[..length])?;
        received.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
