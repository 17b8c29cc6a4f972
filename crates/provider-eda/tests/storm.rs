//! 10,000 events under a storm: what the provider says of each is right against what the service
//! really took.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that panics has failed"
)]

mod common;

use std::collections::{BTreeMap, HashMap};

use common::{config, http, request, setup, stream, token, vm, webhook};
use futures::StreamExt;
use jiff::SignedDuration;
use provider_core::{Provider, TriggerError};
use provider_eda::{EdaConfig, HttpConfig, Pacing, StreamAuth};
use provider_testkit::eda::{EdaSim, Stream, Weather, Webhook, World};

const SENDS: u128 = 5_000;
const AT_ONCE: u32 = 64;

fn hasty(config: EdaConfig) -> EdaConfig {
    config
        .with_http(HttpConfig {
            request_timeout: SignedDuration::from_millis(150),
            ..http()
        })
        .with_pacing(Pacing {
            min_interval: SignedDuration::ZERO,
            max_in_flight: AT_ONCE,
            breaker_failures: u32::MAX,
            ..Pacing::default()
        })
}

/// How often which verdict met which truth.
async fn storm(
    world: impl Into<World>,
    config_of: impl FnOnce(&EdaSim) -> EdaConfig,
    seed: u64,
) -> BTreeMap<(&'static str, &'static str), usize> {
    let s = setup(world, |sim| hasty(config_of(sim))).await;
    s.sim.weather(Some(Weather::stormy(seed)));
    let verdicts: Vec<(u128, &'static str)> = futures::stream::iter(1..=SENDS)
        .map(|n| {
            let eda = &s.eda;
            async move {
                let request = request(vm(&format!("vm-{n}")), n);
                let verdict = match eda.trigger_provision(&request).await {
                    Ok(_) => "sent",
                    Err(TriggerError::NotLaunched(_)) => "not launched",
                    Err(TriggerError::Ambiguous(_)) => "ambiguous",
                };
                (n, verdict)
            }
        })
        .buffer_unordered(AT_ONCE as usize)
        .collect()
        .await;
    let mut taken: HashMap<String, usize> = HashMap::new();
    for event in s.sim.journal() {
        let token = event.text("/providerEvent/operationToken").unwrap();
        *taken.entry(token.to_owned()).or_default() += 1;
    }
    assert!(
        taken.values().all(|times| *times == 1),
        "an event was taken twice"
    );
    let mut matrix = BTreeMap::new();
    for (n, verdict) in verdicts {
        let truth = if taken.contains_key(token(n).as_str()) {
            "taken"
        } else {
            "not taken"
        };
        *matrix.entry((verdict, truth)).or_default() += 1;
    }
    matrix
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_10_000_events_in_a_storm_none_is_told_wrong() {
    let by_webhook = storm(
        Webhook::new().with_token("s3cret"),
        |sim| config(webhook(sim).with_token("s3cret")),
        1,
    )
    .await;
    let by_stream = storm(
        Stream::token("s3cret"),
        |sim| config(stream(sim, StreamAuth::token("s3cret"))),
        2,
    )
    .await;
    let count = |verdict, truth| {
        [&by_webhook, &by_stream]
            .iter()
            .filter_map(|matrix| matrix.get(&(verdict, truth)))
            .sum::<usize>()
    };
    println!("{:>14} {:>8} {:>10}", "", "taken", "not taken");
    for verdict in ["sent", "not launched", "ambiguous"] {
        let (yes, no) = (count(verdict, "taken"), count(verdict, "not taken"));
        println!("{verdict:>14} {yes:>8} {no:>10}");
    }
    let wrong = count("sent", "not taken") + count("not launched", "taken");
    println!("wrong: {wrong}");
    assert_eq!(wrong, 0);
    // The storm was one: every right combination came up.
    for (verdict, truth) in [
        ("sent", "taken"),
        ("not launched", "not taken"),
        ("ambiguous", "taken"),
        ("ambiguous", "not taken"),
    ] {
        assert!(count(verdict, truth) > 100, "{verdict}, {truth}");
    }
}
