//! The context of a frame that has come in, and what of the kernel is asked about it.
//!
//! Whatever is read was in bounds when it was read. A change of the frame's length moves it in memory, so no pointer is
//! kept: every access works its own out.

use core::ptr;

use aya_ebpf::bindings::{bpf_fib_lookup as Fib, bpf_sock, bpf_sock_tuple, xdp_md};
use aya_ebpf::helpers::generated::{
    bpf_csum_diff, bpf_fib_lookup, bpf_redirect, bpf_sk_release, bpf_skc_lookup_tcp,
    bpf_tcp_check_syncookie, bpf_xdp_adjust_head, bpf_xdp_adjust_tail,
};
use aya_ebpf::programs::XdpContext;
use nllb_common::{Addr, Family, Port};

/// Sockets are looked for in the network namespace where the frame came in.
const CURRENT_NETNS: u64 = u64::MAX;
/// State of a socket that waits for connections.
const TCP_LISTEN: u32 = 10;
/// As long as the part of a TCP header that every segment has.
const TCP_HEADER: u32 = 20;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// The longest offset that is ever asked for: the verifier wants one.
const MOST: usize = 0x3fff;

/// What may be read from and written to a frame: any bytes are a value, and none of them is padding. Nobody but this
/// module says so.
pub(crate) trait Plain: Copy {}

impl Plain for u16 {}
impl Plain for u32 {}
impl<T: Plain, const N: usize> Plain for [T; N] {}

/// What lies in a frame, where everything starts at an even address.
#[repr(C, packed(2))]
struct Even<T>(T);

/// A frame that has come in.
pub(crate) struct Xdp {
    inner: XdpContext,
}

/// How the kernel reaches an address, by its own tables.
pub(crate) struct Hop {
    pub(crate) to: [u8; 6],
    pub(crate) from: [u8; 6],
    pub(crate) interface: u32,
    /// Whether it is a router on the way, and not the address itself.
    pub(crate) is_router: bool,
}

impl Xdp {
    #[inline(always)]
    pub(crate) fn new(inner: XdpContext) -> Self {
        Self { inner }
    }

    #[inline(always)]
    fn raw(&self) -> *mut xdp_md {
        self.inner.ctx
    }

    #[inline(always)]
    fn data(&self) -> usize {
        read!((*self.raw()).data) as usize
    }

    #[inline(always)]
    fn end(&self) -> usize {
        read!((*self.raw()).data_end) as usize
    }

    /// The interface where it came in.
    #[inline(always)]
    pub(crate) fn interface(&self) -> u32 {
        read!((*self.raw()).ingress_ifindex)
    }

