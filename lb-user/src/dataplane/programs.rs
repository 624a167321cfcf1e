//! The loaded programs, shared between the daemon, which attaches, and the sweep, which asks for the time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aya::{
    Ebpf,
    programs::{ProgramError, Xdp},
};

use super::{
    attach::{self, AttachError, Target},
    clock,
    load::{CLOCK, LoadError, PROGRAM},
    pins::Pins,
};
use crate::config::model::XdpMode;

/// The programs of one loaded object.
#[derive(Clone, Debug)]
pub struct Programs(Arc<Mutex<Ebpf>>);

impl Programs {
    /// Of a loaded object.
    #[must_use]
    pub fn new(ebpf: Ebpf) -> Self {
        Self(Arc::new(Mutex::new(ebpf)))
    }

    fn lock(&self) -> MutexGuard<'_, Ebpf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The present tick; none when the kernel does not answer.
    #[must_use]
    pub fn now(&self) -> Option<u32> {
        clock::read(xdp(&self.lock(), CLOCK).ok()?).ok()
    }

    /// The kernel's number of the packet program; none when it does not say.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        Some(xdp(&self.lock(), PROGRAM).ok()?.info().ok()?.id())
    }

    /// Attaches the packet program: see [`attach::attach`].
    ///
    /// # Errors
    ///
    /// [`AttachError`].
    pub fn attach(&self, target: &Target, mode: XdpMode, pins: &Pins) -> Result<(), AttachError> {
        let mut ebpf = self.lock();
        let program = ebpf.program_mut(PROGRAM).and_then(|program| <&mut Xdp>::try_from(program).ok());
        let missing = ProgramError::NotLoaded;
        let kernel = |source| AttachError::Kernel { interface: target.name.clone(), source };
        attach::attach(program.ok_or(missing).map_err(kernel)?, target, mode, pins)
    }
}

fn xdp<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<&'a Xdp, LoadError> {
    Ok(ebpf.program(name).ok_or(LoadError::Missing(name))?.try_into()?)
}
