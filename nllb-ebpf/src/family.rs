//! What differs between a connect on a v4 and on a v6 socket.

use nllb_common::pick::Reach;
use nllb_common::{Addr, Family as AddrFamily};

use crate::ctx::{Binding, Connect};

/// One of the two connect hooks.
pub(crate) trait Family {
    /// The address being dialled.
    fn destination(ctx: &Connect) -> Addr;
    /// Rewrites the address being dialled.
    fn rewrite(ctx: &Connect, addr: Addr);
    /// Which backends the socket can reach.
    fn reach(dialled: Addr, binding: &Binding) -> Reach;
    /// The address the socket is bound to; unspecified when it is not bound.
    fn bound(binding: &Binding) -> Addr;
}

/// The `connect4` hook.
pub(crate) enum V4 {}

impl Family for V4 {
    #[inline(always)]
    fn destination(ctx: &Connect) -> Addr {
        Addr::from_v4_word(ctx.user_ip4())
    }

    #[inline(always)]
    fn rewrite(ctx: &Connect, addr: Addr) {
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
}

/// The `connect6` hook.
pub(crate) enum V6 {}

impl Family for V6 {
    #[inline(always)]
    fn destination(ctx: &Connect) -> Addr {
        Addr::from_v6_words(ctx.user_ip6())
    }

    #[inline(always)]
    fn rewrite(ctx: &Connect, addr: Addr) {
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
}
