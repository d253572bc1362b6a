//! Several nodes and one database in virtual time: requests late, lost and answered too late, watches behind,
//! clocks that run at different rates, nodes that freeze, crash, are told to end and come back, and a lease that
//! somebody deletes. At no moment two kernels answer, and in calm one does.

use nllb_common::mix;
use nllb_core::ownership::{
    Answer, Command, Notice, Ownership, Record, Rules, Unfit, Write, Written,
};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

const NODES: usize = 4;
/// The same, for dice.
const FACES: u32 = 4;
const DURATION: Duration = Duration::from_secs(2);
/// Faults end then.
const CALM: u64 = 60_000;
/// A node that is told to end is gone after so long.
const FAREWELL: Time = 1500;
/// And the run.
const END: u64 = 75_000;

/// Draws by the seed.
struct Dice(u32);

impl Dice {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = mix(self.0.wrapping_add(0x9e37_79b9));
        self.0 % n
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }
}

/// In real milliseconds.
type Time = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A machine's own timer.
    Timer { node: usize, life: u32 },
    /// A request arrives at the database.
    Arrives { node: usize, life: u32, request: usize },
    /// Its answer, or that it took too long.
    Answered { node: usize, life: u32, request: usize, late: bool },
    /// A change of the lease reaches a watch.
    Watched { node: usize, life: u32, change: usize },
    /// A node that was told to end has had its time.
    Ends { node: usize, life: u32 },
    /// Something happens to a node or the lease.
    Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Nothing,
    Alive,
}

struct Node {
    machine: Ownership,
    body: Body,
    life: u32,
    /// Its clock gains so many millionths.
    rate: i64,
    frozen_until: Time,
    /// The kernel's word, in real time; it outlives the node's process.
    answers_until: Time,
    /// Whether it was told to end.
    leaving: bool,
    unfit: Option<Unfit>,
}

struct Request {
    write: Option<Write>,
    answer: Option<Outcome>,
    /// Whether its node still waits for it.
    open: bool,
}

#[derive(Clone)]
enum Outcome {
    Read(Option<Record>),
    Wrote(Written),
}

struct World {
    dice: Dice,
    base: Instant,
    now: Time,
    queue: BinaryHeap<Reverse<(Time, u64, Event)>>,
    count: u64,
    nodes: Vec<Node>,
    lease: Option<Record>,
    version: u64,
    history: Vec<(u64, Option<Record>)>,
    requests: Vec<Request>,
    took: u32,
    /// How often a node left its kernel to answer.
    stayed: u32,
    deleted: bool,
}

fn rules(node: usize) -> Rules {
    Rules { me: format!("10.0.0.{}", 11 + node), duration: DURATION }
}

impl World {
    fn new(seed: u32) -> Self {
        let base = Instant::now();
        let mut dice = Dice(seed);
        let mut world = Self {
            base,
            now: 0,
            queue: BinaryHeap::new(),
            count: 0,
            nodes: Vec::new(),
            lease: None,
            version: 100,
            history: Vec::new(),
            requests: Vec::new(),
            took: 0,
            stayed: 0,
            deleted: false,
            dice: Dice(dice.below(u32::MAX)),
        };
        for node in 0..NODES {
            let rate = i64::from(dice.below(80_000)) - 40_000;
            let machine = Ownership::new(rules(node), base);
            world.nodes.push(Node {
                machine,
                body: Body::Alive,
                life: 0,
                rate,
                frozen_until: 0,
                answers_until: 0,
                leaving: false,
                unfit: None,
            });
            world.fit(node);
        }
        world.after(500, Event::Fault);
        world
    }

    fn after(&mut self, millis: Time, event: Event) {
        self.count += 1;
        self.queue.push(Reverse((self.now + millis, self.count, event)));
    }

    /// The node's own clock.
    fn local(&self, node: usize, time: Time) -> Instant {
        let micros = i64::try_from(time * 1000).expect("a short run");
        let gained = micros * self.nodes[node].rate / 1_000_000;
        self.base + Duration::from_micros(u64::try_from(micros + gained).expect("after the start"))
    }

    /// The first real time at which that clock shows no less.
    fn real(&self, node: usize, at: Instant) -> Time {
        let micros = i128::try_from((at - self.base).as_micros()).expect("a short run");
        let real = micros * 1_000_000 / i128::from(1_000_000 + self.nodes[node].rate) / 1000;
        let mut time = self.now.max(u64::try_from(real).expect("after the start"));
        while self.local(node, time) < at {
            time += 1;
        }
        time
    }

