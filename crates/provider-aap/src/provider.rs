//! The contract of providers, kept by the controller's API.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use jiff::Timestamp;
use provider_core::{
    CancelResult, Capabilities, Clock, DeprovisionResult, Effect, ErrorKind, FindRequest,
    JobRecord, JobRef, JobState, JobStatus, JobType, LaunchRequest, OnAmbiguity, Preflight,
    Provider, ProviderError, ProvisionResult, Resource, SystemClock, TrackedJob, TriggerError,
    WakeUps, clock, text,
};

use crate::answer::List;
use crate::body::JobBody;
use crate::client::{Client, std_duration};
use crate::diagnose::{diagnose, variables};
use crate::jobs::{Jobs, read_job};
use crate::monitor::{JobEvents, Monitor, Seen};
use crate::status::{Certainty, Confirmation};
use crate::templates::{Template, Templates};
use crate::words::Kind;
use crate::{AapConfig, ConfigError, TemplateName};

/// Runs jobs on one AAP or AWX controller.
///
/// Cheap to share (`Arc`); holds one connection pool, a cache of templates, and what was last seen of
/// the jobs that somebody asks about: nothing that a restart would lose.
pub struct AapProvider {
    pub(crate) config: AapConfig,
    pub(crate) client: Arc<Client>,
    pub(crate) monitor: Monitor,
    pub(crate) templates: Templates,
    pub(crate) clock: Arc<dyn Clock>,
    /// Held by whoever listens to the websocket: one connection is enough.
    #[cfg(feature = "push")]
    pub(crate) listening: Arc<tokio::sync::Mutex<crate::push::Pauses>>,
}

impl fmt::Debug for AapProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AapProvider")
            .field("config", &self.config)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for AapProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

/// A bound on the look into one workflow: 20,000 jobs, or 100 workflows within it.
const MAX_CHILD_PAGES: usize = 100;

impl AapProvider {
    /// A provider for this controller; nothing is sent yet.
    ///
    /// # Errors
    /// When a setting cannot work; the error names it.
    pub fn new(config: AapConfig) -> Result<Self, ConfigError> {
        Self::with_clock(config, Arc::new(SystemClock))
    }

    /// The same with a clock of the caller's, which decides when cached templates expire and, for
    /// servers that send no `Date`, when the end of a job is believed.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_clock(config: AapConfig, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        config.validate()?;
        let client = Arc::new(Client::new(&config, Arc::clone(&clock))?);
        let source = Arc::new(Jobs::new(Arc::clone(&client), Arc::clone(&clock)));
        let interval = std_duration(config.timing.poll_interval);
        // Spreads polls over time, and need not be unpredictable.
        let seed = u64::try_from(clock.now().as_nanosecond() & i128::from(u64::MAX)).unwrap_or(1);
        Ok(Self {
            monitor: Monitor::new(
                &config.monitor,
                &config.name,
                interval,
                Arc::clone(&clock),
                source,
                seed,
            ),
            client,
            templates: Templates::default(),
            clock,
            config,
            #[cfg(feature = "push")]
            listening: Arc::new(crate::push::Pauses::new(seed).into()),
        })
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &AapConfig {
        &self.config
    }

    pub(crate) fn template_name(&self, job_type: JobType, kind: &str) -> TemplateName {
        let mut name = self.config.templates.name(job_type, kind);
        if name.organization.is_none() {
            name.organization.clone_from(&self.config.organization);
        }
        name
    }

    pub(crate) async fn template(&self, name: &TemplateName) -> Result<Template, ProviderError> {
        let keep = std_duration(self.config.timing.template_cache);
        self.templates
            .get(&self.client, name, &*self.clock, keep)
            .await
    }

