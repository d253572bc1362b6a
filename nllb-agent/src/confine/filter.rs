//! The filter of system calls, made of the lists in `calls.rs` and the conditions on arguments here.
//!
//! A call that is refused fails with EPERM. To end the process or the thread instead would turn a forgotten call, after
//! a change of the C library for one, into a node without an agent; with EPERM fails only what wanted it, as it would
//! for lack of a right.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::process;

use aya_obj::generated::bpf_cmd;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter, apply_filter_all_threads,
};

use super::calls::{Call, RECORDED, SPARE, call};

/// A call is allowed if it fulfils all conditions of one of its rules, or if it has no rules.
type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Condition = Result<SeccompCondition, BackendError>;

/// What the agent asks `bpf(2)` for; recorded as the calls were.
const BPF_COMMANDS: [bpf_cmd; 19] = [
    bpf_cmd::BPF_BTF_LOAD,
    bpf_cmd::BPF_LINK_CREATE,
    bpf_cmd::BPF_LINK_DETACH,
    bpf_cmd::BPF_LINK_UPDATE,
    bpf_cmd::BPF_MAP_CREATE,
    bpf_cmd::BPF_MAP_DELETE_ELEM,
    bpf_cmd::BPF_MAP_FREEZE,
    bpf_cmd::BPF_MAP_GET_FD_BY_ID,
    bpf_cmd::BPF_MAP_GET_NEXT_KEY,
    bpf_cmd::BPF_MAP_LOOKUP_ELEM,
    bpf_cmd::BPF_MAP_UPDATE_BATCH,
    bpf_cmd::BPF_MAP_UPDATE_ELEM,
    bpf_cmd::BPF_OBJ_GET,
    bpf_cmd::BPF_OBJ_GET_INFO_BY_FD,
    bpf_cmd::BPF_OBJ_PIN,
    bpf_cmd::BPF_PROG_GET_FD_BY_ID,
    bpf_cmd::BPF_PROG_GET_NEXT_ID,
    bpf_cmd::BPF_PROG_LOAD,
    bpf_cmd::BPF_PROG_QUERY,
];
/// For threads alone none of these flags of `clone(2)` has a use.
const NEW_NAMESPACES: i32 = libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;
/// `ioctl(2)`: whether a socket waits, how much there is to read, and an interface's name and number, as in
/// `fe80::1%eth0`. By their numbers, which C libraries give different types, or not at all.
const IOCTLS: [u64; 4] = [0x5421, 0x541b, 0x8910, 0x8933];
/// Needed at the start alone.
const LOADING: [bpf_cmd; 2] = [bpf_cmd::BPF_BTF_LOAD, bpf_cmd::BPF_PROG_LOAD];

/// Limits the calling thread, and those that it starts from now on.
pub(super) fn install() -> Result<(), seccompiler::Error> {
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    // The C library goes back to `clone`, whose flags can be looked at, only if there is no such call.
    let missing = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let clone3 = Rules::from([(libc::SYS_clone3, Vec::new())]);
    apply_filter(&program(clone3, missing, SeccompAction::Allow)?)?;
    apply_filter(&program(allowed()?, SeccompAction::Allow, refuse)?)
}

/// Lets no thread of this process load a program into the kernel.
pub(super) fn install_no_loading() -> Result<(), seccompiler::Error> {
    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let loading = Rules::from([(libc::SYS_bpf, one_of(0, LOADING.map(|command| command as u64))?)]);
    apply_filter_all_threads(&program(loading, refuse, SeccompAction::Allow)?)
}

fn program(
    rules: Rules,
    matching: SeccompAction,
    other: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(rules, other, matching, ARCH.try_into()?)?.try_into()
}

fn allowed() -> Result<Rules, BackendError> {
    let free = RECORDED.into_iter().chain(SPARE).flatten().map(|call| (call.number, Vec::new()));
    let limited = limited()?.into_iter().map(|(call, rules)| (call.number, rules));
    Ok(free.chain(limited).collect())
}

/// Calls that do too much to be allowed with any arguments.
fn limited() -> Result<[(Call, Vec<SeccompRule>); 13], BackendError> {
    let flag = |flag: i32| u64::from(flag.cast_unsigned());
    let [new, write, exec] = [NEW_NAMESPACES, libc::PROT_WRITE, libc::PROT_EXEC].map(flag);
    let thread = flag(libc::CLONE_THREAD);
    let me = u64::from(process::id());
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    Ok([
        // Threads, no processes; and the same namespaces.
        (call!(SYS_clone), vec![when([bits(0, thread | new, thread)])?]),
        // The other filter answers it.
        (call!(SYS_clone3), Vec::new()),
        // No code that was written at run time. Libraries may still be loaded: the C library does for names.
        (call!(SYS_mmap), vec![when([bits(2, exec, 0)])?, when([bits(2, write, 0)])?]),
        (call!(SYS_mprotect), vec![when([bits(2, exec, 0)])?]),
        (call!(SYS_socket), one_of(0, families.map(flag))?),
        (call!(SYS_socketpair), one_of(0, [flag(libc::AF_UNIX)])?),
        (call!(SYS_ioctl), one_of(1, IOCTLS)?),
        (call!(SYS_prctl), one_of(0, [libc::PR_SET_NAME, libc::PR_SET_NO_NEW_PRIVS].map(flag))?),
        // Its own limits.
        (call!(SYS_prlimit64), one_of(0, [0])?),
        // Signals to itself, as abort(3) sends them.
        (call!(SYS_kill), one_of(0, [me])?),
        (call!(SYS_tgkill), one_of(0, [me])?),
        (call!(SYS_bpf), one_of(0, BPF_COMMANDS.map(|command| command as u64))?),
        (call!(SYS_setns), one_of(1, [flag(libc::CLONE_NEWNET)])?),
    ])
}

