//! Packets of sandboxed pods, one by one through the programs by `BPF_PROG_TEST_RUN`: what becomes of each, and what
//! it looks like then. Nothing is attached, and the maps are those of a test alone.

mod flows;
#[path = "../../../nllb-common/src/packet/tests/frames.rs"]
#[expect(dead_code, reason = "the other reader uses what this one does not")]
mod frames;
mod measured;
mod shapes;

use nllb_lab::packets::sandbox as kernel;
