//! Who acts on what the rounds see need not ask as often.

use super::*;

async fn watched(count: u64) -> (Arc<Controller>, Monitor) {
    let controller = Controller::with(count);
    let monitor = monitor(&controller, &MonitorConfig::default());
    futures::future::join_all((1..=count).map(|id| monitor.seen(KIND, id))).await;
    sleep(INTERVAL).await;
    // The first were asked about by themselves, before there were many.
    futures::future::join_all((1..=count).map(|id| monitor.seen(KIND, id))).await;
    (controller, monitor)
}

/// What was told so far.
fn told(wake_ups: &mut JobEvents) -> Vec<(String, JobState)> {
    std::iter::from_fn(|| wake_ups.next().now_or_never().flatten())
        .map(|(job, state)| (job.id, state))
        .collect()
}

/// As long as somebody acts on what he is told, running jobs that a round looks at are looked after; and
/// they stay watched although nobody asks.
#[tokio::test(start_paused = true)]
async fn running_jobs_need_not_be_asked_about_while_somebody_is_told_of_their_ends() {
    let (controller, monitor) = watched(100).await;
    controller.set(7, "pending");
    sleep(INTERVAL * 2).await;
    let onlooker = monitor.subscribe();
    assert_eq!(monitor.poll_after(1), None);
    let mut wake_ups = monitor.wake_ups();
    assert_eq!(monitor.poll_after(1), Some(INTERVAL * 5));
    assert_eq!(monitor.poll_after(7), None);
    assert_eq!(monitor.poll_after(101), None);
    sleep(INTERVAL * 5).await;
    assert_eq!(told(&mut wake_ups), []);
    controller.set(1, "successful");
    sleep(INTERVAL).await;
    assert_eq!(told(&mut wake_ups), [("1".to_owned(), JobState::Succeeded)]);
    assert_eq!(monitor.poll_after(1), None);
    // It is there for who asks now, without another question.
    let before = controller.count();
    assert_eq!(
        monitor.seen(KIND, 1).await.unwrap().state(),
        JobState::Succeeded
    );
    assert_eq!(controller.count(), before);
    drop(wake_ups);
    assert_eq!(monitor.poll_after(2), None);
    drop(onlooker);
}

/// What was read while jobs were few has no place in the round before somebody asks again.
#[tokio::test(start_paused = true)]
async fn jobs_that_no_round_looks_at_have_to_be_asked_about() {
    let controller = Controller::with(100);
    let monitor = monitor(&controller, &MonitorConfig::default());
    let _wake_ups = monitor.wake_ups();
    for ids in [1..=20, 21..=100] {
        futures::future::join_all(ids.map(|id| monitor.seen(KIND, id))).await;
    }
    assert_eq!(
        monitor.seen(KIND, 1).await.unwrap().state(),
        JobState::Running
    );
    assert_eq!(monitor.poll_after(1), None);
    assert_eq!(monitor.poll_after(100), Some(INTERVAL * 5));
}

/// A job that the controller has deleted has no end that a page could show.
#[tokio::test(start_paused = true)]
async fn a_job_that_is_gone_is_told_of() {
    let (controller, monitor) = watched(100).await;
    let mut wake_ups = monitor.wake_ups();
    controller.jobs.lock().unwrap().remove(&5);
    // A row of each is asked for after fifteen rounds at most.
    for _ in 0..4 {
        // The polls of a controller, as seldom as it may.
        futures::future::join_all((1..=100).map(|id| monitor.seen(KIND, id))).await;
        sleep(INTERVAL * 5).await;
    }
    assert_eq!(told(&mut wake_ups), [("5".to_owned(), JobState::Unknown)]);
}

/// No round looks at a few jobs: who relied on being told has to ask. Until there are as few as that,
/// nothing changes, however many come and go.
#[tokio::test(start_paused = true)]
async fn who_is_told_has_to_ask_once_the_jobs_are_few() {
    let (controller, monitor) = watched(40).await;
    let mut wake_ups = monitor.wake_ups();
    for id in 1..=20 {
        controller.set(id, "successful");
    }
    // They are watched for three more rounds.
    sleep(INTERVAL * 6).await;
    let ends = told(&mut wake_ups);
    assert_eq!(ends.len(), 20);
    assert!(ends.iter().all(|(_, state)| *state == JobState::Succeeded));
    assert_eq!(monitor.poll_after(21), Some(INTERVAL * 5));
    futures::future::join_all((21..=40).map(|id| monitor.seen(KIND, id))).await;
    for id in 21..=25 {
        controller.set(id, "successful");
    }
    // Not all at once: whoever is told asks.
    let mut left: Vec<(u64, Instant)> = Vec::new();
    while left.len() < 15 {
        let (job, state) = wake_ups.next().await.unwrap();
        if state == JobState::Unknown {
            left.push((job.id.parse().unwrap(), Instant::now()));
        }
    }
    let moments: Vec<Instant> = left.iter().map(|(_, at)| *at).collect();
    assert!(busiest_second(&moments) <= 4, "{left:?}");
    let mut left: Vec<u64> = left.iter().map(|(id, _)| *id).collect();
    left.sort_unstable();
    assert_eq!(left, Vec::from_iter(26..=40));
    assert_eq!(monitor.poll_after(26), None);
}
