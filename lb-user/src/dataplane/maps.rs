//! Every map of the data plane, once, by its name and type.

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, HashMap, Map, MapData, PerCpuArray},
};
use lb_common::{
    addr::{V4, V6},
    connection::{Connection, ConnectionKey, HalfOpen},
    counter::Counter,
    layout::map,
    limits::NAME,
    service::{Interface, Load, RealServer, ServiceKey, Settings, VipKey, VirtualServer},
};

use super::load::LoadError;

/// One slot pair of a scheduling table.
pub type SlotPair = [u32; 2];

/// A connection table.
pub type Connections<A> = HashMap<MapData, ConnectionKey<A>, Connection<A>>;

/// Maps of one address family.
pub struct FamilyMaps<A>
where
    VipKey<A>: aya::Pod,
    ServiceKey<A>: aya::Pod,
    ConnectionKey<A>: aya::Pod,
    Connection<A>: aya::Pod,
    HalfOpen<A>: aya::Pod,
{
    /// VIPs.
    pub vips: HashMap<MapData, VipKey<A>, u32>,
    /// Services.
    pub services: HashMap<MapData, ServiceKey<A>, u32>,
    /// The reverse index.
    pub reverse: HashMap<MapData, ServiceKey<A>, ServiceKey<A>>,
    /// Established TCP connections.
    pub tcp: Connections<A>,
    /// UDP connections.
    pub udp: Connections<A>,
    /// Unproven TCP connections.
    pub half_open: HashMap<MapData, ConnectionKey<A>, HalfOpen<A>>,
}

/// All maps.
pub struct Maps {
    /// Settings.
    pub settings: Array<MapData, Settings>,
    /// Interfaces by index.
    pub interfaces: Array<MapData, Interface>,
    /// Outcome counters.
    pub outcomes: PerCpuArray<MapData, Counter>,
    /// Virtual servers by index.
    pub virtual_servers: Array<MapData, VirtualServer>,
    /// Their names.
    pub names: Array<MapData, [u8; NAME]>,
    /// Their scheduling tables.
    pub scheduling: ArrayOfMaps<MapData, Array<MapData, SlotPair>>,
    /// Real servers by index.
    pub real_servers: Array<MapData, RealServer>,
    /// Their loads.
    pub loads: Array<MapData, Load>,
    /// Their traffic.
    pub traffic: PerCpuArray<MapData, Counter>,
    /// IPv4.
    pub v4: FamilyMaps<V4>,
    /// IPv6.
    pub v6: FamilyMaps<V6>,
}

fn take<M: TryFrom<Map>>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, LoadError>
where
    LoadError: From<M::Error>,
{
    Ok(ebpf.take_map(name).ok_or(LoadError::Missing(name))?.try_into()?)
}

macro_rules! family {
    ($ebpf:expr, $vips:ident, $services:ident, $reverse:ident, $tcp:ident, $udp:ident, $half_open:ident) => {
        FamilyMaps {
            vips: take($ebpf, map::$vips)?,
            services: take($ebpf, map::$services)?,
            reverse: take($ebpf, map::$reverse)?,
            tcp: take($ebpf, map::$tcp)?,
            udp: take($ebpf, map::$udp)?,
            half_open: take($ebpf, map::$half_open)?,
        }
    };
}

impl Maps {
    /// Takes the maps out of a loaded object.
    ///
    /// # Errors
    ///
    /// [`LoadError::Missing`] and [`LoadError::MapAccess`] when the object is not of this program.
    pub fn take(ebpf: &mut Ebpf) -> Result<Self, LoadError> {
        Ok(Self {
            settings: take(ebpf, map::SETTINGS)?,
            interfaces: take(ebpf, map::INTERFACES)?,
            outcomes: take(ebpf, map::OUTCOMES)?,
            virtual_servers: take(ebpf, map::VIRTUAL_SERVERS)?,
            names: take(ebpf, map::NAMES)?,
            scheduling: take(ebpf, map::SCHEDULING)?,
            real_servers: take(ebpf, map::REAL_SERVERS)?,
            loads: take(ebpf, map::LOADS)?,
            traffic: take(ebpf, map::TRAFFIC)?,
            v4: family!(ebpf, VIPS_V4, SERVICES_V4, REVERSE_V4, TCP_V4, UDP_V4, HALF_OPEN_V4),
            v6: family!(ebpf, VIPS_V6, SERVICES_V6, REVERSE_V6, TCP_V6, UDP_V6, HALF_OPEN_V6),
        })
    }
}
