//! What operators change: one at a time, as a whole or not at all.

use std::{net::SocketAddr, sync::Arc};

use super::{
    Daemon,
    changes::changes,
    elections, failed, interfaces, now,
    overrides::{Out, Overrides},
    start,
    unload::{self, Unloaded},
    with_causes,
};
use crate::{
    config::{
        self, Host,
        model::{Config, RealServer, VirtualServer},
        vrrp::Vrrp,
    },
    control::{Action, Change, Changes, Code, Failure, RealServerName, Scope, Write, event::Kind},
    dataplane::{attach, clock::Clock, leases::Leases, maps::Maps},
    host::links::links,
    vrrp::{devices, task::ScriptUser},
};

impl Daemon {
    pub(super) async fn write(
        &mut self,
        write: Write,
        if_generation: Option<u64>,
    ) -> Result<Changes, Failure> {
        if let Some(expected) = if_generation
            && expected != self.generation
        {
            let message = format!(
                "the configuration is at generation {}, not {expected}: somebody has changed it, look again",
                self.generation
            );
            return Err(Failure::new(Code::Conflict, message));
        }
        if let Write::Release(name) = write {
            // No change of the configuration.
            let changes = self.release(name).await?;
            return Ok(Changes { generation: self.generation, changes });
        }
        let changes = match write {
            Write::Reload => {
                let reloaded = self.reload().await;
                self.reloaded = reloaded.is_ok();
                reloaded.inspect_err(|failure| {
                    tracing::error!("reload refused, the old configuration stays: {failure}");
                })?
            }
            Write::Unload => {
                self.elections.stop().await;
                self.unload()?
            }
            other => self.overrule(&other)?,
        };
        if !changes.is_empty() {
            self.generation += 1;
        }
        Ok(Changes { generation: self.generation, changes })
    }

    /// What a reload would change.
    pub(super) fn difference(&self) -> Result<Changes, Failure> {
        let file = self.read_file()?;
        Ok(Changes { generation: self.generation, changes: changes(&self.engine.file, &file) })
    }

    fn read_file(&self) -> Result<Config, Failure> {
        match config::load(&self.options.config, &Host::this()) {
            Ok((config, _)) => Ok(config),
            Err(error) => Err(Failure::new(Code::Configuration, with_causes(&error))),
        }
    }

    async fn reload(&mut self) -> Result<Vec<Change>, Failure> {
        let file = self.read_file()?;
        let found = changes(&self.engine.file, &file);
        if found.is_empty() {
            return Ok(found);
        }
        self.ensure_same_frame(&file)?;
        let script_user = elections::ensure_possible(&file).map_err(|error| failed(error.as_ref()))?;
        self.begin_elections(&file, script_user).map_err(|error| failed(error.as_ref()))?;
        let made =
            devices::prepare(&file.vrrp, &self.engine.file.vrrp).await.map_err(|error| failed(&error))?;
        let reloaded = self.follow_file(file, &found).await;
        if reloaded.is_err() {
            devices::remove(&made).await;
        }
        reloaded.map(|()| found)
    }

