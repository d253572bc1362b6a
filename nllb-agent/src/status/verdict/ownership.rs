//! What the ownership of the control-plane VIP contributes to the verdict.

use super::Findings;
use crate::status::{VipLease, VipOwnership};

impl Findings {
    pub(super) fn of_ownership(&mut self, vip: Option<&VipOwnership>) {
        let Some(VipOwnership { by: _, fit: _, unfit, lease }) = vip else { return };
        if let Some(why) = unfit {
            // What is behind it is told of the backend or the data path as well.
            self.note(format!("the VIP is left to others: {why}"));
        }
        let Some(VipLease { name, holder, problem, announces, .. }) = lease else { return };
        if let Some(problem) = problem {
            self.degraded(format!("the Lease {name} of the VIP: {problem}"));
        } else if holder.is_none() {
            self.degraded(format!("the Lease {name} of the VIP is held by nobody"));
        }
        if !announces {
            self.degraded(
                "takeovers of the VIP are not announced: start the agent with CAP_NET_RAW",
            );
        }
    }
}
