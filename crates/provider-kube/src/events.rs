//! What happens to an object, as Kubernetes events.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::api::DynamicObject;
use kube::runtime::events::{Event as KubeEvent, EventType, Recorder, Reporter};
use provider_core::lifecycle::{Event, EventKind, Outcome, Standing};
use provider_core::{JobType, text};

use crate::conditions::{PROGRESSING, blocked};
use crate::object;

/// Publishes events for one controller.
pub(crate) struct Events(Recorder);

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// One event, before it has an object.
#[derive(Debug, PartialEq)]
struct Told {
    warning: bool,
    reason: &'static str,
    action: &'static str,
    note: String,
}

impl Events {
    pub(crate) fn new(client: Client, reporter: Reporter) -> Self {
        Self(Recorder::new(client, reporter))
    }

    /// Tells what a pass has brought. `before` is the object as it was at the beginning of the pass.
    pub(crate) async fn publish(
        &self,
        before: &DynamicObject,
        reference: &ObjectReference,
        outcome: &Outcome,
    ) {
        for told in tell(before, outcome) {
            let event = KubeEvent {
                type_: if told.warning {
                    EventType::Warning
                } else {
                    EventType::Normal
                },
                reason: told.reason.to_owned(),
                note: Some(text::bounded(&told.note, 1_000)),
                action: told.action.to_owned(),
                secondary: None,
            };
            // An event is a courtesy: the conditions tell the same, and stay.
            if let Err(error) = self.0.publish(&event, reference).await {
                tracing::debug!(reason = told.reason, "an event was not published: {error}");
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

fn tell(before: &DynamicObject, outcome: &Outcome) -> Vec<Told> {
    let mut all: Vec<Told> = outcome.events.iter().filter_map(of_attempt).collect();
    let deprovision = action(JobType::Deprovision);
    match &outcome.standing {
        Standing::Blocked(block) => {
            let (reason, note) = blocked(block);
            // Once, when it begins; the condition says so as long as it lasts.
            let known = object::conditions(before)
                .iter()
                .any(|condition| condition.type_ == PROGRESSING && condition.reason == reason);
            if !known {
                all.push(Told {
                    warning: true,
                    reason,
                    action: "Block",
                    note,
                });
            }
        }
        Standing::Released(release) => all.push(Told {
            warning: false,
            reason: "Released",
            action: deprovision,
            note: format!("the object may go: {}", release.ground.as_str()),
        }),
        _ => {}
    }
    if let Some(receipt) = &outcome.receipt {
        let jobs = receipt.jobs.iter().map(ToString::to_string);
        let jobs: Vec<String> = jobs.chain(receipt.in_doubt.iter().cloned()).collect();
        all.push(Told {
            warning: true,
            reason: "Orphaned",
            action: deprovision,
            note: format!(
                "let go ({}) although something may be left behind by {}; look at the backend",
                receipt.ground,
                jobs.join(", ")
            ),
        });
    }
    all
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
        reason,
        action: action(event.job_type),
        note: format!("attempt {}{job}{colon}{}", event.attempt, event.message),
    })
}
