//! Examples, benches and tests that need more than one crate live beside this package; it has no code of its own.
//!
//! The library is in its members: a controller begins with `provider-core` and `provider-kube`, and its backend with
//! `provider-aap`, `provider-eda`, or `ProviderConfig` of `provider-eda` where the configuration chooses.

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
