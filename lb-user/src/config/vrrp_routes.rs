//! Routes and rules that follow the role of master, as they are meant.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The routing table that is meant where none is named.
pub(super) const MAIN_TABLE: u32 = 254;

/// An entry of a routing table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualRoute {
    /// What becomes of packets.
    pub kind: RouteKind,
    /// The network, without bits beyond its prefix.
    pub destination: IpNet,
    /// The next router; none for hosts on the link. Of the destination's family.
    pub via: Option<IpAddr>,
    /// The instance's interface where the file names neither `dev` nor `via`; none where the kernel finds it by `via`.
    pub device: Option<String>,
    /// The source of this host's own packets. Of the destination's family.
    pub source: Option<IpAddr>,
    /// Never 0.
    pub table: u32,
    /// The kernel's default where there is none: 0, and 1024 for IPv6.
    pub metric: Option<u32>,
}

/// What becomes of packets that a route fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// They are sent on.
    Unicast,
    /// They are dropped.
    Blackhole,
    /// They are answered: host unreachable.
    Unreachable,
    /// They are answered: administratively prohibited.
    Prohibit,
}

/// Which packets look into a routing table. At least one selector is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VirtualRule {
    /// Whether it is for IPv6.
    pub ipv6: bool,
    /// The packet's source.
    pub from: Option<IpNet>,
    /// The packet's destination.
    pub to: Option<IpNet>,
    /// Where it came in.
    pub input: Option<String>,
    /// Where it is bound to go out.
    pub output: Option<String>,
    /// Its mark in the kernel.
    pub mark: Option<u32>,
    /// Never 0.
    pub table: u32,
    /// Its place among all rules, lowest first; never 0, which is the kernel's own.
    pub priority: u32,
}

/// Every address of a family.
#[must_use]
pub(super) fn everything(ipv6: bool) -> IpNet {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);
    let v6 = Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0);
    if ipv6 { v6.into() } else { v4.into() }
}

impl VirtualRoute {
    /// What the kernel holds one of.
    #[must_use]
    pub fn key(&self) -> (u32, IpNet, Option<u32>) {
        (self.table, self.destination, self.metric)
    }
}

impl fmt::Display for VirtualRoute {
    /// As `ip route` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            RouteKind::Unicast => "",
            RouteKind::Blackhole => "blackhole ",
            RouteKind::Unreachable => "unreachable ",
            RouteKind::Prohibit => "prohibit ",
        })?;
        self.destination.fmt(f)?;
        word(f, "via", self.via)?;
        word(f, "dev", self.device.as_ref())?;
        word(f, "src", self.source)?;
        word(f, "table", Some(self.table).filter(|table| *table != MAIN_TABLE))?;
        word(f, "metric", self.metric)
    }
}

impl fmt::Display for VirtualRule {
    /// As `ip rule` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.from {
            None => f.write_str("from all")?,
            Some(from) => write!(f, "from {from}")?,
        }
        word(f, "to", self.to)?;
        word(f, "iif", self.input.as_ref())?;
        word(f, "oif", self.output.as_ref())?;
        word(f, "fwmark", self.mark)?;
        write!(f, " table {} priority {}", self.table, self.priority)
    }
}

fn word<T: fmt::Display>(f: &mut fmt::Formatter<'_>, name: &str, value: Option<T>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, " {name} {value}"))
}
