//! For fuzz targets: what an API server answers to a list or a watch.

use super::objects::promises;

/// Reads the text as every kind of object; panics when a promise is broken.
pub fn objects(text: &[u8]) {
    promises::objects(text);
}