    /// The rest of a reload, when the devices of virtual MAC addresses are there.
    async fn follow_file(&mut self, file: Config, found: &[Change]) -> Result<(), Failure> {
        let links = links(&file.global.interfaces).await.map_err(|error| failed(&error))?;
        // Neighbours send to the old addresses until they are told of others; then their devices go, which `relink` sees.
        let mut virtual_macs = self.engine.host.virtual_macs.clone();
        virtual_macs.extend(interfaces::virtual_macs(&file.vrrp, &links, |name| self.elections.slot(name)));
        let host = crate::plan::HostView {
            hash_key: start::hash_key(&file).map_err(|error| failed(error.as_ref()))?,
            ticks_per_second: self.engine.host.ticks_per_second,
            interfaces: interfaces::describe(&links, &self.engine.host.interfaces)
                .map_err(|error| failed(error.as_ref()))?,
            links: self.engine.host.links.clone(),
            names: interfaces::names(&links),
            leases: self.elections.slots(&file.vrrp),
            virtual_macs,
        };
        let old_vrrp = self.engine.file.vrrp.clone();
        let (old_file, old_host) =
            (Arc::clone(&self.engine.file), std::mem::replace(&mut self.engine.host, host));
        let (instant, wall) = now();
        let news = match self.engine.replace(Arc::new(file), instant, wall) {
            Ok(news) => news,
            Err(error) => {
                self.engine.host = old_host;
                return Err(failed(&error));
            }
        };
        if let Err(error) = self.attach(&links) {
            self.engine.host = old_host;
            if let Err(error) = self.engine.replace(old_file, instant, wall) {
                tracing::error!("{:#}", anyhow::Error::new(error));
            }
            return Err(failed(error.as_ref()));
        }
        start::sysctls(&self.engine.config);
        self.recheck();
        self.tell(news);
        if self.engine.config.vrrp != old_vrrp {
            self.elections.apply(self.engine.config.vrrp.clone());
        }
        self.follow_vrrp();
        if let Err(error) = start::modes(&mut self.attached).await {
            tracing::warn!("{error:#}");
        }
        self.note(Kind::Reload, "configuration", &format!("reloaded, {} changes", found.len()));
        Ok(())
    }

    /// The first instances have come with a reload: there is somebody to elect them, once they are applied.
    fn begin_elections(&mut self, file: &Config, script_user: Option<ScriptUser>) -> anyhow::Result<()> {
        let Some(pins) = &self.pins else { return Ok(()) };
        if file.vrrp.instances.is_empty() || self.elections.are_running() {
            return Ok(());
        }
        let leases = Leases::new(Maps::open(pins)?, Clock::new()?, self.programs.clone())?;
        Ok(self.elections.begin(Vrrp::default(), script_user, leases)?)
    }

