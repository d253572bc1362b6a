//! Which instructions Linux 5.10 does not know. The list is the difference of two kernels'
//! verifiers, not of LLVM's `-mcpu` levels: v3 mixes 32-bit jumps, which 5.10 has, with atomics
//! that return the old value, which it has not.

/// The size of one instruction; a 64-bit constant takes two.
pub(crate) const INSTRUCTION_BYTES: usize = 8;

/// An instruction that is too new.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Its place in the function.
    pub(crate) index: usize,
    pub(crate) why: &'static str,
}

/// One instruction, its fields in host order.
struct Instruction {
    code: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

/// Everything in `code` that 5.10 refuses.
pub(crate) fn newer_than_5_10(code: &[u8], little_endian: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut second_half = false;
    for (index, bytes) in code.chunks_exact(INSTRUCTION_BYTES).enumerate() {
        if second_half {
            second_half = false;
            continue;
        }
        let instruction = Instruction::read(bytes, little_endian);
        second_half = instruction.code == LOAD_CONSTANT;
        findings.extend(instruction.too_new().map(|why| Finding { index, why }));
    }
    findings
}

/// `BPF_LD | BPF_IMM | BPF_DW`.
const LOAD_CONSTANT: u8 = 0x18;

impl Instruction {
    fn read(bytes: &[u8], little_endian: bool) -> Self {
        let offset = [bytes[2], bytes[3]];
        let immediate = [bytes[4], bytes[5], bytes[6], bytes[7]];
        // The two register numbers are bit fields, so they change places with the byte order.
        let (source, offset, immediate) = if little_endian {
            (bytes[1] >> 4, i16::from_le_bytes(offset), i32::from_le_bytes(immediate))
        } else {
            (bytes[1] & 0xf, i16::from_be_bytes(offset), i32::from_be_bytes(immediate))
        };
        Self { code: bytes[0], source, offset, immediate }
    }

    /// Numbers are those of `include/uapi/linux/bpf.h`: class in the low three bits, then for
    /// loads and stores the mode, for the rest the operation.
    fn too_new(&self) -> Option<&'static str> {
        let Self { code, source, offset, immediate } = *self;
        match (code & 0x07, code & 0xf0, code & 0xe0) {
            // LDX
            (0x01, _, 0x80) => Some("a sign-extending load (6.6)"),
            // STX with ATOMIC; an add that returns nothing is XADD's encoding of old.
            (0x03, _, 0xc0) if immediate & 0x01 != 0 => Some("an atomic that returns (5.12)"),
            (0x03, _, 0xc0) if immediate != 0 => Some("an atomic other than add (5.12)"),
            // ALU and ALU64
            (0x04 | 0x07, 0xb0, _) if offset != 0 => Some("a sign-extending move (6.6)"),
            (0x04 | 0x07, 0x30 | 0x90, _) if offset != 0 => Some("a signed division (6.6)"),
            (0x07, 0xd0, _) => Some("an unconditional byte swap (6.6)"),
            // JMP and JMP32
            (0x06, 0x00, _) => Some("a jump over 32 bits (6.6)"),
            (0x05, 0xe0, _) => Some("a bounded-loop jump (6.8)"),
            (0x05, 0x80, _) if source == 2 => Some("a call of a kernel function (5.13)"),
            (0x05, 0x80, _) if code & 0x08 != 0 => Some("a call through a register"),
            // LD
            (0x00, ..) if code == LOAD_CONSTANT && source >= 4 => {
                Some("the address of a program's function (5.13)")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: u8, registers: u8, offset: i16, immediate: i32) -> Option<&'static str> {
        let ([o0, o1], [i0, i1, i2, i3]) = (offset.to_le_bytes(), immediate.to_le_bytes());
        let bytes = [code, registers, o0, o1, i0, i1, i2, i3];
        newer_than_5_10(&bytes, true).first().map(|finding| finding.why)
    }

    #[test]
    fn what_5_10_knows_passes() {
        assert_eq!(found(0xb7, 0x00, 0, 1), None, "r0 = 1");
        assert_eq!(found(0xbf, 0x10, 0, 0), None, "r0 = r1");
        assert_eq!(found(0xdb, 0x10, 8, 0), None, "lock *(u64 *)(r0 + 8) += r1");
        assert_eq!(found(0xc3, 0x10, 8, 0), None, "lock *(u32 *)(r0 + 8) += r1");
        assert_eq!(found(0xdc, 0x00, 0, 32), None, "r0 = be32 r0");
        assert_eq!(found(0x16, 0x00, 4, 0), None, "if w0 == 0 goto +4");
        assert_eq!(found(0x05, 0x00, 4, 0), None, "goto +4");
        assert_eq!(found(0x85, 0x00, 0, 14), None, "call helper 14");
        assert_eq!(found(0x85, 0x10, 0, -1), None, "call of a function of the program");
        assert_eq!(found(0x37, 0x00, 0, 3), None, "r0 /= 3");
        assert_eq!(found(0x95, 0x00, 0, 0), None, "exit");
    }

    #[test]
    fn what_came_later_is_named() {
        for (code, registers, offset, immediate, part) in [
            (0xdb, 0x10, 8, 0x01, "returns"),
            (0xdb, 0x10, 8, 0xf1, "returns"),
            (0xc3, 0x10, 8, 0x40, "other than add"),
            (0x91, 0x10, 0, 0, "sign-extending load"),
            (0xbf, 0x10, 8, 0, "sign-extending move"),
            (0x3f, 0x10, 1, 0, "signed division"),
            (0xd7, 0x00, 0, 64, "byte swap"),
            (0x06, 0x00, 0, 9, "over 32 bits"),
            (0xe5, 0x00, 1, 0, "bounded-loop"),
            (0x85, 0x20, 0, 7, "kernel function"),
            (0x18, 0x41, 0, 0, "function"),
        ] {
            let why = found(code, registers, offset, immediate).unwrap_or("nothing");
            assert!(why.contains(part), "{code:#x} gives {why:?} instead of {part:?}");
        }
    }

    #[test]
    fn the_second_half_of_a_constant_is_no_instruction() {
        let mut code = [0; 24];
        code[0] = LOAD_CONSTANT;
        code[8] = 0x91;
        code[16] = 0x91;
        let findings = newer_than_5_10(&code, true);
        assert_eq!(findings.iter().map(|f| f.index).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn big_endian_objects_are_read_too() {
        assert_eq!(newer_than_5_10(&[0xdb, 0x01, 0, 8, 0, 0, 0, 0x01], false).len(), 1);
        assert_eq!(newer_than_5_10(&[0x85, 0x02, 0, 0, 0, 0, 0, 7], false).len(), 1);
        assert_eq!(newer_than_5_10(&[0x85, 0x00, 0, 0, 0, 0, 0, 7], false), []);
    }
}
