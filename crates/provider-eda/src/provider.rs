//! The contract of providers, kept by sending events and looking at the object.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use provider_core::{
    ActionName, CancelResult, Capabilities, Clock, DeprovisionResult, Effect, ErrorKind,
    FindRequest, JobRecord, JobRef, JobState, JobStatus, JobType, LaunchRequest, OnAmbiguity,
    OperationToken, Preflight, Provider, ProviderError, ProvisionResult, RelaunchQuery, Relaunched,
    Resource, SystemClock, TrackedJob, TriggerError, WakeUps, text,
};
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use crate::activation::Watch;
use crate::breaker::Breaker;
use crate::client::{Client, std_duration};
use crate::completion::{Verdict, applied, worked_off};
use crate::endpoints::{Addressee, Made, is_taken};
use crate::kind::{self, EVENT, is_blind, is_ours};
use crate::pace::{Key, Paces};
use crate::sights::Sights;
use crate::tracking::{Look, Tracker};
use crate::{ConfigError, EdaConfig};

/// Starts jobs by events to a rulebook or to an event stream.
///
/// Cheap to share (`Arc`); holds one connection pool and the pace of sending, and no state of any
/// job: the names of jobs are the tokens of their launches, and their ends are read off the object.
pub struct EdaProvider {
    pub(crate) config: EdaConfig,
    pub(crate) client: Client,
    pub(crate) tracker: Option<Tracker>,
    pub(crate) clock: Arc<dyn Clock>,
    urls: Made,
    paces: Paces,
    breaker: Breaker,
    in_flight: Semaphore,
    pub(crate) sights: Sights,
    pub(crate) watch: Watch,
}

impl fmt::Debug for EdaProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EdaProvider")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for EdaProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}

fn not_sent(kind: ErrorKind, message: impl AsRef<str>, advice: &str) -> ProviderError {
    ProviderError::new(Effect::NotSent, kind, message).with_advice(advice)
}

/// The same error, of a launch that was not tried.
fn nothing_sent(error: &ProviderError) -> ProviderError {
    let mut same = not_sent(error.kind(), error.message(), error.advice());
    if let Some(delay) = error.retry_after() {
        same = same.with_retry_after(delay);
    }
    same
}

impl EdaProvider {
    /// A provider for this service; nothing is sent yet.
    ///
    /// # Errors
    /// When a setting cannot work; the error names it.
    pub fn new(config: EdaConfig) -> Result<Self, ConfigError> {
        Self::with_clock(config, Arc::new(SystemClock))
    }

    /// The same with a clock of the caller's, which decides when the next event may be sent and
    /// how long an event may be on its way.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_clock(config: EdaConfig, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let config = config.checked()?;
        let pacing = &config.pacing;
        let permits = usize::try_from(pacing.max_in_flight)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Ok(Self {
            client: Client::new(&config)?,
            tracker: Tracker::new(&config, &clock)?,
            clock,
            urls: Made::default(),
            paces: Paces::new(std_duration(pacing.min_interval)),
            breaker: Breaker::new(pacing.breaker_failures, std_duration(pacing.breaker_pause)),
            in_flight: Semaphore::new(permits),
            sights: Sights::default(),
            watch: Watch::default(),
            config,
        })
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &EdaConfig {
        &self.config
    }

    pub(crate) fn url(&self, job_type: JobType, to: Addressee<'_>) -> Result<Url, ProviderError> {
        let endpoints = self.config.transport.endpoints();
        let advice = match job_type {
            JobType::Action(_) => {
                "set the URL for this action (endpoints.actions), or one for every action (endpoints.action)"
            }
            _ => "set the URLs for creation and deletion of this kind, or fixed ones",
        };
        match self.urls.url(endpoints, job_type, to) {
            Some(Ok(url)) => Ok(url),
            Some(Err(error)) => Err(not_sent(ErrorKind::Invalid, error.to_string(), advice)),
            None => {
                let (action, kind) = (crate::body::action(&job_type), text::bounded(to.kind, 60));
                let mut said = format!("there is no URL to {action} a {kind}");
                if let Some(target) = to.target {
                    said = format!("{said} for target {}", text::bounded(target, 60));
                }
                Err(not_sent(ErrorKind::Invalid, said, advice))
            }
        }
    }

