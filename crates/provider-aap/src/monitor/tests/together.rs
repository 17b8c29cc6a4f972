//! Which jobs are asked about together, and how few pages that takes.

use super::*;

/// Jobs that poll themselves, after the first rounds.
async fn settled(count: u64) -> (Arc<Controller>, Monitor) {
    let controller = Controller::with(count);
    let monitor = monitor(&controller, &in_rounds());
    poll_for_ever(&monitor, count, &Arc::default());
    sleep(INTERVAL * 4).await;
    (controller, monitor)
}

/// A page with room left takes along what is due soon, so the round has the less to ask.
#[tokio::test(start_paused = true)]
async fn hints_take_the_round_along() {
    let (controller, monitor) = settled(2_000).await;
    let mut events = monitor.subscribe();
    controller.set(5, "successful");
    let before = controller.count();
    monitor.hint(5);
    let (job, state) = events.next().await.unwrap();
    assert_eq!((job.id.as_str(), state), ("5", JobState::Succeeded));
    let sizes: Vec<usize> = controller
        .asked()
        .iter()
        .skip(before)
        .map(|(_, ids, _)| *ids)
        .collect();
    assert_eq!(sizes, [200]);
    // One hint every two thirds of a second: as many pages as may be.
    let before = controller.count();
    for n in 0..135 {
        monitor.hint(6 + n);
        sleep(INTERVAL / 45).await;
    }
    let a_round = (controller.count() - before) / 3;
    assert!((40..50).contains(&a_round), "{a_round} requests a round");
}

/// Those too whose row is to be seen at their next turn.
#[tokio::test(start_paused = true)]
async fn hints_that_come_together_are_one_page() {
    let (controller, monitor) = settled(2_000).await;
    let mut pages = 0;
    for n in 0..20 {
        let seen = controller.asked().len();
        // Not all in the same number: what the server has been seen to give was not all it gives.
        let ids = (n * 100 + 1)..=(n * 100 + 100 - n);
        for id in ids.clone() {
            controller.set(id, "successful");
            monitor.hint(id);
        }
        sleep(Duration::from_millis(100)).await;
        for id in ids {
            assert_eq!(
                monitor.seen(KIND, id).await.unwrap().state(),
                JobState::Succeeded
            );
        }
        pages += controller.asked().len() - seen;
        sleep(Duration::from_secs(1)).await;
    }
    // The first is more than was ever seen on one page, and the round goes on in between.
    assert!((20..25).contains(&pages), "{pages}");
}

/// Their usual duration moves along with them, and each is looked at once before it.
#[tokio::test(start_paused = true)]
async fn jobs_that_began_together_are_not_always_near_their_usual_end() {
    let mut controller = Controller::with(4_000);
    if let Some(controller) = Arc::get_mut(&mut controller) {
        controller.began = Some(Instant::now());
    }
    let monitor = monitor(&controller, &in_rounds());
    poll_for_ever(&monitor, 4_000, &Arc::default());
    sleep(INTERVAL * 2).await;
    let before = controller.count();
    // Ends are known at once, and the server's clock tells whole seconds.
    for id in 1..=1_600 {
        controller.set(id, "successful");
        monitor.hint(id);
        sleep(INTERVAL / 400).await;
    }
    let looks = controller
        .asked()
        .iter()
        .skip(before)
        .map(|(_, ids, _)| ids)
        .sum::<usize>();
    let a_job = looks as f64 / 4.0 / 4_000.0;
    println!("{a_job} looks at a job in a round");
    assert!(a_job <= 2.0, "{a_job}");
}

/// One that has failed is asked about by itself, and keeps nobody waiting; of one that has succeeded there
/// is nothing more to hear.
#[tokio::test(start_paused = true)]
async fn hints_about_jobs_that_have_ended_keep_no_others_waiting() {
    let (controller, monitor) = settled(2_000).await;
    for (id, end) in [(1, "failed"), (2, "successful")] {
        controller.set(id, end);
        monitor.hint(id);
        sleep(Duration::from_secs(1)).await;
        assert!(monitor.seen(KIND, id).await.unwrap().state().is_terminal());
    }
    let before = controller.count();
    monitor.hint(2);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(controller.count(), before, "a success is one");
    controller.set(3, "successful");
    monitor.hint(1);
    monitor.hint(3);
    sleep(Duration::from_millis(1) + controller.latency).await;
    assert_eq!(controller.count() - before, 2, "both at once");
    assert_eq!(
        monitor.seen(KIND, 3).await.unwrap().state(),
        JobState::Succeeded
    );
}

/// Pages of hints that follow each other closely take along what is due before the next one.
#[tokio::test(start_paused = true)]
async fn many_hints_do_not_make_jobs_be_looked_at_early() {
    let (controller, monitor) = settled(6_000).await;
    let looks = || {
        let asked = controller.asked();
        asked.iter().map(|(_, ids, _)| ids).sum::<usize>()
    };
    let (before, pages) = (looks(), controller.count());
    for n in 0..400 {
        monitor.hint(1 + n);
        sleep(INTERVAL / 100).await;
    }
    let a_job = (looks() - before) as f64 / 4.0 / 6_000.0;
    let a_round = (controller.count() - pages) / 4;
    println!("{a_job} looks at a job in a round, {a_round} requests");
    assert!(a_job <= 1.15, "{a_job}");
    assert!(a_round <= 60, "{a_round} requests a round");
}

/// Alone, nobody comes along with anybody.
#[tokio::test(start_paused = true)]
async fn where_lists_are_refused_nobody_is_asked_about_early() {
    let controller = Controller::with(500);
    let refusal = ProviderError::new(Effect::Rejected, ErrorKind::Forbidden, "no lists for you");
    *controller.trouble_with_lists.lock().unwrap() = Some(refusal);
    let monitor = monitor(&controller, &in_rounds());
    poll_for_ever(&monitor, 500, &Arc::default());
    sleep(INTERVAL * 4).await;
    let before = controller.count();
    for n in 0..200 {
        monitor.hint(1 + n);
        sleep(INTERVAL / 50).await;
    }
    // An interval is varied by a tenth; now and then a list is tried, in vain.
    let a_round = (controller.count() - before) / 4;
    println!("{a_round} requests a round");
    assert!((500..600).contains(&a_round), "{a_round}");
}
