//! Lists of all sorts, and who the members are then; hostile ones are in `hostile.rs`.

use std::sync::Arc;
use std::time::Duration;

use nllb_common::maps::MAX_POOL_BACKENDS;

use super::*;

mod hostile;

const STATIC: SourceKind = SourceKind::Static;

fn id(kind: SourceKind, name: &str) -> SourceId {
    SourceId { kind, name: Arc::from(name) }
}

fn dns() -> SourceId {
    id(SourceKind::Dns, "cp.example.org")
}

fn kubernetes() -> SourceId {
    id(SourceKind::Kubernetes, "")
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn host(text: &str) -> Sighting {
    match text.parse::<SocketAddr>() {
        Ok(addr) => Sighting::new(addr.ip(), Some(addr.port())),
        Err(_) => Sighting::new(text.parse().expect("an address"), None),
    }
}

fn listing(hosts: &[&str]) -> Listing {
    Listing { sightings: hosts.iter().map(|text| host(text)).collect(), vips: Vec::new() }
}

fn pool(name: &str, fixed: Option<u16>) -> PoolPlan {
    let hosts = Some(Ports { fixed, usual: 6443 });
    PoolPlan { name: name.to_owned(), own: Vec::new(), hosts }
}

/// One pool with the hosts of these sources.
fn plan(sources: &[SourceId]) -> Plan {
    Plan {
        pools: vec![pool("apiserver", None)],
        sources: sources.to_vec(),
        vip_frontend: Some("kubernetes".to_owned()),
        ..Plan::default()
    }
}

/// `address=kind,kind` of each member of the first pool.
fn members(membership: &Membership) -> Vec<String> {
    let members = &membership.members().pools[0].members;
    let one = |member: &Member| {
        let kinds: Vec<_> = member.sources.iter().map(|id| id.kind.label()).collect();
        format!("{}={}", member.addr, kinds.join(","))
    };
    members.iter().map(one).collect()
}

fn left_out(membership: &Membership) -> Vec<String> {
    membership.members().pools[0].left_out.iter().map(ToString::to_string).collect()
}

#[test]
fn sources_add_up_and_each_backend_knows_who_named_it() {
    let now = Instant::now();
    let own =
        vec![(addr("10.0.0.12:6443"), id(STATIC, "")), (addr("10.0.0.11:6443"), id(STATIC, ""))];
    let plan = plan(&[dns(), kubernetes()]);
    let mut membership =
        Membership::new(Plan { pools: vec![PoolPlan { own, ..plan.pools[0].clone() }], ..plan });
    membership.handle_listing(
        &dns(),
        listing(&["10.0.0.13", "10.0.0.11", "::ffff:10.0.0.13"]),
        now,
    );
    membership.handle_listing(&kubernetes(), listing(&["10.0.0.14:6443", "10.0.0.13:8443"]), now);
    assert_eq!(
        members(&membership),
        [
            "10.0.0.12:6443=static",
            "10.0.0.11:6443=static,dns",
            // Its port is known where somebody says it.
            "10.0.0.13:8443=kubernetes,dns",
            "10.0.0.14:6443=kubernetes"
        ]
    );
}

#[test]
fn a_pool_with_a_port_has_every_host_there() {
    let plan = Plan {
        pools: vec![pool("supervisor", Some(9345)), pool("apiserver", None)],
        hosts: vec![host("10.0.0.11"), host("10.0.0.12:8443")],
        ..Plan::default()
    };
    let membership = Membership::new(plan);
    assert_eq!(members(&membership), ["10.0.0.11:9345=static", "10.0.0.12:9345=static"]);
    let mut settings = Settings::default();
    settings.pools.push(crate::PoolSettings { name: "apiserver".to_owned(), ..Default::default() });
    membership.fill(&mut settings);
    assert_eq!(settings.pools[0].endpoints, [addr("10.0.0.11:6443"), addr("10.0.0.12:8443")]);
}

#[test]
fn the_table_on_disk_serves_until_every_source_was_heard() {
    let now = Instant::now();
    let mut membership = Membership::new(plan(&[dns(), kubernetes()]));
    membership.recall("apiserver", [addr("10.0.0.11:6443"), addr("10.0.0.99:6443")]);
    membership.recall("other", [addr("10.0.0.98:6443")]);
    assert_eq!(members(&membership), ["10.0.0.11:6443=table", "10.0.0.99:6443=table"]);
    membership.handle_failure(&dns(), "no answer".to_owned(), now);
    membership.handle_listing(&kubernetes(), listing(&["10.0.0.11:6443", "10.0.0.12:6443"]), now);
    assert_eq!(
        members(&membership),
        ["10.0.0.11:6443=kubernetes,table", "10.0.0.12:6443=kubernetes", "10.0.0.99:6443=table"]
    );
    membership.handle_listing(&dns(), listing(&["10.0.0.11"]), now);
    assert_eq!(
        members(&membership),
        ["10.0.0.11:6443=kubernetes,dns", "10.0.0.12:6443=kubernetes"]
    );
}

#[test]
fn failures_and_empty_lists_leave_what_is_known_and_are_told() {
    let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(5));
    let mut membership = Membership::new(plan(&[dns()]));
    let heard = listing(&["10.0.0.11:6443"]);
    membership.handle_listing(&dns(), heard, now);
    for nothing in
        [listing(&[]), listing(&["0.0.0.0", "224.0.0.1:6443", "127.0.0.1", "10.0.0.1:0"])]
    {
        membership.handle_listing(&dns(), nothing, later);
        assert_eq!(members(&membership), ["10.0.0.11:6443=dns"]);
    }
    membership.handle_failure(&dns(), "no answer".to_owned(), later + Duration::from_secs(1));
    let view = membership.view();
    assert_eq!((view[0].hosts, view[0].heard), (1, Some(now)));
    // What is wrong now, and since when anything is.
    assert_eq!(view[0].failure, Some(("no answer".to_owned(), later)));
    membership.handle_listing(&dns(), listing(&["10.0.0.11:6443"]), later);
    let view = membership.view();
    assert_eq!((view[0].heard, view[0].changed, &view[0].failure), (Some(later), Some(now), &None));
}

