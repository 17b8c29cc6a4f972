//! The rounds on paused time, over a controller in memory that keeps a list of what it was asked.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures::{FutureExt, StreamExt};
use provider_core::{JobRef, ManualClock};
use serde_json::json;
use tokio::time::{advance, sleep};

use super::*;

mod breaker;
mod broken_rows;
mod few;
mod given_back;
mod hints;
mod together;
mod told;
mod trouble;

const INTERVAL: Duration = Duration::from_secs(30);
const KIND: Kind = Kind::Job;

/// What the next request meets.
type Trouble = Box<dyn FnMut() -> Option<ProviderError> + Send>;

#[derive(Default)]
struct Controller {
    jobs: Mutex<HashMap<u64, &'static str>>,
    /// When, and about how many.
    asked: Mutex<Vec<(Instant, usize, bool)>>,
    trouble: Mutex<Option<Trouble>>,
    trouble_with_lists: Mutex<Option<ProviderError>>,
    trouble_with_singles: Mutex<Option<ProviderError>>,
    latency: Duration,
    /// How many rows pages had.
    rows: AtomicUsize,
    /// How many a page has at most.
    most_rows: AtomicUsize,
    /// How many rows nobody can read.
    unreadable: AtomicUsize,
    /// How many jobs are being asked about by themselves, and how many were at most.
    singles: AtomicUsize,
    /// Jobs that no list shows, and those that nothing does.
    broken: Mutex<HashSet<u64>>,
    nowhere: Mutex<HashSet<u64>>,
    most_singles: AtomicUsize,
    created: Option<Timestamp>,
    /// When all jobs began, where that is told: it moves the server's clock along.
    began: Option<Instant>,
}

impl Controller {
    fn with(count: u64) -> Arc<Self> {
        let jobs = (1..=count).map(|id| (id, "running")).collect();
        Arc::new(Self {
            jobs: Mutex::new(jobs),
            latency: Duration::from_millis(5),
            most_rows: AtomicUsize::new(200),
            ..Self::default()
        })
    }

    fn with_latency(count: u64, latency: Duration) -> Arc<Self> {
        let mut controller = Self::with(count);
        if let Some(controller) = Arc::get_mut(&mut controller) {
            controller.latency = latency;
        }
        controller
    }

    /// Its clock.
    fn now(&self) -> Timestamp {
        let since = self.began.map(|began| began.elapsed());
        // A `Date` has whole seconds.
        let seconds = since.unwrap_or_default().as_secs();
        start() + SignedDuration::from_secs(i64::try_from(seconds).unwrap())
    }

    fn set(&self, id: u64, status: &'static str) {
        self.jobs.lock().unwrap().insert(id, status);
    }

    fn trouble(&self, trouble: impl FnMut() -> Option<ProviderError> + Send + 'static) {
        *self.trouble.lock().unwrap() = Some(Box::new(trouble));
    }

    fn fair(&self) {
        *self.trouble.lock().unwrap() = None;
    }

    fn asked(&self) -> Vec<(Instant, usize, bool)> {
        self.asked.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    async fn answer(&self, ids: &[u64], is_page: bool) -> Result<Rows, ProviderError> {
        self.asked
            .lock()
            .unwrap()
            .push((Instant::now(), ids.len(), is_page));
        // What is answered is what was read, and that was before the way back.
        let server = self.now();
        let bodies: Vec<(u64, JobBody)> = {
            let jobs = self.jobs.lock().unwrap();
            let row = |id: &u64| {
                let status = jobs.get(id)?;
                let mut body = json!({"id": id, "type": KIND.word(), "status": status, "created": self.created});
                if let Some(began) = self.began {
                    body["started"] = json!(start());
                    body["unified_job_template"] = json!(9);
                    body["elapsed"] = json!(began.elapsed().as_secs_f64());
                }
                let body = serde_json::from_str(&body.to_string()).unwrap();
                Some((*id, body))
            };
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids.iter().filter_map(row).collect()
        };
        sleep(self.latency).await;
        let trouble = self
            .trouble
            .lock()
            .unwrap()
            .as_mut()
            .and_then(|trouble| trouble());
        let of_kind = if is_page {
            &self.trouble_with_lists
        } else {
            &self.trouble_with_singles
        };
        let of_kind = of_kind.lock().unwrap().clone();
        match trouble.or(of_kind) {
            Some(error) => Err(error),
            None => {
                let read = Moment::now(Some(server), start());
                let seen = |(id, body)| (id, Seen::new(body, &read, !is_page));
                Ok(Rows {
                    rows: bodies.into_iter().map(seen).collect(),
                    unreadable: 0,
                    unlisted: Vec::new(),
                    read,
                })
            }
        }
    }
}

#[async_trait]
impl Source for Controller {
    async fn page(&self, ids: &[u64], but: Option<Lasting>) -> Result<Rows, ProviderError> {
        let mut page = self.answer(ids, true).await?;
        let broken = self.broken.lock().unwrap();
        if let Some(id) = ids.iter().find(|id| broken.contains(id)) {
            return Err(fails(*id));
        }
        drop(broken);
        let rows = &mut page.rows;
        rows.retain(|(_, seen)| but.map(Lasting::word) != Some(&*seen.body.status));
        self.rows.fetch_add(rows.len(), Ordering::Relaxed);
        rows.truncate(self.most_rows.load(Ordering::Relaxed));
        page.unreadable = self.unreadable.load(Ordering::Relaxed);
        Ok(page)
    }

