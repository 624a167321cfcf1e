//! The cases once more, with the program in the kernel beside the host: test runs in a network namespace that has the
//! interfaces, routes and neighbours of the world. The product's own loader and writer put it there.

mod collision;
mod crowd;
mod flood;
mod loading;
mod namespace;
mod sweep;
mod tables;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aya::{
    Ebpf,
    maps::Array,
    programs::{TestRun, TestRunOptions, Xdp},
};
use lb_common::{
    counter::Counter,
    layout::map,
    outcome::{Disposition, Outcome},
};
use lb_ebpf::{memory::Memory, verdict::Verdict};
use lb_user::{
    dataplane::{
        clock,
        load::{self, PROGRAM},
        maps::Maps,
        pins::Pins,
        sizes::Sizes,
        write,
    },
    plan::{self, Wanted},
};

use crate::cases;
use crate::lab::{CONNECTIONS, Lab, Outcomes, Twin, hex};
use crate::packet::Packet;
use crate::world::{self, arriving};

pub(crate) use namespace::with_the_world;

/// The program, its maps, and what was written to them.
pub(crate) struct Kernel {
    ebpf: Ebpf,
    maps: Maps,
    wanted: Wanted,
    /// Scheduling tables as they are; a picture says only what they are made of.
    scheduling: BTreeMap<u32, Vec<u32>>,
    /// Outcomes counted before the current lab.
    counted: Outcomes,
    /// Frames it was given.
    frames: u32,
}

/// Actions of XDP (linux/bpf.h).
const DROP: u32 = 1;
const PASS: u32 = 2;
const TX: u32 = 3;
const REDIRECT: u32 = 4;

/// The kernel takes no frame that is shorter than an Ethernet header.
const SHORTEST: usize = 14;

/// Bytes that an answer is longer than what it quotes, at most: headers of IPv6 and ICMPv6.
const GROWTH: usize = 48;

/// Frames between two times that the program's answers are allowed anew: fewer than it gives at once.
const REFILL: u32 = 500;

/// Sizes with room for so many established connections of each family and for the world.
fn sizes(connections: usize) -> Sizes {
    Sizes {
        connections: connections as u32,
        virtual_servers: world::VIRTUAL_SERVERS,
        real_servers: world::VIRTUAL_SERVERS * world::STRIDE,
    }
}

impl Kernel {
    /// Loads the program.
    pub(crate) fn load(connections: usize, pins: &Pins) -> Self {
        let ebpf = load::load(&sizes(connections), pins).unwrap().ebpf;
        let maps = Maps::open(pins).unwrap();
        Self {
            ebpf,
            maps,
            wanted: Wanted::default(),
            scheduling: BTreeMap::new(),
            counted: Outcomes::new(),
            frames: 0,
        }
    }

    /// Loads the program and writes the world.
    fn with_world(connections: usize, pins: &Pins) -> Self {
        let mut kernel = Self::load(connections, pins);
        kernel.follow(&world::memory(connections));
        kernel
    }

    /// The kernel's clock.
    fn now(&self) -> u32 {
        clock::read(self.ebpf.program(load::CLOCK).unwrap().try_into().unwrap()).unwrap()
    }

    /// The action for a frame, and what became of it.
    fn run(&self, interface: u32, frame: &[u8]) -> (u32, Vec<u8>) {
        let program: &Xdp = self.ebpf.program(PROGRAM).unwrap().try_into().unwrap();
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context: Vec<u8> =
            [0, frame.len() as u32, 0, interface, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut after = vec![0; frame.len() + GROWTH];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut after),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let result = program.test_run(options).unwrap();
        after.truncate(result.data_size_out as usize);
        (result.return_value, after)
    }

    /// The action for a packet that arrives from its neighbour, and what became of it.
    fn send(&self, packet: &Packet) -> (u32, Vec<u8>) {
        let (wire, packet) = arriving(packet);
        self.run(wire.index.into(), &packet.bytes())
    }

