//! What a worker holds is given back, however it ends: nobody waits for one that is no more.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::monitor::schedule::Next;

/// A controller whose answer can be one that nobody survives.
struct Deadly {
    controller: Arc<Controller>,
    kills: AtomicBool,
}

#[async_trait]
impl Source for Deadly {
    async fn page(&self, ids: &[u64], but: Option<Lasting>) -> Result<Rows, ProviderError> {
        assert!(!self.kills.load(Ordering::Relaxed), "as it is to happen");
        self.controller.page(ids, but).await
    }

    async fn serves(&self) -> bool {
        self.controller.serves().await
    }

    async fn one(&self, kind: Kind, id: u64) -> Result<Seen, ProviderError> {
        assert!(!self.kills.load(Ordering::Relaxed), "as it is to happen");
        self.controller.one(kind, id).await
    }
}

fn of(source: Arc<dyn Source>, clock: &Arc<ManualClock>) -> Monitor {
    Monitor::new(&in_rounds(), "aap", INTERVAL, clock.clone(), source, 1)
}

/// Asks until nothing is asked any more, and until the pause after that is over.
async fn shut_and_wait(monitor: &Monitor, controller: &Controller, clock: &ManualClock) {
    controller.trouble(|| Some(unavailable()));
    while monitor
        .seen(KIND, 1)
        .await
        .is_err_and(|error| error.effect() != Effect::NotSent)
    {}
    controller.fair();
    clock.advance(Duration::from_secs(30));
}

async fn is_seen(monitor: &Monitor) -> bool {
    let seen = tokio::time::timeout(INTERVAL, monitor.seen(KIND, 1)).await;
    seen.is_ok_and(|seen| seen.is_ok())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_while_a_question_is_out_to_try_lets_another_one_try() {
    let clock = Arc::new(ManualClock::new(start()));
    let source = Arc::new(Deadly {
        controller: Controller::with(1),
        kills: false.into(),
    });
    let monitor = of(source.clone(), &clock);
    shut_and_wait(&monitor, &source.controller, &clock).await;
    source.kills.store(true, Ordering::Relaxed);
    let killed = tokio::time::timeout(INTERVAL, monitor.seen(KIND, 1)).await;
    assert!(killed.unwrap().is_err(), "who has waited is told");
    source.kills.store(false, Ordering::Relaxed);
    assert!(is_seen(&monitor).await);
}

#[test]
fn a_runtime_that_is_dropped_while_a_question_is_out_to_try_takes_nothing_with_it() {
    let clock = Arc::new(ManualClock::new(start()));
    let controller = Controller::with_latency(1, Duration::from_secs(2));
    let monitor = of(controller.clone(), &clock);
    runtime().block_on(async {
        shut_and_wait(&monitor, &controller, &clock).await;
        let before = controller.count();
        let _ = tokio::time::timeout(Duration::from_secs(1), monitor.seen(KIND, 1)).await;
        assert_eq!(controller.count(), before + 1, "one is out to try");
    });
    assert!(runtime().block_on(is_seen(&monitor)));
}

#[test]
fn a_runtime_that_is_dropped_before_the_worker_has_begun_takes_nothing_with_it() {
    let clock = Arc::new(ManualClock::new(start()));
    let controller = Controller::with(1);
    let monitor = of(controller.clone(), &clock);
    runtime().block_on(async {
        assert!(futures::poll!(Box::pin(monitor.seen(KIND, 1))).is_pending());
    });
    assert_eq!(controller.count(), 0);
    assert!(runtime().block_on(is_seen(&monitor)));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever_for_an_answer_that_never_comes() {
    let never = Duration::from_secs(1_000_000);
    let controller = Controller::with_latency(1, never);
    let monitor = monitor(&controller, &in_rounds());
    for _ in 0..3 {
        let seen = tokio::time::timeout(never / 2, monitor.seen(KIND, 1)).await;
        assert_eq!(seen.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    }
}

/// No job stays watched for the sake of somebody who has given up.
#[tokio::test(start_paused = true)]
async fn who_has_given_up_waits_no_more() {
    let nothing = May {
        page: false,
        single: false,
        lists: true,
    };
    let mut schedule = Schedule::new(&in_rounds(), INTERVAL, 1);
    let asked = schedule.ask(1, KIND, Instant::now(), None, |_, _| false);
    advance(Duration::from_secs(1_500)).await;
    let mut next = || schedule.next(Instant::now(), nothing);
    assert!(matches!(next(), Next::At(_)), "somebody waits");
    drop(asked);
    advance(INTERVAL).await;
    assert_eq!(next(), Next::Idle);
}
