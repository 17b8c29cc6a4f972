//! Which backend does the work: that of the environment, or simulators in this process.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use provider_aap::{AapConfig, Auth, HttpConfig, Timing};
use provider_core::lifecycle::ProviderRegistry;
use provider_core::{Provider, SystemClock};
use provider_eda::ProviderConfig;
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, RunPlan, Template, World};

use crate::Failure;

/// The provider, and the simulator behind it where there is one.
pub(crate) struct Backend {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) registry: ProviderRegistry,
    _simulator: Option<AapSim>,
}

impl Backend {
    pub(crate) async fn start() -> Result<Self, Failure> {
        let is_configured = std::env::var_os("PROVISIONING_PROVIDER").is_some();
        let (config, simulator) = if is_configured {
            (ProviderConfig::from_env()?, None)
        } else {
            let (config, simulator) = simulated().await?;
            (config, Some(simulator))
        };
        tracing::info!(simulated = simulator.is_some(), "{config}");
        let provider = config.build()?;
        Ok(Self {
            registry: ProviderRegistry::single(Arc::clone(&provider)),
            provider,
            _simulator: simulator,
        })
    }
}

async fn simulated() -> Result<(ProviderConfig, AapSim), Failure> {
    let template = |action: &str| {
        let plan = RunPlan::lasting(Duration::from_secs(10));
        Template::job(format!("osac-{action}-compute-instance")).with_plan(plan)
    };
    let world = World::with(["create", "delete"].map(template));
    let simulator = AapSim::start(world, Arc::new(SystemClock)).await?;
    let config = AapConfig::new(simulator.url(), Auth::token(ADMIN_TOKEN))
        .with_template_prefix("osac")
        .with_push()
        .with_http(HttpConfig {
            proxy_from_environment: false,
            ..HttpConfig::default()
        })
        .with_timing(Timing {
            poll_interval: SignedDuration::from_secs(2),
            ..Timing::default()
        });
    Ok((ProviderConfig::Aap(Box::new(config)), simulator))
}
