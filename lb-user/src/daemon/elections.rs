//! VRRP on a thread of its own, so that neither it nor the daemon waits for the other.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use lb_common::limits::LEASES;
use nix::unistd::{User, geteuid};
use tokio::{
    sync::{mpsc, oneshot},
    time::{self, Instant},
};

use crate::{
    config::{model::Config, vrrp::Vrrp},
    dataplane::{leases::Leases, write::WriteError},
    vrrp::{
        state::State,
        status::InstanceStatus,
        task::{self, Command, Event, ScriptUser},
    },
};

/// Commands that wait for the thread.
const COMMANDS: usize = 1024;
/// The thread answers within a packet's time; one that does not hangs.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longer than notify scripts may take at the end.
const PATIENCE_AT_END: Duration = Duration::from_secs(10);
/// How often the data plane is told the time until which nothing lapses.
const REFRESH: Duration = Duration::from_secs(3600);

/// What the daemon hears of VRRP.
#[derive(Debug)]
pub(super) enum Heard {
    /// Something happened.
    Event(Event),
    /// It cannot go on.
    Failed(io::Error),
}

/// Slots of leases, by instance. A name keeps its slot, also while the instance is gone: its last lease may still be there.
#[derive(Clone, Debug, Default)]
pub(super) struct Slots(Arc<Mutex<BTreeMap<String, u32>>>);

impl Slots {
    /// The slot of every virtual address of a configuration.
    pub(super) fn assign(&self, config: &Vrrp) -> BTreeMap<IpAddr, u32> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut addresses = BTreeMap::new();
        for instance in &config.instances {
            let slot = slots.get(&instance.name).copied().or_else(|| {
                if slots.len() >= LEASES as usize - 1 {
                    slots.retain(|name, _| config.instances.iter().any(|each| each.name == *name));
                }
                let slot = (1..LEASES).find(|slot| !slots.values().any(|taken| taken == slot))?;
                slots.insert(instance.name.clone(), slot);
                Some(slot)
            });
            // There are no more instances than slots: the configuration says so.
            let slot = slot.unwrap_or(LEASES - 1);
            addresses.extend(instance.virtual_ipaddress.iter().map(|each| (each.address.addr(), slot)));
        }
        addresses
    }

    /// The slot of an instance that has one.
    pub(super) fn of(&self, instance: &str) -> Option<u32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(instance).copied()
    }
}

/// The elections of this node; there is a thread once there is something to elect.
pub(super) struct Elections {
    running: Option<Running>,
    heard: mpsc::UnboundedSender<Heard>,
    slots: Slots,
    ready: bool,
    /// As last told.
    quorums: HashMap<String, bool>,
    /// When the state of an instance last changed.
    pub(super) since: HashMap<String, SystemTime>,
}

struct Running {
    commands: mpsc::Sender<Command>,
    thread: thread::JoinHandle<()>,
}

/// Whether VRRP can run here, if it is configured: looked at before anything is changed.
///
/// # Errors
///
/// A privilege or a user is missing.
pub(super) fn ensure_possible(config: &Config) -> anyhow::Result<Option<ScriptUser>> {
    use anyhow::Context as _;
    if config.vrrp.instances.is_empty() {
        return Ok(None);
    }
    task::ensure_permitted().context("cannot open the sockets that VRRP needs (CAP_NET_RAW)")?;
    let name = &config.global.script_user;
    match User::from_name(name)? {
        Some(user) if user.uid == geteuid() => Ok(None),
        Some(user) => Ok(Some(ScriptUser { uid: user.uid, gid: user.gid })),
        None => {
            let runs = !config.vrrp.scripts.is_empty() || config.vrrp.notifies();
            anyhow::ensure!(!runs, "there is no user {name} to run VRRP's scripts as (global.script_user)");
            Ok(None)
        }
    }
}

impl Elections {
    /// None yet.
    pub(super) fn new(slots: Slots) -> (Self, mpsc::UnboundedReceiver<Heard>) {
        let (heard, hearing) = mpsc::unbounded_channel();
        let quorums = HashMap::new();
        (Self { running: None, heard, slots, ready: false, quorums, since: HashMap::new() }, hearing)
    }

    /// Whether there is a thread.
    pub(super) fn are_running(&self) -> bool {
        self.running.is_some()
    }

    /// The slot of every virtual address.
    pub(super) fn slots(&self, config: &Vrrp) -> BTreeMap<IpAddr, u32> {
        self.slots.assign(config)
    }

    /// The slot of an instance, once [`Elections::slots`] was asked.
    pub(super) fn slot(&self, instance: &str) -> Option<u32> {
        self.slots.of(instance)
    }

    /// Begins. The data plane gives way to owners only from here on.
    ///
    /// # Errors
    ///
    /// There is no thread to be had.
    pub(super) fn begin(
        &mut self,
        config: Vrrp,
        script_user: Option<ScriptUser>,
        leases: Leases,
    ) -> io::Result<()> {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let (heard, slots) = (self.heard.clone(), self.slots.clone());
        let thread = thread::Builder::new().name("vrrp".into()).spawn(move || {
            let work =
                tokio::runtime::Builder::new_current_thread().enable_all().build().and_then(|runtime| {
                    let (events, happening) = mpsc::unbounded_channel();
                    runtime.block_on(async {
                        let lease = follow(happening, leases, &slots, &heard);
                        tokio::join!(task::run(config, script_user, inbox, events), lease).0
                    })
                });
            if let Err(error) = work {
                // A daemon that has ended does not want to know.
                let _ = heard.send(Heard::Failed(error));
            }
        })?;
        self.running = Some(Running { commands, thread });
        if self.ready {
            self.tell(Command::Ready);
        }
        Ok(())
    }

