//! A long download over one connection, under way while the demo changes things.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use lb_tests::http::Connection;
use lb_tests::{Site, wait_until};

/// At nginx's 256 kB/s longer than all chapters together.
const SIZE: u32 = 7 << 20;

/// A download that has begun.
pub(super) struct Download {
    /// The name of the real server it comes from.
    pub(super) server: String,
    received: Arc<AtomicU64>,
    thread: JoinHandle<Result<Result<()>>>,
}

impl Download {
    /// Starts one from the VIP.
    pub(super) fn start(site: &Site, vip: SocketAddr) -> Result<Self> {
        let content: Vec<u8> = (0..SIZE / 4).flat_map(u32::to_be_bytes).collect();
        std::fs::write(site.files().join("film"), &content)?;
        let received = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&received);
        let (tell, told) = mpsc::channel();
        let thread = site.client.spawn(move || {
            let mut connection = Connection::open(vip)?;
            let server = connection.get("/")?;
            // The demo has failed and listens no more when this fails.
            let _ = tell.send(server.trim().to_owned());
            let mut body = Body { bytes: Vec::new(), counter };
            connection.fetch("/slow/film", &mut body)?;
            ensure!(body.bytes == content, "the download's content is not that of the file");
            Ok(())
        })?;
        let server = told.recv().context("the download did not begin")?;
        Ok(Self { server, received, thread })
    }

    /// How much has arrived, for people.
    pub(super) fn progress(&self) -> String {
        format!("{} of {} kB", self.received.load(Ordering::Relaxed) >> 10, SIZE >> 10)
    }

    /// Whether bytes are still to come.
    pub(super) fn is_under_way(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Waits for more bytes than there are now.
    pub(super) fn continues(&self) -> Result<()> {
        let before = self.received.load(Ordering::Relaxed);
        wait_until("the download to continue", Duration::from_secs(5), || {
            self.received.load(Ordering::Relaxed) > before
        })
    }

    /// Waits for its end; the content has to be that of the file.
    pub(super) fn finish(self) -> Result<u64> {
        wait_until("the end of the download", Duration::from_secs(60), || !self.is_under_way())?;
        self.thread.join().map_err(|_| anyhow!("the download's thread panicked"))??.context("download")?;
        Ok(self.received.load(Ordering::Relaxed))
    }
}

struct Body {
    bytes: Vec<u8>,
    counter: Arc<AtomicU64>,
}

impl Write for Body {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
