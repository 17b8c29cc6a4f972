//! EDA without tracking, by webhook and by event stream: what is known is read off the object.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use provider_core::{
    Clock, JobType, ManualClock, OperationToken, Provider, Resource, SecretString,
};
use provider_eda::{
    EdaConfig, EdaProvider, Endpoints, EventStream, HttpConfig, Pacing, RulebookWebhook,
    StreamAuth, Transport,
};
use provider_testkit::conformance::{Deed, Fault, Harness, Ran, World};
use provider_testkit::eda::{
    Cluster, EdaSim, Event, Fate, Fault as EdaFault, Objects, Stream, StreamCredential, Webhook,
    World as Service,
};
use serde_json::{Value, json};

use super::{ABOUT_CANCEL, ABOUT_FIND, ABOUT_RELAUNCH};

pub(crate) const TOKEN: &str = "token-of-the-service";
const FINALIZER: &str = "osac.openshift.io/computeinstance-aap";
const APPLIED: &str = "osac.openshift.io/reconciled-config-version";
const OPERATION: &str = "osac.openshift.io/reconciled-operation";

#[derive(Clone, Copy)]
enum EdaHarness {
    Webhook,
    Stream,
}

struct EdaWorld {
    sim: EdaSim,
    clock: Arc<ManualClock>,
    kind: EdaHarness,
    objects: Objects,
    /// Tokens of the events whose playbooks have ended.
    ended: Mutex<BTreeSet<String>>,
}

/// Holds no event back.
pub(crate) fn unpaced(transport: impl Into<Transport>) -> EdaConfig {
    EdaConfig::new(transport)
        .with_http(HttpConfig {
            proxy_from_environment: false,
            ..HttpConfig::default()
        })
        .with_pacing(Pacing {
            min_interval: SignedDuration::ZERO,
            breaker_failures: u32::MAX,
            ..Pacing::default()
        })
}

pub(crate) fn webhook(sim: &EdaSim) -> RulebookWebhook {
    let url = sim.url();
    let of = |word: &str| format!("{url}/{word}-{{kind}}");
    let urls = Endpoints::new(of("create"), of("delete"));
    RulebookWebhook::new(urls.with_action(super::ACTION.parse().unwrap(), of(super::ACTION)))
        .with_token(SecretString::from(TOKEN))
}

pub(crate) fn stream(sim: &EdaSim) -> EventStream {
    let auth = StreamAuth::token(SecretString::from(TOKEN));
    EventStream::new(Endpoints::one(sim.stream_url()), auth)
}

#[async_trait]
impl Harness for EdaHarness {
    async fn world(&self, _seed: u64) -> Result<Box<dyn World>, String> {
        let clock = super::aap::clock();
        let service: Service = match self {
            Self::Webhook => Webhook::new().with_token(TOKEN).into(),
            Self::Stream => Stream::token(TOKEN).into(),
        };
        let sim = EdaSim::start(service, clock.clone()).await;
        Ok(Box::new(EdaWorld {
            sim: sim.map_err(|error| error.to_string())?,
            clock,
            kind: *self,
            objects: Objects::default(),
            ended: Mutex::default(),
        }))
    }
}

fn text<'a>(event: &'a Event, pointer: &str) -> &'a str {
    event.text(pointer).unwrap_or_default()
}

pub(crate) fn token_of(event: &Event) -> &str {
    text(event, "/providerEvent/operationToken")
}

/// What an event is for.
pub(crate) fn type_of(event: &Event) -> JobType {
    match text(event, "/providerEvent/action") {
        "create" => JobType::Provision,
        "delete" => JobType::Deprovision,
        super::ACTION => super::acting(),
        other => panic!("an event for {other}"),
    }
}

fn is_create(event: &Event) -> bool {
    type_of(event) == JobType::Provision
}

pub(crate) fn name_of(event: &Event) -> &str {
    text(event, "/metadata/name")
}

pub(crate) fn ways(fault: Fault) -> Vec<EdaFault> {
    match fault {
        Fault::RefusesLaunch => [400, 403, 404, 405, 413].map(EdaFault::Status).to_vec(),
        Fault::MissesLaunch => vec![
            EdaFault::DropBefore,
            EdaFault::Status(500),
            EdaFault::Status(503),
            EdaFault::LoginPage(2_000),
            EdaFault::Redirect(302, "https://login.example.com/".to_owned()),
        ],
        Fault::LosesLaunchAnswer => vec![
            EdaFault::DropAfter,
            EdaFault::StatusAfter(500),
            EdaFault::StatusAfter(504),
        ],
        Fault::GarblesLaunchAnswer => vec![EdaFault::Truncated, EdaFault::StatusAfter(202)],
        Fault::RateLimits(delay) => vec![EdaFault::RateLimited(delay.as_secs())],
        Fault::Echoes => [400, 403, 409, 500, 200].map(EdaFault::Echo).to_vec(),
        _ => Vec::new(),
    }
}

/// The service expects another token from now on.
pub(crate) fn change_token(service: &mut Service) {
    match service {
        Service::Webhook(webhook) => webhook.token = Some("another-token".to_owned()),
        Service::Streams(streams) => {
            for stream in streams {
                if let StreamCredential::Token { token, .. } = &mut stream.credential {
                    "another-token".clone_into(token);
                }
            }
        }
    }
}

