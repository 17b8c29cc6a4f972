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

/// Whether a record's kind is one of ours. Jobs of older operators have none.
pub(crate) fn is_ours(kind: &str) -> bool {
    matches!(kind, "" | EVENT | BLIND_EVENT)
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
        };
        Cow::Borrowed(if shown { BLIND_EVENT } else { EVENT })
    }
}
