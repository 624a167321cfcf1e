//! A UDP service that says who it is, and a client of it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Namespace;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers every datagram with a name and what the datagram said. Dropping it ends it.
#[derive(Debug)]
pub struct Echo {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts the service at an address of `namespace`.
    pub fn start(namespace: &Namespace, address: SocketAddr, name: &str) -> Result<Self> {
        let socket =
            namespace.inside(|| UdpSocket::bind(address))?.with_context(|| format!("bind to {address}"))?;
        // The thread looks this often whether it shall end.
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let end = Arc::<AtomicBool>::default();
        let (ended, name) = (Arc::clone(&end), name.to_owned());
        let thread = std::thread::spawn(move || {
            let mut datagram = [0; 65536];
            while !ended.load(Ordering::Relaxed) {
                if let Ok((length, client)) = socket.recv_from(&mut datagram) {
                    let answer = [name.as_bytes(), b" ", &datagram[..length]].concat();
                    // A client that is gone asks no more.
                    let _ = socket.send_to(&answer, client);
                }
            }
        });
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

/// A socket of the calling thread's namespace whose peer is `server`; it receives from nobody else.
pub fn connect(server: SocketAddr) -> Result<UdpSocket> {
    let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(server).with_context(|| format!("connect to {server}"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Sends a datagram and returns the answer.
pub fn ask(socket: &UdpSocket, question: &str) -> Result<String> {
    socket.send(question.as_bytes()).context("send")?;
    let mut answer = [0; 65536];
    let length = socket.recv(&mut answer).context("answer")?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}
