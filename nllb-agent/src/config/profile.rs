//! What the backends of a pool are: a word that presets port, probe and policy. What is written wins.

use super::question::HEALTH_PATH;
use crate::health_check::{Accept, Get, HealthPort, Kind};
use nllb_common::maps::Policy;

/// What the backends of a pool are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// API servers.
    #[default]
    Apiserver,
    /// konnectivity-server, where its agents dial it.
    Konnectivity,
    /// The API with which hosts join a k0s cluster.
    K0sJoin,
    /// The supervisor of k3s and RKE2.
    Supervisor,
    /// etcd, where its clients dial it.
    Etcd,
    /// Anything else: nothing is preset.
    Custom,
    /// Endpoints of a Service. No pool of a configuration has it.
    Service,
}

impl Profile {
    /// Those that a configuration can name.
    pub const ALL: [Self; 6] = [
        Self::Apiserver,
        Self::Konnectivity,
        Self::K0sJoin,
        Self::Supervisor,
        Self::Etcd,
        Self::Custom,
    ];

    /// The word for it in configuration and status.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Apiserver => "apiserver",
            Self::Konnectivity => "konnectivity",
            Self::K0sJoin => "k0s-join",
            Self::Supervisor => "supervisor",
            Self::Etcd => "etcd",
            Self::Custom => "custom",
            Self::Service => "service",
        }
    }

    /// The port where its backends listen when nobody says otherwise.
    #[must_use]
    pub const fn default_port(self) -> Option<u16> {
        match self {
            Self::Apiserver => Some(6443),
            Self::Konnectivity => Some(8132),
            Self::K0sJoin => Some(9443),
            Self::Supervisor => Some(9345),
            Self::Etcd => Some(2379),
            Self::Custom | Self::Service => None,
        }
    }

    /// How the pool's frontends choose when they do not say.
    ///
    /// An agent of konnectivity dials one address until it has met every server.
    #[must_use]
    pub const fn policy(self) -> Policy {
        match self {
            Self::Konnectivity => Policy::RoundRobin,
            Self::Apiserver
            | Self::K0sJoin
            | Self::Supervisor
            | Self::Etcd
            | Self::Custom
            | Self::Service => Policy::Random,
        }
    }

    /// What its backends are asked; `None` when that has to be said.
    pub(super) fn kind(self) -> Option<Kind> {
        let get = |path: &str, accept| Some(Kind::Https(Get { path: path.to_owned(), accept }));
        match self {
            Self::Apiserver => get("/readyz", Accept::default()),
            Self::Konnectivity => Some(Kind::Tls),
            // Every path wants a token of its own; being refused is a good answer.
            Self::K0sJoin => get("/", Accept(vec![200..=499])),
            Self::Supervisor => get("/ping", Accept::default()),
            Self::Etcd => get("/health", Accept::default()),
            Self::Custom | Self::Service => None,
        }
    }

    /// Which port may object.
    ///
    /// konnectivity-server's `/readyz` wants an agent that is connected already, and none would ever
    /// connect to a server that is left out until then.
    pub(super) fn health_port(self) -> Option<HealthPort> {
        match self {
            Self::Konnectivity => Some(HealthPort { port: 8092, path: HEALTH_PATH.to_owned() }),
            Self::Apiserver
            | Self::K0sJoin
            | Self::Supervisor
            | Self::Etcd
            | Self::Custom
            | Self::Service => None,
        }
    }
}
