//! The controller: many jobs that all run, and end evenly over a while.

use std::sync::Arc;
use std::time::Duration;

use provider_core::{JobState, SystemClock};
use provider_testkit::aap::{AapSim, Ending, RunPlan, Template, World};
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use tokio::time::Instant;

use crate::support::{self, Failure};
use crate::trouble::Trouble;

/// What it says once it serves.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ready {
    pub(crate) url: String,
    /// The number of the first job; the others follow.
    pub(crate) first: u64,
}

/// How the nth job ends.
pub(crate) fn end(n: u64) -> JobState {
    if n % 50 == 7 {
        JobState::Failed
    } else {
        JobState::Succeeded
    }
}

/// Two to ten intervals, in no order: at the usual half a minute, one to five minutes.
fn life(n: u64, interval: Duration) -> Duration {
    let part = (n * 7_919 % 10_007) as f64 / 10_007.0;
    interval.mul_f64(2.0 + 8.0 * part)
}

/// Serves until it is killed.
pub(crate) async fn serve(
    jobs: u64,
    interval: Duration,
    trouble: Option<Trouble>,
) -> Result<(), Failure> {
    let world = World::with([Template::job("work")]);
    let sim = AapSim::start(world, Arc::new(SystemClock)).await?;
    let mut first = None;
    for n in 0..jobs {
        let mut plan = RunPlan::lasting(life(n, interval));
        plan.queue = Duration::ZERO;
        if end(n) == JobState::Failed {
            plan = plan.ending(Ending::Failed {
                task: "Create the machine".to_owned(),
                message: "no quota left".to_owned(),
            });
        }
        sim.plan_next("work", plan);
        let mut vars = Map::new();
        let object = json!({"metadata": {"name": format!("machine-{n}"), "namespace": "tenant"}});
        vars.insert(
            "ansible_eda".to_owned(),
            json!({"event": {"payload": object}}),
        );
        let id = sim.launch("work", &vars, &[])?;
        first.get_or_insert(id);
    }
    let ready = Ready {
        url: sim.url(),
        first: first.unwrap_or_default(),
    };
    support::print(&serde_json::to_string(&ready)?);
    if let Some(trouble) = trouble {
        trouble.happen(&sim, Instant::now(), interval).await;
    }
    std::future::pending().await
}
