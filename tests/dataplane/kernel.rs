//! The cases once more, with the program in the kernel beside the host: test runs in a network namespace that has the
//! interfaces, routes and neighbours of the world.

mod namespace;
mod tables;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use aya::{
    Ebpf, EbpfLoader,
    programs::{TestRun, TestRunOptions, Xdp},
};
use lb_common::{layout::map, limits::ATTACHED_INTERFACES, outcome::Disposition};
use lb_ebpf::{memory::Memory, verdict::Verdict};

use crate::cases;
use crate::lab::{CAPACITY, Lab, Outcomes, Twin, hex};
use crate::world;

/// The program and its maps. They are this process's and go with it.
pub(crate) struct Kernel {
    ebpf: Ebpf,
    /// Outcomes counted before the current lab.
    counted: Outcomes,
    /// Scheduling tables as last written: replacing one makes the kernel wait for every CPU.
    scheduling: BTreeMap<u32, Vec<u32>>,
}

/// Actions of XDP (linux/bpf.h).
const DROP: u32 = 1;
const PASS: u32 = 2;
const TX: u32 = 3;
const REDIRECT: u32 = 4;

/// The kernel takes no frame that is shorter than an Ethernet header.
const SHORTEST: usize = 14;

/// Entries of the tables that evict: more than any test makes, for a choice of the kernel's is none of the host's.
const EVICTING: u32 = 1 << 18;

impl Kernel {
    /// Loads the program; established connections take `capacity` entries.
    pub(crate) fn load(capacity: usize) -> Self {
        let object = std::env::var_os("XLB_OBJECT").map(|path| std::fs::read(path).unwrap());
        let object = object.as_deref().or(lb_user::dataplane::object::OBJECT);
        let object = object.expect("there is a kernel object: `cargo xtask build-ebpf` makes it");
        let mut loader = EbpfLoader::new();
        for (name, size) in [
            (map::VIPS_V4, 64),
            (map::VIPS_V6, 64),
            (map::SERVICES_V4, 64),
            (map::SERVICES_V6, 64),
            (map::VIRTUAL_SERVERS, world::VIRTUAL_SERVERS),
            (map::SCHEDULING, world::VIRTUAL_SERVERS),
            (map::CURSORS, world::VIRTUAL_SERVERS),
            (map::REAL_SERVERS, world::VIRTUAL_SERVERS * world::STRIDE),
            (map::LOADS, world::VIRTUAL_SERVERS * world::STRIDE),
            (map::TRAFFIC, world::VIRTUAL_SERVERS * world::STRIDE * 2),
            (map::TCP_V4, capacity as u32),
            (map::TCP_V6, capacity as u32),
            (map::HALF_OPEN_V4, EVICTING),
            (map::HALF_OPEN_V6, EVICTING),
            (map::UDP_V4, EVICTING),
            (map::UDP_V6, EVICTING),
            (map::REVERSE_V4, 64),
            (map::REVERSE_V6, 64),
        ] {
            loader.map_max_entries(name, size);
        }
        let mut ebpf = loader.load(object).unwrap();
        let program: &mut Xdp = ebpf.program_mut("xlb").unwrap().try_into().unwrap();
        program.load().unwrap();
        Self { ebpf, counted: Outcomes::new(), scheduling: BTreeMap::new() }
    }

    /// The action for a frame, and what became of it.
    fn run(&self, interface: u32, frame: &[u8]) -> (u32, Vec<u8>) {
        let program: &Xdp = self.ebpf.program("xlb").unwrap().try_into().unwrap();
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context: Vec<u8> =
            [0, frame.len() as u32, 0, interface, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut after = vec![0; frame.len()];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut after),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let result = program.test_run(options).unwrap();
        assert_eq!(result.data_size_out as usize, frame.len());
        (result.return_value, after)
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
        tables::configure(&mut self.ebpf, memory);
        for (index, table) in &memory.scheduling {
            if self.scheduling.get(index) != Some(table) {
                tables::schedule(&mut self.ebpf, *index, table);
                self.scheduling.insert(*index, table.clone());
            }
        }
        tables::prune(&mut self.ebpf, memory);
    }

    fn has_the_same(&mut self, memory: &Memory, outcomes: &Outcomes) {
        tables::compare(&mut self.ebpf, memory);
        let counted = tables::outcomes(&mut self.ebpf, ATTACHED_INTERFACES);
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

impl Kernel {
    /// Forgets every entry and what was counted: for the next case.
    pub(crate) fn clear(&mut self) {
        self.follow(&Memory::default());
        self.counted = tables::outcomes(&mut self.ebpf, ATTACHED_INTERFACES);
    }
}

#[test]
fn every_case_holds_in_the_kernel() {
    namespace::with_the_world(|| {
        let mut kernel = Kernel::load(CAPACITY);
        let failed: Vec<&str> = cases::all()
            .filter(|(name, case)| {
                kernel.clear();
                let holds = catch_unwind(AssertUnwindSafe(|| {
                    let mut lab = Lab::new(world::memory(CAPACITY), Some(&mut kernel));
                    case(&mut lab);
                    lab.check();
                }));
                if holds.is_err() {
                    eprintln!("in the kernel: {name}");
                }
                holds.is_err()
            })
            .map(|(name, _)| *name)
            .collect();
        assert!(failed.is_empty(), "{failed:#?}");
    });
}

pub(crate) use namespace::with_the_world;
