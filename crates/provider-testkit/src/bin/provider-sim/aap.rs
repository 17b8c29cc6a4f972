//! `provider-sim aap`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use provider_core::SystemClock;
use provider_testkit::aap::{
    ADMIN_TOKEN, AapSim, Costs, Layout, RunPlan, Script, Template, Weather, World,
};

use crate::{Common, Failure, stopped};

/// Where AWX itself listens inside of its pod.
const PORT: u16 = 8052;

const EXAMPLES: &str = "\
Examples:
  provider-sim aap --template osac-create-compute-instance --template osac-delete-compute-instance
  provider-sim aap --template work@Default --workflow chain --layout gateway --token t0ken
  provider-sim aap --templates-file templates.yaml --listen 127.0.0.1:0 --journal jobs.jsonl
  provider-sim aap --template work --workers 5 --launch-ms 5000     # as slow as a busy one

A file of templates:
  - {name: work, plan: {queue: 0, run: 500}}
  - {name: picky, ask_variables: false, organization: Lab}
  - {name: chain, kind: workflow, required: [vlan]}   # a survey with a question

Controls, below URL/_sim/: journal, counts, load, costs, faults, weather, max_page_size, templates, plans,
  jobs/ID/end, jobs/ID/cancel, jobs/ID/reap, jobs/ID/purge, jobs/ID/break; docs/SIMULATORS.md of
  provider-testkit explains them.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(flatten)]
    common: Common,
    /// A job template, as NAME or NAME@ORGANIZATION; may be given several times.
    #[arg(long = "template", value_name = "NAME")]
    templates: Vec<String>,
    /// A workflow job template, likewise.
    #[arg(long = "workflow", value_name = "NAME")]
    workflows: Vec<String>,
    /// A YAML or JSON file with a list of templates, for everything that the flags cannot say.
    #[arg(long, value_name = "FILE")]
    templates_file: Option<PathBuf>,
    /// How long a job queues, in milliseconds.
    #[arg(long, default_value_t = 500)]
    queue_ms: u64,
    /// How long a job runs, in milliseconds.
    #[arg(long, default_value_t = 3_000)]
    run_ms: u64,
    /// Bearer token of the superuser.
    #[arg(long, env = "AAP_SIM_TOKEN", default_value = ADMIN_TOKEN, hide_env_values = true)]
    token: String,
    /// Where the API is: controller (/api/v2), prefixed (both), gateway (/api/controller/v2).
    #[arg(long, default_value = "controller", value_parser = layout)]
    layout: Layout,
    /// Time that every answer takes, in milliseconds.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    #[command(flatten)]
    pace: Pace,
}

/// A controller as slow as a real one. Any of these makes it so; the others are then as measured on AWX
/// 24.6.1. Without, it is as fast as this machine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Slowness")]
struct Pace {
    /// How many requests are worked on at once (5); the others wait. A worker goes on when its client has
    /// gone away.
    #[arg(long, value_name = "N")]
    workers: Option<u32>,
    /// How many wait for a worker at most (128); those beyond get 502.
    #[arg(long, value_name = "N")]
    worker_queue: Option<u32>,
    /// What a row of a list costs, in milliseconds (10).
    #[arg(long, value_name = "MS")]
    row_ms: Option<u64>,
    /// What any request costs, one job for one (60).
    #[arg(long, value_name = "MS")]
    detail_ms: Option<u64>,
    /// What a launch costs (150).
    #[arg(long, value_name = "MS")]
    launch_ms: Option<u64>,
    /// After so long, the web server in front answers 504 (120000).
    #[arg(long, value_name = "MS")]
    patience_ms: Option<u64>,
}

impl Pace {
    fn costs(&self) -> Option<Costs> {
        let usual = Costs::default();
        let given = [
            self.row_ms,
            self.detail_ms,
            self.launch_ms,
            self.patience_ms,
        ];
        if self.workers.or(self.worker_queue).is_none() && given.iter().all(Option::is_none) {
            return None;
        }
        let time = |given: Option<u64>, usual| given.map_or(usual, Duration::from_millis);
        let costs = usual
            .with_workers(self.workers.unwrap_or(usual.workers))
            .with_queue(self.worker_queue.unwrap_or(usual.queue))
            .with_row(time(self.row_ms, usual.row))
            .with_detail(time(self.detail_ms, usual.detail))
            .with_launch(time(self.launch_ms, usual.launch))
            .with_patience(time(self.patience_ms, usual.patience));
        Some(costs)
    }
}

fn layout(text: &str) -> Result<Layout, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "expected controller, prefixed or gateway".to_owned())
}

fn world(options: &Options) -> Result<World, Failure> {
    let plan = RunPlan {
        queue: Duration::from_millis(options.queue_ms),
        ..RunPlan::lasting(Duration::from_millis(options.run_ms))
    };
    let named = |make: fn(&str) -> Template, text: &String| {
        let (name, organization) = text.split_once('@').unwrap_or((text, "Default"));
        make(name)
            .in_organization(organization)
            .with_plan(plan.clone())
    };
    let jobs = options
        .templates
        .iter()
        .map(|t| named(|n| Template::job(n), t));
    let flows = options
        .workflows
        .iter()
        .map(|t| named(|n| Template::workflow(n), t));
    let mut templates: Vec<Template> = jobs.chain(flows).collect();
    if let Some(file) = &options.templates_file {
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
        let more: Vec<Template> = crate::read(&text).map_err(|error| {
            Failure::usage(format!("{shown} is not a list of templates: {error}"))
        })?;
        templates.extend(more);
    }
    let mut world = World::with(templates);
    world.layout = options.layout;
    world.latency = Duration::from_millis(options.latency_ms);
    world.costs = options.pace.costs();
    if let Some(admin) = world.users.first_mut() {
        admin.token.clone_from(&options.token);
    }
    Ok(world)
}

impl Options {
    pub(crate) fn listen(&self) -> SocketAddr {
        self.common.listen(PORT)
    }

    pub(crate) async fn run(self) -> Result<(), Failure> {
        let common = &self.common;
        let mut script: Script = common.script()?;
        if let Some(seed) = common.seed {
            let storm = || Weather {
                max_queue_ms: self.queue_ms,
                max_run_ms: self.run_ms,
                ..Weather::stormy(seed)
            };
            match &mut script.weather {
                Some(weather) => weather.seed = seed,
                // A script without weather says all that is to go wrong.
                None if common.faults.is_some() => {}
                None => script.weather = Some(storm()),
            }
        }
        let world = world(&self)?;
        if common.is_checked() {
            return Ok(());
        }
        let journal = common.journal()?;
        let listen = self.listen();
        let sim = AapSim::start_at(world, Arc::new(SystemClock), listen).await;
        let sim = sim.map_err(|error| Common::cannot_listen(listen, &error))?;
        let seed = script.weather.as_ref().map(|weather| weather.seed);
        sim.play(script);
        let stopped = stopped();
        Common::serves(&sim.url(), &sim.url(), seed);
        let Some(journal) = journal else {
            stopped.await;
            return Ok(());
        };
        let followed = journal.follow(|| sim.journal_changes(), stopped).await;
        followed.map_err(|error| Failure::io(format!("cannot write the journal: {error}")))
    }
}
