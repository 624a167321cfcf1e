//! Applies an ordered difference to the maps: all of it, or none.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use aya::{
    Pod,
    maps::{Array, HashMap, IterableMap as _, LpmTrie, MapData, MapError, lpm_trie::Key},
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
    batch,
    maps::{Maps, SlotPair},
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
    Io(#[from] io::Error),
}

/// Flags of a scheduling table, the same as of its prototype in the object: `BPF_F_MMAPABLE | BPF_F_INNER_MAP`.
const SCHEDULING_FLAGS: u32 = 1 << 10 | 1 << 12;

/// Applies `writes` in their order; at the first failure takes back those that were done, in the opposite order.
///
/// # Errors
///
/// [`WriteError`] of the write that failed. That taking back fails too would need a map that took a value to refuse its
/// predecessor; it is logged.
pub fn apply(maps: &mut Maps, writes: &[Write]) -> Result<(), WriteError> {
    for (done, write) in writes.iter().enumerate() {
        if let Err(error) = one(maps, write) {
            for write in writes[..done].iter().rev() {
                if let Err(error) = one(maps, &write.clone().inverse()) {
                    tracing::error!(%error, "cannot take a write back");
                }
            }
            return Err(error);
        }
    }
    Ok(())
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
        Write::Interface(change) => {
            ("INTERFACES", slot(&mut maps.interfaces, change.key, change.new.unwrap_or_default()))
        }
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
        Write::Scheduling(change) => ("SCHEDULING", scheduling(maps, change.key, change.new.as_ref())),
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

/// A new table is filled before it is put in the place of the old one, which readers leave by themselves. There is no
/// removing: a virtual server that is gone keeps an empty table.
fn scheduling(maps: &mut Maps, index: u32, table: Option<&TableInput>) -> Result<(), Source> {
    let slots = table.map_or_else(|| vec![0; 4], TableInput::build);
    let pairs: Vec<SlotPair> =
        slots.chunks(2).map(|pair| [pair[0], pair.get(1).copied().unwrap_or_default()]).collect();
    let table = Array::<MapData, SlotPair>::create(pairs.len() as u32, SCHEDULING_FLAGS)?;
    batch::fill(table.map().fd(), &pairs)?;
    Ok(maps.scheduling.set(index, &table, 0)?)
}

/// A name as it is kept in the map: UTF-8, filled up with zeros.
#[must_use]
fn to_bytes(name: &str) -> [u8; NAME] {
    let mut bytes = [0; NAME];
    let length = name.len().min(NAME);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}
