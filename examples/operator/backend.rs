//! Which backend does the work: that of the environment, or simulators in this process.

use std::sync::Arc;

use kube::Client;
use provider_core::Provider;
use provider_core::lifecycle::ProviderRegistry;
use provider_eda::ProviderConfig;

use crate::Failure;
use crate::simulated::{self, Running};

/// What the environment asks for.
#[derive(Debug)]
pub(crate) enum Choice {
    /// A backend, with the settings of the environment.
    Configured(ProviderConfig),
    SimulatedAap,
    SimulatedEda,
}

impl Choice {
    /// Endpoints decide where no word does. In a cluster nobody gets a simulator unasked: it would
    /// report machines that do not exist.
    pub(crate) fn of(variables: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let set = |name: &str| variables(name).is_some_and(|value| !value.trim().is_empty());
        let word = variables("PROVISIONING_PROVIDER").unwrap_or_default();
        let aap = set("AAP_URL");
        let eda = set("EDA_CREATE_URL") || set("EDA_DELETE_URL");
        let in_cluster = set("KUBERNETES_SERVICE_HOST");
        match (word.trim(), aap, eda) {
            ("simulator", ..) => Ok(Self::SimulatedAap),
            ("eda-simulator", ..) => Ok(Self::SimulatedEda),
            ("eda", _, false) if !in_cluster => Ok(Self::SimulatedEda),
            ("", true, false) => configured("aap", &variables),
            ("", false, true) => configured("eda", &variables),
            ("", true, true) => Err(
                "AAP_URL and EDA_CREATE_URL are both set; say in PROVISIONING_PROVIDER which it is, aap or eda"
                    .into(),
            ),
            ("", false, false) if in_cluster => Err(
                "no backend is given: set PROVISIONING_PROVIDER to aap or eda and its endpoint, or to \
                 simulator or eda-simulator if nothing real is meant"
                    .into(),
            ),
            ("", false, false) => Ok(Self::SimulatedAap),
            (word, ..) => configured(word, &variables),
        }
    }
}

fn configured(word: &str, variables: impl Fn(&str) -> Option<String>) -> Result<Choice, Failure> {
    let config = ProviderConfig::from_vars(|name| match name {
        "PROVISIONING_PROVIDER" => Some(word.to_owned()),
        name => variables(name),
    })?;
    Ok(Choice::Configured(config))
}

/// The provider, and the simulator behind it where there is one.
pub(crate) struct Backend {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) registry: ProviderRegistry,
    _running: Option<Running>,
}

impl Backend {
    pub(crate) async fn start(choice: Choice, client: &Client) -> Result<Self, Failure> {
        let (config, running) = match choice {
            Choice::Configured(config) => (config, None),
            Choice::SimulatedAap => {
                let (config, running) = simulated::aap().await?;
                (config, Some(running))
            }
            Choice::SimulatedEda => {
                let (config, running) = simulated::eda(client).await?;
                (config, Some(running))
            }
        };
        tracing::info!(simulated = running.is_some(), "{config}");
        let provider = config.build()?;
        Ok(Self {
            registry: ProviderRegistry::single(Arc::clone(&provider)),
            provider,
            _running: running,
        })
    }
}
