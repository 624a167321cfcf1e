//! Every map of the data plane, once, by its name and type.

use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray};
use lb_common::{
    addr::{V4, V6},
    connection::{Connection, ConnectionKey},
    counter::Counter,
    half_open::Set,
    layout::map,
    limits::NAME,
    mark::MarkRules,
    service::{Interface, Load, RealServer, ServiceKey, Settings, VipKey, VirtualServer},
    template::{Template, TemplateKey},
    virtual_mac::VirtualMacKey,
    vlan::VlanKey,
};

use super::{half_open::HalfOpenTable, pins::Pins};

/// A connection table.
pub type Connections<A> = HashMap<MapData, ConnectionKey<A>, Connection<A>>;

/// Maps of one address family.
pub struct FamilyMaps<A>
where
    VipKey<A>: aya::Pod,
    ServiceKey<A>: aya::Pod,
    ConnectionKey<A>: aya::Pod,
    Connection<A>: aya::Pod,
    Set<A>: aya::Pod,
    A: aya::Pod,
    MarkRules<A>: aya::Pod,
    TemplateKey<A>: aya::Pod,
{
    /// VIPs.
    pub vips: HashMap<MapData, VipKey<A>, u32>,
    /// Services.
    pub services: HashMap<MapData, ServiceKey<A>, u32>,
    /// The reverse index.
    pub reverse: HashMap<MapData, ServiceKey<A>, ServiceKey<A>>,
    /// The classifier of firewall marks.
    pub marks: LpmTrie<MapData, A, MarkRules<A>>,
    /// Templates of persistence.
    pub templates: HashMap<MapData, TemplateKey<A>, Template>,
    /// Established TCP connections.
    pub tcp: Connections<A>,
    /// UDP connections.
    pub udp: Connections<A>,
    /// Unproven TCP connections.
    pub half_open: HalfOpenTable<A>,
}

/// All maps.
pub struct Maps {
    /// Settings.
    pub settings: Array<MapData, Settings>,
    /// When the established tables were last found full.
    pub pressure: Array<MapData, u32>,
    /// Ends of leases by slot.
    pub leases: Array<MapData, u32>,
    /// The filter before all tables.
    pub concerns: Array<MapData, u64>,
    /// Interfaces by index.
    pub interfaces: Array<MapData, Interface>,
    /// VLAN devices by where their frames arrive.
    pub vlans: HashMap<MapData, VlanKey, u32>,
    /// Slots of the leases of virtual routers with a MAC address of their own.
    pub virtual_macs: HashMap<MapData, VirtualMacKey, u32>,
    /// Outcome counters.
    pub outcomes: PerCpuArray<MapData, Counter>,
    /// Virtual servers by index.
    pub virtual_servers: Array<MapData, VirtualServer>,
    /// Their names.
    pub names: Array<MapData, [u8; NAME]>,
    /// Their scheduling tables, an array of arrays.
    pub scheduling: MapData,
    /// Positions in their sequences; the data plane's own.
    pub cursors: Array<MapData, u32>,
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

pub(super) fn open<M: TryFrom<Map, Error = MapError>>(pins: &Pins, name: &str) -> Result<M, MapError> {
    Map::from_map_data(MapData::from_pin(pins.map(name))?)?.try_into()
}

macro_rules! family {
    (
        $pins:expr, $vips:ident, $services:ident, $reverse:ident, $marks:ident, $templates:ident, $tcp:ident,
        $udp:ident, $half_open:ident
    ) => {
        FamilyMaps {
            vips: open($pins, map::$vips)?,
            services: open($pins, map::$services)?,
            reverse: open($pins, map::$reverse)?,
            marks: open($pins, map::$marks)?,
            templates: open($pins, map::$templates)?,
            tcp: open($pins, map::$tcp)?,
            udp: open($pins, map::$udp)?,
            half_open: HalfOpenTable::open($pins, map::$half_open)?,
        }
    };
}

impl Maps {
    /// Opens the maps where [`super::load::load`] has pinned them.
    ///
    /// # Errors
    ///
    /// A map is not there or is of another kind.
    pub fn open(pins: &Pins) -> Result<Self, MapError> {
        Ok(Self {
            settings: open(pins, map::SETTINGS)?,
            pressure: open(pins, map::PRESSURE)?,
            leases: open(pins, map::LEASES)?,
            concerns: open(pins, map::CONCERNS)?,
            interfaces: open(pins, map::INTERFACES)?,
            vlans: open(pins, map::VLANS)?,
            virtual_macs: open(pins, map::VIRTUAL_MACS)?,
            outcomes: open(pins, map::OUTCOMES)?,
            virtual_servers: open(pins, map::VIRTUAL_SERVERS)?,
            names: open(pins, map::NAMES)?,
            scheduling: MapData::from_pin(pins.map(map::SCHEDULING))?,
            cursors: open(pins, map::CURSORS)?,
            real_servers: open(pins, map::REAL_SERVERS)?,
            loads: open(pins, map::LOADS)?,
            traffic: open(pins, map::TRAFFIC)?,
            v4: family!(
                pins,
                VIPS_V4,
                SERVICES_V4,
                REVERSE_V4,
                MARKS_V4,
                TEMPLATES_V4,
                TCP_V4,
                UDP_V4,
                HALF_OPEN_V4
            ),
            v6: family!(
                pins,
                VIPS_V6,
                SERVICES_V6,
                REVERSE_V6,
                MARKS_V6,
                TEMPLATES_V6,
                TCP_V6,
                UDP_V6,
                HALF_OPEN_V6
            ),
        })
    }
}
