//! The thread that ends sockets, and those before it that the kernel does not let go.
//!
//! To end a socket the kernel waits for whoever uses it, and nothing interrupts that wait, not even the end
//! of the agent. A process that sends from memory which a dead file server should fill, or FUSE or
//! userfaultfd, holds its socket for as long as it likes. So nobody waits for a thread without looking
//! whether it gets on: one that does not is left behind, and another one goes on without that socket.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::CloseError;
use super::progress::Progress;
use super::worker::Job;

/// Without a sign of life for so long a thread hangs. Signs are answers of the kernel, which come within
/// milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How often signs of life are looked for in that time.
const LOOKS: u32 = 5;
/// Threads that may hang at once. With more of them something is wrong that another one does not help, and
/// each keeps a kernel stack.
const MOST_STUCK: usize = 3;

/// What a thread does: says whether it can work, then takes jobs until nobody can ask for any.
pub(super) type Work = dyn Fn(Hand) + Send + Sync;

/// What a thread is given.
pub(super) struct Hand {
    pub(super) progress: Arc<Progress>,
    /// Takes why it cannot work, if so.
    pub(super) ready: mpsc::Sender<Result<(), String>>,
    pub(super) queue: mpsc::Receiver<Job>,
}

/// One thread that works, and those that hang.
pub(super) struct Crew {
    work: Arc<Work>,
    patience: Duration,
    current: Option<Member>,
    stuck: Vec<(Arc<Progress>, JoinHandle<()>)>,
    /// Sockets at which a thread has hung. The kernel never uses a cookie twice.
    avoid: BTreeSet<u64>,
    /// Whether the current one has died.
    gone: bool,
}

struct Member {
    jobs: mpsc::Sender<Job>,
    progress: Arc<Progress>,
    thread: JoinHandle<()>,
}

impl Crew {
    /// Starts the first thread, or says why it cannot work.
    pub(super) fn start(work: Arc<Work>, patience: Duration) -> Result<Self, String> {
        let (stuck, avoid) = (Vec::new(), BTreeSet::new());
        let mut crew = Self { work, patience, current: None, stuck, avoid, gone: false };
        let ready = crew.hire().map_err(|error| format!("no thread for it: {error}"))?;
        match ready.recv_timeout(patience) {
            Ok(answer) => answer.map(|()| crew),
            Err(RecvTimeoutError::Timeout) => Err("the kernel does not answer".to_owned()),
            Err(RecvTimeoutError::Disconnected) => Err("the thread for it has gone".to_owned()),
        }
    }

    /// Why no thread can be asked, if so.
    pub(super) fn exhausted(&self) -> Option<String> {
        let hang = self.stuck().count();
        (self.current.is_none() && hang >= MOST_STUCK)
            .then(|| format!("{hang} threads hang in the kernel, each at a socket in use"))
    }

    /// What keeps sockets from being ended, as long as it does.
    pub(super) fn errors(&self) -> Vec<CloseError> {
        let stuck = self.stuck().map(|progress| CloseError::Stuck { socket: progress.socket() });
        stuck.chain(self.gone.then_some(CloseError::Gone)).collect()
    }

    fn stuck(&self) -> impl Iterator<Item = &Arc<Progress>> {
        self.stuck.iter().filter(|(_, thread)| !thread.is_finished()).map(|(progress, _)| progress)
    }

    /// Starts a thread. It says on the channel whether it can work.
    fn hire(&mut self) -> std::io::Result<mpsc::Receiver<Result<(), String>>> {
        let (jobs, queue) = mpsc::channel();
        let (ready, answer) = mpsc::channel();
        let progress = Arc::new(Progress::avoiding(self.avoid.clone()));
        let (work, hand) = (Arc::clone(&self.work), Arc::clone(&progress));
        let thread = thread::Builder::new()
            .name("nllb-closer".to_owned())
            .spawn(move || work(Hand { progress: hand, ready, queue }))?;
        self.current = Some(Member { jobs, progress, thread });
        Ok(answer)
    }

    /// Gives a job to the thread that works.
    fn give<T>(&mut self, job: impl FnOnce(mpsc::Sender<T>) -> Job) -> Option<Waiting<T>> {
        self.stuck.retain(|(_, thread)| !thread.is_finished());
        if self.current.is_none() && self.stuck.len() < MOST_STUCK {
            // Whether it can work shows in its answers; without a thread there will be none.
            let _ready = self.hire();
        }
        let Member { jobs, progress, thread: _ } = self.current.as_ref()?;
        let (reply, answer) = mpsc::channel();
        // That the thread has gone shows in the answer that does not come.
        let _gone = jobs.send(job(reply));
        Some(Waiting { answer, progress: Arc::clone(progress), patience: self.patience })
    }

    /// Leaves the thread with this progress behind, unless that has been done.
    fn give_up(&mut self, hanging: &Arc<Progress>) {
        let hangs = |member: &mut Member| Arc::ptr_eq(&member.progress, hanging);
        if let Some(Member { jobs: _, progress, thread }) = self.current.take_if(hangs) {
            progress.give_up();
            self.avoid.extend(progress.socket());
            self.stuck.push((progress, thread));
        }
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { work: _, patience: _, current: _, stuck, avoid, gone } = self;
        let stuck = stuck.len();
        f.debug_struct("Crew")
            .field("stuck", &stuck)
            .field("avoid", avoid)
            .field("gone", gone)
            .finish()
    }
}

