//! What the examples share: flags, the backend, the loop that every controller has, and output.

#![allow(dead_code, reason = "every example uses a part of it")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "programs speak")]

pub(crate) mod files;
pub(crate) mod phases;
pub(crate) mod rulebook;
pub(crate) mod yaml;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use jiff::SignedDuration;
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig, Timing};
use provider_core::lifecycle::{
    Desired, Event, EventKind, Lifecycle, Outcome, Policy, PolicyConfig, ProviderRegistry,
    Standing, StatusStore,
};
use provider_core::{Clock, ConfigVersion, JobState, JobType, Provider, Resource, SystemClock};
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, RunPlan, Template, World};
use serde_json::{Value, json};

pub(crate) type Failure = Box<dyn std::error::Error>;

/// Flags that all examples have. Without a URL they run on an embedded simulator.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The manifest of a ComputeInstance, YAML or JSON.
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/manifests/compute-instance.yaml"))]
    pub(crate) manifest: PathBuf,
    /// A real controller instead of the simulator; further settings are read from AAP_… variables.
    #[arg(long, env = "AAP_URL")]
    pub(crate) url: Option<String>,
    /// Its token.
    #[arg(long, env = "AAP_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Templates are named PREFIX-create-compute-instance and PREFIX-delete-compute-instance.
    #[arg(long, env = "AAP_TEMPLATE_PREFIX", default_value = "osac")]
    pub(crate) prefix: String,
    /// Lines of JSON instead of text; the last line is the result.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The backend of an example.
pub(crate) struct Backend {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) registry: ProviderRegistry,
    /// There is one unless a real controller was named.
    pub(crate) sim: Option<AapSim>,
    pub(crate) lifecycle: Lifecycle,
}

impl Backend {
    /// The controller that the flags name, or an embedded simulator of one.
    pub(crate) async fn start(options: &Options) -> Result<Self, Failure> {
        Self::with(options, None, None).await
    }

    /// The same with other times.
    pub(crate) async fn with(
        options: &Options,
        poll_interval: Option<SignedDuration>,
        windows: Option<SignedDuration>,
    ) -> Result<Self, Failure> {
        let (mut config, sim) = match &options.url {
            Some(_) => (real(options)?, None),
            None => {
                let (config, sim) = simulated(&options.prefix).await?;
                (config, Some(sim))
            }
        };
        let timing = &mut config.timing;
        timing.poll_interval = poll_interval.unwrap_or(timing.poll_interval);
        timing.visibility_window = windows.unwrap_or(timing.visibility_window);
        timing.confirm_window = windows.unwrap_or(timing.confirm_window);
        let quick = sim.is_some() || poll_interval.is_some();
        let mut backend = Self::of(Arc::new(AapProvider::new(config)?), quick)?;
        backend.sim = sim;
        Ok(backend)
    }

    /// The backend of any provider; a quick one is asked about cancels more often.
    pub(crate) fn of(provider: Arc<dyn Provider>, quick: bool) -> Result<Self, Failure> {
        let mut policy = PolicyConfig::default();
        if quick {
            policy.cancel_poll_interval = SignedDuration::from_millis(200);
        }
        Ok(Self {
            registry: ProviderRegistry::single(provider.clone()),
            lifecycle: Lifecycle::new(Policy::new(policy)?),
            provider,
            sim: None,
        })
    }

    /// The loop of a controller: reconcile, look at the outcome, sleep until it wants to be woken.
    pub(crate) async fn drive(
        &self,
        store: &dyn StatusStore,
        resource: &Resource,
        report: &mut Report,
        until: impl Fn(&Outcome) -> bool,
    ) -> Result<Outcome, Failure> {
        let look = || Ok(resource.clone());
        self.drive_seen(store, &look, report, until).await
    }

