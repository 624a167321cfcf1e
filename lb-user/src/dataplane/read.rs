//! What the maps hold, read back: where a controller begins that finds them pinned.

use std::{io, net::SocketAddr};

use aya::{
    Pod,
    maps::{Array, IterableMap as _, MapData, MapError},
};
use lb_common::{
    addr::{Address as _, V4, V6},
    hash::HashKey,
    layout::VERSION,
    limits::NAME,
    mark::{MarkPrefix, MarkRules},
    service::{RealServer, ServiceKey, VipKey, interface, real_server},
};

use super::{
    batch,
    maps::{FamilyMaps, Maps},
};
use crate::plan::{Family, TableInput, Wanted};

/// Why the maps were not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// They are of another version.
    #[error(
        "the pinned maps have layout {0}, this xlb has layout {VERSION}; nothing was changed. Go back to the version that made \
         them, or run `xlb unload` first: that stops forwarding and forgets all connections"
    )]
    Version(u32),
    /// An array.
    #[error("cannot read a pinned map")]
    Map(#[from] MapError),
    /// A hash map.
    #[error("cannot read a pinned map")]
    Io(#[from] io::Error),
}

/// What the maps hold. Scheduling tables are not read: they are written anew in any case.
///
/// # Errors
///
/// [`ReadError`].
pub fn read(maps: &Maps) -> Result<Wanted, ReadError> {
    let settings = maps.settings.get(&0, 0)?;
    if settings.version != VERSION && settings.version != 0 {
        return Err(ReadError::Version(settings.version));
    }
    let names = elements(&maps.names, |name| name[0] != 0)?;
    let names: std::collections::BTreeMap<u32, String> =
        names.into_iter().map(|(index, name)| (index, from_bytes(&name))).collect();
    let mut virtual_servers = std::collections::BTreeMap::new();
    let mut scheduling = std::collections::BTreeMap::new();
    for &index in names.keys() {
        let server = maps.virtual_servers.get(&index, 0)?;
        if server.scheduling != 0 {
            virtual_servers.insert(index, server);
            scheduling.insert(index, TableInput::unknown());
        }
    }
    Ok(Wanted {
        hash_key: HashKey(settings.hash_key),
        ticks_per_second: settings.ticks_per_second,
        flags: settings.flags,
        interfaces: elements(&maps.interfaces, |value| value.flags & interface::ATTACHED != 0)?
            .into_iter()
            .collect(),
        concerns: elements(&maps.concerns, |bits| *bits != 0)?.into_iter().collect(),
        vlans: entries(maps.vlans.map())?.into_iter().collect(),
        virtual_macs: entries(maps.virtual_macs.map())?.into_iter().collect(),
        v4: family(&maps.v4)?,
        v6: family(&maps.v6)?,
        names,
        virtual_servers,
        scheduling,
        real_servers: elements(&maps.real_servers, |value| value.flags & real_server::PRESENT != 0)?
            .into_iter()
            .collect(),
    })
}

/// Address and port of a real server in the map. An IPv4 address leaves the last three words 0, which no IPv6 real server
/// does.
#[must_use]
pub fn address(server: &RealServer) -> SocketAddr {
    let ip = match server.address {
        [word, 0, 0, 0] => V4::from_wire(word).to_ip(),
        words => V6::from_wire(words).to_ip(),
    };
    SocketAddr::new(ip, server.port.number())
}

fn elements<V: Pod>(map: &Array<MapData, V>, used: impl Fn(&V) -> bool) -> io::Result<Vec<(u32, V)>> {
    let mut found = entries(map.map())?;
    found.retain(|(_, value)| used(value));
    found.sort_unstable_by_key(|(index, _)| *index);
    Ok(found)
}

fn family<A>(maps: &FamilyMaps<A>) -> Result<Family<A>, ReadError>
where
    A: Pod + Ord + lb_common::addr::Address,
    MarkRules<A>: Pod,
    lb_common::template::TemplateKey<A>: Pod,
    VipKey<A>: Pod + Ord,
    ServiceKey<A>: Pod + Ord,
    lb_common::connection::ConnectionKey<A>: Pod,
    lb_common::connection::Connection<A>: Pod,
    lb_common::half_open::Set<A>: Pod,
{
    let marks = maps.marks.iter().map(|entry| {
        let (key, rules) = entry?;
        Ok((MarkPrefix { length: key.prefix_len(), address: key.data() }, rules.used().to_vec()))
    });
    Ok(Family {
        marks: marks.collect::<Result<_, MapError>>()?,
        vips: entries(maps.vips.map())?.into_iter().collect(),
        services: entries(maps.services.map())?.into_iter().collect(),
        reverse: entries(maps.reverse.map())?.into_iter().collect(),
    })
}

fn entries<K: Pod, V: Pod>(map: &MapData) -> io::Result<Vec<(K, V)>> {
    let mut found = Vec::new();
    batch::for_each(map.fd(), |key, value| found.push((key, value)))?;
    Ok(found)
}

fn from_bytes(name: &[u8; NAME]) -> String {
    let length = name.iter().position(|&byte| byte == 0).unwrap_or(NAME);
    String::from_utf8_lossy(&name[..length]).into_owned()
}

#[cfg(test)]
mod tests {
    use lb_common::addr::Port;

    use super::*;

    #[test]
    fn a_real_server_is_read_back_under_the_address_it_was_written_with() {
        for text in [
            "10.0.0.11:8080",
            "255.255.255.255:65535",
            "10.0.0.11:0",
            "[2001:db8::1]:80",
            "[64:ff9b::a00:b]:1",
        ] {
            let wanted: SocketAddr = text.parse().unwrap();
            let words = match wanted.ip() {
                std::net::IpAddr::V4(ip) => [V4::from(ip).to_wire(), 0, 0, 0],
                std::net::IpAddr::V6(ip) => V6::from(ip).to_wire(),
            };
            let server =
                RealServer { address: words, port: Port::new(wanted.port()), ..RealServer::default() };
            assert_eq!(address(&server), wanted);
        }
    }

    #[test]
    fn a_name_ends_at_its_first_zero_or_fills_its_field() {
        let mut name = [0; NAME];
        name[..3].copy_from_slice(b"web");
        assert_eq!(from_bytes(&name), "web");
        assert_eq!(from_bytes(&[b'x'; NAME]), "x".repeat(NAME));
    }
}
