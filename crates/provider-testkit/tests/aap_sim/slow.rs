//! A controller as slow as a real one, on paused time.

use futures::future::join_all;
use provider_http::Carrier as _;
use provider_testkit::TimerClock;
use provider_testkit::aap::Costs;
use tokio::time::Instant;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const WORK: &str = "/api/v2/job_templates/7/launch/";

struct Slow {
    sim: AapSim,
    began: Instant,
}

impl Slow {
    fn new(costs: Costs) -> Self {
        let clock = TimerClock::new("2026-11-23T04:00:00Z".parse().unwrap());
        let plan = RunPlan::lasting(Duration::from_secs(3_600));
        let mut world = World::with([Template::job("work").with_plan(plan)]);
        world.costs = Some(costs);
        let sim = AapSim::start_in_process(world, Arc::new(clock));
        let began = Instant::now();
        Self { sim, began }
    }

    /// The status, or none where the client has gone away first; and when that was.
    async fn ask(&self, method: &str, path: &str, patience: Duration) -> (Option<u16>, Duration) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let url = format!("{}{path}", self.sim.url());
        let asked = client().build().unwrap().request(method, url);
        let asked = asked.bearer_auth(ADMIN_TOKEN).build().unwrap();
        let answer = tokio::time::timeout(patience, self.sim.line().carry(asked)).await;
        let status = answer.ok().map(|answer| answer.unwrap().status().as_u16());
        (status, self.began.elapsed())
    }
}

fn is_about(took: Duration, expected: Duration) -> bool {
    // Each way takes ten milliseconds, a new connection some more.
    took >= expected && took < expected + Duration::from_millis(200)
}

#[tokio::test(start_paused = true)]
async fn who_finds_no_worker_waits_for_one() {
    let slow = Slow::new(Costs::default().with_launch(SECOND));
    let launches = (0..12).map(|_| slow.ask("POST", WORK, SECOND * 60));
    let mut answers = join_all(launches).await;
    answers.sort_by_key(|(_, at)| *at);
    for (n, (status, at)) in answers.into_iter().enumerate() {
        assert_eq!(status, Some(201));
        let turn = u32::try_from(n / 5).unwrap() + 1;
        assert!(is_about(at, SECOND * turn), "{n}: {at:?}");
    }
    let load = slow.sim.load();
    assert_eq!((load.served, load.longest_queue), (12, 7));
    assert_eq!(load.worked_ms, 12_000);
}

#[tokio::test(start_paused = true)]
async fn a_page_costs_its_rows_and_anything_else_a_little() {
    let slow = Slow::new(Costs::default());
    for _ in 0..300 {
        slow.sim
            .launch("work", &serde_json::Map::new(), &[])
            .unwrap();
    }
    let mut before = Duration::ZERO;
    for (path, cost) in [
        (
            "/api/v2/unified_jobs/?page_size=200&count_disabled=1",
            2_060,
        ),
        ("/api/v2/unified_jobs/?id=9", 70),
        ("/api/v2/unified_jobs/?id__gt=1000", 60),
        ("/api/v2/jobs/9/", 60),
    ] {
        let (status, at) = slow.ask("GET", path, SECOND * 60).await;
        assert_eq!(status, Some(200));
        let took = at - before;
        assert!(
            is_about(took, Duration::from_millis(cost)),
            "{path}: {took:?}"
        );
        before = at;
    }
}

/// uWSGI does not notice that nobody waits any more, neither while it works nor before.
#[tokio::test(start_paused = true)]
async fn a_request_whose_client_has_gone_away_has_its_worker_all_the_same() {
    let costs = Costs::default().with_workers(1).with_launch(SECOND * 10);
    let slow = Slow::new(costs);
    let impatient = || slow.ask("POST", WORK, SECOND * 2);
    for (status, at) in join_all([impatient(), impatient()]).await {
        assert!(status.is_none() && is_about(at, SECOND * 2), "{at:?}");
    }
    assert!(slow.sim.journal().is_empty(), "not yet");
    let (status, at) = slow.ask("GET", "/api/v2/jobs/9/", SECOND * 60).await;
    assert_eq!(status, Some(200), "the second launch is carried out too");
    assert!(is_about(at, SECOND * 20), "{at:?}");
    assert_eq!(slow.sim.journal().len(), 2);
    let load = slow.sim.load();
    assert_eq!(load.served, 3);
    assert_eq!(load.abandoned, [(format!("POST {WORK}"), 2)].into());
}

#[tokio::test(start_paused = true)]
async fn the_front_gives_up_a_worker_that_is_slow_and_turns_away_who_finds_the_queue_full() {
    let costs = Costs::default()
        .with_workers(1)
        .with_queue(1)
        .with_launch(SECOND * 50)
        .with_patience(SECOND * 60);
    let slow = Slow::new(costs);
    let mut answers = join_all((0..3).map(|_| slow.ask("POST", WORK, SECOND * 600))).await;
    answers.sort_by_key(|(_, at)| *at);
    let expected = [(502, 0), (201, 50), (504, 60)];
    for ((status, at), (as_said, after)) in answers.into_iter().zip(expected) {
        assert_eq!(status, Some(as_said));
        assert!(is_about(at, SECOND * after), "{as_said}: {at:?}");
    }
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(
        slow.sim.journal().len(),
        2,
        "what was given up was carried out"
    );
    let load = slow.sim.load();
    assert_eq!((load.turned_away, load.given_up, load.served), (1, 1, 2));
    assert!(load.abandoned.is_empty());
}

/// What stands in front answers without a worker, however busy those are.
#[tokio::test(start_paused = true)]
async fn a_fault_of_the_front_costs_no_worker() {
    let costs = Costs::default().with_workers(1).with_launch(SECOND * 10);
    let slow = Slow::new(costs);
    slow.sim.fault(Route::Job, &Fault::Status(503), 1);
    let both = [("POST", WORK), ("GET", "/api/v2/jobs/9/")];
    let both = both.map(|(method, path)| slow.ask(method, path, SECOND * 60));
    let answers = join_all(both).await;
    assert_eq!(answers[0].0, Some(201));
    assert!(answers[1].0 == Some(503) && is_about(answers[1].1, Duration::ZERO));
    slow.sim.costs(None);
    let (status, at) = slow.ask("POST", WORK, SECOND * 60).await;
    assert_eq!(status, Some(201));
    assert!(
        is_about(at, SECOND * 10),
        "nothing costs anything now: {at:?}"
    );
}
