//! Routes and rules in the words of `ip route` and `ip rule`, read strictly.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use toml::de::DeValue;

use super::{
    file::nearest,
    value::{Wrong, string},
    vrrp_routes::{MAIN_TABLE, RouteKind, VirtualRoute, VirtualRule, everything},
};

const KINDS: &[(&str, RouteKind)] = &[
    ("unicast", RouteKind::Unicast),
    ("blackhole", RouteKind::Blackhole),
    ("unreachable", RouteKind::Unreachable),
    ("prohibit", RouteKind::Prohibit),
];
const TABLES: &[(&str, u32)] = &[("default", 253), ("main", MAIN_TABLE), ("local", 255)];

/// The words of one route or rule, taken in pairs.
struct Words<'w> {
    rest: std::str::SplitWhitespace<'w>,
    seen: Vec<&'w str>,
    expected: &'static str,
    help: &'static str,
}

impl<'w> Words<'w> {
    fn new(value: &'w DeValue<'_>, expected: &'static str, help: &'static str) -> Result<Self, Wrong> {
        let text = string(value, expected).map_err(|wrong| wrong.help(help))?;
        Ok(Self { rest: text.split_whitespace(), seen: Vec::new(), expected, help })
    }

    fn wrong(&self, found: impl Into<String>) -> Wrong {
        Wrong::value(self.expected, found).help(self.help)
    }