#[test]
fn a_part_that_fails_takes_nothing_from_the_rest_and_is_one_failure_as_long_as_it_lasts() {
    let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(5));
    let mut membership = Membership::new(plan(&[dns()]));
    assert!(!membership.is_failing(&dns()));
    membership.handle_part(&dns(), listing(&["10.0.0.11"]), "line 2".to_owned(), now);
    membership.handle_part(&dns(), listing(&["10.0.0.12"]), "line 3".to_owned(), later);
    assert_eq!(members(&membership), ["10.0.0.12:6443=dns"]);
    assert_eq!(membership.view()[0].failure, Some(("line 3".to_owned(), now)));
    assert!(membership.is_failing(&dns()));
    membership.handle_listing(&dns(), listing(&["10.0.0.12"]), later);
    assert_eq!(membership.view()[0].failure, None);
}

#[test]
fn a_reload_keeps_what_sources_that_stay_have_listed_and_empties_nothing() {
    let now = Instant::now();
    let mut membership = Membership::new(plan(&[dns()]));
    membership.handle_listing(&dns(), listing(&["10.0.0.11:6443"]), now);
    membership.set_plan(plan(&[dns(), kubernetes()]));
    assert_eq!(members(&membership), ["10.0.0.11:6443=dns,table"]);
    membership.set_plan(plan(&[kubernetes()]));
    assert_eq!(members(&membership), ["10.0.0.11:6443=table"]);
    // News that was on its way.
    membership.handle_listing(&dns(), listing(&["10.0.0.98:6443"]), now);
    membership.handle_listing(&kubernetes(), listing(&["10.0.0.12:6443"]), now);
    assert_eq!(members(&membership), ["10.0.0.12:6443=kubernetes"]);
}

