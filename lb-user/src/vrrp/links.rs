//! The sockets that are open: one for every interface and family in use, opened anew with its interface.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use nix::{errno::Errno, sys::socket::LinkAddr};
use tokio::{sync::mpsc, time};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    config::vrrp::VrrpInstance,
    host::interfaces::Interfaces,
    vrrp::{
        advert::Path,
        announce::Announcer,
        frame::advertisement,
        socket::{Received, Socket},
    },
};

/// A socket that cannot be read is tried again after this.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// An interface and whether it is about IPv6.
pub(super) type LinkId = (String, bool);

/// Where the advertisements of an instance travel.
pub(super) fn link_of(instance: &VrrpInstance) -> LinkId {
    (instance.interface.clone(), instance.is_ipv6())
}

/// Whether they travel on that link.
pub(super) fn is_on(instance: &VrrpInstance, (interface, ipv6): &LinkId) -> bool {
    instance.interface == *interface && instance.is_ipv6() == *ipv6
}

#[derive(Debug)]
struct Link {
    socket: Arc<Socket>,
    /// Where frames go out.
    interface: Option<LinkAddr>,
    /// Reads until it is dropped.
    _reader: AbortOnDropHandle<()>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Links {
    open: HashMap<LinkId, Link>,
    received: mpsc::Sender<(LinkId, Received)>,
    frames: Announcer,
}

impl Links {
    pub(super) fn new(received: mpsc::Sender<(LinkId, Received)>, frames: Announcer) -> Self {
        Self { open: HashMap::new(), received, frames }
    }

    /// Opens those that are wanted, where their interface is; those that are open stay as they are.
    pub(super) fn refresh(&mut self, wanted: &[LinkId], interfaces: &Interfaces) {
        let index = |id: &LinkId| interfaces.get(&id.0).map(|interface| interface.index);
        self.open.retain(|id, link| wanted.contains(id) && index(id) == Some(link.socket.index()));
        for id in wanted {
            let Some(index) = index(id).filter(|_| !self.open.contains_key(id)) else { continue };
            match Socket::open(&id.0, index, id.1) {
                Ok(socket) => {
                    let socket = Arc::new(socket);
                    let reader = read(Arc::clone(&socket), id.clone(), self.received.clone());
                    let reader = AbortOnDropHandle::new(tokio::spawn(reader));
                    let interface = interfaces.get(&id.0).and_then(|interface| interface.link);
                    self.open.insert(id.clone(), Link { socket, interface, _reader: reader });
                }
                Err(error) => tracing::error!(interface = id.0, %error, "cannot open a VRRP socket"),
            }
        }
    }

    /// Sends an advertisement of an instance: to everybody from its virtual MAC address, if it has one. The kernel resolves
    /// unicast peers, and they get it from the interface's own.
    pub(super) fn send(&self, instance: &VrrpInstance, path: Path, bytes: &[u8]) -> io::Result<()> {
        let link = self.open.get(&link_of(instance)).ok_or(io::ErrorKind::NotConnected)?;
        let Some(mac) = instance.virtual_mac.as_ref().filter(|_| path.destination.is_multicast()) else {
            return link.socket.send(path, bytes);
        };
        let interface = link.interface.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let frame = advertisement(mac.address, path, bytes).ok_or(io::ErrorKind::InvalidInput)?;
        match self.frames.send(&frame, interface) {
            // So many IPv6 addresses that the message has to be divided: the kernel does that, with the interface's own address.
            Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {
                link.socket.send(path, bytes)
            }
            sent => sent,
        }
    }
}

async fn read(socket: Arc<Socket>, id: LinkId, to: mpsc::Sender<(LinkId, Received)>) {
    loop {
        match socket.receive().await {
            Ok(received) => {
                if to.send((id.clone(), received)).await.is_err() {
                    return;
                }
            }
            // The interface went down; when it is gone, so is this reader soon.
            Err(error) => {
                tracing::debug!(interface = id.0, %error, "cannot read a VRRP socket");
                time::sleep(AFTER_ERROR).await;
            }
        }
    }
}
