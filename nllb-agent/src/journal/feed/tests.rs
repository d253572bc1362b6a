//! Pages, what comes from where, and who waits for how long.

use super::*;
use crate::journal::What;
use tokio::time::Instant;

fn entry(seq: u64) -> Entry {
    let what = What::Undrain { backend: "10.0.0.1:6443".parse().expect("an address") };
    Entry { seq, time_ms: 1_800_000_000_000, what }
}

async fn page(feed: &Feed, after: u64) -> (Vec<u64>, u64, bool) {
    let text = feed.after(after, Duration::ZERO).await;
    let Events { entries, newest, more } = serde_json::from_str(&text).expect("JSON");
    let seq = |value: &serde_json::Value| value["seq"].as_u64().expect("a number");
    (entries.iter().map(seq).collect(), newest, more)
}

#[tokio::test]
async fn every_entry_is_told_once_page_by_page_from_disk_and_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("journal.jsonl");
    let feed = Feed::new(Some(file.clone()), 0);
    let total = 700;
    for seq in 1..=total {
        let line = feed.add(&entry(seq));
        // The last ones are not on the disk yet.
        if seq <= total - 10 {
            disk::append(&file, &[line]).expect("written");
        }
    }
    let (mut told, mut after) = (Vec::new(), 0);
    loop {
        let (page, newest, more) = page(&feed, after).await;
        assert!(page.len() <= MOST && newest == total);
        after = page.last().copied().unwrap_or(after);
        told.extend(page);
        if !more {
            break;
        }
    }
    assert_eq!(told, (1..=total).collect::<Vec<_>>());
    assert_eq!(page(&feed, total).await, (vec![], total, false));
    assert_eq!(page(&feed, total + 5).await, (vec![], total, false), "who asks for more sees less");
}

#[tokio::test]
async fn without_a_disk_the_newest_are_told() {
    let feed = Feed::new(None, 40);
    for seq in 41..=240 {
        feed.add(&entry(seq));
    }
    let newest: Vec<u64> = (240 - IN_MEMORY as u64 + 1..=240).collect();
    assert_eq!(page(&feed, 0).await, (newest, 240, false));
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_answered_with_the_next_entry_or_when_the_time_is_over() {
    let feed = Feed::new(None, 0);
    let begun = Instant::now();
    let forever = Duration::from_secs(1_000_000);
    let text = feed.after(0, forever).await;
    assert_eq!(text, r#"{"entries":[],"newest":0,"more":false}"#);
    assert_eq!(begun.elapsed(), LONGEST_WAIT);

    let waiting = tokio::spawn({
        let feed = feed.clone();
        async move { feed.after(0, forever).await }
    });
    tokio::task::yield_now().await;
    feed.add(&entry(1));
    assert!(waiting.await.expect("an answer").contains("\"seq\":1"));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_a_few_wait_and_the_others_are_answered_at_once() {
    let feed = Feed::new(None, 0);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..MOST_WAITING {
        let feed = feed.clone();
        waiting.spawn(async move { feed.after(0, LONGEST_WAIT).await });
    }
    tokio::task::yield_now().await;
    let begun = Instant::now();
    feed.after(0, LONGEST_WAIT).await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    waiting.shutdown().await;
    feed.after(0, LONGEST_WAIT).await;
    assert_eq!(begun.elapsed(), LONGEST_WAIT, "their places are free again");
}
