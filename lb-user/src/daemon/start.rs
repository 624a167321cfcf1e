//! The way up: every step leaves what runs already as it is until the last ones, and what they did is undone when one fails.

use std::{sync::Arc, thread};

use anyhow::Context as _;
use aya_log::EbpfLogger;
use sd_notify::NotifyState;
use tokio::{
    net::TcpListener,
    signal::unix::Signal,
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    Daemon, Events, KernelLog, RunOptions, connections,
    drops::Door,
    elections::{self, Elections, Slots},
    engine::Engine,
    interfaces,
    journal::Journal,
    now,
    overrides::Overrides,
    reconcile::Reconciled,
    remembered::Remembered,
    secret, sweeper,
    view::Attached,
};
use crate::{
    config::{
        self, Host,
        model::{Config, SysctlPolicy},
    },
    control::{
        server::{self, Limits},
        socket::ControlSocket,
    },
    dataplane::{
        attach::{self, Target},
        clock::Clock,
        drops::Drops,
        leases::Leases,
        load::{self, Loaded},
        maps::Maps,
        pins::Pins,
        programs::Programs,
        read,
    },
    health::{self, Context},
    host::{
        links::{Link, Mode, links},
        on_link,
        sysctl::{Needs, Sysctls},
        watch::{HostEvent, watch},
    },
    plan::HostView,
    vrrp::{devices, task::ScriptUser},
};

/// Calls that wait for the daemon.
const CALLS: usize = 64;
/// Results of checks that wait for the daemon.
pub(super) const RESULTS: usize = 4096;
/// File descriptors that are not for checks.
const OTHER_FILES: u64 = 256;

/// Brings everything up; the daemon has only to serve.
///
/// # Errors
///
/// The first step that failed; what runs is as it was before.
pub(super) async fn start(options: RunOptions) -> anyhow::Result<(Daemon, Events, JoinHandle<()>)> {
    let (config, warnings) = config::load(&options.config, &Host::this())?;
    for line in warnings.lines() {
        tracing::warn!("{line}");
    }
    load::ensure_permitted()?;
    let script_user = elections::ensure_possible(&config)?;
    let socket_path = options.socket.as_ref().unwrap_or(&config.api.socket);
    let socket = ControlSocket::bind(socket_path, config.api.socket_group.as_deref())?;
    let listener = match config.api.listen {
        Some(address) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.with_context(|| format!("cannot listen on {address} (api.listen)"))?)
        }
        None => None,
    };
    let overrides = Overrides::load(&config.global.state_dir).with_context(|| {
        let directory = config.global.state_dir.display();
        format!(
            "cannot read {directory}/overrides.json: mend it, or remove it to go back to the configuration"
        )
    })?;
    let made = devices::prepare(&config.vrrp, &crate::config::vrrp::Vrrp::default()).await?;
    let started = with_devices(options, config, (socket, listener), overrides, script_user).await;
    if started.is_err() {
        devices::remove(&made).await;
    }
    started
}

/// The rest of the way, when the devices of virtual MAC addresses are there.
async fn with_devices(
    options: RunOptions,
    config: Config,
    (socket, listener): (ControlSocket, Option<TcpListener>),
    overrides: Overrides,
    script_user: Option<ScriptUser>,
) -> anyhow::Result<(Daemon, Events, JoinHandle<()>)> {
    let links = links(&config.global.interfaces).await?;

    let ears = Ears {
        signals: Events::signals()?,
        host: watch().context("cannot watch the host's links, neighbours and routes")?,
        socket,
        listener,
    };

    let pins = Pins::open(&config.global.pin_dir)?;
    let Loaded { mut ebpf, adopted } =
        load::load(&(&config.global).into(), &pins).inspect_err(|_| pins.remove_if_empty())?;
    let mut kernel_log = EbpfLogger::init(&mut ebpf).context("cannot read the log of the kernel program")?;
    let kernel_log = Box::new(move || kernel_log.flush());
    let programs = Programs::new(ebpf);
    let slots = Slots::default();
    match bring_up(options, config, overrides, &links, &pins, (&programs, &slots)) {
        Ok((engine, attached, rules, leases)) => {
            tracing::info!(
                "{}",
                if adopted { "took over the running data plane" } else { "loaded the data plane" }
            );
            let vrrp = (slots, script_user, leases);
            finish(engine, attached, (rules, vrrp), pins, (programs, kernel_log), ears).await
        }
        Err(error) => {
            if !adopted && pins.links().is_ok_and(|links| links.is_empty()) {
                pins.remove_maps();
                pins.remove_if_empty();
            }
            Err(error)
        }
    }
}

