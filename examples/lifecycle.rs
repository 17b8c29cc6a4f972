//! The main job: an object is provisioned, a second one is deleted in the middle of its provision
//! (cancel, wait, deprovision), and both are gone at the end.
//!
//!     cargo run --example lifecycle
//!
//! Runs on an embedded simulator. With AAP_URL and AAP_TOKEN set, or the flags of those names, it
//! does the same on a real controller; `--manifest FILE` takes another object.

mod support;

use std::process::ExitCode;

use clap::Parser;
use provider_core::lifecycle::{MemoryStore, Outcome};
use serde_json::json;
use support::{Backend, Failure, Options, Report, applied, deleted, manifest, object, running};

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    options: Options,
}

async fn run(options: &Options) -> Result<(), Failure> {
    let manifest = manifest(&options.manifest)?;
    let backend = Backend::start(options).await?;
    let mut report = Report::new(options.json);
    let first = object(&manifest, None)?;
    let second = object(&manifest, Some(&format!("{}-2", first.name())))?;
    support::preflight(&backend, first.kind(), &report).await?;
    let store = MemoryStore::new();

    report.say(&format!("\nProvisioning {}.", first.key()));
    backend.drive(&store, &first, &mut report, applied).await?;

    report.say(&format!(
        "\nProvisioning {}, to be deleted while its job runs.",
        second.key()
    ));
    backend.drive(&store, &second, &mut report, running).await?;
    let second = deleted(&second)?;
    backend
        .drive(&store, &second, &mut report, Outcome::may_release)
        .await?;
    let canceled = report.canceled.len();

    report.say(&format!("\nDeleting {}.", first.key()));
    let first = deleted(&first)?;
    backend
        .drive(&store, &first, &mut report, Outcome::may_release)
        .await?;

    // The simulator's journal says what really ran, whatever the records claim.
    if let Some(sim) = &backend.sim {
        let overlaps = sim.overlaps();
        if !overlaps.is_empty() {
            return Err(format!("jobs of one object ran at the same time: {overlaps:?}").into());
        }
    }
    let result = json!({
        "result": "ok", "provisioned": 1, "deprovisioned": 2,
        "canceled_before_deprovision": canceled,
    });
    report.result(
        &result,
        &format!("\nDone: 1 provisioned, {canceled} canceled in mid-provision, 2 deprovisioned."),
    );
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    support::exit("lifecycle", run(&Flags::parse().options).await)
}