    fn fit(&mut self, node: usize) {
        let fit = |one: &Node| one.unfit.is_none();
        let others = self.nodes.iter().enumerate().any(|(other, one)| other != node && fit(one));
        let (now, unfit) = (self.local(node, self.now), self.nodes[node].unfit);
        self.nodes[node].machine.handle_fitness(unfit, others, now);
        self.obey(node);
    }

    /// A delay of the network, rarely a long one.
    fn delay(&mut self) -> Time {
        let calm = self.now >= CALM;
        let most = if !calm && self.dice.one_in(10) { 1500 } else { 20 };
        u64::from(1 + self.dice.below(most))
    }

    fn lost(&mut self) -> bool {
        self.now < CALM && self.dice.one_in(12)
    }

    fn obey(&mut self, node: usize) {
        let life = self.nodes[node].life;
        while let Some(command) = self.nodes[node].machine.next_command() {
            match command {
                Command::Read { patience } => self.send(node, None, patience),
                Command::Write(write) => {
                    let patience = write.patience;
                    self.send(node, Some(write), patience);
                }
                Command::Answer(answer) => {
                    let until = match answer {
                        Answer::No => 0,
                        Answer::Until(at) => self.real(node, at),
                        Answer::Always => {
                            assert!(self.nodes[node].leaving, "{node} stays");
                            self.stayed += 1;
                            Time::MAX
                        }
                    };
                    self.nodes[node].answers_until = until;
                }
                Command::Tell(Notice::Took { .. }) => {
                    self.took += 1;
                    // It announces itself, and a kernel without a deadline gives way. The link is faster than the
                    // database.
                    for (_, one) in self.nodes.iter_mut().enumerate().filter(|(it, _)| *it != node)
                    {
                        if one.answers_until == Time::MAX {
                            one.answers_until = 0;
                        }
                    }
                }
                Command::Tell(Notice::Lost(_) | Notice::Released { .. }) => {}
            }
        }
        if self.nodes[node].leaving && self.nodes[node].machine.has_left() {
            self.end(node);
            return;
        }
        if let Some(due) = self.nodes[node].machine.poll_timeout() {
            let at = self.real(node, due);
            self.after(at - self.now, Event::Timer { node, life });
        }
    }

    fn send(&mut self, node: usize, write: Option<Write>, patience: Duration) {
        let (life, request) = (self.nodes[node].life, self.requests.len());
        self.requests.push(Request { write, answer: None, open: true });
        if !self.lost() {
            let delay = self.delay();
            self.after(delay, Event::Arrives { node, life, request });
        }
        let end = self.real(node, self.local(node, self.now) + patience);
        self.after(end - self.now, Event::Answered { node, life, request, late: true });
    }

    /// The database carries out a request, also one of a node that is dead by now.
    fn carry_out(&mut self, request: usize) -> Outcome {
        let Some(write) = self.requests[request].write.clone() else {
            return Outcome::Read(self.lease.clone());
        };
        let wanted = write.base.map(|base| base.version);
        let have = self.lease.as_ref().map(|lease| lease.version.clone());
        if wanted != have {
            let absent = have.is_none();
            return Outcome::Wrote(if absent { Written::Absent } else { Written::Conflict });
        }
        let lease = Record {
            version: (self.version + 1).to_string(),
            holder: write.holder,
            duration: DURATION,
            object: "".into(),
        };
        self.change(Some(lease.clone()));
        Outcome::Wrote(Written::Done(lease))
    }

    fn change(&mut self, lease: Option<Record>) {
        self.version += 1;
        self.lease = lease.clone();
        self.history.push((self.version, lease));
        for node in 0..NODES {
            if !self.lost() {
                let (life, change) = (self.nodes[node].life, self.history.len() - 1);
                let delay = self.delay();
                self.after(delay, Event::Watched { node, life, change });
            }
        }
    }

    fn fault(&mut self) {
        if self.now >= CALM {
            for node in 0..NODES {
                (self.nodes[node].unfit, self.nodes[node].frozen_until) = (None, 0);
                if self.nodes[node].body == Body::Nothing || self.nodes[node].leaving {
                    self.restart(node);
                }
            }
            (0..NODES).for_each(|node| self.fit(node));
            return;
        }
        let node = self.dice.below(FACES) as usize;
        match self.dice.below(8) {
            0 | 1 => {
                self.nodes[node].frozen_until = self.now + u64::from(self.dice.below(6000));
            }
            2 => self.end(node),
            3 if self.nodes[node].body == Body::Nothing => self.restart(node),
            4 if self.lease.is_some() && !self.deleted => {
                self.deleted = true;
                self.change(None);
            }
            5 | 6 => {
                let choices = [
                    None,
                    None,
                    Some(Unfit::Drained),
                    Some(Unfit::ApiServer),
                    Some(Unfit::DataPath),
                ];
                let choice = choices[self.dice.below(5) as usize];
                self.nodes[node].unfit = choice;
                for node in 0..NODES {
                    if self.is_awake(node) {
                        self.fit(node);
                    }
                }
            }
            7 if self.is_awake(node) && !self.nodes[node].leaving => self.leave(node),
            _ => {}
        }
        let next = u64::from(100 + self.dice.below(4000));
        self.after(next.min(CALM.saturating_sub(self.now).max(1)), Event::Fault);
    }

