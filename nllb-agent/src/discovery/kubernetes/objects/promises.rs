//! What holds whatever an API server answers: it is read or refused, and what is read of it is bounded,
//! usable and printable. Random tests and a fuzz target ask for it.

use super::any_service::{AnyService, AnySlice};
use super::pod::Pod;
use super::*;
use crate::discovery::kubernetes::trouble::Trouble;
use kube::core::{ObjectList, WatchEvent};

/// Reads the text as every kind of object.
pub(in crate::discovery::kubernetes) fn objects(text: &[u8]) {
    hold::<EndpointSlice>(text, |Sighting { ip, port, .. }| {
        usable(*ip) == Ok(*ip) && *port != Some(0)
    });
    hold::<Service>(text, is_usable);
    hold::<AnySlice>(text, |endpoint| is_usable(&endpoint.addr));
    hold::<AnyService>(text, |address| is_usable(&address.vip));
    hold::<Pod>(text, |address| usable(address.ip) == Ok(address.ip));
}

fn is_usable(address: &SocketAddr) -> bool {
    usable(address.ip()) == Ok(address.ip()) && address.port() != 0
}

/// As a list, and as an event of a watch.
fn hold<O: Object>(text: &[u8], sound: fn(&O::Item) -> bool) {
    match serde_json::from_slice::<ObjectList<O>>(text) {
        Ok(list) => {
            let mut store = Store::<O>::default();
            store.replace(&list.items);
            bounded::<O>(&store.reading(), sound);
            let mut one_by_one = Store::<O>::default();
            list.items.iter().for_each(|object| one_by_one.apply(object));
            assert!(store.reading() == one_by_one.reading(), "a list is its objects");
            list.items.iter().for_each(|object| store.remove(object));
            assert!(store.reading().items.is_empty(), "all are gone");
        }
        Err(error) => printable_line(&Trouble::Nonsense(error).reason(O::PLURAL)),
    }
    match serde_json::from_slice::<WatchEvent<O>>(text) {
        Ok(
            WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object),
        ) => {
            let mut store = Store::<O>::default();
            store.apply(&object);
            bounded::<O>(&store.reading(), sound);
            store.remove(&object);
            assert!(store.reading().items.is_empty(), "it is gone");
        }
        Ok(WatchEvent::Bookmark(_)) => {}
        Ok(WatchEvent::Error(error)) => {
            printable_line(&Trouble::of_status(error.code, &error.message).reason(O::PLURAL));
        }
        Err(error) => printable_line(&Trouble::Nonsense(error).reason(O::PLURAL)),
    }
}

fn bounded<O: Object>(reading: &Reading<O::Item>, sound: fn(&O::Item) -> bool) {
    assert!(reading.items.len() <= O::ROOM.items, "{} items", reading.items.len());
    assert!(reading.items.is_sorted(), "items in no order");
    assert!(reading.items.iter().all(sound), "an item that nobody can use");
    let (left_out, complaint) = reading.complaint();
    assert_eq!(left_out == 0, complaint.is_empty(), "{left_out}: {complaint}");
    printable_line(&complaint);
}

/// A few examples of what was left out, each with a name and an address.
const LONGEST_LINE: usize = 2000;

fn printable_line(line: &str) {
    assert!(!line.contains(char::is_control), "control characters in {line:?}");
    assert!(line.chars().count() <= LONGEST_LINE, "{} characters", line.len());
}
