//! The programs that measurements are made with, in the kernel, and the product's beside them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use aya::maps::{Array, PerCpuArray, ProgramArray};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{ProgramFd, TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode, loaded_programs};
use aya::{Ebpf, EbpfLoader};
use lb_common::counter::Counter;
use lb_common::script::{FRAME, Script, name, slot};
use nix::time::{ClockId, clock_gettime};

/// The loaded programs; their scripts are written here.
pub(crate) struct Programs {
    ebpf: Ebpf,
}

impl Programs {
    /// Loads the object at `path`.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let mut ebpf = Ebpf::load_file(path).with_context(|| format!("cannot load {}", path.display()))?;
        for (program, part) in ebpf.programs_mut() {
            let part: &mut Xdp = part.try_into()?;
            part.load().with_context(|| format!("the kernel refused {program}"))?;
        }
        let mut programs = Self { ebpf };
        for (slot, program) in [(slot::EMPTY, name::EMPTY), (slot::BARE, name::BARE)] {
            let program = programs.program(program)?.fd()?.try_clone()?;
            programs.put(slot, &program)?;
        }
        Ok(programs)
    }

    /// Loads another build of the product onto the maps pinned in `maps`, into the table.
    pub(crate) fn adopt(&mut self, object: &Path, maps: &Path) -> Result<()> {
        let mut loader = EbpfLoader::new();
        let pinned = std::fs::read_dir(maps).with_context(|| format!("cannot read {}", maps.display()))?;
        let names: Vec<_> = pinned.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        for name in &names {
            loader.map_pin_path(name, maps.join(name));
        }
        let mut ebpf =
            loader.load_file(object).with_context(|| format!("cannot load {}", object.display()))?;
        let program: &mut Xdp =
            ebpf.program_mut("xlb").context("the object has no program xlb")?.try_into()?;
        program.load().with_context(|| format!("the kernel refused {}", object.display()))?;
        let program = program.fd()?.try_clone()?;
        self.put(slot::OTHER, &program)
    }

    /// Puts a program into the table.
    pub(crate) fn put(&mut self, slot: u32, program: &ProgramFd) -> Result<()> {
        let map = self.ebpf.map_mut(name::PROGRAMS).context("no table of programs")?;
        Ok(ProgramArray::try_from(map)?.set(slot, program, 0)?)
    }

    /// Says what the next frames are.
    pub(crate) fn follow(&mut self, script: &Script) -> Result<()> {
        let map = self.ebpf.map_mut(name::SCRIPT).context("no script")?;
        Ok(Array::<_, Script>::try_from(map)?.set(0, script, 0)?)
    }

    /// Runs the script's program over so many frames that arrive on an interface of the calling thread's namespace: what it
    /// said last, and the processor time it all took.
    pub(crate) fn run(&self, frames: u32, ingress: u32) -> Result<(u32, Duration)> {
        self.test_run(name::CALL, frames, ingress, TestRunAttrs::new())
    }

    /// Sends so many frames out of an interface of the calling thread's namespace, `batch` at a time.
    pub(crate) fn send(&self, frames: u32, batch: u32, egress: u32) -> Result<Duration> {
        let live = TestRunAttrs::new().xdp_live_frames(batch);
        Ok(self.test_run(name::GENERATE, frames, egress, live)?.1)
    }

    fn test_run(
        &self,
        program: &str,
        frames: u32,
        interface: u32,
        attrs: TestRunAttrs,
    ) -> Result<(u32, Duration)> {
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context: Vec<u8> =
            [0, FRAME as u32, 0, interface, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        let program = self.program(program)?;
        let options = TestRunOptions {
            data_in: Some(&[0; FRAME]),
            ctx_in: Some(&context),
            repeat: frames,
            attrs,
            ..TestRunOptions::new()
        };
        let before = thread_time()?;
        let result = program.test_run(options).context("test run")?;
        Ok((result.return_value, thread_time()?.saturating_sub(before)))
    }

    /// Attaches a program to an interface of the calling thread's namespace, in native mode, until this is dropped.
    pub(crate) fn attach(&mut self, program: &str, interface: &str) -> Result<()> {
        let program = self.ebpf.program_mut(program).with_context(|| format!("no program {program}"))?;
        let program: &mut Xdp = program.try_into()?;
        program
            .attach(interface, XdpMode::Driver)
            .with_context(|| format!("cannot attach to {interface}"))?;
        Ok(())
    }

    /// Frames that have come to the sink.
    pub(crate) fn arrived(&self) -> Result<u64> {
        let map = self.ebpf.map(name::ARRIVED).context("no counter of arrivals")?;
        let counters = PerCpuArray::<_, Counter>::try_from(map)?.get(&0, 0)?;
        Ok(counters.iter().map(|counter| counter.packets).sum())
    }

    fn program(&self, name: &str) -> Result<&Xdp> {
        let program = self.ebpf.program(name).with_context(|| format!("no program {name}"))?;
        Ok(program.try_into()?)
    }
}

/// The program behind a pinned link.
pub(crate) fn behind(link: &Path) -> Result<ProgramFd> {
    let link: FdLink =
        PinnedLink::from_pin(link).with_context(|| format!("no link {}", link.display()))?.into();
    let id = link.info()?.program_id();
    let mut programs = loaded_programs().filter_map(Result::ok);
    let program = programs.find(|program| program.id() == id);
    Ok(program.ok_or_else(|| anyhow!("the program of the link is gone"))?.fd()?)
}

/// Processor time of the calling thread.
fn thread_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