/// What may fail and changes nothing, before anything is changed.
struct Ears {
    signals: (Signal, Signal, Signal),
    host: mpsc::Receiver<HostEvent>,
    socket: ControlSocket,
    listener: Option<TcpListener>,
}

type Up = (Engine, (RunOptions, Vec<Attached>), sweeper::Rules, Option<Leases>);

fn bring_up(
    options: RunOptions,
    config: Config,
    overrides: Overrides,
    links: &[Link],
    pins: &Pins,
    (programs, slots): (&Programs, &Slots),
) -> anyhow::Result<Up> {
    let clock = Clock::new()?;
    let maps = Maps::open(pins)?;
    let before = read::read(&maps)?.interfaces;
    let host = HostView {
        hash_key: hash_key(&config)?,
        ticks_per_second: clock.ticks_per_second,
        interfaces: interfaces::describe(links, &before)?,
        links: on_link::read().context("cannot read this machine's addresses")?,
        names: interfaces::names(links),
        leases: slots.assign(&config.vrrp),
        virtual_macs: interfaces::virtual_macs(&config.vrrp, links, |name| slots.of(name)),
    };
    let rules = sweeper::Rules::default();
    let mut engine = Engine::new(Arc::new(config), overrides, maps, host, clock, Arc::clone(&rules))?;
    let (instant, wall) = now();
    engine.remember(Remembered::load(&engine.config.global.state_dir), wall);
    let checks = engine.checks((instant, wall));
    engine.watch(&checks, instant);
    // First what may be refused: a table that was written cannot be taken back when there is nothing to go back to.
    let before = pins.links()?;
    let attached = attach_all(&engine, links, pins, programs)?;
    // Before VIPs need them: nothing is owned at the beginning.
    let leases = if engine.config.vrrp.instances.is_empty() {
        Leases::unneeded(&mut engine.maps)?;
        None
    } else {
        Some(Leases::new(Maps::open(pins)?, clock, programs.clone())?)
    };
    if let Err(error) = engine.apply(instant, wall) {
        detach_all(links, &before, pins)?;
        return Err(error.into());
    }
    sysctls(&engine.config);
    for index in pins.links()? {
        if !engine.host.interfaces.contains_key(&index) {
            attach::detach(index, pins)?;
        }
    }
    Ok((engine, (options, attached), rules, leases))
}

/// The key of all hashing for a configuration.
pub(super) fn hash_key(config: &Config) -> anyhow::Result<lb_common::hash::HashKey> {
    let file = config.global.cluster_secret_file.as_deref();
    secret::hash_key(file).with_context(|| {
        let file = file.map(|file| file.display().to_string()).unwrap_or_default();
        format!("cannot read {file} (global.cluster_secret_file)")
    })
}

/// Attaches to all links; when one fails, those that were not attached before are detached again.
pub(super) fn attach_all(
    engine: &Engine,
    links: &[Link],
    pins: &Pins,
    programs: &Programs,
) -> anyhow::Result<Vec<Attached>> {
    let before = pins.links()?;
    // New ones first: they may be refused, and a program that was replaced does not come back.
    let (known, fresh): (Vec<&Link>, Vec<&Link>) =
        links.iter().partition(|link| before.contains(&link.index));
    for link in fresh.into_iter().chain(known) {
        let target = Target { name: link.name.clone(), index: link.index };
        if let Err(error) = programs.attach(&target, engine.config.global.xdp_mode, pins) {
            detach_all(links, &before, pins)?;
            return Err(error.into());
        }
    }
    let slot = |link: &Link| engine.host.interfaces.get(&link.index).map_or(0, |interface| interface.slot);
    let attached = |link: &Link| Attached { name: link.name.clone(), slot: slot(link), mode: String::new() };
    Ok(links.iter().map(attached).collect())
}

/// Detaches from the links that are attached now and were not `before`.
fn detach_all(links: &[Link], before: &[u32], pins: &Pins) -> anyhow::Result<()> {
    let now = pins.links()?;
    let fresh = |link: &&Link| now.contains(&link.index) && !before.contains(&link.index);
    for link in links.iter().filter(fresh) {
        attach::detach(link.index, pins)?;
    }
    Ok(())
}

