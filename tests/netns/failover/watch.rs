//! Who really owns the VIP: whose frames come from it, and on which balancers it is an address.

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lb_tests::cluster::VIP;
use lb_tests::{Cluster, Namespace, wait_until};
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{LinkAddr, recvfrom};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::given::PATIENCE;

/// Between two datagrams to the VIP, and between two looks at the addresses.
const STEP: Duration = Duration::from_millis(5);

/// Looks on until it is dropped. It also asks a UDP service of the VIP all the time, so that an owner is never silent.
pub(super) struct Watch {
    seen: [Arc<Mutex<Seen>>; 2],
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
}

/// What was seen of a balancer.
#[derive(Default)]
struct Seen {
    /// When frames from the VIP came out of it.
    frames: Vec<Instant>,
    /// When the VIP was an address of it.
    held: Vec<Instant>,
}

/// How the VIP went from one balancer to the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handover {
    /// From what was done to the last frame from the old owner.
    pub(super) until_silent: Duration,
    /// Between the last frame from the old owner and the first one from the new owner.
    pub(super) without_owner: Duration,
    /// How long frames came from both.
    pub(super) two_senders: Duration,
    /// How long the VIP was an address of both.
    pub(super) two_addresses: Duration,
}

impl Watch {
    pub(super) fn start(cluster: &Cluster, service: u16) -> Result<Self> {
        let mut watch = Self { seen: Default::default(), end: Arc::default(), threads: Vec::new() };
        let seen = watch.seen.clone();
        let ports = [cluster.port(0, "outside"), cluster.port(1, "outside")];
        let indices = cluster.switch.inside(|| ports.each_ref().map(|port| if_nametoindex(port.as_str())))?;
        let [first, second] = indices.map(|index| index.context("a port of the switch"));
        let indices = [first?, second?];
        let socket = cluster.switch.inside(|| listen(indices))??;
        watch.repeat(&cluster.switch, move || {
            if let Some(port) = frame(&socket) {
                lock(&seen[usize::from(port == indices[1] as usize)]).frames.push(now());
            }
        })?;
        for (balancer, seen) in cluster.balancers.iter().zip(watch.seen.clone()) {
            watch.repeat(&balancer.namespace, move || {
                pause();
                if has_vip() {
                    lock(&seen).held.push(now());
                }
            })?;
        }
        let probe = cluster.client.inside(|| UdpSocket::bind("0.0.0.0:0"))??;
        watch.repeat(&cluster.client, move || {
            pause();
            // Who does not own it may say so.
            let _ = probe.send_to(b"who?", (VIP, service));
        })?;
        Ok(watch)
    }

    fn repeat(&mut self, host: &Namespace, mut job: impl FnMut() + Send + 'static) -> Result<()> {
        let end = Arc::clone(&self.end);
        self.threads.push(host.spawn(move || {
            while !end.load(Ordering::Relaxed) {
                job();
            }
        })?);
        Ok(())
    }

    /// Waits until only `owner` answers.
    pub(super) fn until_owner(&self, owner: usize) -> Result<()> {
        wait_until(&format!("lb{} to be the only one that answers", owner + 1), PATIENCE, || {
            let recent = |seen: &Arc<Mutex<Seen>>| {
                lock(seen).frames.last().is_some_and(|last| last.elapsed() < STEP * 20)
            };
            recent(&self.seen[owner]) && !recent(&self.seen[1 - owner])
        })
        .with_context(|| {
            let frames = self.seen.each_ref().map(|seen| lock(seen).frames.len());
            format!("frames from lb1 and lb2: {frames:?}")
        })
    }

    /// Waits until the VIP is no address of a balancer.
    pub(super) fn until_released(&self, balancer: usize) -> Result<()> {
        wait_until("the address to be gone", PATIENCE, || {
            lock(&self.seen[balancer]).held.last().is_none_or(|last| last.elapsed() > STEP * 20)
        })
    }

    /// How the VIP came to the balancer `to` since `since`, when something was done about it.
    pub(super) fn handover(&self, to: usize, since: Instant) -> Result<Handover> {
        let [old, new] = [lock(&self.seen[1 - to]), lock(&self.seen[to])];
        let first = new.frames.iter().find(|at| **at >= since).context("no frame from the new owner")?;
        let last = old.frames.last().context("no frame from the old owner")?;
        let both = |at: &&Instant| new.held.iter().any(|other| other.abs_diff(**at) <= STEP);
        let both: Vec<_> = old.held.iter().filter(|at| **at >= since).filter(both).collect();
        let two_addresses = both.first().zip(both.last()).map(|(first, last)| **last - **first);
        Ok(Handover {
            until_silent: last.saturating_duration_since(since),
            without_owner: first.saturating_duration_since(*last),
            two_senders: last.saturating_duration_since(*first),
            two_addresses: two_addresses.unwrap_or_default(),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

trait Apart {
    fn abs_diff(&self, other: Instant) -> Duration;
}

impl Apart for Instant {
    fn abs_diff(&self, other: Instant) -> Duration {
        self.saturating_duration_since(other).max(other.saturating_duration_since(*self))
    }
}

/// A socket for frames from the VIP that come in at these ports, as whoever translated them has sent them.
fn listen([first, second]: [u32; 2]) -> Result<Socket> {
    // Of no protocol in particular: the bridge takes frames before sockets of one protocol would see them.
    let every = i32::from(u16::try_from(libc::ETH_P_ALL)?.to_be());
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(every)))?;
    let load = |size, from| step(libc::BPF_LD | size | libc::BPF_ABS, from, 0, 0);
    let about = |what: i32| load(libc::BPF_W, (libc::SKF_AD_OFF + what).cast_unsigned());
    let unless = |value, skip, skip_otherwise| {
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, skip, skip_otherwise)
    };
    let (hops_left, source) = (22, 26);
    socket.attach_filter(&[
        about(libc::SKF_AD_PKTTYPE),
        unless(u32::from(libc::PACKET_OUTGOING), 8, 0),
        load(libc::BPF_W, source),
        unless(VIP.to_bits(), 0, 6),
        // Not what the former owner's kernel routes on: its translation was the new owner's.
        load(libc::BPF_B, hops_left),
        unless(63, 0, 4),
        about(libc::SKF_AD_IFINDEX),
        unless(first, 1, 0),
        unless(second, 0, 1),
        step(libc::BPF_RET | libc::BPF_K, 64, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ])?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    socket.set_recv_buffer_size(8 << 20)?;
    Ok(socket)
}

/// A step of a socket filter, by bpf(4).
fn step(code: u32, k: u32, jt: u8, jf: u8) -> SockFilter {
    // Codes are of one byte.
    SockFilter::new(code as u16, jt, jf, k)
}

/// The interface that the next frame came in through.
fn frame(socket: &Socket) -> Option<usize> {
    let mut frame = [0; 64];
    let (_, link) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame).ok()?;
    Some(link?.ifindex())
}

/// Whether the VIP is an address of the calling thread's namespace.
fn has_vip() -> bool {
    let mut all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    all.any(|each| {
        each.address
            .is_some_and(|address| address.as_sockaddr_in().is_some_and(|address| address.ip() == VIP))
    })
}

#[expect(clippy::disallowed_methods, reason = "between two looks")]
fn pause() {
    std::thread::sleep(STEP);
}

#[expect(clippy::disallowed_methods, reason = "these tests measure")]
pub(super) fn now() -> Instant {
    Instant::now()
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
