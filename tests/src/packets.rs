//! Packets one by one through the programs for them, by `BPF_PROG_TEST_RUN`: for tests of what becomes of each, and for
//! measuring what one costs. Nothing is attached.

pub mod sandbox;
pub mod vip;

#[path = "../../nllb-common/src/packet/tests/frames.rs"]
#[expect(dead_code, reason = "the other readers use what this one does not")]
pub(crate) mod frames;
