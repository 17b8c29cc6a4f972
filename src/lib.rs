//! Examples, benches and tests that need more than one crate live beside this package; it has no code of its own.

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
