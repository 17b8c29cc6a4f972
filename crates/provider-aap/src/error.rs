//! Errors of the configuration; errors of requests are [`ProviderError`](provider_core::ProviderError)s.

pub use provider_core::ConfigError;
