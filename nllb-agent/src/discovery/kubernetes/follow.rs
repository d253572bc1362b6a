//! List, then watch, for ever.
//!
//! Every trouble ends in the same way: wait, connect anew with the credentials as they are then, list,
//! watch. The list is small, so there is no reason to go on from where a watch broke off, and nothing is
//! missed. A watch that ends is no trouble yet: its server may be stopping, and the next connection may
//! lead to another. Trouble is told when a fresh connection does not get as far as a watch.

use super::backoff::Backoff;
use super::client::{Connection, Events};
use super::joint::Part;
use super::objects::{Object, Store};
use super::trouble::Trouble;
use super::{Settings, Whose};
use kube::core::WatchEvent;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Nobody listens any more.
pub(super) struct Closed;

/// Why the watch of one kind of objects has to begin anew, when that is not told yet.
enum Ended {
    Trouble(Trouble),
    Closed,
}

impl From<Trouble> for Ended {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Closed> for Ended {
    fn from(Closed: Closed) -> Self {
        Self::Closed
    }
}

/// Follows the objects of one kind that are a Service's, or a node's.
pub(super) struct Follower<O: Object, C> {
    settings: Settings,
    whose: Whose,
    parts: mpsc::Sender<Part<C>>,
    content: fn(Vec<O::Item>) -> C,
    store: Store<O>,
    backoff: Backoff,
    /// How many entries are left out, and in words.
    complaint: (u32, String),
}

impl<O: Object, C> Follower<O, C> {
    pub(super) fn new(
        settings: Settings,
        whose: Whose,
        parts: mpsc::Sender<Part<C>>,
        content: fn(Vec<O::Item>) -> C,
    ) -> Self {
        let backoff = Backoff::new(&settings.pace, settings.seed);
        let (store, complaint) = (Store::default(), (0, String::new()));
        Self { settings, whose, parts, content, store, backoff, complaint }
    }

    /// The same that looks for this in the objects.
    pub(super) fn seeking(self, sought: O::Sought) -> Self {
        Self { store: Store::new(sought), ..self }
    }

    /// Returns when nobody listens any more.
    pub(super) async fn run(mut self) {
        loop {
            let told = match self.session().await {
                Ok(()) => Ok(()),
                Err(Ended::Trouble(trouble)) => self.tell(None, Some(&trouble)).await,
                Err(Ended::Closed) => Err(Closed),
            };
            if told.is_err() {
                return;
            }
            sleep(self.backoff.next()).await;
        }
    }

    /// One connection, as long as it is good for anything.
    async fn session(&mut self) -> Result<(), Ended> {
        let mut connection = Connection::open(&self.settings).await?;
        let list = connection.list::<O>(&self.whose).await?;
        let mut version = list.metadata.resource_version.unwrap_or_default();
        self.store.replace(&list.items);
        drop(list.items);
        let lasting = self.lasting();
        let first = connection.watch::<O>(&self.whose, &version, lasting).await;
        let items = self.items();
        self.tell(Some(items), first.as_ref().err()).await?;
        let Ok(mut events) = first else { return Ok(()) };
        while self.follow(&mut events, &mut version).await? {
            // The server may be stopping, or the token have run out: a fresh connection tells.
            let lasting = self.lasting();
            let next = connection.watch::<O>(&self.whose, &version, lasting).await;
            let Ok(next) = next else { return Ok(()) };
            events = next;
        }
        Ok(())
    }

    /// How long the next watch is to last.
    fn lasting(&mut self) -> Duration {
        self.backoff.between(self.settings.pace.watch)
    }

    /// Takes the events of one watch; whether it came to an end in its time, and was no failure.
    async fn follow(&mut self, events: &mut Events, version: &mut String) -> Result<bool, Closed> {
        let mut settled = pin!(sleep(self.settings.pace.settled));
        let mut lasting = false;
        loop {
            tokio::select! {
                event = events.next::<O>() => match event {
                    Ok(Some(event)) => self.take(event, version).await?,
                    // What ends at once would begin at once for ever.
                    Ok(None) => return Ok(lasting),
                    Err(trouble) => {
                        tracing::debug!(of = O::PLURAL, %trouble, "a watch has ended");
                        return Ok(false);
                    }
                },
                () = &mut settled, if !lasting => {
                    lasting = true;
                    self.backoff.reset();
                }
            }
        }
    }

    async fn take(&mut self, event: WatchEvent<O>, version: &mut String) -> Result<(), Closed> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                version.clone_from(&object.metadata().resource_version);
                self.store.apply(&object);
            }
            WatchEvent::Deleted(object) => {
                version.clone_from(&object.metadata().resource_version);
                self.store.remove(&object);
            }
            WatchEvent::Bookmark(bookmark) => {
                *version = bookmark.metadata.resource_version;
                return Ok(());
            }
            // Ended the watch before it came here.
            WatchEvent::Error(_) => return Ok(()),
        }
        let items = self.items();
        self.tell(Some(items), None).await
    }

    /// What the objects tell; what they tell in vain is said once.
    fn items(&mut self) -> Vec<O::Item> {
        let reading = self.store.reading();
        let complaint = reading.complaint();
        // Less of it is no news: the objects of one change come one by one.
        if complaint.0 >= self.complaint.0 && complaint.1 != self.complaint.1 {
            let left_out = &complaint.1;
            tracing::warn!(of = O::PLURAL, left_out, "entries that cannot be used are left out");
        }
        self.complaint = complaint;
        reading.items
    }

    async fn tell(
        &self,
        items: Option<Vec<O::Item>>,
        trouble: Option<&Trouble>,
    ) -> Result<(), Closed> {
        let content = items.map(self.content);
        let trouble = trouble.map(|trouble| trouble.reason(O::PLURAL));
        let part = Part { content, of: O::PLURAL, trouble };
        self.parts.send(part).await.map_err(|_| Closed)
    }
}
