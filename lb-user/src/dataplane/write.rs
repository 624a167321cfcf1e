//! Applies an ordered difference to the maps: all of it, or none.

use std::sync::{Mutex, PoisonError};

use aya::{
    Pod,
    maps::{Array, HashMap, LpmTrie, MapData, MapError, lpm_trie::Key},
};
use lb_common::{
    addr::{Address, V4, V6},
    hash::HashKey,
    layout::VERSION,
    limits::NAME,
    mark::{MarkPrefix, MarkRule, MarkRules},
    service::Settings,
};

use super::{
    maps::Maps,
    scheduling::{self, SchedulingError},
};
use crate::plan::{Change, TableInput, Write};

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {map}: nothing was changed")]
pub struct WriteError {
    /// Which map.
    map: &'static str,
    #[source]
    source: Source,
}

impl WriteError {
    pub(super) fn of(map: &'static str, source: MapError) -> Self {
        Self { map, source: source.into() }
    }
}

#[derive(Debug, thiserror::Error)]
enum Source {
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Scheduling(#[from] SchedulingError),
}

/// Applies `writes` in their order; at the first failure takes back those that were done, in the opposite order.
///
/// # Errors
///
/// [`WriteError`] of the write that failed. That taking back fails too would need a map that took a value to refuse its
/// predecessor; it is logged.
pub fn apply(maps: &mut Maps, writes: &[Write]) -> Result<(), WriteError> {
    let mut done = 0;
    for step in steps(writes) {
        if let Err(error) = perform(maps, step) {
            // Of tables that are put together some may be there.
            let tables = if is_scheduling(&step[0]) { step.len() } else { 0 };
            let back: Vec<Write> =
                writes[..done + tables].iter().rev().cloned().map(Write::inverse).collect();
            for step in steps(&back) {
                if let Err(error) = perform(maps, step) {
                    tracing::error!(%error, "cannot take a write back");
                }
            }
            return Err(error);
        }
        done += step.len();
    }
    Ok(())
}

/// What is written at once: single writes, and all scheduling tables that follow one another.
fn steps(writes: &[Write]) -> impl Iterator<Item = &[Write]> {
    writes.chunk_by(|one, next| is_scheduling(one) && is_scheduling(next))
}

const fn is_scheduling(write: &Write) -> bool {
    matches!(write, Write::Scheduling(_))
}

fn perform(maps: &mut Maps, step: &[Write]) -> Result<(), WriteError> {
    match step {
        [write] => one(maps, write),
        tables => put_tables(maps, tables.iter().filter_map(table)),
    }
}

/// The scheduling table to be put, if it is one. There is no removing: a virtual server that is gone keeps an empty table.
/// Nor is there a way back to a table that nobody knows the making of: the new one stays.
fn table(write: &Write) -> Option<(u32, Vec<u32>)> {
    let Write::Scheduling(change) = write else { return None };
    match &change.new {
        None => Some((change.key, vec![0; 4])),
        Some(table) if *table == TableInput::unknown() => None,
        Some(table) => Some((change.key, table.build())),
    }
}

/// Puts scheduling tables in the places of those of virtual servers, by index.
///
/// # Errors
///
/// [`WriteError`]; some of the tables may be there.
pub fn put_tables(
    maps: &mut Maps,
    tables: impl IntoIterator<Item = (u32, Vec<u32>)>,
) -> Result<(), WriteError> {
    scheduling::put(&maps.scheduling, tables)
        .map_err(|error| WriteError { map: "SCHEDULING", source: error.into() })
}

/// Makes every entry verify its route and its real server at its next packet.
///
/// # Errors
///
/// [`WriteError`].
pub fn new_generation(maps: &mut Maps) -> Result<(), WriteError> {
    change_settings(&mut maps.settings, next_generation)
}

/// See [`new_generation`].
pub(super) fn next_generation(settings: &mut Settings) {
    settings.generation = settings.generation.checked_add(1).unwrap_or(1);
}

/// The kernel writes an element as a whole: two threads of this process that change parts of it must take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Changes a part of the settings.
pub(super) fn change_settings(
    map: &mut Array<MapData, Settings>,
    change: impl FnOnce(&mut Settings),
) -> Result<(), WriteError> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let failed = |error| WriteError::of("SETTINGS", error);
    let mut settings = map.get(&0, 0).map_err(failed)?;
    change(&mut settings);
    map.set(0, settings, 0).map_err(failed)
}

