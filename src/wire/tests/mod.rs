//! Helpers for the tests of several files of this folder.

pub(super) mod arbitrary;
