//! Lists as nobody sane would write them: whatever sources say, a pool is never emptied and never too large.

use proptest::prelude::*;

use super::*;

/// Addresses that collide often, in all forms, and some that nobody can have.
fn any_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        8 => (1u8..24).prop_map(|last| IpAddr::from([10, 0, 0, last])),
        1 => (1u8..24).prop_map(|last| format!("::ffff:10.0.0.{last}").parse().expect("an address")),
        2 => (1u16..8).prop_map(|last| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last])),
        1 => any::<[u8; 4]>().prop_map(IpAddr::from),
        1 => any::<[u8; 16]>().prop_map(IpAddr::from),
    ]
}

fn any_port() -> impl Strategy<Value = u16> {
    prop_oneof![6 => Just(6443), 2 => Just(8443), 1 => any::<u16>()]
}

fn any_sighting() -> impl Strategy<Value = Sighting> {
    (any_ip(), prop::option::of(any_port()), any::<Option<bool>>(), any::<bool>())
        .prop_map(|(ip, port, ready, terminating)| Sighting { ip, port, ready, terminating })
}

fn any_listing() -> impl Strategy<Value = Listing> {
    let vip = (any_ip(), any_port()).prop_map(|(ip, port)| SocketAddr::new(ip, port));
    (prop::collection::vec(any_sighting(), 0..80), prop::collection::vec(vip, 0..20))
        .prop_map(|(sightings, vips)| Listing { sightings, vips })
}

/// News of one of three sources; without a list it is a failure.
fn any_news() -> impl Strategy<Value = (usize, Option<Listing>)> {
    (0..3usize, prop::option::weighted(0.8, any_listing()))
}

fn sources() -> [SourceId; 3] {
    [dns(), kubernetes(), id(SourceKind::File, "/etc/nllb/hosts")]
}

fn hear(membership: &mut Membership, (source, listing): (usize, Option<Listing>), now: Instant) {
    let id = &sources()[source];
    match listing {
        Some(listing) => drop(membership.handle_listing(id, listing, now)),
        None => membership.handle_failure(id, "no answer".to_owned(), now),
    }
}

fn hostile_plan(fixed: Option<u16>) -> Plan {
    let own = vec![(addr("10.0.0.1:6443"), id(STATIC, ""))];
    Plan {
        pools: vec![
            pool("apiserver", fixed),
            PoolPlan { own, ..pool("own", None) },
            PoolPlan { hosts: None, ..pool("none", None) },
        ],
        frontends: BTreeSet::from([addr("10.0.0.2:6443")]),
        ..plan(&sources())
    }
}

proptest! {
    #[test]
    fn whatever_is_listed_members_are_bounded_usable_and_never_lost(
        news in prop::collection::vec(any_news(), 1..12),
        recalled in prop::collection::vec((any_ip(), any_port()), 0..4),
        fixed in prop::option::of(any_port().prop_filter("a port", |port| *port != 0)),
    ) {
        let now = Instant::now();
        let mut membership = Membership::new(hostile_plan(fixed));
        membership.recall("apiserver", recalled.iter().map(|(ip, port)| SocketAddr::new(*ip, *port)));
        let mut had = !membership.members().pools[0].members.is_empty();
        for one in news {
            hear(&mut membership, one, now);
            let Members { pools, vips } = membership.members().clone();
            had |= !pools[0].members.is_empty();
            prop_assert_eq!(pools[0].members.is_empty(), !had, "emptied");
            prop_assert_eq!(pools[1].members[0].addr, addr("10.0.0.1:6443"), "its own comes first");
            prop_assert!(pools[2].members.is_empty(), "it takes no hosts");
            for pool in &pools {
                let addresses: BTreeSet<_> = pool.members.iter().map(|one| one.addr).collect();
                prop_assert_eq!(addresses.len(), pool.members.len(), "twice");
                prop_assert!(pool.members.len() <= MAX_POOL_BACKENDS);
                for Member { addr, sources } in &pool.members {
                    prop_assert!(!sources.is_empty());
                    prop_assert_eq!(canonical(*addr), *addr);
                    prop_assert!(!vips.contains(addr), "a loop");
                    let ours = sources.iter().any(|id| id.kind == SourceKind::Table);
                    let sane = addr.port() != 0 && !addr.ip().is_unspecified()
                        && !addr.ip().is_multicast() && !addr.ip().is_loopback();
                    prop_assert!(sane || ours, "{}", addr);
                }
            }
        }
    }

    #[test]
    fn who_came_first_does_not_matter_once_all_were_heard(
        lists in prop::collection::vec(any_listing(), 3),
        order in Just([0usize, 1, 2]).prop_shuffle(),
        shuffled in any_listing().prop_perturb(|_, rng| rng),
    ) {
        let now = Instant::now();
        // One good host in each, or a source would not count as heard.
        let list = |source: usize| {
            let mut list = lists[source].clone();
            list.sightings.push(host("10.0.0.1:6443"));
            list
        };
        let mut one = Membership::new(hostile_plan(None));
        for source in 0..3 {
            hear(&mut one, (source, Some(list(source))), now);
        }
        let mut other = Membership::new(hostile_plan(None));
        other.recall("apiserver", [addr("10.0.0.99:6443")]);
        let mut rng = shuffled;
        for source in order {
            let mut list = list(source);
            for index in (1..list.sightings.len()).rev() {
                let with = usize::try_from(rng.next_u32()).unwrap_or(0) % (index + 1);
                list.sightings.swap(index, with);
            }
            hear(&mut other, (source, Some(list)), now);
        }
        prop_assert_eq!(&one.members().pools, &other.members().pools);
        prop_assert_eq!(&one.members().vips, &other.members().vips);
    }
}