fn one(maps: &mut Maps, write: &Write) -> Result<(), WriteError> {
    let (map, result) = match write {
        Write::Settings(change) => {
            let (HashKey(hash_key), ticks_per_second, flags) = change.new.unwrap_or_default();
            return change_settings(&mut maps.settings, |settings| {
                settings.hash_key = hash_key;
                settings.ticks_per_second = ticks_per_second;
                settings.flags = flags;
                settings.generation = settings.generation.max(1);
                settings.version = VERSION;
            });
        }
        Write::Concern(word, bits) => {
            let held = maps.concerns.get(word, 0).map_err(|error| WriteError::of("CONCERNS", error))?;
            ("CONCERNS", slot(&mut maps.concerns, *word, held | bits))
        }
        Write::Interface(change) => {
            ("INTERFACES", slot(&mut maps.interfaces, change.key, change.new.unwrap_or_default()))
        }
        Write::Vlan(change) => ("VLANS", entry(&mut maps.vlans, change)),
        Write::VirtualMac(change) => ("VIRTUAL_MACS", entry(&mut maps.virtual_macs, change)),
        Write::RealServer(change) => {
            let result = slot(&mut maps.real_servers, change.key, change.new.unwrap_or_default());
            if change.old.is_none() {
                // A new real server begins with no connections and no history.
                let load = slot(&mut maps.loads, change.key, Default::default());
                ("REAL_SERVERS", result.and(load))
            } else {
                ("REAL_SERVERS", result)
            }
        }
        Write::Scheduling(_) => return put_tables(maps, table(write)),
        Write::VirtualServer(change) => {
            ("VIRTUAL_SERVERS", slot(&mut maps.virtual_servers, change.key, change.new.unwrap_or_default()))
        }
        Write::Name(change) => {
            let name = to_bytes(change.new.as_deref().unwrap_or_default());
            ("NAMES", slot(&mut maps.names, change.key, name))
        }
        Write::ReverseV4(change) => ("REVERSE_V4", entry(&mut maps.v4.reverse, change)),
        Write::ReverseV6(change) => ("REVERSE_V6", entry(&mut maps.v6.reverse, change)),
        Write::ServiceV4(change) => ("SERVICES_V4", entry(&mut maps.v4.services, change)),
        Write::ServiceV6(change) => ("SERVICES_V6", entry(&mut maps.v6.services, change)),
        Write::MarksV4(change) => ("MARKS_V4", marks(&mut maps.v4.marks, change, V4::from_wire(0))),
        Write::MarksV6(change) => ("MARKS_V6", marks(&mut maps.v6.marks, change, V6::from_wire([0; 4]))),
        Write::VipV4(change) => ("VIPS_V4", entry(&mut maps.v4.vips, change)),
        Write::VipV6(change) => ("VIPS_V6", entry(&mut maps.v6.vips, change)),
    };
    result.map_err(|source| WriteError { map, source })
}

fn slot<V: Pod>(map: &mut Array<MapData, V>, index: u32, value: V) -> Result<(), Source> {
    Ok(map.set(index, value, 0)?)
}

fn entry<K: Pod, V: Pod>(map: &mut HashMap<MapData, K, V>, change: &Change<K, V>) -> Result<(), Source> {
    match &change.new {
        Some(value) => Ok(map.insert(change.key, value, 0)?),
        None => match map.remove(&change.key) {
            Err(MapError::KeyNotFound) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        },
    }
}

/// All rules of a destination at once.
fn marks<A: Address + Pod>(
    map: &mut LpmTrie<MapData, A, MarkRules<A>>,
    change: &Change<MarkPrefix<A>, Vec<MarkRule<A>>>,
    none: A,
) -> Result<(), Source>
where
    MarkRules<A>: Pod,
{
    let key = Key::new(change.key.length, change.key.address);
    match &change.new {
        Some(rules) => Ok(map.insert(&key, MarkRules::new(rules, MarkRule::unused(none)), 0)?),
        None => match map.remove(&key) {
            Err(MapError::KeyNotFound) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        },
    }
}

/// A name as it is kept in the map: UTF-8, filled up with zeros.
#[must_use]
fn to_bytes(name: &str) -> [u8; NAME] {
    let mut bytes = [0; NAME];
    let length = name.len().min(NAME);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}
