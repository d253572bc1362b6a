//! One source of two watches: what each says becomes news once, however often it is said.
//!
//! The EndpointSlices and the Service are watched apart, because an account may be allowed to read only
//! one of them. While one is in trouble the other's news still pass; trouble is told once until it is
//! over, since it is tried again and again.

use crate::discovery::What;
use nllb_core::guests::PodAddress;
use nllb_core::services::{ServiceAddress, ServiceEndpoint};
use nllb_core::{Listing, ServiceListing, Sighting};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// More different reasons during one trouble than this say nothing new.
const MOST_REASONS: usize = 8;

/// Something that one of the watches has to say.
#[derive(Debug)]
pub(super) struct Part<C> {
    /// What it lists now; `None` when nothing new is known.
    pub(super) content: Option<C>,
    /// Which watch, by the plural of its objects.
    pub(super) of: &'static str,
    /// What keeps it from listing or watching; `None` when all is well.
    pub(super) trouble: Option<String>,
}

/// What both watches say together.
pub(super) trait Whole: Default {
    /// What one of them lists.
    type Content;

    /// Takes it; whether it is another than before.
    fn put(&mut self, content: Self::Content) -> bool;

    /// What there is to tell; `None` while a part is missing without which it makes no sense.
    fn news(&self) -> Option<What>;
}

/// What a watch of the Service `kubernetes` lists.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    Hosts(Vec<Sighting>),
    Vips(Vec<SocketAddr>),
}

impl Whole for Listing {
    type Content = Content;

    fn put(&mut self, content: Content) -> bool {
        let Self { sightings, vips } = self;
        match content {
            Content::Hosts(new) => std::mem::replace(sightings, new) != *sightings,
            Content::Vips(new) => std::mem::replace(vips, new) != *vips,
        }
    }

    fn news(&self) -> Option<What> {
        Some(What::Listed(self.clone()))
    }
}

/// What a watch of another Service lists.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offer {
    Endpoints(Vec<ServiceEndpoint>),
    Addresses(Vec<ServiceAddress>),
}

/// What is known of another Service. Its addresses without its endpoints would be worse than nothing, and
/// the other way round it looks as if it were gone.
#[derive(Debug, Default)]
pub(super) struct Offered {
    endpoints: Option<Vec<ServiceEndpoint>>,
    addresses: Option<Vec<ServiceAddress>>,
}

impl Whole for Offered {
    type Content = Offer;

    fn put(&mut self, offer: Offer) -> bool {
        let Self { endpoints, addresses } = self;
        match offer {
            Offer::Endpoints(new) => endpoints.replace(new) != *endpoints,
            Offer::Addresses(new) => addresses.replace(new) != *addresses,
        }
    }

    fn news(&self) -> Option<What> {
        let (endpoints, addresses) = (self.endpoints.clone()?, self.addresses.clone()?);
        Some(What::Service(ServiceListing { addresses, endpoints }))
    }
}

/// One watch alone is a source too.
impl Whole for Option<Vec<PodAddress>> {
    type Content = Vec<PodAddress>;

    fn put(&mut self, new: Vec<PodAddress>) -> bool {
        self.replace(new) != *self
    }

    fn news(&self) -> Option<What> {
        self.clone().map(What::Pods)
    }
}

/// What both have said.
#[derive(Debug, Default)]
pub(super) struct Joint<W> {
    whole: W,
    /// Whether anything was listed at all.
    listed: bool,
    /// Whose trouble the last news was of.
    failed: Option<&'static str>,
    /// The trouble of each watch.
    troubles: Vec<(&'static str, String)>,
    told: BTreeSet<String>,
}

impl<W: Whole> Joint<W> {
    /// The news in what a watch says, in their order; none when it was said before.
    pub(super) fn take(&mut self, part: Part<W::Content>) -> Vec<What> {
        let Part { content, of, trouble } = part;
        let changed = content.is_some_and(|content| self.put(content));
        self.troubles.retain(|(whose, _)| *whose != of);
        if let Some(trouble) = trouble {
            self.troubles.push((of, trouble));
        }
        let mut news = Vec::new();
        if self.troubles.is_empty() {
            self.told.clear();
        }
        let over = self.troubles.is_empty() && self.failed.is_some();
        if changed || (over && self.listed) {
            if let Some(what) = self.whole.news() {
                news.push(what);
                self.failed = None;
            }
        }
        let troubled = |of| self.troubles.iter().any(|(whose, _)| *whose == of);
        self.failed = self.failed.filter(|of| troubled(*of));
        for (of, reason) in &self.troubles {
            let first = self.told.len() < MOST_REASONS && self.told.insert(reason.clone());
            // A listing, or the end of the other's trouble, must not look as if all were well.
            if first || self.failed.is_none() {
                news.push(What::Failed { reason: reason.clone() });
                self.failed = Some(of);
            }
        }
        news
    }

