//! The tables as BPF maps.
#![allow(unsafe_code, reason = "the map adapter; see ARCHITECTURE.md")]
// Values are plain integers that several CPUs and the controller read and write without locks. Each is written whole,
// and every interleaving of whole writes is one the data plane is prepared for: that is what the blocks below rely on
// when they turn a pointer that the kernel returned into a reference for the length of one packet.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, lpm_trie::Key},
    helpers::generated::{bpf_get_prandom_u32, bpf_jiffies64},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::{
    addr::{Protocol, V4, V6},
    concern,
    connection::{Connection, ConnectionKey, HalfOpen, NextHop},
    counter::{Counter, Row},
    limits::{
        ATTACHED_INTERFACES, FRAGMENTS, INTERFACES as INTERFACE_LIMIT, LEASES as LEASE_SLOTS, MARK_PREFIXES,
        NAME, OUTCOME_ROW,
    },
    mark::MarkRules,
    service::{Interface, Load, RealServer, ServiceKey, Settings, VipKey, VirtualServer, interface, lease},
    template::{Template, TemplateKey},
    vlan::VlanKey,
};
use lb_ebpf::{
    desk::{Desk, Workspace},
    fragment::{FragmentKey, Ports},
    limit::{self, Bucket},
    mark::Question,
    open::{Added, Pointed},
    select::Selection,
    tables::{Common, Refused, Route, Tables},
    verdict::Verdict,
};

use crate::{
    program,
    route::{query, route},
    xdp::Scratch,
};

/// `BPF_F_MMAPABLE`: the controller fills a table through a mapping.
const MMAPABLE: usize = 1 << 10;
/// `BPF_F_INNER_MAP`: tables of different lengths fit into one outer map.
const INNER_MAP: usize = 1 << 12;

/// `BPF_F_NO_PREALLOC`: memory is taken for what is there.
const NO_PREALLOC: usize = 1;

/// Sizes written as `SIZED` come from the configuration: the loader sets them.
const SIZED: usize = 1;

/// One element of a scheduling table. The kernel rounds the elements of a mapped array up to 8 bytes: two slots fill one.
type SlotPair = [u32; 2];
type SchedulingTable = Array<SlotPair, SIZED, { MMAPABLE | INNER_MAP }>;

#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
static CONCERNS: Array<u64, { concern::WORDS as usize }> = Array::new();
#[btf_map]
pub static INTERFACES: Array<Interface, { INTERFACE_LIMIT as usize }> = Array::new();
/// As many as there are interfaces.
#[btf_map]
static VLANS: HashMap<VlanKey, u32, { INTERFACE_LIMIT as usize }, NO_PREALLOC> = HashMap::new();
#[btf_map]
static OUTCOMES: PerCpuArray<Counter, { (ATTACHED_INTERFACES * OUTCOME_ROW) as usize }> = PerCpuArray::new();
#[btf_map]
static VIPS_V4: HashMap<VipKey<V4>, u32, SIZED> = HashMap::new();
#[btf_map]
static VIPS_V6: HashMap<VipKey<V6>, u32, SIZED> = HashMap::new();
#[btf_map]
static LEASES: Array<u32, { LEASE_SLOTS as usize }> = Array::new();
#[btf_map]
static SERVICES_V4: HashMap<ServiceKey<V4>, u32, SIZED> = HashMap::new();
#[btf_map]
static SERVICES_V6: HashMap<ServiceKey<V6>, u32, SIZED> = HashMap::new();
#[btf_map]
static VIRTUAL_SERVERS: Array<VirtualServer, SIZED> = Array::new();
#[btf_map]
static NAMES: Array<[u8; NAME], SIZED> = Array::new();
#[btf_map]
static SCHEDULING: ArrayOfMaps<SchedulingTable, SIZED> = ArrayOfMaps::new();
#[btf_map]
static CURSORS: Array<u32, SIZED> = Array::new();
#[btf_map]
static PRESSURE: Array<u32, 1> = Array::new();
#[btf_map]
static REAL_SERVERS: Array<RealServer, SIZED> = Array::new();
#[btf_map]
static LOADS: Array<Load, SIZED> = Array::new();
#[btf_map]
static TRAFFIC: PerCpuArray<Counter, SIZED> = PerCpuArray::new();
#[btf_map]
static TCP_V4: HashMap<ConnectionKey<V4>, Connection<V4>, SIZED> = HashMap::new();
#[btf_map]
static TCP_V6: HashMap<ConnectionKey<V6>, Connection<V6>, SIZED> = HashMap::new();
#[btf_map]
static HALF_OPEN_V4: LruHashMap<ConnectionKey<V4>, HalfOpen<V4>, SIZED> = LruHashMap::new();
#[btf_map]
static HALF_OPEN_V6: LruHashMap<ConnectionKey<V6>, HalfOpen<V6>, SIZED> = LruHashMap::new();
#[btf_map]
static UDP_V4: LruHashMap<ConnectionKey<V4>, Connection<V4>, SIZED> = LruHashMap::new();
#[btf_map]
static UDP_V6: LruHashMap<ConnectionKey<V6>, Connection<V6>, SIZED> = LruHashMap::new();
#[btf_map]
static REVERSE_V4: HashMap<ServiceKey<V4>, ServiceKey<V4>, SIZED> = HashMap::new();
#[btf_map]
static REVERSE_V6: HashMap<ServiceKey<V6>, ServiceKey<V6>, SIZED> = HashMap::new();
#[btf_map]
static FRAGMENTS_V4: LruHashMap<FragmentKey<V4>, Ports, { FRAGMENTS as usize }> = LruHashMap::new();
#[btf_map]
static FRAGMENTS_V6: LruHashMap<FragmentKey<V6>, Ports, { FRAGMENTS as usize }> = LruHashMap::new();
#[btf_map]
static ANSWERS: PerCpuArray<Bucket<{ limit::ANSWERS }>, 1> = PerCpuArray::new();
#[btf_map]
static MARKS_V4: LpmTrie<V4, MarkRules<V4>, { MARK_PREFIXES as usize }> = LpmTrie::new();
#[btf_map]
static MARKS_V6: LpmTrie<V6, MarkRules<V6>, { MARK_PREFIXES as usize }> = LpmTrie::new();
#[btf_map]
static TEMPLATES_V4: LruHashMap<TemplateKey<V4>, Template, SIZED> = LruHashMap::new();
#[btf_map]
static TEMPLATES_V6: LruHashMap<TemplateKey<V6>, Template, SIZED> = LruHashMap::new();
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

