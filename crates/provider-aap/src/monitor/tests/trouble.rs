//! What a controller that is slow, full, half broken or down does to those who ask.

use super::*;

/// The most requests within any second.
fn peak(asked: &[(Instant, usize, bool)]) -> usize {
    let moments: Vec<Instant> = asked.iter().map(|(at, ..)| *at).collect();
    busiest_second(&moments)
}

/// Jobs end all the time, one in fifty with a failure that has to be read by itself; also while the
/// controller is down.
#[tokio::test(start_paused = true)]
async fn a_controller_that_was_down_for_five_minutes_is_not_stampeded() {
    const COUNT: u64 = 10_000;
    let controller = Controller::with(COUNT);
    let monitor = monitor(&controller, &in_rounds());
    let seen = Arc::default();
    poll_for_ever(&monitor, COUNT, &seen);
    sleep(INTERVAL * 3).await;
    let ends = Arc::clone(&controller);
    let ending = tokio::spawn(async move {
        for id in 1..=COUNT {
            let end = if id % 50 == 0 { "failed" } else { "successful" };
            ends.set(id * 7_919 % COUNT + 1, end);
            sleep(Duration::from_millis(60)).await;
        }
    });
    sleep(INTERVAL).await;
    let before = controller.count();
    sleep(INTERVAL * 2).await;
    let rate = (controller.count() - before) as f64 / (INTERVAL * 2).as_secs_f64();
    controller.trouble(|| Some(unavailable()));
    // Who asks now is told at once, and when to come again.
    sleep(Duration::from_secs(60)).await;
    let down = controller.count();
    sleep(Duration::from_secs(240)).await;
    let tries = controller.count() - down;
    assert!(
        tries <= 10,
        "{tries} requests in four minutes to a controller that is down"
    );
    let error = monitor.seen(KIND, 20_000).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    ending.abort();
    controller.fair();
    let up = controller.count();
    sleep(INTERVAL * 4).await;
    let after = controller.asked().split_off(up);
    println!(
        "steady {rate:.1} requests/s, at most {} in a second of the recovery",
        peak(&after)
    );
    assert!(
        peak(&after) as f64 <= (2.0 * rate).ceil(),
        "{} against {rate}",
        peak(&after)
    );
    // Nothing was missed and nothing invented.
    let jobs = controller.jobs.lock().unwrap();
    let ended = |id: &u64| jobs[id] != "running";
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), jobs.keys().filter(|id| ended(id)).count());
    assert!(seen.keys().all(ended) && seen.len() > 5_000);
}

