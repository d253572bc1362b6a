//! What an API server answers to a list or a watch of EndpointSlices and Services: the promises are those of the
//! random tests, in `nllb-agent/src/discovery/kubernetes/objects/promises.rs`.

pub(crate) fn run(data: &[u8]) {
    nllb_agent::discovery::fuzz::objects(data);
}