/// Asks for a job, again where a thread hangs at it. It begins with the call. None when nobody could do it,
/// which [`Crew::errors`] explains.
pub(super) fn ask<T: Send + 'static, J: Fn(mpsc::Sender<T>) -> Job>(
    crew: &Rc<RefCell<Crew>>,
    job: J,
) -> impl Future<Output = Option<T>> + use<T, J> {
    let mut begun = crew.borrow_mut().give(&job);
    let crew = Rc::clone(crew);
    async move {
        loop {
            let waiting = begun?;
            // Not awaited on a channel of the runtime's: to wake it, a thread would need its descriptors.
            match spawn_blocking(move || waiting.wait()).await {
                Ok(Waited::Answer(answer)) => return Some(answer),
                Ok(Waited::Hangs(progress)) => {
                    let mut crew = crew.borrow_mut();
                    crew.give_up(&progress);
                    begun = crew.give(&job);
                }
                // The latter is a runtime that ends.
                Ok(Waited::Gone) | Err(_) => {
                    crew.borrow_mut().gone = true;
                    return None;
                }
            }
        }
    }
}

/// A job under way.
struct Waiting<T> {
    answer: mpsc::Receiver<T>,
    progress: Arc<Progress>,
    patience: Duration,
}

/// What has come of waiting.
enum Waited<T> {
    Answer(T),
    /// The thread has died.
    Gone,
    /// It does not get on.
    Hangs(Arc<Progress>),
}

impl<T> Waiting<T> {
    /// Waits as long as the thread gets on, with this job or with those before it.
    fn wait(self) -> Waited<T> {
        let Self { answer, progress, patience } = self;
        let (mut beats, mut looks) = (progress.beats(), 0);
        while looks < LOOKS {
            match answer.recv_timeout(patience / LOOKS) {
                Ok(answer) => return Waited::Answer(answer),
                Err(RecvTimeoutError::Disconnected) if progress.is_given_up() => break,
                Err(RecvTimeoutError::Disconnected) => return Waited::Gone,
                Err(RecvTimeoutError::Timeout) => {
                    let now = progress.beats();
                    looks = if now == beats { looks + 1 } else { 0 };
                    beats = now;
                }
            }
        }
        Waited::Hangs(progress)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reach;
    use super::*;

    /// A thread that does not come back from any of these sockets until it is released, as the kernel does not
    /// from one in use.
    struct Fake {
        sockets: BTreeSet<u64>,
        release: std::sync::Mutex<mpsc::Receiver<()>>,
    }

    impl Fake {
        fn work(&self, hand: Hand) {
            let Hand { progress, ready, queue } = hand;
            let _told = ready.send(Ok(()));
            for job in queue {
                let Job::Refresh { reply } = job else { panic!("nothing else is asked for") };
                if self.sockets.iter().any(|cookie| progress.may_end(*cookie)) {
                    let _released = self.release.lock().expect("nobody panics").recv();
                }
                progress.ended();
                let _late = reply.send(Reach { namespaces: 1, errors: Vec::new() });
            }
        }
    }

    /// A crew whose threads hang at these sockets, until the sender is dropped.
    fn crew(sockets: impl IntoIterator<Item = u64>) -> (Rc<RefCell<Crew>>, mpsc::Sender<()>) {
        let (release, blocked) = mpsc::channel();
        let fake = Fake { sockets: sockets.into_iter().collect(), release: blocked.into() };
        // Long enough for a thread that does work to get its turn on a busy machine.
        let crew = Crew::start(Arc::new(move |hand| fake.work(hand)), Duration::from_secs(1));
        (Rc::new(RefCell::new(crew.expect("it can work"))), release)
    }

    fn refresh(crew: &Rc<RefCell<Crew>>) -> impl Future<Output = Option<Reach>> + use<> {
        ask(crew, |reply| Job::Refresh { reply })
    }

    fn said(crew: &Rc<RefCell<Crew>>) -> Vec<String> {
        crew.borrow().errors().iter().map(ToString::to_string).collect()
    }

    fn run(future: impl Future<Output = Option<Reach>>) -> Option<Reach> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(future)
    }

    #[test]
    fn a_thread_that_hangs_is_left_behind_and_another_goes_on_without_that_socket() {
        let (crew, release) = crew([7]);
        assert!(run(refresh(&crew)).is_some());
        let errors = said(&crew);
        assert!(errors.len() == 1 && errors[0].contains("cookie 7"), "{errors:?}");
        assert!(run(refresh(&crew)).is_some());
        assert_eq!((said(&crew), crew.borrow().exhausted()), (errors, None));
        drop(release);
        while !said(&crew).is_empty() {
            thread::yield_now();
        }
        assert!(run(refresh(&crew)).is_some());
    }

    #[test]
    fn no_more_than_three_hang_and_work_goes_on_when_one_comes_back() {
        let (crew, release) = crew([1, 2, 3, 4]);
        let [first, second] = [refresh(&crew), refresh(&crew)];
        assert!(run(first).is_none());
        assert!(run(second).is_none(), "asked for at the same time");
        assert_eq!(said(&crew).len(), 3);
        let reason = crew.borrow().exhausted().expect("nobody is left");
        assert!(reason.contains("3 threads"), "{reason}");
        drop(release);
        while crew.borrow().exhausted().is_some() {
            thread::yield_now();
        }
        assert!(run(refresh(&crew)).is_some());
    }

    #[test]
    fn a_thread_that_cannot_work_says_why() {
        let work = |hand: Hand| hand.ready.send(Err("no right".to_owned())).expect("waited for");
        assert_eq!(Crew::start(Arc::new(work), PATIENCE).expect_err("it cannot"), "no right");
    }
}
