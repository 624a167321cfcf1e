//! Drives every instance of the daemon: waits for packets, timers, changes of the host and commands.

use std::{
    io,
    net::IpAddr,
    time::{Instant, SystemTime},
};

use tokio::{
    sync::{mpsc, oneshot},
    time,
};

pub use crate::vrrp::script::ScriptUser;
use crate::{
    config::vrrp::{Kind, Priority, Vrrp},
    host::{addresses::Addresses, interfaces::Interfaces},
    vrrp::{
        announce::Announcer, devices::Devices, driver::Driver, keeper, links::Links, paths::Paths,
        state::State, status::InstanceStatus, tracker::Reading, watch::Watchers,
    },
};

/// Packets that wait to be looked at; the kernel keeps more, then drops.
const QUEUE: usize = 256;

/// What the daemon asks for.
#[derive(Debug)]
pub enum Command {
    /// The data plane is attached, the configuration applied and every real server checked once. Nobody
    /// becomes master before.
    Ready,
    /// Another configuration. Virtual routers that are in both keep their state.
    Apply(Vrrp),
    /// A virtual server met its quorum, or lost it. Needed once for each that is tracked.
    VirtualServer {
        /// Which one.
        name: String,
        /// Whether it has its quorum.
        up: bool,
    },
    /// The role of one instance and its sync group, or of all, is given to the peers.
    Release {
        /// All when none.
        name: Option<String>,
        /// Whether there is such an instance.
        known: oneshot::Sender<bool>,
    },
    /// What is going on.
    Status(oneshot::Sender<Vec<InstanceStatus>>),
    /// Roles are given up and addresses removed; the task ends.
    Stop,
}

/// What the daemon is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The state of an instance changed.
    State {
        /// Which one.
        instance: String,
        /// What it is now. Everything but master ends ownership at once.
        state: State,
        /// The priority it advertises.
        priority: Priority,
    },
    /// A master has advertised: its virtual addresses, advertised or not, are certainly its own until then, when the
    /// first of its peers may miss it. Comes again well before that; when it does not, this process hangs and nothing is
    /// to be forwarded for them.
    Owns {
        /// Which one.
        instance: String,
        /// Three of its intervals from the advertisement.
        until: Instant,
    },
    /// Something that is tracked went up or down, or cannot be used any more. Not told of virtual servers, which the daemon
    /// knows, and of the numbers in files.
    Tracker {
        /// What it is.
        kind: Kind,
        /// Which one.
        name: String,
        /// How it is now.
        reading: Reading,
        /// Why.
        said: String,
    },
    /// A peer's packets were dropped, or its configuration differs. Once a minute for each reason.
    Alarm {
        /// Which one.
        instance: String,
        /// Who.
        peer: IpAddr,
        /// What.
        reason: String,
    },
}

/// Tries whether [`run`] would get its sockets.
///
/// # Errors
/// As of [`run`].
pub fn ensure_permitted() -> io::Result<()> {
    // What netlink needs, the data plane needs too.
    Announcer::open().map(drop)
}

/// Runs until [`Command::Stop`], or until nobody can command it any more.
///
/// # Errors
/// When there is no netlink or packet socket to be had: CAP_NET_ADMIN and CAP_NET_RAW are needed.
pub async fn run(
    config: Vrrp,
    script_user: Option<ScriptUser>,
    mut commands: mpsc::Receiver<Command>,
    events: mpsc::UnboundedSender<Event>,
) -> io::Result<()> {
    let (addresses, mut changes) = Addresses::open()?;
    let (orders, todo) = mpsc::unbounded_channel();
    let paths = Paths::begin(addresses.routes()).await;
    let devices = Devices::new(addresses.macvlans());
    let keeper = tokio::spawn(keeper::keep((addresses, paths, devices), Announcer::open()?, todo));
    let (received, mut packets) = mpsc::channel(QUEUE);
    let (reports, mut reported) = mpsc::channel(QUEUE);
    let watchers = Watchers::new(script_user, reports);
    let mut driver =
        Driver::new(Links::new(received, Announcer::open()?), orders, events, watchers, script_user);
    driver.refresh(Interfaces::read()?, clock());
    driver.apply(config, clock());
    let ended = loop {
        let due = driver.deadline().map(time::Instant::from_std);
        tokio::select! {
            Some((link, packet)) = packets.recv() => driver.on_packet(&link, &packet.datagram(), clock()),
            change = changes.next() => match change {
                None => break Err(io::ErrorKind::BrokenPipe.into()),
                Some(change) => if driver.is_of_interest(change, clock()) {
                    match Interfaces::read() {
                        Ok(interfaces) => driver.refresh(interfaces, clock()),
                        Err(error) => tracing::error!(%error, "cannot read the interfaces"),
                    }
                },
            },
            Some(report) = reported.recv() => driver.on_report(report, clock()),
            command = commands.recv() => match command {
                None | Some(Command::Stop) => break Ok(()),
                Some(Command::Apply(config)) => driver.apply(config, clock()),
                Some(command) => driver.on_command(command, clock()),
            },
            () = time::sleep_until(due.unwrap_or_else(time::Instant::now)), if due.is_some() => {}
        }
        driver.on_deadline(clock());
    };
    driver.stop(clock()).await;
    // Addresses are removed before the process ends. Only a panic there could be reported.
    let _ = keeper.await;
    ended
}

/// What other nodes' clocks are compared with.
#[expect(clippy::disallowed_methods, reason = "signatures carry the time of day")]
pub(super) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

fn clock() -> Instant {
    time::Instant::now().into_std()
}
