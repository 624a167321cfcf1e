//! Clients that ask all the time, so that a test sees what happens to requests while it changes something.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use crate::{Namespace, http, wait_until};

/// The pause of a client between two requests.
const PACE: Duration = Duration::from_millis(2);

/// What came of the requests so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// How often each server answered, by its name.
    pub by_server: BTreeMap<String, u64>,
    /// Why each request failed that did.
    pub failures: Vec<String>,
}

impl Answers {
    /// All requests that were answered.
    pub fn total(&self) -> u64 {
        self.by_server.values().sum()
    }

    /// The part of the answers that came from a server, 0 to 1.
    pub fn share(&self, server: &str) -> f64 {
        let answers = self.by_server.get(server).copied().unwrap_or(0);
        answers as f64 / self.total().max(1) as f64
    }

    /// What came after `earlier`.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |server: &str| earlier.by_server.get(server).copied().unwrap_or(0);
        let by_server =
            self.by_server.iter().map(|(server, now)| (server.clone(), now - before(server))).collect();
        Self { by_server, failures: self.failures[earlier.failures.len()..].to_vec() }
    }
}

/// Clients on threads of a namespace; each request has a connection of its own. Dropping it ends them.
#[derive(Debug)]
pub struct Load {
    answers: Arc<Mutex<Answers>>,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    /// Dropped to end it.
    stop: Sender<()>,
    thread: JoinHandle<Result<()>>,
    /// How many requests of it have ended.
    ended: Arc<AtomicU64>,
}

impl Load {
    /// Starts `clients` clients for each of the addresses.
    pub fn start(namespace: &Namespace, addresses: &[SocketAddr], clients: usize) -> Result<Self> {
        let mut load = Self { answers: Arc::default(), clients: Vec::new() };
        for address in addresses.iter().flat_map(|address| std::iter::repeat_n(*address, clients)) {
            let answers = Arc::clone(&load.answers);
            let ended = Arc::<AtomicU64>::default();
            let counter = Arc::clone(&ended);
            let (stop, stopped) = mpsc::channel();
            let thread = namespace.spawn(move || {
                while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                    record(&answers, address, http::get(address, "/"));
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })?;
            load.clients.push(Client { stop, thread, ended });
        }
        Ok(load)
    }

    /// What came of the requests until now.
    pub fn answers(&self) -> Answers {
        lock(&self.answers).clone()
    }

    /// Waits for so many more requests to end, either way, and returns what came of them.
    pub fn next(&self, requests: u64, limit: Duration) -> Result<Answers> {
        let before = self.answers();
        let ended = |answers: &Answers| answers.total() + answers.failures.len() as u64;
        wait_until(&format!("{requests} requests to end"), limit, || {
            ended(&self.answers().since(&before)) >= requests
        })?;
        Ok(self.answers().since(&before))
    }

    /// Waits until every request that is under way now has ended.
    pub fn settle(&self, limit: Duration) -> Result<()> {
        let ended = || self.clients.iter().map(|client| client.ended.load(Ordering::Relaxed));
        let before: Vec<_> = ended().collect();
        wait_until("requests under way to end", limit, || {
            ended().zip(&before).all(|(now, before)| now > *before)
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let (stops, threads): (Vec<_>, Vec<_>) =
            self.clients.drain(..).map(|client| (client.stop, client.thread)).unzip();
        drop(stops);
        for thread in threads {
            // A client that panicked has said so already.
            let _ = thread.join();
        }
    }
}

fn record(answers: &Mutex<Answers>, address: SocketAddr, answer: Result<String>) {
    let mut answers = lock(answers);
    match answer {
        Ok(server) => *answers.by_server.entry(server.trim().to_owned()).or_default() += 1,
        Err(error) => answers.failures.push(format!("{address}: {error:#}")),
    }
}

fn lock(answers: &Mutex<Answers>) -> MutexGuard<'_, Answers> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}