    /// Packets that ended so, on all interfaces.
    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        let counted = tables::outcomes(&self.maps);
        counted
            .iter()
            .filter(|((_, end), _)| *end == outcome)
            .map(|(_, Counter { packets, .. })| packets)
            .sum()
    }

    /// Forgets every entry and what was counted: for the next case. What is wanted stays, since replacing scheduling tables
    /// takes the kernel long.
    pub(crate) fn clear(&mut self) {
        tables::follow(&mut self.maps, &Memory::default(), 0);
        tables::forget_fragments(&mut self.ebpf);
        self.counted = tables::outcomes(&self.maps);
    }

    /// When the kernel has found its tables full is told by its own clock; a case starts with tables that never were.
    fn pressure(&mut self) -> Array<&mut aya::maps::MapData, u32> {
        self.ebpf.map_mut(map::PRESSURE).unwrap().try_into().unwrap()
    }

    /// Positions in the sequences are the data plane's own; a case starts from those of the host.
    fn cursors(&mut self) -> Array<&mut aya::maps::MapData, u32> {
        self.ebpf.map_mut(map::CURSORS).unwrap().try_into().unwrap()
    }
}

/// What the program may answer. Out of the interface it came from there are two ways, and the driver decides which works.
const fn actions(interface: u32, verdict: Verdict) -> &'static [u32] {
    match verdict.disposition() {
        Disposition::Pass | Disposition::Kernel => &[PASS],
        Disposition::Drop => &[DROP],
        Disposition::Send if verdict.interface() as u32 == interface => &[TX, REDIRECT],
        Disposition::Send => &[REDIRECT],
    }
}

impl Twin for Kernel {
    fn agrees(&mut self, interface: u32, frame: &[u8], verdict: Verdict, after: &[u8]) -> bool {
        self.frames += 1;
        if self.frames.is_multiple_of(REFILL) {
            tables::allow_answers(&mut self.ebpf);
        }
        if frame.len() < SHORTEST {
            return false;
        }
        let (said, bytes) = self.run(interface, frame);
        let expected = actions(interface, verdict);
        assert!(
            expected.contains(&said) && bytes == after,
            "on interface {interface}\n  frame {}\n   host {expected:?} {} {verdict:?}\n kernel {said} {}",
            hex(frame),
            hex(after),
            hex(&bytes)
        );
        true
    }

    fn follow(&mut self, memory: &Memory) {
        let wanted = tables::wanted(memory);
        write::apply(&mut self.maps, &plan::diff(&self.wanted, &wanted)).unwrap();
        self.wanted = wanted;
        let changed =
            memory.scheduling.iter().filter(|(index, table)| self.scheduling.get(*index) != Some(*table));
        write::put_tables(&mut self.maps, changed.map(|(index, table)| (*index, table.clone()))).unwrap();
        self.scheduling.clone_from(&memory.scheduling);
        let now = self.now();
        tables::follow(&mut self.maps, memory, now);
        if memory.pressure == 0 {
            self.pressure().set(0, 0, 0).unwrap();
        }
        let mut cursors = self.cursors();
        for index in memory.virtual_servers.keys() {
            cursors.set(*index, memory.cursors.get(index).map_or(0, Cell::get), 0).unwrap();
        }
    }

    fn has_the_same(&mut self, memory: &Memory, outcomes: &Outcomes) {
        tables::compare(&self.maps, memory);
        for (index, position) in &memory.cursors {
            assert_eq!(self.cursors().get(index, 0).unwrap(), position.get(), "of virtual server {index}");
        }
        let counted = tables::outcomes(&self.maps);
        for (key, now) in &counted {
            let before = self.counted.get(key).copied().unwrap_or_default();
            let host = outcomes.get(key).copied().unwrap_or_default();
            assert_eq!(
                (now.packets - before.packets, now.bytes - before.bytes),
                (host.packets, host.bytes),
                "{key:?}"
            );
        }
        assert!(outcomes.keys().all(|key| counted.contains_key(key)), "every outcome is counted");
    }
}

#[test]
fn every_case_holds_in_the_kernel() {
    with_the_world(|pins| {
        let mut kernel = Kernel::load(CONNECTIONS, pins);
        let failed: Vec<&str> = cases::all()
            .filter(|(name, case)| {
                kernel.clear();
                let holds = catch_unwind(AssertUnwindSafe(|| {
                    let mut lab = Lab::new(world::memory(CONNECTIONS), Some(&mut kernel));
                    case(&mut lab);
                    lab.check();
                }));
                println!("{name}: {}", if holds.is_ok() { "holds" } else { "fails" });
                holds.is_err()
            })
            .map(|(name, _)| *name)
            .collect();
        assert!(failed.is_empty(), "{failed:#?}");
    });
}
