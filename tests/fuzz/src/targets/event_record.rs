//! Records of the event ring: each is read field by field and never beyond its end, and whatever it says, the
//! machine goes on and its table stays sound. Records follow each other, each with its length before it.

use crate::rig::machine;
use nllb_common::{Event, EventKind};
use nllb_core::{Command, EvidenceFact, Machine, Outcome, ProbeReport};
use std::time::{Duration, Instant};

/// What is left of a record is of no interest.
const SIZE: usize = size_of::<Event>();

pub(crate) fn run(data: &[u8]) {
    let mut now = Instant::now();
    let mut machine = machine(now);
    let mut rest = data;
    while let [length, more @ ..] = rest {
        let (record, after) = more.split_at(usize::from(*length).min(more.len()));
        rest = after;
        let event = Event::from_bytes(record);
        assert_eq!(event.is_some(), record.len() >= SIZE, "{} octets", record.len());
        let Some(event) = event else { continue };
        assert_eq!(octets(&event), record[..SIZE]);
        assert_eq!(Event::from_bytes(&record[..SIZE]), Some(event), "what follows counts");
        now += Duration::from_millis(event.at_ns % 512);
        if let Some(kind) = EventKind::from_number(event.kind) {
            let Event { backend, epoch, .. } = event;
            machine.handle_evidence(EvidenceFact { backend, epoch, kind }, now);
        }
        probes(&mut machine, now);
    }
}

fn octets(event: &Event) -> Vec<u8> {
    let Event { at_ns, kind, backend, epoch, frontend } = event;
    let words = [kind, backend, epoch, frontend].into_iter().flat_map(|word| word.to_ne_bytes());
    at_ns.to_ne_bytes().into_iter().chain(words).collect()
}

/// Answers every probe well: a hint may ask for one, and nothing more.
fn probes(machine: &mut Machine, now: Instant) {
    machine.handle_timeout(now);
    let mut asked = 0;
    while let Some(command) = machine.next_command() {
        match command {
            Command::Probe { id, epoch, .. } => {
                asked += 1;
                assert!(asked <= 3, "one probe per backend at a time");
                let report = ProbeReport {
                    outcome: Outcome::Ready,
                    rtt: Some(Duration::from_millis(1)),
                    latency: Duration::from_millis(2),
                    certificate: None,
                    unix_time: 1_800_000_000,
                };
                machine.handle_probe(id, epoch, report, now);
            }
            Command::Close { .. } => panic!("a hint closes nothing"),
            _ => {}
        }
    }
    for backend in machine.view().pools.iter().flat_map(|pool| &pool.backends) {
        let well = !matches!(backend.state.label(), "unhealthy" | "draining");
        assert!(well, "a hint is no verdict: {}", backend.state.label());
    }
}
