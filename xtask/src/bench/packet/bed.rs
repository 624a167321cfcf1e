//! Where packets are measured: the product as it runs, without its daemon, which would only disturb.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::{Map, MapData, PerCpuArray};
use lb_common::counter::Counter;
use lb_common::layout::map;
use lb_common::limits::{ATTACHED_INTERFACES, OUTCOME_ROW};
use lb_common::outcome::Outcome;
use lb_common::script::slot;
use lb_tests::{Daemon, Shape, Site};

use super::case::{Case, Kind};
use super::{Batch, Filled};
use crate::bench::Subject;
use crate::bench::frame::pass;
use crate::bench::host::{self, Interface, SILENT};
use crate::bench::programs::{self, Programs};

/// A site whose balancer forwards, and the programs to measure with.
pub(super) struct Bed {
    /// Killed.
    daemon: Daemon,
    site: Site,
    /// Connections of a family that there is room for.
    room: u32,
    bench: Bench,
}

/// What measurements work with, inside the balancer.
pub(super) struct Bench {
    programs: Programs,
    counters: PerCpuArray<MapData, Counter>,
    /// Where clients are.
    pub(super) outside: Interface,
    /// Where real servers are.
    pub(super) inside: Interface,
}

impl Bed {
    /// Makes one with room for so many connections.
    pub(super) fn make(subject: &Subject, object: &Path, kind: Kind, connections: u32) -> Result<Self> {
        let site = Site::create(Shape { servers: 0, ..Shape::default() })?;
        host::know_everybody(&site)?;
        // UDP has a quarter of the room.
        let room = (connections + connections / 16) * if kind == Kind::Udp { 4 } else { 1 };
        let global = format!("max_connections = {room}\n");
        let mut daemon = Daemon::start_with(&site, &subject.program, &global, &configuration())?;
        daemon.wait_all_up(std::time::Duration::from_secs(60))?;
        daemon.process.kill()?;

        let (outside, inside) =
            (Interface::of(&site.balancer, "outside")?, Interface::of(&site.balancer, "inside")?);
        let pins = site.bpffs.path().join("xlb");
        let mut programs = Programs::load(object)?;
        let product = programs::behind(&pins.join("links").join(outside.index.to_string()))?;
        programs.put(slot::PRODUCT, &product)?;
        if let Some(other) = &subject.against {
            programs.adopt(other, &pins.join("maps"))?;
        }
        let counters = Map::from_map_data(MapData::from_pin(pins.join("maps").join(map::OUTCOMES))?)?;
        let bench = Bench { programs, counters: counters.try_into()?, outside, inside };
        Ok(Self { daemon, site, room, bench })
    }

    /// With the daemon running again.
    pub(super) fn revived(self) -> Result<Filled> {
        let Self { mut daemon, site, room, bench: _ } = self;
        daemon.restart(&site)?;
        Ok(Filled { daemon, site, room })
    }

    /// Works in the balancer's namespace.
    pub(super) fn inside<T: Send>(&mut self, job: impl FnOnce(&mut Bench) -> Result<T> + Send) -> Result<T> {
        let bench = &mut self.bench;
        self.site.balancer.inside(move || job(bench))?
    }
}

impl Bench {
    /// Runs a case over all its clients and looks how they ended.
    pub(super) fn check(&mut self, case: &mut Case) -> Result<()> {
        let Some(expected) = case.outcome else { return Ok(()) };
        let frames = case.script.count.min(case.batch.max(case.pool));
        let before = self.ended()?;
        self.batch(case, case.program, frames)?;
        let after = self.ended()?;
        let ends: Vec<_> = Outcome::ALL
            .iter()
            .zip(after.iter().zip(&before).map(|(after, before)| after - before))
            .filter(|(_, packets)| *packets > 0)
            .collect();
        // The machine's own packets may be among them.
        ensure!(
            ends.contains(&(&expected, u64::from(frames))),
            "{frames} packets, which should end as {expected:?}, ended as {ends:?}"
        );
        Ok(())
    }

    /// One batch of a case, and one of the empty program.
    pub(super) fn measure(&mut self, case: &mut Case) -> Result<Batch> {
        if case.warm > 0 {
            self.batch(case, slot::EMPTY, case.warm)?;
        }
        let empty = self.batch(case, slot::EMPTY, case.batch)?;
        if case.warm > 0 {
            self.batch(case, case.program, case.warm)?;
        }
        let full = self.batch(case, case.program, case.batch)?;
        Ok(Batch::of(case.batch, empty, full))
    }

    /// The next frames of a case, through a program.
    fn batch(&mut self, case: &mut Case, program: u32, frames: u32) -> Result<std::time::Duration> {
        case.script.program = program;
        self.programs.follow(&case.script)?;
        let (_, time) = self.programs.run(frames, case.ingress)?;
        if program != slot::EMPTY {
            pass(&mut case.script, frames)?;
        }
        Ok(time)
    }

    /// Packets that have ended in each way.
    fn ended(&self) -> Result<Vec<u64>> {
        let mut ended = vec![0; Outcome::ALL.len()];
        for row in 0..ATTACHED_INTERFACES {
            for (number, packets) in (0..).zip(&mut ended) {
                let counters =
                    self.counters.get(&(row * OUTCOME_ROW + number), 0).context("outcome counters")?;
                *packets += counters.iter().map(|counter| counter.packets).sum::<u64>();
            }
        }
        Ok(ended)
    }
}

/// Virtual servers: one with one real server for each protocol and family, so that it is known who replies; one with many,
/// chosen by load, and one chosen by Maglev, for new connections; one that takes nothing it does not know.
fn configuration() -> String {
    let mut text = String::new();
    for (family, vip, network) in [("v4", "192.0.2.10", "10.0.0."), ("v6", "[2001:db8::10]", "[2001:db8:2::")]
    {
        let close = if family == "v6" { "]" } else { "" };
        for (name, port, protocol, servers, more) in [
            ("pool", 80, "tcp", 1, "scheduler = \"mh\""),
            ("pool-udp", 53, "udp", 1, "scheduler = \"mh\""),
            ("wlc", 81, "tcp", SILENT, ""),
            ("wlc-udp", 54, "udp", SILENT, ""),
            ("mh", 82, "tcp", SILENT, "scheduler = \"mh\""),
            ("strict", 83, "tcp", 1, "without_state = \"drop\""),
        ] {
            let to = if protocol == "udp" { 53 } else { 8080 };
            let servers: Vec<String> = (21..21 + servers)
                .map(|last| format!("{{ address = \"{network}{last}{close}:{}\" }}", to + port))
                .collect();
            text += &format!(
                "[[virtual_server]]\nname = \"{name}-{family}\"\naddress = \"{vip}:{port}\"\nprotocol = \"{protocol}\"\n{more}\n\
                 real_server = [{}]\n\n",
                servers.join(", ")
            );
        }
    }
    text
}