    /// The same with an object that changes: it is looked at before each pass.
    pub(crate) async fn drive_seen(
        &self,
        store: &dyn StatusStore,
        look: &dyn Fn() -> Result<Resource, Failure>,
        report: &mut Report,
        until: impl Fn(&Outcome) -> bool,
    ) -> Result<Outcome, Failure> {
        loop {
            let resource = &look()?;
            let desired = Desired::new(
                ConfigVersion::of_json(resource.spec()),
                self.provider.name(),
            );
            let outcome = self
                .lifecycle
                .reconcile(&self.registry, store, resource, &desired, &SystemClock)
                .await;
            report.outcome(resource, &outcome);
            if until(&outcome) {
                return Ok(outcome);
            }
            if let Standing::Held(_) | Standing::Blocked(_) = outcome.standing {
                let explained = self
                    .lifecycle
                    .explain(&self.registry, store, resource, &desired, &SystemClock)
                    .await?;
                return Err(format!("{explained}").into());
            }
            if let (Standing::BackingOff { .. }, Some(newest)) =
                (&outcome.standing, outcome.records.last())
            {
                return Err(
                    format!("attempt {} failed: {}", newest.attempt, newest.message).into(),
                );
            }
            let Some(wait) = outcome.wake_after(SystemClock.now()) else {
                return Err(format!("nothing more will happen: {:?}", outcome.standing).into());
            };
            tokio::time::sleep(wait.max(Duration::from_millis(10))).await;
        }
    }
}

fn real(options: &Options) -> Result<AapConfig, Failure> {
    let flags = |name: &str| match name {
        "AAP_URL" => options.url.clone(),
        "AAP_TOKEN" => options.token.clone(),
        "AAP_TEMPLATE_PREFIX" => Some(options.prefix.clone()),
        other => std::env::var(other).ok(),
    };
    Ok(AapConfig::from_vars(flags)?.with_diagnosis())
}

/// A controller that creates in three seconds and deletes in one.
pub(crate) async fn simulator(prefix: &str) -> Result<AapSim, Failure> {
    let plan = |seconds| RunPlan {
        queue: Duration::from_millis(500),
        ..RunPlan::lasting(Duration::from_secs(seconds))
    };
    let templates = [("create", 3), ("delete", 1)].map(|(action, seconds)| {
        Template::job(format!("{prefix}-{action}-compute-instance"))
            .with_labels()
            .with_plan(plan(seconds))
    });
    Ok(AapSim::start(World::with(templates), Arc::new(SystemClock)).await?)
}

pub(crate) async fn simulated(prefix: &str) -> Result<(AapConfig, AapSim), Failure> {
    let sim = simulator(prefix).await?;
    let config = AapConfig::new(sim.url(), Auth::token(ADMIN_TOKEN))
        .with_template_prefix(prefix)
        .with_diagnosis()
        .with_http(HttpConfig {
            proxy_from_environment: false,
            ..HttpConfig::default()
        })
        .with_timing(Timing {
            poll_interval: SignedDuration::from_millis(300),
            // The simulator's cancels are truthful; a real controller's are confirmed for a minute.
            confirm_window: SignedDuration::from_secs(1),
            ..Timing::default()
        });
    Ok((config, sim))
}

/// Reads a manifest.
pub(crate) fn manifest(path: &Path) -> Result<Value, Failure> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let value =
        yaml::read(&text).map_err(|error| format!("{shown} is neither YAML nor JSON: {error}"))?;
    Resource::from_json(value.clone()).map_err(|error| format!("{shown}: {error}"))?;
    Ok(value)
}

/// The object of a manifest, under another name where one is given.
pub(crate) fn object(manifest: &Value, name: Option<&str>) -> Result<Resource, Failure> {
    let mut value = manifest.clone();
    if let (Some(name), Some(metadata)) = (
        name,
        value.get_mut("metadata").and_then(Value::as_object_mut),
    ) {
        metadata.insert("name".to_owned(), json!(name));
        metadata.insert("uid".to_owned(), json!(format!("uid-of-{name}")));
    }
    Ok(Resource::from_json(value)?)
}

