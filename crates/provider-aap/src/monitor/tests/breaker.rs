//! The breaker by itself, and as those meet it who ask.

use super::super::breaker::{Breaker, Door, Now, Pass};
use super::*;

/// The breaker at a moment.
struct At(Breaker, Now);

impl At {
    fn new(most: u32) -> Self {
        let now = Now {
            timer: Instant::now(),
            clock: start(),
        };
        Self(Breaker::new(most, PAUSE), now)
    }

    fn later(&mut self, wait: Duration) {
        self.1 = self.1.after(wait);
    }

    fn pass(&mut self) -> Pass {
        match self.0.ask(self.1) {
            Door::Open(pass) => pass,
            shut => panic!("{shut:?}"),
        }
    }

    fn shut(&mut self) -> Duration {
        match self.0.ask(self.1) {
            Door::Shut(left) => left,
            other => panic!("{other:?}"),
        }
    }

    fn is_trying(&mut self) -> bool {
        matches!(self.0.ask(self.1), Door::Trying)
    }

    fn fails(&mut self, asked_for: Option<u64>) -> bool {
        let pass = self.pass();
        let error = asked_for.map_or_else(unavailable, |seconds| {
            unavailable().with_retry_after(Duration::from_secs(seconds))
        });
        self.0.failed(&pass, self.1, &error)
    }
}

const PAUSE: Duration = Duration::from_secs(30);

#[tokio::test(start_paused = true)]
async fn the_breaker_opens_tries_once_and_closes() {
    let mut at = At::new(3);
    assert!(!at.fails(None) && !at.fails(None));
    let pass = at.pass();
    at.0.served(&pass, at.1);
    // It has just served: that some questions fail does not mean that it is down.
    for _ in 0..10 {
        assert!(!at.fails(None));
    }
    at.later(Duration::from_secs(3));
    assert!(at.fails(None));
    assert_eq!(at.shut(), PAUSE);
    at.later(PAUSE);
    let probe = at.pass();
    assert!(at.is_trying(), "one at a time");
    assert!(
        at.0.failed(&probe, at.1, &unavailable()),
        "one failed try is enough"
    );
    assert_eq!(at.shut(), PAUSE);
    at.later(PAUSE);
    let probe = at.pass();
    drop(probe);
    let probe = at.pass();
    at.0.served(&probe, at.1);
    // Open, and with nothing on record.
    assert!(!at.fails(None) && !at.fails(None));
    // A time that the server asks for is kept at once.
    assert!(at.fails(Some(7)));
    assert_eq!(at.shut(), Duration::from_secs(7));
}

/// Several questions are on their way when the server asks for quiet: what the others come back with
/// says nothing about the time after it.
#[tokio::test(start_paused = true)]
async fn an_answer_from_before_does_not_open_the_breaker() {
    let mut at = At::new(3);
    let [early, late] = [at.pass(), at.pass()];
    assert!(at.fails(Some(45)));
    at.0.served(&early, at.1);
    let quiet = Duration::from_secs(45);
    assert_eq!(at.shut(), quiet);
    at.later(quiet);
    let probe = at.pass();
    // Nor does it end the try, or count against it.
    assert!(!at.0.failed(&late, at.1, &unavailable()));
    assert!(at.is_trying());
    at.0.served(&late, at.1);
    assert!(at.is_trying());
    at.0.served(&probe, at.1);
    at.pass();
    // But what it asks for is heard, and never shortens a pause.
    let late = at.pass();
    assert!(at.fails(Some(45)));
    let soon = unavailable().with_retry_after(Duration::from_secs(5));
    assert!(at.0.failed(&late, at.1, &soon));
    assert_eq!(at.shut(), quiet);
}