    /// The status of a job, by its reference alone.
    async fn status(
        &self,
        tracked: &TrackedJob,
        job_type: JobType,
    ) -> Result<JobStatus, ProviderError> {
        // Most polls are answered by what the last round has seen. What is rarer is kept apart: it needs
        // more room.
        let known = self.known(&tracked.job);
        match known.as_ref().filter(|seen| !seen.has_failed()) {
            // What is alive or has succeeded is never in doubt.
            Some(seen) => {
                let job = self.own(&tracked.job);
                let mut status = seen.body.to_status(job, |text| self.client.redact(text));
                note_version(&mut status, tracked, job_type);
                self.note_pace(&mut status);
                Ok(status)
            }
            None => Box::pin(self.asked_status(tracked, job_type, known)).await,
        }
    }

    /// All that is left to know of a running job is its end, and that may be told.
    fn note_pace(&self, status: &mut JobStatus) {
        if status.state == JobState::Running
            && let Ok(id) = status.job.id.parse()
        {
            status.poll_after = self.monitor.poll_after(id);
        }
    }

    /// What the last round has seen of a job.
    fn known(&self, job: &JobRef) -> Option<Seen> {
        Kind::of(&job.kind)?;
        self.monitor.known(job.id.parse().ok()?)
    }

    /// A record of another name for this provider is one of ours, now that it was found here.
    fn own(&self, job: &JobRef) -> JobRef {
        let mut found = job.clone();
        found.provider.clone_from(&self.config.name);
        found
    }

    /// The status of a job that has failed, is asked about, or waited for.
    async fn asked_status(
        &self,
        tracked: &TrackedJob,
        job_type: JobType,
        known: Option<Seen>,
    ) -> Result<JobStatus, ProviderError> {
        let (body, job, now, is_whole) = self.watch(&tracked.job, known).await?;
        let mut status = self.judge(&body, job, now).await?;
        if !is_whole {
            status.settled = false;
            "it has ended; what the controller knows of it is asked in turn"
                .clone_into(&mut status.message);
            return Ok(status);
        }
        note_version(&mut status, tracked, job_type);
        self.note_pace(&mut status);
        if status.state == JobState::Failed && self.config.diagnose {
            let _turn = self.monitor.turn().await;
            Box::pin(self.explain(&mut status)).await;
        }
        Ok(status)
    }

    /// Changes of the jobs that are asked about, as soon as they are seen: for a controller that wants
    /// to reconcile then, instead of at its own next poll. Only ever a reason to look: what happened is
    /// told by the status. Needs no task; several may subscribe, and those that fall far behind miss
    /// some.
    #[must_use]
    pub fn job_events(&self) -> JobEvents {
        self.monitor.subscribe()
    }

    /// A job as the rounds have seen it, or as it is now; and whether with what lists lack where that
    /// matters: after many failures at once it comes later.
    async fn watch(
        &self,
        job: &JobRef,
        known: Option<Seen>,
    ) -> Result<(Arc<JobBody>, JobRef, Timestamp, bool), ProviderError> {
        let (Ok(id), Some(kind)) = (job.id.parse(), Kind::of(&job.kind)) else {
            let (body, job, now) = self.read(job).await?;
            return Ok((body, job, now, true));
        };
        let seen = match known {
            Some(seen) => seen,
            None => self.monitor.seen(kind, id).await?,
        };
        let is_whole = !seen.lacks_detail();
        Ok((
            Arc::clone(&seen.body),
            self.own(job),
            seen.read.server,
            is_whole,
        ))
    }

    /// Reads a job; a reference without a kind (written by older operators) is tried as both.
    async fn read(&self, job: &JobRef) -> Result<(Arc<JobBody>, JobRef, Timestamp), ProviderError> {
        own_id(job)?;
        let kinds: &[Kind] = match job.kind.as_str() {
            "" => &[Kind::Job, Kind::Workflow],
            word => &[Kind::of(word).unwrap_or(Kind::Job)],
        };
        let mut last = None;
        for kind in kinds {
            match read_job(&self.client, *kind, &job.id).await {
                Ok((body, date)) => {
                    let found = JobRef {
                        provider: self.config.name.clone(),
                        kind: kind.word().to_owned(),
                        ..job.clone()
                    };
                    let now = date.unwrap_or_else(|| self.clock.now());
                    return Ok((Arc::new(body), found, now));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            ProviderError::new(Effect::NotSent, ErrorKind::Invalid, "the job has no kind")
        }))
    }

