//! What the engine would do next about an object, and why: for the person on call.
//!
//!     kubectl get computeinstance web -o yaml | cargo run --example explain
//!     cargo run --example explain -- examples/manifests/held.yaml --now 2026-11-23T09:00:00Z
//!     cargo run --example explain -- vm.yaml --records ComputeInstance.tenant.vm.json --json
//!
//!     cargo run --example explain -- vm.yaml --target west --backend mine=cancel,find
//!
//! Reads an object and decides as the engine does, with the same function; asks no backend, and changes
//! nothing. The records are those of `status.jobs`, and the annotations are read, as `provider-kube` does
//! it; or the records are those of a file of `FileStore`. What the object does not say (what its providers
//! can do) is said by flags, and printed as `assumed`.
//!
//! A controller that has just started decides so. One that has been running also knows when it asked last:
//! where `ask` or `look for` is next at once, that one waits for its interval.

#[path = "explain/backends.rs"]
mod backends;
mod support;
#[path = "explain/text.rs"]
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use backends::{Backends, Told};
use clap::Parser;
use jiff::Timestamp;
use kube::api::DynamicObject;
use provider_core::lifecycle::{
    Desired, Explanation, Lifecycle, MemoryStore, Policy, PolicyConfig,
};
use provider_core::{Clock, ConfigVersion, JobRecord, ManualClock, Resource, SystemClock};
use provider_kube::Annotations;
use serde::{Deserialize, Serialize};
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
    /// Which of several backends of the object it is about.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Records without a target belong to this one, as the controller has it (`Desired::for_target`).
    #[arg(long, requires = "target")]
    absorbs_untagged: bool,
    /// The provider of the next launch, which also owns records that name none; that of the newest
    /// record, or `aap`, unless it is given.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// What a provider can do: aap, eda, eda-tracked, missing (the controller has no such provider),
    /// none, or some of cancel, find, assume-sent, failure-releases. `aap` and `eda` are known.
    #[arg(long = "backend", value_name = "NAME=WORD,…", value_parser = Told::parse)]
    backends: Vec<Told>,
    /// The configuration version that is wanted; that of the status, or of the spec.
    #[arg(long, value_name = "VERSION")]
    config_version: Option<String>,
    /// The policy, YAML or JSON, as the controller reads it.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The annotation that pauses an object, where the controller has another name for it.
    #[arg(long, value_name = "NAME")]
    mode_annotation: Option<String>,
    /// The annotation that asks for a retry, likewise.
    #[arg(long, value_name = "NAME")]
    retry_annotation: Option<String>,
    /// When to decide; now, unless it is given.
    #[arg(long, value_name = "TIMESTAMP")]
    now: Option<Timestamp>,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// What the decision rests on beside the records.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Assumed {
    version: ConfigVersion,
    provider: String,
    target: Option<String>,
    mode: &'static str,
    retry_request: Option<String>,
    /// What each provider can do, in words.
    backends: BTreeMap<String, String>,
    /// What a person should know about the object itself.
    notes: Vec<String>,
}

/// For machines.
#[derive(Serialize)]
struct Everything<'a> {
    #[serde(flatten)]
    explained: &'a Explanation,
    assumed: &'a Assumed,
}

/// What `FileStore` writes.
#[derive(Deserialize)]
struct StoredRecords {
    records: Vec<JobRecord>,
}

fn read(file: &std::path::Path) -> Result<String, Failure> {
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
        let text = read(&self.object)?;
        let value = support::yaml::read(&text)
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
            let stored: StoredRecords = serde_json::from_str(&read(file)?)
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

    /// The object's targets must be told apart: each has a history of its own.
    fn target(&self, records: &[JobRecord]) -> Result<Option<&str>, Failure> {
        let targets: BTreeSet<&str> = records.iter().filter_map(|r| r.target.as_deref()).collect();
        let targets: Vec<&str> = targets.into_iter().collect();
        match &self.target {
            Some(target) => Ok(Some(target)),
            None if targets.is_empty() => Ok(None),
            None => Err(format!(
                "the object has several histories: name one with --target ({})",
                targets.join(", ")
            )
            .into()),
        }
    }

    /// What is wanted, with what the annotations say, as the controller reads it.
    fn desired(&self, object: &Resource, records: &[JobRecord]) -> Result<Wanted, Failure> {
        let target = self.target(records)?;
        let mut desired = Desired::new(self.version(object), "aap");
        if let Some(target) = target {
            desired = desired.for_target(target);
            desired.absorbs_untagged = self.absorbs_untagged;
        }
        let mut mine = records.iter().rev().filter(|record| desired.owns(record));
        let newest = mine.find_map(|record| record.provider.clone());
        if let Some(provider) = self.provider.clone().or(newest) {
            desired.provider = provider;
        }
        let view: DynamicObject = serde_json::from_value(Value::Object(object.object().clone()))
            .map_err(|error| format!("the object's metadata cannot be read: {error}"))?;
        // In the group of the kind, as a provisioner has them.
        let types = view.types.as_ref();
        let group = types.and_then(|types| types.api_version.split_once('/'));
        let mut names = Annotations::of_group(group.map_or("", |(group, _)| group));
        if let Some(name) = &self.mode_annotation {
            names.mode = vec![name.clone()];
        }
        if let Some(name) = &self.retry_annotation {
            names.retry = vec![name.clone()];
        }
        let (desired, wrong) = names.applied_to(&desired, &view);
        let seen = view.data.pointer("/status/observedGeneration");
        let stale = seen
            .and_then(Value::as_i64)
            .filter(|seen| view.metadata.generation.is_some_and(|now| now > *seen))
            .map(|seen| {
                format!(
                    "the controller has not yet looked at the newest spec: its status is about generation {seen}"
                )
            });
        Ok(Wanted {
            desired,
            notes: wrong.into_iter().chain(stale).collect(),
        })
    }

    fn policy(&self) -> Result<Policy, Failure> {
        let config = match &self.policy {
            Some(file) => serde_norway::from_str(&read(file)?)
                .map_err(|error| format!("{} is no policy: {error}", file.display()))?,
            None => PolicyConfig::default(),
        };
        Ok(Policy::new(config)?)
    }

    async fn run(&self) -> Result<(), Failure> {
        let object = self.object()?;
        let records = self.records(&object)?;
        let Wanted { desired, notes } = self.desired(&object, &records)?;
        let backends = Backends::new(&self.backends)?;
        let (registry, backends) = backends.registry(&records, &desired)?;
        let store = MemoryStore::new();
        store.overwrite(object.key(), records);
        let now = self.now.unwrap_or_else(|| SystemClock.now());
        let explained = Lifecycle::new(self.policy()?)
            .explain(&registry, &store, &object, &desired, &ManualClock::new(now))
            .await?;
        let assumed = Assumed {
            version: desired.version,
            provider: desired.provider,
            target: desired.target,
            mode: desired.mode.as_str(),
            retry_request: desired.retry_request,
            backends,
            notes,
        };
        if self.json {
            let everything = Everything {
                explained: &explained,
                assumed: &assumed,
            };
            support::print(&serde_json::to_string_pretty(&everything)?);
        } else {
            support::print(&text::of(&explained, &assumed, now));
        }
        Ok(())
    }
}

/// What is wanted, and what a person should know about it.
struct Wanted {
    desired: Desired,
    notes: Vec<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    support::exit("explain", Flags::parse().run().await)
}
