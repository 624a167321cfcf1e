//! How soon a new master has announced hundreds of addresses.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lb_tests::wait_until;

use super::capture::{Seen, What, now};
use super::node::{CONTENDERS, Contender, Setting};
use super::segment::{Segment, is_advert};
use crate::bench::spread::Spread;
use crate::bench::table::{Column, Row, Table};

/// As many as are asked for in one advertisement, and more than it holds.
const COUNTS: [u16; 2] = [250, 301];
const PATIENCE: Duration = Duration::from_secs(30);

/// Pairs of both contenders, in turns.
pub(super) fn measure(program: &Path, rounds: usize) -> Result<Table> {
    let mut rows = Vec::new();
    for addresses in COUNTS {
        let mut seen = CONTENDERS.map(|_| Vec::new());
        for round in 1..=rounds {
            eprintln!("vrrp: {addresses} addresses, round {round} of {rounds}");
            for (contender, seen) in CONTENDERS.into_iter().zip(&mut seen) {
                let measured = once((contender, program), addresses);
                seen.push(measured.with_context(|| format!("{}, {addresses} addresses", contender.name()))?);
            }
        }
        for (contender, seen) in CONTENDERS.into_iter().zip(seen) {
            let median = |of: fn(&[f64]) -> Option<f64>| {
                Some(Spread::of(&seen.iter().filter_map(|times| of(times)).collect::<Vec<_>>()).median)
            };
            let last: Vec<_> = seen.iter().filter_map(|times| times.last().copied()).collect();
            rows.push(Row {
                name: format!("{}, {addresses} addresses", contender.name()),
                ours: contender == Contender::Xlb,
                figures: vec![
                    median(|times| times.first().copied()),
                    median(|times| times.get(times.len() / 2).copied()),
                    median(|times| times.last().copied()),
                    last.into_iter().reduce(f64::max),
                ],
            });
        }
    }
    Ok(Table {
        name: "announcements",
        title: "First announcement of each address".into(),
        columns: vec![
            Column::new("first address", "ms", 1),
            Column::new("half of them", "ms", 1),
            Column::new("last address", "ms", 1),
            Column::new("longest", "ms", 1),
        ],
        rows,
        drawn: 2,
        notes: vec![format!(
            "From the new master's first advertisement, after SIGTERM to the old one; medians of {rounds} rounds, contenders in turns."
        )],
    })
}

/// Milliseconds from the first advertisement of the new master to the first announcement of each address, in order.
fn once(contender: (Contender, &Path), addresses: u16) -> Result<Vec<f64>> {
    let setting = Setting { addresses, ..Setting::plain(Duration::from_secs(1)) };
    let mut segment = Segment::start(contender, setting)?;
    let since = now();
    segment.nodes[0].end()?;
    let mut times = None;
    wait_until("every address to be announced", PATIENCE, || {
        times = announcements(&segment.since(since), setting.vips());
        times.is_some()
    })?;
    times.context("not seen")
}

/// None while one is missing. What the new master still repeats of an earlier time as master, before its advertisement, is
/// none.
fn announcements(seen: &[Seen], vips: impl Iterator<Item = Ipv4Addr>) -> Option<Vec<f64>> {
    let seen = &seen[seen.iter().position(|seen| is_advert(seen, 1))?..];
    let since = seen.first()?.at;
    let first = |vip| seen.iter().find(|seen| seen.node == 1 && seen.what == What::Announcement(vip));
    let mut times = vips
        .map(|vip| Some(first(vip)?.at.saturating_sub(since).as_secs_f64() * 1e3))
        .collect::<Option<Vec<_>>>()?;
    times.sort_by(f64::total_cmp);
    Some(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_repeats_before_it_is_master_again_is_no_announcement() {
        let vips = [1, 2].map(|last| Ipv4Addr::new(10, 51, 0, last));
        let seen = |at, node, what| Seen { at: Duration::from_millis(at), node, what };
        let of = |at, vip| seen(at, 1, What::Announcement(vip));
        let mut frames = vec![
            of(1000, vips[0]),
            seen(1100, 0, What::Advert(0)),
            of(1200, vips[1]),
            seen(1700, 1, What::Advert(100)),
            of(1710, vips[1]),
        ];
        assert_eq!(announcements(&frames, vips.into_iter()), None);
        frames.push(of(1730, vips[0]));
        assert_eq!(announcements(&frames, vips.into_iter()), Some(vec![10.0, 30.0]));
    }
}
