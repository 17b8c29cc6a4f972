//! 10,000 events under a storm: what the provider says of each is right against what the service
//! really took, and is exactly what follows from what went wrong with it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that panics has failed"
)]

mod common;

use std::collections::{BTreeMap, HashMap};

use common::{config, http, object, request, resource, setup, stream, token, webhook};
use futures::StreamExt;
use jiff::SignedDuration;
use provider_core::{Effect, ErrorKind, Provider};
use provider_eda::{EdaConfig, Endpoints, HttpConfig, Pacing, StreamAuth, Transport};
use provider_testkit::eda::{EdaSim, Fault, Stream, Weather, Webhook, World};

const SENDS: u128 = 5_000;
const AT_ONCE: u32 = 64;

/// What became of an event, as its sender was told; nothing for one that was sent.
type Verdict = Option<(Effect, ErrorKind)>;

fn hasty(config: EdaConfig) -> EdaConfig {
    config
        .with_http(HttpConfig {
            request_timeout: SignedDuration::from_millis(400),
            ..http()
        })
        .with_pacing(Pacing {
            min_interval: SignedDuration::ZERO,
            max_in_flight: AT_ONCE,
            breaker_failures: u32::MAX,
            ..Pacing::default()
        })
}

/// Two kinds whose services are not there: nobody listens, and no such name.
fn with_absent(mut config: EdaConfig) -> EdaConfig {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap().to_string();
    let add = |urls: &mut Endpoints, path: &str| {
        for (kind, host) in [("Refused", nobody.as_str()), ("Unknown", "nowhere.invalid")] {
            let url = format!("http://{host}{path}");
            *urls = std::mem::take(urls).with_kind(kind, &url, &url);
        }
    };
    match &mut config.transport {
        Transport::RulebookWebhook(webhook) => add(&mut webhook.endpoints, "/x"),
        Transport::EventStream(stream) => add(&mut stream.endpoints, &Stream::token("").path()),
        _ => {}
    }
    config
}

fn kind(n: u128) -> &'static str {
    match n % 100 {
        7 => "Refused",
        // Looking names up takes threads and time.
        8 if n < 2_000 => "Unknown",
        _ => "ComputeInstance",
    }
}

/// What a sender must make of this, whatever the service did.
fn expected(kind: &str, fault: Option<&Fault>) -> Verdict {
    if kind != "ComputeInstance" {
        return Some((Effect::NotSent, ErrorKind::Unavailable));
    }
    Some(match fault? {
        Fault::DropBefore
        | Fault::DropAfter
        | Fault::Status(500..)
        | Fault::StatusAfter(_)
        | Fault::Redirect(302, _) => (Effect::MaybeSent, ErrorKind::Unavailable),
        Fault::HangBefore | Fault::HangAfter => (Effect::MaybeSent, ErrorKind::Timeout),
        Fault::LoginPage(_) | Fault::Truncated => (Effect::Unreadable, ErrorKind::Protocol),
        Fault::Status(404) => (Effect::Rejected, ErrorKind::Unavailable),
        Fault::RateLimited(_) => (Effect::Rejected, ErrorKind::RateLimited),
        Fault::Redirect(308, _) => (Effect::Rejected, ErrorKind::Invalid),
        other => panic!("{other:?} is not in the weather"),
    })
}

/// How often which verdict met which truth, and what was told wrong.
#[derive(Default)]
struct Count {
    matrix: BTreeMap<(&'static str, &'static str), usize>,
    wrong: Vec<String>,
    /// Timed out although nothing went wrong with them: a slow machine.
    late: usize,
}

impl Count {
    fn of(&self, verdict: &'static str, truth: &'static str) -> usize {
        self.matrix.get(&(verdict, truth)).copied().unwrap_or(0)
    }
}

async fn storm(
    world: impl Into<World>,
    config_of: impl FnOnce(&EdaSim) -> EdaConfig,
    seed: u64,
    count: &mut Count,
) {
    let s = setup(world, |sim| with_absent(hasty(config_of(sim)))).await;
    s.sim.weather(Some(Weather::stormy(seed)));
    let verdicts: Vec<(u128, Verdict)> = futures::stream::iter(1..=SENDS)
        .map(|n| {
            let eda = &s.eda;
            async move {
                let mut vm = object(&format!("vm-{n}"), "tenant");
                vm["kind"] = kind(n).into();
                let request = request(resource(vm), n);
                let sent = eda.trigger_provision(&request).await;
                let told = |error: provider_core::TriggerError| {
                    (error.error().effect(), error.error().kind())
                };
                (n, sent.err().map(told))
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
    let mut faults: HashMap<String, Fault> = HashMap::new();
    for trouble in s.sim.troubles() {
        let body: serde_json::Value = serde_json::from_slice(&trouble.body).unwrap();
        let token = body["providerEvent"]["operationToken"].as_str().unwrap();
        assert_eq!(faults.insert(token.to_owned(), trouble.fault), None);
    }
    for (n, verdict) in verdicts {
        let token = token(n);
        let fault = faults.get(token.as_str());
        let truth = if taken.contains_key(token.as_str()) {
            "taken"
        } else {
            "not taken"
        };
        let word = match verdict {
            None => "sent",
            Some((Effect::NotSent, _)) => "not sent",
            Some((Effect::Rejected, _)) => "rejected",
            Some(_) => "in doubt",
        };
        *count.matrix.entry((word, truth)).or_default() += 1;
        let late = verdict == Some((Effect::MaybeSent, ErrorKind::Timeout));
        let expected = expected(kind(n), fault);
        if late && expected != verdict {
            count.late += 1;
        } else if expected != verdict {
            count.wrong.push(format!("{n}, {fault:?}: {verdict:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_10_000_events_in_a_storm_none_is_told_wrong() {
    let mut count = Count::default();
    storm(
        Webhook::new().with_token("s3cret"),
        |sim| config(webhook(sim).with_token("s3cret")),
        1,
        &mut count,
    )
    .await;
    storm(
        Stream::token("s3cret"),
        |sim| config(stream(sim, StreamAuth::token("s3cret"))),
        2,
        &mut count,
    )
    .await;
    println!("{:>10} {:>8} {:>10}", "", "taken", "not taken");
    for verdict in ["sent", "rejected", "not sent", "in doubt"] {
        let (yes, no) = (count.of(verdict, "taken"), count.of(verdict, "not taken"));
        println!("{verdict:>10} {yes:>8} {no:>10}");
    }
    let wrong = count.of("sent", "not taken")
        + count.of("rejected", "taken")
        + count.of("not sent", "taken");
    println!(
        "wrong: {wrong}; effect not as expected: {}; late: {}",
        count.wrong.len(),
        count.late
    );
    assert_eq!(wrong, 0);
    assert!(count.wrong.is_empty(), "{:#?}", count.wrong);
    assert!(count.late < 500, "too slow a machine to tell anything");
    // The storm was one: every right combination came up.
    for (verdict, truth) in [
        ("sent", "taken"),
        ("rejected", "not taken"),
        ("not sent", "not taken"),
        ("in doubt", "taken"),
        ("in doubt", "not taken"),
    ] {
        assert!(count.of(verdict, truth) > 100, "{verdict}, {truth}");
    }
}
