//! Errors of the configuration; errors of sending are [`ProviderError`](provider_core::ProviderError)s.

pub use provider_core::ConfigError;
