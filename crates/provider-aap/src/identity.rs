//! Whether a job is the one that we launched. A controller that was restored from a backup gives ids
//! again, and so does another controller at the same address: an id alone says little.

use std::borrow::Cow;
use std::fmt::Write;
use std::hash::BuildHasher;
use std::time::Duration;

use foldhash::quality::FixedState;
use jiff::Timestamp;
use provider_core::{
    Effect, ErrorKind, JobRef, JobType, OperationToken, ProviderError, Resource, TrackedJob, clock,
    text,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::AapProvider;
use crate::body::{JobBody, lenient};
use crate::client::std_duration;
use crate::look::Found;
use crate::scan;
use crate::words::{HIDDEN, Kind};

/// How far the controller's clock may be from that of whoever launched: launches are refused when they
/// are further apart than a minute less.
const SLACK: Duration = Duration::from_secs(600);

/// Whose launch a job is, as its variables tell. Ten thousand are kept, so of a token only a digest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Carried {
    /// The variables are not shown, or cannot be read.
    #[default]
    Untold,
    /// There is no token among them.
    Nothing,
    /// That of the launch with this token.
    Token(u64),
}

impl Carried {
    fn of(token: &str) -> Self {
        Self::Token(FixedState::with_seed(0x5eed).hash_one(token))
    }

    /// Reads the variables of a row: a text with an object in it.
    pub(crate) fn read(variables: &RawValue, name: &str) -> Self {
        #[derive(Deserialize)]
        struct Text<'row>(#[serde(borrow)] Cow<'row, str>);

        let Ok(Text(variables)) = serde_json::from_str(variables.get()) else {
            return Self::Untold;
        };
        // As Python writes them: of any depth, and with numbers that are none.
        match scan::member(&variables, name).map(|value| value.map(scan::string)) {
            Ok(None) => Self::Nothing,
            Ok(Some(Some(token))) if token != HIDDEN => Self::of(&token),
            // What is no text counts as one that is hidden.
            Ok(Some(_)) | Err(scan::NoObject) => Self::Untold,
        }
    }
}

/// What is on record of a launch, as far as it tells our job from another one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch<'a> {
    token: Option<&'a OperationToken>,
    kind: Option<Kind>,
    /// Between these moments it was created, by anybody's clock.
    created: Option<(Timestamp, Timestamp)>,
}

/// What one look at a job says of whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ours, as far as can be told.
    Ours,
    /// The job has to be asked itself.
    Doubtful,
}

impl<'a> Launch<'a> {
    pub(crate) fn of(tracked: &'a TrackedJob, visibility: Duration) -> Self {
        let created = tracked.launched_at.map(|at| {
            let earliest = at.checked_sub(SLACK).unwrap_or(Timestamp::MIN);
            // A launch that is sent again under its token may be carried out by then.
            (earliest, clock::add(clock::add(at, visibility), SLACK))
        });
        Self {
            token: tracked.token.as_ref(),
            kind: Kind::of(&tracked.job.kind),
            created,
        }
    }

    fn is_ours(&self, carried: Carried) -> bool {
        let token = self.token.map(OperationToken::as_str);
        carried != Carried::Untold && token.map(Carried::of) == Some(carried)
    }

    fn fits(&self, created: Option<Timestamp>) -> bool {
        match (self.created, created) {
            (Some((from, to)), Some(created)) => (from..=to).contains(&created),
            _ => true,
        }
    }

    /// What a row or the job itself tells. `is_whole` says which: what a list leaves out, the job has.
    pub(crate) fn verdict(&self, body: &JobBody, is_whole: bool) -> Verdict {
        if self.is_ours(body.carried) {
            return Verdict::Ours;
        }
        let is_other_kind = body.kind.is_some() && self.kind.is_some() && body.kind != self.kind;
        let lacks_token = self.token.is_some() && body.carried != Carried::Untold;
        let has_ended = crate::map_status(&body.status).is_terminal();
        let is_hidden = self.token.is_some() && has_ended && !is_whole;
        // Its time alone is shared with every job that was launched around then.
        let is_untold = self.token.is_some() && body.carried == Carried::Untold && is_whole;
        if is_other_kind || lacks_token || is_hidden || is_untold || !self.fits(body.created) {
            Verdict::Doubtful
        } else {
            Verdict::Ours
        }
    }
}

/// A job, as far as it tells whose it is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Person {
    #[serde(deserialize_with = "lenient")]
    name: String,
}

impl AapProvider {
    /// A job as it is now, if it is the one on record.
    pub(crate) async fn identified(
        &self,
        resource: &Resource,
        tracked: &TrackedJob,
    ) -> Result<Found, ProviderError> {
        let read = self.read(&tracked.job).await?;
        let launch = self.launch_of(tracked);
        if launch.verdict(&read.body, true) == Verdict::Doubtful {
            self.is_launched_by(resource, tracked, launch, &read)?;
        }
        Ok(read)
    }

