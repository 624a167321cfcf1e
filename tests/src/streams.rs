//! Long downloads over one connection each, so that a test sees which connections go on while it changes something.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};

use crate::http::Connection;
use crate::{Namespace, wait_until};

/// At nginx's 256 kB/s longer than anything that happens meanwhile.
const SIZE: u32 = 64 << 20;
/// Longer than TCP's pauses between its attempts to reach the other end after some seconds without an owner.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than the buffers between server and client hold.
const GROWTH: u64 = 512 << 10;

/// Downloads under way; they end by themselves when their servers do.
#[derive(Debug)]
pub struct Streams(Vec<Stream>);

#[derive(Debug)]
struct Stream {
    received: Arc<AtomicU64>,
    thread: JoinHandle<Result<Result<()>>>,
}

impl Streams {
    /// Starts one from each of these addresses of `client`; `files` is what the web servers serve.
    pub fn start(
        client: &Namespace,
        from: &[impl Into<IpAddr> + Copy],
        vip: SocketAddr,
        files: &Path,
    ) -> Result<Self> {
        let content: Vec<u8> = (0..SIZE / 4).flat_map(u32::to_be_bytes).collect();
        std::fs::write(files.join("film"), content)?;
        let start = |address: IpAddr| {
            let received = Arc::<AtomicU64>::default();
            let counter = Arc::clone(&received);
            let thread = client.spawn(move || {
                let mut connection = Connection::open_from(address, vip)?;
                connection.wait_for(PATIENCE)?;
                let mut film = Film { received: &counter };
                connection.fetch("/slow/film", &mut film).map(drop)
            })?;
            Ok(Stream { received, thread })
        };
        let streams = Self(from.iter().map(|&address| start(address.into())).collect::<Result<_>>()?);
        ensure!(streams.go_on()? == from.len(), "not all downloads began: {:?}", streams.failures());
        Ok(streams)
    }

    /// Waits until every one of them has either received much more than now or ended; returns how many go on.
    pub fn go_on(&self) -> Result<usize> {
        let before: Vec<_> = self.0.iter().map(Stream::received).collect();
        wait_until("downloads to go on", PATIENCE * 2, || {
            let mut all = self.0.iter().zip(&before);
            all.all(|(stream, before)| stream.thread.is_finished() || stream.received() > before + GROWTH)
        })?;
        Ok(self.0.iter().filter(|stream| !stream.thread.is_finished()).count())
    }

    /// Why those ended that did.
    pub fn failures(self) -> Vec<String> {
        let ended = self.0.into_iter().filter(|stream| stream.thread.is_finished());
        ended.map(|stream| format!("{:?}", stream.thread.join().map_err(|_| anyhow!("panicked")))).collect()
    }
}

impl Stream {
    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// Takes the file's content, and no other.
struct Film<'a> {
    received: &'a AtomicU64,
}

impl std::io::Write for Film<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let at = self.received.load(Ordering::Relaxed);
        let right = |(offset, byte): (u64, &u8)| {
            let word = u32::try_from(offset / 4).unwrap_or(SIZE).to_be_bytes();
            word[(offset % 4) as usize] == *byte
        };
        if !(at..).zip(bytes).all(right) {
            return Err(std::io::Error::other("the content is not that of the file"));
        }
        self.received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
