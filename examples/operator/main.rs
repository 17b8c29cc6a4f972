//! A small operator for `ComputeInstance` objects: what to copy to start one's own.
//!
//!     cargo run --example operator -- --print-crd | kubectl apply -f -
//!     cargo run --example operator
//!
//! Uses the kubeconfig in force, or the service account of its pod. Jobs run on the backend of the
//! `AAP_…` or `EDA_…` variables; where no endpoint is given, on a simulator in this process. See `--help`.

mod backend;
mod crd;
mod serve;
mod simulated;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use futures::{StreamExt, TryStreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::controller::{self, Action, Config};
use kube::runtime::events::Reporter;
use kube::runtime::{
    Controller, Predicate, PredicateConfig, WatchStreamExt, predicates, reflector, watcher,
};
use kube::{Api, Client, ResourceExt};
use metrics_exporter_prometheus::PrometheusBuilder;
use provider_core::ConfigVersion;
use provider_core::lifecycle::{Desired, Lifecycle, Policy, PolicyConfig};
use provider_kube::{Error, Provisioner};
use tokio::signal::unix::{SignalKind, signal};

use backend::{Backend, Choice};
use crd::{ComputeInstance, definition};

/// How often the metrics are tidied up.
const UPKEEP: Duration = Duration::from_secs(5);

pub(crate) type Failure = Box<dyn std::error::Error>;

/// An operator for ComputeInstance objects.
#[derive(Debug, Parser)]
#[command(after_help = "\
Backend, by environment:
  PROVISIONING_PROVIDER=aap | eda      the backend of the AAP_… or EDA_… variables
  AAP_URL or EDA_CREATE_URL alone      the same, decided by the endpoint that is given
  PROVISIONING_PROVIDER=simulator      AAP, simulated in this process; the default outside of a cluster
  PROVISIONING_PROVIDER=eda-simulator  EDA, simulated in this process, with playbooks that mark the objects;
                                       also what `eda` means outside of a cluster without an endpoint")]
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

/// Guarded: one stored object that does not fit the type must not hide all others.
type Instance = DeserializeGuard<ComputeInstance>;

/// What a reconcile needs.
struct Context {
    provisioner: Arc<Provisioner<ComputeInstance>>,
    provider: String,
}

/// The user's part: what is wanted, and by which provider. The rest is the provisioner's.
async fn reconcile(instance: Arc<Instance>, context: Arc<Context>) -> Result<Action, Error> {
    metrics::counter!("operator_reconciles_total").increment(1);
    let wanted = |instance: &ComputeInstance| {
        let version = ConfigVersion::of_json(&serde_json::json!(instance.spec));
        Desired::new(version, &context.provider)
    };
    context
        .provisioner
        .reconcile_guarded(&instance, wanted)
        .await
}

fn policy(flags: &Flags) -> Result<Policy, Failure> {
    let config = match &flags.policy {
        Some(file) => serde_norway::from_str(&std::fs::read_to_string(file)?)?,
        None => PolicyConfig::default(),
    };
    Ok(Policy::new(config)?)
}

async fn run(flags: &Flags) -> Result<(), Failure> {
    let choice = Choice::of(|name| std::env::var(name).ok())?;
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let upkeep = metrics.clone();
    tokio::spawn(async move {
        // Without it, samples of histograms are kept until somebody scrapes.
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    let ready = Arc::new(AtomicBool::new(false));
    let client = Client::try_default().await?;
    let backend = Backend::start(choice, &client).await?;
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
    let ended_jobs = provisioner
        .wake_ups()
        .map(|reference| reference.into_kind_unchecked::<Instance>(()));
    let context = Arc::new(Context {
        provisioner,
        provider: backend.provider.name().to_owned(),
    });

    // Our own writes of the status wake nobody; the engine says itself when to come back.
    let (reader, writer) = reflector::store();
    let is_listed = Arc::new(AtomicBool::new(false));
    let (now_ready, listed) = (Arc::clone(&ready), Arc::clone(&is_listed));
    let instances = watcher(Api::<Instance>::all(client), watcher::Config::default())
        .default_backoff()
        .inspect_ok(move |event| {
            if matches!(event, watcher::Event::InitDone) {
                listed.store(true, Ordering::Relaxed);
                now_ready.store(true, Ordering::Relaxed);
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
    // Passes that have begun are ended; nothing new is sent here meanwhile.
    let stopping = Arc::new(AtomicBool::new(false));
    let mut terminate = signal(SignalKind::terminate())?;
    let (is_ready, is_stopping) = (Arc::clone(&ready), Arc::clone(&stopping));
    let (stop_now, unlisted) = tokio::sync::oneshot::channel();
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        is_stopping.store(true, Ordering::Relaxed);
        is_ready.store(false, Ordering::Relaxed);
        // Before the first list nothing has begun, and a controller would wait for it.
        if !is_listed.load(Ordering::Relaxed) {
            let _ = stop_now.send(());
        }
    };
    let controller = Controller::for_stream(instances, reader)
        .with_config(Config::default().concurrency(flags.concurrency))
        .reconcile_on(ended_jobs)
        .graceful_shutdown_on(stop)
        .run(
            reconcile,
            |instance, error, context: Arc<Context>| {
                context.provisioner.guarded_error_policy(&instance, error)
            },
            Arc::clone(&context),
        )
        .for_each(async |result| match result {
            // The error policy has told of these.
            Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
            // Gone between its event and its turn.
            Err(error @ controller::Error::ObjectNotFound(_)) => tracing::debug!("{error}"),
            Err(error) => tracing::warn!("the watch: {error}"),
        });
    tokio::select! {
        () = controller => {}
        Ok(()) = unlisted => {}
        ended = serve::serve(flags.listen, ready, metrics) => ended?,
    }
    if !stopping.load(Ordering::Relaxed) {
        return Err("the watch has ended by itself; nothing would be reconciled any more".into());
    }
    tracing::info!("stopped");
    Ok(())
}

#[allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it was asked for"
)]
fn print_definition() -> ExitCode {
    let text = definition().map_err(|error| error.to_string());
    match text.and_then(|d| serde_norway::to_string(&d).map_err(|error| error.to_string())) {
        Ok(text) => print!("{text}"),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    if flags.print_crd {
        return print_definition();
    }
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "info,kube_runtime=warn".into());
    // It logs whole answers that it cannot read, specs and all.
    let filter = match "kube_client::client=error".parse() {
        Ok(quiet) => filter.add_directive(quiet),
        Err(_) => filter,
    };
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