    /// Where `T` lies at an offset; `None` when the frame ends before.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let start = self.data() + (offset & MOST);
        (start + size_of::<T>() <= self.end()).then_some(start as *mut T)
    }

    /// What lies at an even offset; `None` when the frame ends before.
    #[inline(always)]
    pub(crate) fn load<T: Plain>(&self, offset: usize) -> Option<T> {
        let at = self.at::<Even<T>>(offset)?;
        // SAFETY: in bounds, at an even address, and any bytes are a value of what is `Plain`.
        Some(unsafe { ptr::read(at) }.0)
    }

    /// Writes to an even offset; `None` when the frame ends before.
    #[inline(always)]
    pub(crate) fn store<T: Plain>(&self, offset: usize, value: T) -> Option<()> {
        let at = self.at::<Even<T>>(offset)?;
        // SAFETY: in bounds, at an even address, and nobody else has the frame.
        unsafe { ptr::write(at, Even(value)) };
        Some(())
    }

    /// Adds bytes in front, or takes them away when negative; `None` when the kernel has no room.
    #[inline(always)]
    pub(crate) fn grow_head(&self, bytes: i32) -> Option<()> {
        // SAFETY: the context of this program type; pointers into the frame are worked out anew.
        (unsafe { bpf_xdp_adjust_head(self.raw(), -bytes) } == 0).then_some(())
    }

    /// Cuts it to this length; `None` when the kernel will not, or it is shorter.
    #[inline(always)]
    pub(crate) fn cut(&self, length: usize) -> Option<()> {
        let now = self.end() - self.data();
        if now < length {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "no frame is so long")]
        let more = (now - length) as i32;
        // SAFETY: as for the head.
        (unsafe { bpf_xdp_adjust_tail(self.raw(), -more) } == 0).then_some(())
    }

    /// The sum of the 16-bit words from an offset on, as checksums want it: not folded.
    #[inline(always)]
    pub(crate) fn sum<const BYTES: usize>(&self, offset: usize) -> Option<u32> {
        let at = self.at::<[u8; BYTES]>(offset)?;
        #[expect(clippy::cast_possible_truncation, reason = "a small number")]
        let size = BYTES as u32;
        // SAFETY: in bounds, and the kernel reads as much as it is told.
        let sum = unsafe { bpf_csum_diff(ptr::null_mut(), 0, at.cast(), size, 0) };
        u32::try_from(sum).ok()
    }

    /// Whether this host has the connection of which a segment came, with the IP header at `l3` and that of TCP at
    /// `l4`: a socket of its own, or a listener that has sent its client a cookie. `quoted`: only an ICMP error
    /// speaks of it, so there is no segment.
    #[inline(always)]
    pub(crate) fn has_flow(
        &self,
        client: (Addr, Port),
        server: (Addr, Port),
        l3: usize,
        l4: usize,
        quoted: bool,
    ) -> bool {
        let is_v4 = client.0.family() == Family::V4;
        let sk = if is_v4 {
            // In the order of the kernel's own tuple.
            let mut tuple = [client.0.v4_word(), server.0.v4_word(), ports(client.1, server.1)];
            self.look_up(&mut tuple)
        } else {
            let ([a, b, c, d], [e, f, g, h]) = (client.0.v6_words(), server.0.v6_words());
            let mut tuple = [a, b, c, d, e, f, g, h, ports(client.1, server.1)];
            self.look_up(&mut tuple)
        };
        if sk.is_null() {
            return false;
        }
        let mut has = true;
        if read!((*sk).state) == TCP_LISTEN {
            has = !quoted
                && match is_v4 {
                    true => self.has_cookie::<20>(sk, l3, l4),
                    false => self.has_cookie::<40>(sk, l3, l4),
                };
        }
        // SAFETY: the lookup gave us a reference, which is given back once.
        let _always = unsafe { bpf_sk_release(sk.cast()) };
        has
    }

    #[inline(always)]
    fn look_up<const WORDS: usize>(&self, tuple: &mut [u32; WORDS]) -> *mut bpf_sock {
        #[expect(clippy::cast_possible_truncation, reason = "a small number")]
        let size = (WORDS * 4) as u32;
        let tuple = ptr::from_mut(tuple).cast::<bpf_sock_tuple>();
        // SAFETY: the context of this program type, and a tuple of a size that names its family.
        unsafe { bpf_skc_lookup_tcp(self.raw().cast(), tuple, size, CURRENT_NETNS, 0) }
    }

    /// Whether the segment acknowledges a cookie of this listener.
    #[inline(always)]
    fn has_cookie<const IP: usize>(&self, sk: *mut bpf_sock, l3: usize, l4: usize) -> bool {
        let (Some(ip), Some(tcp)) = (self.at::<[u8; IP]>(l3), self.at::<[u8; 20]>(l4)) else {
            return false;
        };
        #[expect(clippy::cast_possible_truncation, reason = "a small number")]
        let size = IP as u32;
        // SAFETY: a socket that we hold, and two headers in bounds.
        let refused =
            unsafe { bpf_tcp_check_syncookie(sk.cast(), ip.cast(), size, tcp.cast(), TCP_HEADER) };
        refused == 0
    }

    /// How the kernel reaches `to`, from this host's address `from`; `None` when it does not know, or does not
    /// forward between interfaces, for then it says nothing.
    #[inline(always)]
    pub(crate) fn hop(&self, from: Addr, to: Addr) -> Option<Hop> {
        let is_v4 = to.family() == Family::V4;
        // SAFETY: numbers alone, of which zero is one.
        let mut fib: Fib = unsafe { core::mem::zeroed() };
        fib.ifindex = self.interface();
        if is_v4 {
            fib.family = AF_INET;
            fib.__bindgen_anon_3.ipv4_src = from.v4_word();
            fib.__bindgen_anon_4.ipv4_dst = to.v4_word();
        } else {
            fib.family = AF_INET6;
            fib.__bindgen_anon_3.ipv6_src = from.v6_words();
            fib.__bindgen_anon_4.ipv6_dst = to.v6_words();
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "64 bytes")]
        let size = size_of::<Fib>() as i32;
        // SAFETY: the context of this program type, and parameters of the size that it is told.
        let answer = unsafe { bpf_fib_lookup(self.raw().cast(), &raw mut fib, size, 0) };
        if answer != 0 {
            return None;
        }
        // SAFETY: numbers, whichever of the union's they are; the kernel puts the next address here.
        let next = unsafe { fib.__bindgen_anon_4.ipv6_dst };
        let next = if is_v4 { Addr::from_v4_word(next[0]) } else { Addr::from_v6_words(next) };
        let is_router = next.difference(&to) != 0;
        Some(Hop { to: fib.dmac, from: fib.smac, interface: fib.ifindex, is_router })
    }

    /// Sends it out of another interface; what the kernel says of it is the program's verdict.
    #[inline(always)]
    pub(crate) fn redirect(&self, interface: u32) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an action")]
        // SAFETY: the helper takes numbers.
        let action = unsafe { bpf_redirect(interface, 0) } as u32;
        action
    }
}

/// Two ports as they lie one after the other.
#[inline(always)]
fn ports(first: Port, second: Port) -> u32 {
    if cfg!(target_endian = "little") {
        first.word() | second.word() << 16
    } else {
        first.word() << 16 | second.word()
    }
}