#[btf_map]
static WORKSPACE: PerCpuArray<Workspace, 1> = PerCpuArray::new();

/// This CPU's workspace for the one packet it works on.
#[inline(always)]
pub fn workspace() -> Option<&'static mut Workspace> {
    // SAFETY: one run of the program at a time on a CPU, and each takes it once. It is integers, zeroed at first.
    WORKSPACE.get_ptr_mut(0).map(|workspace| unsafe { &mut *workspace })
}

/// This CPU's scratch memory.
#[inline(always)]
pub fn scratch() -> Option<*mut Scratch> {
    SCRATCH.get_ptr_mut(0)
}

/// The maps, in the context of one packet: the kernel's routing is asked through it.
pub struct Maps<'a> {
    context: &'a XdpContext,
}

impl<'a> Maps<'a> {
    #[inline(always)]
    pub fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }

    /// Whether a frame may leave through the interface it came from by XDP_TX. On veth such a frame is lost unless its peer
    /// runs a program too; a redirect to the same interface is not.
    #[inline(always)]
    pub fn may_transmit(&self, interface: u32) -> bool {
        self.interface(interface).is_some_and(|interface| interface.flags & interface::VIRTUAL == 0)
    }

    /// Counts the end of a packet.
    #[inline(always)]
    pub fn count_end(&self, interface: u32, verdict: Verdict, bytes: u64) {
        let slot = self.interface(interface).map_or(0, |interface| u32::from(interface.slot));
        if let Some(counter) = OUTCOMES.get_ptr_mut(slot * OUTCOME_ROW + verdict.number()) {
            // SAFETY: this CPU's own copy.
            unsafe { (*counter).add(bytes) };
        }
    }
}

