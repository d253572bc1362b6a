//! A control plane in network namespaces, with fault injection.
//!
//! The product's promises are about machines that crash, hang and vanish. They are tested against
//! real sockets of the running kernel: every host of a [`Lab`] is a network namespace on a bridge,
//! every API server a process of its own (so that it can be killed or stopped), every node a
//! network namespace and a cgroup. Dropping the lab removes all of it, also after a panic.
//!
//! [`lab`] builds it, [`fault`] breaks it, [`client`] connects from inside it, [`agent`] runs the
//! product on one of its nodes.

pub mod agent;
pub mod agreement;
pub mod apiserver;
pub mod balancer;
mod bench;
pub mod bpffs;
pub mod capability;
pub mod cgroup;
pub mod cli;
pub mod client;
pub mod clock;
pub mod cluster_dns;
pub mod dashboard;
mod demo;
pub mod discover;
pub mod ecmp;
pub mod etcd;
pub mod fault;
pub mod flood;
pub mod foreign;
pub mod guard;
pub mod lab;
pub mod load;
pub mod lookups;
pub mod name_server;
pub mod netns;
pub mod packets;
pub mod pins;
pub mod pki;
pub mod place;
pub mod process;
pub mod prometheus;
mod resolver;
mod sim;
mod soak;
mod sys;
pub mod tools;
pub mod usage;
mod verdicts;
pub mod verifier;
pub mod vip_stage;
pub mod wait;

pub use agent::{Agent, Configuration};
pub use balancer::Balancer;
pub use client::Client;
pub use client::protocol::{
    Ask, Connect, ConnectLoop, Http, Outcome, Purpose, Stage, Storm, StormReport, Traffic,
    TrafficReport, Udp,
};
pub use lab::Lab;
pub use place::Place;
