//! The configuration as it is meant: always valid, every default filled in, every name resolved.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;

use super::vrrp::Vrrp;

/// Everything the daemon needs to know. Built only by `resolve`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What concerns the whole daemon.
    pub global: Global,
    /// Where it can be reached.
    pub api: Api,
    /// The packet classifier, in the order of the file: the first mark that matches wins.
    pub fwmarks: Vec<Fwmark>,
    /// In the order of the file.
    pub virtual_servers: Vec<VirtualServer>,
    /// Which addresses are owned by election; nothing when it is empty.
    pub vrrp: Vrrp,
}

/// `[global]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Global {
    /// Shown in status, logs and metrics.
    pub router_id: String,
    /// Interfaces the XDP program is attached to, at least one, no duplicates.
    pub interfaces: Vec<String>,
    /// How the program is attached.
    pub xdp_mode: XdpMode,
    /// What is done about sysctls.
    pub sysctl: SysctlPolicy,
    /// Established connections per address family; memory is reserved at start.
    pub max_connections: u32,
    /// Capacity of the virtual server tables, reserved at start.
    pub max_virtual_servers: u32,
    /// Capacity of the real server tables, reserved at start.
    pub max_real_servers: u32,
    /// Key of all hashing; equal on every node.
    pub cluster_secret_file: Option<PathBuf>,
    /// Overrides and health survive restarts here.
    pub state_dir: PathBuf,
    /// Below a bpffs; pinned maps and links live here.
    pub pin_dir: PathBuf,
    /// Who check and notify scripts run as.
    pub script_user: String,
}

/// How the XDP program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// Native, else generic with a warning.
    Auto,
    /// In the driver, or refuse.
    Native,
    /// In the kernel's generic path.
    Generic,
}

/// What is done about the sysctls that forwarding needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SysctlPolicy {
    /// Set at start, put back by `xlb unload`.
    Apply,
    /// Only reported when they differ.
    Check,
    /// Not looked at.
    Off,
}

/// `[api]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Api {
    /// The control socket, mode 0660.
    pub socket: PathBuf,
    /// Group that may use the socket; root only when there is none.
    pub socket_group: Option<String>,
    /// Read-only HTTP listener.
    pub listen: Option<SocketAddr>,
}

/// A firewall mark and the packets that carry it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fwmark {
    /// Never zero.
    pub mark: u32,
    /// Any of these, at least one.
    pub matches: Vec<MarkMatch>,
}

/// One rule of the classifier.
#[derive(Clone, Debug, PartialEq)]
pub struct MarkMatch {
    /// Destination addresses.
    pub destination: IpNet,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Destination ports as inclusive ranges; empty means every port.
    pub ports: Vec<(u16, u16)>,
    /// Source addresses; none means every source. Same family as `destination`.
    pub source: Option<IpNet>,
    /// Ingress interface, one of `global.interfaces`.
    pub interface: Option<String>,
}

/// Transport protocol of a virtual server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// How clients name a virtual server.
#[derive(Clone, Debug, PartialEq)]
pub enum Listen {
    /// Addresses and ports served by one pool, at least one, all of one family; port 0 is any port.
    Addresses(Vec<SocketAddr>),
    /// Packets that carry this mark, whatever their address.
    Fwmark(u32),
}

/// A scheduling algorithm, with the semantics of IPVS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// Round robin.
    Rr,
    /// Weighted round robin, smooth.
    Wrr,
    /// Least connection.
    Lc,
    /// Weighted least connection.
    Wlc,
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Source hashing.
    Sh,
    /// Destination hashing.
    Dh,
    /// Maglev hashing.
    Mh,
    /// Weighted failover.
    Fo,
    /// Weighted overflow.
    Ovf,
    /// Power of two choices.
    Twos,
}

/// What happens to connections of a real server that is down or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDown {
    /// Both ends get a reset.
    Reset,
    /// They go on as long as they can.
    Keep,
    /// Their next packet goes to another real server.
    Reschedule,
}

/// What happens to TCP that is neither known nor a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutState {
    /// Taken over through the deterministic choice.
    Adopt,
    /// Dropped.
    Drop,
    /// Answered with a reset.
    Reset,
}

/// Whether a real server takes connections before its first check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialState {
    /// Not before the first check succeeds.
    Down,
    /// At once.
    Up,
}

/// Idle times after which a connection is forgotten, by the states of IPVS. A half-closed connection is not idle while
/// the other direction sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP whose handshake is not proven.
    pub syn: Duration,
    /// TCP, both directions open.
    pub established: Duration,
    /// TCP, closed by the real server.
    pub fin: Duration,
    /// TCP, closed by the client.
    pub close_wait: Duration,
    /// TCP, closed by both.
    pub time_wait: Duration,
    /// TCP that was reset.
    pub close: Duration,
    /// UDP.
    pub udp: Duration,
}

