//! The system calls of a running agent, by what they are for.
//!
//! `recorded.txt` beside this file has those that were seen while the lab's tests ran (docs/testing.md says how to
//! record anew); a test holds both against each other. What is in no list is refused: above all whatever
//! starts programs (`execve`, `fork`), mounts, changes users and owners, looks into other processes (`ptrace`), and what the kernel
//! has had most mistakes in (`io_uring_setup`, `perf_event_open`, `userfaultfd`, `keyctl`, new user namespaces).

/// A system call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) number: i64,
    /// As in the C library: `SYS_read`.
    #[cfg(test)]
    pub(super) name: &'static str,
}

macro_rules! call {
    ($name:ident) => {
        Call {
            number: libc::$name,
            #[cfg(test)]
            name: stringify!($name),
        }
    };
}
pub(super) use call;

macro_rules! calls {
    ($($name:ident)*) => { &[$(call!($name)),*] };
}

/// Recorded, with any arguments.
pub(super) const RECORDED: [&[Call]; 5] = [
    MEMORY_AND_THREADS,
    FILES,
    SOCKETS,
    WAITING,
    #[cfg(target_arch = "x86_64")]
    calls![
        SYS_chmod SYS_epoll_wait SYS_mkdir SYS_open SYS_readlink SYS_rename SYS_unlink
    ],
    #[cfg(not(target_arch = "x86_64"))]
    &[],
];

const MEMORY_AND_THREADS: &[Call] = calls![
    SYS_brk SYS_exit SYS_exit_group SYS_futex SYS_getpid SYS_getrandom SYS_gettid SYS_madvise SYS_mremap SYS_munmap
    SYS_restart_syscall SYS_rseq SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_sched_getaffinity
    SYS_seccomp SYS_set_robust_list SYS_sigaltstack SYS_uname
];

const FILES: &[Call] = calls![
    SYS_close SYS_close_range SYS_fcntl SYS_fdatasync SYS_flock SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate
    SYS_getdents64 SYS_inotify_add_watch SYS_inotify_init1 SYS_inotify_rm_watch SYS_lseek SYS_newfstatat SYS_openat
    SYS_read SYS_statfs SYS_statx SYS_unlinkat SYS_write SYS_writev
];

const SOCKETS: &[Call] = calls![
    SYS_accept4 SYS_bind SYS_connect SYS_getpeername SYS_getsockname SYS_getsockopt SYS_listen SYS_recvfrom SYS_recvmsg SYS_sendto
    SYS_setsockopt SYS_shutdown
];

const WAITING: &[Call] = calls![
    SYS_epoll_create1 SYS_epoll_ctl SYS_eventfd2 SYS_timerfd_create SYS_timerfd_settime
];

/// Never recorded, and harmless: what other C libraries, other kernels and other architectures use in the place of
/// those above, what asks for the time where no clock can be read without the kernel, what a resolver does, and
/// what tells of a panic or of a right that is missing.
pub(super) const SPARE: [&[Call]; 2] = [
    calls![
        SYS_capget SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_dup SYS_dup3 SYS_epoll_pwait SYS_faccessat
        SYS_fchmod SYS_fchmodat SYS_getcwd SYS_getegid SYS_geteuid SYS_getgid SYS_gettimeofday
        SYS_getuid SYS_membarrier SYS_mkdirat SYS_nanosleep SYS_pipe2 SYS_ppoll SYS_pread64 SYS_pwrite64
        SYS_readlinkat SYS_readv SYS_recvmmsg SYS_renameat SYS_renameat2 SYS_rt_sigtimedwait SYS_sched_yield
        SYS_sendmmsg SYS_sendmsg SYS_set_tid_address SYS_sysinfo SYS_timerfd_gettime SYS_umask
    ],
    #[cfg(target_arch = "x86_64")]
    calls![SYS_access SYS_getdents SYS_lstat SYS_poll SYS_rmdir SYS_stat SYS_time],
    #[cfg(not(target_arch = "x86_64"))]
    &[],
];