    /// What maps and sockets were made for cannot change under them.
    fn ensure_same_frame(&self, file: &Config) -> Result<(), Failure> {
        let (old, new) = (&self.engine.file, file);
        let frame = [
            ("global.max_connections", old.global.max_connections == new.global.max_connections),
            ("global.max_virtual_servers", old.global.max_virtual_servers == new.global.max_virtual_servers),
            ("global.max_real_servers", old.global.max_real_servers == new.global.max_real_servers),
            ("global.pin_dir", old.global.pin_dir == new.global.pin_dir),
            ("global.state_dir", old.global.state_dir == new.global.state_dir),
            ("global.xdp_mode", old.global.xdp_mode == new.global.xdp_mode),
            ("global.script_user", old.global.script_user == new.global.script_user),
            ("api", old.api == new.api),
        ];
        let changed: Vec<&str> = frame.iter().filter(|(_, same)| !same).map(|(key, _)| *key).collect();
        if changed.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{} cannot change while xlb runs: restart it; a change of pin_dir or of a maximum needs `xlb unload` before",
            changed.join(", ")
        );
        Err(Failure::new(Code::Refused, message))
    }

    /// Attaches to the links of the configuration and detaches from all others.
    fn attach(&mut self, links: &[crate::host::links::Link]) -> anyhow::Result<()> {
        let Some(pins) = &self.pins else { return Ok(()) };
        self.attached = start::attach_all(&self.engine, links, pins, &self.programs)?;
        for index in pins.links()? {
            if !self.engine.host.interfaces.contains_key(&index) {
                attach::detach(index, pins)?;
            }
        }
        Ok(())
    }

    /// A link has changed: its address, its size, or it was made again under its name.
    pub(super) async fn relink(&mut self) -> anyhow::Result<()> {
        let links = links(&self.engine.config.global.interfaces).await?;
        let interfaces = interfaces::describe(&links, &self.engine.host.interfaces)?;
        if interfaces == self.engine.host.interfaces {
            return Ok(());
        }
        self.engine.host.interfaces = interfaces;
        self.engine.host.names = interfaces::names(&links);
        self.engine.host.virtual_macs =
            interfaces::virtual_macs(&self.engine.config.vrrp, &links, |name| self.elections.slot(name));
        self.apply();
        self.attach(&links)?;
        start::modes(&mut self.attached).await
    }

    fn recheck(&mut self) {
        let now = now();
        let checks = self.engine.checks(now);
        self.engine.watch(&checks, now.0);
        self.health.set_checks(checks);
    }

    /// A change of what operators have changed.
    fn overrule(&mut self, write: &Write) -> Result<Vec<Change>, Failure> {
        let mut overrides = self.engine.overrides.clone();
        let change = self.overruled(write, &mut overrides)?;
        if overrides == self.engine.overrides {
            return Ok(Vec::new());
        }
        let state_dir = self.engine.config.global.state_dir.clone();
        let save = |overrides: &Overrides| {
            overrides.save(&state_dir).map_err(|error| {
                let message = format!("cannot write {}: {error}; nothing was changed", state_dir.display());
                Failure::new(Code::Failed, message)
            })
        };
        // Kept before it is in force: what an operator was told survives.
        save(&overrides)?;
        let old = self.engine.overrides.clone();
        let (instant, wall) = now();
        match self.engine.overrule(overrides, instant, wall) {
            Ok(news) => {
                self.recheck();
                self.tell(news);
                Ok(vec![change])
            }
            Err(error) => {
                save(&old)?;
                Err(failed(&error))
            }
        }
    }

    fn overruled(&self, write: &Write, overrides: &mut Overrides) -> Result<Change, Failure> {
        let (action, object, detail) = match write {
            Write::SetWeight { real_server, weight } => {
                let (server, real) = self.real_server(real_server)?;
                let entry = overrides.entry(&server.name, real.address);
                let old = entry.weight.replace(*weight).unwrap_or(real.weight);
                (Action::Change, real_server.to_string(), format!("weight: {old} -> {weight}"))
            }
            Write::Drain { real_server, timeout } => {
                let (server, real) = self.real_server(real_server)?;
                let timeout = timeout.unwrap_or(server.drain_timeout);
                overrides.entry(&server.name, real.address).admin = Some(Out::Drain(now().1 + timeout));
                let detail = format!("drains for at most {}", humantime::format_duration(timeout));
                (Action::Change, real_server.to_string(), detail)
            }
            Write::Disable(name) => {
                let (server, real) = self.real_server(name)?;
                overrides.entry(&server.name, real.address).admin = Some(Out::Disabled);
                (Action::Change, name.to_string(), "disabled".to_owned())
            }
            Write::Enable(name) => {
                let (server, real) = self.real_server(name)?;
                overrides.entry(&server.name, real.address).admin = None;
                (Action::Change, name.to_string(), "enabled".to_owned())
            }
            Write::Revert(scope) => {
                let (object, address) = self.scope(scope)?;
                overrides.revert(scope, address);
                (Action::Change, object, "as configured".to_owned())
            }
            Write::Add { virtual_server, address, weight, name } => {
                let server = self.virtual_server(virtual_server)?;
                ensure_addable(server, *address, name.as_deref())?;
                let name = name.clone().unwrap_or_else(|| address.to_string());
                let object = format!("{virtual_server}/{name}");
                let entry = overrides.entry(virtual_server, *address);
                entry.removed = false;
                entry.added = Some((name, *weight));
                (Action::Add, object, format!("weight: {weight}"))
            }
            Write::Remove(name) => {
                let (server, real) = self.real_server(name)?;
                if server.real_servers.len() == 1 {
                    let message =
                        format!("{name} is the last real server of {}: disable it instead", server.name);
                    return Err(Failure::new(Code::Refused, message));
                }
                let entry = overrides.entry(&server.name, real.address);
                let configured = self.engine.file.virtual_servers.iter().any(|file| {
                    file.name == server.name
                        && file.real_servers.iter().any(|file| file.address == real.address)
                });
                *entry = super::overrides::Entry { removed: configured, ..Default::default() };
                (Action::Remove, name.to_string(), String::new())
            }
            Write::Reload | Write::Unload | Write::Release(_) => {
                return Err(Failure::new(Code::Invalid, "not a change of a real server"));
            }
        };
        overrides.tidy();
        Ok(Change { action, object, detail })
    }

    fn scope(&self, scope: &Scope) -> Result<(String, Option<SocketAddr>), Failure> {
        match scope {
            Scope::Everything => Ok(("everything".to_owned(), None)),
            Scope::VirtualServer(name) => self.virtual_server(name).map(|server| (server.name.clone(), None)),
            Scope::RealServer(name) => {
                // One that was removed is not in the configuration in force, but in the file.
                let in_file = find(&self.engine.file, name).map(|(_, real)| real.address);
                let address = match in_file {
                    Some(address) => address,
                    None => self.real_server(name)?.1.address,
                };
                Ok((name.to_string(), Some(address)))
            }
        }
    }

    pub(super) fn virtual_server(&self, name: &str) -> Result<&VirtualServer, Failure> {
        let servers = &self.engine.config.virtual_servers;
        servers.iter().find(|server| server.name == name).ok_or_else(|| {
            let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
            Failure::new(Code::NotFound, format!("no virtual server {name}; there are: {}", names.join(", ")))
        })
    }

    fn real_server(&self, name: &RealServerName) -> Result<(&VirtualServer, &RealServer), Failure> {
        let server = self.virtual_server(&name.virtual_server)?;
        find(&self.engine.config, name).ok_or_else(|| {
            let names: Vec<&str> = server.real_servers.iter().map(|real| real.name.as_str()).collect();
            let message = format!(
                "no real server {} in virtual server {}; there are: {}",
                name.real_server,
                name.virtual_server,
                names.join(", ")
            );
            Failure::new(Code::NotFound, message)
        })
    }

    fn unload(&mut self) -> Result<Vec<Change>, Failure> {
        let state_dir = &self.engine.config.global.state_dir;
        let Unloaded { changes, errors } =
            unload::unload(self.pins.as_ref(), state_dir).map_err(|error| failed(&error))?;
        // Only now: what could not be removed is tried again by the next command.
        self.pins = None;
        for error in errors {
            tracing::error!("{:#}", anyhow::Error::new(error));
        }
        Ok(changes)
    }
}