impl Default for Timeouts {
    /// Those of IPVS (ip_vs_proto_tcp.c, ip_vs_proto_udp.c), but half of its 120 s for what both have closed: a SYN on such
    /// a connection begins a new one, so nobody has to wait it out here.
    fn default() -> Self {
        Self {
            syn: Duration::from_secs(60),
            established: Duration::from_secs(15 * 60),
            fin: Duration::from_secs(2 * 60),
            close_wait: Duration::from_secs(60),
            time_wait: Duration::from_secs(60),
            close: Duration::from_secs(10),
            udp: Duration::from_secs(5 * 60),
        }
    }
}

/// Persistence by timed templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// How long a template outlives its last connection.
    pub timeout: Duration,
    /// Prefix length a client's address is cut to, 1..=32 for IPv4.
    pub prefix_v4: u8,
    /// Prefix length a client's address is cut to, 1..=128 for IPv6.
    pub prefix_v6: u8,
}

/// When the data plane's own view takes a real server out between checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passive {
    /// So many SYNs without an answer; 0 does not count them.
    pub unanswered: u32,
    /// So many SYNs answered with a reset; 0 does not count them.
    pub refused: u32,
    /// Within this time.
    pub within: Duration,
    /// It stays out for at least this long.
    pub retry: Duration,
}

/// `[[virtual_server]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualServer {
    /// Unique.
    pub name: String,
    /// Which packets are for it.
    pub listen: Listen,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Which real server gets a new connection.
    pub scheduler: Scheduler,
    /// Off when none.
    pub persistence: Option<Persistence>,
    /// Sum of the weights of real servers that are up below which the virtual server is down.
    pub quorum: u32,
    /// Added to the quorum on the way up, subtracted on the way down; smaller than the quorum.
    pub hysteresis: u32,
    /// Takes the connections while the quorum is not met.
    pub sorry_server: Option<SocketAddr>,
    /// Before the first check.
    pub initial_state: InitialState,
    /// When a real server goes.
    pub on_down: OnDown,
    /// TCP that is neither known nor a SYN.
    pub without_state: WithoutState,
    /// After this a drain resets what is left.
    pub drain_timeout: Duration,
    /// Time over which the weight grows to its full value after a recovery; zero is at once.
    pub slow_start: Duration,
    /// Idle times.
    pub timeouts: Timeouts,
    /// Off when none.
    pub passive: Option<Passive>,
    /// The pool, at least one, no two with one name or one address.
    pub real_servers: Vec<RealServer>,
}

/// `[[virtual_server.real_server]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RealServer {
    /// Unique in the virtual server; the address as written when the file gives none.
    pub name: String,
    /// Address and port; port 0 keeps the client's destination port. Same family as the virtual server's.
    pub address: SocketAddr,
    /// 0..=65535; 0 takes no new connections.
    pub weight: u16,
    /// More connections than this are not given to it.
    pub max_connections: Option<u32>,
    /// All must pass; empty means always up.
    pub checks: Vec<Check>,
}

/// A health check of one real server, every place resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// What is asked.
    pub kind: CheckKind,
    /// Whom is asked; the port is 0 for checks that have none.
    pub target: SocketAddr,
    /// Time between the starts of two checks.
    pub interval: Duration,
    /// For the whole check.
    pub timeout: Duration,
    /// Successes in a row that bring it up, at least 1.
    pub rise: u32,
    /// Failures in a row that take it down, at least 1.
    pub fall: u32,
}

/// The kinds of check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// A connection is accepted.
    Tcp,
    /// An HTTP exchange; with TLS when `tls` is there.
    Http(HttpCheck),
    /// A datagram draws no ICMP error, or the reply that is wanted.
    Udp {
        /// What is sent.
        payload: Vec<u8>,
        /// A reply is needed.
        require_reply: bool,
    },
    /// A DNS query is answered.
    Dns {
        /// The name asked for.
        name: String,
        /// The record type, such as `A`.
        record: String,
    },
    /// A banner and HELO are answered.
    Smtp {
        /// The name given in HELO.
        helo: String,
    },
    /// An ICMP echo is answered.
    Ping,
    /// A command's exit code is 0.
    Script {
        /// Program and arguments, no shell.
        command: Vec<String>,
        /// Exit codes 2..=255 set the weight to the code minus 2, as keepalived's MISC_CHECK does.
        dynamic_weight: bool,
    },
}

/// An HTTP or HTTPS check.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpCheck {
    /// Request method.
    pub method: String,
    /// Origin form, begins with `/`.
    pub path: String,
    /// Host header, and SNI with TLS; the target's address when there is none.
    pub host: Option<String>,
    /// Further header fields.
    pub headers: Vec<(String, String)>,
    /// Accepted status codes as inclusive ranges, at least one.
    pub status: Vec<(u16, u16)>,
    /// Regular expression the body must match.
    pub body: Option<String>,
    /// Plain HTTP when none.
    pub tls: Option<TlsVerify>,
}

/// How a server's certificate is verified.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TlsVerify {
    /// Against the system's authorities.
    System,
    /// Not at all.
    None,
    /// Against the authorities of a PEM file.
    File(PathBuf),
}

impl VirtualServer {
    /// Whether its clients and real servers speak IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.real_servers.first().is_some_and(|real| matches!(real.address.ip(), IpAddr::V6(_)))
    }
}