    /// Sends one event, if it is its turn.
    async fn send(
        &self,
        request: &LaunchRequest,
        job_type: JobType,
    ) -> Result<JobRef, TriggerError> {
        if request.token.as_str().is_empty() {
            let text = "the launch has no operation token";
            return Err(not_sent(ErrorKind::Invalid, text, "").into());
        }
        let to = Addressee {
            target: request.target.as_deref(),
            kind: request.resource.kind(),
        };
        let url = self.url(job_type, to)?;
        let body = self.config.body(request, job_type)?;
        let key = Key::new(request, job_type);
        let now = self.clock.now();
        if let Some(sent) = request.last_sent {
            self.paces.remember(&key, sent, now);
        }
        let turn = self.paces.enter(key, now).map_err(|left| {
            not_sent(
                ErrorKind::RateLimited,
                "an event of this kind for this object was sent a moment ago",
                "",
            )
            .with_retry_after(left)
        })?;
        let wait = std_duration(self.config.pacing.max_wait);
        let Some(_place) = self.place(wait).await else {
            return Err(not_sent(
                ErrorKind::RateLimited,
                format!(
                    "{} events are on their way already",
                    self.config.pacing.max_in_flight
                ),
                "if that lasts, the rulebook is slower than the events come",
            )
            .with_retry_after(wait.max(Duration::from_secs(1)))
            .into());
        };
        let host = url.authority().to_owned();
        let ticket = self.breaker.enter(&host, self.clock.now())?;
        request.in_time(self.clock.now())?;
        turn.sent(self.clock.now());
        self.sights.of_token(&request.token, self.clock.now());
        let sent = self.client.post(&url, body).await;
        let is_nobody = |error: &&ProviderError| {
            matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout)
        };
        ticket.done(sent.as_ref().err().filter(is_nobody), self.clock.now());
        tracing::debug!(
            object = %request.resource.key(),
            action = crate::body::action(&job_type),
            token = request.token.as_str(),
            error = sent.as_ref().err().map(tracing::field::display),
            "sent an event"
        );
        sent?;
        let kind = self.config.completion.launch_kind(request, job_type);
        Ok(kind::event(&self.config.name, &kind, &request.token))
    }

    /// A place among the events that are on their way, if one comes free in time.
    async fn place(&self, wait: Duration) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.in_flight.try_acquire() {
            return Some(place);
        }
        let place = tokio::time::timeout(wait, self.in_flight.acquire()).await;
        place.ok()?.ok()
    }

    /// Sends the event of something that brings about, and says what is known of its job.
    async fn start(
        &self,
        request: &LaunchRequest,
        job_type: JobType,
    ) -> Result<ProvisionResult, TriggerError> {
        let job = self.send(request, job_type).await?;
        let message = format!(
            "the event was taken by the {}",
            self.config.transport.kind()
        );
        Ok(ProvisionResult::new(job, JobState::Unknown, &message))
    }

    async fn provision_status(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        let (version, token) = (job.config_version.as_ref(), job.token.as_ref());
        let kind = Some(job.job.kind.as_str());
        let has_applied = self
            .config
            .completion
            .has_applied(resource, version, token, kind);
        if let Some(mut status) = self.seen_at_work(resource, job, has_applied).await? {
            if status.state == JobState::Succeeded {
                status.reconciled_version = version.cloned();
            }
            return Ok(status);
        }
        if has_applied {
            return Ok(applied(job.job.clone(), version));
        }
        let message = self.not_applied(resource, version, token, kind).await;
        Ok(JobStatus::new(job.job.clone(), JobState::Unknown).with_message(&message))
    }

    /// Where an action stands, or a job whose type this version does not know. It applies no version, so its
    /// end is known by its operation alone, or by its job.
    async fn action_status(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        let token = job.token.as_ref();
        let has_ended = self.config.completion.has_worked_off(resource, token);
        if let Some(status) = self.seen_at_work(resource, job, has_ended).await? {
            return Ok(status);
        }
        if has_ended {
            return Ok(worked_off(job.job.clone()));
        }
        let message = self.not_worked_off(resource, token).await;
        Ok(JobStatus::new(job.job.clone(), JobState::Unknown).with_message(&message))
    }

    /// What is seen of the job behind an event, where that tells more than the sign of its end on the object.
    /// Where there is neither, this process knows of the event from now on.
    async fn seen_at_work(
        &self,
        resource: &Resource,
        job: &TrackedJob,
        is_signed: bool,
    ) -> Result<Option<JobStatus>, ProviderError> {
        let (token, kind) = (job.token.as_ref(), Some(job.job.kind.as_str()));
        // What is seen of the job itself is better than a sign: the sign may come before its end.
        let is_enough = !self.is_live() && is_signed;
        if !is_enough && let Look::Job(mut status) = self.seen(resource, token, kind).await? {
            // With the sign of this very event nothing is left to wait for.
            status.settled |= status.state == JobState::Succeeded && is_signed;
            return Ok(Some(*status));
        }
        if let (Some(token), false) = (token, is_signed) {
            self.sights.of_token(token, self.clock.now());
        }
        Ok(None)
    }

    async fn removal_status(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        let mut status = if kind::is_copy(&job.job.kind) {
            self.copy_status(resource, job).await?
        } else {
            self.removal(resource, job).await?
        };
        // As long as the automation keeps its finalizer, it has not removed what it made.
        status.unfinished =
            status.state != JobState::Succeeded && self.config.completion.has_finalizer(resource);
        Ok(status)
    }

    /// Refuses to speak for the jobs of others. Jobs of older operators have no kind.
    fn own(&self, job: &JobRef) -> Result<(), ProviderError> {
        let ours = job.provider.is_empty() || job.provider == self.config.name;
        if ours && is_ours(&job.kind) {
            return Ok(());
        }
        Err(not_sent(
            ErrorKind::Invalid,
            format!(
                "{} is not an event of ours",
                text::bounded(&job.to_string(), 200)
            ),
            "this record belongs to another provider; register that one as well",
        ))
    }
}