    /// Whether this is another content than before.
    fn put(&mut self, content: W::Content) -> bool {
        let first = !std::mem::replace(&mut self.listed, true);
        self.whole.put(content) || first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(last: u8) -> Option<Content> {
        Some(Content::Hosts(vec![Sighting::new([10, 0, 0, last].into(), Some(6443))]))
    }

    fn vips() -> Option<Content> {
        Some(Content::Vips(vec![([10, 96, 0, 1], 443).into()]))
    }

    /// The news in words: how many hosts and VIPs, or the reason.
    fn take(
        joint: &mut Joint<Listing>,
        of: &'static str,
        what: Option<Content>,
        bad: &str,
    ) -> Vec<String> {
        let trouble = (!bad.is_empty()).then(|| bad.to_owned());
        let news = joint.take(Part { content: what, of, trouble });
        let words = news.into_iter().map(|what| match what {
            What::Listed(Listing { sightings, vips }) => {
                format!("{}+{}", sightings.len(), vips.len())
            }
            What::Partly { .. } | What::Service(_) | What::Pods(_) | What::Zone(_) => {
                panic!("each part is whole or fails")
            }
            What::Failed { reason } => reason,
        });
        words.collect()
    }

    #[test]
    fn a_trouble_is_told_once_and_its_end_too() {
        let mut joint = Joint::default();
        assert_eq!(take(&mut joint, "hosts", hosts(1), ""), ["1+0"]);
        assert_eq!(take(&mut joint, "vips", vips(), ""), ["1+1"]);
        assert!(take(&mut joint, "vips", vips(), "").is_empty(), "nothing new");
        assert_eq!(take(&mut joint, "hosts", None, "refused"), ["refused"]);
        assert!(take(&mut joint, "hosts", None, "refused").is_empty());
        assert_eq!(take(&mut joint, "hosts", None, "401"), ["401"]);
        assert!(take(&mut joint, "hosts", None, "refused").is_empty(), "told before");
        assert_eq!(take(&mut joint, "hosts", hosts(1), ""), ["1+1"], "all is well again");
        assert_eq!(take(&mut joint, "hosts", None, "refused"), ["refused"], "another trouble");
    }

    #[test]
    fn what_one_may_not_read_does_not_hide_the_other() {
        let mut joint = Joint::default();
        assert_eq!(take(&mut joint, "vips", None, "403"), ["403"]);
        assert_eq!(take(&mut joint, "hosts", hosts(1), ""), ["1+0", "403"]);
        assert!(take(&mut joint, "vips", None, "403").is_empty());
        assert!(take(&mut joint, "hosts", hosts(1), "").is_empty());
        assert_eq!(take(&mut joint, "hosts", hosts(2), ""), ["1+0", "403"]);
        assert_eq!(take(&mut joint, "hosts", None, "refused"), ["refused"]);
        assert_eq!(take(&mut joint, "hosts", hosts(2), ""), ["403"], "which goes on");
        assert_eq!(take(&mut joint, "vips", vips(), ""), ["1+1"]);
    }

    #[test]
    fn a_list_that_cannot_be_watched_is_told_with_its_trouble() {
        let mut joint = Joint::default();
        assert_eq!(take(&mut joint, "hosts", hosts(1), "no watch"), ["1+0", "no watch"]);
        assert!(take(&mut joint, "hosts", hosts(1), "no watch").is_empty());
        assert_eq!(take(&mut joint, "hosts", hosts(2), "no watch"), ["1+0", "no watch"]);
    }

    #[test]
    fn another_service_is_told_when_both_its_parts_are_known() {
        let mut joint: Joint<Offered> = Joint::default();
        let mut take = |of, offer: Option<Offer>, bad: Option<&str>| {
            let trouble = bad.map(str::to_owned);
            joint.take(Part { content: offer, of, trouble })
        };
        assert!(take("slices", Some(Offer::Endpoints(Vec::new())), None).is_empty());
        let refused = [What::Failed { reason: "403".to_owned() }];
        assert_eq!(take("services", None, Some("403")), refused);
        let told = take("services", Some(Offer::Addresses(Vec::new())), None);
        assert_eq!(told, [What::Service(ServiceListing::default())]);
        assert!(take("slices", Some(Offer::Endpoints(Vec::new())), None).is_empty(), "nothing new");
    }

    #[test]
    fn an_empty_list_is_news_too() {
        let mut joint = Joint::default();
        let empty = || Some(Content::Hosts(Vec::new()));
        assert_eq!(take(&mut joint, "hosts", empty(), ""), ["0+0"]);
        assert!(take(&mut joint, "hosts", empty(), "").is_empty());
    }

    #[test]
    fn reasons_that_are_ever_new_do_not_go_on_for_ever() {
        let mut joint = Joint::default();
        let reasons =
            (0..100).flat_map(|n| take(&mut joint, "hosts", None, &n.to_string())).count();
        assert_eq!(reasons, MOST_REASONS);
    }
}
