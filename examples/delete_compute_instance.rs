//! Deprovisions the object of a manifest and waits until it may go.
//!
//!     cargo run --example delete_compute_instance -- --manifest vm.yaml
//!
//! The embedded simulator begins empty, so there the object is provisioned first.

mod support;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use provider_core::lifecycle::{MemoryStore, Outcome, Standing, StatusStore};
use provider_testkit::FileStore;
use serde_json::json;
use support::{Backend, Failure, Options, Report, applied, deleted, manifest, object};

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
    if backend.sim.is_some() {
        backend
            .drive(&*store, &resource, &mut report, applied)
            .await?;
    }
    let resource = deleted(&resource)?;
    let outcome = backend
        .drive(&*store, &resource, &mut report, Outcome::may_release)
        .await?;
    let ground = match &outcome.standing {
        Standing::Released(release) => release.ground.as_str(),
        _ => "",
    };
    report.result(
        &json!({"result": "ok", "object": resource.key().to_string(), "ground": ground}),
        &format!("Released: {} ({ground}).", resource.key()),
    );
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    support::exit("delete_compute_instance", run(&Flags::parse()).await)
}