#[test]
fn a_full_pool_names_who_is_left_out_and_the_configuration_comes_first() {
    let now = Instant::now();
    let many: Vec<String> = (1..=20).map(|last| format!("10.0.1.{last}:6443")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let own = (17..=18).map(|last| (addr(&format!("10.0.2.{last}:6443")), id(STATIC, "")));
    let plan = plan(&[dns(), kubernetes()]);
    let pool = PoolPlan { own: own.collect(), ..plan.pools[0].clone() };
    let mut membership = Membership::new(Plan { pools: vec![pool], ..plan });
    membership.handle_listing(&dns(), listing(&many), now);
    membership.handle_listing(&kubernetes(), listing(&["10.0.9.9:6443"]), now);
    let members = members(&membership);
    assert_eq!(members.len(), MAX_POOL_BACKENDS);
    assert_eq!(
        members[..4],
        [
            "10.0.2.17:6443=static",
            "10.0.2.18:6443=static",
            "10.0.9.9:6443=kubernetes",
            "10.0.1.1:6443=dns"
        ]
    );
    let left_out = left_out(&membership);
    assert_eq!(left_out.len(), 7);
    assert_eq!(
        left_out[0],
        "10.0.1.14:6443 (dns cp.example.org) is left out: a pool holds 16 backends"
    );
}

#[test]
fn what_clients_dial_is_no_backend_unless_there_is_no_other() {
    let now = Instant::now();
    let mut wanted = plan(&[dns(), kubernetes()]);
    wanted.frontends.insert(addr("10.96.0.9:443"));
    let mut membership = Membership::new(wanted);
    let vip = addr("10.96.0.1:443");
    membership.handle_listing(&dns(), listing(&["10.96.0.1:443", "10.96.0.9:443"]), now);
    assert_eq!(members(&membership), ["10.96.0.1:443=dns"]);
    let vips = Listing { vips: vec![vip, addr("0.0.0.0:443"), vip], ..listing(&[]) };
    membership.handle_listing(&kubernetes(), vips.clone(), now);
    assert_eq!(members(&membership), ["10.96.0.1:443=dns,table"], "the only one");
    assert_eq!(membership.members().vips, []);
    let whole = Listing { vips: vips.vips, ..listing(&["10.0.0.11:6443"]) };
    membership.handle_listing(&kubernetes(), whole, now);
    assert_eq!(members(&membership), ["10.0.0.11:6443=kubernetes"]);
    assert_eq!(membership.members().vips, [vip]);
    assert_eq!(left_out(&membership).len(), 2);
    // A list without any does not take them away.
    membership.handle_listing(&kubernetes(), listing(&["10.0.0.11:6443"]), now);
    let mut settings = Settings::default();
    let frontend =
        |name: &str| crate::FrontendSettings { name: name.to_owned(), ..Default::default() };
    settings.frontends = vec![frontend("kubernetes"), frontend("other")];
    membership.fill(&mut settings);
    assert_eq!(settings.frontends[0].addresses, [vip]);
    assert_eq!(settings.frontends[1].addresses, []);
}

#[test]
fn a_list_of_frontends_only_takes_nobody_away_before_all_sources_were_heard() {
    let mut wanted = plan(&[dns(), kubernetes()]);
    wanted.frontends.insert(addr("10.96.0.9:443"));
    let mut membership = Membership::new(wanted);
    for hosts in [["10.0.0.11"], ["10.96.0.9:443"], ["10.96.0.9:443"]] {
        membership.handle_listing(&dns(), listing(&hosts), Instant::now());
        assert_eq!(membership.members().pools[0].members[0].addr, addr("10.0.0.11:6443"));
    }
}

#[test]
fn a_source_cannot_take_the_last_known_backend_by_calling_it_what_clients_dial() {
    let mut membership = Membership::new(plan(&[kubernetes()]));
    let backend = addr("10.0.0.11:6443");
    membership.recall("apiserver", [backend]);
    let claim = Listing { vips: vec![backend], ..listing(&[]) };
    membership.handle_listing(&kubernetes(), claim, Instant::now());
    assert_eq!(members(&membership), ["10.0.0.11:6443=table"]);
    assert!(membership.members().vips.is_empty());
}

#[test]
fn a_host_that_is_said_to_be_going_is_worth_a_look_and_stays() {
    let now = Instant::now();
    let mut membership = Membership::new(plan(&[kubernetes()]));
    let hosts = |change: &dyn Fn(&mut Vec<Sighting>)| {
        let mut sightings = vec![host("10.0.0.11:6443"), host("10.0.0.12:6443")];
        change(&mut sightings);
        Listing { sightings, vips: Vec::new() }
    };
    let first = membership.handle_listing(&kubernetes(), hosts(&|_| ()), now);
    assert!(first.is_empty(), "they are new and looked at anyway");
    let ip = |text: &str| BTreeSet::from([text.parse::<IpAddr>().expect("an address")]);
    let going = hosts(&|hosts| hosts[1].terminating = true);
    assert_eq!(membership.handle_listing(&kubernetes(), going.clone(), now), ip("10.0.0.12"));
    assert_eq!(membership.handle_listing(&kubernetes(), going, now), BTreeSet::new());
    assert_eq!(members(&membership).len(), 2);
    let gone = hosts(&|hosts| hosts.truncate(1));
    assert_eq!(membership.handle_listing(&kubernetes(), gone, now), ip("10.0.0.12"));
}
