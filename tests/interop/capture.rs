//! What the hosts really send, seen from the switch and parsed by etherparse.

use std::{
    fs::File,
    io::Read,
    net::IpAddr,
    os::fd::AsRawFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use etherparse::{NetSlice, SlicedPacket};
use nix::{
    libc,
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns},
    sys::socket::{LinkAddr, recvfrom},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::{Host, Lab, now};

/// A VRRP packet or an announcement.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) from: Host,
    /// The source of its frame.
    pub(crate) mac: [u8; 6],
    pub(crate) what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Advert { priority: u8, source: IpAddr },
    Announcement(IpAddr),
}

/// Runs until it is dropped.
pub(crate) struct Capture {
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    pub(crate) fn start(lab: &Lab) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let namespace = File::open(format!("/run/netns/{}", lab.switch())).unwrap();
        let (to, ended) = (Arc::clone(&seen), Arc::clone(&stop));
        let (ready, opened) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
            let every = i32::from(u16::try_from(libc::ETH_P_ALL).unwrap().to_be());
            let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(every))).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            socket.set_recv_buffer_size(8 << 20).unwrap();
            let ports = [Host::A, Host::B]
                .map(|host| (usize::try_from(if_nametoindex(host.port()).unwrap()).unwrap(), host));
            ready.send(()).unwrap();
            while !ended.load(Ordering::Relaxed) {
                let mut frame = [0; 9000];
                let Ok((length, Some(link))) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame) else {
                    continue;
                };
                let at = now();
                let port = ports.iter().find(|(index, _)| *index == link.ifindex());
                let (Some((_, from)), Some(what)) = (port, parse(&frame[..length])) else { continue };
                let mac = frame[6..12].try_into().unwrap();
                if link.pkttype() != libc::PACKET_OUTGOING {
                    to.lock().unwrap().push(Seen { at, from: *from, mac, what });
                }
            }
            // What is left is of no interest.
            let _ = socket.read(&mut [0; 1]);
        });
        opened.recv().unwrap();
        Self { seen, stop, thread: Some(thread) }
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Advertisements of a host since `since`, without resignations.
    pub(crate) fn adverts(&self, from: Host, since: Instant) -> Vec<Instant> {
        let adverts = self.all().into_iter().filter(|seen| seen.from == from && seen.at >= since);
        adverts
            .filter(|seen| matches!(seen.what, What::Advert { priority: 1.., .. }))
            .map(|seen| seen.at)
            .collect()
    }

    /// When a host first resigned since `since`.
    pub(crate) fn resignation(&self, from: Host, since: Instant) -> Option<Instant> {
        let mut all = self.all().into_iter().filter(|seen| seen.from == from && seen.at >= since);
        all.find(|seen| matches!(seen.what, What::Advert { priority: 0, .. })).map(|seen| seen.at)
    }

    /// When a host announced an address since `since`.
    pub(crate) fn announcements(&self, from: Host, address: IpAddr, since: Instant) -> Vec<Instant> {
        let all = self.all().into_iter().filter(|seen| seen.from == from && seen.at >= since);
        all.filter(|seen| seen.what == What::Announcement(address)).map(|seen| seen.at).collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn parse(frame: &[u8]) -> Option<What> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    match packet.net? {
        NetSlice::Arp(arp) => {
            let sender: [u8; 4] = arp.sender_protocol_addr().try_into().ok()?;
            (arp.target_protocol_addr() == sender).then_some(What::Announcement(sender.into()))
        }
        NetSlice::Ipv4(ip) => {
            let vrrp = ip.header().protocol().0 == 112 && ip.header().ttl() == 255;
            let priority = *ip.payload().payload.get(2).filter(|_| vrrp)?;
            Some(What::Advert { priority, source: ip.header().source_addr().into() })
        }
        NetSlice::Ipv6(ip) => {
            let payload = ip.payload().payload;
            match ip.header().next_header().0 {
                112 => Some(What::Advert {
                    priority: *payload.get(2)?,
                    source: ip.header().source_addr().into(),
                }),
                // Type 136, neighbour advertisement: the target follows the header.
                58 if payload.first() == Some(&136) => {
                    let target: [u8; 16] = payload.get(8..24)?.try_into().ok()?;
                    Some(What::Announcement(target.into()))
                }
                _ => None,
            }
        }
    }
}
