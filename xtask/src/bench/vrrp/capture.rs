//! What the nodes of a segment really send, seen on the switch, with the time at which the kernel saw it.

use std::io::IoSliceMut;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use etherparse::{ArpOperation, NetSlice, SlicedPacket};
use lb_tests::Namespace;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::segment::PROBER;

/// Protocol number of VRRP.
const VRRP: u8 = 112;

/// Since 1970, as the kernel stamps frames.
pub(super) type Moment = Duration;

/// Something that a node sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) at: Moment,
    /// 0 or 1.
    pub(super) node: usize,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// With this priority.
    Advert(u8),
    /// A gratuitous ARP.
    Announcement(Ipv4Addr),
    /// To who asked by ARP who has the address.
    Answer(Ipv4Addr),
}

/// Looks on until it is dropped.
pub(super) struct Capture {
    seen: Arc<Mutex<Vec<Seen>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Capture {
    /// Of what comes in at these ports of the switch, one for each node.
    pub(super) fn start(switch: &Namespace, ports: [&'static str; 2]) -> Result<Self> {
        let (socket, ports) = switch.inside(|| open(ports))??;
        let (seen, end) = (Arc::default(), Arc::default());
        let (to, ended) = (Arc::clone(&seen), Arc::clone(&end));
        let thread = switch.spawn(move || {
            while !AtomicBool::load(&ended, Ordering::Relaxed) {
                if let Some(frame) = receive(&socket, ports) {
                    lock(&to).push(frame);
                }
            }
        })?;
        Ok(Self { seen, end, thread: Some(thread) })
    }

    /// Everything until now.
    pub(super) fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        lock(&self.seen)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        // A thread that panicked has said so already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Now, on the clock that frames are stamped with.
#[expect(clippy::disallowed_methods, reason = "this measures")]
pub(super) fn now() -> Moment {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn open(ports: [&str; 2]) -> Result<(OwnedFd, [usize; 2])> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000))?;
    setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20))?;
    let mut indices = [0; 2];
    for (index, port) in indices.iter_mut().zip(ports) {
        *index = if_nametoindex(port).with_context(|| format!("port {port} of the switch"))? as usize;
    }
    Ok((socket, indices))
}

/// The next frame, if it is of interest.
fn receive(socket: &OwnedFd, ports: [usize; 2]) -> Option<Seen> {
    let mut frame = [0; 2048];
    let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let (length, link, at) = {
        let mut slices = [IoSliceMut::new(&mut frame)];
        let message =
            recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut slices, Some(&mut space), MsgFlags::empty()).ok()?;
        let at = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        });
        (message.bytes, message.address?, at?)
    };
    let node = ports.iter().position(|port| *port == link.ifindex())?;
    (link.pkttype() != libc::PACKET_OUTGOING).then_some(())?;
    Some(Seen { at, node, what: parse(&frame[..length])? })
}

fn parse(frame: &[u8]) -> Option<What> {
    match SlicedPacket::from_ethernet(frame).ok()?.net? {
        NetSlice::Arp(arp) => {
            let address = |bytes: &[u8]| Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?));
            let sender = address(arp.sender_protocol_addr())?;
            if address(arp.target_protocol_addr())? == sender {
                return Some(What::Announcement(sender));
            }
            let answers = arp.operation() == ArpOperation::REPLY && arp.target_hw_addr() == PROBER;
            answers.then_some(What::Answer(sender))
        }
        NetSlice::Ipv4(ip) if ip.header().protocol().0 == VRRP => {
            Some(What::Advert(*ip.payload().payload.get(2)?))
        }
        _ => None,
    }
}

fn lock(seen: &Mutex<Vec<Seen>>) -> MutexGuard<'_, Vec<Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
