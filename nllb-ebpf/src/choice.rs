//! What the choice of a backend wants to know, and what it leaves behind: the same for connects and for
//! datagrams.

use nllb_common::maps::{
    Client, Control, Favourite, Frontend, FrontendKey, NO_BACKEND, Policy, PoolSet, Protocol,
    Scope, Slot,
};
use nllb_common::pick::{Choice, Reach, Request, Survey, by_maglev};
use nllb_common::{Addr, Port};

use crate::ctx::{SockAddr, now_ns, random, tgid};
use crate::family::Family;
use crate::maps::{self, BackendEvidence, KernelView};

/// A frontend that was dialled, and by whom.
pub(crate) struct Dialled {
    pub(crate) addr: Addr,
    pub(crate) port: Port,
    pub(crate) frontend: Frontend,
    pub(crate) client: Client,
}

impl Dialled {
    /// The frontend that is dialled; `None` when that is none of ours.
    #[inline(always)]
    pub(crate) fn find<F: Family>(
        ctx: &SockAddr,
        protocol: Protocol,
        control: &Control,
    ) -> Option<Self> {
        let addr = F::destination(ctx);
        let port = Port::from_word(ctx.user_port());
        let netns = ctx.netns_cookie();
        let key = FrontendKey::new(addr, port, protocol, scope(netns, control));
        let frontend = maps::frontend(&key)?;
        let client = Client { netns, tgid: tgid(), frontend: u32::from(frontend.id) };
        Some(Self { addr, port, frontend, client })
    }

    /// The frontend that a guest dials from behind an interface; `None` when that is none of ours.
    #[inline(always)]
    pub(crate) fn by_guest(key: &FrontendKey, interface: u32) -> Option<Self> {
        let frontend = maps::frontend(key)?;
        // What to others is their namespace and process is to it a number that no namespace has; its address it could
        // choose anew for each packet.
        let netns = 1 << 63 | u64::from(interface);
        let client = Client { netns, tgid: 0, frontend: u32::from(frontend.id) };
        Some(Self { addr: key.addr(), port: key.port(), frontend, client })
    }

    /// The circumstances.
    #[inline(always)]
    pub(crate) fn request(&self, control: &Control, reach: Reach) -> Request {
        let now_ns = now_ns();
        Request {
            now_ns,
            lease_valid: control.lease_until_ns > now_ns,
            reach,
            seed: self.seed(),
            zero: control.zero,
            policy: self.frontend.policy_number(),
            pool: u32::from(self.frontend.pool),
            preferred: self.preferred(),
        }
    }

    /// The backend that the client should have, where the policy has one for it.
    #[inline(always)]
    fn preferred(&self) -> u32 {
        let policy = self.frontend.policy_number();
        if policy == Policy::Maglev as u32 {
            let pool = maps::pool(u32::from(self.frontend.pool));
            return pool.map_or(NO_BACKEND, |pool| by_maglev(pool, self.client.hash()));
        }
        if policy == Policy::Affinity as u32 {
            // Of another epoch it would be another backend.
            let favourite = maps::favourite(&self.client);
            let favourite =
                favourite.filter(|it| BackendEvidence::of(it.backend, it.epoch).is_some());
            return favourite.map_or(NO_BACKEND, |favourite| favourite.backend);
        }
        NO_BACKEND
    }

    /// What decides the draw: the client where the policy says so, else chance.
    #[inline(always)]
    fn seed(&self) -> u32 {
        let maglev = self.frontend.policy_number() == Policy::Maglev as u32;
        if maglev { self.client.hash() } else { random() }
    }

    /// What a policy wants to know at the next choice.
    #[inline(always)]
    pub(crate) fn note(&self, request: &Request, choice: &Choice) {
        let Choice { slot: Slot { backend, epoch, .. }, index, eligible: _ } = *choice;
        if request.policy == Policy::RoundRobin as u32 {
            maps::take_turn(request.pool, index, request.now_ns);
        }
        if request.policy == Policy::Affinity as u32 && request.preferred != backend {
            maps::set_favourite(&self.client, Favourite { backend, epoch });
        }
    }
}

/// What is found of a pool, and the pool: see [`Survey::of`]. `None` for a pool that is not there.
#[inline(always)]
pub(crate) fn survey(request: &Request, apart: u32) -> Option<(&'static PoolSet, Survey)> {
    let attempt = || {
        let [now_ns, draw, rest] = request.words();
        let survey = Survey::from_word(nllb_survey(now_ns, draw, rest, apart.into()));
        let pool = maps::pool(request.pool)?;
        survey.is_of(pool).then_some((pool, survey))
    };
    // The pool may have been swapped in between, each time while this processor did something else.
    attempt().or_else(attempt).or_else(attempt).or_else(attempt)
}

/// The survey of a pool, by itself for the verifier: it looks at a global function once, with arguments that it knows
/// nothing of, and not again at each call. Up to Linux 5.12 such a function takes no pointers to memory.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(clippy::cast_possible_truncation, reason = "`apart` is the id of a backend")]
extern "C" fn nllb_survey(now_ns: u64, draw: u64, rest: u64, apart: u64) -> u64 {
    let Some(control) = maps::control() else {
        return Survey::NOTHING.word();
    };
    let zero = control.zero;
    let request = Request::from_words([now_ns, draw, rest], zero);
    let Some(pool) = maps::pool(request.pool) else {
        return Survey::NOTHING.word();
    };
    Survey::of(pool, &KernelView { zero }, &request, apart as u32).word()
}

/// The scope of a connect from this network namespace. While the host's is not known, nobody is in
/// it: loopback frontends wait, which harms less than serving a pod what is the host's.
#[inline(always)]
fn scope(netns: u64, control: &Control) -> Scope {
    if control.host_netns == netns { Scope::Host } else { Scope::Other }
}
