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
use kube::runtime::controller::Config;
use kube::runtime::events::Reporter;
use kube::runtime::watcher;
use kube::{Api, Client};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use provider_core::ConfigVersion;
use provider_core::lifecycle::{Desired, Lifecycle, Policy, PolicyConfig};
use provider_kube::Provisioner;
use tokio::signal::unix::{SignalKind, signal};

use backend::{Backend, Choice};
use crd::{ComputeInstance, definition};
use serve::serve;

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

fn policy(flags: &Flags) -> Result<Policy, Failure> {
    let config = match &flags.policy {
        Some(file) => serde_norway::from_str(&std::fs::read_to_string(file)?)?,
        None => PolicyConfig::default(),
    };
    Ok(Policy::new(config)?)
}

/// The user's part: what is wanted, and by which provider. The rest is the provisioner's.
async fn operate(
    flags: &Flags,
    client: Client,
    backend: &Backend,
    metrics: PrometheusHandle,
    stopping: Arc<AtomicBool>,
) -> Result<(), Failure> {
    let provider = backend.provider.name().to_owned();
    let wanted = move |instance: Arc<ComputeInstance>| {
        metrics::counter!("operator_reconciles_total").increment(1);
        let desired = ConfigVersion::of(&instance.spec).map(|v| Desired::new(v, &provider));
        async { Ok(desired?) }
    };
    let engine = Lifecycle::new(policy(flags)?);
    let mut provisioner = Provisioner::new(client.clone(), engine, backend.registry.clone());
    if !flags.no_events {
        provisioner = provisioner.with_events(Reporter::from("compute-instance-operator"));
    }
    let provisioner = Arc::new(provisioner);
    let controller = provisioner
        .controller(Api::all(client), watcher::Config::default())
        .with_config(Config::default().concurrency(flags.concurrency));
    let serving = serve(
        flags.listen,
        controller.store(),
        Arc::clone(&stopping),
        metrics,
    );
    tokio::select! {
        () = provisioner.run(controller, wanted, stop(stopping)?) => Ok(()),
        ended = serving => ended,
    }
}

/// When the process is told to end: passes that have begun are ended, and nothing new is sent here meanwhile.
fn stop(stopping: Arc<AtomicBool>) -> Result<impl Future<Output = ()> + Send, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        stopping.store(true, Ordering::Relaxed);
    })
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
    let client = Client::try_default().await?;
    let backend = Backend::start(choice, &client).await?;
    let stopping = Arc::new(AtomicBool::new(false));
    operate(flags, client, &backend, metrics, Arc::clone(&stopping)).await?;
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
