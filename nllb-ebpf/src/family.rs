//! What differs between v4 and v6.

use nllb_common::pick::Reach;
use nllb_common::{Addr, Family as AddrFamily};

use crate::ctx::{Binding, SockAddr};

/// One of the two variants that each hook has.
pub(crate) trait Family {
    /// What a datagram of a socket that is not connected can reach. The kernel sends none to a v4-mapped
    /// address that a program has written, and gives those that were dialled so to the v4 hook.
    const DATAGRAM_REACH: Reach;
    /// The address that the caller names, or that the kernel is about to name.
    fn destination(ctx: &SockAddr) -> Addr;
    /// Rewrites that address.
    fn rewrite(ctx: &SockAddr, addr: Addr);
    /// Which backends the socket can reach.
    fn reach(dialled: Addr, binding: &Binding) -> Reach;
    /// The address the socket is bound to; unspecified when it is not bound.
    fn bound(binding: &Binding) -> Addr;
    /// The source that the caller wants for one datagram; unspecified when he leaves it to the kernel.
    fn source(ctx: &SockAddr) -> Addr;
}

/// The hooks for v4.
pub(crate) enum V4 {}

impl Family for V4 {
    const DATAGRAM_REACH: Reach = Reach::V4_ONLY;

    #[inline(always)]
    fn destination(ctx: &SockAddr) -> Addr {
        Addr::from_v4_word(ctx.user_ip4())
    }

    #[inline(always)]
    fn rewrite(ctx: &SockAddr, addr: Addr) {
        ctx.set_user_ip4(addr.v4_word());
    }

    #[inline(always)]
    fn reach(_dialled: Addr, _binding: &Binding) -> Reach {
        Reach::V4_ONLY
    }

    #[inline(always)]
    fn bound(binding: &Binding) -> Addr {
        Addr::from_v4_word(binding.src_ip4)
    }

    #[inline(always)]
    fn source(ctx: &SockAddr) -> Addr {
        Addr::from_v4_word(ctx.msg_src_ip4())
    }
}

/// The hooks for v6.
pub(crate) enum V6 {}

impl Family for V6 {
    const DATAGRAM_REACH: Reach = Reach::V6_ONLY;

    #[inline(always)]
    fn destination(ctx: &SockAddr) -> Addr {
        Addr::from_v6_words(ctx.user_ip6())
    }

    #[inline(always)]
    fn rewrite(ctx: &SockAddr, addr: Addr) {
        ctx.set_user_ip6(addr.v6_words());
    }

    #[inline(always)]
    fn reach(dialled: Addr, binding: &Binding) -> Reach {
        let bound = Self::bound(binding);
        match (bound.is_unspecified(), bound.family(), dialled.family()) {
            (false, AddrFamily::V4, _) => Reach::V4_ONLY,
            (false, AddrFamily::V6, _) => Reach::V6_ONLY,
            (true, _, AddrFamily::V4) => Reach::PREFER_V4,
            (true, _, AddrFamily::V6) => Reach::PREFER_V6,
        }
    }

    #[inline(always)]
    fn bound(binding: &Binding) -> Addr {
        Addr::from_v6_words(binding.src_ip6)
    }

    #[inline(always)]
    fn source(ctx: &SockAddr) -> Addr {
        Addr::from_v6_words(ctx.msg_src_ip6())
    }
}
