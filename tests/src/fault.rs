//! What can happen to a control-plane host.
//!
//! | fault | what others see |
//! |---|---|
//! | crash | connections reset, new ones refused |
//! | freeze | TCP accepts (the kernel does), nothing answers |
//! | power off | silence: frames to and from the host vanish, ARP and neighbour discovery too |
//! | drop to / from | TCP and UDP vanish in one direction, the host still answers ARP |
//! | drop larger | what is longer than so many bytes vanishes, what is shorter arrives |
//! | delay, weaken | everything late, both ways; some of it lost |
//! | drain | `/readyz` 500, served until the delay ends, then refused |

pub(crate) mod relay;
pub(crate) mod stall;

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::lab::ControlPlane;
use crate::netns;
use relay::{Relay, Weakness};

/// States of a bridge port (`include/uapi/linux/if_bridge.h`).
const PORT_DISABLED: u8 = 0;
const PORT_FORWARDING: u8 = 3;

impl ControlPlane {
    /// Kills the server's process.
    pub fn crash(&self) -> Result<()> {
        let server = self.state().server.take();
        let mut server = server.with_context(|| format!("{} is not running", self.name()))?;
        server.process.kill().map(drop)
    }

    /// Starts the server anew and waits until it listens.
    pub fn restart(&self) -> Result<()> {
        self.spawn()?;
        self.await_listening()
    }

    /// Stops the server's process (SIGSTOP).
    pub fn freeze(&self) -> Result<()> {
        let id = self.signal(Signal::SIGSTOP)?;
        waitid(Id::Pid(id), WaitPidFlag::WSTOPPED).context("the server did not stop")?;
        Ok(())
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT).map(drop)
    }

    /// The host vanishes without a word: see [`Self::unplug`]. Its server and every connection are
    /// gone when it comes back.
    pub fn power_off(&self) -> Result<()> {
        self.unplug()?;
        let server = self.state().server.take();
        if let Some(mut server) = server {
            server.process.kill()?;
        }
        // What the dead server's kernel would still send once the host is back.
        let status = netns::run_in(self.netns(), || {
            Command::new("ss").args(["-t", "-a", "-K"]).stdout(Stdio::null()).status()
        })?;
        ensure!(status.context("cannot run ss")?.success(), "ss cannot destroy sockets");
        Ok(())
    }

    /// The host comes back, with a new server; waits until it listens.
    pub fn power_on(&self) -> Result<()> {
        self.plug()?;
        self.restart()
    }

    /// Pulls the host's cable, without the link going down: no frame passes, of any kind.
    pub fn unplug(&self) -> Result<()> {
        self.port_state(PORT_DISABLED)
    }

    /// Plugs it in again.
    pub fn plug(&self) -> Result<()> {
        self.port_state(PORT_FORWARDING)
    }

    /// Whether TCP and UDP towards the host vanish.
    pub fn drop_to(&self, drop: bool) -> Result<()> {
        self.state().drop_to = drop;
        self.filter()
    }

    /// Whether TCP and UDP from the host vanish.
    pub fn drop_from(&self, drop: bool) -> Result<()> {
        self.state().drop_from = drop;
        self.filter()
    }

    /// Frames towards the host with more bytes than this vanish, as where a hop has a small MTU and its ICMP
    /// is filtered.
    pub fn drop_larger_to(&self, bytes: Option<u32>) -> Result<()> {
        self.state().largest_to = bytes;
        self.filter()
    }

    /// Everything sent to the host over TCP is answered at once, by ICMP, that it cannot be reached, as a
    /// router answers that does not find it.
    pub fn refuse_by_icmp(&self) -> Result<()> {
        netns::sysctl(self.netns(), &[("ipv4/icmp_ratelimit", "0")])?;
        netns::nft(
            self.netns(),
            "add table inet lab\n\
             add chain inet lab refuse { type filter hook input priority 0; }\n\
             add rule inet lab refuse meta l4proto tcp reject with icmpx type host-unreachable\n",
        )
    }

    /// Delays every frame to the host and every frame from it by `each_way`.
    pub fn delay(&self, each_way: Duration) -> Result<()> {
        self.weaken(each_way, 0)
    }

    /// Delays every frame to the host and every frame from it by `each_way`, and loses so many of a
    /// thousand in each direction.
    pub fn weaken(&self, each_way: Duration, loss_per_mille: u32) -> Result<()> {
        let micros = u64::try_from(each_way.as_micros()).context("too long")?;
        let mut state = self.state();
        state.relay = None;
        let weakness = Weakness { micros, loss_per_mille };
        state.relay = Some(Relay::start(self.switch(), self.name(), weakness)?);
        Ok(())
    }

    /// Ends the delay.
    pub fn clear_delay(&self) {
        self.state().relay = None;
    }

    /// Tells the server to stop (SIGTERM) with this shutdown delay. It stays until it has ended;
    /// [`Self::crash`] or [`Self::await_end`] before [`Self::restart`].
    pub fn drain(&self, delay: Duration) -> Result<()> {
        self.set_modes(|modes| modes.shutdown_delay = delay)?;
        self.signal(Signal::SIGTERM).map(drop)
    }

    /// Waits for the end of a server that was told to stop.
    pub fn await_end(&self) -> Result<()> {
        let server = self.state().server.take();
        let mut server = server.with_context(|| format!("{} is not running", self.name()))?;
        server.process.wait().map(drop)
    }

    /// `/readyz` answers with this status; none: as the server sees fit.
    pub fn readyz(&self, status: Option<u16>) -> Result<()> {
        self.set_modes(|modes| modes.readyz = status)
    }

    /// `/readyz` is answered so late.
    pub fn slow_readyz(&self, delay: Duration) -> Result<()> {
        self.set_modes(|modes| modes.slow_readyz = delay)
    }

    /// `/readyz` is not answered until this is taken back.
    pub fn hang_readyz(&self, hang: bool) -> Result<()> {
        self.set_modes(|modes| modes.hang_readyz = hang)
    }

    /// Every HTTP answer is held back so long.
    pub fn slow(&self, delay: Duration) -> Result<()> {
        self.set_modes(|modes| modes.slow = delay)
    }

    /// Whether requests without credentials are allowed.
    pub fn anonymous(&self, allowed: bool) -> Result<()> {
        self.set_modes(|modes| modes.anonymous = allowed)
    }

    fn signal(&self, signal: Signal) -> Result<Pid> {
        let mut state = self.state();
        let server = state.server.as_mut();
        let server = server.with_context(|| format!("{} is not running", self.name()))?;
        server.process.signal(signal)?;
        let id = i32::try_from(server.process.id()).context("process id out of range")?;
        Ok(Pid::from_raw(id))
    }

    fn port_state(&self, state: u8) -> Result<()> {
        netns::bridge_port_state(self.switch(), self.name(), state)
    }

    /// Writes the host's own chain in the bridge's namespace.
    fn filter(&self) -> Result<()> {
        let state = self.state();
        let name = self.name();
        let mut script = format!(
            "add table bridge lab\n\
             add chain bridge lab {name} {{ type filter hook forward priority 0; }}\n\
             flush chain bridge lab {name}\n"
        );
        if let Some(bytes) = state.largest_to {
            script +=
                &format!("add rule bridge lab {name} oifname {name} meta length > {bytes} drop\n");
        }
        for (drop, direction) in [(state.drop_to, "oifname"), (state.drop_from, "iifname")] {
            if drop {
                script += &format!(
                    "add rule bridge lab {name} {direction} {name} meta l4proto {{ tcp, udp }} drop\n"
                );
            }
        }
        netns::nft(self.switch(), &script)
    }
}