impl Common for Maps<'_> {
    #[inline(always)]
    fn now(&self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_jiffies64() as u32 }
    }

    #[inline(always)]
    fn settings(&self) -> Option<&Settings> {
        SETTINGS.get(0)
    }

    #[inline(always)]
    fn lease(&self, slot: u32) -> u32 {
        LEASES.get(slot).copied().unwrap_or(lease::NOT_HELD)
    }

    #[inline(always)]
    fn interface(&self, index: u32) -> Option<&Interface> {
        INTERFACES.get(index)
    }

    #[inline(always)]
    fn vlan(&self, key: &VlanKey) -> Option<u32> {
        // SAFETY: see the head of this file.
        unsafe { VLANS.get(key).copied() }
    }

    #[inline(always)]
    fn virtual_server(&self, index: u32) -> Option<&VirtualServer> {
        VIRTUAL_SERVERS.get(index)
    }

    #[inline(always)]
    fn real_server(&self, index: u32) -> Option<&RealServer> {
        REAL_SERVERS.get(index)
    }

    #[inline(always)]
    fn load(&mut self, index: u32) -> Option<&mut Load> {
        // SAFETY: see the head of this file.
        LOADS.get_ptr_mut(index).map(|load| unsafe { &mut *load })
    }

    #[inline(always)]
    fn scheduling(&self, virtual_server: u32, slot: u32) -> Option<u32> {
        let pair = SCHEDULING.get_value(virtual_server, &(slot / 2))?;
        Some(if slot % 2 == 0 { pair[0] } else { pair[1] })
    }

    #[inline(always)]
    fn next_turn(&mut self, virtual_server: u32) -> u32 {
        let Some(cursor) = CURSORS.get_ptr_mut(virtual_server) else { return 0 };
        // SAFETY: see the head of this file. Two CPUs that read the same turn give it twice, which the sequence evens out.
        unsafe {
            let turn = *cursor;
            *cursor = turn.wrapping_add(1);
            turn
        }
    }

    #[inline(always)]
    fn pressure(&mut self) -> Option<&mut u32> {
        // SAFETY: see the head of this file.
        PRESSURE.get_ptr_mut(0).map(|since| unsafe { &mut *since })
    }

    #[inline(always)]
    fn random(&mut self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn choose(&mut self, selection: &Selection) -> u32 {
        program::choose_apart(selection)
    }

    #[inline(always)]
    fn may_answer(&mut self, now: u32, ticks_per_second: u32) -> bool {
        // SAFETY: this CPU's own copy.
        ANSWERS.get_ptr_mut(0).is_some_and(|bucket| unsafe { (*bucket).take(now, ticks_per_second) })
    }

    #[inline(always)]
    fn score(&mut self, selection: &Selection, slot: u32) -> u64 {
        program::score_apart(selection, slot)
    }

    #[inline(always)]
    fn count(&mut self, real_server: u32, row: Row, bytes: u64) {
        if let Some(counter) = TRAFFIC.get_ptr_mut(row.index(real_server)) {
            // SAFETY: this CPU's own copy.
            unsafe { (*counter).add(bytes) };
        }
    }
}

/// `E2BIG`, what a full hash map answers.
const E2BIG: i32 = -7;

#[inline(always)]
const fn refused(error: i32) -> Refused {
    if error == E2BIG { Refused::Full } else { Refused::Exists }
}

/// Whether a bit of the filter is set; so it is where there is no filter.
#[inline(always)]
fn is_marked((word, bit): (u32, u64)) -> bool {
    CONCERNS.get(word).is_none_or(|bits| bits & bit != 0)
}