/// Rules of which one is fulfilled when the argument with this number, an `int`, has one of these values.
fn one_of<const N: usize>(index: u8, values: [u64; N]) -> Result<Vec<SeccompRule>, BackendError> {
    let is = |value| when([SeccompCondition::new(index, Dword, Eq, value)]);
    values.into_iter().map(is).collect()
}

fn when<const N: usize>(conditions: [Condition; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

/// Whether those bits of an argument that are in the mask have this value.
fn bits(index: u8, mask: u64, value: u64) -> Condition {
    SeccompCondition::new(index, Qword, MaskedEq(mask), value)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs::File;
    use std::io;
    use std::net::ToSocketAddrs as _;
    use std::os::unix::net::UnixStream;
    use std::process::Command;
    use std::thread;

    use nix::sched::{CloneFlags, setns, unshare};
    use rustix::process::{Pid, Signal, kill_process};
    use socket2::{Domain, Socket, Type};

    use super::*;

    /// A filter cannot be taken off, so each test has a thread of its own, and its threads have it as well.
    fn confined<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        let confined = || {
            install().expect("installed");
            work()
        };
        thread::scope(|scope| scope.spawn(confined).join()).expect("no panic")
    }

    fn refused<T>(what: &str, tried: io::Result<T>) {
        let error = tried.err().unwrap_or_else(|| panic!("{what} is not refused"));
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{what}: {error}");
    }

    #[test]
    fn what_the_agent_never_does_is_refused() {
        confined(|| {
            refused("a program", Command::new("/bin/true").spawn());
            refused("a new namespace", unshare(CloneFlags::CLONE_NEWUSER).map_err(io::Error::from));
            let mount = File::open("/proc/self/ns/mnt").expect("opened");
            refused(
                "another namespace",
                setns(mount, CloneFlags::CLONE_NEWNS).map_err(io::Error::from),
            );
            for (domain, kind) in [(libc::AF_PACKET, Type::RAW), (libc::AF_VSOCK, Type::STREAM)] {
                refused("such a socket", Socket::new(domain.into(), kind, None));
            }
            refused("a signal", kill_process(Pid::INIT, Signal::WINCH).map_err(io::Error::from));
            refused("an owner", std::os::unix::fs::chown("/nowhere", Some(1), None));
        });
    }

    #[test]
    fn what_the_agent_does_goes_on() {
        confined(|| {
            thread::spawn(|| ()).join().expect("threads start");
            UnixStream::pair().expect("sockets open");
            for domain in [Domain::IPV4, Domain::IPV6, Domain::UNIX] {
                Socket::new(domain, Type::STREAM, None).expect("sockets open");
            }
            // A name server may be named so.
            let mut scoped = "fe80::1%lo:53".to_socket_addrs().expect("an interface has a number");
            assert!(scoped.next().is_some());
            let network = File::open("/proc/self/ns/net").expect("opened");
            match setns(network, CloneFlags::CLONE_NEWNET) {
                Ok(()) => {}
                Err(error) => assert!(!rustix::process::geteuid().is_root(), "{error}"),
            }
        });
    }

    /// The list was recorded with this architecture's calls.
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    #[test]
    fn what_was_recorded_is_allowed_and_nothing_else_but_what_is_spare() {
        let recorded = include_str!("recorded.txt").lines().filter(|line| !line.starts_with('#'));
        let recorded: BTreeSet<&str> = recorded.collect();
        let name = |call: &Call| call.name.trim_start_matches("SYS_");
        let limited = limited().expect("rules");
        let free = RECORDED.into_iter().flatten();
        let listed = free.chain(limited.iter().map(|(call, _)| call)).map(name);
        let listed: BTreeSet<&str> = listed.collect();
        // Who aborts is not recorded.
        let unseen = ["kill", "tgkill"];
        let listed: BTreeSet<_> =
            listed.into_iter().filter(|name| !unseen.contains(name)).collect();
        assert_eq!(listed, recorded, "left: allowed, right: recorded.txt");
        let spare: BTreeSet<&str> = SPARE.into_iter().flatten().map(name).collect();
        assert_eq!(spare.intersection(&recorded).collect::<Vec<_>>(), Vec::<&&str>::new());
    }
}
