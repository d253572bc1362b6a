//! `cargo xtask ebpf`: builds the kernel programs and shows what they cost: instructions per
//! program, memory per map. It fails when the object holds an instruction that Linux 5.10 does not
//! know, because such a program fails to load only on the hosts that nobody tests by hand.

mod instructions;
mod maps;

use std::{fs, process::ExitCode};

use anyhow::{Context, Result};
use object::{
    File, Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, SymbolKind, SymbolScope,
};

use crate::{
    toolchain::Toolchain,
    workspace::{Workspace, say, succeeds},
};
use instructions::{Finding, INSTRUCTION_BYTES};

pub(crate) fn command(workspace: &Workspace, toolchain: &Toolchain) -> Result<ExitCode> {
    let target = workspace.side_target("bpf");
    say(&toolchain.to_string());
    let cargo = workspace.cargo_program();
    if !succeeds(&mut toolchain.command(cargo, &workspace.root, &target))? {
        return Ok(ExitCode::FAILURE);
    }
    let path = toolchain.object(&target);
    let data = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let functions = functions(&data).with_context(|| format!("in {}", path.display()))?;
    println!("{}", path.display());
    print!("{}\n{}", programs_table(&functions), maps::table(&data)?);
    let findings: Vec<_> = functions.iter().filter(|f| !f.findings.is_empty()).collect();
    for function in &findings {
        for Finding { index, why } in &function.findings {
            eprintln!("{} instruction {index}: {why}: Linux 5.10 refuses it", function.name);
        }
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A program, or a function that programs call.
struct Function {
    section: String,
    name: String,
    instructions: u64,
    findings: Vec<Finding>,
}

fn functions(data: &[u8]) -> Result<Vec<Function>> {
    let file = File::parse(data)?;
    let mut functions = Vec::new();
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let code = section.data()?;
        for symbol in file.symbols().filter(|s| s.section_index() == Some(section.index())) {
            if symbol.kind() != SymbolKind::Text || symbol.scope() == SymbolScope::Unknown {
                continue;
            }
            let bytes = section
                .data_range(symbol.address(), symbol.size())?
                .with_context(|| format!("a symbol leaves its section of {} bytes", code.len()))?;
            functions.push(Function {
                section: section.name()?.to_owned(),
                name: symbol.name()?.to_owned(),
                instructions: symbol.size() / INSTRUCTION_BYTES as u64,
                findings: instructions::newer_than_5_10(bytes, file.is_little_endian()),
            });
        }
    }
    Ok(functions)
}

fn programs_table(functions: &[Function]) -> String {
    let mut text = format!("{:<24} {:<24} {:>12}\n", "program", "section", "instructions");
    for Function { section, name, instructions, findings: _ } in functions {
        let section = if section == ".text" { "(called)" } else { section };
        text += &format!("{name:<24} {section:<24} {instructions:>12}\n");
    }
    text
}