    /// The status of a body, and whether its end is certain.
    pub(crate) async fn judge(
        &self,
        body: &JobBody,
        job: JobRef,
        now: Timestamp,
    ) -> Result<JobStatus, ProviderError> {
        let confirm = Confirmation {
            window: std_duration(self.config.timing.confirm_window),
            limit: std_duration(self.config.timing.confirm_limit),
            now,
        };
        let certain = match body.certainty(confirm) {
            Certainty::Settled => true,
            Certainty::Doubtful => false,
            Certainty::AskChildren => Box::pin(self.children_settled(&job.id, confirm)).await?,
        };
        let mut status = body.to_status(job, |text| self.client.redact(text));
        status.settled = status.state.is_terminal() && certain;
        if status.state.is_terminal() && !certain && status.message.is_empty() {
            "the end is not certain yet: the playbook may be running on"
                .clone_into(&mut status.message);
        }
        Ok(status)
    }

    /// Whether no job of a cancelled or failed workflow may be running on.
    async fn children_settled(
        &self,
        id: &str,
        confirm: Confirmation,
    ) -> Result<bool, ProviderError> {
        // Pages to read: of which workflow, after which job. Workflows within it are looked into in turn.
        let mut pages = vec![(id.to_owned(), 0_u64)];
        for _ in 0..MAX_CHILD_PAGES {
            let Some((workflow, after)) = pages.pop() else {
                return Ok(true);
            };
            let last = after.to_string();
            let query = [
                ("unified_job_node__workflow_job", workflow.as_str()),
                ("page_size", "200"),
                ("order_by", "id"),
                ("id__gt", last.as_str()),
            ];
            let what = "the jobs of the workflow";
            let answer = self.client.get("unified_jobs/", &query, what).await?;
            let rows = answer.json::<List<JobBody>>()?.results;
            if rows.len() >= 200 {
                // A page without ids is read again and again, until the bound: nothing is certain then.
                let newest = rows.iter().filter_map(|row| row.id).max();
                pages.push((workflow, newest.unwrap_or(after)));
            }
            for row in rows {
                let terminal = crate::map_status(&row.status).is_terminal();
                // The list lacks what tells an end from a claimed end; the job itself has it.
                let certain = match (terminal, row.certainty(confirm), row.id) {
                    (false, ..) => false,
                    (true, Certainty::AskChildren, Some(id)) => {
                        pages.push((id.to_string(), 0));
                        true
                    }
                    (true, Certainty::Doubtful, Some(id)) if row.kind == Some(Kind::Job) => {
                        let job = JobRef::new(&self.config.name, "job", id.to_string());
                        self.read(&job).await?.0.certainty(confirm) == Certainty::Settled
                    }
                    (true, certainty, _) => certainty == Certainty::Settled,
                };
                if !certain {
                    return Ok(false);
                }
            }
        }
        // More than was looked at: not certain before the limit.
        Ok(false)
    }

    /// Adds what the job's events tell; a failure to do so leaves the status as it is.
    async fn explain(&self, status: &mut JobStatus) {
        let (kind, id) = (&status.job.kind, &status.job.id);
        let mut ours = self.config.envelope.path();
        ours.truncate(1);
        ours.push(&self.config.token_variable);
        let found = match variables(&self.client, kind, id, &ours).await {
            Ok(hidden) => {
                // A playbook may print what it was given.
                let redact = |text: &str| {
                    let text = text::redacted(text, hidden.iter().map(String::as_str));
                    self.client.redact(&text)
                };
                diagnose(&self.client, kind, id, &redact).await
            }
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => {
                if let Some(message) = found.message {
                    status.message = text::bounded(&message, text::MAX_TEXT);
                }
                status.details = found.details;
            }
            Err(error) => tracing::debug!("no diagnosis of {}: {error}", status.job),
        }
    }

