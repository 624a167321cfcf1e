//! What the client sends: the question who has an address, and VRRP packets that nobody may believe.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use etherparse::checksum::Sum16BitWords;
use etherparse::{ArpEthIpv4Packet, ArpOperation, EtherType, Ethernet2Header, IpNumber, PacketBuilder};
use lb_tests::Namespace;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, bind, send, socket};

use super::segment::{CLIENT, PASSWORD, PROBER, ROUTER};

/// What is wrong with a packet of a priority that would win.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Of no use to anybody.
    Checksum,
    /// It has passed a router.
    HopLimit,
    /// Not the one that both nodes know.
    Password,
}

/// Who has the address? Asked as by somebody without an address of his own (RFC 5227), so that nobody learns from it.
pub(super) fn who_has(address: Ipv4Addr) -> Vec<u8> {
    let ethernet = Ethernet2Header { source: PROBER, destination: [0xff; 6], ether_type: EtherType::ARP };
    let question = ArpEthIpv4Packet {
        operation: ArpOperation::REQUEST,
        sender_mac: PROBER,
        sender_ipv4: [0; 4],
        target_mac: [0; 6],
        target_ipv4: address.octets(),
    };
    [&ethernet.to_bytes()[..], &question.to_bytes()].concat()
}

/// An advertisement of version 2 for the nodes' virtual router.
pub(super) fn advertisement(address: Ipv4Addr, wrong: Wrong) -> Result<Vec<u8>> {
    let mut password = *PASSWORD;
    if wrong == Wrong::Password {
        password[0] ^= 0xff;
    }
    // Version and type, virtual router, priority, count of addresses, PASS, seconds.
    let mut message = [&[0x21, ROUTER, 200, 1, 1, 1, 0, 0][..], &address.octets(), &password].concat();
    let sum = Sum16BitWords::new().add_slice(&message).ones_complement();
    message[6..8].copy_from_slice(&sum.to_ne_bytes());
    if wrong == Wrong::Checksum {
        message[7] ^= 1;
    }
    let hop_limit = if wrong == Wrong::HopLimit { 254 } else { 255 };
    let to_all_routers = [1, 0, 0x5e, 0, 0, 18];
    let builder =
        PacketBuilder::ethernet2(PROBER, to_all_routers).ipv4(CLIENT.octets(), [224, 0, 0, 18], hop_limit);
    let mut frame = Vec::new();
    builder.write(&mut frame, IpNumber(112), &message)?;
    Ok(frame)
}

/// Sends a frame again and again until it is dropped.
pub(super) struct Repeat {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Repeat {
    /// Out of the interface `eth0` of a host.
    pub(super) fn start(host: &Namespace, frame: Vec<u8>, every: Duration) -> Result<Self> {
        let socket = host.inside(open)??;
        let (end, ended) = channel();
        let thread = host.spawn(move || {
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                // A link that is down loses it.
                let _ = send(socket.as_raw_fd(), &frame, MsgFlags::empty());
            }
        })?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Repeat {
    fn drop(&mut self) {
        drop(self.end.take());
        // A thread that panicked has said so already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn open() -> Result<OwnedFd> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    let link = nix::ifaddrs::getifaddrs()?
        .filter(|each| each.interface_name == "eth0")
        .find_map(|each| each.address.and_then(|address| address.as_link_addr().copied()));
    bind(socket.as_raw_fd(), &link.context("the client has no eth0")?)?;
    Ok(socket)
}
