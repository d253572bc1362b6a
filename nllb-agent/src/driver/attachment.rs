//! Keeps the programs attached, and knows how it stands.

use std::rc::Rc;
use std::time::Instant;

use tracing::{error, info, warn};

use crate::datapath::attach::Coverage;
use crate::datapath::maps::{Maps, Sockets};
use crate::datapath::selftest::{Report, SelfTest};
use crate::datapath::{Datapath, DatapathError};

/// The data path with the proofs that it works.
#[derive(Debug)]
pub(super) struct Attached {
    datapath: Datapath,
    self_test: Rc<SelfTest>,
    pub(super) coverage: Coverage,
    /// Why the last self-test failed; empty when it passed.
    pub(super) failures: Vec<String>,
    /// When the last self-test ended.
    pub(super) checked_at: Option<Instant>,
    /// Self-tests so far.
    pub(super) runs: u64,
    /// Of these, how many did not prove everything.
    pub(super) failed: u64,
    /// How often the attachment was repaired.
    pub(super) repaired: u64,
}

impl Attached {
    /// Adds the self-test to the maps.
    pub(super) async fn install(
        datapath: Datapath,
        maps: &mut impl Maps,
    ) -> Result<Self, DatapathError> {
        let self_test = SelfTest::install(maps).await?;
        Ok(Self {
            coverage: datapath.verify(),
            datapath,
            self_test: Rc::new(self_test),
            failures: Vec::new(),
            checked_at: None,
            runs: 0,
            failed: 0,
            repaired: 0,
        })
    }

    /// The programs and links.
    pub(super) const fn datapath(&self) -> &Datapath {
        &self.datapath
    }

    /// Whether every proof holds.
    pub(super) fn is_proven(&self) -> bool {
        self.failures.is_empty() && self.coverage.complete()
    }

    /// Starts a self-test, whose report is for [`Self::conclude`].
    pub(super) fn test(&self, sockets: &Rc<Sockets>) -> impl Future<Output = Report> + use<> {
        let (self_test, sockets) = (Rc::clone(&self.self_test), Rc::clone(sockets));
        async move { self_test.run(&sockets).await }
    }

    /// Takes the report of a self-test, asks the kernel as well, and repairs what is not as it should
    /// be. Says whether it repaired, which wants another test.
    pub(super) fn conclude(&mut self, report: Report, maps: &mut impl Maps) -> bool {
        let was_proven = self.is_proven();
        let Report { failures, netns } = report;
        self.coverage = self.datapath.verify();
        self.failures = failures;
        self.checked_at = Some(Instant::now());
        self.runs += 1;
        if let Some(cookie) = netns {
            self.datapath.set_host_netns(cookie);
        }
        if self.is_proven() {
            if !was_proven {
                info!("attachment proven");
            }
            return false;
        }
        self.failed += 1;
        if was_proven {
            warn!(failures = ?self.failures, coverage = ?self.coverage, "not fully attached");
        }
        self.repair(maps)
    }

    fn repair(&mut self, maps: &mut impl Maps) -> bool {
        let repaired = self
            .datapath
            .repair()
            .map_err(DatapathError::from)
            .and_then(|()| self.self_test.write(maps));
        match repaired {
            Ok(()) => {
                self.repaired += 1;
                true
            }
            Err(error) => {
                error!(%error, "cannot repair the attachment");
                false
            }
        }
    }
}
