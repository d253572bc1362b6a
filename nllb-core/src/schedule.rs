//! When to probe next.