    /// The next word, which must be one that is known and was not there before, and what follows it.
    fn pair(&mut self, known: &[&'static str]) -> Result<Option<(&'static str, &'w str)>, Wrong> {
        let Some(word) = self.rest.next() else { return Ok(None) };
        let Some(name) = known.iter().find(|name| **name == word) else {
            let instead = nearest(word, known.iter().copied());
            let instead = instead.map_or_else(|| known.join(", "), |near| format!("did you mean `{near}`?"));
            return Err(self.wrong(format!("`{word}` is not known: {instead}")));
        };
        if self.seen.contains(name) {
            return Err(self.wrong(format!("`{name}` is there twice")));
        }
        self.seen.push(name);
        let value = self.rest.next().ok_or_else(|| self.wrong(format!("nothing follows `{name}`")))?;
        Ok(Some((name, value)))
    }

    fn parse<T: FromStr>(&self, text: &str, what: &str) -> Result<T, Wrong> {
        text.parse().map_err(|_| self.wrong(format!("`{text}` is not {what}")))
    }

    fn number(&self, text: &str) -> Result<u32, Wrong> {
        self.parse(text, "a number")
    }

    fn network(&self, text: &str) -> Result<IpNet, Wrong> {
        let network: IpNet = match text.parse::<IpAddr>() {
            Ok(address) => address.into(),
            Err(_) => self.parse(text, "an address with or without a prefix length")?,
        };
        if network.trunc() != network {
            return Err(
                self.wrong(format!("`{text}` has bits beyond its prefix: {} is meant", network.trunc()))
            );
        }
        Ok(network)
    }

    fn table(&self, text: &str) -> Result<u32, Wrong> {
        if let Some((_, table)) = TABLES.iter().find(|(name, _)| *name == text) {
            return Ok(*table);
        }
        match text.parse() {
            Ok(0) => Err(self.wrong("there is no table 0")),
            Ok(table) => Ok(table),
            Err(_) => Err(self.wrong(format!("`{text}` is neither a number nor main, local, default"))),
        }
    }

    fn device(&self, text: &str) -> Result<Option<String>, Wrong> {
        match text.len() {
            ..=15 => Ok(Some(text.to_owned())),
            _ => Err(self.wrong(format!("`{text}` is longer than 15 bytes"))),
        }
    }
}

/// `192.0.2.0/24 via 10.0.0.1 dev eth1 src 10.0.0.254 table 100 metric 5`, `default via 10.0.0.1`, `blackhole ...`.
pub(super) fn virtual_route(value: &DeValue<'_>) -> Result<VirtualRoute, Wrong> {
    const HELP: &str =
        "write it like \"192.0.2.0/24 via 10.0.0.1 dev eth1 src 10.0.0.254 table 100 metric 5\"";
    let mut words = Words::new(value, "a route", HELP)?;
    let mut first = words.rest.next().ok_or_else(|| words.wrong("is empty"))?;
    let kind = KINDS.iter().find(|(name, _)| *name == first).map(|(_, kind)| *kind);
    if kind.is_some() {
        first = words.rest.next().ok_or_else(|| words.wrong(format!("nothing follows `{first}`")))?;
    }
    let kind = kind.unwrap_or(RouteKind::Unicast);
    let (mut via, mut device, mut source, mut table, mut metric) = (None, None, None, MAIN_TABLE, None);
    while let Some((name, value)) = words.pair(&["via", "dev", "src", "table", "metric"])? {
        match name {
            "via" => via = Some(words.parse::<IpAddr>(value, "an address")?),
            "dev" => device = words.device(value)?,
            "src" => source = Some(words.parse::<IpAddr>(value, "an address")?),
            "table" => table = words.table(value)?,
            _ => metric = Some(words.number(value)?),
        }
    }
    let destination = match first {
        "default" => everything(via.or(source).is_some_and(|address| address.is_ipv6())),
        network => words.network(network)?,
    };
    let ipv6 = destination.addr().is_ipv6();
    if let Some(other) = via.into_iter().chain(source).find(|address| address.is_ipv6() != ipv6) {
        return Err(words.wrong(format!("{other} is of another family than {destination}")));
    }
    if kind != RouteKind::Unicast
        && let Some(word) = words.seen.iter().find(|word| matches!(**word, "via" | "dev" | "src"))
    {
        return Err(words.wrong(format!("`{word}` means nothing where packets are not sent on")));
    }
    Ok(VirtualRoute { kind, destination, via, device, source, table, metric })
}

/// `from 192.0.2.10 to 10.0.0.0/8 iif eth0 oif eth1 fwmark 7 table 100 priority 50`.
pub(super) fn virtual_rule(value: &DeValue<'_>) -> Result<VirtualRule, Wrong> {
    const HELP: &str = "write it like \"from 192.0.2.10 table 100 priority 50\"";
    let mut words = Words::new(value, "a rule", HELP)?;
    let (mut from, mut to, mut input, mut output) = (None, None, None, None);
    let (mut mark, mut table, mut priority) = (None, None, None);
    while let Some((name, value)) =
        words.pair(&["from", "to", "iif", "oif", "fwmark", "table", "priority"])?
    {
        match name {
            "from" | "to" if value == "all" => {}
            "from" => from = Some(words.network(value)?),
            "to" => to = Some(words.network(value)?),
            "iif" => input = words.device(value)?,
            "oif" => output = words.device(value)?,
            "fwmark" => mark = Some(words.number(value)?),
            "table" => table = Some(words.table(value)?),
            _ => priority = Some(words.number(value)?),
        }
    }
    let families: Vec<bool> = [from, to].into_iter().flatten().map(|net| net.addr().is_ipv6()).collect();
    if let [from, to] = families[..]
        && from != to
    {
        return Err(words.wrong("`from` and `to` are of two families"));
    }
    if families.is_empty() && input.is_none() && output.is_none() && mark.is_none() {
        return Err(words.wrong("it selects no packets: all would look there"));
    }
    let table = table.ok_or_else(|| words.wrong("`table` is missing"))?;
    let priority = priority.ok_or_else(|| words.wrong("`priority` is missing"))?;
    if priority == 0 {
        return Err(words.wrong("priority 0 is the kernel's own"));
    }
    let ipv6 = families.first().copied().unwrap_or(false);
    Ok(VirtualRule { ipv6, from, to, input, output, mark, table, priority })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> DeValue<'static> {
        DeValue::String(text.to_owned().into())
    }

    fn found<T: ToString>(result: Result<T, Wrong>) -> String {
        result.map_or_else(|wrong| format!("! {}", wrong.found), |meant| meant.to_string())
    }

