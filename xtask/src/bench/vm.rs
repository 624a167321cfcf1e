//! `bench vm`: how many instructions one packet takes from wire to wire, beside IPVS.
//!
//! Debian's kernel, which has IPVS, is booted in qemu. Emulated instructions can be counted, and are the same every time,
//! however busy this machine is.

mod count;

use std::time::Duration;

use anyhow::{Context, Result};

pub(crate) use self::count::count;
use self::count::{Counted, OBJECT, ORDER, Order, Rounds, WORKS, XLB};
use super::ground::Contender;
use super::spread::Spread;
use super::table::{Column, Row, Table, grouped};
use super::{Effort, Subject};
use crate::vm::{self, Archive, Counting, Kernel, Machine};
use crate::{build_ebpf, setup, toolchain};

/// The oldest kernel that xlb supports.
const SERIES: &str = "6.1";

/// All that take part besides the floor, in the order they are shown.
const CONTENDERS: [Contender; 7] = [
    Contender::Xlb,
    Contender::Router,
    Contender::Route,
    Contender::Flowtable,
    Contender::Nftables,
    Contender::Ipvs,
    Contender::Redirect,
];

/// What is taken off all figures.
const FLOOR: Contender = Contender::Sink;

/// What guests need besides what every guest needs: programs, each with Debian's package of it.
const PROGRAMS: [(&str, &str); 5] = [
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("ethtool", "ethtool"),
    ("nft", "nftables"),
    ("ipvsadm", "ipvsadm"),
];

/// What the contenders need of the kernel's modules.
const MODULES: [&str; 13] = [
    "veth",
    "bridge",
    "nft_chain_nat",
    "nft_nat",
    "nft_numgen",
    "nft_hash",
    "nft_ct",
    "nft_flow_offload",
    "nf_flow_table_inet",
    "ip_vs_wlc",
    "ip_vs_wrr",
    "ip_vs_sh",
    "ip_vs_mh",
];

/// The guest is given up then.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Measures.
pub(crate) fn run(subject: &Subject) -> Result<Vec<Table>> {
    setup::run_with(&[&vm::PROGRAMS[..], &PROGRAMS[..]].concat())?;
    let kernel = Kernel::of_series(SERIES)?;
    let mut archive = Archive::new()?;
    archive.program(&subject.program, place(XLB))?;
    archive.file(&build_ebpf::bench()?, place(OBJECT))?;
    archive.content(place(ORDER), serde_json::to_vec(&order(subject))?);
    for (name, _) in PROGRAMS {
        let program = toolchain::find_program(name).with_context(|| format!("no program {name}"))?;
        archive.program(&program, &format!("bin/{name}"))?;
    }
    vm::guest::add_modules(&mut archive, kernel.modules(&MODULES)?);
    let machine = Machine {
        kernel: &kernel,
        archive: &archive,
        counting: Counting::Instructions,
        memory: 2048,
        patience: PATIENCE,
    };
    eprintln!("vm: Linux {} starts in qemu", kernel.release);
    let answer = machine.run(&["count"], |line| eprintln!("{line}"))?;
    let counted: Counted = serde_json::from_str(&answer)?;
    let mut tables = Vec::new();
    if !counted.contenders.is_empty() {
        tables.push(forwarding(&counted.contenders, &kernel));
    }
    if !counted.program.is_empty() {
        tables.push(program(counted.program, &kernel));
    }
    Ok(tables)
}

/// The place in an archive of a file of the guest.
fn place(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn order(subject: &Subject) -> Order {
    let named =
        |contender: &Contender| subject.only.iter().any(|part| contender.name().contains(part.as_str()));
    let mut contenders = CONTENDERS.to_vec();
    contenders.retain(|contender| subject.only.is_empty() || named(contender));
    if !contenders.is_empty() {
        contenders.push(FLOOR);
    }
    let rounds = match subject.effort {
        Effort::Quick => 1,
        Effort::Full => 3,
    };
    // What names contenders does not name cases.
    let program = contenders.is_empty() || subject.only.is_empty();
    Order { contenders, rounds, program, only: subject.only.clone() }
}

/// Instructions a packet, net of the floor.
fn forwarding(counted: &[(Contender, Vec<Rounds>)], kernel: &Kernel) -> Table {
    let spread = |rounds: &Rounds| Spread::of(&rounds.iter().copied().flatten().collect::<Vec<_>>());
    let (floor, others): (Vec<_>, Vec<_>) = counted.iter().partition(|(contender, _)| *contender == FLOOR);
    let floor: Vec<f64> =
        floor.iter().flat_map(|(_, works)| works.iter().map(|rounds| spread(rounds).median)).collect();
    let rows = others.into_iter().map(|(contender, works)| {
        let net = works.iter().zip(&floor).map(|(rounds, floor)| spread(rounds).median - floor);
        Row {
            name: contender.name().to_owned(),
            ours: *contender == Contender::Xlb,
            figures: net.map(|net| net.is_finite().then_some(net)).collect(),
        }
    });
    let noise = counted
        .iter()
        .flat_map(|(_, works)| works.iter().map(spread))
        .map(|spread| spread.width() / spread.median)
        .fold(0.0, f64::max);
    Table {
        name: "vm",
        title: "Instructions of a packet from wire to wire".into(),
        columns: WORKS.iter().map(|work| Column::new(work.name, "", 0)).collect(),
        rows: rows.collect(),
        drawn: 0,
        notes: vec![format!(
            "Measured is Linux {} in qemu. IPv4, frames of 80 bytes, 1,000 connections in turn, or a new one with each packet; net of \
             sending and counting, which take {} instructions. The largest distance between the quartiles of a \
             figure is {:.1} % of it.",
            kernel.release,
            grouped(floor.first().copied().unwrap_or(f64::NAN), 0),
            100.0 * noise
        )],
    }
}

fn program(counted: Vec<(String, f64)>, kernel: &Kernel) -> Table {
    let row = |(name, figure): (String, f64)| Row {
        ours: !name.starts_with("bare"),
        name,
        figures: vec![Some(figure)],
    };
    Table {
        name: "program",
        title: "Instructions of a packet in the program".into(),
        columns: vec![Column::new("instructions", "", 0)],
        rows: counted.into_iter().map(row).collect(),
        drawn: 0,
        notes: vec![format!(
            "Measured is Linux {} in qemu. The cases of `bench packet`, net of an empty program behind the same frame maker.",
            kernel.release
        )],
    }
}
