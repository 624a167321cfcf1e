//! The tables as BPF maps.
#![allow(unsafe_code, reason = "the map adapter; see ARCHITECTURE.md")]
// Values are plain integers that several CPUs and the controller read and write without locks. Each is written whole,
// and every interleaving of whole writes is one the data plane is prepared for: that is what the blocks below rely on
// when they turn a pointer that the kernel returned into a reference for the length of one packet.

mod family;
mod half_open;

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray},
    helpers::generated::{bpf_get_prandom_u32, bpf_jiffies64},
    macros::btf_map,
    programs::XdpContext,
};
use lb_common::{
    addr::{V4, V6},
    concern,
    connection::{Connection, ConnectionKey},
    counter::{Counter, Row},
    half_open::{Placement, Set},
    limits::{
        ATTACHED_INTERFACES, FRAGMENTS, INTERFACES as INTERFACE_LIMIT, LEASES as LEASE_SLOTS, MARK_PREFIXES,
        NAME, OUTCOME_ROW,
    },
    mark::MarkRules,
    service::{Interface, Load, RealServer, ServiceKey, Settings, VipKey, VirtualServer, interface, lease},
    template::{Template, TemplateKey},
    virtual_mac::VirtualMacKey,
    vlan::VlanKey,
};
use lb_ebpf::{
    desk::{Desk, Desks, Workspace},
    fragment::{FragmentKey, Ports},
    limit::{self, Bucket},
    select::Selection,
    tables::{Common, Way},
    verdict::Verdict,
};

use crate::{program, xdp::Scratch};

/// `BPF_F_MMAPABLE`: the controller works on a table through a mapping.
const MMAPABLE: usize = 1 << 10;
/// `BPF_F_INNER_MAP`: tables of different lengths fit into one outer map.
const INNER_MAP: usize = 1 << 12;

/// `BPF_F_NO_PREALLOC`: memory is taken for what is there.
const NO_PREALLOC: usize = 1;

/// Sizes written as `SIZED` come from the configuration: the loader sets them.
const SIZED: usize = 1;

/// Ways to real servers that a CPU remembers; 40 KiB of them.
const WAY_SLOTS: u32 = 1024;

/// One element of a scheduling table. The kernel rounds the elements of a mapped array up to 8 bytes: two slots fill one.
type SlotPair = [u32; 2];
type SchedulingTable = Array<SlotPair, SIZED, { MMAPABLE | INNER_MAP }>;

/// Half-open connections, a set to an element. The controller reads and removes them through a mapping.
type HalfOpenTable<A> = Array<Set<A>, SIZED, MMAPABLE>;

#[btf_map]
static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
static CONCERNS: Array<u64, { concern::WORDS as usize }> = Array::new();
#[btf_map]
pub static INTERFACES: Array<Interface, { INTERFACE_LIMIT as usize }> = Array::new();
/// As many as there are interfaces.
#[btf_map]
static VLANS: HashMap<VlanKey, u32, { INTERFACE_LIMIT as usize }, NO_PREALLOC> = HashMap::new();
/// As many as there are leases.
#[btf_map]
static VIRTUAL_MACS: HashMap<VirtualMacKey, u32, { LEASE_SLOTS as usize }, NO_PREALLOC> = HashMap::new();
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
static HALF_OPEN_V4: HalfOpenTable<V4> = Array::new();
#[btf_map]
static HALF_OPEN_V6: HalfOpenTable<V6> = Array::new();
#[btf_map]
static PLACEMENT: Array<Placement, 1> = Array::new();
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
static WAYS: PerCpuArray<Way, { WAY_SLOTS as usize }> = PerCpuArray::new();
#[btf_map]
static SCRATCH: PerCpuArray<Scratch, 1> = PerCpuArray::new();

#[btf_map]
static WORKSPACE: PerCpuArray<Workspace, 1> = PerCpuArray::new();

/// This CPU's workspace for the one packet it works on.
#[inline(always)]
pub fn workspace() -> Option<&'static mut Workspace> {
    // SAFETY: one run of the program at a time on a CPU, whose steps take it one after the other. It is integers, zeroed at
    // first.
    WORKSPACE.get_ptr_mut(0).map(|workspace| unsafe { &mut *workspace })
}

/// This CPU's desks, looked up for the packet that needs one.
pub struct Workspaces;

impl Desks<V4> for Workspaces {
    #[inline(always)]
    fn desk(&mut self) -> Option<&mut Desk<V4>> {
        workspace().map(|workspace| &mut workspace.v4)
    }
}

impl Desks<V6> for Workspaces {
    #[inline(always)]
    fn desk(&mut self) -> Option<&mut Desk<V6>> {
        workspace().map(|workspace| &mut workspace.v6)
    }
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

    /// Counts the end of a packet in the row of [`lb_common::service::Interface::slot`].
    #[inline(always)]
    pub fn count_end(&self, slot: u16, verdict: Verdict, bytes: u64) {
        if let Some(counter) = OUTCOMES.get_ptr_mut(u32::from(slot) * OUTCOME_ROW + verdict.number()) {
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
    fn virtual_mac(&self, key: &VirtualMacKey) -> Option<u32> {
        // SAFETY: see the head of this file.
        unsafe { VIRTUAL_MACS.get(key).copied() }
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
    fn way(&mut self, real_server: u32) -> Option<&mut Way> {
        // SAFETY: this CPU's own.
        WAYS.get_ptr_mut(real_server & (WAY_SLOTS - 1)).map(|way| unsafe { &mut *way })
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
