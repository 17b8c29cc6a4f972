//! A backend of one's own: jobs are processes of this machine. The provider is in `processes/`.
//!
//!     cargo run --example process_provider
//!     cargo run --example process_provider -- --create 'echo made $JOB_NAME' --objects DIR --state DIR
//!
//! Without directories it provisions an object and deletes it again. With them it is a controller that
//! may be killed at any moment and started again; the jobs go on, and are found again.

mod processes;
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use jiff::SignedDuration;
use processes::ProcessProvider;
use provider_core::lifecycle::{ActionRequest, Desired, Lifecycle, Outcome, Policy};
use provider_core::{Clock, ConfigVersion, JobRecord, Resource, SystemClock};
use provider_testkit::FileStore;
use serde_json::json;
use support::files::{Directories, control};
use support::{Backend, Failure, Report, applied, deleted, manifest, object};

#[derive(Debug, Parser)]
pub(crate) struct Flags {
    /// The command that provisions; JOB_NAME, JOB_TOKEN, JOB_OBJECT and JOB_VARS are set.
    #[arg(long, default_value = "sleep 1; echo made $JOB_NAME")]
    create: String,
    /// The command that deprovisions.
    #[arg(long, default_value = "echo removed $JOB_NAME")]
    delete: String,
    /// The command of the action `touch`; its directory is that of the job.
    #[arg(long, default_value = "touch touched-$JOB_NAME")]
    touch: String,
    /// The directory of objects; with it, this is a controller.
    #[arg(long, value_name = "DIR", requires = "state")]
    objects: Option<PathBuf>,
    /// The directory of records and jobs.
    #[arg(long, value_name = "DIR", requires = "objects")]
    state: Option<PathBuf>,
    /// Ends when there is no object left, instead of waiting for more.
    #[arg(long, requires = "objects")]
    until_empty: bool,
    /// Lines of JSON instead of text.
    #[arg(long)]
    json: bool,
}

impl Flags {
    fn backend(&self, state: &Path) -> Result<Backend, Failure> {
        let provider = ProcessProvider {
            directory: state.join("jobs"),
            create: self.create.clone(),
            delete: self.delete.clone(),
            touch: self.touch.clone(),
        };
        let mut backend = Backend::of(Arc::new(provider), true)?;
        // Processes are cheap to try again.
        let mut policy = backend.lifecycle.policy().config().clone();
        policy.backoff.base = SignedDuration::from_secs(1);
        backend.lifecycle = Lifecycle::new(Policy::new(policy)?);
        Ok(backend)
    }
}

pub(crate) async fn run(flags: &Flags) -> Result<(), Failure> {
    let mut report = Report::new(flags.json);
    if let (Some(objects), Some(state)) = (&flags.objects, &flags.state) {
        let backend = flags.backend(state)?;
        let directories = Directories {
            objects: objects.clone(),
            state: state.clone(),
            until_empty: flags.until_empty,
        };
        return control(&backend, &directories, &mut report).await;
    }
    let state = tempfile::tempdir()?;
    let backend = flags.backend(state.path())?;
    let store = FileStore::open(state.path())?;
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/manifests/compute-instance.yaml"
    );
    let vm = object(&manifest(Path::new(path))?, None)?;
    backend.drive(&store, &vm, &mut report, applied).await?;
    touch(&backend, &store, &vm, &mut report).await?;
    let vm = deleted(&vm)?;
    let gone = Outcome::may_release;
    backend.drive(&store, &vm, &mut report, gone).await?;
    let jobs = std::fs::read_dir(state.path().join("jobs"))?.count();
    let text = format!("\nDone: {jobs} processes: to create, to touch and to delete.");
    report.result(&json!({"result": "ok", "jobs": jobs}), &text);
    Ok(())
}

/// Touches the living object: an action, asked for once, and answered once however often this runs.
async fn touch(
    backend: &Backend,
    store: &FileStore,
    vm: &Resource,
    report: &mut Report,
) -> Result<(), Failure> {
    let version = ConfigVersion::of_json(vm.spec());
    let desired = Desired::new(version, backend.provider.name())
        .with_action(ActionRequest::new("touch", "for the first time")?);
    let ended = |r: &JobRecord| r.job_type.action().is_some() && r.state.is_terminal();
    loop {
        let pass =
            backend
                .lifecycle
                .reconcile(&backend.registry, store, vm, &desired, &SystemClock);
        let outcome = pass.await;
        report.outcome(vm, &outcome);
        if outcome.records.iter().any(ended) {
            return Ok(());
        }
        let wait = outcome.wake_after(SystemClock.now());
        tokio::time::sleep(wait.ok_or("nothing more will happen")?).await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    support::exit("process_provider", run(&Flags::parse()).await)
}