#[tokio::test(start_paused = true)]
async fn either_clock_ends_the_pause_of_the_breaker() {
    let mut at = At::new(1);
    at.fails(None);
    let (now, later) = (at.1, at.1.after(PAUSE));
    let by_timer = Now {
        clock: now.clock,
        ..later
    };
    let by_clock = Now {
        timer: now.timer,
        ..later
    };
    assert_eq!(at.0.shut_for(now), Some(PAUSE));
    assert_eq!(at.0.shut_for(by_timer), None);
    assert_eq!(at.0.shut_for(by_clock), None);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_runs_ahead_of_the_timer_opens_the_breaker() {
    let controller = Controller::with(1);
    let clock = Arc::new(ManualClock::new(start()));
    let monitor = Monitor::new(
        &in_rounds(),
        "aap",
        INTERVAL,
        clock.clone(),
        controller.clone(),
        1,
    );
    controller.trouble(|| Some(unavailable()));
    for _ in 0..5 {
        assert!(monitor.seen(KIND, 1).await.is_err());
    }
    controller.fair();
    let asked = controller.count();
    assert!(monitor.seen(KIND, 1).await.is_err());
    assert_eq!(controller.count(), asked, "it is left alone");
    clock.advance(Duration::from_secs(30));
    assert!(monitor.seen(KIND, 1).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_try_that_is_refused_its_list_goes_on_one_by_one() {
    let controller = Controller::with(2);
    let clock = Arc::new(ManualClock::new(start()));
    let monitor = Monitor::new(
        &in_rounds(),
        "aap",
        INTERVAL,
        clock.clone(),
        controller.clone(),
        1,
    );
    let both = || futures::future::join(monitor.seen(KIND, 1), monitor.seen(KIND, 2));
    controller.trouble(|| Some(unavailable()));
    for _ in 0..5 {
        let (one, two) = both().await;
        assert!(one.is_err() && two.is_err());
    }
    controller.fair();
    let forbidden = ProviderError::new(Effect::Rejected, ErrorKind::Forbidden, "403");
    *controller.trouble_with_lists.lock().unwrap() = Some(forbidden);
    clock.advance(Duration::from_secs(30));
    let (one, two) = tokio::time::timeout(INTERVAL, both()).await.unwrap();
    assert!(one.is_ok() && two.is_ok());
}

/// A token that has expired is a reason to stop asking, a job of somebody else is not.
#[tokio::test(start_paused = true)]
async fn refused_credentials_shut_the_breaker_and_a_refused_job_does_not() {
    let of = |kind| ProviderError::new(Effect::Rejected, kind, "no");
    for (batch_from, kind, shuts) in [
        (0, ErrorKind::Unauthorized, true),
        (1_000, ErrorKind::Unauthorized, true),
        (0, ErrorKind::Forbidden, false),
        (1_000, ErrorKind::Forbidden, false),
        (0, ErrorKind::Timeout, true),
    ] {
        let controller = Controller::with(40);
        *controller.trouble_with_singles.lock().unwrap() = Some(of(kind));
        *controller.trouble_with_lists.lock().unwrap() = Some(of(kind));
        let config = MonitorConfig {
            batch_from,
            ..MonitorConfig::default()
        };
        let monitor = monitor(&controller, &config);
        for _ in 0..10 {
            let asked = (1..=20).map(|id| monitor.seen(KIND, id));
            for seen in futures::future::join_all(asked).await {
                assert!(seen.is_err());
            }
            sleep(Duration::from_millis(500)).await;
        }
        *controller.trouble_with_singles.lock().unwrap() = None;
        *controller.trouble_with_lists.lock().unwrap() = None;
        let before = controller.count();
        let seen = monitor.seen(KIND, 30).await;
        assert_eq!(seen.is_err(), shuts, "{kind:?}");
        assert_eq!(controller.count() > before, !shuts, "{kind:?}");
        if let Err(error) = seen {
            assert_eq!(error.effect(), Effect::NotSent);
            assert!(error.retry_after().is_some_and(|left| left <= PAUSE));
        }
    }
}

/// "The controller did not serve lately" tells nobody that the token has expired.
#[tokio::test(start_paused = true)]
async fn who_is_refused_is_told_why_and_what_to_do() {
    let of =
        |kind, text, advice| ProviderError::new(Effect::Rejected, kind, text).with_advice(advice);
    for cause in [
        of(
            ErrorKind::Unauthorized,
            "our credentials are not accepted",
            "check the token",
        ),
        of(
            ErrorKind::Unavailable,
            "no connection: UnknownIssuer",
            "check the CA file",
        ),
        of(
            ErrorKind::Unavailable,
            "it failed with 503",
            "look at its logs",
        ),
        of(
            ErrorKind::Timeout,
            "no answer in time",
            "raise the time-out",
        ),
    ] {
        let controller = Controller::with(1);
        let monitor = monitor(&controller, &in_rounds());
        let trouble = cause.clone();
        controller.trouble(move || Some(trouble.clone()));
        for _ in 0..5 {
            assert_eq!(monitor.seen(KIND, 1).await.unwrap_err(), cause);
        }
        let refused = monitor.seen(KIND, 1).await.unwrap_err();
        assert_eq!(controller.count(), 5, "it is left alone");
        assert_eq!(
            (refused.effect(), refused.kind(), refused.advice()),
            (Effect::NotSent, cause.kind(), cause.advice())
        );
        assert!(refused.message().contains(cause.message()), "{refused}");
        assert!(refused.message().contains("is left alone for a while"));
        assert!(refused.retry_after().is_some_and(|left| left <= PAUSE));
    }
}

/// Who asks while a question is out to try is told what came of it.
#[tokio::test(start_paused = true)]
async fn one_question_tries_while_the_others_wait() {
    let controller = Controller::with_latency(300, Duration::from_secs(2));
    let monitor = monitor(&controller, &in_rounds());
    controller.trouble(|| Some(unavailable()));
    while monitor
        .seen(KIND, 1)
        .await
        .is_err_and(|error| error.effect() != Effect::NotSent)
    {}
    sleep(PAUSE).await;
    controller.fair();
    let before = controller.count();
    let asked = (1..=300).map(|id| monitor.seen(KIND, id));
    let all = futures::future::join_all(asked);
    let first = async {
        sleep(Duration::from_secs(1)).await;
        controller.count() - before
    };
    let (all, tries) = futures::future::join(all, first).await;
    assert_eq!(tries, 1);
    assert!(all.iter().all(Result::is_ok));
}

/// What gauges were set to last.
#[cfg(feature = "metrics")]
#[derive(Default)]
struct Gauges(Mutex<HashMap<String, Arc<AtomicU64>>>);

#[cfg(feature = "metrics")]
impl Gauges {
    fn of(&self, name: &str) -> Arc<AtomicU64> {
        let mut all = self.0.lock().unwrap();
        Arc::clone(all.entry(name.to_owned()).or_default())
    }

    fn read(&self, name: &str) -> f64 {
        f64::from_bits(self.of(name).load(Ordering::Relaxed))
    }
}

#[cfg(feature = "metrics")]
impl metrics::Recorder for Gauges {
    fn describe_counter(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn describe_gauge(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn describe_histogram(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn register_counter(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        metrics::Counter::noop()
    }

    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::from_arc(self.of(key.name()))
    }

    fn register_histogram(
        &self,
        _: &metrics::Key,
        _: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}

#[cfg(feature = "metrics")]
#[test]
fn the_breaker_and_the_number_of_jobs_can_be_seen_from_outside() {
    let gauges = Gauges::default();
    let open = || gauges.read("provider_breaker_open");
    let jobs = || gauges.read("provider_monitored_jobs");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let life = async {
        let controller = Controller::with_latency(10, Duration::from_secs(1));
        let monitor = monitor(&controller, &in_rounds());
        futures::future::join_all((1..=10).map(|id| monitor.seen(KIND, id))).await;
        assert_eq!((open(), jobs()), (0.0, 10.0));
        controller.trouble(|| Some(unavailable()));
        while open() < 1.0 {
            sleep(Duration::from_secs(1)).await;
        }
        controller.fair();
        while open() == 1.0 {
            sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(open(), 0.5, "one is out to try");
        sleep(INTERVAL).await;
        assert_eq!((open(), jobs()), (0.0, 10.0));
        // Nobody asks any more.
        sleep(INTERVAL * 20).await;
        assert_eq!(jobs(), 0.0);
    };
    metrics::with_local_recorder(&gauges, || runtime.block_on(life));
}

/// Who asks for others beside the rounds may be the one who tries, and may give up.
#[tokio::test(start_paused = true)]
async fn a_guest_that_was_to_try_and_goes_away_lets_the_next_one_try() {
    let controller = Controller::with(1);
    let monitor = monitor(&controller, &in_rounds());
    let quiet = unavailable().with_retry_after(PAUSE);
    monitor.admit().unwrap().tell(Some(&quiet));
    assert!(monitor.admit().is_err(), "it is shut");
    advance(PAUSE).await;
    let probe = monitor.admit().unwrap();
    assert!(monitor.admit().is_err(), "one at a time");
    drop(probe);
    let next = monitor.admit().unwrap();
    assert!(monitor.admit().is_err(), "one at a time");
    next.tell(None);
    let both = (monitor.admit(), monitor.admit());
    assert!(both.0.is_ok() && both.1.is_ok(), "it is open");
    // One that is told of in vain shuts it again.
    monitor.admit().unwrap().tell(Some(&quiet));
    advance(PAUSE).await;
    monitor.admit().unwrap().tell(Some(&unavailable()));
    assert!(monitor.admit().is_err());
}