macro_rules! tables {
    (
        $family:ty,
        $tcp:ident,
        $half_open:ident,
        $udp:ident,
        $vips:ident,
        $services:ident,
        $reverse:ident,
        $fragments:ident,
        $marks:ident,
        $marked:path,
        $templates:ident,
        $point:path,
        $add:path
    ) => {
        impl Tables<$family> for Maps<'_> {
            #[inline(always)]
            fn concerns(&self, source: $family, destination: $family) -> bool {
                is_marked(concern::destination(destination)) || is_marked(concern::source(source))
            }

            #[inline(always)]
            fn is_vip(&self, address: $family) -> bool {
                $vips.get_ptr(VipKey(address)).is_some()
            }

            #[inline(always)]
            fn lease_of(&self, vip: $family) -> u32 {
                // SAFETY: see the head of this file.
                unsafe { $vips.get(VipKey(vip)).copied() }.unwrap_or(lease::NONE)
            }

            #[inline(always)]
            fn service(&self, key: &ServiceKey<$family>) -> Option<u32> {
                // SAFETY: see the head of this file.
                unsafe { $services.get(key).copied() }
            }

            #[inline(always)]
            fn mark_rules(&self, destination: $family) -> Option<&MarkRules<$family>> {
                $marks.get(&Key::new(8 * size_of::<$family>() as u32, destination))
            }

            #[inline(always)]
            fn marked(&self, question: &Question<$family>) -> u32 {
                $marked(question)
            }

            #[inline(always)]
            fn point(&mut self, desk: &mut Desk<$family>, real_server: u32, attempt: u32) -> Pointed {
                Pointed::from_number($point(self.context.ctx, desk, real_server, attempt))
            }

            #[inline(always)]
            fn add(&mut self, desk: &mut Desk<$family>) -> Added {
                Added::from_number($add(desk))
            }

            #[inline(always)]
            fn template(&mut self, key: &TemplateKey<$family>) -> Option<&mut Template> {
                // SAFETY: see the head of this file.
                $templates.get_ptr_mut(key).map(|template| unsafe { &mut *template })
            }

            #[inline(always)]
            fn insert_template(
                &mut self,
                key: &TemplateKey<$family>,
                template: &Template,
            ) -> Result<(), Refused> {
                $templates.insert(key, template, u64::from(BPF_NOEXIST)).map_err(refused)
            }

            #[inline(always)]
            fn remove_template(&mut self, key: &TemplateKey<$family>) {
                // Not there is as good as removed.
                let _ = $templates.remove(key);
            }

            #[inline(always)]
            fn reverse(&self, real_server: &ServiceKey<$family>) -> Option<&ServiceKey<$family>> {
                // SAFETY: see the head of this file.
                unsafe { $reverse.get(real_server) }
            }

            #[inline(always)]
            fn connection(
                &mut self,
                protocol: Protocol,
                key: &ConnectionKey<$family>,
            ) -> Option<&mut Connection<$family>> {
                let entry = match protocol {
                    Protocol::Tcp => $tcp.get_ptr_mut(key),
                    Protocol::Udp => $udp.get_ptr_mut(key),
                };
                // SAFETY: see the head of this file.
                entry.map(|entry| unsafe { &mut *entry })
            }

            #[inline(always)]
            fn insert(
                &mut self,
                protocol: Protocol,
                key: &ConnectionKey<$family>,
                entry: &Connection<$family>,
            ) -> Result<(), Refused> {
                match protocol {
                    Protocol::Tcp => $tcp.insert(key, entry, u64::from(BPF_NOEXIST)),
                    Protocol::Udp => $udp.insert(key, entry, u64::from(BPF_NOEXIST)),
                }
                .map_err(refused)
            }

            #[inline(always)]
            fn remove(&mut self, protocol: Protocol, key: &ConnectionKey<$family>) {
                // Not there is as good as removed.
                let _ = match protocol {
                    Protocol::Tcp => $tcp.remove(key),
                    Protocol::Udp => $udp.remove(key),
                };
            }

            #[inline(always)]
            fn half_open(&mut self, key: &ConnectionKey<$family>) -> Option<&mut HalfOpen<$family>> {
                // SAFETY: see the head of this file.
                $half_open.get_ptr_mut(key).map(|entry| unsafe { &mut *entry })
            }

            #[inline(always)]
            fn insert_half_open(
                &mut self,
                key: &ConnectionKey<$family>,
                entry: &HalfOpen<$family>,
            ) -> Result<(), Refused> {
                $half_open.insert(key, entry, u64::from(BPF_NOEXIST)).map_err(refused)
            }

            #[inline(always)]
            fn remove_half_open(&mut self, key: &ConnectionKey<$family>) {
                // Not there is as good as removed.
                let _ = $half_open.remove(key);
            }

            #[inline(always)]
            fn fragment(&self, key: &FragmentKey<$family>) -> Option<Ports> {
                // SAFETY: see the head of this file.
                unsafe { $fragments.get(key).copied() }
            }

            #[inline(always)]
            fn insert_fragment(&mut self, key: &FragmentKey<$family>, ports: &Ports) {
                // What is not remembered is dropped later and sent again.
                let _ = $fragments.insert(key, ports, u64::from(BPF_ANY));
            }

            #[inline(always)]
            fn route(
                &mut self,
                protocol: Protocol,
                key: &ConnectionKey<$family>,
                interface: u32,
                next_hop: &mut NextHop,
            ) -> Route {
                match query(protocol, key, interface) {
                    Some(query) => route(self.context, query, next_hop),
                    None => Route::NotForwarded,
                }
            }
        }
    };
}

tables!(
    V4,
    TCP_V4,
    HALF_OPEN_V4,
    UDP_V4,
    VIPS_V4,
    SERVICES_V4,
    REVERSE_V4,
    FRAGMENTS_V4,
    MARKS_V4,
    program::marked_apart_v4,
    TEMPLATES_V4,
    program::xlb_point_v4,
    program::xlb_add_v4
);
tables!(
    V6,
    TCP_V6,
    HALF_OPEN_V6,
    UDP_V6,
    VIPS_V6,
    SERVICES_V6,
    REVERSE_V6,
    FRAGMENTS_V6,
    MARKS_V6,
    program::marked_apart_v6,
    TEMPLATES_V6,
    program::xlb_point_v6,
    program::xlb_add_v6
);
