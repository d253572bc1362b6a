//! Counters kept by the kernel programs, one per outcome.
//!
//! They live in a per-CPU array indexed by the discriminant. A variant is never reordered within an
//! ABI version: the number is the contract.

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $name:ident = $label:literal,)+) => {
        /// An outcome that the kernel programs count.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Counter {
            $($(#[doc = $help])+ $name,)+
        }

        impl Counter {
            /// Every counter, in the order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name used in metrics, status and documents.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// What is counted, in one sentence.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$name => concat!($($help),+),)+ }
            }
        }
    };
}

counters! {
    /// Connects to an address that is no frontend.
    Unmatched = "unmatched",
    /// Connects translated to an eligible backend.
    Translated = "translated",
    /// Connects translated although no backend was eligible.
    Panic = "panic",
    /// Connects of the agent's own probes, left alone.
    Bypassed = "bypassed",
    /// Connects left alone because the socket is bound to loopback or to a device.
    SkippedBound = "skipped_bound",
    /// Connects left alone because no backend of the pool can be reached from this socket.
    PassedThrough = "passed_through",
    /// Connects failed at once because the pool is empty and the frontend asks for that.
    Refused = "refused",
    /// Connects to a node address left alone because that backend may get connections.
    NodeAddressKept = "node_address_kept",
    /// Connects to a node address translated away from a backend that may not.
    NodeAddressMoved = "node_address_moved",
    /// Translations chosen by evidence alone because the agent's lease has lapsed.
    LeaseLapsed = "lease_lapsed",
    /// Translations without socket storage, which give no evidence.
    StorageFailed = "storage_failed",
    /// SYNs of a translated connection that went unanswered for a retransmission timeout.
    SynSilence = "syn_silence",
    /// Connects cut short after silence because another backend was eligible.
    SynCut = "syn_cut",
    /// Connects answered by a reset.
    ConnectReset = "connect_reset",
    /// Connects given up without any answer: by the caller, or on an ICMP error.
    ConnectAborted = "connect_aborted",
    /// Translated connections established.
    Established = "established",
    /// Translated connections closed after they were established.
    Closed = "closed",
    /// Established connections whose data went unanswered for two retransmission timeouts.
    DataSilence = "data_silence",
    /// Established connections that ended before any data came: the server closed or reset them, or the caller
    /// reset them.
    Unserved = "unserved",
    /// Established connections ended because their backend fell silent while there was no agent.
    Ended = "ended",
    /// Established connections that no network namespace counts, because too many have some: they cannot
    /// be found when their backend dies.
    NetnsFull = "netns_full",
    /// Events not written because the ring buffer was full.
    EventDropped = "event_dropped",
    /// Events not written because the backend had one a moment before.
    EventSuppressed = "event_suppressed",
    /// Datagrams of unconnected sockets translated to a backend.
    Datagrams = "datagrams",
    /// Of these, those that were sent again because no answer had come.
    DatagramSilence = "datagram_silence",
    /// Flows of sandboxed pods translated to a backend, those that were drawn again included.
    GuestFlows = "guest_flows",
    /// Flows of sandboxed pods left alone because their answers could not be told from those of another.
    GuestCollision = "guest_collision",
    /// Connections of sandboxed pods ended because their backend is dead and another is eligible.
    GuestReset = "guest_reset",
    /// Errors of ICMP from or to sandboxed pods that were translated.
    GuestErrors = "guest_errors",
    /// Times that an interface was left alone because what goes to its pod does not pass the program on it.
    GuestOneWay = "guest_one_way",
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_index_of_a_counter_is_its_place_in_the_list() {
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
        }
    }

    #[test]
    fn labels_are_unique_and_fit_for_a_metric_label() {
        let labels: BTreeSet<_> = Counter::ALL.iter().map(|c| c.label()).collect();
        assert_eq!(labels.len(), Counter::ALL.len());
        assert!(labels.iter().all(|l| l.bytes().all(|b| b == b'_' || b.is_ascii_lowercase())));
    }
}
