//! The check to run after a change of the configuration: creates an instance, waits, verifies,
//! deletes it, verifies, and tells how long each phase took.
//!
//!     cargo run --example test_compute_instance -- --provider aap,eda --repeat 3
//!
//! Runs on embedded simulators. With `--real` it uses the backends of the environment (the `AAP_…`
//! and `EDA_…` variables), of which the flags override some:
//!
//!     cargo run --example test_compute_instance -- --real --provider aap --url https://aap.example.com
//!
//! An event's end is seen on the object, so real EDA needs an object that exists, and a command that
//! prints it: `--observe 'kubectl get computeinstance web -n blue -o json'`. The cluster itself is not
//! changed: its deletion is told to the automation, not to Kubernetes. So the object still says which
//! version was applied when the check is over: before the next one, change its spec, or remove that
//! annotation.

mod support;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use provider_core::lifecycle::{Ground, MemoryStore, Outcome, Standing};
use provider_core::{Clock, ConfigVersion, JobRecord, JobState, JobType, Resource, SystemClock};
use provider_eda::{Completion, ProviderConfig};
use provider_testkit::aap::AapSim;
use serde_json::{Value, json};
use support::phases::{Phases, Row, table};
use support::rulebook::Eda;
use support::{Backend, Failure, Options, Report, applied, deleted, manifest, object};

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    options: Options,
    /// The providers to test, one after the other: `aap`, `eda`, or `aap,eda` to compare them.
    #[arg(long, value_delimiter = ',', default_value = "aap", value_parser = ["aap", "eda"])]
    provider: Vec<String>,
    /// How many instances are created and deleted with each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    repeat: u32,
    /// Real backends instead of simulators.
    #[arg(long)]
    real: bool,
    /// Where create events go.
    #[arg(long, env = "EDA_CREATE_URL")]
    create_url: Option<String>,
    /// Where delete events go.
    #[arg(long, env = "EDA_DELETE_URL")]
    delete_url: Option<String>,
    /// `rulebook-webhook` or `event-stream`.
    #[arg(long, env = "EDA_TRANSPORT", default_value = "rulebook-webhook")]
    transport: String,
    /// The token of the webhook, or of the event stream.
    #[arg(long, env = "EDA_TOKEN", hide_env_values = true)]
    eda_token: Option<String>,
    /// A command of the shell that prints the object as JSON; needed for real EDA.
    #[arg(long, value_name = "COMMAND")]
    observe: Option<String>,
    /// Simulated EDA is watched by its marks on the object alone, not by the label of the job.
    #[arg(long)]
    untracked: bool,
}

/// Where the object is, as the automation leaves it.
enum Objects {
    /// It never changes: this backend tells everything itself.
    Fixed(Resource),
    /// In the cluster of the simulated playbooks.
    Simulated(Resource, Arc<Eda>),
    /// Printed by a command.
    Observed(String),
}

impl Objects {
    fn look(&self) -> Result<Resource, Failure> {
        match self {
            Self::Fixed(resource) => Ok(resource.clone()),
            Self::Simulated(resource, world) => {
                let object = world
                    .objects
                    .get(resource.namespace().unwrap_or_default(), resource.name());
                Ok(Resource::from_json(object.ok_or("the object is gone")?)?)
            }
            Self::Observed(command) => {
                let output = std::process::Command::new("sh")
                    .args(["-c", command])
                    .output()?;
                if !output.status.success() {
                    let said = String::from_utf8_lossy(&output.stderr);
                    return Err(format!("--observe failed: {}", said.trim()).into());
                }
                let object: Value = serde_json::from_slice(&output.stdout)
                    .map_err(|error| format!("--observe does not print JSON: {error}"))?;
                Ok(Resource::from_json(object)?)
            }
        }
    }
}

/// One provider with its simulators.
struct Subject {
    backend: Backend,
    /// By which annotation the end of a creation is known, where it is known so.
    signs: Option<Completion>,
    aap: Option<Arc<AapSim>>,
    eda: Option<Arc<Eda>>,
}

impl Subject {
    async fn start(flags: &Flags, name: &str) -> Result<Self, Failure> {
        if flags.real {
            if name == "eda" && flags.observe.is_none() {
                return Err(
                    "the end of an event is seen on the object: set --observe to a command \
                            that prints it as JSON"
                        .into(),
                );
            }
            let config = ProviderConfig::from_vars(|variable| flags.variable(name, variable))?;
            let signs = match &config {
                ProviderConfig::Eda(config) => Some(config.completion.clone()),
                _ => None,
            };
            return Ok(Self {
                backend: Backend::of(config.build()?, false)?,
                signs,
                aap: None,
                eda: None,
            });
        }
        let prefix = &flags.options.prefix;
        let (config, aap, eda) = if name == "eda" {
            let (config, eda) = support::rulebook::start(prefix, !flags.untracked).await?;
            (
                ProviderConfig::Eda(Box::new(config)),
                Arc::clone(&eda.aap),
                Some(Arc::new(eda)),
            )
        } else {
            let (config, aap) = support::simulated(prefix).await?;
            (ProviderConfig::Aap(Box::new(config)), Arc::new(aap), None)
        };
        Ok(Self {
            backend: Backend::of(config.build()?, true)?,
            signs: None,
            aap: Some(aap),
            eda,
        })
    }

    fn objects(&self, flags: &Flags, resource: &Resource) -> Objects {
        match (&self.eda, &flags.observe) {
            (Some(world), _) => {
                world.objects.put(Value::Object(resource.object().clone()));
                Objects::Simulated(resource.clone(), Arc::clone(world))
            }
            (None, Some(command)) => Objects::Observed(command.clone()),
            (None, None) => Objects::Fixed(resource.clone()),
        }
    }
}

