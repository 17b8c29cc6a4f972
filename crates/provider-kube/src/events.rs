//! What happens to an object, as Kubernetes events.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::runtime::events::{Event as KubeEvent, EventType, Recorder, Reporter};
use provider_core::lifecycle::{Event, EventKind, Outcome, Standing};
use provider_core::{JobRecord, JobRef, JobType, text};

use serde_json::Value;

use crate::conditions::{BACKEND, DEPROVISIONED, OVERDUE, PROGRESSING, let_go};

/// Publishes events for one controller.
pub(crate) struct Events(Recorder);

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// One event, before it has an object.
#[derive(Debug, PartialEq)]
pub(crate) struct Told {
    warning: bool,
    reason: String,
    action: &'static str,
    note: String,
}

impl Told {
    pub(crate) fn note(&self) -> &str {
        &self.note
    }
}

impl Events {
    pub(crate) fn new(client: Client, reporter: Reporter) -> Self {
        Self(Recorder::new(client, reporter))
    }

    /// Publishes what is told about an object.
    pub(crate) async fn publish(&self, reference: &ObjectReference, all: Vec<Told>) {
        for told in all {
            let event = KubeEvent {
                type_: if told.warning {
                    EventType::Warning
                } else {
                    EventType::Normal
                },
                reason: told.reason.clone(),
                note: Some(text::bounded(&told.note, 1_000)),
                action: told.action.to_owned(),
                secondary: None,
            };
            // An event is a courtesy: the conditions tell the same, and stay.
            if let Err(error) = self.0.publish(&event, reference).await {
                let why = crate::error::reason(&error);
                tracing::warn!(reason = told.reason, "an event was not published: {why}");
            }
        }
    }
}

fn action(job_type: JobType) -> &'static str {
    match job_type {
        JobType::Provision => "Provision",
        JobType::Deprovision => "Deprovision",
    }
}

/// What happened to attempts: told as soon as it is on record.
pub(crate) fn tell(outcome: &Outcome) -> Vec<Told> {
    outcome.events.iter().filter_map(of_attempt).collect()
}

/// Conditions that have just got a new reason, if it is one that somebody should be told of: once, when
/// it begins; the condition says so as long as it lasts.
pub(crate) fn of_conditions(standing: &Standing, news: &[Condition]) -> Vec<Told> {
    let blocked = matches!(standing, Standing::Blocked(_));
    let alarming = |condition: &&Condition| {
        let is = |word: &str| condition.type_.rsplit('/').next() == Some(word);
        (is(PROGRESSING) && (blocked || condition.reason.starts_with(BACKEND)))
            || (is(DEPROVISIONED) && condition.reason == OVERDUE)
    };
    news.iter().filter(alarming).map(alarm).collect()
}

/// That nobody can go on with an object as it is.
pub(crate) fn of_obstacle(condition: &Condition) -> Told {
    alarm(condition)
}

fn alarm(condition: &Condition) -> Told {
    Told {
        warning: true,
        reason: condition.reason.clone(),
        action: "Block",
        note: condition.message.clone(),
    }
}

/// That an object was let go: told when our finalizer is off it.
pub(crate) fn of_release(outcome: &Outcome) -> Vec<Told> {
    let Standing::Released(release) = &outcome.standing else {
        return Vec::new();
    };
    let ground = release.ground.as_str();
    let mut all = vec![Told {
        warning: false,
        reason: "Released".to_owned(),
        action: action(JobType::Deprovision),
        note: format!("the object may go: {ground}"),
    }];
    if let Some(receipt) = &outcome.receipt {
        let why = format!("let go ({ground}) although something may be left behind by");
        all.push(orphaned(&why, &receipt.jobs, &receipt.in_doubt));
    }
    all
}

/// That our finalizer was taken off by somebody else while jobs may be alive.
/// An object that was let go says so itself, and may keep the record of a job that was given up.
pub(crate) fn of_theft(records: &[JobRecord], conditions: &[Value]) -> Option<Told> {
    if let_go(conditions) {
        return None;
    }
    let live: Vec<&JobRecord> = records.iter().filter(|r| r.may_be_live()).collect();
    if live.is_empty() {
        return None;
    }
    let jobs: Vec<JobRef> = live.iter().filter_map(|record| record.job_ref()).collect();
    let why = "somebody took our finalizer off while jobs may be alive; nobody waits for";
    Some(orphaned(why, &jobs, &[]))
}

fn orphaned(why: &str, jobs: &[JobRef], in_doubt: &[String]) -> Told {
    let jobs = jobs.iter().map(ToString::to_string);
    let jobs: Vec<String> = jobs.chain(in_doubt.iter().cloned()).collect();
    let jobs = if jobs.is_empty() {
        "a launch whose job is not known".to_owned()
    } else {
        jobs.join(", ")
    };
    Told {
        warning: true,
        reason: "Orphaned".to_owned(),
        action: action(JobType::Deprovision),
        note: format!("{why} {jobs}; look at the backend"),
    }
}

/// The event of an attempt, if it is one that a person wants to be told of.
fn of_attempt(event: &Event) -> Option<Told> {
    let (warning, reason) = match event.kind {
        EventKind::Started => (false, "Started"),
        EventKind::Adopted => (false, "Adopted"),
        EventKind::Canceled => (false, "Canceled"),
        EventKind::Failed => (true, "Failed"),
        EventKind::NotLaunched => (true, "NotLaunched"),
        EventKind::Ambiguous => (true, "Ambiguous"),
        EventKind::Purged => (true, "Purged"),
        EventKind::Assumed => (true, "Assumed"),
        EventKind::Duplicate => (true, "Duplicate"),
        // Conditions follow these, and most objects go through them several times.
        _ => return None,
    };
    let job = event
        .job
        .as_ref()
        .map_or_else(String::new, |job| format!(", {job}"));
    let colon = if event.message.is_empty() { "" } else { ": " };
    Some(Told {
        warning,
        reason: reason.to_owned(),
        action: action(event.job_type),
        note: format!("attempt {}{job}{colon}{}", event.attempt, event.message),
    })
}