    /// Its process is gone; the kernel is not.
    fn end(&mut self, node: usize) {
        let one = &mut self.nodes[node];
        (one.body, one.life, one.leaving) = (Body::Nothing, one.life + 1, false);
    }

    fn leave(&mut self, node: usize) {
        let (now, life) = (self.local(node, self.now), self.nodes[node].life);
        self.nodes[node].leaving = true;
        self.after(FAREWELL, Event::Ends { node, life });
        self.nodes[node].machine.handle_leave(now);
        self.obey(node);
    }

    /// Whether at most one kernel answers.
    fn check(&self) {
        let answers = |node: &usize| self.nodes[*node].answers_until > self.now;
        let answering: Vec<_> = (0..NODES).filter(answers).collect();
        assert!(answering.len() <= 1, "{answering:?} answer at {}", self.now);
    }

    fn is_awake(&self, node: usize) -> bool {
        let Node { body, frozen_until, .. } = self.nodes[node];
        body == Body::Alive && frozen_until <= self.now
    }

    fn restart(&mut self, node: usize) {
        let now = self.local(node, self.now);
        self.nodes[node].leaving = false;
        self.nodes[node].life += 1;
        self.nodes[node].body = Body::Alive;
        self.nodes[node].machine = Ownership::new(rules(node), now);
        self.fit(node);
    }

    fn run(&mut self) {
        while let Some(Reverse((time, _, event))) = self.queue.pop() {
            self.now = time;
            self.check();
            if time > END {
                return;
            }
            if let Event::Fault = event {
                self.fault();
                continue;
            }
            if let Event::Arrives { node, life, request } = event {
                let outcome = self.carry_out(request);
                self.requests[request].answer = Some(outcome);
                if !self.lost() {
                    let delay = self.delay();
                    self.after(delay, Event::Answered { node, life, request, late: false });
                }
                continue;
            }
            let (Event::Timer { node, life }
            | Event::Answered { node, life, .. }
            | Event::Ends { node, life }
            | Event::Watched { node, life, .. }
            | Event::Arrives { node, life, .. }) = event
            else {
                continue;
            };
            if life != self.nodes[node].life || self.nodes[node].body == Body::Nothing {
                continue;
            }
            // What comes to a frozen node waits in its sockets.
            if let Some(wait) =
                self.nodes[node].frozen_until.checked_sub(time).filter(|wait| *wait > 0)
            {
                self.after(wait, event);
                continue;
            }
            self.hear(node, event);
        }
    }

    fn hear(&mut self, node: usize, event: Event) {
        let now = self.local(node, self.now);
        let machine = &mut self.nodes[node].machine;
        match event {
            Event::Timer { .. } => machine.handle_timeout(now),
            Event::Watched { change, .. } => {
                let (version, record) = self.history[change].clone();
                machine.handle_watched(&version.to_string(), record, now);
            }
            Event::Answered { request, late, .. } => {
                let request = &mut self.requests[request];
                // The other of answer and end of patience was first.
                if !std::mem::take(&mut request.open) {
                    return;
                }
                match request.answer.clone().filter(|_| !late) {
                    Some(Outcome::Read(record)) => machine.handle_read(Ok(record), now),
                    Some(Outcome::Wrote(written)) => machine.handle_written(written, now),
                    None if request.write.is_some() => machine.handle_written(Written::Failed, now),
                    None => machine.handle_read(Err(()), now),
                }
            }
            Event::Ends { .. } => {
                self.end(node);
                return;
            }
            Event::Arrives { .. } | Event::Fault => {}
        }
        self.obey(node);
    }
}

#[test]
fn never_two_answer_and_in_calm_one_does() {
    let (mut took, mut stayed) = (0, 0);
    for seed in 0..200 {
        let mut world = World::new(seed);
        world.run();
        let owners: Vec<_> = world.nodes.iter().filter(|node| node.answers_until > END).collect();
        assert_eq!(owners.len(), 1, "seed {seed}");
        (took, stayed) = (took + world.took, stayed + world.stayed);
    }
    assert!(took > 500 && stayed > 20, "much happened: {took}, {stayed}");
}