    /// Makes sure that a job of which this was told is the one on record, which was launched for this;
    /// asks it where that is doubtful.
    pub(crate) async fn is_it(
        &self,
        resource: &Resource,
        tracked: &TrackedJob,
        body: &JobBody,
        is_whole: bool,
    ) -> Result<(), ProviderError> {
        let launch = self.launch_of(tracked);
        match launch.verdict(body, is_whole) {
            Verdict::Ours => Ok(()),
            Verdict::Doubtful => Box::pin(self.identify(resource, tracked, launch)).await,
        }
    }

    pub(crate) fn launch_of<'a>(&self, tracked: &'a TrackedJob) -> Launch<'a> {
        Launch::of(tracked, std_duration(self.config.timing.visibility_window))
    }

    /// Asks a job who it is.
    async fn identify(
        &self,
        resource: &Resource,
        tracked: &TrackedJob,
        launch: Launch<'_>,
    ) -> Result<(), ProviderError> {
        let read = self.read(&tracked.job).await?;
        self.is_launched_by(resource, tracked, launch, &read)
    }

    /// Whether a job that was read by itself is that of this launch.
    fn is_launched_by(
        &self,
        resource: &Resource,
        tracked: &TrackedJob,
        launch: Launch<'_>,
        read: &Found,
    ) -> Result<(), ProviderError> {
        let body = &read.body;
        if launch.is_ours(body.carried) {
            return Ok(());
        }
        let person: Person = serde_json::from_str(read.text.get()).unwrap_or_default();
        let fits = launch.fits(body.created);
        let (kind, target) = (resource.kind(), tracked.target.as_deref());
        let of_ours = || match tracked.job_type {
            // Only the version that has launched it knows from what.
            JobType::Other(_) => true,
            job_type => person.name == self.template_name(job_type, kind, target).name,
        };
        let is_ours = match (launch.token, body.carried) {
            // One of somebody else's launches.
            (Some(_), Carried::Token(_)) => false,
            // Our template may have dropped our variables; there would be no record of another's.
            (Some(_), Carried::Nothing) => fits && of_ours(),
            (Some(_), Carried::Untold) => fits && (person.name.is_empty() || of_ours()),
            (None, _) => fits,
        };
        if is_ours {
            return Ok(());
        }
        Err(self.stranger(&read.job, body, &person.name, launch))
    }

    fn stranger(
        &self,
        job: &JobRef,
        body: &JobBody,
        name: &str,
        launch: Launch<'_>,
    ) -> ProviderError {
        let name = text::bounded(&self.client.redact(name), 100);
        let mut found = format!(
            "{} {} is another job now: one of \"{name}\"",
            job.kind.replace('_', " "),
            job.id
        );
        if let Some(created) = body.created {
            let _ = write!(
                found,
                ", created {}",
                created.strftime("%Y-%m-%d %H:%M:%SZ")
            );
        }
        found.push_str(match (launch.token, body.carried) {
            (Some(_), Carried::Token(_)) => ", with the token of another launch",
            (Some(_), Carried::Nothing) => ", without the token of our launch",
            (Some(_), Carried::Untold) if launch.fits(body.created) => {
                ", of another template, with variables that cannot be read"
            }
            _ => ", and not when ours was launched",
        });
        ProviderError::new(Effect::Rejected, ErrorKind::Replaced, found).with_advice(
            "the controller was restored from a backup, or another one answers at its URL: find out what \
             became of the work of our job",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn carried(variables: &str) -> Carried {
        let text = serde_json::to_string(variables).unwrap();
        Carried::read(serde_json::from_str(&text).unwrap(), "t")
    }

    #[test]
    fn a_token_is_read_where_it_stands_and_nothing_else_is_taken_for_one() {
        let ours = Carried::of("x");
        assert_eq!(carried(r#"{"t": "x"}"#), ours);
        assert_eq!(carried(r#"{"a": {"t": "x"}}"#), Carried::Nothing);
        assert_eq!(carried("{}"), Carried::Nothing);
        assert_ne!(carried(r#"{"t": "y"}"#), ours);
        for unread in ["", "---", "[]", r#"{"t": "$encrypted$"}"#, r#"{"t": 7}"#] {
            assert_eq!(carried(unread), Carried::Untold, "{unread}");
        }
        let deep = format!(
            "{{\"d\": {}1{}, \"t\": \"x\"}}",
            "[".repeat(500),
            "]".repeat(500)
        );
        for odd in [
            r#"{"a": NaN, "t": "x", "b": -Infinity}"#,
            r#"{"a": "\ud83d", "t": "x"}"#,
            r#"{"t": "y", "t": "x"}"#,
            &deep,
        ] {
            assert_eq!(carried(odd), ours, "{odd}");
        }
        let list: &RawValue = serde_json::from_str("[1]").unwrap();
        assert_eq!(Carried::read(list, "t"), Carried::Untold);
    }
}