impl Flags {
    /// The environment, with the flags before it.
    fn variable(&self, provider: &str, name: &str) -> Option<String> {
        let given = match name {
            "PROVISIONING_PROVIDER" => Some(provider.to_owned()),
            "AAP_URL" => self.options.url.clone(),
            "AAP_TOKEN" => self.options.token.clone(),
            "AAP_TEMPLATE_PREFIX" => Some(self.options.prefix.clone()),
            "EDA_CREATE_URL" => self.create_url.clone(),
            "EDA_DELETE_URL" => self.delete_url.clone(),
            "EDA_TRANSPORT" => Some(self.transport.clone()),
            "EDA_TOKEN" => self.eda_token.clone(),
            _ => None,
        };
        given.or_else(|| std::env::var(name).ok())
    }
}

/// What went wrong although the engine is content.
fn verify(holds: bool, what: &str) -> Result<(), Failure> {
    if holds {
        return Ok(());
    }
    Err(format!("verification failed: {what}").into())
}

fn newest(outcome: &Outcome, job_type: JobType) -> Result<&JobRecord, Failure> {
    let mut records = outcome.records.iter().rev();
    let found = records.find(|record| record.job_type == job_type);
    found.ok_or_else(|| "there is no record of the job".into())
}

/// One instance: created, verified, deleted, verified.
async fn life(
    flags: &Flags,
    subject: &Subject,
    resource: &Resource,
    report: &mut Report,
) -> Result<[Phases; 2], Failure> {
    let (backend, store) = (&subject.backend, MemoryStore::new());
    let objects = subject.objects(flags, resource);
    let resource = objects.look()?;
    let version = ConfigVersion::of_json(resource.spec());
    if let Some(signs) = &subject.signs {
        let sign = signs.version_annotation(&resource);
        // It would pass for the end of what has not begun.
        verify(
            resource.annotation(&sign) != Some(version.as_str()),
            &format!(
                "the object says already that this version was applied; change its spec, or remove \
                 its annotation {sign}"
            ),
        )?;
    }
    let events = || {
        subject
            .eda
            .as_ref()
            .map_or(0, |world| world.eda.journal().len())
    };
    let events_before = events();
    let jobs_before = subject.aap.as_ref().map_or(0, |aap| aap.journal().len());

    let began = SystemClock.now();
    let outcome = backend
        .drive_seen(&store, &|| objects.look(), report, applied)
        .await?;
    let record = newest(&outcome, JobType::Provision)?;
    let created = Phases::of(record, began, SystemClock.now());
    let is_applied = matches!(&outcome.standing, Standing::Applied { version: v } if *v == version);
    verify(is_applied, "another version was applied")?;
    verify(
        record.state == JobState::Succeeded,
        "the provision job did not succeed",
    )?;
    if let Some(aap) = &subject.aap {
        let runs = aap.journal().split_off(jobs_before);
        verify(runs.len() == 1, "not exactly one job ran")?;
        verify(
            runs.iter().all(|run| run.succeeded),
            "the job did not do its work",
        )?;
    }

    let began = SystemClock.now();
    let look = || deleted(&objects.look()?);
    let outcome = backend
        .drive_seen(&store, &look, report, Outcome::may_release)
        .await?;
    let record = newest(&outcome, JobType::Deprovision)?;
    let removed = Phases::of(record, began, SystemClock.now());
    let by_job =
        matches!(&outcome.standing, Standing::Released(r) if r.ground == Ground::Deprovisioned);
    verify(
        by_job,
        "the object was let go without a successful deprovision job",
    )?;
    verify(outcome.receipt.is_none(), "something may be left behind")?;
    if let Some(aap) = &subject.aap {
        let runs = aap.journal().split_off(jobs_before);
        verify(runs.len() == 2, "not exactly two jobs ran")?;
        verify(
            runs.iter().all(|run| run.succeeded),
            "a job did not do its work",
        )?;
        verify(aap.overlaps().is_empty(), "two jobs ran at the same time")?;
    }
    if subject.eda.is_some() {
        verify(
            events() == events_before + 2,
            "an event was sent twice, or not at all",
        )?;
    }
    Ok([created, removed])
}

async fn run(flags: &Flags) -> Result<(), Failure> {
    if flags.observe.is_some() && (flags.repeat > 1 || flags.provider.len() > 1) {
        return Err(
            "--observe shows one object, whose signs of the first run would pass for those of \
                    the next: leave --repeat out, and name one provider"
                .into(),
        );
    }
    let manifest = manifest(&flags.options.manifest)?;
    let mut report = Report::new(flags.options.json);
    let mut rows = Vec::new();
    for name in &flags.provider {
        let subject = Subject::start(flags, name).await?;
        let first = object(&manifest, None)?;
        report.say(&format!("\nTesting {name}."));
        support::preflight(&subject.backend, first.kind(), &report).await?;
        let (mut created, mut removed) = (Vec::new(), Vec::new());
        for n in 1..=flags.repeat {
            let name = (flags.repeat > 1).then(|| format!("{}-{n}", first.name()));
            let resource = object(&manifest, name.as_deref())?;
            let [create, delete] = life(flags, &subject, &resource, &mut report).await?;
            created.push(create);
            removed.push(delete);
        }
        for (action, jobs) in [("create", created), ("delete", removed)] {
            let provider = subject.backend.provider.name().to_owned();
            rows.push(Row {
                provider,
                action,
                jobs,
            });
        }
    }
    let json: Vec<Value> = rows.iter().map(Row::json).collect();
    report.result(
        &json!({"result": "ok", "repeat": flags.repeat, "phases": json}),
        &format!(
            "{}\n\nAll verified: created, applied, deleted, nothing left.",
            table(&rows)
        ),
    );
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    support::exit("test_compute_instance", run(&Flags::parse()).await)
}