#[async_trait]
impl Provider for EdaProvider {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        capabilities.poll_interval = std_duration(self.config.timing.poll_interval);
        capabilities.on_ambiguity = OnAmbiguity::AssumeSent {
            kind: Cow::Borrowed(EVENT),
        };
        capabilities.block_deletion_on_failure = false;
        capabilities.actions = self.config.transport.endpoints().has_actions();
        capabilities.cancel = self.is_live();
        capabilities.find_relaunched = self.is_live();
        capabilities
    }

    fn launch_kind(&self, request: &LaunchRequest, job_type: JobType) -> Option<Cow<'static, str>> {
        Some(self.config.completion.launch_kind(request, job_type))
    }

    async fn trigger_provision(
        &self,
        request: &LaunchRequest,
    ) -> Result<ProvisionResult, TriggerError> {
        self.start(request, JobType::Provision).await
    }

    async fn trigger_action(
        &self,
        action: &ActionName,
        request: &LaunchRequest,
    ) -> Result<ProvisionResult, TriggerError> {
        if !self.capabilities().actions {
            return Err(ProviderError::unsupported("actions").into());
        }
        if is_taken(action) {
            let text = format!("no event can be sent for an action that is called {action}");
            let advice = "rules know other events by that word: give the action another name";
            return Err(not_sent(ErrorKind::Invalid, text, advice).into());
        }
        self.start(request, JobType::Action(*action)).await
    }

    async fn status(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        self.own(&job.job)?;
        match job.job_type {
            JobType::Deprovision => self.removal_status(resource, job).await,
            _ if kind::is_copy(&job.job.kind) => self.copy_status(resource, job).await,
            JobType::Provision => self.provision_status(resource, job).await,
            _ => self.action_status(resource, job).await,
        }
    }

    async fn trigger_deprovision(
        &self,
        request: &LaunchRequest,
        history: &[JobRecord],
    ) -> Result<DeprovisionResult, TriggerError> {
        let mut others: Vec<JobRecord> = history
            .iter()
            .filter(|record| record.token.as_ref() != Some(&request.token))
            .cloned()
            .collect();
        let seen = self.others_seen(&request.resource, &mut others).await;
        // Nothing was sent, whatever went wrong while looking.
        let verdict = match seen.map_err(|error| nothing_sent(&error))? {
            Some(wait) => wait,
            None => {
                let now = self.clock.now();
                self.may_deprovision(&request.resource, &others, now)
            }
        };
        match verdict {
            Verdict::Nothing(reason) => Ok(DeprovisionResult::Skipped { reason }),
            Verdict::Wait {
                reason,
                left,
                provision_job,
            } => Ok(DeprovisionResult::Waiting {
                reason,
                retry_after: left.max(Duration::from_millis(100)),
                block_deletion_on_failure: false,
                provision_job: provision_job.map(|job| *job),
            }),
            Verdict::Send { provision_job } => {
                let job = self.send(request, JobType::Deprovision).await?;
                Ok(DeprovisionResult::Triggered {
                    initial_state: if is_blind(Some(&job.kind)) {
                        JobState::Unknown
                    } else {
                        JobState::Running
                    },
                    job: Some(job),
                    block_deletion_on_failure: false,
                    provision_job: provision_job.map(|job| *job),
                })
            }
        }
    }

    async fn cancel(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<CancelResult, ProviderError> {
        let (Some(tracker), true) = (&self.tracker, self.is_live()) else {
            return Err(ProviderError::unsupported("canceling an event"));
        };
        self.own(&job.job)?;
        if kind::is_copy(&job.job.kind) {
            let token = job.token.as_ref();
            return self.cancel_copy(resource, token, &job.job).await;
        }
        let token = OperationToken::from_text(&job.job.id);
        let token = job.token.as_ref().unwrap_or(&token);
        let kind = Some(job.job.kind.as_str());
        match tracker.cancel(resource, token).await? {
            // As the event's own, and with the doubts of its status.
            Some(CancelResult::Finished(_)) => {
                match self.seen(resource, Some(token), kind).await? {
                    Look::Job(status) if status.state.is_terminal() => {
                        Ok(CancelResult::Finished(status))
                    }
                    _ => Ok(CancelResult::Requested),
                }
            }
            Some(result) => Ok(result),
            // Its job may come into sight yet.
            None => Ok(CancelResult::NotYet {
                retry_after: std_duration(self.config.timing.poll_interval),
            }),
        }
    }

    async fn find_launched(&self, _query: &FindRequest) -> Result<Vec<JobStatus>, ProviderError> {
        Err(ProviderError::unsupported("looking events up"))
    }

    async fn find_relaunched(
        &self,
        query: &RelaunchQuery,
    ) -> Result<Vec<Relaunched>, ProviderError> {
        self.copies(query).await
    }

    async fn preflight(&self, kinds: &[String]) -> Preflight {
        self.check(kinds).await
    }

    fn wake_ups(&self) -> Option<WakeUps> {
        self.tracker.as_ref()?.wake_ups(&self.config.name)
    }
}