/// A real server by its name or its address.
fn find<'a>(config: &'a Config, name: &RealServerName) -> Option<(&'a VirtualServer, &'a RealServer)> {
    let server = config.virtual_servers.iter().find(|server| server.name == name.virtual_server)?;
    let address = name.real_server.parse::<SocketAddr>().ok();
    let real = server
        .real_servers
        .iter()
        .find(|real| real.name == name.real_server || Some(real.address) == address)?;
    Some((server, real))
}

fn ensure_addable(server: &VirtualServer, address: SocketAddr, name: Option<&str>) -> Result<(), Failure> {
    let refuse = |message: String| Err(Failure::new(Code::Refused, message));
    if server.is_ipv6() != address.is_ipv6() {
        return refuse(format!("{address} is not of the address family of {}", server.name));
    }
    if server.real_servers.iter().any(|real| real.address == address) {
        return refuse(format!("{} has {address} already", server.name));
    }
    match name {
        Some(name) if server.real_servers.iter().any(|real| real.name == name) => {
            refuse(format!("{} has a real server {name} already", server.name))
        }
        Some(name) if name.contains('/') || name.chars().any(char::is_whitespace) => {
            refuse(format!("a name has no `/` and no white space: {name}"))
        }
        _ => Ok(()),
    }
}
