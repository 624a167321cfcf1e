//! How long the VIP is nobody's, and how long it is everybody's, when its owner goes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use lb_tests::wait_until;

use super::capture::{Moment, Seen, What, now};
use super::node::{CONTENDERS, Contender, Setting};
use super::segment::{Segment, is_advert};
use crate::bench::spread::Spread;
use crate::bench::table::{Column, Row, Table};

const INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(100)];
/// Longer than this two owners are not watched.
const WATCH: Duration = Duration::from_secs(10);
/// A takeover takes less.
const PATIENCE: Duration = Duration::from_secs(20);

/// What happens to the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Killed,
    Ended,
    Unplugged,
}

const FAULTS: [(Fault, &str); 3] =
    [(Fault::Killed, "kill -9"), (Fault::Ended, "SIGTERM"), (Fault::Unplugged, "link lost")];

/// What was seen of a takeover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Takeover {
    /// From the old owner's last answer to the new one's first sign.
    nobody: Duration,
    /// From the old owner's last advertisement to the new one's first announcement.
    election: Duration,
    /// From the new owner's first answer to the old one's last.
    both: Duration,
}

/// Pairs of both contenders, in turns.
pub(super) fn measure(program: &Path, rounds: usize) -> Result<Table> {
    let mut rows = Vec::new();
    for interval in INTERVALS {
        for (fault, what) in FAULTS {
            let mut seen = CONTENDERS.map(|_| Vec::new());
            for round in 1..=rounds {
                eprintln!("vrrp: {what}, interval {interval:?}, round {round} of {rounds}");
                for (contender, seen) in CONTENDERS.into_iter().zip(&mut seen) {
                    let takeover = once((contender, program), interval, fault);
                    seen.push(takeover.with_context(|| format!("{}, {what}", contender.name()))?);
                }
            }
            rows.extend(CONTENDERS.into_iter().zip(seen).map(|(contender, seen)| {
                row(contender, format!("{}, {what}, {interval:?}", contender.name()), &seen)
            }));
        }
    }
    Ok(Table {
        name: "takeover",
        title: "Takeover of a VIP".into(),
        columns: vec![
            Column::new("without an owner", "ms", 0),
            Column::new("longest", "ms", 0),
            Column::new("last advertisement to first announcement", "ms", 0),
            Column::new("longest", "ms", 0),
            Column::new("two owners", "s", 1),
        ],
        rows,
        drawn: 2,
        notes: vec![format!(
            "Medians of {rounds} rounds, contenders in turns. Two owners were watched for {} s.",
            WATCH.as_secs()
        )],
    })
}

fn once(contender: (Contender, &Path), interval: Duration, fault: Fault) -> Result<Takeover> {
    let mut segment = Segment::start(contender, Setting::plain(interval))?;
    let before = now().saturating_sub(interval * 2);
    let broken = now();
    match fault {
        Fault::Killed => segment.nodes[0].kill()?,
        Fault::Ended => segment.nodes[0].end()?,
        Fault::Unplugged => segment.unplug()?,
    }
    let announced = |seen: &Seen| seen.node == 1 && matches!(seen.what, What::Announcement(_));
    wait_until("the second node to announce the VIP", PATIENCE, || {
        segment.since(broken).iter().any(announced)
    })?;
    wait_until("one owner, or the end of the watch", WATCH * 2, || {
        let since = segment.since(broken).iter().find(|seen| announced(seen)).map(|seen| seen.at);
        segment.is_owner(1) || since.is_some_and(|since| now() >= since + WATCH)
    })?;
    takeover(&segment.since(before), broken).context("not seen")
}

/// From everything since shortly before something was done about the owner.
fn takeover(seen: &[Seen], broken: Moment) -> Option<Takeover> {
    let answers = |node| {
        let all = seen.iter().filter(move |seen| seen.node == node && matches!(seen.what, What::Answer(_)));
        all.map(|seen| seen.at)
    };
    let new = |seen: &&Seen| seen.node == 1 && seen.at >= broken;
    // As master again; what it repeats of an earlier time is none.
    let mut as_master = seen.iter().filter(new).skip_while(|seen| !is_advert(seen, 1));
    let announced = as_master.find(|seen| matches!(seen.what, What::Announcement(_)))?.at;
    let answered = answers(1).find(|at| *at >= broken)?;
    let last = answers(0).next_back()?;
    let advertised = seen.iter().rfind(|seen| is_advert(seen, 0) || resigns(seen))?.at;
    Some(Takeover {
        nobody: announced.min(answered).saturating_sub(last),
        election: announced.saturating_sub(advertised),
        both: last.saturating_sub(answered),
    })
}

fn resigns(seen: &Seen) -> bool {
    seen.node == 0 && seen.what == What::Advert(0)
}

fn row(contender: Contender, name: String, seen: &[Takeover]) -> Row {
    let figures = |of: fn(&Takeover) -> Duration| {
        let all: Vec<_> = seen.iter().map(|takeover| of(takeover).as_secs_f64()).collect();
        (Spread::of(&all).median, all.iter().copied().fold(0.0, f64::max))
    };
    let (nobody, election) = (figures(|takeover| takeover.nobody), figures(|takeover| takeover.election));
    let (both, _) = figures(|takeover| takeover.both);
    let figures = [nobody.0 * 1e3, nobody.1 * 1e3, election.0 * 1e3, election.1 * 1e3, both];
    Row { name, ours: contender == Contender::Xlb, figures: figures.map(Some).to_vec() }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const VIP: Ipv4Addr = Ipv4Addr::new(10, 51, 0, 100);

    fn seen(at: u64, node: usize, what: What) -> Seen {
        Seen { at: Duration::from_millis(at), node, what }
    }

    #[test]
    fn a_takeover_is_read_from_frames() {
        let gap = [
            seen(1000, 0, What::Advert(150)),
            seen(1300, 0, What::Answer(VIP)),
            seen(4600, 1, What::Advert(100)),
            seen(4601, 1, What::Announcement(VIP)),
            seen(4605, 1, What::Answer(VIP)),
        ];
        let ms = Duration::from_millis;
        let expected = Takeover { nobody: ms(3301), election: ms(3601), both: ms(0) };
        assert_eq!(takeover(&gap, ms(1200)), Some(expected));

        let mut two = gap.to_vec();
        two.push(seen(9605, 0, What::Answer(VIP)));
        let expected = Takeover { nobody: ms(0), election: ms(3601), both: ms(5000) };
        assert_eq!(takeover(&two, ms(1200)), Some(expected));
        assert_eq!(takeover(&gap[..3], ms(1200)), None);
    }
}
