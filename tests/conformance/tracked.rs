//! EDA with its jobs in sight, on AAP by their label or in EDA's audit: events, by webhook or by event
//! stream, a rulebook, and jobs.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use provider_core::{Clock, ManualClock, OperationToken, Provider, Resource};
use provider_eda::{AuditTracking, EdaProvider, JobTracking};
use provider_testkit::aap::{
    ADMIN_TOKEN, AapSim, Ending, Fault as AapFault, OnCancel, Route, Run, Template,
    World as Controller,
};
use provider_testkit::conformance::{Deed, Fault, Harness, Ran, World};
use provider_testkit::eda::{
    EdaSim, Event, Fate, Objects, Rule, Rulebook, Stream, Webhook, World as Service,
};

use super::aap::{CREATE, DELETE, RESTART, at_work};
use super::eda::{TOKEN, change_token, name_of, stream, token_of, type_of, unpaced, ways, webhook};

const LABEL: &str = "event-{{ event.payload.providerEvent.operationToken }}";

const API_TOKEN: &str = "token-of-the-eda-api";

#[derive(Clone, Copy)]
struct TrackedHarness {
    by_stream: bool,
    in_audit: bool,
}

const BY_WEBHOOK: TrackedHarness = TrackedHarness {
    by_stream: false,
    in_audit: false,
};
const BY_STREAM: TrackedHarness = TrackedHarness {
    by_stream: true,
    in_audit: false,
};
const IN_AUDIT: TrackedHarness = TrackedHarness {
    by_stream: false,
    in_audit: true,
};

struct TrackedWorld {
    kind: TrackedHarness,
    eda: EdaSim,
    aap: AapSim,
    rulebook: Mutex<Rulebook>,
    objects: Objects,
    clock: Arc<ManualClock>,
}

#[async_trait]
impl Harness for TrackedHarness {
    async fn world(&self, _seed: u64) -> Result<Box<dyn World>, String> {
        let clock = super::aap::clock();
        let text = |error: std::io::Error| error.to_string();
        let service: Service = match self.by_stream {
            true => Stream::token(TOKEN).into(),
            false => Webhook::new().with_token(TOKEN).into(),
        };
        let eda = EdaSim::start(service, clock.clone()).await.map_err(text)?;
        eda.serve_api(API_TOKEN);
        let templates = [CREATE, DELETE, RESTART]
            .map(|name| Template::job(name).with_plan(at_work()).with_labels());
        let controller = Controller::with(templates);
        let aap = AapSim::start(controller, clock.clone())
            .await
            .map_err(text)?;
        let rules = [
            ("create", CREATE),
            ("delete", DELETE),
            (super::ACTION, RESTART),
        ]
        .map(|(action, template)| Rule::new(action, template).with_label(LABEL));
        Ok(Box::new(TrackedWorld {
            kind: *self,
            eda,
            aap,
            rulebook: Mutex::new(Rulebook::parallel(rules)),
            objects: Objects::default(),
            clock,
        }))
    }
}

impl TrackedWorld {
    fn step(&self) {
        let mut rulebook = self.rulebook.lock().unwrap();
        rulebook.step(&self.eda, &self.aap, &self.objects);
    }

    fn run_of(&self, token: &str) -> Option<Run> {
        let of = "/ansible_eda/event/payload/providerEvent/operationToken";
        let is_it = |run: &Run| {
            run.extra_vars
                .pointer(of)
                .is_some_and(|seen| *seen == token)
        };
        self.aap.journal().into_iter().find(is_it)
    }

    fn see(&self, name: &str) {
        if self.objects.get("tenant", name).is_none() {
            self.objects.put(super::object(name));
        }
        self.step();
    }
}

#[async_trait]
impl World for TrackedWorld {
    fn provider(&self) -> Result<Arc<dyn Provider>, String> {
        let config = match self.kind.by_stream {
            true => unpaced(stream(&self.eda)),
            false => unpaced(webhook(&self.eda)),
        };
        let config = match self.kind.in_audit {
            true => config.with_tracking(AuditTracking::new(self.eda.url(), API_TOKEN)),
            false => config.with_tracking(JobTracking::new(super::aap::config(&self.aap))),
        };
        let provider = EdaProvider::with_clock(config, self.clock.clone());
        Ok(Arc::new(provider.map_err(|error| error.to_string())?))
    }

