//! Tracking on AAP, by the label that the rulebook puts on the job.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use jiff::SignedDuration;
use provider_aap::{AapConfig, AapProvider};
use provider_core::{
    CancelResult, Clock, ErrorKind, JobRef, JobStatus, JobType, OperationToken, Preflight,
    Provider, ProviderError, Resource, Severity, TrackedJob, WakeUps,
};
use serde::Deserialize;

use super::alive::Alive;
use super::ends::Ends;
use super::{Look, SETTLE, telling};
use crate::ConfigError;
use crate::backend::of_aap;
use crate::client::std_duration;
use crate::config::tidy_text;
use crate::kind::{self, EVENT};

/// Finds an event's job on the AAP controller by its label.
///
/// The rule labels its jobs with something of the event:
///
/// ```yaml
/// action:
///   run_job_template:
///     name: osac-create-compute-instance
///     organization: Default
///     labels: ["event-{{ event.payload.providerEvent.operationToken }}"]
/// ```
///
/// The template must prompt for labels: without that, the controller drops them, and the event is
/// tracked by the object's signs alone.
///
/// A job is searched by its label until it is found and once more when it has ended; in between it
/// is watched like a job of [`AapProvider`], together with all others.
#[derive(Debug, Clone, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
pub struct JobTracking {
    /// The controller that the rulebook launches on; templates and envelope are not used.
    pub aap: AapConfig,
    /// The label, as the rulebook makes it: `{token}` stands for the event's operation token,
    /// `{uid}` for the object's uid. With `{uid}` alone, the token must be in the job's variables,
    /// where a rulebook puts the event unless `include_events` is off. Default: `event-{token}`.
    #[serde(default = "default_label")]
    pub label: String,
    /// How long nothing may follow a job's end before it is the end of the event: a repetition by the
    /// rulebook, a job of a further action or rule, or the object's signs. Default: 1m.
    #[serde(default = "default_settle")]
    pub settle: SignedDuration,
}

fn default_label() -> String {
    "event-{token}".to_owned()
}

fn default_settle() -> SignedDuration {
    SETTLE
}

provider_core::guarded_settings!(JobTracking);

impl JobTracking {
    /// Tracking on this controller by the label `event-{token}`.
    #[must_use]
    pub fn new(aap: AapConfig) -> Self {
        Self {
            aap,
            label: default_label(),
            settle: default_settle(),
        }
    }

    /// By another label.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With another time for the consequences of a job's end.
    #[must_use]
    pub fn with_settle(mut self, settle: SignedDuration) -> Self {
        self.settle = settle;
        self
    }

    pub(super) fn tidy(&mut self) -> Result<(), ConfigError> {
        // The controller's settings are its provider's concern.
        let Self {
            aap: _,
            label,
            settle: _,
        } = self;
        tidy_text("tracking.label", label)
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if !self.label.contains("{token}") && !self.label.contains("{uid}") {
            let what = "expected a label with {token} or {uid}, as the rulebook makes it";
            return Err(ConfigError::new("tracking.label", what));
        }
        if self.settle.is_negative() {
            let what = "expected a duration that is not negative";
            return Err(ConfigError::new("tracking.settle", what));
        }
        Ok(())
    }
}

/// The running part.
pub(crate) struct Jobs {
    aap: AapProvider,
    label: String,
    settle: Duration,
    clock: Arc<dyn Clock>,
    alive: Arc<Mutex<Alive>>,
    ends: Ends,
}

fn lock(alive: &Mutex<Alive>) -> MutexGuard<'_, Alive> {
    alive.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs")
            .field("aap", &self.aap)
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// A job behind an event. What the event was for says nothing here: it is the rulebook's template, without our
/// token and without a version, so that its state alone counts.
const fn behind(job: JobRef) -> TrackedJob {
    TrackedJob::new(JobType::Provision, job)
}

/// A job that nobody asks about for three of AAP's intervals is no longer watched: ours, with its
/// jitter, must stay below that.
fn watching(aap: &AapConfig, poll: SignedDuration) -> AapConfig {
    let mut aap = aap.clone();
    let interval = &mut aap.timing.poll_interval;
    *interval = (*interval).max(poll / 2);
    aap
}

