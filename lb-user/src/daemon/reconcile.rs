//! What somebody has changed by hand behind the daemon's back, in maps, links and sysctls, is put right, said and counted.

use std::collections::BTreeMap;

use super::{Daemon, engine::Engine, start};
use crate::{
    config::model::SysctlPolicy,
    control::event::Kind,
    dataplane::{read, write},
    host::{
        links::links,
        neighbours,
        sysctl::{Needs, Sysctls},
    },
    plan::{self, Write},
};

/// How often what was put right, by its kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Reconciled(BTreeMap<&'static str, u64>);

impl Reconciled {
    /// For status and metrics.
    pub(super) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect()
    }
}

impl Engine {
    /// Reads the maps back and writes what is not as it was written; the kinds of what differed. Scheduling tables are not
    /// read back.
    fn reconcile(&mut self) -> anyhow::Result<Vec<&'static str>> {
        let mut found = read::read(&self.maps)?;
        found.scheduling.clone_from(&self.current.scheduling);
        let writes = plan::diff(&found, &self.current);
        write::apply(&mut self.maps, &writes)?;
        if plan::needs_new_generation(&writes) {
            write::new_generation(&mut self.maps)?;
        }
        Ok(writes.iter().map(kind).collect())
    }
}

fn kind(write: &Write) -> &'static str {
    match write {
        Write::Settings(_) => "settings",
        Write::Interface(_) | Write::Vlan(_) | Write::VirtualMac(_) => "interfaces",
        Write::RealServer(_) => "real_servers",
        Write::Scheduling(_) | Write::VirtualServer(_) | Write::Name(_) => "virtual_servers",
        Write::MarksV4(_) | Write::MarksV6(_) => "marks",
        Write::Concern(..)
        | Write::ReverseV4(_)
        | Write::ReverseV6(_)
        | Write::ServiceV4(_)
        | Write::ServiceV6(_)
        | Write::VipV4(_)
        | Write::VipV6(_) => "services",
    }
}

impl Daemon {
    /// Looks at everything once.
    pub(super) async fn reconcile(&mut self) {
        match self.engine.reconcile() {
            Ok(kinds) => {
                let mut each = BTreeMap::<_, u64>::new();
                kinds.into_iter().for_each(|kind| *each.entry(kind).or_default() += 1);
                for (kind, entries) in each {
                    self.put_right(kind, entries, &format!("{entries} entries of the map of {kind}"));
                }
            }
            Err(error) => tracing::error!("cannot compare the maps: {error:#}"),
        }
        if let Err(error) = self.reconcile_links().await {
            tracing::error!("cannot compare the links: {error:#}");
        }
        self.reconcile_sysctls();
        // Nothing is put right here, so nothing is counted: it keeps link addresses from growing old.
        let interfaces = self.engine.host.interfaces.keys().copied().collect();
        if let Err(error) = neighbours::ask_the_stale(&interfaces).await {
            tracing::warn!("cannot ask stale neighbours: {error}");
        }
    }

    /// A program that is not ours cannot take the place of a link; but a pin can be removed, and the program with it.
    async fn reconcile_links(&mut self) -> anyhow::Result<()> {
        let Some(pins) = &self.pins else { return Ok(()) };
        let ours = self.programs.id();
        let links = links(&self.engine.config.global.interfaces).await?;
        let astray: Vec<String> = links
            .iter()
            .filter(|link| link.xdp.map(|xdp| xdp.program_id) != ours || !pins.link(link.index).exists())
            .map(|link| link.name.clone())
            .collect();
        if astray.is_empty() {
            return Ok(());
        }
        self.attached = start::attach_all(&self.engine, &links, pins, &self.programs)?;
        start::modes(&mut self.attached).await?;
        for name in astray {
            self.put_right("links", 1, &format!("the program on {name}"));
        }
        Ok(())
    }

    fn reconcile_sysctls(&mut self) {
        let global = &self.engine.config.global;
        if global.sysctl != SysctlPolicy::Apply {
            return;
        }
        // What cannot be set was said at the start.
        for change in Sysctls::new(&global.state_dir).apply(&Needs::of(&self.engine.config)).changes {
            self.put_right("sysctls", 1, &format!("{} from {} to {}", change.name, change.from, change.to));
        }
    }

    fn put_right(&mut self, kind: &'static str, count: u64, what: &str) {
        *self.reconciled.0.entry(kind).or_default() += count;
        self.note(Kind::Reconcile, kind, &format!("changed by hand, put right: {what}"));
    }
}
