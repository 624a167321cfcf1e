//! Values that only VRRP has: virtual addresses with their device and scope, weights of trackers.

use std::net::IpAddr;

use ipnet::IpNet;
use toml::de::DeValue;

use super::{
    value::{Wrong, string},
    vrrp::Scope,
};

/// A virtual address as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) address: IpNet,
    /// The instance's interface when none.
    pub(super) device: Option<String>,
    pub(super) scope: Scope,
}

const SCOPES: &[(&str, Scope)] =
    &[("global", Scope::Global), ("site", Scope::Site), ("link", Scope::Link), ("host", Scope::Host)];

/// `192.0.2.10/24 dev eth2 scope link`; without a prefix length it is the address alone.
pub(super) fn virtual_address(value: &DeValue<'_>) -> Result<Written, Wrong> {
    const EXPECTED: &str = "a virtual address";
    const HELP: &str = "write it like \"192.0.2.10/24\" or \"192.0.2.10/24 dev eth2 scope link\"";
    let wrong = |found: String| Wrong::value(EXPECTED, found).help(HELP);
    let mut words = string(value, EXPECTED)?.split_whitespace();
    let first = words.next().unwrap_or_default();
    let address = first
        .parse::<IpNet>()
        .or_else(|_| first.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| wrong(format!("`{first}` is not an address")))?;
    if let Some(kind) = unusable(address.addr()) {
        return Err(wrong(format!("this is {kind}")));
    }
    let mut written = Written { address, device: None, scope: Scope::Global };
    while let Some(word) = words.next() {
        let argument = words.next().ok_or_else(|| wrong(format!("nothing follows `{word}`")))?;
        match word {
            "dev" if argument.len() <= 15 => written.device = Some(argument.to_owned()),
            "dev" => return Err(wrong(format!("`{argument}` is longer than 15 bytes"))),
            "scope" => {
                let scope = SCOPES.iter().find(|(name, _)| *name == argument);
                let known = || wrong(format!("`{argument}` is none of the scopes global, site, link, host"));
                written.scope = scope.ok_or_else(known)?.1;
            }
            _ => return Err(wrong(format!("`{word}` is neither `dev` nor `scope`"))),
        }
    }
    Ok(written)
}

/// The address of a router.
pub(super) fn speaker(value: &DeValue<'_>) -> Result<IpAddr, Wrong> {
    const EXPECTED: &str = "the address of a router";
    let text = string(value, EXPECTED)?;
    let address: IpAddr =
        text.parse().map_err(|_| Wrong::value(EXPECTED, format!("`{text}` is not an address")))?;
    match unusable(address) {
        Some(kind) => Err(Wrong::value(EXPECTED, format!("this is {kind}"))),
        None => Ok(address),
    }
}

fn unusable(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("the unspecified address"),
        _ if address.is_loopback() => Some("a loopback address"),
        _ if address.is_multicast() => Some("a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("an IPv4 address in IPv6 clothes"),
        _ => None,
    }
}

/// What a tracker adds to a priority.
pub(super) fn weight(value: &DeValue<'_>) -> Result<i16, Wrong> {
    const EXPECTED: &str = "a number from -253 to 253";
    let integer = value.as_integer().ok_or_else(|| Wrong::kind(EXPECTED, value))?;
    i16::from_str_radix(integer.as_str(), integer.radix())
        .ok()
        .filter(|weight| (-253..=253).contains(weight))
        .ok_or_else(|| Wrong::value(EXPECTED, "out of range"))
}

/// `"haproxy"`, or a command line as a list of words.
pub(super) fn process(value: &DeValue<'_>) -> Result<Vec<String>, Wrong> {
    const EXPECTED: &str = "the name of a process or the beginning of its command line";
    const HELP: &str =
        "write it like \"haproxy\", \"/usr/sbin/haproxy\" or [\"python3\", \"-m\", \"http.server\"]";
    let words: Vec<&str> = match value.as_array() {
        Some(list) => list
            .iter()
            .map(|word| string(word.get_ref(), EXPECTED))
            .collect::<Result<_, _>>()
            .map_err(|wrong| wrong.help(HELP))?,
        None => vec![string(value, EXPECTED).map_err(|wrong| wrong.help(HELP))?],
    };
    match words.first() {
        None => Err(Wrong::value(EXPECTED, "is empty").help(HELP)),
        Some(&"") => Err(Wrong::value(EXPECTED, "begins with nothing").help(HELP)),
        Some(_) if words.iter().any(|word| word.contains('\0')) => {
            Err(Wrong::value(EXPECTED, "contains a zero byte").help(HELP))
        }
        Some(_) => Ok(words.into_iter().map(str::to_owned).collect()),
    }
}
