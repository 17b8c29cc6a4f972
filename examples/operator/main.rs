//! A small operator for `ComputeInstance` objects: what to copy to start one's own.
//!
//!     cargo run --example operator -- --print-crd | kubectl apply -f -
//!     cargo run --example operator
//!
//! Uses the kubeconfig in force, or the service account of its pod. Without PROVISIONING_PROVIDER, jobs
//! run on a simulator in this process; with `aap` or `eda`, on the backend of the `AAP_…` or `EDA_…`
//! variables.

mod backend;
mod crd;
mod serve;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use futures::{StreamExt, TryStreamExt};
use kube::runtime::controller::{Action, Config};
use kube::runtime::events::Reporter;
use kube::runtime::{
    Controller, Predicate, PredicateConfig, WatchStreamExt, predicates, reflector, watcher,
};
use kube::{Api, Client, ResourceExt};
use metrics_exporter_prometheus::PrometheusBuilder;
use provider_core::ConfigVersion;
use provider_core::lifecycle::{Desired, Lifecycle, Policy, PolicyConfig};
use provider_kube::{Error, Provisioner};

use backend::Backend;
use crd::{ComputeInstance, definition};

pub(crate) type Failure = Box<dyn std::error::Error>;

#[derive(Debug, Parser)]
struct Flags {
    /// Prints the definition of the custom resource, and ends.
    #[arg(long)]
    print_crd: bool,
    /// Where health and metrics are served.
    #[arg(long, env = "LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The engine's choices, as YAML.
    #[arg(long, env = "POLICY_FILE", value_name = "FILE")]
    policy: Option<PathBuf>,
    /// How many objects are worked on at once.
    #[arg(long, env = "CONCURRENCY", default_value_t = 16)]
    concurrency: u16,
    /// Without Kubernetes events.
    #[arg(long)]
    no_events: bool,
}

/// What a reconcile needs.
struct Context {
    provisioner: Arc<Provisioner<ComputeInstance>>,
    provider: String,
}

/// The user's part: what is wanted, and by which provider. The rest is the provisioner's.
async fn reconcile(instance: Arc<ComputeInstance>, context: Arc<Context>) -> Result<Action, Error> {
    metrics::counter!("operator_reconciles_total").increment(1);
    let version = ConfigVersion::of_json(&serde_json::json!(instance.spec));
    let desired = Desired::new(version, &context.provider);
    context.provisioner.reconcile(&instance, &desired).await
}

fn policy(flags: &Flags) -> Result<Policy, Failure> {
    let config = match &flags.policy {
        Some(file) => serde_norway::from_str(&std::fs::read_to_string(file)?)?,
        None => PolicyConfig::default(),
    };
    Ok(Policy::new(config)?)
}

async fn run(flags: &Flags) -> Result<(), Failure> {
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let ready = Arc::new(AtomicBool::new(false));
    let backend = Backend::start().await?;
    let client = Client::try_default().await?;
    let mut provisioner = Provisioner::new(
        client.clone(),
        Lifecycle::new(policy(flags)?),
        backend.registry.clone(),
    );
    if !flags.no_events {
        provisioner = provisioner.with_events(Reporter::from("compute-instance-operator"));
    }
    let provisioner = Arc::new(provisioner);
    // The end of a job wakes its object, where the backend can tell.
    let ended_jobs = provisioner.wake_ups();
    let context = Arc::new(Context {
        provisioner,
        provider: backend.provider.name().to_owned(),
    });

    // Our own writes of the status wake nobody; the engine says itself when to come back.
    let (reader, writer) = reflector::store();
    let listed = Arc::clone(&ready);
    let instances = watcher(
        Api::<ComputeInstance>::all(client),
        watcher::Config::default(),
    )
    .default_backoff()
    .inspect_ok(move |event| {
        if matches!(event, watcher::Event::InitDone) {
            listed.store(true, Ordering::Relaxed);
        }
    })
    .modify(|instance| instance.managed_fields_mut().clear())
    .reflect(writer)
    .applied_objects()
    .predicate_filter(
        predicates::generation
            .combine(predicates::annotations)
            .combine(predicates::finalizers),
        PredicateConfig::default(),
    );
    let controller = Controller::for_stream(instances, reader)
        .with_config(Config::default().concurrency(flags.concurrency))
        .reconcile_on(ended_jobs)
        .shutdown_on_signal()
        .run(
            reconcile,
            |instance, error, context: Arc<Context>| {
                context.provisioner.error_policy(&instance, error)
            },
            Arc::clone(&context),
        )
        .for_each(async |result| {
            if let Err(error) = result {
                tracing::debug!("{error}");
            }
        });
    tokio::select! {
        () = controller => tracing::info!("stopped"),
        ended = serve::serve(flags.listen, ready, metrics) => ended?,
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    if flags.print_crd {
        #[allow(clippy::print_stdout, reason = "it was asked for")]
        {
            print!(
                "{}",
                serde_norway::to_string(&definition()).unwrap_or_default()
            );
        }
        return ExitCode::SUCCESS;
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "info,kube_runtime=warn".into());
    tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run(&flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