    /// Another configuration.
    pub(super) fn apply(&mut self, config: Vrrp) {
        self.quorums.retain(|name, _| config.tracks(name));
        self.since.retain(|name, _| config.instances.iter().any(|each| each.name == *name));
        self.tell(Command::Apply(config));
    }

    /// Nothing stands in the way of mastership any more.
    pub(super) fn ready(&mut self) {
        if !self.ready {
            self.ready = true;
            self.tell(Command::Ready);
        }
    }

    /// How the quorum of a tracked virtual server is.
    pub(super) fn quorum(&mut self, name: &str, up: bool) {
        let command = || Command::VirtualServer { name: name.to_owned(), up };
        if self.quorums.get(name) != Some(&up) && self.tell(command()) {
            self.quorums.insert(name.to_owned(), up);
        }
    }

    /// False when it did not get through.
    fn tell(&self, command: Command) -> bool {
        let Some(running) = &self.running else { return false };
        running.commands.try_send(command).is_ok()
    }

    /// Instance by instance, in the order of the configuration; nothing when the thread hangs.
    pub(super) async fn status(&self) -> Vec<InstanceStatus> {
        let (reply, status) = oneshot::channel();
        if !self.tell(Command::Status(reply)) {
            return Vec::new();
        }
        let status = time::timeout(PATIENCE, status).await;
        status.ok().and_then(Result::ok).unwrap_or_else(|| {
            tracing::warn!("VRRP does not answer");
            Vec::new()
        })
    }

    /// Gives the role of an instance, or of all, to the peers.
    pub(super) async fn release(&self, name: Option<String>) {
        let (known, answer) = oneshot::channel();
        if self.tell(Command::Release { name, known }) {
            // Whether there is such an instance is known from the status.
            let _ = time::timeout(PATIENCE, answer).await;
        }
    }

    /// Gives up all roles; the addresses are gone when this returns.
    pub(super) async fn stop(&mut self) {
        let Some(Running { commands, thread }) = self.running.take() else { return };
        let stop = time::timeout(PATIENCE, commands.send(Command::Stop)).await;
        let ended = time::timeout(PATIENCE_AT_END, tokio::task::spawn_blocking(move || thread.join()));
        if stop.is_err() || ended.await.is_err() {
            tracing::error!("VRRP did not end; the kernel removes its addresses");
        }
    }
}

/// Keeps the leases in step with what happens, and passes it on.
async fn follow(
    mut events: mpsc::UnboundedReceiver<Event>,
    mut leases: Leases,
    slots: &Slots,
    heard: &mpsc::UnboundedSender<Heard>,
) {
    let mut refresh = time::interval(REFRESH);
    loop {
        let result = tokio::select! {
            event = events.recv() => match event {
                None => return,
                Some(event) => {
                    let result = keep(&event, &mut leases, slots);
                    if !matches!(event, Event::Owns { .. }) {
                        // A daemon that has ended does not want to know.
                        let _ = heard.send(Heard::Event(event));
                    }
                    result
                }
            },
            _ = refresh.tick() => leases.refresh(),
        };
        if let Err(error) = result {
            tracing::error!("{:#}", anyhow::Error::new(error));
        }
    }
}

fn keep(event: &Event, leases: &mut Leases, slots: &Slots) -> Result<(), WriteError> {
    match event {
        Event::Owns { instance, until } => match slots.of(instance) {
            Some(slot) => leases.hold(slot, until.saturating_duration_since(Instant::now().into_std())),
            None => Ok(()),
        },
        Event::State { instance, state: State::Init | State::Backup | State::Fault, .. } => {
            slots.of(instance).map_or(Ok(()), |slot| leases.release(slot))
        }
        Event::State { state: State::Master, .. } | Event::Tracker { .. } | Event::Alarm { .. } => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Host, parse};

    fn vrrp(names: &[&str]) -> Vrrp {
        let mut text = "global.interfaces = [\"eth0\"]\n".to_owned();
        for (n, name) in names.iter().enumerate() {
            let id = n + 1;
            text += &format!(
                "[[vrrp_instance]]\nname = \"{name}\"\ninterface = \"eth0\"\nvirtual_router_id = {id}\n\
                 virtual_ipaddress = [\"192.0.2.{id}\", \"198.51.100.{id}\"]\n"
            );
        }
        parse(&text, &Host::imagined("lb1")).0.unwrap().vrrp
    }

    fn slots(assigned: &BTreeMap<IpAddr, u32>) -> Vec<u32> {
        assigned.values().copied().collect()
    }

    #[test]
    fn an_instance_keeps_its_slot_and_shares_it_with_none() {
        let all = Slots::default();
        assert_eq!(slots(&all.assign(&vrrp(&["a", "b"]))), [1, 2, 1, 2]);
        assert_eq!(slots(&all.assign(&vrrp(&["b", "c"]))), [2, 3, 2, 3]);
        assert_eq!(slots(&all.assign(&vrrp(&["a"]))), [1, 1]);
    }
}
