//! The table as text: one line per entry, always in the same order, for tests and for people.

use std::fmt;

use nllb_common::addr::join;
use nllb_common::maps::{
    Frontend, FrontendKey, NO_HOME, Policy, PoolSet, Protocol, Scope, Slot, frontend_flags,
};

use crate::table::Table;

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frontends, pools, verdicts, fresh } = self;
        // The order of keys in the map is that of their bytes, which nobody would recognise.
        let mut rows: Vec<_> = frontends
            .iter()
            .map(|(key, value)| (join(key.addr(), key.port()), key, value))
            .collect();
        rows.sort_unstable_by_key(|(addr, key, _)| (*addr, key.protocol(), key.scope()));
        for (_, key, value) in rows {
            let (dialled, scope) = (dialled(key), scope_word(key.scope()));
            writeln!(f, "frontend {dialled} from {scope} -> {}", FrontendText(value))?;
        }
        for (id, set) in pools {
            writeln!(f, "pool {id}:{}", PoolText(set))?;
        }
        for (id, verdict) in verdicts {
            let (state, band) = (verdict.state().label(), verdict.band());
            let (weight, epoch) = (verdict.weight(), verdict.epoch());
            let doubted = if verdict.is_doubted() { " doubted" } else { "" };
            writeln!(f, "verdict {id}.{epoch} {state}{doubted} band {band} weight {weight}")?;
        }
        for (id, epoch) in fresh {
            if verdicts.get(id).is_none_or(|verdict| verdict.epoch() != *epoch) {
                writeln!(f, "evidence {id}.{epoch} without a verdict")?;
            }
        }
        Ok(())
    }
}

pub(crate) const fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::Host => "host",
        Scope::Other => "others",
    }
}

/// What is dialled, with the protocol where it is not TCP.
pub(crate) fn dialled(key: &FrontendKey) -> String {
    let address = join(key.addr(), key.port());
    match key.protocol() {
        Protocol::Tcp => address.to_string(),
        Protocol::Udp => format!("{address}/{}", Protocol::Udp.label()),
    }
}

/// A frontend after its address.
pub(crate) struct FrontendText<'a>(pub(crate) &'a Frontend);

impl fmt::Display for FrontendText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frontend { id, pool, home, flags } = *self.0;
        let policy = self.0.policy();
        write!(f, "frontend {id} pool {pool}")?;
        if home != NO_HOME {
            write!(f, " home {home}")?;
        }
        for (flag, word) in [
            (frontend_flags::NODE_ADDRESS, "node-address"),
            (frontend_flags::FAIL_WHEN_EMPTY, "fail-when-empty"),
            (frontend_flags::SELF_TEST, "self-test"),
        ] {
            if flags & flag != 0 {
                write!(f, " {word}")?;
            }
        }
        if policy != Policy::Random {
            write!(f, " {}", policy.label())?;
        }
        Ok(())
    }
}

/// The backends of a pool, id, epoch and address of each, and those that it leaves out.
pub(crate) struct PoolText<'a>(pub(crate) &'a PoolSet);

impl fmt::Display for PoolText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len == 0 {
            f.write_str(" nobody")?;
        }
        self.0.iter().try_for_each(|slot| backend(f, slot))?;
        let mut left_out = self.0.left_out().peekable();
        if left_out.peek().is_some() {
            f.write_str(" without")?;
        }
        left_out.try_for_each(|slot| backend(f, slot))
    }
}

fn backend(f: &mut fmt::Formatter<'_>, slot: &Slot) -> fmt::Result {
    write!(f, " {}.{}={}", slot.backend, slot.epoch, join(slot.addr, slot.port))
}
