//! The provider against a real ansible-rulebook, whose jobs run on the AAP simulator.
//!
//! ```sh
//! scripts/test-rulebook.sh    # installs ansible-rulebook and runs this
//! ```
//!
//! Needs the program's path as its argument, or `ansible-rulebook` in the `PATH`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a check that panics has failed, and says so"
)]

mod encoding;
mod engine;
mod lane;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lane::{CREATE, DELETE, Lane, config, provider, webhook};
use provider_core::{
    Clock, Effect, ErrorKind, JobState, ManualClock, Provider, SystemClock, TriggerError,
};
use provider_eda::{EdaProvider, Encoding, Endpoints, Hmac};
use provider_testkit::aap::{AapSim, RunPlan, Template, World};
use serde_json::json;

async fn refused(lane: &mut Lane, eda: &EdaProvider, name: &str) -> (Effect, ErrorKind) {
    let request = lane.request(name);
    match eda.trigger_provision(&request).await.unwrap_err() {
        TriggerError::NotLaunched(error) => (error.effect(), error.kind()),
        TriggerError::Ambiguous(error) => panic!("{name} is in doubt: {error}"),
    }
}

#[tokio::main]
async fn main() {
    let program = std::env::args().nth(1);
    let dir = tempfile::tempdir().unwrap();
    let plan = RunPlan {
        queue: Duration::ZERO,
        ..RunPlan::lasting(Duration::from_millis(300))
    };
    let world = World::with(
        [CREATE, DELETE].map(|name| Template::job(name).with_labels().with_plan(plan.clone())),
    );
    let mut lane = Lane {
        program: PathBuf::from(program.as_deref().unwrap_or("ansible-rulebook")),
        dir: dir.path().to_owned(),
        aap: AapSim::start(world, Arc::new(SystemClock)).await.unwrap(),
        objects: BTreeMap::new(),
        next: 0,
    };
    let refusal = (Effect::Rejected, ErrorKind::Unauthorized);

    let token = json!({"token": "lane-token"});
    let mut rulebook = lane.rulebook("parallel", "parallel", &token).await;
    let eda = provider(webhook(&rulebook).with_token("lane-token"), 30);
    let kinds = ["ComputeInstance".to_owned()];
    let report = eda.preflight(&kinds).await;
    assert!(report.is_ok(), "{report}");
    println!("ok: preflight");

    lane.whole_life(&eda, "vm").await;
    assert_eq!(lane.jobs("vm"), 2);
    println!("ok: create, Unknown, Succeeded; delete, Running, Succeeded");

    engine::seed_scenario(&mut lane, &rulebook).await;
    println!(
        "ok: the same through the engine, released within one poll of the finalizer's removal"
    );

    for token in [None, Some("wrong")] {
        let mut hook = webhook(&rulebook);
        hook.token = token.map(|token| token.to_owned().into());
        assert_eq!(
            refused(&mut lane, &provider(hook, 30), "denied").await,
            refusal
        );
    }
    println!("ok: a wrong token and a missing one are refused");

    let mut elsewhere = webhook(&rulebook).with_token("lane-token");
    elsewhere.endpoints = Endpoints::one(format!("http://127.0.0.1:{}/no-rule", rulebook.port));
    let elsewhere = provider(elsewhere, 30);
    let unmatched = lane.create(&elsewhere, "unmatched").await;
    // An event behind it that was worked off shows that its turn has passed.
    lane.whole_life(&eda, "after").await;
    let object = lane.object("unmatched");
    let status = elsewhere.status(&object, &unmatched).await.unwrap();
    assert_eq!(
        (status.state, lane.jobs("unmatched")),
        (JobState::Unknown, 0)
    );
    println!("ok: an event that no rule fits is taken and stays Unknown");

    lane.tracked(&rulebook).await;
    println!("ok: jobs are seen by the label that the rulebook gives them, and canceled");

    lane.twenty(&eda, "parallel").await;
    let at_once = lane.at_once("parallel");
    assert!(at_once > 1, "no two jobs ran at once");
    println!("ok: 20 objects at once, parallel: {at_once} jobs at work at once");

    rulebook.stop();
    // With connections of its own: on one that is left over, an event may be in doubt.
    let eda = provider(webhook(&rulebook).with_token("lane-token"), 30);
    let stopped = refused(&mut lane, &eda, "stopped").await;
    assert_eq!(stopped, (Effect::NotSent, ErrorKind::Unavailable));
    println!("ok: with the rulebook stopped, events are known not to be sent");

    for (name, encoding) in [("hex", Encoding::Hex), ("base64", Encoding::Base64)] {
        let source = json!({
            "hmac_secret": "lane-secret", "hmac_format": name, "hmac_header": "X-Lane-Signature",
        });
        let rulebook = lane.rulebook(name, "parallel", &source).await;
        let hmac = |secret: &str| {
            Hmac::new(secret.to_owned())
                .with_encoding(encoding)
                .with_header("X-Lane-Signature")
        };
        let eda = provider(webhook(&rulebook).with_hmac(hmac("lane-secret")), 30);
        let before = lane.jobs("");
        let report = eda.preflight(&kinds).await;
        assert!(
            report.is_ok() && report.to_string().contains("takes our credential"),
            "{report}"
        );
        lane.whole_life(&eda, name).await;
        let eda = provider(webhook(&rulebook).with_hmac(hmac("other")), 30);
        let report = eda.preflight(&kinds).await;
        assert!(
            !report.is_ok() && report.to_string().contains("our signature"),
            "{report}"
        );
        let unsigned = provider(webhook(&rulebook), 30);
        let report = unsigned.preflight(&kinds).await;
        assert!(
            report.to_string().contains("expects a signature"),
            "{report}"
        );
        assert_eq!(lane.jobs(""), before + 2, "a preflight has launched a job");
        assert_eq!(refused(&mut lane, &eda, "forged").await, refusal);
        assert_eq!(refused(&mut lane, &unsigned, "unsigned").await, refusal);
    }
    println!(
        "ok: HMAC in hex and in base64, tried out by the preflight; a wrong and a missing signature are \
         refused"
    );

    let rulebook = lane.rulebook("sequential", "sequential", &json!({})).await;
    let eda = provider(webhook(&rulebook), 120);
    lane.twenty(&eda, "sequential").await;
    assert_eq!(lane.at_once("sequential"), 1, "two jobs ran at once");
    println!("ok: 20 objects at once, sequential: one job at work at a time");

    timed_out_and_launched(&mut lane, &rulebook).await;

    killed(&mut lane, rulebook).await;

    let python = lane.program.with_file_name("python");
    let bodies = encoding::judged_by_pyyaml(&python, &lane.dir).await;
    println!("ok: {bodies} bodies for event streams are to PyYAML what they are to JSON");
    println!(
        "ansible-rulebook is satisfied: {} jobs were launched",
        lane.jobs("")
    );
}

