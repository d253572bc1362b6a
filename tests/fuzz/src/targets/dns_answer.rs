//! What a name server answers to a probe: only an answer to the very question counts, its code decides, and over a
//! connection there is an outcome in time. The first octet says how the server talks there.

use crate::rig::{one_line, virtual_time, within};
use crate::script::Script;
use nllb_agent::probe::fuzz;
use nllb_core::Outcome;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;

const TIMEOUT: Duration = Duration::from_millis(500);
/// The question has it, and the seeds know it.
const ID: u16 = u16::from_be_bytes(*b"NL");
/// NOERROR and NXDOMAIN.
const GOOD: [u8; 2] = [0, 3];

thread_local! {
    static RUNTIME: Runtime = virtual_time();
}

pub(crate) fn run(data: &[u8]) {
    let [manner, said @ ..] = data else { return };
    datagram(said);
    RUNTIME.with(|runtime| stream(runtime, *manner, said));
}

fn datagram(said: &[u8]) {
    let Some(outcome) = fuzz::dns_datagram(ID, said) else { return };
    let [high, low, flags, code, ..] = said else { panic!("{outcome:?} of nothing") };
    assert_eq!([*high, *low], ID.to_be_bytes(), "to another question");
    assert!(flags & 0x80 != 0, "a question for an answer");
    match outcome {
        Outcome::Ready => assert!(GOOD.contains(&(code & 0x0f)), "code {code}"),
        Outcome::NotServing { reason } => {
            one_line(&reason);
            assert!(!GOOD.contains(&(code & 0x0f)), "code {code}");
        }
        outcome => panic!("{outcome:?} of an answer"),
    }
}

fn stream(runtime: &Runtime, manner: u8, said: &[u8]) {
    let script = Script::new(&[], manner, said);
    let outcome = runtime.block_on(async {
        let deadline = (Instant::now() + TIMEOUT).into_std();
        let probe = fuzz::dns_stream(ID, script, deadline);
        within(TIMEOUT + Duration::from_millis(10), "a probe", probe).await
    });
    one_line(&outcome.to_string());
    let hangs_up = manner & 0x80 != 0;
    match outcome {
        // Somewhere is the answer, behind its length.
        Outcome::Ready | Outcome::NotServing { .. } => {
            let id = ID.to_be_bytes();
            assert!(said.windows(3).any(|part| part[..2] == id && part[2] & 0x80 != 0));
        }
        Outcome::Hung => assert!(!hangs_up, "hung after the end"),
        Outcome::Closed | Outcome::Reset => assert!(hangs_up),
        outcome => panic!("{outcome:?} of an established connection"),
    }
}