    async fn serves(&self) -> bool {
        self.answer(&[], true).await.is_ok()
    }

    async fn one(&self, _: Kind, id: u64) -> Result<Seen, ProviderError> {
        if self.nowhere.lock().unwrap().contains(&id) {
            self.answer(&[], false).await?;
            return Err(fails(id));
        }
        let singles = self.singles.fetch_add(1, Ordering::Relaxed) + 1;
        self.most_singles.fetch_max(singles, Ordering::Relaxed);
        let rows = self.answer(&[id], false).await;
        self.singles.fetch_sub(1, Ordering::Relaxed);
        let rows = rows?;
        let gone = || ProviderError::new(Effect::Rejected, ErrorKind::NotFound, "no such job");
        rows.rows
            .into_iter()
            .next()
            .map(|(_, seen)| seen)
            .ok_or_else(gone)
    }
}

fn fails(id: u64) -> ProviderError {
    let text = format!("500 because of {id}");
    ProviderError::new(Effect::Unreadable, ErrorKind::Unavailable, text)
}

fn start() -> Timestamp {
    "2026-11-23T04:00:00Z".parse().unwrap()
}

fn monitor(controller: &Arc<Controller>, config: &MonitorConfig) -> Monitor {
    let clock = Arc::new(ManualClock::new(start()));
    Monitor::new(config, "aap", INTERVAL, clock, controller.clone(), 1)
}

fn in_rounds() -> MonitorConfig {
    MonitorConfig {
        batch_from: 0,
        ..MonitorConfig::default()
    }
}

fn unavailable() -> ProviderError {
    ProviderError::new(Effect::Rejected, ErrorKind::Unavailable, "502")
}

/// What an engine does for each of its objects.
fn poll_for_ever(monitor: &Monitor, count: u64, seen: &Arc<Mutex<HashMap<u64, Instant>>>) {
    for id in 1..=count {
        let (monitor, seen) = (monitor.clone(), Arc::clone(seen));
        tokio::spawn(async move {
            // As the engine spreads its first polls after a start, and varies the others.
            let first = INTERVAL.mul_f64((id * 7_919 % 1_000) as f64 / 1_000.0);
            sleep(first).await;
            for n in 0.. {
                if let Ok(row) = monitor.seen(KIND, id).await
                    && row.state().is_terminal()
                    && !row.lacks_detail()
                {
                    seen.lock().unwrap().entry(id).or_insert_with(Instant::now);
                    return;
                }
                let part = ((id + n) * 104_729 % 1_000) as f64 / 1_000.0;
                sleep(INTERVAL.mul_f64(0.8 + 0.4 * part)).await;
            }
        });
    }
}

/// The most of these moments within any second.
fn busiest_second(moments: &[Instant]) -> usize {
    let within = |from: &Instant| {
        let until = *from + Duration::from_secs(1);
        let is_within = |at: &&Instant| (*from..until).contains(*at);
        moments.iter().filter(is_within).count()
    };
    moments.iter().map(within).max().unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn few_jobs_are_asked_about_one_by_one_and_always_anew() {
    let controller = Controller::with(3);
    let monitor = monitor(&controller, &MonitorConfig::default());
    for id in [1, 2, 1, 1] {
        assert_eq!(
            monitor.seen(KIND, id).await.unwrap().state(),
            JobState::Running
        );
    }
    controller.set(1, "successful");
    assert_eq!(
        monitor.seen(KIND, 1).await.unwrap().state(),
        JobState::Succeeded
    );
    assert!(
        controller
            .asked()
            .iter()
            .all(|(_, ids, page)| *ids == 1 && !page)
    );
    assert_eq!(controller.count(), 5);
    advance(INTERVAL * 20).await;
    assert_eq!(controller.count(), 5, "nothing happens by itself");
}

#[tokio::test(start_paused = true)]
async fn questions_at_once_become_pages() {
    let controller = Controller::with(1_000);
    let monitor = monitor(&controller, &in_rounds());
    let asked = (1..=1_000).map(|id| monitor.seen(KIND, id));
    for seen in futures::future::join_all(asked).await {
        assert_eq!(seen.unwrap().state(), JobState::Running);
    }
    let pages = controller.asked();
    assert_eq!(pages.len(), 5, "{pages:?}");
    assert!(pages.iter().all(|(_, ids, page)| *ids == 200 && *page));
}

#[tokio::test(start_paused = true)]
async fn questions_about_one_job_are_one_question() {
    let controller = Controller::with(1);
    let monitor = monitor(&controller, &in_rounds());
    let asked = (0..50).map(|_| monitor.seen(KIND, 1));
    futures::future::join_all(asked).await;
    assert_eq!(controller.count(), 1);
    // What the round has seen is good until the next one.
    advance(INTERVAL / 2).await;
    monitor.seen(KIND, 1).await.unwrap();
    assert_eq!(controller.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_jobs_cost_sixty_requests_a_round() {
    let controller = Controller::with(10_000);
    let monitor = monitor(&controller, &in_rounds());
    poll_for_ever(&monitor, 10_000, &Arc::default());
    sleep(INTERVAL * 3).await;
    let before = controller.count();
    sleep(INTERVAL * 4).await;
    let a_round = (controller.count() - before) as f64 / 4.0;
    println!("{a_round} requests a round");
    assert!(a_round <= 60.0, "{a_round}");
    let ids: usize = controller
        .asked()
        .iter()
        .skip(before)
        .map(|(_, ids, _)| ids)
        .sum();
    assert!(ids >= 4 * 10_000, "every job in every round: {ids}");
}

/// A row costs the controller 10 ms: ten thousand in a round would be more than a round.
#[tokio::test(start_paused = true)]
async fn pages_show_what_has_changed_and_little_else() {
    let controller = Controller::with(10_000);
    let monitor = monitor(&controller, &in_rounds());
    let seen = Arc::default();
    poll_for_ever(&monitor, 10_000, &seen);
    sleep(INTERVAL * 3).await;
    let rows = || controller.rows.load(Ordering::Relaxed);
    let (first, asked) = (rows(), controller.count());
    assert!((10_000..11_000).contains(&first), "{first}: each once");
    for id in 1..=500 {
        controller.set(id, "successful");
    }
    for id in 501..=600 {
        controller.set(id, "waiting");
    }
    sleep(INTERVAL.mul_f64(2.2)).await;
    assert_eq!(seen.lock().unwrap().len(), 500);
    // Those that wait are shown more often, for the reason why they do.
    let shown = rows() - first;
    assert!((600..650).contains(&shown), "{shown}");
    let a_round = (controller.count() - asked) as f64 / 2.2;
    assert!(a_round <= 60.0, "{a_round}, of two statuses");
    // Every tenth look is at the row itself, and never at all of them in one round.
    sleep(INTERVAL * 2).await;
    let (begin, mut most) = (rows(), 0);
    for _ in 0..20 {
        let before = rows();
        sleep(INTERVAL).await;
        most = most.max(rows() - before);
    }
    let again = rows() - begin;
    assert!((17_000..24_000).contains(&again), "{again}");
    println!("{again} rows in twenty rounds, {most} in one at most");
    assert!(most < 2_000, "{most}");
}

#[tokio::test(start_paused = true)]
async fn every_end_is_seen_within_an_interval_and_told_at_once() {
    let controller = Controller::with(2_000);
    let monitor = monitor(&controller, &in_rounds());
    let mut events = monitor.subscribe();
    poll_for_ever(&monitor, 2_000, &Arc::default());
    sleep(INTERVAL * 3).await;
    let soon = Duration::from_millis(1);
    while tokio::time::timeout(soon, events.next()).await.is_ok() {}
    let ended = Instant::now();
    for id in 1..=2_000 {
        controller.set(id, "successful");
    }
    let mut late = Duration::ZERO;
    for _ in 0..2_000 {
        let (job, state) = events.next().await.unwrap();
        assert_eq!(
            (job.kind.as_str(), state),
            (KIND.word(), JobState::Succeeded)
        );
        late = late.max(ended.elapsed());
    }
    println!("the last after {late:?}");
    assert!(late < INTERVAL + Duration::from_secs(1), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_not_on_the_page_is_gone_only_when_it_says_so_itself() {
    let controller = Controller::with(50);
    let monitor = monitor(&controller, &in_rounds());
    controller.jobs.lock().unwrap().remove(&7);
    let asked = (1..=50).map(|id| monitor.seen(KIND, id));
    let seen = futures::future::join_all(asked).await;
    for (n, seen) in seen.into_iter().enumerate() {
        match seen {
            Ok(_) => assert_ne!(n, 6),
            Err(error) => assert_eq!((n, error.kind()), (6, ErrorKind::NotFound)),
        }
    }
    let asked: Vec<(usize, bool)> = controller
        .asked()
        .iter()
        .map(|(_, n, page)| (*n, *page))
        .collect();
    assert_eq!(asked, [(50, true), (1, false)]);
    // And not for good: a trouble with the single question is no proof either.
    controller.jobs.lock().unwrap().remove(&8);
    // Pages leave it out like those that go on, until its row is asked for whatever it is.
    let mut rounds = 0;
    *controller.trouble_with_singles.lock().unwrap() = Some(unavailable());
    let error = loop {
        match monitor.seen(KIND, 8).await {
            Ok(seen) => assert_eq!(seen.state(), JobState::Running),
            Err(error) => break error,
        }
        rounds += 1;
        assert!(rounds < 13, "deleted, and not missed for {rounds} rounds");
        sleep(INTERVAL).await;
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    *controller.trouble_with_singles.lock().unwrap() = None;
    sleep(INTERVAL * 2).await;
    let error = monitor.seen(KIND, 8).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn where_lists_are_refused_jobs_are_asked_about_one_by_one() {
    let controller = Controller::with(40);
    let refusal = ProviderError::new(Effect::Rejected, ErrorKind::Forbidden, "no lists for you");
    *controller.trouble_with_lists.lock().unwrap() = Some(refusal);
    let monitor = monitor(&controller, &in_rounds());
    let asked = (1..=40).map(|id| monitor.seen(KIND, id));
    for seen in futures::future::join_all(asked).await {
        assert_eq!(seen.unwrap().state(), JobState::Running);
    }
    let pages = controller.asked().iter().filter(|(.., page)| *page).count();
    assert_eq!((pages, controller.count()), (3, 43));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_takes_nobody_with_it() {
    let controller = Controller::with(2);
    let monitor = monitor(&controller, &in_rounds());
    let (first, second) = (monitor.clone(), monitor.clone());
    let leaves = tokio::spawn(async move { first.seen(KIND, 1).await });
    let stays = tokio::spawn(async move { second.seen(KIND, 1).await });
    sleep(Duration::from_millis(1)).await;
    leaves.abort();
    assert_eq!(stays.await.unwrap().unwrap().state(), JobState::Running);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_monitor_and_with_the_last_question() {
    let controller = Controller::with(100);
    let watched = monitor(&controller, &in_rounds());
    let asked = (1..=100).map(|id| watched.seen(KIND, id));
    futures::future::join_all(asked).await;
    // Nobody asks any more: five minutes later nothing is watched.
    sleep(INTERVAL * 12).await;
    let count = controller.count();
    sleep(INTERVAL * 20).await;
    assert_eq!(controller.count(), count);
    assert!(!watched.0.lock().is_running);
    // Asked again, it runs again; and ends with its owner.
    watched.seen(KIND, 1).await.unwrap();
    assert!(watched.0.lock().is_running);
    let inner = Arc::downgrade(&watched.0);
    drop(watched);
    sleep(Duration::from_secs(60)).await;
    assert!(inner.upgrade().is_none());
}

/// What was read before our own cancel says nothing about what came after it.
#[tokio::test(start_paused = true)]
async fn what_we_did_ourselves_voids_what_was_seen() {
    let controller = Controller::with(100);
    let monitor = monitor(&controller, &in_rounds());
    futures::future::join_all((1..=100).map(|id| monitor.seen(KIND, id))).await;
    controller.set(5, "canceled");
    assert_eq!(
        monitor.seen(KIND, 5).await.unwrap().state(),
        JobState::Running
    );
    monitor.distrust(5);
    assert_eq!(
        monitor.seen(KIND, 5).await.unwrap().state(),
        JobState::Canceled
    );
}

#[test]
fn pages_fit_into_a_request_line() {
    let mut schedule = Schedule::new(&in_rounds(), INTERVAL, 1);
    let now = Instant::now();
    for id in 0..400 {
        schedule.ask(10_u64.pow(17) + id, KIND, now, None, |_, _| false);
    }
    let may = May {
        page: true,
        single: true,
        lists: true,
    };
    let soon = now + Duration::from_secs(1);
    let schedule::Next::Page(ids, None) = schedule.next(soon, may) else {
        panic!("no page");
    };
    let bytes: usize = ids.iter().map(|id| id.to_string().len() + 3).sum();
    assert!(
        bytes <= 3_000 && ids.len() > 100,
        "{} ids, {bytes} bytes",
        ids.len()
    );
}

#[test]
fn the_pace_follows_the_queue_and_the_usual_end() {
    let mut pace = pace::Pace::new(INTERVAL, 1);
    let seen = |status: &str, created: i64, started: Option<i64>, elapsed: Option<f64>| {
        let at = |ago: i64| {
            start()
                .checked_sub(SignedDuration::from_secs(ago))
                .unwrap()
                .to_string()
        };
        let body = json!({
            "status": status, "created": at(created), "started": started.map(at),
            "elapsed": elapsed, "unified_job_template": 9,
        });
        Seen::new(
            serde_json::from_str::<JobBody>(&body.to_string()).unwrap(),
            &Moment::now(None, start()),
            false,
        )
    };
    let plain = |wait: Duration| wait >= INTERVAL.mul_f64(0.9) && wait <= INTERVAL;
    for _ in 0..100 {
        let chance = pace.chance();
        let running = seen("running", 10, Some(5), None);
        assert!(plain(pace.until_next(&running, false, chance)));
        let pending = seen("pending", 60, None, None);
        assert!(plain(pace.until_next(&pending, false, chance)));
    }
    let chance = pace.chance();
    let queued = pace.until_next(&seen("pending", 1_200, None, None), false, chance);
    assert!(queued > INTERVAL && queued <= INTERVAL * 2, "{queued:?}");
    let queued = pace.until_next(&seen("pending", 86_400, None, None), false, chance);
    assert!(
        queued > INTERVAL * 3 && queued <= INTERVAL * 4,
        "bounded: {queued:?}"
    );
    // Learned from successes alone.
    pace.ended(&seen("failed", 500, Some(400), Some(2.0)));
    let running_for = |started| seen("running", 1_000, Some(started), None);
    let usual_end =
        |pace: &pace::Pace, seen: &Seen| pace.until_usual_end(seen, INTERVAL.mul_f64(0.9));
    assert_eq!(usual_end(&pace, &running_for(90)), None);
    for _ in 0..20 {
        pace.ended(&seen("successful", 500, Some(400), Some(100.0)));
    }
    let near = usual_end(&pace, &running_for(90)).unwrap();
    assert!(
        near > Duration::from_secs(10) && near < Duration::from_secs(13),
        "{near:?}"
    );
    assert_eq!(usual_end(&pace, &running_for(10)), None, "far from it");
    assert_eq!(usual_end(&pace, &running_for(800)), None, "past it");
    assert_eq!(usual_end(&pace, &seen("pending", 90, None, None)), None);
}
