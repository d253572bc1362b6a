//! One module per target: `run` takes one input, and panics when a promise is broken.

mod admin_request;
mod configuration;
mod dns_answer;
mod endpoint_slice;
mod event_record;
mod kubeconfig;
mod packet;
mod probe_answer;
mod sentinel_frames;
mod table_on_disk;

/// Takes one input.
pub(crate) type Target = fn(&[u8]);

/// As `cargo xtask fuzz` names them.
pub(crate) const TARGETS: [(&str, Target); 10] = [
    ("configuration", configuration::run),
    ("kubeconfig", kubeconfig::run),
    ("endpoint_slice", endpoint_slice::run),
    ("probe_answer", probe_answer::run),
    ("dns_answer", dns_answer::run),
    ("sentinel_frames", sentinel_frames::run),
    ("event_record", event_record::run),
    ("table_on_disk", table_on_disk::run),
    ("admin_request", admin_request::run),
    ("packet", packet::run),
];
