//! A controller dies after the backend has accepted its launch and before it could write down the
//! job. The next one finds the job by its token and adopts it: one launch, one job.
//!
//!     cargo run --example crash
//!
//! The controller is this program, started again as a child; the simulator and the records, in
//! files, outlive it.

mod support;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clap::Parser;
use jiff::SignedDuration;
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig, Timing};
use provider_core::lifecycle::{
    Freshness, Lifecycle, Policy, ProviderRegistry, Snapshot, StatusStore, StoreError,
    StoreVersion, Written,
};
use provider_core::{JobRecord, ObjectKey, SystemClock};
use provider_testkit::FileStore;
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, RunPlan, Template, World};
use serde_json::json;
use support::{Backend, Failure, Options, Report, applied, manifest, object};

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    options: Options,
    /// What the child is told: where the records are.
    #[arg(long, hide = true)]
    child: Option<PathBuf>,
    /// Whether the child dies before it records its launch.
    #[arg(long, hide = true)]
    dies: bool,
}

/// A store whose process dies instead of writing down the first job.
struct Dying(FileStore);

#[async_trait]
impl StatusStore for Dying {
    async fn load(&self, key: &ObjectKey, freshness: Freshness) -> Result<Snapshot, StoreError> {
        self.0.load(key, freshness).await
    }

    async fn swap(
        &self,
        key: &ObjectKey,
        version: &StoreVersion,
        records: &[JobRecord],
    ) -> Result<Written, StoreError> {
        if records.iter().any(|record| record.job_id.is_some()) {
            // Without any clean-up, like a power failure.
            std::process::abort();
        }
        self.0.swap(key, version, records).await
    }
}

/// The controller: one loop until the object is applied.
async fn controller(flags: &Flags, state: &PathBuf) -> Result<(), Failure> {
    let resource = object(&manifest(&flags.options.manifest)?, None)?;
    let url = flags.options.url.clone().unwrap_or_default();
    let token = flags.options.token.clone().unwrap_or_default();
    let http = HttpConfig {
        proxy_from_environment: false,
        ..HttpConfig::default()
    };
    let timing = Timing {
        poll_interval: SignedDuration::from_millis(200),
        ..Timing::default()
    };
    let config = AapConfig::new(url, Auth::token(token))
        .with_template_prefix(&flags.options.prefix)
        .with_http(http)
        .with_timing(timing);
    let provider = Arc::new(AapProvider::new(config)?);
    let backend = Backend {
        registry: ProviderRegistry::single(provider.clone()),
        provider,
        sim: None,
        lifecycle: Lifecycle::new(Policy::default()),
    };
    let files = FileStore::open(state)?;
    let store: Box<dyn StatusStore> = if flags.dies {
        Box::new(Dying(files))
    } else {
        Box::new(files)
    };
    let mut report = Report::new(flags.options.json);
    backend
        .drive(&*store, &resource, &mut report, applied)
        .await?;
    Ok(())
}

async fn run(flags: &Flags) -> Result<(), Failure> {
    if let Some(state) = &flags.child {
        return controller(flags, state).await;
    }
    if flags.options.url.is_some() {
        return Err("this example only runs on its embedded simulator; unset AAP_URL".into());
    }
    let report = Report::new(flags.options.json);
    let prefix = &flags.options.prefix;
    let plan = RunPlan::lasting(Duration::from_secs(2));
    let template = Template::job(format!("{prefix}-create-compute-instance")).with_plan(plan);
    let sim = AapSim::start(World::with([template]), Arc::new(SystemClock)).await?;
    let state = tempfile::tempdir()?;
    let child = async |dies: bool| {
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        command
            .args([
                "--url",
                &sim.url(),
                "--token",
                ADMIN_TOKEN,
                "--prefix",
                prefix,
            ])
            .arg("--manifest")
            .arg(&flags.options.manifest)
            .arg("--child")
            .arg(state.path());
        if flags.options.json {
            command.arg("--json");
        }
        if dies {
            command.arg("--dies");
        }
        command.status().await
    };

    report.say("First controller: it launches a job, and dies before it can write that down.");
    let died = child(true).await?;
    if died.success() || sim.journal().len() != 1 {
        return Err(format!(
            "expected a crash after one launch; got {died} and {} jobs",
            sim.journal().len()
        )
        .into());
    }
    report.say(&format!(
        "It died ({died}); the backend has {} job.\n",
        sim.journal().len()
    ));

    report.say("Second controller: it finds an intent without a job, and looks for its token.");
    let ended = child(false).await?;
    let jobs = sim.journal().len();
    if !ended.success() || jobs != 1 {
        return Err(format!("expected one job, adopted; got {ended} and {jobs} jobs").into());
    }
    report.result(
        &json!({"result": "ok", "jobs": jobs}),
        "\nApplied with one job: the launch of the dead controller was adopted, not repeated.",
    );
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    support::exit("crash", run(&Flags::parse()).await)
}
