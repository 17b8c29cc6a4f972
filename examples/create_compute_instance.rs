//! Provisions the object of a manifest and waits until it is applied.
//!
//!     cargo run --example create_compute_instance -- --manifest vm.yaml
//!
//! On a real controller the records are kept in `--state DIR`, so that the program may be stopped
//! and started at any moment, and so that `delete_compute_instance` knows what was done.

mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use provider_core::JobRecord;
use provider_core::lifecycle::{MemoryStore, StatusStore};
use provider_testkit::FileStore;
use serde_json::json;
use support::{Backend, Failure, Options, Report, applied, manifest, object};

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    options: Options,
    /// Where records are kept when the controller is a real one.
    #[arg(long, value_name = "DIR", default_value = ".provider-state")]
    state: PathBuf,
}

async fn run(flags: &Flags) -> Result<(), Failure> {
    let resource = object(&manifest(&flags.options.manifest)?, None)?;
    let backend = Backend::start(&flags.options).await?;
    let mut report = Report::new(flags.options.json);
    support::preflight(&backend, resource.kind(), &report).await?;
    let store: Box<dyn StatusStore> = match backend.sim {
        Some(_) => Box::new(MemoryStore::new()),
        None => Box::new(FileStore::open(&flags.state)?),
    };
    let outcome = backend
        .drive(&*store, &resource, &mut report, applied)
        .await?;
    let newest = outcome.records.last();
    let job = newest.and_then(JobRecord::job_ref);
    report.result(
        &json!({"result": "ok", "object": resource.key().to_string(), "job": job}),
        &format!(
            "Applied: {} by {}.",
            resource.key(),
            job.as_ref().map_or_else(String::new, ToString::to_string)
        ),
    );
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    support::exit("create_compute_instance", run(&Flags::parse()).await)
}
