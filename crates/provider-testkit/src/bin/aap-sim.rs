//! Serves the AAP simulator: `cargo run -p provider-testkit --bin aap-sim -- --template NAME`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program speaks"
)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use provider_core::SystemClock;
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, Layout, RunPlan, Template, Weather, World};

/// A stateful simulator of the AAP controller API (AWX 24.6.1).
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8052")]
    listen: SocketAddr,
    /// A job template, as NAME or NAME@ORGANIZATION; may be given several times.
    #[arg(long = "template", value_name = "NAME")]
    templates: Vec<String>,
    /// A workflow job template, likewise.
    #[arg(long = "workflow", value_name = "NAME")]
    workflows: Vec<String>,
    /// A JSON file with a list of templates, for everything that the flags cannot say.
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
    /// Every kind of trouble, by chance, from this seed.
    #[arg(long, value_name = "SEED")]
    storm: Option<u64>,
    /// Time that every answer takes, in milliseconds.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
}

fn layout(text: &str) -> Result<Layout, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "expected controller, prefixed or gateway".to_owned())
}

fn world(options: &Options) -> Result<World, String> {
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
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        let more: Vec<Template> = serde_json::from_str(&text)
            .map_err(|error| format!("{} is not a list of templates: {error}", file.display()))?;
        templates.extend(more);
    }
    let mut world = World::with(templates);
    world.layout = options.layout;
    world.latency = Duration::from_millis(options.latency_ms);
    if let Some(admin) = world.users.first_mut() {
        admin.token.clone_from(&options.token);
    }
    Ok(world)
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let world = match world(&options) {
        Ok(world) => world,
        Err(error) => {
            eprintln!("aap-sim: {error}");
            return ExitCode::from(2);
        }
    };
    let sim = match AapSim::start_at(world, Arc::new(SystemClock), options.listen).await {
        Ok(sim) => sim,
        Err(error) => {
            eprintln!("aap-sim: cannot listen on {}: {error}", options.listen);
            return ExitCode::FAILURE;
        }
    };
    if let Some(seed) = options.storm {
        sim.weather(Some(Weather {
            max_queue_ms: options.queue_ms,
            max_run_ms: options.run_ms,
            ..Weather::stormy(seed)
        }));
    }
    println!("{}", sim.url());
    eprintln!(
        "serving; superuser token: the value of --token; controls are under {}/_sim/; stop with \
         Ctrl-C",
        sim.url()
    );
    let _ = tokio::signal::ctrl_c().await;
    ExitCode::SUCCESS
}
