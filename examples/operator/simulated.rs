//! Backends in this process, for those who have none at hand: AAP, or EDA with a rulebook that runs its
//! playbooks on that AAP. What the playbooks of EDA do to objects they do to those of the cluster.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use provider_aap::{AapConfig, Auth, HttpConfig, Timing};
use provider_core::SystemClock;
use provider_eda::{EdaConfig, Endpoints, ProviderConfig, RulebookWebhook};
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, RunPlan, Template, World};
use provider_testkit::eda::{Cluster, EdaSim, Rule, Rulebook, Webhook};
use serde_json::{Value, json};

use crate::Failure;
use crate::crd::ComputeInstance;

/// The token that the simulated webhook asks for.
const TOKEN: &str = "token-of-the-simulated-webhook";
/// How long its jobs take.
const LENGTH: Duration = Duration::from_secs(10);

/// Keeps what runs in this process running.
pub(crate) type Running = Box<dyn std::any::Any + Send + Sync>;

async fn controller(length: Duration) -> Result<AapSim, Failure> {
    let template = |action: &str| {
        let plan = RunPlan::lasting(length);
        Template::job(format!("osac-{action}-compute-instance")).with_plan(plan)
    };
    let world = World::with(["create", "delete"].map(template));
    Ok(AapSim::start(world, Arc::new(SystemClock)).await?)
}

pub(crate) async fn aap() -> Result<(ProviderConfig, Running), Failure> {
    let simulator = controller(LENGTH).await?;
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
    Ok((ProviderConfig::Aap(Box::new(config)), Box::new(simulator)))
}

pub(crate) async fn eda(client: &Client) -> Result<(ProviderConfig, Running), Failure> {
    let aap = controller(LENGTH / 5).await?;
    let webhook = Webhook::new().with_token(TOKEN);
    let eda = EdaSim::start(webhook, Arc::new(SystemClock)).await?;
    let url = eda.url();
    let mut rulebook = Rulebook::parallel(
        ["create", "delete"]
            .map(|action| Rule::new(action, &format!("osac-{action}-compute-instance"))),
    );
    let objects = Objects(client.clone());
    tokio::spawn(async move {
        loop {
            rulebook.step(&eda, &aap, &objects);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let urls = Endpoints::new(
        format!("{url}/create-{{kind}}"),
        format!("{url}/delete-{{kind}}"),
    );
    let config = EdaConfig::new(RulebookWebhook::new(urls).with_token(TOKEN))
        .with_http(provider_eda::HttpConfig {
            proxy_from_environment: false,
            ..provider_eda::HttpConfig::default()
        })
        .with_timing(provider_eda::Timing {
            poll_interval: SignedDuration::from_secs(2),
            ..provider_eda::Timing::default()
        });
    Ok((ProviderConfig::Eda(Box::new(config)), Box::new(())))
}

/// The objects of the cluster, for playbooks that leave their marks on them.
struct Objects(Client);

impl Cluster for Objects {
    fn edit(&self, namespace: &str, name: &str, change: &mut dyn FnMut(&mut Value)) -> bool {
        let api = Api::<ComputeInstance>::namespaced(self.0.clone(), namespace);
        // A playbook is not asynchronous.
        tokio::task::block_in_place(|| {
            let edited = tokio::runtime::Handle::current().block_on(edit(&api, name, change));
            if let Err(error) = &edited {
                tracing::debug!("a mark was not left yet: {error}");
            }
            edited.is_ok()
        })
    }
}

async fn edit(
    api: &Api<ComputeInstance>,
    name: &str,
    change: &mut dyn FnMut(&mut Value),
) -> Result<(), kube::Error> {
    let Some(object) = api.get_opt(name).await? else {
        return Ok(());
    };
    let before = json!(object);
    let mut after = before.clone();
    change(&mut after);
    if after == before {
        return Ok(());
    }
    // Annotations and finalizers are all that playbooks write.
    let metadata = json!({
        "resourceVersion": object.resource_version(),
        "annotations": after.pointer("/metadata/annotations"),
        "finalizers": after.pointer("/metadata/finalizers"),
    });
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    api.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}