impl EdaWorld {
    /// The playbooks of creations put their finalizer first.
    fn mark(&self) {
        for event in self.sim.journal() {
            let ended = self.ended.lock().unwrap().contains(token_of(&event));
            if is_create(&event) && event.fate == Fate::Queued && !ended {
                self.edit(name_of(&event), &mut |metadata| {
                    metadata["finalizers"] = json!([FINALIZER]);
                });
            }
        }
    }

    fn edit(&self, name: &str, change: &mut dyn FnMut(&mut Value)) {
        if self.objects.get("tenant", name).is_none() {
            self.objects.put(super::object(name));
        }
        let whole = &mut |object: &mut Value| change(&mut object["metadata"]);
        self.objects.edit("tenant", name, whole);
    }
}

#[async_trait]
impl World for EdaWorld {
    fn provider(&self) -> Result<Arc<dyn Provider>, String> {
        let config = match self.kind {
            EdaHarness::Webhook => unpaced(webhook(&self.sim)),
            EdaHarness::Stream => unpaced(stream(&self.sim)),
        };
        let provider = EdaProvider::with_clock(config, self.clock.clone());
        Ok(Arc::new(provider.map_err(|error| error.to_string())?))
    }

    fn object(&self, name: &str) -> Resource {
        self.mark();
        let object = self.objects.get("tenant", name);
        super::resource(object.unwrap_or_else(|| super::object(name)))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn pass(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn break_next(&self, fault: Fault, way: usize) -> bool {
        if fault == Fault::RefusesCredentials && way == 0 {
            self.sim.change(change_token);
            return true;
        }
        match ways(fault).get(way) {
            Some(fault) => {
                self.sim.fault(fault, 1);
                true
            }
            None => false,
        }
    }

    async fn make(&self, deed: Deed, token: &OperationToken) -> bool {
        self.mark();
        let journal = self.sim.journal();
        let event = journal
            .iter()
            .find(|event| token_of(event) == token.as_str());
        // Nothing but a success leaves a sign on the object.
        let (Some(event), Deed::Succeed) = (event, deed) else {
            return false;
        };
        self.ended.lock().unwrap().insert(token.to_string());
        let version = text(event, "/providerEvent/configVersion");
        self.edit(name_of(event), &mut |metadata| {
            match type_of(event) {
                JobType::Provision => {
                    metadata["annotations"] = json!({APPLIED: version, OPERATION: token.as_str()});
                }
                JobType::Deprovision => metadata["finalizers"] = json!([]),
                // An action applies no version: its operation is its only sign.
                _ => metadata["annotations"][OPERATION] = json!(token.as_str()),
            }
        });
        true
    }

    async fn journal(&self) -> Vec<Ran> {
        let ended = self.ended.lock().unwrap().clone();
        let ran = |event: Event| Ran {
            id: Some(token_of(&event).to_owned()),
            token: OperationToken::from_text(token_of(&event)),
            job_type: type_of(&event),
            object: name_of(&event).to_owned(),
            live: event.fate == Fate::Queued && !ended.contains(token_of(&event)),
        };
        self.sim.journal().into_iter().map(ran).collect()
    }

    fn action(&self) -> Option<&str> {
        Some(super::ACTION)
    }

    fn secrets(&self) -> Vec<String> {
        vec![TOKEN.to_owned()]
    }

    fn tells_credentials_beforehand(&self) -> bool {
        // An event stream answers anything but a POST before it looks at the credential.
        matches!(self.kind, EdaHarness::Webhook)
    }

    fn assumes_over_after(&self) -> Option<Duration> {
        Some(Duration::from_secs(15 * 60))
    }
}

/// An event is seen neither to fail, nor to be canceled by others, nor found again; and nobody is asked
/// about it, so that no question fails.
const NO_SIGNS: [&str; 9] = [
    "a_wake_up_names_its_job",
    "a_failure_is_seen",
    "a_cancel_by_others_is_seen",
    "an_unknown_word_is_no_end",
    "a_forgotten_job_is_not_found",
    "a_failed_question_is_no_verdict",
    "a_failed_question_is_forgotten",
    "messages_are_bounded",
    "messages_hold_no_secret",
];

#[tokio::test]
async fn eda_passes_by_webhook() {
    super::passes(
        &EdaHarness::Webhook,
        &[&NO_SIGNS, &ABOUT_CANCEL, &ABOUT_FIND, &ABOUT_RELAUNCH],
    )
    .await;
}

#[tokio::test]
async fn eda_passes_by_event_stream() {
    let unseen = ["a_preflight_sees_refused_credentials"];
    super::passes(
        &EdaHarness::Stream,
        &[
            &NO_SIGNS,
            &ABOUT_CANCEL,
            &ABOUT_FIND,
            &ABOUT_RELAUNCH,
            &unseen,
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_eda_are_kept_apart() {
    for harness in [EdaHarness::Webhook, EdaHarness::Stream] {
        super::passes_at_once(&harness).await;
    }
}
