//! The choice between the backends, made once, from the configuration.

use std::fmt;
use std::sync::Arc;

use provider_aap::{AapConfig, AapProvider};
use provider_core::{Clock, Provider, SystemClock};
use serde::Deserialize;

use crate::{ConfigError, EdaConfig, EdaProvider};

/// Which backend does the work, with its settings: the one place where a configuration chooses between AAP and
/// Event-Driven Ansible. A controller builds its provider from this and never asks which one it is.
///
/// From a file it is `{"aap": …}` with the settings of [`AapConfig`], or `{"eda": …}` with those of
/// [`EdaConfig`]; from the environment, [`PROVISIONING_PROVIDER`](Self::from_vars) says which.
///
/// ```
/// use provider_eda::ProviderConfig;
///
/// let vars = |name: &str| match name {
///     "PROVISIONING_PROVIDER" => Some("aap".to_owned()),
///     "AAP_URL" => Some("https://aap.example.com".to_owned()),
///     "AAP_TOKEN" => Some("s3cret-token".to_owned()),
///     _ => None,
/// };
/// let config = ProviderConfig::from_vars(vars)?;
/// assert!(!config.to_string().contains("s3cret"));
/// let provider = config.build()?;
/// assert_eq!(provider.name(), "aap");
/// # Ok::<(), provider_eda::ConfigError>(())
/// ```
#[doc(alias = "PROVISIONING_PROVIDER")]
#[doc(alias = "BackendConfig")]
#[doc(alias = "backend")]
#[doc(alias = "AAP or EDA")]
#[derive(Clone, Deserialize)]
#[serde(remote = "Self", rename_all = "lowercase")]
#[non_exhaustive]
pub enum ProviderConfig {
    /// Jobs of AAP or AWX.
    Aap(Box<AapConfig>),
    /// Events to Event-Driven Ansible.
    Eda(Box<EdaConfig>),
}

provider_core::guarded_settings!(ProviderConfig);

impl ProviderConfig {
    /// Reads the environment of the process; see [`from_vars`](Self::from_vars).
    ///
    /// # Errors
    /// When a variable is missing or unreadable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// Reads `PROVISIONING_PROVIDER` (`aap` or `eda`), and then the variables of
    /// [`AapConfig::from_vars`] or [`EdaConfig::from_vars`].
    ///
    /// # Errors
    /// When a required variable is missing or one cannot be read; the error names it.
    pub fn from_vars(vars: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        const NAME: &str = "PROVISIONING_PROVIDER";
        match vars(NAME).unwrap_or_default().trim() {
            "aap" => Ok(Self::Aap(Box::new(
                AapConfig::from_vars(vars).map_err(|error| of_aap(&error))?,
            ))),
            "eda" => Ok(Self::Eda(Box::new(EdaConfig::from_vars(vars)?))),
            "" => Err(ConfigError::new(NAME, "set it to aap or eda")),
            _ => Err(ConfigError::new(NAME, "expected aap or eda")),
        }
    }

    /// The provider.
    ///
    /// # Errors
    /// When a setting cannot work; the error names it.
    pub fn build(self) -> Result<Arc<dyn Provider>, ConfigError> {
        self.build_with_clock(Arc::new(SystemClock))
    }

    /// The provider, with a clock of the caller's.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_with_clock(self, clock: Arc<dyn Clock>) -> Result<Arc<dyn Provider>, ConfigError> {
        Ok(match self {
            Self::Aap(config) => {
                Arc::new(AapProvider::with_clock(*config, clock).map_err(|error| of_aap(&error))?)
            }
            Self::Eda(config) => Arc::new(EdaProvider::with_clock(*config, clock)?),
        })
    }
}

pub(crate) fn of_aap(error: &provider_aap::ConfigError) -> ConfigError {
    let text = error.to_string();
    let message = text
        .strip_prefix(error.field())
        .and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(&text);
    ConfigError::new(error.field(), message)
}

impl fmt::Display for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aap(config) => config.fmt(f),
            Self::Eda(config) => config.fmt(f),
        }
    }
}

impl fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aap(config) => f.debug_tuple("Aap").field(config).finish(),
            Self::Eda(config) => f.debug_tuple("Eda").field(config).finish(),
        }
    }
}
