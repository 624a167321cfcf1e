//! Puts, renews and removes the routes and rules that follow the role of master.
//!
//! Unlike addresses they have no lifetime: what a process that is killed leaves, its next start removes.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
};

use crate::{
    config::vrrp::{VirtualRoute, VrrpInstance},
    host::{
        addresses::Put,
        interfaces::Interfaces,
        routes::{Entry, Routes},
    },
};

/// What there is of every instance; none for an entry that could not be put, which was said.
#[derive(Debug)]
pub(super) struct Paths {
    routes: Routes,
    held: HashMap<String, BTreeMap<Entry, Option<Put>>>,
}

impl Paths {
    /// Nothing is held; what an earlier run left is removed.
    pub(super) async fn begin(routes: Routes) -> Self {
        match routes.remove_left().await {
            Ok(0) => {}
            Ok(count) => tracing::warn!(count, "routes and rules that an earlier run left are removed"),
            Err(error) => {
                tracing::error!(error = &error as &dyn Error, "cannot look for routes that are left");
            }
        }
        Self { routes, held: HashMap::new() }
    }

    /// The routes and rules of the instance, and no others of it, are there.
    pub(super) async fn hold(&mut self, interfaces: &Interfaces, instance: &VrrpInstance) {
        if instance.virtual_routes.is_empty() && instance.virtual_rules.is_empty() {
            return self.release(&instance.name).await;
        }
        let wanted = entries(interfaces, instance);
        let held = self.held.entry(instance.name.clone()).or_default();
        let unwanted: Vec<_> = held.extract_if(.., |entry, _| !wanted.contains(entry)).collect();
        for (entry, put) in unwanted {
            remove(&self.routes, &entry, put).await;
        }
        for entry in wanted {
            let before = held.get(&entry).copied();
            let put = match put(&self.routes, &entry).await {
                // It is still there.
                Ok(Put::Foreign) if before == Some(Some(Put::Ours)) => Some(Put::Ours),
                Ok(put) => {
                    if put == Put::Foreign && before.is_none() {
                        tracing::warn!(instance = instance.name, entry = words(&entry), "is there already");
                    }
                    Some(put)
                }
                Err(reason) => {
                    if before != Some(None) {
                        tracing::error!(
                            instance = instance.name,
                            entry = words(&entry),
                            reason,
                            "is missing"
                        );
                    }
                    None
                }
            };
            held.insert(entry, put);
        }
    }

    /// None of its routes and rules.
    pub(super) async fn release(&mut self, instance: &str) {
        for (entry, put) in self.held.remove(instance).unwrap_or_default().into_iter().rev() {
            remove(&self.routes, &entry, put).await;
        }
    }
}

async fn put(routes: &Routes, entry: &Entry) -> Result<Put, String> {
    if let Entry::Route(VirtualRoute { device: Some(device), .. }, None) = entry {
        return Err(format!("no interface {device}"));
    }
    routes.put(entry).await.map_err(|error| error.to_string())
}

async fn remove(routes: &Routes, entry: &Entry, put: Option<Put>) {
    if put == Some(Put::Ours)
        && let Err(error) = routes.remove(entry).await
    {
        tracing::error!(entry = words(entry), error = &error as &dyn Error, "is left");
    }
}

/// Routes first: a rule that leads into an empty table leads nowhere.
fn entries(interfaces: &Interfaces, instance: &VrrpInstance) -> Vec<Entry> {
    let index = |device: &String| interfaces.get(device).map(|interface| interface.index);
    let routes = instance.virtual_routes.iter();
    let routes = routes.map(|route| Entry::Route(route.clone(), route.device.as_ref().and_then(index)));
    routes.chain(instance.virtual_rules.iter().cloned().map(Entry::Rule)).collect()
}

fn words(entry: &Entry) -> String {
    match entry {
        Entry::Route(route, _) => format!("route {route}"),
        Entry::Rule(rule) => format!("rule {rule}"),
    }
}
