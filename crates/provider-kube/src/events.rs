//! What happens to an object, as Kubernetes events.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as KubeEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::events::Reporter;
use provider_core::lifecycle::{Entropy, Event, EventKind, Ground, Outcome, Standing};
use provider_core::{JobRecord, JobRef, JobType, text};
use serde_json::{Value, json};

use crate::conditions::{
    self, ABSENT, ACTION_UNSUPPORTED, BACKEND, DEPROVISIONED, OVERDUE, PROGRESSING, let_go,
};
use crate::error::code;

/// So long the same words about the same object are one event, which is counted.
const SERIES: SignedDuration = SignedDuration::from_mins(6);
/// The reason when something may be left behind at a backend.
const ORPHANED: &str = "Orphaned";
/// Of an object's name in that of an event: there is room for the rest of it.
const NAME: usize = 230;

/// Publishes events for one controller. kube's own recorder takes all events of one reason for one, and
/// tells the words of the first of them only: of a second failed job nobody would learn.
pub(crate) struct Events {
    client: Client,
    reporter: Reporter,
    told: Mutex<Recent>,
}

/// What was told of late.
#[derive(Debug, Default)]
struct Recent {
    all: HashMap<Words, Series>,
    /// With so many of them it is time to drop what is old: not at each event, of which there may be thousands.
    most: usize,
}

/// What was told of which object: its uid, the reason, the note.
type Words = (String, String, String);

