//! How often events go out, and what happens when nobody is there.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that panics has failed"
)]

mod common;

use std::time::Duration;

use common::{config, not_launched, request, setup, vm, webhook};
use jiff::SignedDuration;
use provider_core::{Effect, ErrorKind, Provider};
use provider_eda::{EdaConfig, Pacing};
use provider_testkit::eda::{EdaSim, Fault, Webhook};

fn with_breaker(sim: &EdaSim) -> EdaConfig {
    config(webhook(sim)).with_pacing(Pacing {
        min_interval: SignedDuration::ZERO,
        breaker_failures: 3,
        breaker_pause: SignedDuration::from_secs(30),
        ..Pacing::default()
    })
}

#[tokio::test]
async fn an_absent_service_is_left_alone_and_tried_by_one_event() {
    let s = setup(Webhook::new(), with_breaker).await;
    let mut n = 0;
    let mut send = async || {
        n += 1;
        let request = request(vm(&format!("vm-{n}")), n);
        s.eda.trigger_provision(&request).await
    };
    s.sim.fault(&Fault::Status(503), 4);
    let mut cause = None;
    for _ in 0..3 {
        let error = send().await.unwrap_err();
        cause = Some(error.error().clone());
    }
    s.clock.advance(Duration::from_secs(10));
    let error = send().await.unwrap_err();
    let error = not_launched(&error);
    assert_eq!(
        (error.effect(), error.kind(), error.retry_after()),
        (
            Effect::NotSent,
            ErrorKind::Unavailable,
            Some(Duration::from_secs(20))
        )
    );
    // Why, and what to do about it, is what the service itself answered.
    let cause = cause.unwrap();
    assert!(
        !cause.message().is_empty() && error.message().contains(cause.message()),
        "{error}"
    );
    assert!(
        error.message().contains("is left alone for a while"),
        "{error}"
    );
    assert_eq!(error.advice(), cause.advice());
    assert_eq!(s.sim.requests(), 3);
    // One probe, which fails: the pause begins again at once.
    s.clock.advance(Duration::from_secs(20));
    send().await.unwrap_err();
    send().await.unwrap_err();
    assert_eq!(s.sim.requests(), 4);
    // The next one finds the service.
    s.clock.advance(Duration::from_secs(30));
    send().await.unwrap();
    send().await.unwrap();
    assert_eq!(s.sim.requests(), 6);
}

#[tokio::test]
async fn of_many_events_after_the_pause_one_is_the_probe() {
    let s = setup(Webhook::new(), with_breaker).await;
    s.sim.fault(&Fault::DropBefore, 3);
    for n in 1..=3 {
        let request = request(vm(&format!("vm-{n}")), n);
        s.eda.trigger_provision(&request).await.unwrap_err();
    }
    s.clock.advance(Duration::from_secs(30));
    let requests: Vec<_> = (11..=18)
        .map(|n| request(vm(&format!("vm-{n}")), n))
        .collect();
    let results =
        futures::future::join_all(requests.iter().map(|r| s.eda.trigger_provision(r))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(s.sim.requests(), 4);
}

/// A service that refuses is there.
#[tokio::test]
async fn refusals_do_not_open_the_breaker() {
    let s = setup(Webhook::new(), with_breaker).await;
    s.sim.fault(&Fault::Status(413), 10);
    for n in 1..=10 {
        let request = request(vm(&format!("vm-{n}")), n);
        s.eda.trigger_provision(&request).await.unwrap_err();
    }
    assert_eq!(s.sim.requests(), 10);
}

/// The place of an event that was held back by its own pace is not taken from others, and an
/// event that waits in vain for a place is known not to be sent.
#[tokio::test]
async fn events_beyond_the_limit_wait_and_then_are_put_off() {
    let s = setup(Webhook::new(), |sim| {
        config(webhook(sim)).with_pacing(Pacing {
            min_interval: SignedDuration::from_secs(30),
            max_in_flight: 1,
            max_wait: SignedDuration::ZERO,
            ..Pacing::default()
        })
    })
    .await;
    s.sim.fault(&Fault::HangAfter, 1);
    let (a, b) = (request(vm("a"), 1), request(vm("b"), 2));
    let (first, second) =
        futures::future::join(s.eda.trigger_provision(&a), s.eda.trigger_provision(&b)).await;
    first.unwrap_err();
    let error = second.unwrap_err();
    let error = not_launched(&error);
    assert_eq!(
        (error.effect(), error.kind()),
        (Effect::NotSent, ErrorKind::RateLimited)
    );
    assert!(error.retry_after().unwrap() >= Duration::from_secs(1));
    // It was not sent, so its interval has not begun.
    s.eda.trigger_provision(&b).await.unwrap();
    assert_eq!(s.sim.journal().len(), 2);
}
