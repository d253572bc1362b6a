//! The `vip` section as it is written, and as it is when left out.

use super::*;
use nllb_core::vip::{Forwarding, LeasePlan, Ownership, VipPlan, XdpMode};

fn with(vip: &str) -> Config {
    let text = format!(
        "apiVersion: nllb.dev/v1alpha1
kind: AgentConfiguration
controlPlane: {{hosts: [10.0.0.11, '10.0.0.12:6443', 'fd00::11'], kubernetes: {{}}}}
frontends:
  - {{name: vip, kind: vip, addresses: ['10.0.0.100:6443'], pool: apiserver}}
  - {{name: join, kind: loopback, addresses: ['127.0.0.1:9443'], pool: join}}
pools:
  - {{name: apiserver, probe: {{insecureSkipVerify: true}}}}
  - {{name: join, profile: k0s-join, probe: {{insecureSkipVerify: true}}}}
vip: {vip}
"
    );
    parse(&text, &Discovered::default())
}

#[test]
fn an_address_alone_is_a_vip_by_lease_at_the_port_of_the_backends() {
    let config = with("{addresses: [10.0.0.100]}");
    let lease = LeasePlan {
        name: "nllb-vip".to_owned(),
        namespace: "kube-system".to_owned(),
        duration: Duration::from_secs(2),
    };
    let expected = VipPlan {
        v4: Some([10, 0, 0, 100].into()),
        v6: None,
        port: 6443,
        pool: "apiserver".to_owned(),
        interface: None,
        mode: XdpMode::Auto,
        forwarding: Forwarding::Auto,
        ownership: Ownership::Lease(lease),
    };
    assert_eq!(config.vip, Some(expected));
}

#[test]
fn everything_of_a_vip_that_is_written_reaches_its_plan() {
    let config = with(
        "{addresses: ['fd00::100', '::ffff:10.0.0.100'], port: 6443, pool: apiserver, interface: bond0.7,
  mode: native, forwarding: ipip, ownership: lease, lease: {name: vip, namespace: nllb, duration: 1m}}",
    );
    let plan = config.vip.expect("a VIP");
    let addresses: Vec<_> = plan.addresses().map(|ip| ip.to_string()).collect();
    assert_eq!(addresses, ["10.0.0.100", "fd00::100"]);
    assert_eq!(plan.interface.as_deref(), Some("bond0.7"));
    assert_eq!((plan.mode, plan.forwarding), (XdpMode::Native, Forwarding::Ipip));
    let lease = plan.lease().expect("a Lease");
    assert_eq!((lease.name.as_str(), lease.namespace.as_str()), ("vip", "nllb"));
    assert_eq!(lease.duration, Duration::from_secs(60));
}

#[test]
fn routers_or_others_may_see_to_the_vip_and_then_no_lease_does() {
    for (word, expected) in [("ecmp", Ownership::Ecmp), ("none", Ownership::None)] {
        let plan = with(&format!("{{addresses: [10.0.0.100], ownership: {word}}}")).vip;
        let plan = plan.expect("a VIP");
        assert_eq!((plan.ownership.label(), plan.lease()), (word, None));
        assert_eq!(plan.ownership, expected);
    }
}
