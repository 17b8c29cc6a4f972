//! Examples, benches and tests that need more than one crate live beside this package; it has no code of its own.
