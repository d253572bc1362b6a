//! Maps in memory, for tests of what is written, and of what happens when a write fails.

use std::collections::BTreeMap;

use nllb_common::Counter;
use nllb_common::maps::{
    Control, Evidence, Frontend, FrontendKey, MAX_FRONTENDS, MAX_POOLS, PoolSet, Verdict, names,
};

use super::maps::{Maps, MapsError};

/// Maps in memory.
#[derive(Debug)]
pub struct FakeMaps {
    frontends: BTreeMap<FrontendKey, Frontend>,
    pools: BTreeMap<u32, PoolSet>,
    verdicts: BTreeMap<u32, Verdict>,
    evidence: BTreeMap<u32, Evidence>,
    control: Control,
    /// Writes that still succeed; `None` means all do.
    writes_left: Option<usize>,
}

impl Default for FakeMaps {
    fn default() -> Self {
        Self {
            frontends: BTreeMap::new(),
            pools: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            evidence: BTreeMap::new(),
            control: Control::new(250),
            writes_left: None,
        }
    }
}

impl FakeMaps {
    /// Lets `writes` more writes succeed and every one after that fail, as a full map does.
    pub fn fail_after(&mut self, writes: usize) {
        self.writes_left = Some(writes);
    }

    /// Lets every write succeed again.
    pub fn heal(&mut self) {
        self.writes_left = None;
    }

    fn write(&mut self, map: &'static str, limit: u32) -> Result<(), MapsError> {
        match &mut self.writes_left {
            Some(0) => Err(MapsError::Full { map, limit }),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Maps for FakeMaps {
    fn frontends(&self) -> Result<Vec<(FrontendKey, Frontend)>, MapsError> {
        Ok(self.frontends.iter().map(|(key, frontend)| (*key, *frontend)).collect())
    }

    fn pools(&self) -> Result<Vec<(u32, PoolSet)>, MapsError> {
        Ok(self.pools.iter().map(|(pool, set)| (*pool, *set)).filter(|(_, s)| s.len > 0).collect())
    }

    fn verdicts(&self) -> Result<Vec<(u32, Verdict)>, MapsError> {
        Ok(self.verdicts.iter().map(|(id, verdict)| (*id, *verdict)).collect())
    }

    fn set_frontend(&mut self, key: FrontendKey, frontend: Frontend) -> Result<(), MapsError> {
        self.write(names::FRONTENDS, MAX_FRONTENDS)?;
        self.frontends.insert(key, frontend);
        Ok(())
    }

    fn remove_frontend(&mut self, key: FrontendKey) -> Result<(), MapsError> {
        self.write(names::FRONTENDS, MAX_FRONTENDS)?;
        self.frontends.remove(&key);
        Ok(())
    }

    fn set_pools(&mut self, pools: &[(u32, &PoolSet)]) -> Result<(), MapsError> {
        self.write(names::POOLS, MAX_POOLS)?;
        self.pools.extend(pools.iter().map(|(pool, set)| (*pool, **set)));
        Ok(())
    }

    fn set_verdict(&mut self, backend: u32, verdict: Verdict) -> Result<(), MapsError> {
        self.write(names::VERDICT, nllb_common::maps::MAX_BACKENDS)?;
        match verdict.word() {
            0 => self.verdicts.remove(&backend),
            _ => self.verdicts.insert(backend, verdict),
        };
        Ok(())
    }

    fn evidence(&self, backend: u32) -> Result<Evidence, MapsError> {
        Ok(self.evidence.get(&backend).copied().unwrap_or_default())
    }

    fn reset_evidence(&mut self, backend: u32, epoch: u32) -> Result<(), MapsError> {
        self.write(names::EVIDENCE, nllb_common::maps::MAX_BACKENDS)?;
        self.evidence.insert(backend, Evidence::fresh(epoch));
        Ok(())
    }

    fn counters(&self) -> Result<Vec<(Counter, u64)>, MapsError> {
        Ok(Counter::ALL.iter().map(|counter| (*counter, 0)).collect())
    }

    fn control(&self) -> Result<Control, MapsError> {
        Ok(self.control)
    }

    fn set_control(&mut self, control: Control) -> Result<(), MapsError> {
        self.control = control;
        Ok(())
    }

    fn sweep_netns(&mut self) -> Result<(), MapsError> {
        Ok(())
    }
}
