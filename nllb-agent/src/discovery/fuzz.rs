//! For fuzz targets: what files and API servers tell, read without a file, a socket or a resolver.

pub use super::kubeconfig::fuzz::read as kubeconfig;
pub use super::kubernetes::fuzz::objects;
