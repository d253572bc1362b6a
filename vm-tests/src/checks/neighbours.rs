//! Programs of others on the same hook of the same cgroup: network plug-ins that translate connects to
//! Services, attached as Cilium and Calico attach theirs (by a link; without flags where that is refused, and
//! in earlier releases).

use std::path::Path;

use anyhow::{Result, ensure};
use nllb_lab::foreign::Foreign;
use nllb_lab::{Client, Connect, Place, cgroup};

use crate::machine::{Machine, SERVERS, VIP};

const ROOT: &str = "/sys/fs/cgroup";

/// Where only the other one sends connects to: a server that no pool of ours has.
fn elsewhere() -> std::net::SocketAddrV4 {
    std::net::SocketAddrV4::new(*SERVERS[0].ip(), 7777)
}

/// Who was there first and admits nobody is named, and nothing is attached. When it has gone all is well.
pub(super) fn exclusive_before() -> Result<()> {
    let mut machine = Machine::prepare("exclusive")?;
    let selfish = Foreign::passing("cali_legacy")?;
    selfish.attach_alone(Path::new(ROOT))?;
    let output =
        machine.agent.nllb(&["run".into(), "--config".into(), machine.agent.file().into()]);
    selfish.detach(Path::new(ROOT))?;
    let output = output?;
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{errors}");
    ensure!(output.status.code() == Some(5), "{}", output.status);
    let last = errors.lines().last().unwrap_or_default();
    ensure!(last.contains("cali_legacy") && last.contains("excludes all others"), "{last}");
    machine.agent.restart()?;
    machine.translates()?;
    Ok(())
}

/// Who comes later and would admit nobody is refused by the kernel.
pub(super) fn exclusive_after() -> Result<()> {
    let mut machine = Machine::start("exclusive-after")?;
    let selfish = Foreign::passing("cali_legacy")?;
    let attached = selfish.attach_alone(Path::new(ROOT));
    ensure!(attached.is_err(), "the kernel lets a program without flags beside ours");
    machine.translates()?;
    Ok(())
}

/// On a cgroup below the root such a program is attached, and ours run there all the same.
pub(super) fn exclusive_below() -> Result<()> {
    let below = Path::new(ROOT).join("below");
    let mut machine = Machine::start("exclusive-below")?;
    cgroup::create(&below)?;
    let selfish = Foreign::passing("cali_legacy")?;
    selfish.attach_alone(&below)?;
    cgroup::enter(&below)?;
    // A client is where it is started from.
    let translated = Client::start(&Place::default()).and_then(|inside| {
        let outcome = inside.connect(&Connect::to(VIP.into()))?;
        ensure!(outcome.ok, "{outcome:?}");
        Ok(())
    });
    cgroup::enter(Path::new(ROOT))?;
    selfish.detach(&below)?;
    translated?;
    machine.translates()?;
    cgroup::remove(&below)
}

/// A plug-in that was there first and translates the same address has its way: what it chose is left alone,
/// the attachment is proven all the same, and the order can be looked up.
pub(super) fn translating_before() -> Result<()> {
    let mut machine = Machine::prepare("before")?;
    machine.client.listen_tcp(elsewhere().into(), "elsewhere")?;
    let plugin = Foreign::translating("cil_sock4", VIP, elsewhere())?;
    let link = plugin.link(Path::new(ROOT))?;
    machine.agent.restart()?;
    let outcome = machine.dial(Connect::to(VIP.into()))?;
    ensure!(outcome.server.as_deref() == Some("elsewhere"), "{outcome:?}");
    let doctor =
        machine.agent.nllb(&["doctor".into(), "--config".into(), machine.agent.file().into()])?;
    let found = String::from_utf8_lossy(&doctor.stdout);
    println!("{found}");
    ensure!(
        found.contains("cil_sock4, then nllb: Cilium chooses"),
        "doctor does not say who was first"
    );
    drop(link);
    // A link ends some time after its last reference has gone.
    let back = nllb_lab::wait::wait_until("our own translation", || {
        let outcome = machine.dial(Connect::to(VIP.into()))?;
        Ok((outcome.server.as_deref() != Some("elsewhere")).then_some(()))
    });
    back?;
    machine.translates()?;
    Ok(())
}

/// A plug-in that comes later finds what we have chosen, which is no address of its own.
pub(super) fn translating_after() -> Result<()> {
    let mut machine = Machine::start("after")?;
    machine.client.listen_tcp(elsewhere().into(), "elsewhere")?;
    let plugin = Foreign::translating("cil_sock4", VIP, elsewhere())?;
    let link = plugin.link(Path::new(ROOT))?;
    machine.translates()?;
    drop(link);
    // And attached the other way.
    plugin.attach_beside(Path::new(ROOT))?;
    let translated = machine.translates();
    plugin.detach(Path::new(ROOT))?;
    translated.map(drop)
}
