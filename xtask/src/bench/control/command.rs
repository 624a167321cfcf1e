//! A weight command: how long until packets go by it, and how long until it has ended.

use std::thread;

use anyhow::{Result, anyhow};
use aya::maps::{Array, ArrayOfMaps, IterableMap as _, Map, MapData};
use lb_common::layout::map;
use lb_tests::{Daemon, Site};

use super::pools::Pools;
use super::{now, timed};
use crate::bench::spread::Spread;

/// Commands that are measured.
const COMMANDS: u32 = 21;

/// Weight commands to the first real server, each with another weight: medians in milliseconds, from the command's start to
/// its new scheduling table and to its own end, for which the kernel waits until no packet uses the old table.
pub(super) fn weigh(site: &Site, daemon: &Daemon) -> Result<[f64; 2]> {
    let name = format!("{}/{}", Pools::name(0), Pools::small().real_server(0, 0));
    let table = Table::of(site)?;
    let (mut reached, mut ended) = (Vec::new(), Vec::new());
    for weight in 2..2 + COMMANDS {
        let old = table.identity()?;
        let begin = now();
        thread::scope(|scope| {
            let command = scope.spawn(|| timed(|| daemon.xlb(&["weight", &name, &weight.to_string()])));
            while table.identity()? == old && !command.is_finished() {
                thread::yield_now();
            }
            reached.push((now() - begin).as_secs_f64() * 1e3);
            let (_, time) = command.join().map_err(|_| anyhow!("a weight command panicked"))??;
            ended.push(time);
            anyhow::Ok(())
        })?;
    }
    Ok([Spread::of(&reached).median, Spread::of(&ended).median])
}

/// The scheduling table of the first virtual server, wherever it is.
struct Table(ArrayOfMaps<MapData, Array<MapData, [u32; 2]>>);

impl Table {
    fn of(site: &Site) -> Result<Self> {
        let pin = site.bpffs.path().join("xlb").join("maps").join(map::SCHEDULING);
        Ok(Self(Map::from_map_data(MapData::from_pin(pin)?)?.try_into()?))
    }

    /// Another one for each table.
    fn identity(&self) -> Result<u32> {
        // One that is replaced just now may be gone before it is opened.
        let table = self.0.get(&0, 0).or_else(|_| self.0.get(&0, 0))?;
        Ok(table.map().info()?.id())
    }
}
