//! Jobs that the controller cannot show: they keep no other from being seen.

use super::*;

#[tokio::test(start_paused = true)]
async fn jobs_that_no_list_shows_keep_no_other_from_being_seen() {
    let controller = Controller::with(300);
    controller.broken.lock().unwrap().extend([17, 18, 204]);
    let monitor = monitor(&controller, &in_rounds());
    let seen: Arc<Mutex<HashMap<u64, Instant>>> = Arc::default();
    poll_for_ever(&monitor, 300, &seen);
    // The jobs themselves can be read, and nobody has taken the controller for one that is down.
    sleep(INTERVAL * 6).await;
    let before = controller.asked();
    sleep(INTERVAL * 4).await;
    let since = &controller.asked()[before.len()..];
    let pages = since.iter().filter(|(_, _, is_page)| *is_page).count();
    let singles = since.len() - pages;
    assert!(
        pages <= 8 * 4,
        "what is known is not looked for again: {pages}"
    );
    assert!(
        singles <= 3 * 4 * 2,
        "only those are asked about alone: {singles}"
    );
    for id in 1..=300 {
        controller.set(id, "successful");
    }
    sleep(INTERVAL * 3).await;
    let missing: Vec<u64> = {
        let seen = seen.lock().unwrap();
        (1..=300).filter(|id| !seen.contains_key(id)).collect()
    };
    assert_eq!(missing, Vec::<u64>::new());
}

#[tokio::test(start_paused = true)]
async fn a_job_that_nothing_shows_shuts_nobody_out() {
    for config in [in_rounds(), MonitorConfig::default()] {
        let controller = Controller::with(2);
        controller.broken.lock().unwrap().insert(1);
        controller.nowhere.lock().unwrap().insert(1);
        let monitor = monitor(&controller, &config);
        for _ in 0..20 {
            let error = monitor.seen(KIND, 1).await.unwrap_err();
            assert!(error.message().contains("because of 1"), "{error}");
            sleep(INTERVAL).await;
        }
        assert!(monitor.seen(KIND, 2).await.is_ok());
        controller.nowhere.lock().unwrap().clear();
        assert!(monitor.seen(KIND, 1).await.is_ok());
    }
}

/// It fails in the same way, and is left alone as ever.
#[tokio::test(start_paused = true)]
async fn a_controller_that_serves_nobody_is_not_asked_for_parts() {
    let controller = Controller::with(100);
    let monitor = monitor(&controller, &in_rounds());
    let seen = Arc::default();
    poll_for_ever(&monitor, 100, &seen);
    sleep(INTERVAL * 3).await;
    controller.trouble(|| Some(fails(0)));
    sleep(INTERVAL).await;
    let before = controller.count();
    sleep(INTERVAL * 20).await;
    let asked = controller.count() - before;
    assert!(
        asked <= 60,
        "one question, and one whether lists are served, in 30 s: {asked}"
    );
}
