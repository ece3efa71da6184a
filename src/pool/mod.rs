//! The stream pool.
