//! What an event is called in records, which tells what the object said when it was sent.

use std::borrow::Cow;

use provider_core::{JobRef, JobType, LaunchRequest, OperationToken};

use crate::Completion;

/// An event whose end is seen by a sign on the object that was not there when it was sent.
pub(crate) const EVENT: &str = "event";

/// An event that was sent when the object showed the sign of its end already: the annotation of an
/// earlier attempt, or no finalizer. Such a sign proves nothing of this event.
pub(crate) const BLIND_EVENT: &str = "blind-event";

/// Whether the sign of the end was there before the event.
pub(crate) fn is_blind(kind: Option<&str>) -> bool {
    kind == Some(BLIND_EVENT)
}

/// Before the controller's word for a job that a person has started as a copy of an event's job.
const COPY: &str = "relaunched-";

/// Whether a record's kind is one of ours. Jobs of older operators have none.
pub(crate) fn is_ours(kind: &str) -> bool {
    matches!(kind, "" | EVENT | BLIND_EVENT) || is_copy(kind)
}

/// Whether a record is of a copy, whose id is the controller's.
pub(crate) fn is_copy(kind: &str) -> bool {
    kind.starts_with(COPY)
}

/// The name in records of a copy that is this job of the controller.
pub(crate) fn copy(provider: &str, job: JobRef) -> JobRef {
    let named = JobRef::new(provider, format!("{COPY}{}", job.kind), job.id);
    match job.url {
        Some(url) => named.with_url(url),
        None => named,
    }
}

/// The controller's own name of a copy that is so called in records.
pub(crate) fn copied(provider: &str, kind: &str, id: &str) -> JobRef {
    JobRef::new(provider, kind.strip_prefix(COPY).unwrap_or(kind), id)
}

/// The name of an event in records.
pub(crate) fn event(provider: &str, kind: &str, token: &OperationToken) -> JobRef {
    JobRef::new(provider, kind, token.as_str())
}

impl Completion {
    /// What an event is called that is sent now.
    pub(crate) fn launch_kind(
        &self,
        request: &LaunchRequest,
        job_type: JobType,
    ) -> Cow<'static, str> {
        let resource = &request.resource;
        let version = request.config_version.as_ref();
        let shown = match job_type {
            JobType::Provision => self.shows_version(resource, version),
            JobType::Deprovision => !self.has_finalizer(resource),
            // The sign of its end is its own token, which no object shows before the event.
            _ => false,
        };
        Cow::Borrowed(if shown { BLIND_EVENT } else { EVENT })
    }
}
