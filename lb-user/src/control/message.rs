//! Requests to the daemon and its replies.

use std::{fmt, io, net::SocketAddr, str::FromStr, time::Duration};

use hyper::body::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{
    Failure,
    connections::Query,
    event::Feed,
    explain::{Explanation, Question},
    status::{Status, Vrrp},
};

/// One request on its way to the daemon.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Who asks; permission has been checked.
    pub caller: Caller,
    /// Where the answer goes. Nobody may be listening any more: a client that went away changes nothing.
    pub reply: oneshot::Sender<Result<Reply, Failure>>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A process on this machine, as the kernel names it.
    Process {
        /// User.
        uid: u32,
        /// Primary group.
        gid: u32,
        /// Process, where the kernel can see it.
        pid: Option<i32>,
    },
    /// A client of the read-only TCP listener.
    Network(SocketAddr),
}

/// For the log.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, gid, pid: Some(pid) } => write!(f, "uid {uid} gid {gid} pid {pid}"),
            Self::Process { uid, gid, pid: None } => write!(f, "uid {uid} gid {gid}"),
            Self::Network(address) => write!(f, "{address}"),
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Whether packets are being forwarded.
    Ready,
    /// Everything `xlb status` shows, or one virtual server's part of it.
    Status {
        /// Only this one; unknown is [`Code::NotFound`](super::Code::NotFound).
        virtual_server: Option<String>,
    },
    /// What `xlb vrrp` shows.
    Vrrp,
    /// What a reload would change.
    Diff,
    /// What happened lately, and with `follow` what happens from now on.
    Events {
        /// Go on until the client leaves.
        follow: bool,
    },
    /// Connections, as they are found.
    Connections(Query),
    /// Dropped packets, from now on until the client leaves.
    Drops,
    /// What would become of a packet.
    Explain(Question),
    /// The Prometheus text.
    Metrics,
    /// A change of the running state.
    Write {
        /// The change.
        write: Write,
        /// Refuse with [`Code::Conflict`](super::Code::Conflict) unless the configuration's generation is this.
        if_generation: Option<u64>,
    },
}

/// A change of the running state. Overrides survive reload and restart until they are reverted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Overrides the weight; 0 takes no new connections.
    SetWeight {
        /// Whose.
        real_server: RealServerName,
        /// The weight from now on.
        weight: u16,
    },
    /// No new connections; those that are there may finish.
    Drain {
        /// Which.
        real_server: RealServerName,
        /// After this what is left is reset; none means the virtual server's `drain_timeout`.
        timeout: Option<Duration>,
    },
    /// No connections at all; its checks stop.
    Disable(RealServerName),
    /// Ends drain and disable.
    Enable(RealServerName),
    /// Forgets overrides.
    Revert(Scope),
    /// A real server that the configuration does not have.
    Add {
        /// Where to.
        virtual_server: String,
        /// Address and port; port 0 keeps the client's destination port.
        address: SocketAddr,
        /// Its weight.
        weight: u16,
        /// Its name; none means the address.
        name: Option<String>,
    },
    /// Takes a real server out of its virtual server.
    Remove(RealServerName),
    /// Gives the role of a VRRP instance and its sync group, or of all, to the peers.
    Release(Option<String>),
    /// Applies the configuration file as a whole, or nothing of it.
    Reload,
    /// Detaches and removes everything that is pinned, then the daemon ends.
    Unload,
}

/// A real server as people name it: `web/web1` or `web/10.0.0.11:8080`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RealServerName {
    /// Name of the virtual server.
    pub virtual_server: String,
    /// The real server's name, or its address as configured.
    pub real_server: String,
}

/// Not of the form `VS/RS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected VIRTUAL_SERVER/REAL_SERVER, such as web/web1 or web/10.0.0.11:8080")]
pub struct NameError;

impl FromStr for RealServerName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some((virtual_server, real_server)) if !virtual_server.is_empty() && !real_server.is_empty() => {
                Ok(Self { virtual_server: virtual_server.to_owned(), real_server: real_server.to_owned() })
            }
            _ => Err(NameError),
        }
    }
}

impl fmt::Display for RealServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.virtual_server, self.real_server)
    }
}

/// Whose overrides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Everything,
    /// Those of one virtual server.
    VirtualServer(String),
    /// Those of one real server.
    RealServer(RealServerName),
}

impl FromStr for Scope {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "" => Err(NameError),
            name if name.contains('/') => name.parse().map(Self::RealServer),
            name => Ok(Self::VirtualServer(name.to_owned())),
        }
    }
}

/// As the command that asks for it, for the log.
impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetWeight { real_server, weight } => write!(f, "weight {real_server} {weight}"),
            Self::Drain { real_server, timeout: None } => write!(f, "drain {real_server}"),
            Self::Drain { real_server, timeout: Some(timeout) } => {
                write!(f, "drain {real_server} --timeout {}", humantime::format_duration(*timeout))
            }
            Self::Disable(real_server) => write!(f, "disable {real_server}"),
            Self::Enable(real_server) => write!(f, "enable {real_server}"),
            Self::Revert(Scope::Everything) => write!(f, "revert"),
            Self::Revert(Scope::VirtualServer(name)) => write!(f, "revert {name}"),
            Self::Revert(Scope::RealServer(name)) => write!(f, "revert {name}"),
            Self::Add { virtual_server, address, weight, name } => {
                write!(f, "add {virtual_server} {address} --weight {weight}")?;
                name.iter().try_for_each(|name| write!(f, " --name {name}"))
            }
            Self::Remove(real_server) => write!(f, "remove {real_server}"),
            Self::Release(None) => write!(f, "vrrp release"),
            Self::Release(Some(name)) => write!(f, "vrrp release {name}"),
            Self::Reload => write!(f, "reload"),
            Self::Unload => write!(f, "unload"),
        }
    }
}

/// What the daemon answers, one for each kind of request.
#[derive(Debug)]
pub enum Reply {
    /// To [`Request::Ready`].
    Ready(Readiness),
    /// To [`Request::Status`].
    Status(Box<Status>),
    /// To [`Request::Vrrp`].
    Vrrp(Vec<Vrrp>),
    /// To [`Request::Diff`] and [`Request::Write`].
    Changes(Changes),
    /// To [`Request::Events`].
    Events(Feed),
    /// To [`Request::Metrics`].
    Metrics(String),
    /// To [`Request::Explain`].
    Explanation(Box<Explanation>),
    /// To [`Request::Connections`] and [`Request::Drops`]: JSON, one object per line, in pieces of any length.
    Lines(mpsc::Receiver<io::Result<Bytes>>),
}

/// Whether the daemon does its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Packets are being forwarded.
    Ready,
    /// They are not, and this is why.
    NotReady(String),
}

/// What was changed, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The configuration's generation once they are applied.
    pub generation: u64,
    /// In the order in which they are applied; empty when everything is as wanted.
    pub changes: Vec<Change>,
}

/// One line of a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What happens to the object.
    pub action: Action,
    /// Which, such as `web` or `web/web1`.
    pub object: String,
    /// In words, such as `weight 1 -> 50`.
    pub detail: String,
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It was not there.
    Add,
    /// It is there and becomes different.
    Change,
    /// It goes.
    Remove,
}
