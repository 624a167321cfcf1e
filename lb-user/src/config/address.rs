//! Addresses as written: `192.0.2.10:80`, `[2001:db8::10]:80`, groups such as `192.0.2.11-20:80`, prefixes, netmasks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use toml::de::DeValue;

use super::value::{Wrong, string};

/// The most addresses one range may stand for.
const LARGEST_RANGE: u32 = 256;

const ENDPOINT: &str = "an address with or without a port";
const HELP: &str = "write it like \"192.0.2.10:80\", \"[2001:db8::10]:80\", or without a port";

/// One address; port 0 when there is none. Any address that packets can be sent to from here.
pub(super) fn endpoint(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    let text = string(value, ENDPOINT)?;
    let (host, port) = split(text)?;
    let ip = host.parse::<IpAddr>().map_err(|_| bad_endpoint(host))?;
    Ok(SocketAddr::new(ip, port))
}

/// As `endpoint`, of a server on the network: not this host, not a group.
pub(super) fn unicast(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    let endpoint = endpoint(value)?;
    reachable(endpoint.ip())?;
    Ok(endpoint)
}

/// One address, or a range over its last octet or hextet: `192.0.2.11-20:80`, `[2001:db8::10-1f]:80`.
pub(super) fn group(value: &DeValue<'_>) -> Result<Vec<SocketAddr>, Wrong> {
    let (host, port) = split(string(value, ENDPOINT)?)?;
    let (first, last) = host.split_once('-').map_or((host, None), |(first, last)| (first, Some(last)));
    let first = first.parse::<IpAddr>().map_err(|_| bad_endpoint(first))?;
    let last = last.map_or(Ok(first), |last| last_of(first, last))?;
    reachable(first)?;
    reachable(last)?;
    Ok(span(first, last).map(|ip| SocketAddr::new(ip, port)).collect())
}

/// An address and prefix length without host bits; a single address is a prefix of its own.
pub(super) fn prefix(value: &DeValue<'_>) -> Result<IpNet, Wrong> {
    const EXPECTED: &str = "an address prefix";
    let text = string(value, EXPECTED)?;
    let net = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| Wrong::value(EXPECTED, "not a prefix").help("write it like \"192.0.2.0/24\""))?;
    if net != net.trunc() {
        let wrong = Wrong::value(EXPECTED, format!("has bits set beyond /{}", net.prefix_len()));
        let host = IpNet::from(net.addr());
        return Err(
            wrong.help(format!("write \"{}\" for the network, \"{host}\" for the address", net.trunc()))
        );
    }
    Ok(net)
}

/// How much of a client's address counts.
#[derive(Clone, Copy)]
pub(super) enum Granularity {
    V4(u8),
    V6(u8),
}

/// `/24`, `/64`, or a netmask such as `255.255.255.0`; lengths that IPv4 has mean IPv4.
pub(super) fn granularity(value: &DeValue<'_>) -> Result<Granularity, Wrong> {
    const EXPECTED: &str = "a prefix length such as \"/24\" or a netmask such as \"255.255.255.0\"";
    let text = string(value, EXPECTED)?;
    let length = |most: u8| move |length: &u8| (1..=most).contains(length);
    let found = if let Some(digits) = text.strip_prefix('/') {
        let bits = digits.parse().ok().filter(length(128));
        bits.map(|bits| if bits <= 32 { Granularity::V4(bits) } else { Granularity::V6(bits) })
    } else {
        let mask = text.parse::<IpAddr>().ok();
        match mask.and_then(|mask| Some((mask, ipnet::ip_mask_to_prefix(mask).ok()?))) {
            Some((IpAddr::V4(_), bits)) => Some(bits).filter(length(32)).map(Granularity::V4),
            Some((IpAddr::V6(_), bits)) => Some(bits).filter(length(128)).map(Granularity::V6),
            None => None,
        }
    };
    found.ok_or_else(|| Wrong::value(EXPECTED, "neither of them"))
}

