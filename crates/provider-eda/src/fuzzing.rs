//! What the fuzz targets in `fuzz/` reach beyond the public API.

pub use crate::tracking::fuzzing::payload;

/// A configuration, as it is looked at before the first event.
///
/// # Errors
/// When it cannot work.
pub fn checked(config: crate::EdaConfig) -> Result<(), crate::ConfigError> {
    config.checked().map(drop)
}
