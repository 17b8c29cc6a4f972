//! A line to the controller, without sockets.

use provider_http::{Carrier as _, SendError, SendFailure};
use provider_testkit::TimerClock;

use super::*;

const PING: &str = "/api/v2/ping/";

async fn get(sim: &AapSim, path: &str) -> Result<reqwest::Response, SendError> {
    let request = client()
        .build()
        .unwrap()
        .get(format!("{}{path}", sim.url()));
    let request = request.bearer_auth(ADMIN_TOKEN).build().unwrap();
    let line = sim.line();
    let carried = line.carry(request);
    let late = |_| Err(SendError::new(SendFailure::Timeout, "late"));
    tokio::time::timeout(Duration::from_secs(30), carried)
        .await
        .unwrap_or_else(late)
}

#[tokio::test(start_paused = true)]
async fn requests_are_carried_and_connections_kept_until_they_are_lost() {
    let clock = TimerClock::new("2026-11-23T04:00:00Z".parse().unwrap());
    let sim = AapSim::start_in_process(World::with([Template::job("work")]), Arc::new(clock));
    for _ in 0..3 {
        let answer = get(&sim, PING).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.text().await.unwrap().contains("\"version\""));
    }
    assert_eq!(sim.line().connections(), 1);
    sim.line().swallow();
    let failure = get(&sim, PING).await.unwrap_err().failure;
    assert_eq!(failure, SendFailure::Timeout);
    assert_eq!(get(&sim, PING).await.unwrap().status(), 200);
    assert_eq!(sim.line().connections(), 2);
    sim.fault(Route::Any, &Fault::DropAfter, 1);
    let failure = get(&sim, PING).await.unwrap_err().failure;
    assert_eq!(failure, SendFailure::Broken);
    let line = sim.line();
    drop(sim);
    let request = client().build().unwrap().get("http://controller.invalid/");
    let failure = line.carry(request.build().unwrap()).await.unwrap_err();
    assert_ne!(failure.failure, SendFailure::Timeout, "nobody is there");
}
