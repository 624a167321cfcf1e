//! The services of the world: virtual servers with their real servers, and the rules of firewall marks.

use lb_common::{
    addr::Protocol,
    service::{Scheduling, virtual_server},
};

use crate::wires::OUTSIDE;

pub(crate) const WEB: &str = "192.0.2.10:80";
pub(crate) const DNS: &str = "192.0.2.10:53";
pub(crate) const SAME_PORT: &str = "192.0.2.10:8080";
/// On every port of the VIP that has no service of its own.
pub(crate) const ANY_PORT: &str = "192.0.2.10:0";
/// Another VIP in front of the real servers of [`WEB`]; does not adopt.
pub(crate) const WEB_AGAIN: &str = "192.0.2.20:80";
/// In front of one of them only.
pub(crate) const ALONE: &str = "192.0.2.20:81";
/// Another VIP in front of one of the real servers of [`DNS`].
pub(crate) const DNS_AGAIN: &str = "192.0.2.20:53";
/// Its real server's neighbour is not known.
pub(crate) const UNRESOLVED: &str = "192.0.2.30:80";
/// Has no real server.
pub(crate) const EMPTY: &str = "192.0.2.30:81";
/// There is no route to its real server.
pub(crate) const UNROUTED: &str = "192.0.2.30:82";
/// Its real server is where clients are.
pub(crate) const ONE_ARM: &str = "192.0.2.40:80";
/// Weights 3 and 1, in turn.
pub(crate) const WEIGHTED: &str = "192.0.2.50:80";
/// Weights 3 and 1, by the client's address and port.
pub(crate) const HASHED: &str = "192.0.2.50:81";
/// Weights 3 and 1, by load.
pub(crate) const LEAST: &str = "192.0.2.50:82";
/// Each real server takes two connections.
pub(crate) const LIMITED: &str = "192.0.2.50:83";
/// Persistent by a client's /24.
pub(crate) const PERSISTENT: &str = "192.0.2.70:80";
/// Persistent on every other port.
pub(crate) const PERSISTENT_ANY: &str = "192.0.2.70:0";
/// Persistent by a client's /64.
pub(crate) const PERSISTENT_V6: &str = "[2001:db8::70]:80";
/// Ports of one mark.
pub(crate) const MARKED: &str = "192.0.2.60:80";
pub(crate) const MARKED_TLS: &str = "192.0.2.60:443";
/// In a network that is marked.
pub(crate) const MARKED_WIDE: &str = "192.0.2.130:8005";
/// Its real server is in a VLAN.
pub(crate) const STORAGE: &str = "192.0.2.80:80";
/// Its real server is in a VLAN.
pub(crate) const STORAGE_V6: &str = "[2001:db8::80]:80";
/// The virtual servers of marks: on no address.
const SHOP: &str = "shop";
const UPLOAD: &str = "upload";

pub(crate) const WEB_V6: &str = "[2001:db8::10]:80";
pub(crate) const DNS_V6: &str = "[2001:db8::10]:53";

/// What clients of IPv4 ask for.
pub(crate) const VIPS: &[&str] = &[
    WEB,
    WEB,
    DNS,
    SAME_PORT,
    ANY_PORT,
    WEB_AGAIN,
    ALONE,
    DNS_AGAIN,
    UNRESOLVED,
    EMPTY,
    UNROUTED,
    ONE_ARM,
    WEIGHTED,
    HASHED,
    LEAST,
    LIMITED,
    MARKED,
    MARKED_TLS,
    MARKED_WIDE,
    PERSISTENT,
    PERSISTENT,
    PERSISTENT_ANY,
    STORAGE,
];

/// A virtual server as described.
pub(crate) struct Service {
    pub(crate) listens: &'static str,
    pub(crate) protocol: Protocol,
    pub(crate) scheduling: Scheduling,
    pub(crate) flags: u32,
    /// Address and port of each real server, and its weight.
    pub(crate) pool: &'static [(&'static str, u32)],
    /// Connection limit of each real server.
    pub(crate) limit: u32,
    /// Bits of a client's address that persistence looks at; 0 is none.
    pub(crate) client_prefix: u32,
}

const DEFAULT: Service = Service {
    listens: "",
    protocol: Protocol::Tcp,
    scheduling: Scheduling::Sequence,
    flags: virtual_server::ADOPT,
    pool: &[],
    limit: 0,
    client_prefix: 0,
};

