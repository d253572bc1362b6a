//! What goes wrong at the API server: told once, and over by itself.

use nllb_lab::apiserver::{Api, Service};
use nllb_lab::discover::{Discovery, Told};
use nllb_lab::wait::wait_until;

use crate::scene::{SLICES, Scene, fails, host, lists, reasons};

/// Lets `break_it` happen while one host is listed, waits for `reason` and for more tries, then for the
/// recovery with another host. Each kind of objects tells its reason once.
fn told_once_and_over_by_itself(break_it: impl Fn(&Scene), reason: &str) {
    let Some(scene) = Scene::build(1) else { return };
    scene.set_hosts(&[host(1)]);
    let watch = scene.watch();
    watch.until("the first list", lists(["10.0.0.1:6443"])).expect("told");
    break_it(&scene);
    watch.until("the trouble", fails(reason)).expect("told");
    scene.await_tries(6);
    let meanwhile = watch.pending();
    assert!(reasons(&meanwhile).len() <= 3, "{meanwhile:?}");
    scene.set_hosts(&[host(2)]);
    scene.serve();
    let recovered = watch.until("the recovery", lists(["10.0.0.2:6443"])).expect("told");
    let reasons = reasons(&recovered);
    assert!(reasons.len() <= 2, "{recovered:?}");
    follows_again(&scene, &watch);
}

fn follows_again(scene: &Scene, watch: &Discovery) {
    scene.set_hosts(&[host(3)]);
    watch.until("a change afterwards", lists(["10.0.0.3:6443"])).expect("told");
}

#[test]
fn revoked_rights_are_told_once_until_they_are_given_back() {
    told_once_and_over_by_itself(
        |scene| scene.refuse(403),
        "endpointslices: 403: allow the account to list and watch them",
    );
}

#[test]
fn an_error_of_the_server_is_told_with_its_words() {
    let words = "endpointslices: the API server answered 500 so it was told";
    told_once_and_over_by_itself(|scene| scene.refuse(500), words);
}

#[test]
fn answers_that_break_off_are_told() {
    told_once_and_over_by_itself(
        |scene| scene.set_api(Service::all(Api::Garble)),
        "endpointslices: the answer makes no sense",
    );
}

#[test]
fn a_server_that_falls_silent_is_given_up_and_asked_again() {
    told_once_and_over_by_itself(
        |scene| scene.set_api(Service::all(Api::Silent)),
        "endpointslices: the API server did not answer in time",
    );
}

#[test]
fn watches_that_are_refused_are_made_up_for_by_lists() {
    let Some(scene) = Scene::build(1) else { return };
    scene.set_hosts(&[host(1)]);
    let watch = scene.watch();
    watch.until("the first list", lists(["10.0.0.1:6443"])).expect("told");
    scene.set_api(Service { watches: Api::Refuse(403), ..Service::default() });
    watch.until("the trouble", fails("403")).expect("told");
    scene.set_hosts(&[host(2)]);
    watch.until("a change all the same", lists(["10.0.0.2:6443"])).expect("told");
    scene.serve();
    follows_again(&scene, &watch);
}

#[test]
fn a_watch_that_falls_silent_is_begun_anew_without_a_word() {
    let Some(scene) = Scene::build(1) else { return };
    scene.set_hosts(&[host(1)]);
    let watch = scene.watch();
    watch.until("the first list", lists(["10.0.0.1:6443"])).expect("told");
    scene.set_api(Service { watches: Api::Silent, ..Service::default() });
    scene.set_hosts(&[host(2)]);
    let told = watch.until("the change", lists(["10.0.0.2:6443"])).expect("told");
    assert!(reasons(&told).is_empty(), "{told:?}");
    scene.serve();
    follows_again(&scene, &watch);
}

#[test]
fn a_version_that_is_gone_means_another_list() {
    let Some(scene) = Scene::build(1) else { return };
    scene.set_hosts(&[host(1)]);
    let watch = scene.watch();
    watch.until("the first list", lists(["10.0.0.1:6443"])).expect("told");
    let watches = || {
        let requests = scene.server().stats()?.requests;
        anyhow::Ok(requests.get(&format!("{SLICES}?watch")).copied().unwrap_or_default())
    };
    let before = watches().expect("told");
    scene.set_api(Service { watches: Api::Refuse(410), ..Service::default() });
    wait_until("a new try", || Ok((watches()? > before).then_some(()))).expect("tried again");
    scene.serve();
    scene.set_hosts(&[host(2)]);
    watch.until("the change", lists(["10.0.0.2:6443"])).expect("told");
    follows_again(&scene, &watch);
}

#[test]
fn rights_to_one_kind_of_objects_are_enough_for_that_one() {
    let Some(scene) = Scene::build(1) else { return };
    let refused = Service::all(Api::Refuse(403));
    scene.server().set_modes(|modes| modes.slices = refused).expect("told");
    let watch = scene.watch();
    let vips = |told: &Told| matches!(told, Told::Listed { hosts, vips } if hosts.is_empty() && vips.len() == 2);
    let told = watch.until("the VIPs", vips).expect("told");
    let more =
        if reasons(&told).is_empty() { watch.next().expect("told") } else { told[0].clone() };
    assert!(fails("endpointslices: 403")(&more), "{more:?}");
    scene.await_tries(4);
    assert!(reasons(&watch.pending()).len() <= 1, "told once, and after a listing");
    scene.serve();
    watch.until("the hosts too", lists(["10.86.0.11:6443", "[fd86::11]:6443"])).expect("told");
}

#[test]
fn a_server_that_was_away_is_found_again() {
    let Some(scene) = Scene::build(1) else { return };
    scene.set_hosts(&[host(1)]);
    let watch = scene.watch();
    watch.until("the first list", lists(["10.0.0.1:6443"])).expect("told");
    scene.server().crash().expect("crashed");
    watch.until("the trouble", fails("10.86.0.11:6443 cannot be reached")).expect("told");
    scene.set_hosts(&[host(2)]);
    scene.server().restart().expect("restarted");
    watch.until("the list of the new one", lists(["10.0.0.2:6443"])).expect("told");
    follows_again(&scene, &watch);
}

#[test]
fn a_watch_that_ends_in_its_time_goes_on_over_the_same_connection() {
    let Some(scene) = Scene::build(1) else { return };
    scene.set_hosts(&[host(1)]);
    let watch = scene.watch();
    watch.until("the first list", lists(["10.0.0.1:6443"])).expect("told");
    let seen = wait_until("more watches", || {
        let stats = scene.server().stats()?;
        let watches = stats.requests.get(&format!("{SLICES}?watch")).copied().unwrap_or_default();
        Ok((watches >= 4).then_some(stats))
    });
    let seen = seen.expect("one after the other");
    assert_eq!(seen.connections[SLICES], 1, "{seen:?}");
    follows_again(&scene, &watch);
    assert_eq!(watch.log().expect("a log"), "");
}
