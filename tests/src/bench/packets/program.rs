//! The programs alone, by `BPF_PROG_TEST_RUN`.
//!
//! A repetition gets the frame as the one before has left it, so each frame must look afterwards as it did before. What
//! is translated is sent to a frontend that is its backend's own address, and to a member by a way that leads back
//! here: all the work is done, and the result is the same. That it is done is seen before and after.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use etherparse::Ipv4Header;
use nllb_common::maps::VipOutcome;

use crate::bench::floor;
use crate::bench::order::Order;
use crate::bench::peers::Quartiles;
use crate::packets::frames::{self, ACK, Around, Carried, SYN};
use crate::packets::sandbox::{BACKENDS, GUEST, Kernel, ON, at};
use crate::packets::vip::{self, CLIENT, PASS, Program, Segment, TX};

/// Repetitions of a frame that stays as it is.
const REPEAT: u32 = 10_000;
/// Those of one that is sent on: it may be as often as there are hops left in the largest number of them.
const HOPS: u8 = 255;
const REPEAT_FORWARDED: u32 = HOPS as u32 - 5;
/// How often that is done for one figure.
const CALLS: u32 = REPEAT / REPEAT_FORWARDED;
/// Goal of a packet that is translated or sent on, in nanoseconds.
const GOAL_HIT_NS: f64 = 100.0;
/// A client's address that is no frontend, of each family.
const STRANGER: [&str; 2] = ["203.0.113.9:443", "[2001:db8:9::9]:443"];

/// What was measured of one program with one frame.
pub(super) struct Timed {
    pub(super) program: &'static str,
    pub(super) what: &'static str,
    pub(super) v6: bool,
    pub(super) ns: Quartiles,
    /// At most so many.
    pub(super) goal_ns: Option<f64>,
}

/// A program with a frame.
struct Case {
    program: By,
    what: &'static str,
    v6: bool,
    frame: Vec<u8>,
    goal_ns: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    FromGuest,
    ToGuest,
    /// The VIP's; what it does with the frame.
    Vip(VipOutcome),
    /// The VIP's, and the frame is none of its own.
    VipPassing,
    EmptyClassifier,
    EmptyXdp,
}

/// All programs.
struct Bench {
    guest: Kernel,
    vip: Program,
    classifier: Ebpf,
    xdp: Ebpf,
}

/// Measures so many rounds.
pub(super) fn measure(rounds: u64) -> Result<Vec<Timed>> {
    let mut bench = Bench::load()?;
    let cases = bench.cases()?;
    let mut order = Order::new(cases.len());
    let mut times: Vec<Vec<f64>> = cases.iter().map(|_| Vec::new()).collect();
    for number in 0..=rounds {
        for index in order.next() {
            let case = &cases[index];
            let time = bench.time(case);
            let time = time.with_context(|| format!("{}, {}", case.program.name(), case.what))?;
            // The first round warms up.
            times[index].extend((number > 0).then_some(time));
        }
    }
    Ok(cases.into_iter().zip(times).map(|(case, times)| case.timed(times)).collect())
}

impl By {
    const fn name(self) -> &'static str {
        match self {
            Self::FromGuest => "from_guest",
            Self::ToGuest => "to_guest",
            Self::Vip(_) | Self::VipPassing => "vip",
            Self::EmptyClassifier => "an empty tc program",
            Self::EmptyXdp => "an empty XDP program",
        }
    }
}

impl Case {
    fn timed(self, times: Vec<f64>) -> Timed {
        let Self { program, what, v6, frame: _, goal_ns } = self;
        Timed { program: program.name(), what, v6, ns: Quartiles::of(times), goal_ns }
    }
}

impl Bench {
    fn load() -> Result<Self> {
        let mut guest = Kernel::load().context("the programs of guests cannot be loaded here")?;
        guest.add_own_addresses();
        let mut vip = Program::load().context("the VIP's program cannot be loaded here")?;
        vip.ways_back();
        let mut classifier = floor::load("classifier", ON)?;
        let program: &mut SchedClassifier = empty(&mut classifier)?.try_into()?;
        program.load().context("the kernel refused the empty program")?;
        let mut xdp = floor::load("xdp", PASS.cast_signed())?;
        let program: &mut Xdp = empty(&mut xdp)?.try_into()?;
        program.load().context("the kernel refused the empty program")?;
        Ok(Self { guest, vip, classifier, xdp })
    }

