//! Whom the watch trusts and who it is: files that come, change and go while it runs.

use std::fs;

use nllb_lab::discover::Options;
use nllb_lab::lab::shared_names;
use nllb_lab::pki::{Authority, Identity};

use crate::scene::{Scene, fails, host, lists, reasons, replace};

#[test]
fn an_expired_token_is_told_once_until_its_file_has_another() {
    let Some(scene) = Scene::build(1) else { return };
    scene.set_hosts(&[host(1)]);
    let watch = scene.watch();
    watch.until("the first list", lists(["10.0.0.1:6443"])).expect("told");
    scene.lab.set_token("the next one").expect("told");
    scene.set_hosts(&[host(2)]);
    let told = watch.until("a watch is not asked again", lists(["10.0.0.2:6443"])).expect("told");
    assert!(reasons(&told).is_empty(), "{told:?}");

    scene.server().crash().expect("crashed");
    scene.server().restart().expect("restarted");
    let refused = fails("401: it does not accept the credentials");
    watch.until("401", refused).expect("told");
    scene.await_tries(6);
    assert!(reasons(&watch.pending()).len() <= 3);
    scene.write_token("the next one\n");
    scene.set_hosts(&[host(3)]);
    watch.until("the recovery", lists(["10.0.0.3:6443"])).expect("told");
}

#[test]
fn a_token_that_is_not_there_yet_is_waited_for() {
    let Some(scene) = Scene::build(1) else { return };
    scene.set_hosts(&[host(1)]);
    for missing in ["token", "ca.crt"] {
        let file = scene.account.join(missing);
        let content = fs::read_to_string(&file).expect("its content");
        fs::remove_file(&file).expect("removed");
        let watch = scene.watch();
        let reason = format!("{}: cannot be read", file.display());
        watch.until("a reason", fails(&reason)).expect("told");
        replace(&file, &content);
        watch.until("the list", lists(["10.0.0.1:6443"])).expect("told");
    }
}

#[test]
fn a_certificate_is_told_apart_by_what_is_wrong_with_it() {
    let Some(scene) = Scene::build(1) else { return };
    scene.set_hosts(&[host(1)]);
    let authority = scene.lab.authority();
    let good = authority.server("cp0", &shared_names()).expect("a certificate");
    let stranger = Authority::new("stranger").expect("an authority");
    let wrong = [
        (
            authority.server_in("cp0", &shared_names(), 2200..=2300),
            "certificate is not valid yet: look at the clocks",
        ),
        (authority.server_in("cp0", &shared_names(), 2000..=2001), "certificate has expired"),
        (
            authority.server("cp0", &["elsewhere".to_owned()]),
            "certificate is not for \"kubernetes.default.svc\"",
        ),
        (stranger.server("cp0", &shared_names()), "certificate is of an authority that"),
    ];
    let watch = scene.watch();
    watch.until("the first list", lists(["10.0.0.1:6443"])).expect("told");
    let restart_with = |identity: &Identity| {
        scene.server().crash().expect("crashed");
        scene.server().show_from_now(identity);
        scene.server().restart().expect("restarted");
    };
    for (identity, reason) in wrong {
        restart_with(&identity.expect("a certificate"));
        watch.until(reason, fails(reason)).expect("told");
        restart_with(&good);
        watch.until("the recovery", lists(["10.0.0.1:6443"])).expect("told");
    }
}

#[test]
fn a_kubelets_kubeconfig_is_followed_as_its_certificate_is_rotated() {
    let Some(scene) = Scene::build(1) else { return };
    scene.set_hosts(&[host(1)]);
    let directory = scene.lab.directory();
    let (pem, file) =
        (directory.join("kubelet-client-current.pem"), directory.join("kubelet.conf"));
    let ca = scene.account.join("ca.crt");
    let kubeconfig = format!(
        "apiVersion: v1
kind: Config
clusters:
- name: default
  cluster: {{server: 'https://nobody.invalid:6443', certificate-authority: {}}}
contexts:
- name: default
  context: {{cluster: default, user: default}}
current-context: default
users:
- name: default
  user: {{client-certificate: {pem}, client-key: {pem}}}
",
        ca.display(),
        pem = pem.display(),
    );
    fs::write(&file, kubeconfig).expect("a kubeconfig");
    let current = |authority: &Authority| {
        let Identity { certificate, key } =
            authority.client("system:node:one").expect("a certificate");
        replace(&pem, &format!("{certificate}{key}"));
    };
    let watch = scene.start(&Options::kubeconfig(scene.server().tls(), &file));
    watch.until("no certificate yet", fails("kubelet-client-current.pem")).expect("told");
    current(scene.lab.authority());
    watch.until("the first list", lists(["10.0.0.1:6443"])).expect("told");

    // One that this server does not know, as after a change of the authority.
    current(&Authority::new("old").expect("an authority"));
    scene.server().crash().expect("crashed");
    scene.server().restart().expect("restarted");
    watch.until("it is refused", fails("with the API server")).expect("told");
    current(scene.lab.authority());
    scene.set_hosts(&[host(2)]);
    watch.until("the recovery", lists(["10.0.0.2:6443"])).expect("told");
}

#[test]
fn a_kubeconfig_may_have_its_token_in_a_file_and_no_plug_in() {
    let Some(scene) = Scene::build(1) else { return };
    scene.set_hosts(&[host(1)]);
    let file = scene.lab.directory().join("kubeconfig");
    let ca = scene.account.join("ca.crt");
    let with = |cluster: &str, user: &str| {
        let text = format!(
            "clusters:
- name: one
  cluster: {{server: 'https://10.0.0.1:6443', {cluster}}}
users:
- name: me
  user: {{{user}}}
"
        );
        replace(&file, &text);
    };
    let trusting = format!("certificate-authority: {}", ca.display());
    let watch = {
        with(&trusting, "exec: {command: aws}");
        scene.start(&Options::kubeconfig(scene.server().tls(), &file))
    };
    watch.until("a plug-in", fails("user.exec: the agent runs no plug-ins")).expect("told");
    let token = format!("tokenFile: {}", scene.account.join("token").display());
    with("insecure-skip-tls-verify: true", &token);
    watch.until("no trust", fails("insecure-skip-tls-verify would give")).expect("told");
    with("extensions: []", &token);
    watch.until("nobody to trust", fails("no usable certificate authority")).expect("told");
    with(&trusting, &token);
    watch.until("the list", lists(["10.0.0.1:6443"])).expect("told");
}