    fn object(&self, name: &str) -> Resource {
        self.see(name);
        super::resource(self.objects.get("tenant", name).unwrap())
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn pass(&self, by: Duration) {
        self.step();
        self.clock.advance(by);
        self.step();
    }

    async fn break_next(&self, fault: Fault, way: usize) -> bool {
        let of_jobs = [Fault::RefusesCancel, Fault::FailsRead, Fault::FloodsRead];
        if self.kind.in_audit && of_jobs.contains(&fault) {
            return false; // nobody asks AAP
        }
        match (fault, way) {
            (Fault::RefusesCredentials, 0) => self.eda.change(change_token),
            (Fault::IgnoresCancel, 0) => {
                let plan = at_work().on_cancel(OnCancel::Ignores);
                self.aap.plan_next(CREATE, plan);
            }
            (Fault::RefusesCancel, 0) => self.aap.fault(Route::Cancel, &AapFault::Status(405), 1),
            (Fault::LosesCancelAnswer, 0) => self.aap.fault(Route::Cancel, &AapFault::DropAfter, 1),
            (Fault::LosesCancelAnswer, 1) => {
                let fault = AapFault::StatusAfter(504);
                self.aap.fault(Route::Cancel, &fault, 1);
            }
            (Fault::FailsRead, 0) => self.aap.fault(Route::Any, &AapFault::Status(503), 1),
            (Fault::FailsRead, 1) => self.aap.fault(Route::Any, &AapFault::DropBefore, 1),
            (Fault::FloodsRead, 0) => self.aap.fault(Route::Any, &AapFault::HtmlOk(2 << 20), 1),
            _ => match ways(fault).get(way) {
                Some(fault) => self.eda.fault(fault, 1),
                None => return false,
            },
        }
        true
    }

    async fn make(&self, deed: Deed, token: &OperationToken) -> bool {
        self.step();
        let Some(run) = self.run_of(token.as_str()) else {
            return false;
        };
        let failed = |message: String| Ending::Failed {
            task: "Create the network".to_owned(),
            message,
        };
        let done = match deed {
            Deed::Succeed => run.stopped.is_some() || self.aap.end(run.id, &Ending::Successful),
            Deed::Fail => self.aap.end(run.id, &failed("quota exceeded".to_owned())),
            Deed::FailLoudly => {
                let text = super::loud(ADMIN_TOKEN, &run.extra_vars);
                self.aap.end(run.id, &failed(text))
            }
            Deed::BeCanceled => {
                self.aap.cancel(run.id);
                true
            }
            Deed::SpeakUnknownWord if !self.kind.in_audit => {
                let word = AapFault::Word("hibernating".to_owned());
                self.aap.fault(Route::Any, &word, 1);
                true
            }
            Deed::BeCopied if !self.kind.in_audit => self.aap.relaunch(run.id).is_some(),
            Deed::FinishCopies if !self.kind.in_audit => {
                let journal = self.aap.journal();
                let copies = journal.iter().filter(|other| {
                    other.launch_type == "relaunch" && other.extra_vars == run.extra_vars
                });
                let mut ended = copies.map(|copy| self.aap.end(copy.id, &Ending::Successful));
                ended.all(|is_so| is_so)
            }
            // A job that is not there may be one that has not begun: no sign.
            _ => false,
        };
        self.step();
        done
    }

    async fn journal(&self) -> Vec<Ran> {
        self.step();
        let ran = |event: Event| {
            let run = self.run_of(token_of(&event));
            Ran {
                id: Some(token_of(&event).to_owned()),
                token: OperationToken::from_text(token_of(&event)),
                job_type: type_of(&event),
                object: name_of(&event).to_owned(),
                live: event.fate == Fate::Queued && run.is_none_or(|run| run.stopped.is_none()),
            }
        };
        self.eda.journal().into_iter().map(ran).collect()
    }

    fn action(&self) -> Option<&str> {
        Some(super::ACTION)
    }

    fn secrets(&self) -> Vec<String> {
        [TOKEN, ADMIN_TOKEN, API_TOKEN].map(str::to_owned).to_vec()
    }

    fn tells_credentials_beforehand(&self) -> bool {
        // An event stream answers anything but a POST before it looks at the credential.
        !self.kind.by_stream
    }
}

/// A job that is not there may be one that has not begun: no sign.
const UNSEEN: [&str; 3] = [
    // A status that has seen the end forgets which job it was before anybody listens.
    "a_wake_up_names_its_job",
    "a_forgotten_job_is_not_found",
    "a_cancel_of_a_forgotten_job_says_so",
];

#[tokio::test]
async fn eda_passes_with_its_jobs_in_sight() {
    super::passes(&BY_WEBHOOK, &[&UNSEEN, &super::ABOUT_FIND]).await;
}

#[tokio::test]
async fn eda_passes_by_event_stream_with_its_jobs_in_sight() {
    let beforehand = ["a_preflight_sees_refused_credentials"];
    super::passes(&BY_STREAM, &[&UNSEEN, &beforehand, &super::ABOUT_FIND]).await;
}

/// Seen when it is over, and not before: neither asked about nor canceled.
#[tokio::test]
async fn eda_passes_with_its_jobs_in_the_audit() {
    let unseen = [
        "an_unknown_word_is_no_end",
        "a_failed_question_is_no_verdict",
        "a_failed_question_is_forgotten",
    ];
    let left_out: [&[&str]; 5] = [
        &UNSEEN,
        &unseen,
        &super::ABOUT_CANCEL,
        &super::ABOUT_FIND,
        &super::ABOUT_RELAUNCH,
    ];
    super::passes(&IN_AUDIT, &left_out).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_tracked_eda_are_kept_apart() {
    for harness in [BY_WEBHOOK, BY_STREAM, IN_AUDIT] {
        super::passes_at_once(&harness).await;
    }
}