impl Jobs {
    /// `poll` is how often an event is asked about.
    pub(super) fn new(
        config: &JobTracking,
        clock: Arc<dyn Clock>,
        poll: SignedDuration,
    ) -> Result<Self, ConfigError> {
        let aap = AapProvider::with_clock(watching(&config.aap, poll), Arc::clone(&clock));
        Ok(Self {
            aap: aap.map_err(|error| of_aap(&error))?,
            label: config.label.clone(),
            settle: std_duration(config.settle),
            clock,
            alive: Arc::default(),
            ends: Ends::default(),
        })
    }

    /// What the jobs of an event are searched by: their label, and what their variables hold.
    fn marks<'a>(
        &self,
        resource: &Resource,
        token: &'a OperationToken,
    ) -> (String, Option<&'a str>) {
        let label = self
            .label
            .replace("{token}", token.as_str())
            .replace("{uid}", resource.uid());
        let holding = (!self.label.contains("{token}")).then(|| token.as_str());
        (label, holding)
    }

    /// All jobs of an event, oldest first.
    async fn jobs(
        &self,
        resource: &Resource,
        token: &OperationToken,
    ) -> Result<Vec<(Option<u64>, JobStatus)>, ProviderError> {
        let (label, holding) = self.marks(resource, token);
        self.aap.find_labelled_by_template(&label, holding).await
    }

    /// All that people started as copies of those.
    pub(super) async fn copies(
        &self,
        resource: &Resource,
        token: &OperationToken,
    ) -> Result<Vec<JobStatus>, ProviderError> {
        let (label, holding) = self.marks(resource, token);
        self.aap.find_relaunched_labelled(&label, holding).await
    }

    /// One copy. It is found by its label each time: a controller that was restored gives ids away anew.
    async fn copy(
        &self,
        resource: &Resource,
        token: &OperationToken,
        job: &JobRef,
    ) -> Result<Option<JobStatus>, ProviderError> {
        let listed = async || {
            let copies = self.copies(resource, token).await?;
            Ok(copies.into_iter().find(|copy| copy.job.id == job.id))
        };
        if let Some(copy) = listed().await? {
            return Ok(Some(copy));
        }
        // A list is silent about what our user may not see; the job itself is not.
        if !self.aap.has_job(job).await? {
            return Ok(None);
        }
        // It may have come into sight only now. One that is shown without our label is another job.
        listed().await
    }

    pub(super) async fn look_at_copy(
        &self,
        resource: &Resource,
        token: &OperationToken,
        job: &JobRef,
    ) -> Result<Look, ProviderError> {
        let Some(mut status) = self.copy(resource, token, job).await? else {
            return Ok(Look::Nothing);
        };
        if status.state.is_terminal() {
            // The list lacks what tells why, and whether the end is one.
            let job = behind(status.job.clone());
            let detail = self.aap.status(resource, &job).await?;
            if detail.state.is_terminal() {
                status = detail;
            }
            let (now, all) = (self.clock.now(), status.state.as_str());
            let copy = OperationToken::from_text(&status.job.to_string());
            status.settled &= self.ends.have_rested(&copy, all, self.settle, now);
        }
        // Nobody is told of its end.
        status.poll_after = None;
        Ok(Look::Job(Box::new(status)))
    }

    pub(super) async fn cancel_copy(
        &self,
        resource: &Resource,
        token: &OperationToken,
        job: &JobRef,
    ) -> Result<CancelResult, ProviderError> {
        match self.copy(resource, token, job).await? {
            Some(copy) => {
                let job = behind(copy.job);
                self.aap.cancel(resource, &job).await
            }
            None => Ok(CancelResult::Gone),
        }
    }

    pub(super) async fn look(
        &self,
        resource: &Resource,
        token: &OperationToken,
    ) -> Result<Look, ProviderError> {
        if let Some(status) = self.at_work(resource, token).await? {
            return Ok(Look::Job(Box::new(status)));
        }
        let jobs = self.jobs(resource, token).await?;
        let all: Vec<(String, &'static str)> = jobs
            .iter()
            .map(|(_, job)| (job.job.to_string(), job.state.as_str()))
            .collect();
        let Some(mut status) = telling(jobs) else {
            return Ok(Look::Nothing);
        };
        let job = behind(status.job.clone());
        let detail = self.aap.status(resource, &job).await;
        if status.state.is_terminal() {
            // The list lacks what tells why, and whether the end is one. An end that the list knows is
            // newer than a round that saw none.
            let detail = detail?;
            if detail.state.is_terminal() {
                status = detail;
            }
        } else {
            // From this question on the job is watched, and its end wakes its object.
            status = detail.unwrap_or(status);
            if !status.state.is_terminal() {
                lock(&self.alive).learn(token, &status.job);
            }
        }
        if status.state.is_terminal() {
            // The rulebook may repeat a failed job, and run a further one after any.
            let now = self.clock.now();
            status.settled &= self.ends.have_rested(token, &all, self.settle, now);
        }
        Ok(Look::Job(Box::new(status)))
    }

    /// The event's job, if it was at work when it was last seen, and still is.
    async fn at_work(
        &self,
        resource: &Resource,
        token: &OperationToken,
    ) -> Result<Option<JobStatus>, ProviderError> {
        let Some(job) = lock(&self.alive).job(token) else {
            return Ok(None);
        };
        let job = behind(job);
        match self.aap.status(resource, &job).await {
            Ok(status) if !status.state.is_terminal() => return Ok(Some(status)),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            // It has ended or is gone, and the rulebook may have begun another: a search tells.
            Ok(_) | Err(_) => lock(&self.alive).forget(token),
        }
        Ok(None)
    }

    /// Events whose job may have ended, under the events' names.
    pub(super) fn wake_ups(&self, provider: &str) -> Option<WakeUps> {
        let (alive, provider) = (Arc::clone(&self.alive), provider.to_owned());
        let events = self.aap.wake_ups()?.filter_map(move |job| {
            let token = lock(&alive).event(&job);
            let event = token.map(|token| kind::event(&provider, EVENT, &token));
            std::future::ready(event)
        });
        Some(Box::pin(events))
    }

    pub(super) async fn cancel(
        &self,
        resource: &Resource,
        token: &OperationToken,
    ) -> Result<Option<CancelResult>, ProviderError> {
        lock(&self.alive).forget(token);
        let mut result = None;
        for (_, status) in self.jobs(resource, token).await? {
            let this = if status.state.is_terminal() {
                CancelResult::Finished(Box::new(status))
            } else {
                let job = behind(status.job);
                self.aap.cancel(resource, &job).await?
            };
            // One that was asked to stop outweighs those that are still to be asked, and those the ones that
            // have ended.
            let outweighs = match (&result, &this) {
                (Some(CancelResult::Requested), _) => false,
                (Some(CancelResult::NotYet { .. }), this) => *this == CancelResult::Requested,
                _ => true,
            };
            if outweighs {
                result = Some(this);
            }
        }
        Ok(result)
    }

    pub(super) async fn check(&self, report: &mut Preflight) {
        let of_aap = self.aap.preflight(&[]).await;
        for finding in of_aap.findings {
            let check = format!("tracking: {}", finding.check);
            match finding.severity {
                Severity::Ok => report.ok(&check, &finding.message),
                // Templates are the rulebook's concern.
                Severity::Warning if finding.check == "templates" => {}
                Severity::Warning => report.warning(&check, &finding.message, &finding.advice),
                Severity::Error => report.error(&check, &finding.message, &finding.advice),
            }
        }
        match self.aap.find_labelled(&self.label, None).await {
            Ok(_) => report.warning(
                "tracking: labels",
                "the list of jobs can be read, which proves little: whether the rulebook labels its jobs, and whether \
                 this user may see them, is not known before the first one",
                &format!(
                    "let the rule's action set labels [\"{}\"], let the template prompt for labels, and grant this \
                     user the role Read or Execute on it",
                    self.label
                ),
            ),
            Err(error) => report.error("tracking: labels", error.message(), error.advice()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_stay_watched_however_seldom_their_objects_are_looked_at() {
        let aap = AapConfig::new("http://aap.invalid", provider_aap::Auth::token("t"));
        let seconds = SignedDuration::from_secs;
        for (poll, interval) in [(1, 15), (15, 15), (30, 15), (600, 300)] {
            let watching = watching(&aap, seconds(poll)).timing.poll_interval;
            assert_eq!(watching, seconds(interval));
            // The engine asks once per interval, and at its default jitter up to a fifth later.
            assert!(seconds(poll) * 6 / 5 < watching * 3);
        }
    }
}
