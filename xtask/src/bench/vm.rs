//! `bench vm`: how many instructions one packet takes from wire to wire, beside IPVS.
//!
//! Debian's kernel, which has IPVS, is booted in qemu once for each contender. Emulated instructions can be counted, and
//! are the same every time, however busy this machine is.

mod count;

use std::time::Duration;

use anyhow::{Context, Result};

pub(crate) use self::count::count;
use self::count::{Rounds, WORKS};
use super::ground::Contender;
use super::spread::Spread;
use super::table::{Column, Row, Table, grouped};
use super::{Effort, Subject};
use crate::vm::{self, Archive, Counting, Kernel, Machine};
use crate::{build_ebpf, setup, toolchain};

/// The oldest kernel that xlb supports.
const SERIES: &str = "6.1";

/// All that take part, in the order they are shown.
const CONTENDERS: [Contender; 11] = [
    Contender::Xlb("wrr"),
    Contender::Xlb("sh"),
    Contender::Xlb("mh"),
    Contender::Router,
    Contender::Route,
    Contender::Flowtable,
    Contender::Nftables,
    Contender::Ipvs("wrr"),
    Contender::Ipvs("sh"),
    Contender::Ipvs("mh"),
    FLOOR,
];

/// What is taken off all figures.
const FLOOR: Contender = Contender::Redirect;

/// What guests need besides what every guest needs: programs, each with Debian's package of it.
const PROGRAMS: [(&str, &str); 5] = [
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("ethtool", "ethtool"),
    ("nft", "nftables"),
    ("ipvsadm", "ipvsadm"),
];

/// Modules that every guest needs.
const MODULES: [&str; 2] = ["veth", "bridge"];

/// Files of a guest.
const XLB: &str = "/bin/xlb";
const OBJECT: &str = "/bench.o";

/// Of one guest.
const PATIENCE: Duration = Duration::from_secs(600);

impl Contender {
    /// With its scheduler.
    fn label(self) -> String {
        match self {
            Self::Xlb(scheduler) | Self::Ipvs(scheduler) => format!("{}, {scheduler}", self.name()),
            _ => self.name().to_owned(),
        }
    }

    /// Modules of the kernel that it needs besides [`MODULES`].
    const fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Xlb(_) | Self::Router | Self::Route | Self::Redirect => &[],
            Self::Nftables => &["nft_chain_nat", "nft_numgen"],
            Self::Flowtable => {
                &["nft_chain_nat", "nft_numgen", "nft_ct", "nft_flow_offload", "nf_flow_table_inet"]
            }
            Self::Ipvs(_) => &["ip_vs_wrr", "ip_vs_sh", "ip_vs_mh"],
        }
    }
}

/// Measures.
pub(crate) fn run(subject: &Subject) -> Result<Vec<Table>> {
    setup::run_with(&[&vm::PROGRAMS[..], &PROGRAMS[..]].concat())?;
    let rounds = match subject.effort {
        Effort::Quick => 1,
        Effort::Full => 5,
    };
    let object = build_ebpf::bench()?;
    let kernel = Kernel::of_series(SERIES)?;
    let wanted = |contender: Contender| {
        let named = |part: &String| contender.label().contains(part.as_str());
        contender == FLOOR || subject.only.is_empty() || subject.only.iter().any(named)
    };
    let mut counted = Vec::new();
    for (position, contender) in CONTENDERS.into_iter().enumerate().filter(|(_, one)| wanted(*one)) {
        let label = contender.label();
        eprintln!("vm: {label} ({} of {})", position + 1, CONTENDERS.len());
        let mut archive = Archive::new()?;
        archive.program(&subject.program, XLB.trim_start_matches('/'))?;
        archive.file(&object, OBJECT.trim_start_matches('/'))?;
        for (name, _) in PROGRAMS {
            let program = toolchain::find_program(name).with_context(|| format!("no program {name}"))?;
            archive.program(&program, &format!("bin/{name}"))?;
        }
        let modules = [&MODULES, contender.modules()].concat();
        vm::guest::add_modules(&mut archive, kernel.modules(&modules)?);
        let machine = Machine {
            kernel: &kernel,
            archive: &archive,
            counting: Counting::Instructions,
            memory: 2048,
            patience: PATIENCE,
        };
        let mut console = String::new();
        let task = ["count", &position.to_string(), &rounds.to_string()];
        let answer = machine
            .run(&task, |line| console += &format!("\n{line}"))
            .with_context(|| format!("{label}{console}"))?;
        counted.push((contender, serde_json::from_str::<Vec<Rounds>>(&answer)?));
    }
    Ok(vec![table(&counted, &kernel)])
}

/// Instructions a packet, net of the floor.
fn table(counted: &[(Contender, Vec<Rounds>)], kernel: &Kernel) -> Table {
    let spread = |rounds: &Rounds| Spread::of(&rounds.iter().copied().flatten().collect::<Vec<_>>());
    let floor: Vec<f64> = counted
        .iter()
        .filter(|(contender, _)| *contender == FLOOR)
        .flat_map(|(_, counted)| counted.iter().map(|rounds| spread(rounds).median))
        .collect();
    let rows = counted.iter().map(|(contender, counted)| {
        let net = counted.iter().zip(&floor).map(|(rounds, floor)| spread(rounds).median - floor);
        Row {
            name: contender.label(),
            ours: matches!(contender, Contender::Xlb(_)),
            figures: net.map(|net| (*contender != FLOOR && net.is_finite()).then_some(net)).collect(),
        }
    });
    let noise = counted
        .iter()
        .flat_map(|(_, counted)| counted.iter().map(spread))
        .map(|spread| spread.width() / spread.median)
        .fold(0.0, f64::max);
    Table {
        name: "vm",
        title: "Instructions of a packet from wire to wire".into(),
        columns: WORKS.iter().map(|work| Column::new(work.name, "instructions", 0)).collect(),
        rows: rows.collect(),
        drawn: 0,
        notes: vec![format!(
            "Of Linux {} in qemu, one boot for each line. IPv4, frames of 80 bytes, 1,000 connections in turn, or a new one \
             each packet; net of sending, redirecting and counting, which take {} instructions. The largest distance between \
             the quartiles of a figure is {:.1} % of it.",
            kernel.release,
            grouped(floor.first().copied().unwrap_or(f64::NAN), 0),
            100.0 * noise
        )],
    }
}
