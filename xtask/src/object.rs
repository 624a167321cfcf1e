//! What the kernel object must not hold, read from its symbols and instructions.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex, SectionKind, SymbolKind};

/// What inspection found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// Instructions in all programs and subprograms, without the byte loops, which nothing may call.
    pub(crate) instructions: u64,
    /// Why the object is refused, one line each; empty when it is good.
    pub(crate) faults: Vec<String>,
}

/// Parts of the mangled names of everything that ends in a panic.
const PANICS: [&str; 7] = [
    "rust_begin_unwind",
    "panicking",
    "panic_fmt",
    "unwrap_failed",
    "expect_failed",
    "slice_error_fail",
    "rust_eh_personality",
];

/// Byte loops that the linker brings for copies that are not expanded into loads and stores: 28 ns for six bytes.
const BYTE_LOOPS: [&str; 5] = ["memcpy", "memmove", "memset", "memcmp", "bcmp"];

const INSTRUCTION: u64 = 8;

/// Looks for code that can panic, calls of byte loops and symbols that nothing defines.
pub(crate) fn inspect(elf: &[u8]) -> Result<Report> {
    let file = object::File::parse(elf)?;
    let mut faults = BTreeSet::new();
    for symbol in file.symbols() {
        let name = symbol.name()?;
        if symbol.is_undefined() && !name.is_empty() {
            faults.insert(format!("undefined symbol {name}"));
        }
        if PANICS.iter().any(|part| name.contains(part)) {
            faults.insert(format!("code that can panic: {name}"));
        }
    }
    let functions = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
    let instructions = functions
        .filter(|symbol| !symbol.name().is_ok_and(|name| BYTE_LOOPS.contains(&name)))
        .map(|symbol| symbol.size() / INSTRUCTION)
        .sum();
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let data = section.data()?;
        for (offset, instruction) in (0u64..).step_by(8).zip(data.as_chunks::<8>().0) {
            match Operation::of(*instruction) {
                // What is left of `loop {}` in a panic handler that was inlined.
                Operation::JumpToItself => {
                    let function = function_at(&file, section.index(), offset);
                    faults.insert(format!("code that can panic, inlined in {function}"));
                }
                Operation::Call(relative) => {
                    let called = called(&file, &section, offset, relative)?;
                    if BYTE_LOOPS.contains(&called.as_str()) {
                        let function = function_at(&file, section.index(), offset);
                        faults.insert(format!("a copy became a byte loop: {function} calls {called}"));
                    }
                }
                Operation::Other => {}
            }
        }
    }
    Ok(Report { instructions, faults: faults.into_iter().collect() })
}

enum Operation {
    /// A jump whose target is the jump.
    JumpToItself,
    /// A call of a subprogram, so many instructions after the next one.
    Call(i32),
    Other,
}

impl Operation {
    fn of(instruction: [u8; 8]) -> Self {
        let [code, registers, low, high, immediate @ ..] = instruction;
        match (code, registers >> 4, i16::from_le_bytes([low, high])) {
            (0x05, _, -1) => Self::JumpToItself,
            (0x85, 1, _) => Self::Call(i32::from_le_bytes(immediate)),
            _ => Self::Other,
        }
    }
}

/// The name of the subprogram that the instruction at `offset` calls.
fn called(
    file: &object::File<'_>,
    section: &object::Section<'_, '_>,
    offset: u64,
    relative: i32,
) -> Result<String> {
    let target = |base: u64| base.wrapping_add_signed((i64::from(relative) + 1) * 8);
    let Some((_, relocation)) = section.relocations().find(|(at, _)| *at == offset) else {
        return Ok(function_at(file, section.index(), target(offset)));
    };
    let RelocationTarget::Symbol(index) = relocation.target() else {
        return Err(anyhow!("a call at {offset:#x} of {} goes nowhere", section.name()?));
    };
    let symbol = file.symbol_by_index(index)?;
    match (symbol.kind(), symbol.section_index()) {
        (SymbolKind::Section, Some(section)) => Ok(function_at(file, section, target(0))),
        _ => Ok(symbol.name()?.to_owned()),
    }
}

/// The function that holds an address of a section.
fn function_at(file: &object::File<'_>, section: SectionIndex, address: u64) -> String {
    file.symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.section_index() == Some(section))
        .find(|symbol| (symbol.address()..symbol.address() + symbol.size().max(1)).contains(&address))
        .and_then(|symbol| symbol.name().ok().map(str::to_owned))
        .unwrap_or_else(|| format!("an unnamed function at {address:#x}"))
}

#[cfg(test)]
mod tests {
    use object::write::{Object, Symbol, SymbolSection};
    use object::{Architecture, BinaryFormat, Endianness, SymbolFlags, SymbolScope};

    use super::*;

    const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];
    const CALL_NEXT_BUT_ONE: [u8; 8] = [0x85, 0x10, 0, 0, 1, 0, 0, 0];
    const JUMP_TO_ITSELF: [u8; 8] = [0x05, 0, 0xff, 0xff, 0, 0, 0, 0];

    /// An object of functions that follow each other in one section.
    fn object(functions: &[(&str, &[[u8; 8]])]) -> Vec<u8> {
        let mut file = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        let section = file.add_section(Vec::new(), b"xdp".to_vec(), SectionKind::Text);
        for (name, code) in functions {
            let value = file.append_section_data(section, &code.concat(), 8);
            file.add_symbol(symbol(name, value, code.len() as u64 * 8, SymbolSection::Section(section)));
        }
        file.write().unwrap()
    }

    fn symbol(name: &str, value: u64, size: u64, section: SymbolSection) -> Symbol {
        Symbol {
            name: name.as_bytes().to_vec(),
            value,
            size,
            kind: SymbolKind::Text,
            scope: SymbolScope::Dynamic,
            weak: false,
            section,
            flags: SymbolFlags::None,
        }
    }

    #[test]
    fn a_program_is_good_while_nothing_calls_the_byte_loops_beside_it() {
        let elf = object(&[("xlb", &[EXIT, EXIT]), ("memcpy", &[EXIT])]);
        assert_eq!(inspect(&elf).unwrap(), Report { instructions: 2, faults: vec![] });
    }

    #[test]
    fn what_must_not_be_in_an_object_is_named_with_its_place() {
        for (functions, fault) in [
            (
                object(&[("_RN4core9panicking9panic_fmt", &[EXIT])]),
                "code that can panic: _RN4core9panicking9panic_fmt",
            ),
            (object(&[("good", &[EXIT]), ("xlb", &[JUMP_TO_ITSELF])]), "code that can panic, inlined in xlb"),
            (
                object(&[("xlb", &[CALL_NEXT_BUT_ONE, EXIT]), ("memset", &[EXIT])]),
                "a copy became a byte loop: xlb calls memset",
            ),
        ] {
            assert_eq!(inspect(&functions).unwrap().faults, [fault]);
        }
    }

    #[test]
    fn a_symbol_that_nothing_defines_is_named() {
        let mut file = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        file.add_symbol(symbol("bpf_dynptr", 0, 0, SymbolSection::Undefined));
        assert_eq!(inspect(&file.write().unwrap()).unwrap().faults, ["undefined symbol bpf_dynptr"]);
    }
}
