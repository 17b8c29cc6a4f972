//! Event-Driven Ansible in this process: a webhook, a rulebook, the controller that it launches on,
//! and playbooks that leave their marks on the objects.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use provider_core::SystemClock;
use provider_eda::{EdaConfig, Endpoints, HttpConfig, JobTracking, RulebookWebhook, Timing};
use provider_testkit::aap::AapSim;
use provider_testkit::eda::{EdaSim, Objects, Rule, Rulebook, Webhook};
use tokio::task::AbortHandle;

use super::{Failure, simulated};

/// The token that the webhook asks for.
const TOKEN: &str = "token-of-the-simulated-webhook";
/// The label that the rules put on their jobs.
const LABEL: &str = "osac-{{ event.payload.providerEvent.operationToken }}";
/// The same label, as the provider looks for it.
const LOOKED_FOR: &str = "osac-{token}";

pub(crate) struct Eda {
    pub(crate) eda: Arc<EdaSim>,
    pub(crate) aap: Arc<AapSim>,
    pub(crate) objects: Objects,
    rulebook: AbortHandle,
}

impl Drop for Eda {
    fn drop(&mut self) {
        self.rulebook.abort();
    }
}

/// Starts it all, and answers the settings to use it with.
pub(crate) async fn start(prefix: &str, tracked: bool) -> Result<(EdaConfig, Eda), Failure> {
    let webhook = Webhook::new().with_token(TOKEN);
    let eda = Arc::new(EdaSim::start(webhook, Arc::new(SystemClock)).await?);
    let (of_aap, aap) = simulated(prefix).await?;
    let aap = Arc::new(aap);
    let objects = Objects::default();
    let mut rulebook = Rulebook::parallel(["create", "delete"].map(|action| {
        Rule::new(action, &format!("{prefix}-{action}-compute-instance")).with_label(LABEL)
    }));
    let world = (Arc::clone(&eda), Arc::clone(&aap), objects.clone());
    let running = tokio::spawn(async move {
        let (eda, aap, objects) = world;
        loop {
            rulebook.step(&eda, &aap, &objects);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let url = eda.url();
    let urls = Endpoints::new(
        format!("{url}/create-{{kind}}"),
        format!("{url}/delete-{{kind}}"),
    );
    let mut config = EdaConfig::new(RulebookWebhook::new(urls).with_token(TOKEN))
        .with_http(HttpConfig {
            proxy_from_environment: false,
            ..HttpConfig::default()
        })
        .with_timing(Timing {
            poll_interval: SignedDuration::from_millis(300),
            ..Timing::default()
        });
    if tracked {
        // Its playbooks leave their marks at once.
        let settle = SignedDuration::from_secs(1);
        let tracking = JobTracking::new(of_aap).with_label(LOOKED_FOR);
        config = config.with_tracking(tracking.with_settle(settle));
    }
    let running = Eda {
        eda,
        aap,
        objects,
        rulebook: running.abort_handle(),
    };
    Ok((config, running))
}