    /// The first provision job of the history that is not settled, after a cancel of it.
    async fn unsettled(
        &self,
        request: &LaunchRequest,
        history: &[JobRecord],
    ) -> Result<Option<Unsettled>, ProviderError> {
        let provisions = history
            .iter()
            .filter(|record| record.job_type == JobType::Provision && record.may_be_live());
        for record in provisions {
            let owner = record.provider.as_deref().unwrap_or(&self.config.name);
            if owner != self.config.name {
                let reason = format!(
                    "attempt {} of provider {owner} has not ended",
                    record.attempt
                );
                return Ok(Some(Unsettled { reason, job: None }));
            }
            let jobs = match record.tracked() {
                // As it is now, and not behind polls: a launch waits for it.
                Some(tracked) => match self.read(&tracked.job).await {
                    Ok((body, job, now)) => vec![self.judge(&body, job, now).await?],
                    // Purged: only jobs that have ended are.
                    Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
                    Err(error) => return Err(error),
                },
                None => match &record.token {
                    Some(token) => {
                        let mut query = FindRequest::new(
                            request.resource.clone(),
                            JobType::Provision,
                            token.clone(),
                        );
                        query.not_before = record.timestamp.or(record.sent_at);
                        let found = self.find(&query).await?;
                        let sent = record.sent_at.or(record.timestamp);
                        let window = std_duration(self.config.timing.visibility_window);
                        let fresh =
                            sent.is_none_or(|at| clock::since(self.clock.now(), at) < window);
                        if found.is_empty() && fresh {
                            let reason = format!(
                                "the launch of attempt {} may still turn up",
                                record.attempt
                            );
                            return Ok(Some(Unsettled { reason, job: None }));
                        }
                        found
                    }
                    None => Vec::new(),
                },
            };
            for status in jobs {
                if status.settled {
                    continue;
                }
                let reason = if status.state.is_terminal() {
                    format!(
                        "the end of provision job {} is not certain yet",
                        status.job.id
                    )
                } else {
                    self.stop(&status.job).await?;
                    format!(
                        "provision job {} was still {} and is being cancelled",
                        status.job.id, status.state
                    )
                };
                return Ok(Some(Unsettled {
                    reason,
                    job: Some(status),
                }));
            }
        }
        Ok(None)
    }

    /// Asks a job to stop. What the controller answers to a cancel says little: a refusal may mean
    /// that the job has ended, so the job itself is looked at.
    async fn stop(&self, job: &JobRef) -> Result<CancelResult, ProviderError> {
        own_id(job)?;
        let job = if Kind::of(&job.kind).is_some() {
            job.clone()
        } else {
            match self.read(job).await {
                Ok((_, found, _)) => found,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(CancelResult::Gone),
                Err(error) => return Err(error),
            }
        };
        let path = format!(
            "{}/{}/cancel/",
            Kind::of(&job.kind).unwrap_or(Kind::Job).collection(),
            job.id
        );
        let what = format!("the cancel of {} {}", job.kind.replace('_', " "), job.id);
        let answer = self.client.post_cancel(&path, &what).await;
        if let Ok(id) = job.id.parse() {
            self.monitor.distrust(id);
        }
        let Err(refusal) = answer else {
            return Ok(CancelResult::Requested);
        };
        match refusal.kind() {
            ErrorKind::NotFound => Ok(CancelResult::Gone),
            ErrorKind::Forbidden | ErrorKind::Conflict => {
                let (body, job, now) = match self.read(&job).await {
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        return Ok(CancelResult::Gone);
                    }
                    Err(error) => return Err(error),
                };
                let status = self.judge(&body, job, now).await?;
                if status.state.is_terminal() {
                    return Ok(CancelResult::Finished(Box::new(status)));
                }
                Err(ProviderError::new(
                    refusal.effect(),
                    refusal.kind(),
                    format!("{what} was refused although it is {}", status.state),
                )
                .with_advice(
                    "let this user launch it, or make the user an administrator of the template; check \
                     what is in front of the controller",
                ))
            }
            _ => Err(refusal),
        }
    }
}

