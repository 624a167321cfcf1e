//! What a packet that is not valid does every 900 ms to a master, and to a backup whose master goes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lb_tests::wait_until;

use super::capture::{Moment, Seen, What, now};
use super::frame::{Repeat, Wrong, advertisement};
use super::node::{CONTENDERS, Contender, Setting};
use super::segment::{Segment, is_advert};
use crate::bench::table::{Column, Row, Table};

/// A little more often than the nodes advertise.
const EVERY: Duration = Duration::from_millis(900);
/// How long the master is looked at, and then the backup.
const WATCH: Duration = Duration::from_secs(15);

const CASES: [(Option<Wrong>, &str); 4] = [
    (None, "no such packet"),
    (Some(Wrong::Checksum), "a wrong checksum"),
    (Some(Wrong::HopLimit), "a TTL of 254"),
    (Some(Wrong::Password), "a wrong password"),
];

/// Pairs of both contenders, in turns.
pub(super) fn measure(program: &Path) -> Result<Table> {
    let mut rows = Vec::new();
    for (wrong, what) in CASES {
        eprintln!("vrrp: {what}, every {EVERY:?}");
        for contender in CONTENDERS {
            let figures =
                once((contender, program), wrong).with_context(|| format!("{}, {what}", contender.name()))?;
            let name = format!("{}, {what}", contender.name());
            rows.push(Row { name, ours: contender == Contender::Xlb, figures });
        }
    }
    let watch = WATCH.as_secs();
    Ok(Table {
        name: "invalid",
        title: "An invalid packet every 900 ms".into(),
        columns: vec![
            Column::new("longest silence of the master", "s", 1),
            Column::new("advertisements of the backup meanwhile", "", 0),
            Column::new("takeover when the master's link is lost", "s", 1),
        ],
        rows,
        drawn: 0,
        notes: vec![format!(
            "Version 2 with a password, interval 1 s; the packets are of priority 200. The master was watched for {watch} s, then \
             the backup without it for {watch} s: a dash is a VIP that nobody took over.",
        )],
    })
}

fn once(contender: (Contender, &Path), wrong: Option<Wrong>) -> Result<Vec<Option<f64>>> {
    let setting = Setting { password: true, ..Setting::plain(Duration::from_secs(1)) };
    let segment = Segment::start(contender, setting)?;
    let vip = setting.vips().next().context("no virtual address")?;
    let _packets = match wrong {
        Some(wrong) => Some(Repeat::start(&segment.client, advertisement(vip, wrong)?, EVERY)?),
        None => None,
    };
    let began = now();
    wait_until("the end of the watch", WATCH * 2, || now() >= began + WATCH)?;
    let seen = segment.since(began);
    let silence = silence(&seen, began, now());
    let of_backup = seen.iter().filter(|seen| is_advert(seen, 1)).count();
    let unplugged = now();
    segment.unplug()?;
    let taken = || {
        let announced = |seen: &Seen| seen.node == 1 && matches!(seen.what, What::Announcement(_));
        segment.since(unplugged).into_iter().find(announced).map(|seen| seen.at.saturating_sub(unplugged))
    };
    wait_until("a takeover, or the end of the watch", WATCH * 2, || {
        taken().is_some() || now() >= unplugged + WATCH
    })?;
    let taken = taken().map(|taken| taken.as_secs_f64());
    Ok(vec![Some(silence.as_secs_f64()), Some(of_backup as f64), taken])
}

/// The longest time without an advertisement of the first node.
fn silence(seen: &[Seen], from: Moment, to: Moment) -> Duration {
    let adverts = seen.iter().filter(|seen| is_advert(seen, 0)).map(|seen| seen.at);
    let moments: Vec<_> = [from].into_iter().chain(adverts).chain([to]).collect();
    moments.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or_default()
}
