//! A program that does nothing, to see what measuring itself costs.
//!
//! It is two instructions, so it is written down here instead of being built: an ELF object with
//! one section, as any loader reads it.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::programs::{CgroupAttachMode, CgroupSockAddr};
use object::write::{Object, Symbol, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
};

use super::programs::Programs;

/// Its name.
pub(super) const NAME: &str = "floor";

/// `BPF_ALU64 | BPF_MOV | BPF_K` and `BPF_JMP | BPF_EXIT` (`include/uapi/linux/bpf.h`).
const MOVE: u8 = 0xb7;
const EXIT: u8 = 0x95;

/// The program, attached to a cgroup until this is dropped.
pub(super) struct Floor {
    programs: Programs,
    _object: Ebpf,
}

impl Floor {
    pub(super) fn attach(cgroup: &Path) -> Result<Self> {
        let mut object = load("cgroup/connect4", 1)?;
        let program = object.program_mut(NAME).context("the empty program has no name")?;
        let program: &mut CgroupSockAddr = program.try_into()?;
        program.load().context("the kernel refused the empty program")?;
        let cgroup = File::open(cgroup).context("cannot open a cgroup")?;
        program.attach(cgroup, CgroupAttachMode::Single).context("cannot attach")?;
        let programs = Programs::open(&[program.info()?.id()])?;
        Ok(Self { programs, _object: object })
    }

    pub(super) const fn programs(&self) -> &Programs {
        &self.programs
    }
}

/// Reads the program for such a section; it gives this result.
pub(super) fn load(section: &str, result: i32) -> Result<Ebpf> {
    Ebpf::load(&elf(section, result)?).context("cannot load the empty program")
}

/// `r0 = result; exit`
fn elf(section: &str, result: i32) -> Result<Vec<u8>> {
    let instruction = |operation: u8, value: i32| {
        let [a, b, c, d] = value.to_ne_bytes();
        [operation, 0, 0, 0, a, b, c, d]
    };
    let code = [instruction(MOVE, result), instruction(EXIT, 0)].concat();
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::default());
    let section = elf.add_section(Vec::new(), section.as_bytes().to_vec(), SectionKind::Text);
    let value = elf.append_section_data(section, &code, 8);
    elf.add_symbol(Symbol {
        name: NAME.into(),
        value,
        size: u64::try_from(code.len())?,
        kind: SymbolKind::Text,
        scope: SymbolScope::Dynamic,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    let license = elf.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    elf.append_section_data(license, b"Dual MIT/GPL\0", 1);
    elf.write().context("cannot write an object")
}
