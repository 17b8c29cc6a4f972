//! What holds of whatever a controller sends: asserted by the property tests and by the fuzz targets.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a property that does not hold is told by a panic"
)]

use std::time::Duration;

use jiff::Timestamp;
use provider_core::{JobRef, JobType, TrackedJob, text};
use serde_json::value::RawValue;

use crate::body::JobBody;
use crate::identity::Launch;
use crate::monitor::{Moment, Seen, usual_times};
use crate::nodes::Child;
use crate::status::Confirmation;

/// Longer than any job lasts: ten years.
const LONGEST: Duration = Duration::from_secs(315_360_000);

/// One job, looked at in every way in which we look at one.
pub(crate) fn look_at(text: &str, now: Timestamp) {
    let row: Box<RawValue> = serde_json::from_str(text).unwrap();
    let body = JobBody::read(&row, "t");
    let child = Child::read(&row);
    // Nothing in a row leads out of the API.
    let is_fine = |path: &str| !path.contains("..") && !path.contains(':') && path.ends_with('/');
    assert!(child.path.as_deref().is_none_or(is_fine));
    if let (Some(end), Some(start)) = (body.end(now), body.started) {
        assert!(
            start <= end && end <= now,
            "an end before the start, or to come"
        );
    }
    for ended in [body.end(now).unwrap_or(now), Timestamp::MIN, Timestamp::MAX] {
        let _ = body.certainty(Confirmation {
            window: Duration::from_secs(60),
            limit: Duration::MAX,
            ended,
            now,
        });
    }
    let status = body.to_status(JobRef::new("aap", "job", "1"), str::to_owned);
    assert!(status.elapsed.is_none_or(|took| took <= LONGEST));
    assert!(
        status.message.len() <= text::MAX_TEXT,
        "a message without bound"
    );
    assert!(!status.message.contains(char::is_control));
    for at in [Timestamp::MIN, now, Timestamp::MAX] {
        let tracked = TrackedJob::new(JobType::Provision, JobRef::new("aap", "job", "1"))
            .with_launched_at(at);
        let _ = Launch::of(&tracked, Duration::MAX).verdict(&body, false);
    }
    // As the worker learns from it: again and again, for one template.
    let read = Moment::now(Some(now), now);
    usual_times(&Seen::new(body, &read, false), 50);
}