    #[test]
    fn a_route_is_read_as_ip_reads_it() {
        let cases = [
            (
                "192.0.2.0/24 via 10.0.0.1 dev eth1 table 100 metric 5",
                "192.0.2.0/24 via 10.0.0.1 dev eth1 table 100 metric 5",
            ),
            ("192.0.2.7 table main dev eth1", "192.0.2.7/32 dev eth1"),
            ("default via 10.0.0.1 src 10.0.0.254", "0.0.0.0/0 via 10.0.0.1 src 10.0.0.254"),
            ("default via fe80::1 dev eth1", "::/0 via fe80::1 dev eth1"),
            ("default dev eth1", "0.0.0.0/0 dev eth1"),
            ("2001:db8::/32 dev eth1 table local", "2001:db8::/32 dev eth1 table 255"),
            ("unicast 10.0.0.0/8 via 10.0.0.1", "10.0.0.0/8 via 10.0.0.1"),
            ("blackhole 192.0.2.0/24 table 7", "blackhole 192.0.2.0/24 table 7"),
            ("", "! is empty"),
            ("prohibit", "! nothing follows `prohibit`"),
            ("192.0.2.1/24 dev eth1", "! `192.0.2.1/24` has bits beyond its prefix: 192.0.2.0/24 is meant"),
            ("192.0.2.0/33", "! `192.0.2.0/33` is not an address with or without a prefix length"),
            ("192.0.2.0/24 dev eth1 tabel 5", "! `tabel` is not known: did you mean `table`?"),
            ("192.0.2.0/24 nexthop via", "! `nexthop` is not known: via, dev, src, table, metric"),
            ("192.0.2.0/24 via", "! nothing follows `via`"),
            ("192.0.2.0/24 via eth1", "! `eth1` is not an address"),
            ("192.0.2.0/24 via fe80::1", "! fe80::1 is of another family than 192.0.2.0/24"),
            ("192.0.2.0/24 dev eth1 dev eth2", "! `dev` is there twice"),
            ("192.0.2.0/24 dev a-very-long-name", "! `a-very-long-name` is longer than 15 bytes"),
            ("192.0.2.0/24 dev eth1 table 0", "! there is no table 0"),
            ("192.0.2.0/24 dev eth1 table out", "! `out` is neither a number nor main, local, default"),
            ("192.0.2.0/24 dev eth1 metric -1", "! `-1` is not a number"),
            ("blackhole 192.0.2.0/24 dev eth1", "! `dev` means nothing where packets are not sent on"),
        ];
        for (written, wanted) in cases {
            assert_eq!(found(virtual_route(&text(written))), wanted, "{written}");
        }
    }

    #[test]
    fn a_rule_is_read_as_ip_reads_it() {
        let cases = [
            ("from 192.0.2.10 table 100 priority 50", "from 192.0.2.10/32 table 100 priority 50"),
            (
                "priority 5 table main from all to 2001:db8::/32",
                "from all to 2001:db8::/32 table 254 priority 5",
            ),
            (
                "from 10.0.0.0/8 to 192.0.2.0/24 iif eth0 oif eth1 fwmark 7 table 9 priority 8",
                "from 10.0.0.0/8 to 192.0.2.0/24 iif eth0 oif eth1 fwmark 7 table 9 priority 8",
            ),
            ("", "! it selects no packets: all would look there"),
            ("from all table 100 priority 50", "! it selects no packets: all would look there"),
            ("from 192.0.2.10 priority 50", "! `table` is missing"),
            ("from 192.0.2.10 table 100", "! `priority` is missing"),
            ("from 192.0.2.10 table 100 priority 0", "! priority 0 is the kernel's own"),
            ("from 192.0.2.10 to 2001:db8::1 table 100 priority 5", "! `from` and `to` are of two families"),
            (
                "from 192.0.2.10/24 table 100 priority 5",
                "! `192.0.2.10/24` has bits beyond its prefix: 192.0.2.0/24 is meant",
            ),
            (
                "not from 192.0.2.10 table 1 priority 5",
                "! `not` is not known: from, to, iif, oif, fwmark, table, priority",
            ),
        ];
        for (written, wanted) in cases {
            assert_eq!(found(virtual_rule(&text(written))), wanted, "{written}");
        }
    }
}
