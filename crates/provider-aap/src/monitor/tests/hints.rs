//! What hints do: a look comes early, and nothing else.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_hint_makes_a_look_come_early_and_nothing_else() {
    let controller = Controller::with(100);
    let monitor = monitor(&controller, &in_rounds());
    let asked = (1..=100).map(|id| monitor.seen(KIND, id));
    futures::future::join_all(asked).await;
    let mut events = monitor.subscribe();
    sleep(Duration::from_secs(1)).await;
    // A hint that is wrong changes nothing.
    assert!(monitor.hint(3));
    sleep(Duration::from_secs(1)).await;
    assert!(futures::FutureExt::now_or_never(events.next()).is_none());
    controller.set(3, "successful");
    let at = Instant::now();
    monitor.hint(3);
    assert_eq!(
        events.next().await.unwrap(),
        (JobRef::new("aap", KIND.word(), "3"), JobState::Succeeded)
    );
    assert!(at.elapsed() < Duration::from_secs(1));
    assert_eq!(
        monitor.seen(KIND, 3).await.unwrap().state(),
        JobState::Succeeded
    );
    assert!(
        !monitor.hint(999),
        "jobs that nobody asks about are not looked at"
    );
}

/// A launched job is known before anybody has asked, also to a poller that has little to do by now.
#[tokio::test(start_paused = true)]
async fn a_hint_about_a_job_that_was_only_launched_is_passed_on() {
    let controller = Controller::with(4);
    let config = MonitorConfig {
        batch_from: 3,
        ..MonitorConfig::default()
    };
    let monitor = monitor(&controller, &config);
    let mut events = monitor.subscribe();
    monitor.expect(KIND, 1);
    assert!(monitor.hint(1));
    let unknown = |id: &str| (JobRef::new("aap", KIND.word(), id), JobState::Unknown);
    assert_eq!(events.next().await.unwrap(), unknown("1"));
    assert_eq!(controller.count(), 0);
    let asked = (1..=4).map(|id| monitor.seen(KIND, id));
    futures::future::join_all(asked).await;
    assert_eq!(monitor.0.lock().schedule.len(), 4);
    assert!(monitor.0.lock().is_running);
    // Those that nobody asks about are forgotten, and the others are few.
    for _ in 0..24 {
        sleep(INTERVAL / 2).await;
        monitor.seen(KIND, 1).await.unwrap();
    }
    assert!(monitor.0.lock().schedule.len() < 3 && monitor.0.lock().is_running);
    while futures::FutureExt::now_or_never(events.next()).is_some() {}
    assert!(monitor.hint(1));
    assert_eq!(events.next().await.unwrap(), unknown("1"));
}

/// Half of the hints are lost, and as many are wrong: whoever was hinted at is seen soon,
/// everybody else in the round, nobody twice, and nobody who has not ended.
#[tokio::test(start_paused = true)]
async fn lost_hints_cost_time_and_nothing_else() {
    let controller = Controller::with(2_000);
    let monitor = monitor(&controller, &in_rounds());
    let mut events = monitor.subscribe();
    poll_for_ever(&monitor, 2_000, &Arc::default());
    sleep(INTERVAL * 3).await;
    let soon = Duration::from_millis(1);
    while tokio::time::timeout(soon, events.next()).await.is_ok() {}
    let ended = Instant::now();
    for id in 1..=1_000 {
        let word = ["successful", "failed"][usize::from(id % 4 < 2)];
        controller.set(id, word);
        // The even ones are hinted at; so are as many that go on.
        monitor.hint(if id % 2 == 0 { id } else { 1_000 + id });
    }
    let mut told = HashMap::new();
    for _ in 0..1_000 {
        let (job, state) = events.next().await.unwrap();
        let id: u64 = job.id.parse().unwrap();
        let really = [JobState::Succeeded, JobState::Failed][usize::from(id % 4 < 2)];
        assert_eq!((id <= 1_000, state), (true, really), "job {id}");
        assert!(told.insert(id, ended.elapsed()).is_none(), "told twice");
    }
    let latest = |even| {
        let of_them = told.iter().filter(|(id, _)| (*id % 2 == 0) == even);
        of_them.map(|(_, late)| *late).max().unwrap()
    };
    println!("hinted at: {:?}; not: {:?}", latest(true), latest(false));
    // A thousand and more looks at once are some pages, one after another.
    assert!(latest(true) < INTERVAL / 2, "{:?}", latest(true));
    assert!(latest(false) < INTERVAL + Duration::from_secs(1));
    sleep(INTERVAL * 2).await;
    assert!(futures::FutureExt::now_or_never(events.next()).is_none());
}

/// A page that is on its way may have been read before the hint's cause: it is not enough.
#[tokio::test(start_paused = true)]
async fn a_hint_during_a_look_means_another_look() {
    let controller = Controller::with(100);
    let monitor = monitor(&controller, &in_rounds());
    futures::future::join_all((1..=100).map(|id| monitor.seen(KIND, id))).await;
    let mut events = monitor.subscribe();
    monitor.hint(3);
    sleep(Duration::from_millis(2)).await;
    assert_eq!(controller.count(), 2, "it is on its way");
    controller.set(3, "successful");
    let at = Instant::now();
    monitor.hint(3);
    assert_eq!(events.next().await.unwrap().1, JobState::Succeeded);
    assert!(at.elapsed() < Duration::from_secs(1));
}