/// A provision that has succeeded has applied what it carried.
fn note_version(status: &mut JobStatus, tracked: &TrackedJob, job_type: JobType) {
    if status.state == JobState::Succeeded && job_type == JobType::Provision {
        status
            .reconciled_version
            .clone_from(&tracked.config_version);
    }
}

/// The id of a job of a controller. Anything else may be a path to somewhere else.
fn own_id(job: &JobRef) -> Result<u64, ProviderError> {
    job.id.parse().map_err(|_| {
        ProviderError::new(
            Effect::NotSent,
            ErrorKind::Invalid,
            format!(
                "\"{}\" is not the id of a controller's job",
                text::bounded(&job.id, 60)
            ),
        )
        .with_advice("this record belongs to another provider; register that one as well")
    })
}

struct Unsettled {
    reason: String,
    job: Option<JobStatus>,
}

#[async_trait]
impl Provider for AapProvider {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        capabilities.cancel = true;
        capabilities.find_launched = true;
        capabilities.visibility_window = std_duration(self.config.timing.visibility_window);
        capabilities.poll_interval = std_duration(self.config.timing.poll_interval);
        capabilities.on_ambiguity = OnAmbiguity::Hold;
        capabilities.block_deletion_on_failure = true;
        capabilities
    }

    async fn trigger_provision(
        &self,
        request: &LaunchRequest,
    ) -> Result<ProvisionResult, TriggerError> {
        let started = self.launch(request, JobType::Provision).await?;
        let message = format!("launched from {}", started.template);
        Ok(ProvisionResult::new(started.job, started.state, &message))
    }

    async fn provision_status(
        &self,
        _resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        self.status(job, JobType::Provision).await
    }

    async fn trigger_deprovision(
        &self,
        request: &LaunchRequest,
        history: &[JobRecord],
    ) -> Result<DeprovisionResult, TriggerError> {
        let unsettled = self.unsettled(request, history).await;
        // Nothing was launched, whatever went wrong while looking.
        if let Some(unsettled) = unsettled.map_err(|error| crate::client::not_sent(&error))? {
            return Ok(DeprovisionResult::Waiting {
                reason: unsettled.reason,
                retry_after: std_duration(self.config.timing.poll_interval)
                    .min(Duration::from_secs(5)),
                block_deletion_on_failure: true,
                provision_job: unsettled.job,
            });
        }
        let started = self.launch(request, JobType::Deprovision).await?;
        Ok(DeprovisionResult::Triggered {
            job: started.job,
            initial_state: started.state,
            block_deletion_on_failure: true,
            provision_job: None,
        })
    }

    async fn deprovision_status(
        &self,
        _resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        self.status(job, JobType::Deprovision).await
    }

    async fn cancel(
        &self,
        _resource: &Resource,
        job: &TrackedJob,
    ) -> Result<CancelResult, ProviderError> {
        self.stop(&job.job).await
    }

    async fn find_launched(&self, query: &FindRequest) -> Result<Vec<JobStatus>, ProviderError> {
        self.find(query).await
    }

    async fn preflight(&self, kinds: &[String]) -> Preflight {
        self.check(kinds).await
    }

    fn wake_ups(&self) -> Option<WakeUps> {
        // Unknown is what a hint says of a job that nobody has looked at since.
        let moved = self.monitor.wake_ups().filter_map(|(job, state)| {
            let may_have_ended = state.is_terminal() || state == JobState::Unknown;
            std::future::ready(may_have_ended.then_some(job))
        });
        #[cfg(feature = "push")]
        if self.config.push {
            let listening = crate::push::listen(
                Arc::clone(&self.client),
                self.monitor.clone(),
                Arc::clone(&self.listening),
            );
            let listening = futures::stream::once(listening).map(|never| match never {});
            return Some(Box::pin(futures::stream::select(moved, listening)));
        }
        Some(Box::pin(moved))
    }
}