/// Virtual servers by index. Each has real servers of its own even where they are the same machine.
pub(crate) const SERVICES: &[Service] = &[
    Service { listens: WEB, pool: &[("10.0.0.11:8080", 1), ("10.0.0.12:8080", 1)], ..DEFAULT },
    Service {
        listens: DNS,
        protocol: Protocol::Udp,
        pool: &[("10.0.0.11:53", 1), ("10.0.0.12:5353", 1)],
        ..DEFAULT
    },
    Service { listens: SAME_PORT, pool: &[("10.0.0.13:8080", 1)], ..DEFAULT },
    Service { listens: ANY_PORT, pool: &[("10.0.0.13:0", 1)], ..DEFAULT },
    Service {
        listens: WEB_AGAIN,
        flags: 0,
        pool: &[("10.0.0.11:8080", 1), ("10.0.0.12:8080", 1)],
        ..DEFAULT
    },
    Service { listens: ALONE, pool: &[("10.0.0.11:8080", 1)], ..DEFAULT },
    Service { listens: DNS_AGAIN, protocol: Protocol::Udp, pool: &[("10.0.0.11:53", 1)], ..DEFAULT },
    Service { listens: UNRESOLVED, pool: &[("10.0.0.14:8080", 1)], ..DEFAULT },
    Service { listens: EMPTY, ..DEFAULT },
    Service { listens: UNROUTED, pool: &[("172.16.0.9:8080", 1)], ..DEFAULT },
    Service { listens: ONE_ARM, pool: &[("198.51.100.13:8080", 1)], ..DEFAULT },
    Service { listens: WEIGHTED, pool: &[("10.0.0.11:81", 3), ("10.0.0.12:81", 1)], ..DEFAULT },
    Service {
        listens: HASHED,
        scheduling: Scheduling::Hash,
        flags: virtual_server::ADOPT | virtual_server::HASH_PORT,
        pool: &[("10.0.0.11:82", 3), ("10.0.0.12:82", 1)],
        ..DEFAULT
    },
    Service {
        listens: LEAST,
        scheduling: Scheduling::LeastConnection,
        pool: &[("10.0.0.11:83", 3), ("10.0.0.12:83", 1)],
        ..DEFAULT
    },
    Service {
        listens: LIMITED,
        scheduling: Scheduling::LeastConnection,
        pool: &[("10.0.0.11:84", 1), ("10.0.0.12:84", 1)],
        limit: 2,
        ..DEFAULT
    },
    Service {
        listens: WEB_V6,
        scheduling: Scheduling::LeastConnection,
        pool: &[("[2001:db8:2::b]:8080", 1), ("[2001:db8:2::c]:8080", 1)],
        ..DEFAULT
    },
    Service { listens: DNS_V6, protocol: Protocol::Udp, pool: &[("[2001:db8:2::b]:5353", 1)], ..DEFAULT },
    Service {
        listens: PERSISTENT,
        pool: &[("10.0.0.11:85", 1), ("10.0.0.12:85", 1)],
        limit: 50,
        client_prefix: 24,
        ..DEFAULT
    },
    Service {
        listens: PERSISTENT_ANY,
        pool: &[("10.0.0.11:0", 1), ("10.0.0.12:0", 1)],
        client_prefix: 32,
        ..DEFAULT
    },
    Service {
        listens: PERSISTENT_V6,
        pool: &[("[2001:db8:2::b]:85", 1), ("[2001:db8:2::c]:85", 1)],
        client_prefix: 64,
        ..DEFAULT
    },
    Service { listens: SHOP, pool: &[("10.0.0.11:0", 1), ("10.0.0.12:0", 1)], client_prefix: 32, ..DEFAULT },
    Service { listens: UPLOAD, pool: &[("10.0.0.13:86", 1)], ..DEFAULT },
    Service { listens: STORAGE, pool: &[("10.0.0.43:8080", 1)], ..DEFAULT },
    Service { listens: STORAGE_V6, pool: &[("[2001:db8:4::b]:8080", 1)], ..DEFAULT },
];

/// Real servers of each virtual server begin at its index times this.
pub(crate) const STRIDE: u32 = 2;

/// A rule of the classifier.
pub(crate) struct Mark {
    pub(crate) destination: &'static str,
    pub(crate) source: &'static str,
    /// Index of an interface, or 0.
    pub(crate) interface: u16,
    pub(crate) ports: (u16, u16),
    /// Whose mark it is; nobody's when empty.
    pub(crate) serves: &'static str,
}

/// Rules in their order; all are about TCP.
pub(crate) const MARKS: &[Mark] = &[
    Mark {
        destination: "192.0.2.60/32",
        source: "198.18.0.9/32",
        interface: 0,
        ports: (443, 443),
        serves: "",
    },
    Mark { destination: "192.0.2.60/32", source: "0.0.0.0/0", interface: 0, ports: (80, 80), serves: SHOP },
    Mark { destination: "192.0.2.60/32", source: "0.0.0.0/0", interface: 0, ports: (443, 443), serves: SHOP },
    Mark {
        destination: "192.0.2.128/28",
        source: "0.0.0.0/0",
        interface: 0,
        ports: (8010, 8010),
        serves: "",
    },
    Mark {
        destination: "192.0.2.128/25",
        source: "198.0.0.0/8",
        interface: OUTSIDE.index,
        ports: (8000, 8099),
        serves: UPLOAD,
    },
    Mark {
        destination: "192.0.2.128/28",
        source: "0.0.0.0/0",
        interface: 0,
        ports: (8020, 8200),
        serves: SHOP,
    },
];