#[tokio::test(start_paused = true)]
async fn half_of_the_pages_fail_and_nothing_is_missed_or_invented() {
    let controller = Controller::with(3_000);
    let monitor = monitor(&controller, &in_rounds());
    let seen = Arc::default();
    let dice = provider_core::lifecycle::SeededEntropy::new(7);
    controller.trouble(move || {
        provider_core::lifecycle::Entropy::next(&dice)
            .is_multiple_of(2)
            .then(unavailable)
    });
    poll_for_ever(&monitor, 3_000, &seen);
    for round in 0..6 {
        sleep(INTERVAL).await;
        for id in (1 + round * 100)..=(100 + round * 100) {
            controller.set(id, "failed");
        }
    }
    // The page, and then the job itself: either fails every other time, and some are out of luck.
    for _ in 0..100 {
        if seen.lock().unwrap().len() < 600 {
            sleep(INTERVAL).await;
        }
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 600);
    assert!(seen.keys().all(|id| *id <= 600));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_quiet_gets_it() {
    let controller = Controller::with(1_000);
    let monitor = monitor(&controller, &in_rounds());
    poll_for_ever(&monitor, 1_000, &Arc::default());
    sleep(INTERVAL * 2).await;
    let once = AtomicU64::new(0);
    let quiet = Duration::from_secs(45);
    controller.trouble(move || {
        let error = ProviderError::new(Effect::Rejected, ErrorKind::RateLimited, "slow down");
        (once.fetch_add(1, Ordering::Relaxed) == 0).then(|| error.with_retry_after(quiet))
    });
    let before = controller.count();
    while controller.count() == before {
        sleep(Duration::from_millis(10)).await;
    }
    let at = controller.asked()[before].0 + controller.latency;
    sleep(quiet + INTERVAL).await;
    let asked = controller.asked().split_off(before);
    let within = asked
        .iter()
        .filter(|(when, ..)| *when > at && *when < at + quiet)
        .count();
    // Those that were on their way already are not called back.
    assert!(within == 0, "{within} requests in the quiet");
    assert!(asked.len() > 1);
}

/// What was heard meanwhile, and who has failed meanwhile, waits its turn like everybody else.
#[tokio::test(start_paused = true)]
async fn hints_that_came_in_the_quiet_are_no_stampede_after_it() {
    const COUNT: u64 = 6_000;
    let controller = Controller::with(COUNT);
    let monitor = monitor(&controller, &in_rounds());
    let seen = Arc::default();
    poll_for_ever(&monitor, COUNT, &seen);
    sleep(INTERVAL * 3).await;
    let before = controller.count();
    sleep(INTERVAL).await;
    let rate = (controller.count() - before) as f64 / INTERVAL.as_secs_f64();
    let error = ProviderError::new(Effect::Rejected, ErrorKind::RateLimited, "slow down");
    controller.trouble(move || Some(error.clone().with_retry_after(Duration::from_secs(60))));
    for id in 1..=3_000 {
        let end = if id % 50 == 0 { "failed" } else { "successful" };
        controller.set(id, end);
        monitor.hint(id);
        sleep(Duration::from_millis(10)).await;
    }
    controller.fair();
    let up = controller.count();
    sleep(INTERVAL * 4).await;
    let most = peak(&controller.asked().split_off(up));
    println!("steady {rate:.1} requests/s, at most {most} in a second of the recovery");
    assert!(most as f64 <= (2.0 * rate).ceil(), "{most} against {rate}");
    assert_eq!(seen.lock().unwrap().len(), 3_000);
}

/// Pages take their time: those that are on their way when the server asks for quiet are answered
/// well, and that is no leave to go on.
#[tokio::test(start_paused = true)]
async fn answers_that_were_on_their_way_do_not_end_the_quiet() {
    let controller = Controller::with_latency(2_000, Duration::from_secs(2));
    let monitor = monitor(&controller, &in_rounds());
    let quiet = Duration::from_secs(45);
    let count = AtomicU64::new(0);
    controller.trouble(move || {
        let error = ProviderError::new(Effect::Rejected, ErrorKind::RateLimited, "slow down");
        (count.fetch_add(1, Ordering::Relaxed) == 1).then(|| error.with_retry_after(quiet))
    });
    poll_for_ever(&monitor, 2_000, &Arc::default());
    while controller.count() < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    let at = controller.asked()[1].0 + controller.latency;
    sleep(quiet + INTERVAL * 2).await;
    let asked = controller.asked();
    let on_their_way = asked.iter().filter(|(when, ..)| *when <= at).count();
    assert!(
        on_their_way >= 3,
        "the test is about overlapping: {on_their_way}"
    );
    let mut after = asked.iter().filter(|(when, ..)| *when > at);
    let first = after.next().unwrap().0;
    assert!(first >= at + quiet, "{:?} too early", at + quiet - first);
    assert!(after.count() > 5, "it goes on");
}

#[tokio::test(start_paused = true)]
async fn without_lists_too_a_server_that_asks_for_quiet_gets_it() {
    let controller = Controller::with(400);
    let refusal = ProviderError::new(Effect::Rejected, ErrorKind::Forbidden, "no lists for you");
    *controller.trouble_with_lists.lock().unwrap() = Some(refusal);
    let slow = ProviderError::new(Effect::Rejected, ErrorKind::RateLimited, "slow down");
    let quiet = Duration::from_secs(45);
    *controller.trouble_with_singles.lock().unwrap() = Some(slow.with_retry_after(quiet));
    let monitor = monitor(&controller, &in_rounds());
    let asked = (1..=400).map(|id| monitor.seen(KIND, id));
    for seen in futures::future::join_all(asked).await {
        assert!(seen.unwrap_err().retry_after().is_some());
    }
    // A list is refused three times before it is believed.
    let most = 3 + MonitorConfig::default().max_singles();
    assert!(controller.count() <= most, "{} of 400", controller.count());
    let before = controller.count();
    sleep(quiet - Duration::from_secs(1)).await;
    assert!(monitor.seen(KIND, 1).await.is_err());
    assert_eq!(controller.count(), before);
    // A list is tried, some are asked about, and the next quiet begins.
    sleep(Duration::from_secs(2)).await;
    assert!(monitor.seen(KIND, 1).await.is_err());
    sleep(quiet / 2).await;
    let again = controller.count() - before;
    assert!((1..=most).contains(&again), "{again}");
}

/// A controller that was restarted fails all its jobs at once (AWX 24.6.1).
#[tokio::test(start_paused = true)]
async fn many_failures_at_once_are_read_some_at_a_time_and_each_once() {
    let controller = Controller::with_latency(1_000, Duration::from_millis(60));
    let monitor = monitor(&controller, &in_rounds());
    let seen = Arc::default();
    poll_for_ever(&monitor, 1_000, &seen);
    sleep(INTERVAL * 3).await;
    let before = controller.asked().len();
    for id in 1..=1_000 {
        controller.set(id, "failed");
    }
    sleep(INTERVAL * 3).await;
    assert_eq!(seen.lock().unwrap().len(), 1_000);
    let asked = controller.asked().split_off(before);
    let singles = asked.iter().filter(|(.., page)| !page).count();
    assert_eq!(singles, 1_000, "each once");
    let most = controller.most_singles.load(Ordering::Relaxed);
    println!("at most {most} at once");
    assert!(most <= MonitorConfig::default().max_singles());
    // Several who want to know are one question, also now that it has ended.
    sleep(INTERVAL).await;
    let before = controller.count();
    let many = futures::future::join_all((0..50).map(|_| monitor.seen(KIND, 7))).await;
    assert!(many.iter().all(|seen| seen.as_ref().unwrap().is_detail));
    assert_eq!(controller.count(), before + 1);
}

/// The state that was seen is told at once, the details to those who want to know.
#[tokio::test(start_paused = true)]
async fn a_failure_is_news_before_its_details_are_read() {
    let controller = Controller::with(100);
    let monitor = monitor(&controller, &in_rounds());
    futures::future::join_all((1..=100).map(|id| monitor.seen(KIND, id))).await;
    let mut events = monitor.subscribe();
    controller.set(9, "failed");
    monitor.hint(8);
    monitor.hint(9);
    assert_eq!(events.next().await.unwrap().1, JobState::Failed);
    let singles = || controller.asked().iter().filter(|(.., page)| !page).count();
    assert_eq!(singles(), 0);
    assert!(monitor.seen(KIND, 9).await.unwrap().is_detail);
    assert_eq!(singles(), 1);
}

#[tokio::test(start_paused = true)]
async fn few_jobs_share_a_question_and_its_bound() {
    let controller = Controller::with_latency(30, Duration::from_secs(1));
    let monitor = monitor(&controller, &MonitorConfig::default());
    let many = futures::future::join_all((0..50).map(|_| monitor.seen(KIND, 1))).await;
    assert!(many.iter().all(Result::is_ok));
    assert_eq!(controller.count(), 1);
    let all = futures::future::join_all((1..=30).map(|id| monitor.seen(KIND, id))).await;
    assert!(all.iter().all(Result::is_ok));
    let most = controller.most_singles.load(Ordering::Relaxed);
    assert_eq!(most, MonitorConfig::default().max_singles());
}

/// Who waits is never left waiting, whatever becomes of the task that would have told.
#[tokio::test(start_paused = true)]
async fn a_task_that_is_gone_is_replaced() {
    let controller = Controller::with(10);
    for batch_from in [0, 1_000] {
        let config = MonitorConfig {
            batch_from,
            ..MonitorConfig::default()
        };
        let monitor = monitor(&controller, &config);
        controller.trouble(|| panic!("the source is broken"));
        let error = tokio::time::timeout(INTERVAL, monitor.seen(KIND, 1)).await;
        assert_eq!(error.unwrap().unwrap_err().effect(), Effect::NotSent);
        *controller
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
        controller.trouble.clear_poison();
        let seen = tokio::time::timeout(INTERVAL, monitor.seen(KIND, 1)).await;
        assert!(seen.unwrap().is_ok());
    }
}

/// Who waited for a page that does not come any more, because the jobs have become few, is asked about alone.
#[tokio::test(start_paused = true)]
async fn jobs_that_have_become_few_are_not_asked_about_all_at_once() {
    let config = MonitorConfig {
        batch_from: 62,
        ..MonitorConfig::default()
    };
    let mut schedule = Schedule::new(&config, INTERVAL, 1);
    let began = Instant::now();
    let may = May {
        page: true,
        single: true,
        lists: true,
    };
    for id in 0..70 {
        schedule.expect(id, KIND, began);
    }
    // Who drops what he waits for waits no more.
    let asked = (0..70).map(|id| schedule.ask(id, KIND, began, None, |_, _| false));
    let _told: Vec<_> = asked.collect();
    assert!(matches!(schedule.next(began, may), schedule::Next::At(_)));
    let gone = ProviderError::new(Effect::Rejected, ErrorKind::NotFound, "no such job");
    for id in 30..70 {
        schedule.gone(id, &gone);
    }
    let mut asked: Vec<Instant> = Vec::new();
    let mut now = began;
    for _ in 0..1_000 {
        if asked.len() == 30 {
            break;
        }
        match schedule.next(now, may) {
            schedule::Next::One(..) => asked.push(now),
            schedule::Next::At(at) => now = at,
            other => panic!("{other:?} after {asked:?}"),
        }
    }
    let (most, last) = (busiest_second(&asked), asked[29] - began);
    println!("{most} in the busiest second, the last after {last:?}");
    assert!(most <= 10, "{most}: {asked:?}");
    assert!(last < Duration::from_secs(4), "{asked:?}");
}

/// A server may give fewer rows than it is asked for, and does not say so when it does not count.
#[tokio::test(start_paused = true)]
async fn short_pages_hide_no_end() {
    for most in [50, 10] {
        let controller = Controller::with(600);
        controller.most_rows.store(most, Ordering::Relaxed);
        let monitor = monitor(&controller, &in_rounds());
        let seen = Arc::default();
        poll_for_ever(&monitor, 600, &seen);
        sleep(INTERVAL * 3).await;
        for id in 1..=600 {
            controller.set(id, "successful");
        }
        // An interval until it is seen, and one until somebody asks.
        sleep(INTERVAL.mul_f64(2.2)).await;
        assert_eq!(seen.lock().unwrap().len(), 600, "{most}");
    }
}

/// What a page once had says nothing about what pages have now.
#[tokio::test(start_paused = true)]
async fn pages_that_have_become_shorter_hide_no_end() {
    for (count, most) in [(600, 50), (600, 10), (60, 5)] {
        let controller = Controller::with(count);
        let monitor = monitor(&controller, &in_rounds());
        let seen = Arc::default();
        poll_for_ever(&monitor, count, &seen);
        sleep(INTERVAL * 3).await;
        controller.most_rows.store(most, Ordering::Relaxed);
        let last = count / 4;
        for id in count - last + 1..=count {
            controller.set(id, "successful");
        }
        sleep(INTERVAL.mul_f64(2.5)).await;
        let seen = seen.lock().unwrap().len() as u64;
        assert_eq!(seen, last, "{count} jobs, {most} a page");
    }
}

#[tokio::test(start_paused = true)]
async fn pages_are_as_long_as_the_server_gives() {
    let controller = Controller::with(600);
    controller.most_rows.store(50, Ordering::Relaxed);
    let monitor = monitor(&controller, &in_rounds());
    let all = || futures::future::join_all((1..=600).map(|id| monitor.seen(KIND, id)));
    assert!(all().await.iter().all(Result::is_ok));
    let before = controller.count();
    sleep(INTERVAL * 2).await;
    let pages = controller.asked().split_off(before);
    let largest = pages.iter().map(|(_, ids, _)| *ids).max();
    assert_eq!(largest, Some(50), "it has learned");
}

/// With rows that cannot be read nobody knows which jobs are where they were.
#[tokio::test(start_paused = true)]
async fn rows_that_cannot_be_read_hide_no_end() {
    let controller = Controller::with(40);
    let monitor = monitor(&controller, &in_rounds());
    let all = || futures::future::join_all((1..=40).map(|id| monitor.seen(KIND, id)));
    all().await;
    controller.most_rows.store(0, Ordering::Relaxed);
    controller.unreadable.store(1, Ordering::Relaxed);
    controller.set(3, "successful");
    sleep(INTERVAL * 2).await;
    let states = all().await.into_iter().map(|seen| seen.unwrap().state());
    assert_eq!(
        states.filter(|state| *state == JobState::Succeeded).count(),
        1
    );
}

/// A list that is too long for some server in between is asked for in parts.
#[tokio::test(start_paused = true)]
async fn a_page_that_is_refused_as_such_is_asked_for_in_parts() {
    let controller = Controller::with(200);
    let too_long = ProviderError::new(Effect::Rejected, ErrorKind::Invalid, "414");
    let count = AtomicU64::new(0);
    controller
        .trouble(move || (count.fetch_add(1, Ordering::Relaxed) < 2).then(|| too_long.clone()));
    let monitor = monitor(&controller, &in_rounds());
    let asked = (1..=200).map(|id| monitor.seen(KIND, id));
    assert!(
        futures::future::join_all(asked)
            .await
            .iter()
            .all(Result::is_ok)
    );
    let sizes: Vec<usize> = controller.asked().iter().map(|(_, ids, _)| *ids).collect();
    assert_eq!(sizes, [200, 100, 50, 50, 50, 50]);
}

/// All want to know at once, as after a restart: they are answered at twice the steady pace at most, and
/// looked at evenly from then on.
#[tokio::test(start_paused = true)]
async fn a_restart_is_spread_over_a_round() {
    let controller = Controller::with(6_000);
    let monitor = monitor(&controller, &in_rounds());
    let all = futures::future::join_all((1..=6_000).map(|id| monitor.seen(KIND, id)));
    assert!(all.await.iter().all(Result::is_ok));
    poll_for_ever(&monitor, 6_000, &Arc::default());
    let first = controller.asked();
    // Thirty pages in a round.
    println!("at most {} pages in a second of the start", peak(&first));
    assert!(peak(&first) <= 3, "{}", peak(&first));
    let took = first.last().unwrap().0 - first[0].0;
    assert!(took > INTERVAL / 3 && took < INTERVAL, "{took:?}");
    sleep(INTERVAL * 3).await;
    let before = controller.count();
    sleep(INTERVAL * 2).await;
    let steady = controller.asked().split_off(before);
    assert!(peak(&steady) <= 3, "{}", peak(&steady));
}

/// A job that has waited for an hour is looked at every two minutes, whoever asks in between.
#[tokio::test(start_paused = true)]
async fn long_queues_are_looked_at_less_often() {
    let mut controller = Controller::with(50);
    let hour_ago = start().checked_sub(SignedDuration::from_hours(1)).unwrap();
    Arc::get_mut(&mut controller).unwrap().created = Some(hour_ago);
    for id in 1..=50 {
        controller.set(id, "pending");
    }
    let monitor = monitor(&controller, &in_rounds());
    poll_for_ever(&monitor, 50, &Arc::default());
    sleep(INTERVAL * 8).await;
    let before = controller.asked().len();
    sleep(INTERVAL * 40).await;
    let asked = controller.asked().split_off(before);
    let looks: usize = asked.iter().map(|(_, ids, _)| ids).sum();
    let each = looks as f64 / 50.0;
    println!("{each} looks at each in forty intervals");
    assert!((10.0..12.5).contains(&each), "{each}");
}

/// Whoever has asked a job to stop waits for its end, and not for the next round.
#[tokio::test(start_paused = true)]
async fn a_job_that_is_being_canceled_is_looked_at_often() {
    let controller = Controller::with(100);
    let monitor = monitor(&controller, &in_rounds());
    futures::future::join_all((1..=100).map(|id| monitor.seen(KIND, id))).await;
    monitor.distrust(5);
    let mut late = Duration::ZERO;
    for _ in 0..5 {
        sleep(Duration::from_secs(7)).await;
        monitor.seen(KIND, 5).await.unwrap();
    }
    controller.set(5, "canceled");
    let at = Instant::now();
    while monitor.seen(KIND, 5).await.unwrap().state() == JobState::Running {
        sleep(Duration::from_secs(1)).await;
        late = at.elapsed();
    }
    assert!(late <= Duration::from_secs(8), "{late:?}");
}

/// What was on its way when we canceled was read before it.
#[tokio::test(start_paused = true)]
async fn a_look_from_before_our_cancel_is_told_to_nobody() {
    let controller = Controller::with_latency(2, Duration::from_secs(1));
    for batch_from in [0, 1_000] {
        let config = MonitorConfig {
            batch_from,
            ..MonitorConfig::default()
        };
        controller.set(1, "running");
        let monitor = monitor(&controller, &config);
        let cancel = async {
            sleep(Duration::from_millis(500)).await;
            controller.set(1, "canceled");
            monitor.distrust(1);
        };
        let (seen, ()) = futures::future::join(monitor.seen(KIND, 1), cancel).await;
        assert_eq!(seen.unwrap().state(), JobState::Canceled);
    }
}

/// Many hints of some jobs do not hold up one of another, whatever its number and status.
#[tokio::test(start_paused = true)]
async fn hints_are_followed_in_the_order_in_which_they_came() {
    let controller = Controller::with(1_000);
    for id in 500..=1_000 {
        controller.set(id, "pending");
    }
    let monitor = monitor(&controller, &in_rounds());
    futures::future::join_all((1..=1_000).map(|id| monitor.seen(KIND, id))).await;
    sleep(Duration::from_secs(5)).await;
    let mut events = monitor.subscribe();
    controller.set(900, "running");
    let chatter = async {
        for n in 0_u64.. {
            monitor.hint(1 + n % 400);
            if n == 50 {
                monitor.hint(900);
            }
            sleep(Duration::from_millis(3)).await;
        }
    };
    let told = async {
        sleep(Duration::from_millis(150)).await;
        let at = Instant::now();
        while events.next().await.unwrap().0.id != "900" {}
        at.elapsed()
    };
    tokio::select! {
        () = chatter => {}
        late = told => assert!(late < Duration::from_secs(1), "{late:?}"),
    }
}

/// Gateways refuse now and then what they let through a moment later: that is no lack of a right, however
/// often it happens, and no reason to ask about each job by itself.
#[tokio::test(start_paused = true)]
async fn a_list_that_is_refused_now_and_then_is_asked_for_again() {
    let controller = Controller::with(400);
    let monitor = monitor(&controller, &in_rounds());
    poll_for_ever(&monitor, 400, &Arc::default());
    sleep(INTERVAL * 2).await;
    let before = controller.count();
    let (n, forbidden) = (AtomicU64::new(0), || {
        ProviderError::new(Effect::Rejected, ErrorKind::Forbidden, "403")
    });
    // Two in a row, and then a few that are served.
    controller.trouble(move || (n.fetch_add(1, Ordering::Relaxed) % 6 < 2).then(forbidden));
    sleep(INTERVAL * 20).await;
    let asked = controller.asked().split_off(before);
    assert!(asked.len() > 60, "{}", asked.len());
    assert!(asked.iter().all(|(.., is_page)| *is_page));
    // A right that is not there is another matter.
    let before = controller.count();
    *controller.trouble_with_lists.lock().unwrap() = Some(forbidden());
    controller.fair();
    sleep(INTERVAL * 20).await;
    let asked = controller.asked().split_off(before);
    let pages = asked.iter().filter(|(.., is_page)| *is_page).count();
    assert!(
        pages < 15 && asked.len() > 400,
        "{pages} of {}",
        asked.len()
    );
}
