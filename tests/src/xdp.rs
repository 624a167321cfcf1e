//! XDP programs of one instruction, for the far ends of cables.
//!
//! A frame that XDP sends into a veth waits until the other end polls. GRO there makes it poll for redirected frames, but frames
//! that are sent back the way they came (`XDP_TX`) wake it only when it has a program of its own.

use std::path::Path;

use anyhow::{Context, Result};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

use crate::{Namespace, process};

/// What the program says of every frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To the kernel.
    Pass = 2,
    /// Back where it came from.
    Tx = 3,
}

/// Attaches a program in native mode to an interface; `directory` takes its object. It lives as long as the interface.
pub fn attach(host: &Namespace, interface: &str, verdict: Verdict, directory: &Path) -> Result<()> {
    // With frags, so that the other end may go on sending several segments in one frame.
    let section = "xdp.frags";
    let path = directory.join(format!("{verdict:?}.o"));
    std::fs::write(&path, program(verdict, section)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    let mut command = host.command("ip");
    command.args(["link", "set", interface, "xdpdrv", "object"]).arg(&path).args(["section", section]);
    process::run(&mut command).map(drop)
}

/// An ELF object: `r0 = verdict; exit`.
fn program(verdict: Verdict, section: &str) -> Result<Vec<u8>> {
    let code = [[0xb7, 0, 0, 0, verdict as u8, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]].concat();
    let mut file = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let text = file.add_section(Vec::new(), section.into(), SectionKind::Text);
    let size = code.len() as u64;
    file.append_section_data(text, &code, 8);
    let license = file.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    file.append_section_data(license, b"Dual MIT/GPL\0", 1);
    file.add_symbol(Symbol {
        name: b"verdict".to_vec(),
        value: 0,
        size,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(text),
        flags: SymbolFlags::None,
    });
    Ok(file.write()?)
}
