//! Keeps the programs attached, and knows how it stands.

use std::rc::Rc;
use std::time::{Duration, Instant};

use nllb_common::maps::Protocol;
use nllb_core::Table;
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use super::sync::Sync;
use crate::datapath::attach::{Coverage, Process, kubelets, still_kubelets};
use crate::datapath::closing::Closing;
use crate::datapath::maps::{Maps, Sockets};
use crate::datapath::selftest::{Report, SelfTest};
use crate::datapath::{Datapath, DatapathError};

/// How often all processes are searched for kubelets; in between, those known are looked at.
const SEARCH_INTERVAL: Duration = Duration::from_secs(60);

/// The data path with the proofs that it works.
#[derive(Debug)]
pub(super) struct Attached {
    datapath: Datapath,
    self_test: Rc<SelfTest>,
    kubelets: Vec<Process>,
    /// When all processes were last searched.
    searched_at: Option<Instant>,
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
        let self_test = SelfTest::install(maps, datapath.other_versions().next().is_some()).await?;
        Ok(Self {
            coverage: datapath.verify(&[]),
            datapath,
            self_test: Rc::new(self_test),
            kubelets: Vec::new(),
            searched_at: None,
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

    /// Starts a self-test, whose findings are for [`Self::conclude`].
    pub(super) fn test(&mut self, sockets: &Rc<Sockets>) -> impl Future<Output = Findings> + use<> {
        let (self_test, sockets) = (Rc::clone(&self.self_test), Rc::clone(sockets));
        let now = Instant::now();
        let search = self.searched_at.is_none_or(|at| now - at >= SEARCH_INTERVAL);
        let known = std::mem::take(&mut self.kubelets);
        if search {
            self.searched_at = Some(now);
        }
        async move {
            let report = self_test.run(&sockets).await;
            let kubelets = if search {
                // It ends with the list, or with the runtime.
                spawn_blocking(kubelets).await.unwrap_or_default()
            } else {
                still_kubelets(known)
            };
            Findings { report, kubelets }
        }
    }

    /// Takes the findings of a self-test, asks the kernel as well, and repairs what is not as it should
    /// be. Says whether to look again at once; else what is wrong is there to stay for now.
    pub(super) fn conclude(&mut self, findings: Findings, maps: &mut impl Maps) -> bool {
        let was_proven = self.is_proven();
        let Findings { report: Report { failures, netns }, kubelets } = findings;
        self.coverage = self.datapath.verify(&kubelets);
        self.kubelets = kubelets;
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
        self.repair(maps) || was_proven
    }

    /// Removes what other versions have left, once ours translates as configured. Tried again after each
    /// self-test until it is done.
    pub(super) fn replace_other_versions(&mut self, maps: &mut impl Maps, sync: &Sync) {
        let are_there = |datapath: &Datapath| datapath.other_versions().next().is_some();
        let proven = self.failures.is_empty() && self.coverage.attached();
        if !are_there(&self.datapath) || !proven || sync.problem().is_some() {
            return;
        }
        self.datapath.remove_other_versions();
        if !are_there(&self.datapath) {
            if let Err(error) = self.self_test.settle(maps) {
                // The next self-test fails, and then it is written again.
                warn!(%error, "the self-test is not where it should be");
            }
        }
    }

    /// Lets each connection end by timeouts of its own where the agent cannot end it. In force with the next
    /// renewal of the lease.
    pub(super) fn set_short_timeouts(&mut self, closing: &Closing) {
        self.datapath.set_short_timeouts(matches!(closing, Closing::Timeouts { .. }));
    }

    /// Translates datagrams as long as a table has frontends for them.
    pub(super) fn serve_datagrams(&mut self, table: &Table, maps: &mut impl Maps) {
        let before = self.datapath.serves_datagrams();
        let wanted = table.frontends.keys().any(|key| key.protocol() == Protocol::Udp);
        if let Err(error) = self.datapath.serve_datagrams(wanted, maps) {
            // The next renewal of the lease writes it.
            error!(%error, "cannot say whether datagrams are translated");
        }
        if wanted != before {
            self.coverage = self.datapath.verify(&self.kubelets);
        }
    }

    /// Attaches what is not attached, and writes the frontend of the self-test again. Says whether it
    /// attached anything.
    fn repair(&mut self, maps: &mut impl Maps) -> bool {
        let broken = self.coverage.hooks.iter().any(|(_, _, state)| state.is_err());
        let attached = if self.coverage.attached() { Ok(()) } else { self.datapath.repair() };
        match attached.and_then(|()| self.self_test.write(maps)) {
            Ok(()) if broken => {
                self.repaired += 1;
                true
            }
            Ok(()) => false,
            Err(error) => {
                error!(%error, "cannot repair the attachment");
                false
            }
        }
    }
}

/// What a self-test found, with what the kernel is to be asked about.
#[derive(Debug)]
pub(super) struct Findings {
    report: Report,
    kubelets: Vec<Process>,
}