#[derive(Debug)]
struct Series {
    name: String,
    count: i32,
    last: Timestamp,
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
        Self {
            client,
            reporter,
            told: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes what is told about an object.
    pub(crate) async fn publish(
        &self,
        reference: &ObjectReference,
        all: Vec<Told>,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) {
        for told in all {
            // An event is a courtesy: the conditions tell the same, and stay.
            if let Err(error) = self.publish_one(reference, &told, now, entropy).await {
                let why = crate::error::reason(&error);
                tracing::warn!(reason = told.reason, "an event was not published: {why}");
            }
        }
    }

    async fn publish_one(
        &self,
        reference: &ObjectReference,
        told: &Told,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<(), kube::Error> {
        let namespace = reference.namespace.as_deref().unwrap_or("default");
        let api: Api<KubeEvent> = Api::namespaced(self.client.clone(), namespace);
        let note = text::bounded(&told.note, 1_000);
        let uid = reference.uid.clone().unwrap_or_default();
        let words = (uid, told.reason.clone(), note.clone());
        if let Some((name, count)) = self.again(&words, now) {
            let series = json!({"count": count, "lastObservedTime": MicroTime(now)});
            let body = json!({ "series": series });
            let patched = api
                .patch(&name, &PatchParams::default(), &Patch::Merge(&body))
                .await;
            match patched {
                // The API server has forgotten it.
                Err(error) if code(&error) == Some(404) => {}
                result => return result.map(drop),
            }
        }
        let event = self.event(reference, told, note, now, entropy);
        let name = event.metadata.name.clone().unwrap_or_default();
        api.create(&PostParams::default(), &event).await?;
        let series = Series {
            name,
            count: 1,
            last: now,
        };
        self.lock().all.insert(words, series);
        Ok(())
    }

    /// The name of the event that has said so just now, and how often it was said with this time.
    fn again(&self, words: &Words, now: Timestamp) -> Option<(String, i32)> {
        let mut recent = self.lock();
        // A clock that was set back begins anew.
        let is_recent = |series: &Series| now.duration_since(series.last).abs() < SERIES;
        if recent.all.len() >= recent.most {
            recent.all.retain(|_, series| is_recent(series));
            recent.most = recent.all.len().saturating_mul(2).max(64);
        }
        let series = recent
            .all
            .get_mut(words)
            .filter(|series| is_recent(series))?;
        series.count = series.count.saturating_add(1);
        series.last = now;
        Some((series.name.clone(), series.count))
    }

    fn event(
        &self,
        reference: &ObjectReference,
        told: &Told,
        note: String,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> KubeEvent {
        let object = reference.name.as_deref().unwrap_or_default();
        let object: String = object.chars().take(NAME).collect();
        let Reporter {
            controller,
            instance,
        } = self.reporter.clone();
        let kind = if told.warning { "Warning" } else { "Normal" };
        KubeEvent {
            action: Some(told.action.to_owned()),
            event_time: Some(MicroTime(now)),
            metadata: ObjectMeta {
                name: Some(format!("{object}.{:016x}", entropy.next())),
                namespace: reference.namespace.clone(),
                ..ObjectMeta::default()
            },
            note: Some(note),
            reason: Some(told.reason.clone()),
            regarding: Some(reference.clone()),
            reporting_instance: Some(instance.unwrap_or_else(|| controller.clone())),
            reporting_controller: Some(controller),
            type_: Some(kind.to_owned()),
            ..KubeEvent::default()
        }
    }
}

fn action(job_type: JobType) -> &'static str {
    match job_type {
        JobType::Provision => "Provision",
        JobType::Deprovision => "Deprovision",
        _ => "Act",
    }
}

/// What happened to attempts: told as soon as it is on record.
pub(crate) fn tell<'e>(events: impl IntoIterator<Item = &'e Event>) -> Vec<Told> {
    events.into_iter().filter_map(of_attempt).collect()
}

/// Conditions that have just got a new reason, if it is one that somebody should be told of: once, when
/// it begins; the condition says so as long as it lasts.
pub(crate) fn of_conditions(standing: &Standing, news: &[Condition]) -> Vec<Told> {
    let blocked = matches!(standing, Standing::Blocked(_));
    let alarming = |condition: &&Condition| {
        let is = |word: &str| condition.type_.rsplit('/').next() == Some(word);
        let reason = condition.reason.as_str();
        (is(PROGRESSING)
            && (blocked || reason.starts_with(BACKEND) || reason == ACTION_UNSUPPORTED))
            || (is(DEPROVISIONED) && (reason == OVERDUE || is_left(condition)))
    };
    news.iter().filter(alarming).map(alarm).collect()
}

/// That a target is given up, and something of it may be left.
fn is_left(condition: &Condition) -> bool {
    condition.reason == ABSENT && condition.status == "Unknown"
}

/// That nobody can go on with an object as it is.
pub(crate) fn of_obstacle(condition: &Condition) -> Told {
    alarm(condition)
}

fn alarm(condition: &Condition) -> Told {
    let reason = match is_left(condition) {
        true => ORPHANED.to_owned(),
        false => condition.reason.clone(),
    };
    Told {
        warning: true,
        reason,
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
    let Some(receipt) = &outcome.receipt else {
        return all;
    };
    if release.ground == Ground::Retained {
        let jobs = jobs_in_words(&receipt.jobs, &receipt.in_doubt);
        all.push(Told {
            warning: false,
            reason: "Retained".to_owned(),
            action: action(JobType::Deprovision),
            note: format!("what was provisioned stays, as was asked for; it is from {jobs}"),
        });
        return all;
    }
    let why = format!("let go ({ground}) although something may be left behind by");
    all.push(orphaned(&why, &receipt.jobs, &receipt.in_doubt));
    let left = |record: &&JobRecord| release.left_behind.contains(&record.attempt);
    let live = outcome.records.iter().filter(left);
    let live = live.filter(|record| record.may_be_live());
    let jobs: Vec<JobRef> = live.filter_map(JobRecord::job_ref).collect();
    if !jobs.is_empty() {
        let jobs = jobs_in_words(&jobs, &[]);
        all.push(Told {
            warning: true,
            reason: "StillAtWork".to_owned(),
            action: action(JobType::Deprovision),
            note: format!("let go ({ground}) beside {jobs}, whose end nobody waits for"),
        });
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
    let jobs = jobs_in_words(jobs, in_doubt);
    Told {
        warning: true,
        reason: ORPHANED.to_owned(),
        action: action(JobType::Deprovision),
        note: format!("{why} {jobs}; look at the backend"),
    }
}

fn jobs_in_words(jobs: &[JobRef], in_doubt: &[String]) -> String {
    let jobs = jobs.iter().map(ToString::to_string);
    let jobs: Vec<String> = jobs.chain(in_doubt.iter().cloned()).collect();
    if jobs.is_empty() {
        "a launch whose job is not known".to_owned()
    } else {
        jobs.join(", ")
    }
}

/// The event of an attempt, if it is one that a person wants to be told of.
fn of_attempt(event: &Event) -> Option<Told> {
    let is_action = event.job_type.action().is_some();
    let (warning, reason) = match event.kind {
        // No condition shows these for long.
        EventKind::Failed if is_action => (true, "ActionFailed"),
        EventKind::Succeeded if is_action => (false, "ActionSucceeded"),
        EventKind::Imported => (false, "Imported"),
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
        note: format!(
            "{}attempt {}{job}{colon}{}",
            conditions::of_action(&event.job_type),
            event.attempt,
            event.message
        ),
    })
}
