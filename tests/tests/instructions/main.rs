//! What the kernel programs consist of, and what the verifier makes of them, against a committed file: a change
//! that makes them longer is seen in its diff, and decided on.
//!
//! `UPDATE_EXPECTED=1 cargo test -p nllb-lab --test instructions` writes the file anew.
//!
//! The number of instructions depends on the compiler, how many of them the verifier visits on the kernel, too.
//! Both are the same in every run, so they are compared exactly where both are those of the file. Elsewhere the
//! verifier may visit no more than [`MOST_VISITED`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use aya::programs::loaded_programs;
use nllb_agent::datapath::load::VIP_PROGRAM;
use nllb_lab::lab::say_skipped;
use nllb_lab::{Agent, Configuration, Lab};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/instructions/expected.txt");
const UPDATE: &str = "UPDATE_EXPECTED=1 cargo test -p nllb-lab --test instructions";
/// The kernel's own limit is a million, and a newer kernel or compiler must not come near it.
const MOST_VISITED: u64 = 500_000;
/// The size of one instruction; a 64-bit constant takes two.
const INSTRUCTION_BYTES: u64 = 8;
/// What `.debug_str` says of the compiler begins and ends so.
const COMPILER: (&str, &str) = ("rustc version ", ")");

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    compiler: String,
    kernel: String,
    /// By program.
    instructions: BTreeMap<String, u64>,
    /// By program; functions have none of their own.
    visited: BTreeMap<String, u64>,
}

#[test]
fn programs_are_as_long_as_was_agreed_on() {
    let file = Known::read(&fs::read_to_string(FILE).unwrap_or_default());
    let (compiler, instructions) = built();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a kernel");
    let kernel = format!("{} {}", kernel.trim(), std::env::consts::ARCH);
    let visited = visited();
    if let Some(visited) = &visited {
        assert!(visited.keys().all(|program| instructions.contains_key(program)), "{visited:?}");
        for (program, count) in visited {
            assert!(
                *count <= MOST_VISITED,
                "the verifier visits {count} instructions of {program}"
            );
        }
    }
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        let visited =
            visited.expect("only root can load the programs, and the file has what came of it");
        let now = Known { compiler, kernel, instructions, visited };
        return fs::write(FILE, now.text()).expect("written");
    }
    if compiler != file.compiler {
        return say_skipped(&format!(
            "rustc {compiler}, while {FILE} is of rustc {}",
            file.compiler
        ));
    }
    assert_eq!(instructions, file.instructions, "instructions; {UPDATE} accepts them");
    let Some(visited) = visited else { return };
    if kernel != file.kernel {
        return say_skipped(&format!("Linux {kernel}, while {FILE} is of Linux {}", file.kernel));
    }
    assert_eq!(visited, file.visited, "visited by the verifier; {UPDATE} accepts them");
}

#[test]
fn what_is_written_is_read_again() {
    // A function that is no program is looked at as a part of those that call it.
    let numbers = |first| [("a".to_owned(), first), ("b".to_owned(), 7)].into();
    let known = Known {
        compiler: "1.96.0 (x y)".to_owned(),
        kernel: "6.18 x86_64".to_owned(),
        instructions: numbers(3),
        visited: [("b".to_owned(), 1_000)].into(),
    };
    assert_eq!(Known::read(&known.text()), known);
}

impl Known {
    fn read(text: &str) -> Self {
        let mut known = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, rest) = line.split_once(' ').expect("a name and what it is");
            match name {
                "compiler" => rest.trim().clone_into(&mut known.compiler),
                "kernel" => rest.trim().clone_into(&mut known.kernel),
                program => {
                    let mut numbers = rest.split_whitespace().map(|word| word.parse().ok());
                    let mut next = || numbers.next().flatten();
                    known.instructions.insert(program.to_owned(), next().expect("a number"));
                    if let Some(visited) = next() {
                        known.visited.insert(program.to_owned(), visited);
                    }
                }
            }
        }
        known
    }

    fn text(&self) -> String {
        let mut text = format!(
            "# {UPDATE}\n# program or function, instructions in the object, instructions visited by the verifier, \
             those of\n# functions in the programs that call them\n\
             compiler {}\nkernel {}\n",
            self.compiler, self.kernel
        );
        for (program, count) in &self.instructions {
            let visited = self.visited.get(program).map_or("-".to_owned(), u64::to_string);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{program} {count} {visited}");
        }
        text
    }
}

/// The compiler and the programs of the object that this build has.
fn built() -> (String, BTreeMap<String, u64>) {
    let file = object::File::parse(nllb_agent::datapath::object()).expect("an object");
    let strings = file.section_by_name(".debug_str").expect("debug information");
    let strings = strings.data().expect("its content");
    let mut texts = strings.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let (begin, end) = COMPILER;
    let compiler = texts.find_map(|text| {
        let (_, rest) = text.split_once(begin)?;
        Some(rest.split_once(end)?.0.to_owned() + end)
    });
    let programs = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
    let programs = programs.filter_map(|symbol| {
        let name = symbol.name().ok().filter(|name| name.starts_with("nllb_"))?;
        Some((name.to_owned(), symbol.size() / INSTRUCTION_BYTES))
    });
    (compiler.expect("what compiled it"), programs.collect())
}

/// What the verifier visited of each program, loaded as an agent does that is told nothing of logs; none without
/// root, and on kernels before 5.16, which do not tell.
fn visited() -> Option<BTreeMap<String, u64>> {
    let lab = Lab::builder().build_or_skip()?;
    let mut agent = Agent::prepare(&lab, 0).expect("an agent");
    agent.log_by_default();
    // Else those for datagrams, the VIP and guests would stay unloaded.
    let datagrams = "{ name: datagrams, kind: vip, protocol: udp, addresses: ['10.96.0.10:53'], pool: apiserver }";
    let mut configuration = Configuration::of(&lab);
    configuration.frontends.push(datagrams.to_owned());
    let vip = "vip: { addresses: ['10.86.0.100'], ownership: none }";
    configuration.rest.push(vip.to_owned());
    configuration.rest.push("sandboxes: { interfaces: ['no-such*'] }".to_owned());
    agent.configure(&configuration).expect("configured");
    let status = agent.restart().expect("a ready agent");
    let programs: Vec<_> = loaded_programs().filter_map(Result::ok).collect();
    let attached = status.datapath.links.iter().map(|link| link.program_id);
    let besides =
        [VIP_PROGRAM, "nllb_from_guest", "nllb_to_guest"].into_iter().filter_map(|name| {
            let named = programs.iter().filter(|program| program.name() == name.as_bytes());
            named.map(|program| program.id()).max()
        });
    let visited = attached.chain(besides).map(|id| {
        let program = programs.iter().find(|program| program.id() == id);
        let program = program.expect("it is loaded");
        let name = program.name_as_str().expect("a name").to_owned();
        Some((name, program.verified_instruction_count()?.into()))
    });
    let visited: Option<BTreeMap<_, _>> = visited.collect();
    if visited.is_none() {
        say_skipped("this kernel does not tell what its verifier visited");
    }
    visited
}
