//! What clients ask for at the VIP, in the words of each that balances.

use std::net::{Ipv4Addr, SocketAddr};

use lb_tests::site::VIP4;

use super::host::SILENT;

/// The first of the silent real servers.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 21);

/// A virtual server and its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Service {
    /// `udp` or `tcp`.
    protocol: &'static str,
    /// Its port at the VIP.
    port: u16,
    /// Its port at the real servers.
    server_port: u16,
    servers: u16,
    /// As xlb and IPVS call it.
    scheduler: &'static str,
}

/// UDP, with one real server: it is known who replies.
pub(super) const UDP: Service =
    Service { protocol: "udp", port: 53, server_port: 5300, servers: 1, scheduler: "wlc" };
/// TCP, with one real server.
pub(super) const TCP: Service =
    Service { protocol: "tcp", port: 80, server_port: 8080, servers: 1, scheduler: "wlc" };
/// With real servers that get connections in turn.
pub(super) const TURNS: Service =
    Service { protocol: "udp", port: 54, server_port: 54, servers: SILENT, scheduler: "wrr" };
/// With real servers that a hash of the client's address chooses from.
pub(super) const HASH: Service = Service { port: 55, server_port: 55, scheduler: "sh", ..TURNS };
/// The same by Maglev's table.
pub(super) const MAGLEV: Service = Service { port: 56, server_port: 56, scheduler: "mh", ..TURNS };
/// TCP, with real servers that get connections in turn.
pub(super) const TCP_TURNS: Service = Service { protocol: "tcp", ..TURNS };

const ALL: [Service; 6] = [UDP, TCP, TURNS, HASH, MAGLEV, TCP_TURNS];

impl Service {
    /// Where clients find it.
    pub(super) fn vip(self) -> SocketAddr {
        (VIP4, self.port).into()
    }

    /// Its first real server, or its only one.
    pub(super) fn server(self) -> SocketAddr {
        (FIRST, self.server_port).into()
    }

    fn servers(self) -> impl Iterator<Item = SocketAddr> {
        let address = move |number: u16| Ipv4Addr::from_bits(FIRST.to_bits() + u32::from(number));
        (0..self.servers).map(move |number| (address(number), self.server_port).into())
    }
}

/// For xlb: the part of its configuration below `[global]`.
pub(super) fn xlb() -> String {
    let describe = |service: Service| {
        let Service { protocol, port, scheduler, .. } = service;
        let vip = service.vip();
        let servers: Vec<String> =
            service.servers().map(|server| format!("{{ address = \"{server}\" }}")).collect();
        format!(
            "[[virtual_server]]\nname = \"{protocol}-{port}\"\naddress = \"{vip}\"\nprotocol = \"{protocol}\"\n\
             scheduler = \"{scheduler}\"\nreal_server = [{}]\n\n",
            servers.join(", ")
        )
    };
    ALL.map(describe).concat()
}

/// For nft: DNAT, to one of several real servers by turns or by a hash.
pub(super) fn nftables() -> String {
    let rule = |service: Service| {
        let (protocol, port) = (service.protocol, service.port);
        let to = if service.servers == 1 {
            service.server().to_string()
        } else {
            let turns: Vec<String> = (0..)
                .zip(service.servers())
                .map(|(turn, server): (u16, _)| format!("{turn} : {}", server.ip()))
                .collect();
            let choice = if service.scheduler == "wrr" { "numgen inc" } else { "jhash ip saddr" };
            format!("{choice} mod {} map {{ {} }}", service.servers, turns.join(", "))
        };
        format!("ip daddr {VIP4} {protocol} dport {port} dnat to {to}; ")
    };
    let rules = ALL.map(rule).concat();
    format!("table ip nat {{ chain prerouting {{ type nat hook prerouting priority dstnat; {rules}}}; }}")
}

/// For nft, beside [`nftables`]: packets of connections known both ways go by the flow table.
pub(super) const FLOWTABLE: &str = "table inet filter { \
     flowtable fast { hook ingress priority 0; devices = { outside, inside }; }; \
     chain forward { type filter hook forward priority 0; ct state established flow add @fast; }; }";

/// For ipvsadm: its commands.
pub(super) fn ipvs() -> Vec<String> {
    let commands = |service: Service| {
        let place = format!("--{}-service {}", service.protocol, service.vip());
        let add = format!("--add-service {place} --scheduler {}", service.scheduler);
        let server = move |server| format!("--add-server {place} --real-server {server} --masquerading");
        std::iter::once(add).chain(service.servers().map(server))
    };
    ALL.into_iter().flat_map(commands).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_told_of_the_same_virtual_servers() {
        assert!(xlb().contains(
            "name = \"udp-53\"\naddress = \"192.0.2.10:53\"\nprotocol = \"udp\"\nscheduler = \"wlc\"\n\
             real_server = [{ address = \"10.0.0.21:5300\" }]\n"
        ));
        let rules = nftables();
        assert!(rules.contains("ip daddr 192.0.2.10 tcp dport 80 dnat to 10.0.0.21:8080;"), "{rules}");
        assert!(
            rules.contains("udp dport 54 dnat to numgen inc mod 10 map { 0 : 10.0.0.21, 1 : 10.0.0.22,"),
            "{rules}"
        );
        let commands = ipvs();
        assert_eq!(commands.len(), 6 + 2 + 40);
        assert_eq!(commands[0], "--add-service --udp-service 192.0.2.10:53 --scheduler wlc");
        let last = "--add-server --tcp-service 192.0.2.10:54 --real-server 10.0.0.30:54 --masquerading";
        assert_eq!(commands[47], last);
    }
}