/// The same object once somebody has asked for its deletion.
pub(crate) fn deleted(resource: &Resource) -> Result<Resource, Failure> {
    let mut value = Value::Object(resource.object().clone());
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert(
            "deletionTimestamp".to_owned(),
            json!(SystemClock.now().to_string()),
        );
    }
    Ok(Resource::from_json(value)?)
}

pub(crate) fn applied(outcome: &Outcome) -> bool {
    matches!(outcome.standing, Standing::Applied { .. })
}

pub(crate) fn running(outcome: &Outcome) -> bool {
    matches!(
        outcome.standing,
        Standing::InProgress {
            state: JobState::Running,
            ..
        }
    )
}

/// What a person, or a machine, sees.
pub(crate) struct Report {
    json: bool,
    bar: Option<ProgressBar>,
    pub(crate) canceled: Vec<String>,
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            // Three steps of an attempt: intended, accepted, running; the fourth is its end.
            let bar = ProgressBar::new(4);
            let template = "{spinner} [{bar:20}] {wide_msg} {elapsed}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            json,
            bar,
            canceled: Vec::new(),
        }
    }

    /// A line of text for people; JSON readers get the events alone.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            _ if self.json => {}
            Some(bar) => bar.println(text),
            None => println!("{text}"),
        }
    }

    pub(crate) fn result(&self, value: &Value, text: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.json {
            println!("{value}");
        } else {
            println!("{text}");
        }
    }

    pub(crate) fn outcome(&mut self, resource: &Resource, outcome: &Outcome) {
        for event in &outcome.events {
            self.event(resource, event);
        }
        if let (Some(trouble), false) = (&outcome.trouble, self.json) {
            self.say(&format!("{}: {trouble}", resource.name()));
        }
        if let (
            Some(bar),
            Standing::InProgress {
                attempt,
                job_type,
                state,
            },
        ) = (&self.bar, &outcome.standing)
        {
            bar.set_position(match state {
                JobState::Pending | JobState::Waiting | JobState::Unknown => 2,
                JobState::Running => 3,
                JobState::Succeeded | JobState::Failed | JobState::Canceled => 4,
            });
            bar.set_message(format!(
                "{}: attempt {attempt}, {} {state}",
                resource.name(),
                job_type.as_str()
            ));
        }
    }

    fn event(&mut self, resource: &Resource, event: &Event) {
        if event.kind == EventKind::Canceled && event.job_type == JobType::Provision {
            self.canceled.push(resource.name().to_owned());
        }
        if self.json {
            println!("{}", json!({"object": resource.name(), "event": event}));
            return;
        }
        let job = event
            .job
            .as_ref()
            .map_or_else(String::new, |job| format!(" ({job})"));
        let message = if event.message.is_empty() {
            String::new()
        } else {
            format!(": {}", event.message)
        };
        let kind = match event.kind {
            EventKind::Progressed => event.state.as_str(),
            kind => kind.as_str(),
        };
        self.say(&format!(
            "{:<14} {kind:<12} attempt {} {}{job}{message}",
            resource.name(),
            event.attempt,
            event.job_type.as_str(),
        ));
    }
}

/// A line for whoever started this program.
pub(crate) fn print(line: &str) {
    println!("{line}");
}

/// Runs an example's main function; a failure is one sentence on standard error.
pub(crate) fn exit(name: &str, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Refuses to start on a configuration that cannot work.
pub(crate) async fn preflight(
    backend: &Backend,
    kind: &str,
    report: &Report,
) -> Result<(), Failure> {
    let findings = backend.provider.preflight(&[kind.to_owned()]).await;
    for line in findings.to_string().lines() {
        report.say(line);
    }
    if findings.is_ok() {
        return Ok(());
    }
    let bad = findings
        .findings
        .iter()
        .find(|finding| finding.severity == provider_core::Severity::Error);
    Err(bad
        .map_or_else(String::new, |finding| {
            format!("{}: {}; {}", finding.check, finding.message, finding.advice)
        })
        .into())
}