/// Host and port of `HOST`, `HOST:PORT`, `[HOST]`, `[HOST]:PORT`.
fn split(text: &str) -> Result<(&str, u16), Wrong> {
    let (host, port) = if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']').ok_or_else(|| bad_endpoint(text))?;
        match rest.strip_prefix(':') {
            None if rest.is_empty() => (host, None),
            None => return Err(bad_endpoint(text)),
            port => (host, port),
        }
    } else if text.matches(':').count() > 1 {
        (text, None)
    } else {
        text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)))
    };
    let Some(port) = port else { return Ok((host, 0)) };
    match port.parse() {
        Ok(0) => {
            Err(Wrong::value(ENDPOINT, "0 is not a port").help("leave the port out if any port is meant"))
        }
        Ok(port) => Ok((host, port)),
        Err(_) => Err(Wrong::value(ENDPOINT, format!("`{port}` is not a port")).help(HELP)),
    }
}

fn bad_endpoint(text: &str) -> Wrong {
    Wrong::value(ENDPOINT, format!("`{text}` is not an address")).help(HELP)
}

/// The last address of a range, given what is written after the dash.
fn last_of(first: IpAddr, last: &str) -> Result<IpAddr, Wrong> {
    const EXPECTED: &str = "a range such as \"192.0.2.11-20:80\"";
    let (from, to, ip) = match first {
        IpAddr::V4(v4) => {
            let [a, b, c, from] = v4.octets();
            let to = last.parse::<u8>().ok();
            (u32::from(from), to.map(u32::from), to.map(|to| Ipv4Addr::new(a, b, c, to).into()))
        }
        IpAddr::V6(v6) => {
            let mut segments = v6.segments();
            let from = std::mem::take(&mut segments[7]);
            let to = u16::from_str_radix(last, 16).ok();
            let ip = to.map(|to| {
                segments[7] = to;
                Ipv6Addr::from(segments).into()
            });
            (u32::from(from), to.map(u32::from), ip)
        }
    };
    match (to, ip) {
        (Some(to), _) if to < from => Err(Wrong::value(EXPECTED, "ends before it begins")),
        (Some(to), _) if to - from >= LARGEST_RANGE => {
            Err(Wrong::value(EXPECTED, format!("more than {LARGEST_RANGE} addresses")))
        }
        (_, Some(ip)) => Ok(ip),
        _ => Err(Wrong::value(EXPECTED, format!("`{last}` does not end a range of the last part"))),
    }
}

fn span(first: IpAddr, last: IpAddr) -> Box<dyn Iterator<Item = IpAddr>> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            Box::new((u32::from(first)..=u32::from(last)).map(|bits| Ipv4Addr::from(bits).into()))
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            Box::new((u128::from(first)..=u128::from(last)).map(|bits| Ipv6Addr::from(bits).into()))
        }
        _ => Box::new(std::iter::empty()),
    }
}

/// Refuses what no packet through this host can be addressed to.
fn reachable(ip: IpAddr) -> Result<(), Wrong> {
    let kind = match ip {
        _ if ip.is_unspecified() => "the unspecified address",
        _ if ip.is_loopback() => "a loopback address",
        _ if ip.is_multicast() => "a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "a link-local address",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "an IPv4 address in IPv6 clothes",
        _ => return Ok(()),
    };
    Err(Wrong::value("the address of one host on the network", format!("this is {kind}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(text: &str) -> DeValue<'_> {
        DeValue::String(text.into())
    }

    proptest! {
        #[test]
        fn what_the_standard_library_prints_is_read_as_the_same_address(ip: IpAddr, port: u16) {
            let address = SocketAddr::new(ip, port);
            let text = if port == 0 { ip.to_string() } else { address.to_string() };
            prop_assert_eq!(endpoint(&written(&text)).ok(), Some(address));
        }

        #[test]
        fn a_range_is_all_addresses_between_its_ends(first in 0..=200u8, more in 0..=55u8) {
            let text = format!("192.0.2.{first}-{}:80", first + more);
            let all = (first..=first + more).map(|last| SocketAddr::from(([192, 0, 2, last], 80)));
            prop_assert_eq!(group(&written(&text)).ok(), Some(all.collect()));
        }
    }

    #[test]
    fn an_ipv6_range_counts_in_hexadecimal() {
        let all = group(&written("[2001:db8::fe-101]:80")).unwrap_or_default();
        let shown: Vec<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["[2001:db8::fe]:80", "[2001:db8::ff]:80", "[2001:db8::100]:80", "[2001:db8::101]:80"]
        );
        assert_eq!(group(&written("2001:db8::10-1f")).unwrap_or_default().len(), 16);
    }
}
