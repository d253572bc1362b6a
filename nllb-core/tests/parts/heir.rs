//! What an agent takes over from the one before: the maps, and the table on disk for what they do not hold.

use std::time::Duration;

use nllb_core::{
    Answer, BackendId, BackendView, FrontendSettings, Machine, PoolSettings, VersionSkew,
};

use crate::node::{Node, version};

#[test]
fn bands_and_versions_stay_as_they_are() {
    let frontend =
        FrontendSettings { version_skew: VersionSkew::PreferNewest, ..FrontendSettings::default() };
    let mut node = Node::new(frontend, &PoolSettings::default(), None);
    node.rtt[2] = Duration::from_millis(300);
    for (id, text) in [(0, "v1.30.1"), (1, "v1.31.0"), (2, "v1.31.2")] {
        node.machine.handle_answer(BackendId(id), 1, Answer::Version(version(text)), node.now);
    }
    node.wait(Duration::from_secs(300));
    let before = node.machine.table();
    assert_eq!(before.verdicts[&2].band(), 3);
    let (_, set) = before.pools.first_key_value().expect("a pool");
    assert_eq!(set.iter().map(|slot| slot.backend).collect::<Vec<_>>(), [1, 2]);

    let mut heir = Machine::new(node.settings.clone(), 2, node.now).expect("settings");
    heir.adopt_table(before);
    heir.handle_known(&node.machine.remembered(), node.now);
    assert!(heir.table().pools == before.pools, "who serves is who served");
    assert_eq!(heir.table().verdicts, before.verdicts, "who is left out keeps its epoch as well");
    let view = heir.view();
    let known = |backend: &BackendView| backend.rtt.is_some() && backend.version.is_some();
    assert!(view.pools[0].backends.iter().all(known));
}
