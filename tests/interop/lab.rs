//! Two hosts and a switch as network namespaces, which go away with their value.

use std::{
    fs::File,
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpStream},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// 10.99.0.1
    A,
    /// 10.99.0.2
    B,
}

impl Host {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    pub(crate) fn address(self) -> IpAddr {
        match self {
            Self::A => [10, 99, 0, 1].into(),
            Self::B => [10, 99, 0, 2].into(),
        }
    }

    /// Of its port on the switch.
    pub(crate) fn port(self) -> &'static str {
        match self {
            Self::A => "to-a",
            Self::B => "to-b",
        }
    }
}

/// The two hosts on one switch; each one's interface is `eth0`.
pub(crate) struct Lab {
    name: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("xlb-i{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let lab = Self { name };
        for namespace in [lab.switch(), lab.host(Host::A), lab.host(Host::B)] {
            ip(&format!("netns add {namespace}"));
            for family in ["all", "default"] {
                let dad = format!("net.ipv6.conf.{family}.accept_dad=0");
                run("ip", &["netns", "exec", &namespace, "sysctl", "-qw", &dad]);
            }
            ip(&format!("-n {namespace} link set lo up"));
        }
        let switch = lab.switch();
        ip(&format!("-n {switch} link add br0 type bridge mcast_snooping 0 forward_delay 0"));
        ip(&format!("-n {switch} link set br0 up"));
        lab.connect(Host::A);
        lab.connect(Host::B);
        lab
    }

    fn connect(&self, host: Host) {
        let (switch, port, namespace) = (self.switch(), host.port(), self.host(host));
        ip(&format!("-n {switch} link add {port} type veth peer name eth0 netns {namespace}"));
        ip(&format!("-n {switch} link set {port} master br0 up"));
        ip(&format!("-n {namespace} addr add {}/24 dev eth0", host.address()));
        ip(&format!("-n {namespace} link set eth0 up"));
        until("an IPv6 link-local address", || self.link_local(host).is_some());
    }

    /// Takes a host's interface away and makes it anew.
    pub(crate) fn reconnect(&self, host: Host) {
        ip(&format!("-n {} link del {}", self.switch(), host.port()));
        self.connect(host);
    }

    pub(crate) fn switch(&self) -> String {
        format!("{}-s", self.name)
    }

    pub(crate) fn host(&self, host: Host) -> String {
        format!("{}-{}", self.name, if host == Host::A { "a" } else { "b" })
    }

    /// Takes the cable of a host out, or puts it back.
    pub(crate) fn plug(&self, host: Host, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        ip(&format!("-n {} link set {} {state}", self.switch(), host.port()));
    }

    /// Removes an address by hand.
    pub(crate) fn remove(&self, host: Host, address: &str) {
        ip(&format!("-n {} addr del {address} dev eth0", self.host(host)));
    }

    /// Sends a packet of protocol 112 to everybody.
    pub(crate) fn inject(&self, from: Host, ttl: u32, bytes: &[u8]) {
        let namespace = File::open(format!("/run/netns/{}", self.host(from))).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
                let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(112))).unwrap();
                socket.bind_device(Some(b"eth0")).unwrap();
                socket.set_multicast_ttl_v4(ttl).unwrap();
                let to = SocketAddr::from(([224, 0, 0, 18], 0));
                socket.send_to(bytes, &to.into()).unwrap();
            });
        });
    }

    /// On its interface, or on all of them.
    fn addresses(&self, host: Host, device: Option<&str>) -> Vec<IpAddr> {
        let namespace = self.host(host);
        let output = run("ip", &["-n", &namespace, "-j", "addr", "show"]);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let links = json.as_array().cloned().unwrap_or_default().into_iter();
        let links = links.filter(|link| device.is_none_or(|device| link["ifname"] == device));
        let list = links.flat_map(|link| link["addr_info"].as_array().cloned().unwrap_or_default());
        list.filter_map(|each| each["local"].as_str()?.parse().ok()).collect()
    }

    /// Makes a client of the switch, which has these addresses on its link.
    pub(crate) fn become_client_of(&self, network: &str) {
        let switch = self.switch();
        ip(&format!("-n {switch} addr add 10.99.0.9/24 dev br0"));
        ip(&format!("-n {switch} route add {network} dev br0"));
        // keepalived leaves it at 0: its host then asks for the client in the name of the virtual address, with its own MAC.
        let announce = "net.ipv4.conf.eth0.arp_announce=2";
        run("ip", &["netns", "exec", &self.host(Host::B), "sysctl", "-qw", announce]);
    }

    /// The link address that the client has for an address which answers it; none when that does not.
    pub(crate) fn answering(&self, address: IpAddr) -> Option<String> {
        const NOBODY_LISTENS: u16 = 1;
        let namespace = File::open(format!("/run/netns/{}", self.switch())).unwrap();
        let refused = std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                setns(&namespace, CloneFlags::CLONE_NEWNET).unwrap();
                let to = SocketAddr::new(address, NOBODY_LISTENS);
                TcpStream::connect_timeout(&to, Duration::from_millis(500)).unwrap_err()
            });
            asked.join().unwrap().kind() == ErrorKind::ConnectionRefused
        });
        if !refused {
            return None;
        }
        let output = run("ip", &["-n", &self.switch(), "-j", "neigh", "show", &address.to_string()]);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        json[0]["lladdr"].as_str().map(str::to_owned)
    }

    /// Whether a host has all of these addresses, or none.
    pub(crate) fn has(&self, host: Host, wanted: &[IpAddr]) -> Option<bool> {
        let has = self.addresses(host, None);
        let count = wanted.iter().filter(|address| has.contains(address)).count();
        [(0, false), (wanted.len(), true)].into_iter().find(|(n, _)| *n == count).map(|(_, all)| all)
    }

    pub(crate) fn link_local(&self, host: Host) -> Option<IpAddr> {
        let local = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        self.addresses(host, Some("eth0")).into_iter().find(local)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [self.switch(), self.host(Host::A), self.host(Host::B)] {
            // What was never made need not go.
            let _ = Command::new("ip").args(["netns", "del", &namespace]).stderr(Stdio::null()).status();
        }
    }
}

fn ip(arguments: &str) {
    run("ip", &arguments.split(' ').collect::<Vec<_>>());
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

pub(crate) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "these tests measure real peers")]
    Instant::now()
}

/// Waits for a condition, half a minute at most; returns how long it took.
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) -> Duration {
    let began = now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(30), "never: {what}");
        #[expect(clippy::disallowed_methods, reason = "between two looks at the condition")]
        std::thread::sleep(Duration::from_millis(5));
    }
    began.elapsed()
}

/// Whether a condition holds for so long.
pub(crate) fn holds(time: Duration, condition: impl Fn() -> bool) -> bool {
    let began = now();
    while began.elapsed() < time {
        if !condition() {
            return false;
        }
        #[expect(clippy::disallowed_methods, reason = "between two looks at the condition")]
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Looks on while a condition must hold.
pub(crate) fn throughout(time: Duration, what: &str, condition: impl Fn() -> bool) {
    assert!(holds(time, condition), "not throughout: {what}");
}
