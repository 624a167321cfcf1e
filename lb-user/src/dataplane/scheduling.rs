//! Puts scheduling tables in place: filled first, then swapped, many at once.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::maps::{Array, IterableMap as _, MapData, MapError};

use super::batch;

/// Two slots of a scheduling table: the kernel rounds elements of such arrays up to 8 bytes.
type SlotPair = [u32; 2];

/// Flags of a scheduling table, the same as of its prototype in the object: `BPF_F_MMAPABLE | BPF_F_INNER_MAP`.
const FLAGS: u32 = 1 << 10 | 1 << 12;

/// Tables that are put by one call. Each is an open file until then, and the kernel waits for packets once a call.
const TOGETHER: usize = 1024;

/// Why tables were not put.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchedulingError {
    /// One cannot be made.
    #[error(transparent)]
    Map(#[from] MapError),
    /// One cannot be filled, or they cannot be put.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Puts every table of `tables`, slots as [`lb_common::service::SchedulingHead`] says, in the place of that of its virtual
/// server. A packet finds the old table or the new one, and readers leave the old one by themselves.
///
/// # Errors
///
/// [`SchedulingError`]; some of the tables may have been put.
pub(super) fn put(
    scheduling: &MapData,
    tables: impl IntoIterator<Item = (u32, Vec<u32>)>,
) -> Result<(), SchedulingError> {
    let mut tables = tables.into_iter();
    loop {
        let some = tables.by_ref().take(TOGETHER).map(|(index, slots)| Ok((index, filled(&slots)?)));
        let (indices, made): (Vec<u32>, Vec<_>) = some.collect::<Result<_, SchedulingError>>()?;
        if indices.is_empty() {
            return Ok(());
        }
        let files: Vec<BorrowedFd<'_>> = made.iter().map(|table| table.map().fd().as_fd()).collect();
        batch::put(scheduling.fd(), &indices, &files)?;
    }
}

/// A new table with `slots` in it.
fn filled(slots: &[u32]) -> Result<Array<MapData, SlotPair>, SchedulingError> {
    let pairs: Vec<SlotPair> =
        slots.chunks(2).map(|pair| [pair[0], pair.get(1).copied().unwrap_or_default()]).collect();
    let table = Array::create(pairs.len() as u32, FLAGS)?;
    batch::fill(table.map().fd(), &pairs)?;
    Ok(table)
}
