//! What the engine would do next about an object, and why: for the person on call.
//!
//!     kubectl get computeinstance web -o yaml | cargo run --example explain
//!     cargo run --example explain -- examples/manifests/held.yaml --now 2026-11-23T09:00:00Z
//!     cargo run --example explain -- vm.yaml --records ComputeInstance.tenant.vm.json --json
//!
//! Reads an object and decides as the engine does, with the same function; asks no backend, and changes
//! nothing. The records are those of `status.jobs`, as `provider-kube` keeps them, or those of a file of
//! `FileStore`.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use jiff::Timestamp;
use provider_aap::{AapConfig, AapProvider, Auth};
use provider_core::lifecycle::{
    Desired, Explanation, Lifecycle, MemoryStore, Policy, PolicyConfig, ProviderRegistry,
};
use provider_core::{
    Clock, ConfigVersion, JobRecord, ManualClock, Provider, Resource, SystemClock,
};
use provider_eda::{EdaConfig, EdaProvider, Endpoints, RulebookWebhook};
use serde::Deserialize;
use serde_json::Value;
use support::Failure;

#[derive(Debug, Parser)]
struct Flags {
    /// The object, YAML or JSON; `-` is standard input.
    #[arg(default_value = "-", value_name = "FILE")]
    object: PathBuf,
    /// A file of `FileStore` with the records, where the object's status has none.
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    /// The provider of the next launch; that of the newest record, unless it is given.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// What such providers can do, where their name does not tell.
    #[arg(long)]
    backend: Option<Kind>,
    /// The configuration version that is wanted; that of the status, or of the spec.
    #[arg(long, value_name = "VERSION")]
    config_version: Option<String>,
    /// The policy, YAML or JSON, as the controller reads it.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// When to decide; now, unless it is given.
    #[arg(long, value_name = "TIMESTAMP")]
    now: Option<Timestamp>,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Aap,
    Eda,
}

/// What `FileStore` writes.
#[derive(Deserialize)]
struct StoredRecords {
    records: Vec<JobRecord>,
}

fn text(file: &std::path::Path) -> Result<String, Failure> {
    if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    let shown = file.display();
    Ok(std::fs::read_to_string(file).map_err(|error| format!("cannot read {shown}: {error}"))?)
}

impl Flags {
    fn object(&self) -> Result<Resource, Failure> {
        let shown = match self.object.to_str() {
            Some("-") | None => "standard input".to_owned(),
            Some(name) => name.to_owned(),
        };
        let text = text(&self.object)?;
        let value: Value = serde_norway::from_str(&text)
            .map_err(|error| format!("{shown} is neither YAML nor JSON: {error}"))?;
        if value.get("kind").and_then(Value::as_str) == Some("List") {
            return Err(format!("{shown} holds several objects; name one").into());
        }
        Ok(Resource::from_json(value).map_err(|error| {
            format!("{shown}: {error}; `kubectl get KIND NAME -o yaml` prints an object")
        })?)
    }

    fn records(&self, object: &Resource) -> Result<Vec<JobRecord>, Failure> {
        if let Some(file) = &self.records {
            let stored: StoredRecords = serde_json::from_str(&text(file)?)
                .map_err(|error| format!("{} holds no records: {error}", file.display()))?;
            return Ok(stored.records);
        }
        let status = object.object().get("status");
        let jobs = status.and_then(|status| status.get("jobs")).cloned();
        let jobs = jobs.filter(|jobs| !jobs.is_null());
        let Some(jobs) = jobs else {
            return Ok(Vec::new());
        };
        Ok(serde_json::from_value(jobs)
            .map_err(|error| format!("status.jobs are no records of this engine: {error}"))?)
    }

    fn version(&self, object: &Resource) -> ConfigVersion {
        let status = object.object().get("status");
        let of_status = status.and_then(|status| status.get("desiredConfigVersion"));
        let given = self.config_version.as_deref();
        match given.or(of_status.and_then(Value::as_str)) {
            Some(version) => ConfigVersion::from_text(version),
            None => ConfigVersion::of_json(object.spec()),
        }
    }

