//! `nllb explain` against what connects really do.

use std::ffi::OsString;
use std::process::Output;

use nllb_lab::lab::VIP_V4;
use nllb_lab::{Agent, Configuration, Lab};
use serde_json::Value;

#[test]
fn what_is_explained_is_what_happens() {
    let Some(lab) = Lab::builder().pods(1).build_or_skip() else { return };
    let mut agent = Agent::start(&lab, &Configuration::of(&lab).quick()).expect("an agent");
    let dead = lab.control_plane(0);
    dead.crash().expect("crashed");
    agent.await_state(dead.tls(), "unhealthy").expect("a verdict");

    let vip_address = format!("{VIP_V4}:443");
    let vip = explain(&agent, &["--connect", &vip_address]);
    assert_eq!((&vip["fate"], &vip["frontend"]), (&"translated".into(), &"kubernetes".into()));
    let backends = vip["backends"].as_array().expect("a list");
    let share = |backend: &Value| backend["share"].as_f64().expect("a number");
    for backend in backends {
        let is_dead = backend["address"] == dead.tls().to_string();
        assert_eq!(share(backend) == 0.0, is_dead, "{vip}");
        assert_eq!(backend["reason"].as_str().is_some_and(|why| why.contains("refused")), is_dead);
    }
    let peer = &vip["connect"]["peer"];
    assert!(backends.iter().any(|b| b["address"] == *peer && share(b) > 0.0), "{vip}");

    println!("{}", text(&nllb(&agent, &["--connect", &vip_address])));

    let pod = format!("/run/netns/{}", lab.node(0).pods()[0].netns());
    let from_pod = explain(&agent, &["--from-netns", &pod, "--connect", &vip_address]);
    assert_eq!((&from_pod["scope"], &from_pod["fate"]), (&"other".into(), &"translated".into()));
    assert!(from_pod["connect"]["peer"].is_string(), "{from_pod}");

    let loopback = text(&nllb(&agent, &["127.0.0.1:7443"]));
    assert!(loopback.contains("from the host: frontend local"), "{loopback}");
    let loopback = text(&nllb(&agent, &["--from-netns", &pod, "127.0.0.1:7443"]));
    assert!(loopback.contains("no frontend has this address"), "{loopback}");
    assert!(loopback.contains("from the host it is one"), "{loopback}");

    agent.kill().expect("killed");
    let alone = text(&nllb(&agent, &[&vip_address]));
    assert!(alone.contains("it goes to ") && alone.contains("no names and reasons: "), "{alone}");
    agent.uninstall().expect("uninstalled");
    let gone = nllb(&agent, &[&vip_address]);
    assert_eq!(gone.status.code(), Some(5), "{gone:?}");
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn explain(agent: &Agent, args: &[&str]) -> Value {
    let output = nllb(agent, &[&["-o", "json"], args].concat());
    serde_json::from_str(&text(&output)).expect("JSON")
}

fn nllb(agent: &Agent, args: &[&str]) -> Output {
    let mut words: Vec<OsString> = vec!["explain".into(), "--bpffs".into(), agent.bpffs().into()];
    words.extend(["--socket".into(), agent.socket().into()]);
    words.extend(args.iter().map(OsString::from));
    agent.nllb(&words).expect("it runs")
}
