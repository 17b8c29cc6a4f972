//! The API server of these worlds is checked by the same list of behaviours as a real one
//! (`scripts/test-kube.sh`).

use provider_testkit::TimerClock;
use serde_json::json;

use crate::api::{Server, Trouble};
use crate::behaves::{definition, differences};
use crate::chronicle::Chronicle;
use crate::dice::Dice;

async fn differs(trouble: Trouble) -> Vec<&'static str> {
    let clock = TimerClock::new("2026-11-23T04:00:00Z".parse().unwrap());
    let chronicle = Chronicle::new(clock, false);
    let server = Server::new(&json!(definition()), clock, |_| None, chronicle);
    server.set_trouble(trouble);
    let (count, differ) = differences(&server.client(&Dice::new(1), "somebody")).await;
    assert!(count >= 28, "{count}");
    differ
}

#[tokio::test(start_paused = true)]
async fn the_server_of_these_worlds_behaves_as_a_real_one() {
    assert_eq!(differs(Trouble::default()).await, Vec::<&str>::new());
}

#[tokio::test(start_paused = true)]
async fn it_does_so_while_its_watches_and_caches_lag_behind() {
    let late = Trouble {
        late_ms: 900,
        lag: 20,
        ..Trouble::default()
    };
    assert_eq!(differs(late).await, Vec::<&str>::new());
}