    /// A provider of this name, to know what it can do. It is asked nothing.
    fn backend(&self, name: &str) -> Result<Arc<dyn Provider>, Failure> {
        let by_name = if name.contains("eda") {
            Kind::Eda
        } else {
            Kind::Aap
        };
        Ok(match self.backend.unwrap_or(by_name) {
            Kind::Aap => {
                let mut config = AapConfig::new("http://localhost", Auth::token("none"));
                name.clone_into(&mut config.name);
                Arc::new(AapProvider::new(config)?)
            }
            Kind::Eda => {
                let nowhere = Endpoints::new("http://localhost/create", "http://localhost/delete");
                let config = EdaConfig::new(RulebookWebhook::new(nowhere)).with_name(name);
                Arc::new(EdaProvider::new(config)?)
            }
        })
    }

    fn policy(&self) -> Result<Policy, Failure> {
        let config = match &self.policy {
            Some(file) => serde_norway::from_str(&text(file)?)
                .map_err(|error| format!("{} is no policy: {error}", file.display()))?,
            None => PolicyConfig::default(),
        };
        Ok(Policy::new(config)?)
    }

    async fn run(&self) -> Result<(), Failure> {
        let object = self.object()?;
        let records = self.records(&object)?;
        let newest = records
            .iter()
            .rev()
            .find_map(|record| record.provider.clone());
        let wanted = self.provider.clone().or(newest);
        let wanted = wanted.unwrap_or_else(|| "aap".to_owned());
        let mut names: BTreeSet<String> = records
            .iter()
            .filter_map(|record| record.provider.clone())
            .collect();
        names.insert(wanted.clone());
        let mut registry = ProviderRegistry::new();
        for name in &names {
            registry = registry.with(self.backend(name)?)?;
        }
        let store = MemoryStore::new();
        store.overwrite(object.key(), records);
        let desired = Desired::new(self.version(&object), &wanted);
        let now = self.now.unwrap_or_else(|| SystemClock.now());
        let explained = Lifecycle::new(self.policy()?)
            .explain(&registry, &store, &object, &desired, &ManualClock::new(now))
            .await?;
        if self.json {
            support::print(&serde_json::to_string_pretty(&explained)?);
        } else {
            support::print(&table(&explained, now));
        }
        Ok(())
    }
}

/// How long ago, or how long from now.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs();
    let (count, unit) = match seconds.abs() {
        0..120 => (seconds.abs(), "s"),
        120..7_200 => (seconds.abs() / 60, "min"),
        7_200..172_800 => (seconds.abs() / 3_600, "h"),
        _ => (seconds.abs() / 86_400, "d"),
    };
    match seconds >= 0 {
        true => format!("{count} {unit} ago"),
        false => format!("in {count} {unit}"),
    }
}

fn table(explained: &Explanation, now: Timestamp) -> String {
    let mut rows = vec![["attempt", "type", "state", "since", "job", "why"].map(str::to_owned)];
    for evidence in explained.attempts.iter().rev() {
        let alive = if evidence.live { " (may be live)" } else { "" };
        let why = [
            evidence.reason.as_deref().unwrap_or_default(),
            &evidence.message,
        ];
        rows.push([
            evidence.attempt.to_string(),
            evidence.job_type.to_string(),
            format!("{}{alive}", evidence.state),
            evidence
                .since
                .map_or_else(|| "-".to_owned(), |at| ago(at, now)),
            evidence.job.clone().unwrap_or_else(|| "-".to_owned()),
            why.into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(": "),
        ]);
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut text = format!("{}\n\n", explained.object);
    if explained.attempts.is_empty() {
        text.push_str("no attempts yet\n");
    } else {
        for row in &rows {
            let cells = row.iter().zip(&widths);
            let line: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            let _ = writeln!(text, "{}", line.join("  ").trim_end());
        }
    }
    let _ = writeln!(text, "\nnext:     {}", explained.next);
    let _ = writeln!(text, "because:  {}", explained.because);
    if !explained.advice.is_empty() {
        let _ = writeln!(text, "advice:   {}", explained.advice);
    }
    if explained.escalated {
        let _ = writeln!(
            text,
            "notice:   this takes longer than the policy's escalateAfter"
        );
    }
    let _ = match explained.wake_at {
        Some(at) if at <= now => write!(text, "wake-up:  now"),
        Some(at) => write!(text, "wake-up:  {} ({at})", ago(at, now)),
        None => write!(text, "wake-up:  when the object changes"),
    };
    text
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    support::exit("explain", Flags::parse().run().await)
}
