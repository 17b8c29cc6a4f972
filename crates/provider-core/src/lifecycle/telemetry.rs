//! Log events and metrics. Names and units are in `docs/METRICS.md` of this crate.

use super::decision::{Action, Call, Ground, Standing, Why};
use super::event::Event;
#[cfg(feature = "metrics")]
use super::event::EventKind;
use super::outcome::OrphanReceipt;
#[cfg(feature = "metrics")]
use crate::clock::Elapsed as _;
use crate::{JobRecord, ProviderError};
#[cfg(feature = "metrics")]
use jiff::Timestamp;

pub(super) const fn word(action: &Action) -> &'static str {
    match action {
        Action::Write { .. } => "write",
        Action::Call(call) => call.as_str(),
        Action::Rest(rest) => rest.standing.as_str(),
    }
}

/// A call of a provider has ended.
pub(super) fn call(call: Call, record: &JobRecord, error: Option<&ProviderError>, why: Why) {
    let provider = record.provider.as_deref().unwrap_or_default();
    let attempt = record.attempt;
    match error {
        None => tracing::debug!(call = call.as_str(), provider, attempt, %why, "called"),
        Some(error) => {
            tracing::warn!(
                call = call.as_str(),
                provider,
                attempt,
                %why,
                effect = ?error.effect(),
                kind = error.kind().as_str(),
                "call failed: {error}"
            );
        }
    }
    #[cfg(feature = "metrics")]
    metrics::counter!(
        "provider_calls_total",
        "provider" => provider.to_owned(),
        "call" => call.as_str(),
        "result" => error.map_or("ok", |error| error.kind().as_str()),
    )
    .increment(1);
}

/// Something happened to an attempt, and is on record.
pub(super) fn record_event(event: &Event, record: &JobRecord) {
    tracing::info!(
        event = event.kind.as_str(),
        attempt = event.attempt,
        job_type = %event.job_type,
        provider = record.provider.as_deref(),
        kind = record.kind.as_deref(),
        job = record.job_id.as_deref(),
        state = record.state.as_str(),
        reason = record.reason.as_ref().map(crate::Reason::as_str),
        "{}",
        event.message
    );
    #[cfg(feature = "metrics")]
    measure(event, record);
}

#[cfg(feature = "metrics")]
fn measure(event: &Event, record: &JobRecord) {
    let provider = record.provider.clone().unwrap_or_default();
    // An action by its name: there are as many as somebody has templates for.
    let job_type = event.job_type.to_string();
    metrics::counter!(
        "provider_attempt_events_total",
        "provider" => provider.clone(),
        "type" => job_type.clone(),
        "event" => event.kind.as_str(),
    )
    .increment(1);
    if !matches!(
        event.kind,
        EventKind::Succeeded | EventKind::Failed | EventKind::Canceled
    ) {
        return;
    }
    // A phase whose beginning or end is not known is not measured, rather than guessed.
    let observe = |phase: &'static str, from: Option<Timestamp>, to: Option<Timestamp>| {
        if let (Some(from), Some(to)) = (from, to) {
            metrics::histogram!(
                "provider_phase_seconds",
                "provider" => provider.clone(),
                "type" => job_type.clone(),
                "phase" => phase,
            )
            .record(to.elapsed_since(from).as_secs_f64());
        }
    };
    observe("queued", record.sent_at, record.started_at);
    observe("running", record.started_at, record.finished_at);
    observe("canceling", record.cancel_requested_at, record.finished_at);
}

/// Somebody else wrote the object at the same time.
pub(super) fn conflict() {
    tracing::debug!("conflict: reading again");
    #[cfg(feature = "metrics")]
    metrics::counter!("provider_conflicts_total").increment(1);
}

/// A pass has come to rest.
pub(super) fn rest(standing: &Standing, receipt: Option<&OrphanReceipt>) {
    tracing::debug!(standing = standing.as_str(), "at rest");
    let Some(receipt) = receipt else {
        return;
    };
    let names =
        |jobs: &[crate::JobRef]| -> Vec<String> { jobs.iter().map(ToString::to_string).collect() };
    let (jobs, at_work) = (names(&receipt.jobs), names(&receipt.at_work));
    if receipt.ground == Ground::Retained.as_str() {
        tracing::info!(
            uid = receipt.uid,
            ?jobs,
            "{} was let go; what was provisioned stays",
            receipt.object
        );
    } else {
        tracing::error!(
            ground = receipt.ground,
            uid = receipt.uid,
            ?jobs,
            ?at_work,
            in_doubt = ?receipt.in_doubt,
            "{} was let go; these jobs may have left something behind",
            receipt.object
        );
        #[cfg(feature = "metrics")]
        metrics::counter!("provider_orphans_total", "ground" => receipt.ground).increment(1);
    }
}
