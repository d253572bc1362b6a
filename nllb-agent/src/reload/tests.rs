//! Files that change in every way that editors and kubelets change them.

use super::*;
use crate::file_watch::QUIET;
use std::fs;
use std::os::unix::fs::symlink;
use tokio::time::timeout;

/// Far longer than the kernel takes to tell.
const AMPLE: Duration = Duration::from_secs(20);

async fn due(reload: &mut Reload) {
    timeout(AMPLE, reload.next()).await.expect("a reload");
}

/// Whether nothing is due. That nothing comes can only be waited for: four times what it takes.
async fn stays(reload: &mut Reload) -> bool {
    timeout(QUIET * 4, reload.next()).await.is_err()
}

fn start() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("agent.yaml");
    fs::write(&file, "a: 1\n").expect("written");
    (dir, file)
}

#[tokio::test]
async fn a_file_written_in_place_or_replaced_by_renaming_is_due_once() {
    let (dir, file) = start();
    let mut reload = Reload::watch(&file, []).expect("watched");
    fs::write(&file, "a: 22\n").expect("written");
    due(&mut reload).await;
    let next = dir.path().join("next");
    fs::write(&next, "a: 333\n").expect("written");
    fs::rename(&next, &file).expect("renamed");
    due(&mut reload).await;
    assert!(stays(&mut reload).await);
}

#[tokio::test]
async fn a_swapped_config_map_is_due_each_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let swap = |version: &str| {
        fs::create_dir(at(version)).expect("made");
        fs::write(at(version).join("agent.yaml"), version).expect("written");
        symlink(version, at("..data_tmp")).expect("linked");
        fs::rename(at("..data_tmp"), at("..data")).expect("renamed");
    };
    swap("..v1");
    symlink("..data/agent.yaml", at("agent.yaml")).expect("linked");
    let mut reload = Reload::watch(&at("agent.yaml"), []).expect("watched");
    for (old, new) in [("..v1", "..v2"), ("..v2", "..v3")] {
        swap(new);
        fs::remove_dir_all(at(old)).expect("removed");
        due(&mut reload).await;
    }
}

#[tokio::test]
async fn a_file_behind_a_link_is_followed() {
    let (dir, file) = start();
    let elsewhere = tempfile::tempdir().expect("a directory");
    let link = elsewhere.path().join("link.yaml");
    symlink(&file, &link).expect("linked");
    let mut reload = Reload::watch(&link, []).expect("watched");
    fs::write(&file, "changed").expect("written");
    due(&mut reload).await;
    drop(dir);
}

#[tokio::test]
async fn other_files_in_the_directory_are_no_reason_and_sources_are() {
    let (dir, file) = start();
    let source = dir.path().join("kubeconfig");
    fs::write(&source, "1").expect("written");
    let mut reload = Reload::watch(&file, []).expect("watched");
    fs::write(&source, "22").expect("written");
    assert!(stays(&mut reload).await);
    reload.set_sources([&source]);
    fs::write(&source, "333").expect("written");
    due(&mut reload).await;
    reload.set_sources([]);
    fs::write(&source, "4444").expect("written");
    assert!(stays(&mut reload).await);
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let (_dir, file) = start();
    let mut reload = Reload::watch(&file, []).expect("watched");
    fs::write(&file, "changed").expect("written");
    let mut rounds = 0;
    // The driver gives up the wait whenever something else happens.
    let seen = async {
        loop {
            rounds += 1;
            if timeout(Duration::from_millis(5), reload.next()).await.is_ok() {
                return;
            }
        }
    };
    timeout(AMPLE, seen).await.expect("a reload");
    assert!(rounds > 1);
}

#[tokio::test(start_paused = true)]
async fn a_reload_that_was_put_off_is_due_once_when_its_time_has_come() {
    let (_dir, file) = start();
    let mut reload = Reload::watch(&file, []).expect("watched");
    let wait = Duration::from_secs(30);
    reload.again_after(wait);
    let before = tokio::time::Instant::now();
    timeout(wait / 2, reload.next()).await.expect_err("not yet");
    reload.next().await;
    assert_eq!(before.elapsed(), wait, "who stopped waiting lost nothing");
    timeout(wait * 2, reload.next()).await.expect_err("once");
}