/// A sender that has given up says nothing about its event.
async fn timed_out_and_launched(lane: &mut Lane, rulebook: &lane::Rulebook) {
    const EVENTS: usize = 17;
    // The first job holds up all others until the last sender has given up.
    lane.aap
        .plan_next(CREATE, RunPlan::lasting(Duration::from_secs(4)));
    let hasty = provider(webhook(rulebook), 2);
    let names: Vec<String> = (0..EVENTS).map(|n| format!("hasty-{n}")).collect();
    let requests: Vec<_> = names.iter().map(|name| lane.request(name)).collect();
    let sent = futures::future::join_all(requests.iter().map(|r| hasty.trigger_provision(r))).await;
    let mut late = 0;
    for result in sent {
        match result {
            Ok(_) => {}
            Err(TriggerError::Ambiguous(error)) => {
                assert_eq!(
                    (error.effect(), error.kind()),
                    (Effect::MaybeSent, ErrorKind::Timeout)
                );
                late += 1;
            }
            Err(TriggerError::NotLaunched(error)) => panic!("{error}"),
        }
    }
    assert!(late > 0, "nobody had to wait");
    lane.launched("hasty", EVENTS).await;
    for (name, request) in names.iter().zip(&requests) {
        assert_eq!(lane.launches_of(&request.token), 1, "{name}");
    }
    println!("ok: {late} of {EVENTS} senders timed out, and all {EVENTS} events were launched");
}

/// The process dies with events in its queue: creations, and a deletion.
async fn killed(lane: &mut Lane, mut rulebook: lane::Rulebook) {
    let clock = Arc::new(ManualClock::new(SystemClock.now()));
    let eda = EdaProvider::with_clock(config(webhook(&rulebook), 120), clock.clone()).unwrap();
    let made = lane.create(&eda, "killed-marked").await;
    lane.wait(&eda, "killed-marked", &made).await;
    lane.aap
        .plan_next(CREATE, RunPlan::lasting(Duration::from_secs(2)));
    let first = lane.create(&eda, "killed-0").await;
    lane.launched("killed-0", 1).await;
    let mut queued = Vec::new();
    for n in 1..4 {
        let name = format!("killed-{n}");
        queued.push((lane.create(&eda, &name).await, name));
    }
    let deletion = lane
        .delete(&eda, "killed-marked")
        .await
        .with_launched_at(clock.now());
    rulebook.kill();
    lane.wait(&eda, "killed-0", &first).await;
    // What the controller has been asked for by a process that is dead, it has been asked for by now.
    lane.act();
    assert_eq!(
        lane.jobs("killed"),
        2,
        "the queue was expected to die with the process"
    );
    // Each of them is Unknown, whatever became of the others; a deletion waits for its window.
    for (job, name) in &queued {
        let object = lane.object(name);
        let status = eda.status(&object, job).await.unwrap();
        assert_eq!(
            (status.state, status.reconciled_version),
            (JobState::Unknown, None)
        );
        assert_eq!(lane.jobs(name), 0);
    }
    // The finalizer stays, so the deletion runs, and has removed nothing at its limit: no endless Running.
    let marked = lane.object("killed-marked");
    let status = eda.status(&marked, &deletion).await.unwrap();
    assert_eq!(status.state, JobState::Running);
    clock.advance(Duration::from_secs(2 * 3_600));
    let status = eda.status(&marked, &deletion).await.unwrap();
    assert_eq!((status.state, status.unfinished), (JobState::Unknown, true));
    println!(
        "ok: events that died in the queue: creations stay Unknown, a deletion is known to be unfinished at its limit"
    );
}
