//! Jobs that have become few are not asked about together any more: whoever waits for a page then is told
//! all the same.

use tokio::sync::oneshot;

use super::*;
use crate::monitor::schedule::{Next, Told};

const ALL: u64 = 64;
const LEFT: u64 = 25;
const SECOND: Duration = Duration::from_secs(1);

fn rows(ids: &[u64]) -> Rows {
    let read = Moment::now(None, start());
    let row = |id: &u64| {
        let body = json!({"id": id, "type": KIND.word(), "status": "running"});
        let body: JobBody = serde_json::from_str(&body.to_string()).unwrap();
        (*id, Seen::new(body, &read, false))
    };
    Rows {
        rows: ids.iter().map(row).collect(),
        unreadable: 0,
        unlisted: Vec::new(),
        read: Arc::clone(&read),
    }
}

const MAY: May = May {
    page: true,
    single: true,
    lists: true,
};

/// Many jobs of which somebody asks about a few; a page about those is out, with somebody waiting for each,
/// when the others are forgotten.
fn jobs_become_few() -> (Schedule, Vec<u64>, Vec<oneshot::Receiver<Told>>, Instant) {
    let config = MonitorConfig {
        batch_from: u32::try_from(ALL).unwrap(),
        ..MonitorConfig::default()
    };
    let mut schedule = Schedule::new(&config, INTERVAL, 1);
    let began = Instant::now();
    let ask = |schedule: &mut Schedule, ids: std::ops::RangeInclusive<u64>, now| {
        let asked = ids.map(|id| schedule.ask(id, KIND, now, None, |_, _| true));
        let told = asked.filter_map(|asked| match asked {
            Asked::Wait(told) => Some(told),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let first = ask(&mut schedule, 1..=ALL, began);
    assert_eq!(first.len() as u64, ALL);
    // So long as others than the few would come along on a page.
    let mut now = began + SECOND;
    let mut last_full = now;
    while now < began + SECOND * 290 || last_full + SECOND * 8 > now {
        match schedule.next(now, MAY) {
            Next::Page(ids, but) => {
                last_full = now;
                let shown = if but.is_some() { rows(&[]) } else { rows(&ids) };
                schedule.page(&ids, but, shown, now);
            }
            Next::One(id, _) => _ = schedule.one(id, rows(&[id]).rows.remove(0).1, now),
            _ => {}
        }
        now += SECOND / 10;
        assert!(now < began + SECOND * 299, "they would be forgotten");
    }
    let told = ask(&mut schedule, 1..=LEFT, now);
    let Next::Page(ids, _) = schedule.next(now + SECOND / 10, MAY) else {
        panic!("no page");
    };
    assert_eq!(ids, (1..=LEFT).collect::<Vec<_>>());
    let later = began + SECOND * 335;
    while matches!(schedule.next(later, MAY), Next::One(..)) {}
    assert!(schedule.are_few());
    (schedule, ids, told, later)
}

fn all_are_asked_about(schedule: &mut Schedule, now: Instant, told: Vec<oneshot::Receiver<Told>>) {
    for step in 0..1_000 {
        let now = now + SECOND * step;
        if let Next::One(id, _) = schedule.next(now, MAY) {
            schedule.one(id, rows(&[id]).rows.remove(0).1, now);
        }
    }
    for mut told in told {
        assert!(told.try_recv().unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_page_that_is_too_long_is_told_although_jobs_have_become_few() {
    let (mut schedule, ids, told, now) = jobs_become_few();
    assert!(schedule.smaller_pages(ids.len()));
    schedule.again(&ids, now);
    all_are_asked_about(&mut schedule, now, told);
}

/// What is behind the last row of a page that may have been cut off is asked about again.
#[tokio::test(start_paused = true)]
async fn who_waits_for_what_a_page_has_left_out_is_told_although_jobs_have_become_few() {
    let (mut schedule, ids, told, now) = jobs_become_few();
    schedule.page(&ids, Some(Lasting::Running), rows(&ids[..20]), now);
    all_are_asked_about(&mut schedule, now, told);
}

/// What was seen of a job counts no more because we have canceled it, while a page with it was out.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_job_that_was_canceled_is_told_although_its_page_is_refused() {
    let (mut schedule, ids, told, now) = jobs_become_few();
    for id in &ids {
        schedule.distrust(*id, now);
    }
    schedule.again(&ids, now);
    all_are_asked_about(&mut schedule, now, told);
}