    /// The frames, each of which is known to become what its name says.
    fn cases(&mut self) -> Result<Vec<Case>> {
        let mut cases = Vec::new();
        for v6 in [false, true] {
            let family = usize::from(v6);
            let (guest, own) = (at(GUEST[family]), at(BACKENDS[family][0]));
            let stranger = at(STRANGER[family]);
            let segment = |from, to, flags, sequence, acknowledged| {
                let carried = Carried::Tcp { flags, sequence, acknowledged };
                frames::frame(&Around::default(), from, to, carried, &[])
            };
            self.guest.leaves(&segment(guest, own, SYN, 7, 0));
            self.guest.reaches(&segment(own, guest, SYN | ACK, 0, 8));
            let mut add = |program, what, frame: &[u8], goal_ns| {
                cases.push(Case { program, what, v6, frame: frame.to_vec(), goal_ns });
            };
            let goal = Some(GOAL_HIT_NS);
            add(By::FromGuest, "hit", &segment(guest, own, ACK, 8, 1), goal);
            add(By::FromGuest, "miss", &segment(guest, stranger, ACK, 8, 1), None);
            add(By::FromGuest, "miss, SYN", &segment(guest, stranger, SYN, 8, 1), None);
            add(By::ToGuest, "hit", &segment(own, guest, ACK, 1, 8), goal);
            add(By::ToGuest, "miss", &segment(stranger, guest, ACK, 1, 8), None);

            let port = self.vip.port_for(v6, 1);
            let vip = |what| with_hops(vip::segment(v6, CLIENT, port, what, 0), v6);
            let forwarded = By::Vip(VipOutcome::Forwarded);
            add(forwarded, "hit: ACK to another member", &vip(Segment::Ack), goal);
            add(forwarded, "SYN to another member", &vip(Segment::Syn), None);
            let other = frames::frame(&Around::default(), guest, stranger, Carried::syn(7), &[]);
            add(By::VipPassing, "miss", &to_this_host(other), None);
            let any = segment(guest, own, ACK, 8, 1);
            add(By::EmptyClassifier, "", &any, None);
            add(By::EmptyXdp, "", &any, None);
        }
        self.see_translated(&cases)?;
        Ok(cases)
    }

    /// Makes sure that hits are hits: with another address in the table, that is what they are translated to.
    fn see_translated(&mut self, cases: &[Case]) -> Result<()> {
        let flows = self.guest.flows();
        self.guest.change(|flow| flow.port = nllb_common::Port::new(9));
        for case in cases {
            let out = match case.program {
                By::FromGuest => self.guest.leaves(&case.frame).1,
                By::ToGuest => self.guest.reaches(&case.frame).1,
                By::Vip(_) | By::VipPassing | By::EmptyClassifier | By::EmptyXdp => continue,
            };
            let (is, should) = (out != case.frame, case.what == "hit");
            ensure!(is == should, "{}, {}: translated {is}", case.program.name(), case.what);
        }
        self.guest.restore(&flows);
        Ok(())
    }

    /// Nanoseconds of one packet.
    fn time(&mut self, case: &Case) -> Result<f64> {
        let (verdict, out, time) = match case.program {
            By::FromGuest => self.of_guest("nllb_from_guest", &case.frame)?,
            By::ToGuest => self.of_guest("nllb_to_guest", &case.frame)?,
            By::Vip(outcome) => return self.forwarded(case, outcome),
            By::VipPassing => {
                let (action, out, time) = self.vip.repeat(&case.frame, REPEAT);
                ensure!(action == PASS, "action {action}");
                (ON, out, time)
            }
            By::EmptyClassifier => {
                let program: &mut SchedClassifier = empty(&mut self.classifier)?.try_into()?;
                (ON, case.frame.clone(), program.test_run(options(&case.frame))?.duration)
            }
            By::EmptyXdp => {
                let program: &mut Xdp = empty(&mut self.xdp)?.try_into()?;
                (ON, case.frame.clone(), program.test_run(options(&case.frame))?.duration)
            }
        };
        ensure!(verdict == ON && out == case.frame, "verdict {verdict}, or the frame has changed");
        Ok(nanoseconds(time))
    }

    fn of_guest(&mut self, name: &str, frame: &[u8]) -> Result<(i32, Vec<u8>, Duration)> {
        self.guest.repeat(name, frame, REPEAT).context("the kernel makes no packet of it")
    }

    fn forwarded(&mut self, case: &Case, outcome: VipOutcome) -> Result<f64> {
        let before = self.vip.count(outcome);
        let mut times = Vec::new();
        for _ in 0..CALLS {
            let (action, _, time) = self.vip.repeat(&case.frame, REPEAT_FORWARDED);
            ensure!(action == TX, "action {action}");
            times.push(nanoseconds(time));
        }
        let counted = self.vip.count(outcome) - before;
        ensure!(counted == u64::from(CALLS * REPEAT_FORWARDED), "only {counted} were sent on");
        Ok(Quartiles::of(times).median)
    }
}

fn empty(object: &mut Ebpf) -> Result<&mut aya::programs::Program> {
    object.program_mut(floor::NAME).context("the empty program has no name")
}

const fn options(frame: &[u8]) -> TestRunOptions<'_> {
    let mut options = TestRunOptions::new();
    options.data_in = Some(frame);
    options.repeat = REPEAT;
    options
}

/// The kernel tells whole ones.
#[expect(clippy::cast_precision_loss, reason = "a measurement has fewer digits than an f64")]
fn nanoseconds(time: Duration) -> f64 {
    time.as_nanos() as f64
}

/// The same frame with as many hops left as there can be.
fn with_hops(mut frame: Vec<u8>, v6: bool) -> Vec<u8> {
    if v6 {
        frame[21] = HOPS;
    } else {
        frame[22] = HOPS;
        let header = Ipv4Header::from_slice(&frame[14..]).expect("a header").0;
        frame[24..26].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    }
    frame
}

/// The same frame from the client's MAC address to this host's.
fn to_this_host(mut frame: Vec<u8>) -> Vec<u8> {
    frame[..6].copy_from_slice(&vip::OWN);
    frame[6..12].copy_from_slice(&CLIENT);
    frame
}
