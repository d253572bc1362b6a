//! Programs of others on the hook for IPv4 connects, or for datagrams to IPv4 addresses, attached as theirs are; and
//! on interfaces ([`Classifier`]).
//!
//! | who | how |
//! |---|---|
//! | Cilium and Calico | [`Foreign::link`]: beside others, gone with the last reference |
//! | both where a program without flags is already, and their earlier releases | [`Foreign::attach_alone`] |
//! | systemd, and whoever asks for it | [`Foreign::attach_beside`] |

use std::fs::File;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};

use crate::netns;
use crate::sys::{bpf, interface};

const ALLOW_MULTI: u32 = 2;

/// A loaded program. It runs where it is attached, also when this is dropped, unless by a link.
pub struct Foreign {
    program: OwnedFd,
    attach_type: u32,
}

impl Foreign {
    /// Lets every connect pass as it is.
    pub fn passing(name: &str) -> Result<Self> {
        Self::load(bpf::BPF_CGROUP_INET4_CONNECT, name, &[])
    }

    /// Translates connects from one address to another, as a plug-in does for a Service.
    pub fn translating(name: &str, from: SocketAddrV4, to: SocketAddrV4) -> Result<Self> {
        Self::load(bpf::BPF_CGROUP_INET4_CONNECT, name, &translation(from, to))
    }

    /// The same with datagrams of sockets that are not connected; only for [`Self::link`].
    pub fn translating_datagrams(name: &str, from: SocketAddrV4, to: SocketAddrV4) -> Result<Self> {
        Self::load(bpf::BPF_CGROUP_UDP4_SENDMSG, name, &translation(from, to))
    }

    fn load(attach_type: u32, name: &str, body: &[u64]) -> Result<Self> {
        let instructions = [body, &PASS].concat();
        let program = bpf::load_sock_addr(attach_type, name, &instructions);
        Ok(Self { program: program.with_context(|| format!("cannot load {name}"))?, attach_type })
    }

    /// Attaches it so that it admits no other there.
    pub fn attach_alone(&self, cgroup: &Path) -> Result<()> {
        let attached = bpf::attach_connect4(File::open(cgroup)?.as_fd(), self.program.as_fd(), 0);
        attached.context("cannot attach without flags")
    }

    /// Attaches it beside others.
    pub fn attach_beside(&self, cgroup: &Path) -> Result<()> {
        let cgroup = File::open(cgroup)?;
        let attached = bpf::attach_connect4(cgroup.as_fd(), self.program.as_fd(), ALLOW_MULTI);
        attached.context("cannot attach with the multi flag")
    }

    /// Attaches it beside others until the link is dropped.
    pub fn link(&self, cgroup: &Path) -> Result<OwnedFd> {
        let cgroup = File::open(cgroup)?;
        let link = bpf::link_cgroup(cgroup.as_fd(), self.program.as_fd(), self.attach_type);
        link.context("cannot attach by a link")
    }

    /// Takes it away again.
    pub fn detach(&self, cgroup: &Path) -> Result<()> {
        let detached = bpf::detach_connect4(File::open(cgroup)?.as_fd(), self.program.as_fd());
        detached.context("cannot detach")
    }
}

/// A program on an interface that looks at what passes and leaves it as it is.
pub struct Classifier {
    program: OwnedFd,
}

/// The way over an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What comes in.
    Ingress,
    /// What goes out.
    Egress,
}

impl Classifier {
    /// One after which others run (`TC_ACT_UNSPEC`).
    pub fn passing_on(name: &str) -> Result<Self> {
        Self::load(name, u32::MAX)
    }

    /// One that accepts, after which no other runs (`TC_ACT_OK`).
    pub fn accepting(name: &str) -> Result<Self> {
        Self::load(name, 0)
    }

    fn load(name: &str, result: u32) -> Result<Self> {
        let instructions = [instruction(0xb7, 0, 0, 0, result), PASS[1]];
        let program = interface::load_classifier(name, &instructions);
        Ok(Self { program: program.with_context(|| format!("cannot load {name}"))? })
    }

    /// Attaches it to an interface of a network namespace until the link is dropped, before all others or after them.
    pub fn link(
        &self,
        namespace: &str,
        device: &str,
        direction: Direction,
        first: bool,
    ) -> Result<OwnedFd> {
        let attach_type = match direction {
            Direction::Ingress => 46,
            Direction::Egress => 47,
        };
        let linked = netns::run_in(namespace, || {
            let index = nix::net::if_::if_nametoindex(device)?;
            interface::link_interface(index, self.program.as_fd(), attach_type, first)
        })?;
        linked.with_context(|| format!("cannot attach to {device}"))
    }

    /// Pins it, as `tc` wants it.
    pub fn pin(&self, pin: &Path) -> Result<()> {
        interface::pin(self.program.as_fd(), pin).context("cannot pin")
    }
}

/// `r0 = 1; exit`
const PASS: [u64; 2] = [instruction(0xb7, 0, 0, 0, 1), instruction(0x95, 0, 0, 0, 0)];

// Fields of `struct bpf_sock_addr`.
const USER_IP4: i16 = 4;
const USER_PORT: i16 = 24;

/// Address and port are compared, and rewritten when both are as they should be.
fn translation(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u64> {
    const LOAD: u8 = 0x61;
    const MOVE: u8 = 0xb4;
    const SKIP_UNLESS_SAME: u8 = 0x5d;
    const STORE: u8 = 0x63;
    let address = |of: SocketAddrV4| u32::from_ne_bytes(of.ip().octets());
    let port = |of: SocketAddrV4| u32::from(of.port().to_be());
    let compared = |field, value, skip| {
        [
            instruction(LOAD, 2, 1, field, 0),
            instruction(MOVE, 3, 0, 0, value),
            instruction(SKIP_UNLESS_SAME, 2, 3, skip, 0),
        ]
    };
    let written =
        |field, value| [instruction(MOVE, 3, 0, 0, value), instruction(STORE, 1, 3, field, 0)];
    let mut body = Vec::new();
    // To the end: over what follows of seven more, and of four.
    body.extend(compared(USER_IP4, address(from), 7));
    body.extend(compared(USER_PORT, port(from), 4));
    body.extend(written(USER_IP4, address(to)));
    body.extend(written(USER_PORT, port(to)));
    body
}

/// One instruction (`struct bpf_insn`).
const fn instruction(code: u8, to: u8, from: u8, offset: i16, value: u32) -> u64 {
    let [low, high] = offset.to_le_bytes();
    let [a, b, c, d] = value.to_le_bytes();
    u64::from_le_bytes([code, from << 4 | to, low, high, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_has_the_layout_that_the_kernel_reads() {
        assert_eq!(PASS, [0x0000_0001_0000_00b7, 0x95]);
        // *(u32 *)(r1 + 24) = r3
        assert_eq!(instruction(0x63, 1, 3, 24, 0), 0x0000_0000_0018_3163);
    }
}