/// How the program is attached, as the kernel says.
pub(super) async fn modes(attached: &mut [Attached]) -> anyhow::Result<()> {
    let names: Vec<String> = attached.iter().map(|one| one.name.clone()).collect();
    for (one, link) in attached.iter_mut().zip(links(&names).await?) {
        one.mode = match link.xdp.map(|xdp| xdp.mode) {
            Some(Mode::Native) => "native",
            Some(Mode::Generic) => "generic",
            None => "detached",
        }
        .to_owned();
        tracing::info!("attached to {} in {} mode", one.name, one.mode);
        if one.mode == "generic" {
            tracing::warn!(
                "{} runs in generic mode: slower, and bulk TCP from senders with segmentation offload suffers",
                one.name
            );
        }
    }
    Ok(())
}

/// Sets or checks what forwarding needs. What fails is said, and the rest goes on: the balancer may do without.
pub(super) fn sysctls(config: &Config) {
    let sysctls = Sysctls::new(&config.global.state_dir);
    let needs = &Needs::of(config);
    let (report, word) = match config.global.sysctl {
        SysctlPolicy::Off => return,
        SysctlPolicy::Check => (sysctls.check(needs), "should be"),
        SysctlPolicy::Apply => (sysctls.apply(needs), "is now"),
    };
    for change in report.changes {
        tracing::info!("{} {word} {}, was {}", change.name, change.to, change.from);
    }
    for note in report.notes {
        tracing::warn!("{note}");
    }
    for error in report.errors {
        tracing::error!("{:#}", anyhow::Error::new(error));
    }
}

async fn finish(
    engine: Engine,
    (options, mut attached): (RunOptions, Vec<Attached>),
    (rules, (slots, script_user, leases)): (sweeper::Rules, (Slots, Option<ScriptUser>, Option<Leases>)),
    pins: Pins,
    (programs, kernel_log): (Programs, KernelLog),
    Ears { signals: (hangup, terminate, interrupt), host, socket, listener }: Ears,
) -> anyhow::Result<(Daemon, Events, JoinHandle<()>)> {
    if let Err(error) = modes(&mut attached).await {
        tracing::warn!("cannot see how the program is attached: {error:#}");
    }
    let (results, health_events) = mpsc::channel(RESULTS);
    let health = health::task::spawn(Context::new(&engine.config.global.script_user), max_running(), results);
    health.set_checks(engine.checks(now()));

    let (sweeps, sweep_results) = mpsc::channel(1);
    let (sweeper, wake) = std::sync::mpsc::channel();
    let clock = Clock::new()?;
    let (maps, clock_programs) = (Maps::open(&pins)?, programs.clone());
    thread::Builder::new()
        .name("sweep".into())
        .spawn(move || sweeper::run(maps, clock, || clock_programs.now(), &rules, &wake, &sweeps))
        .context("cannot start the sweep")?;

    let drops = Door::open(Drops::open(&pins)?).context("cannot watch dropped packets")?;

    let (mut elections, vrrp) = Elections::new(slots);
    if let Some(leases) = leases {
        let config = engine.config.vrrp.clone();
        elections.begin(config, script_user, leases).context("cannot start the thread of VRRP")?;
    }

    let (calls, call_receiver) = mpsc::channel(CALLS);
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(server::serve(socket, listener, Limits::default(), calls, shutdown.clone()));
    let daemon = Daemon {
        options,
        engine,
        programs,
        kernel_log,
        pins: Some(pins),
        attached,
        health,
        elections,
        journal: Journal::default(),
        generation: 1,
        reloaded: true,
        reconciled: Reconciled::default(),
        unsaved: false,
        readers: Arc::new(Semaphore::new(connections::READERS)),
        drops,
        shutdown,
    };
    let events = Events {
        calls: call_receiver,
        health: health_events,
        host,
        sweeps: sweep_results,
        vrrp,
        _sweeper: sweeper,
        hangup,
        terminate,
        interrupt,
    };
    // Nobody may have asked for it.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    Ok((daemon, events, server))
}

/// Checks that may run at once: each holds a file or two. Raises the limit on open files to what is allowed.
fn max_running() -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, hard)| {
        if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
    });
    usize::try_from(limit.saturating_sub(OTHER_FILES) / 2).unwrap_or(usize::MAX).clamp(16, 8192)
}
