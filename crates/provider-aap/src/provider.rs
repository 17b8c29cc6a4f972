//! The contract of providers, kept by the controller's API.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use provider_core::{
    ActionName, CancelResult, Capabilities, Clock, DeprovisionResult, Effect, ErrorKind,
    FindRequest, JobRecord, JobRef, JobState, JobStatus, JobType, LaunchRequest, OnAmbiguity,
    Preflight, Provider, ProviderError, ProvisionResult, RelaunchQuery, Relaunched, Resource,
    SystemClock, TrackedJob, TriggerError, WakeUps, clock,
};

use crate::approvals::Approvals;
use crate::client::{Client, not_sent, std_duration};
use crate::diagnose::Diagnoses;
use crate::ends::Ends;
use crate::find::carried_out_by;
use crate::gate::Gate;
use crate::jobs::Jobs;
use crate::look::own_id;
use crate::monitor::{JobEvents, Monitor};
use crate::search::{SLACK, Search};
use crate::templates::{Template, Templates};
use crate::walk::Pace;
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
    /// How pages of lists are asked for.
    pub(crate) page_pace: Arc<Pace>,
    /// The search for launches in doubt, and that for what people relaunched.
    pub(crate) launches: Search,
    pub(crate) relaunches: Search,
    /// How many launches are on their way.
    pub(crate) gate: Gate,
    /// When ends were first seen that do not tell their time.
    pub(crate) ends: Ends,
    /// What was found out of jobs that have failed, and of who is waited for.
    pub(crate) diagnoses: Diagnoses,
    pub(crate) approvals: Approvals,
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
        let config = config.checked()?;
        let client = Arc::new(Client::new(&config, Arc::clone(&clock))?);
        let source = Arc::new(Jobs::new(
            Arc::clone(&client),
            Arc::clone(&clock),
            &config.token_variable,
        ));
        let interval = std_duration(config.timing.poll_interval);
        // Spreads polls over time, and need not be unpredictable.
        let seed = u64::try_from(clock.now().as_nanosecond() & i128::from(u64::MAX)).unwrap_or(1);
        let monitor = Monitor::new(
            &config.monitor,
            &config.name,
            interval,
            Arc::clone(&clock),
            source,
            seed,
        );
        let page_pace = Arc::new(Pace::new(std_duration(config.http.request_timeout)));
        let search = |launch_type| {
            let (client, clock) = (Arc::clone(&client), Arc::clone(&clock));
            let pace = Arc::clone(&page_pace);
            Search::new(launch_type, &config, client, monitor.clone(), clock, pace)
        };
        Ok(Self {
            launches: search("manual"),
            relaunches: search("relaunch"),
            gate: Gate::new(config.max_launches),
            monitor,
            page_pace,
            client,
            templates: Templates::default(),
            ends: Ends::default(),
            diagnoses: Diagnoses::default(),
            approvals: Approvals::default(),
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

    pub(crate) fn template_name(
        &self,
        job_type: JobType,
        kind: &str,
        target: Option<&str>,
    ) -> TemplateName {
        self.placed(self.config.templates.name(job_type, kind, target))
    }

    /// The same template in its organization.
    pub(crate) fn placed(&self, mut name: TemplateName) -> TemplateName {
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

    /// Changes of the jobs that are asked about, as soon as they are seen: for a controller that wants
    /// to reconcile then, instead of at its own next poll. Only ever a reason to look: what happened is
    /// told by the status. Needs no task; several may subscribe, and those that fall far behind miss
    /// some.
    #[must_use]
    pub fn job_events(&self) -> JobEvents {
        self.monitor.subscribe()
    }

    /// The first job of the history that is not settled and does not remove the object, after a cancel of it:
    /// one that provisions, acts on it, or does what only a newer version knows.
    async fn unsettled(
        &self,
        request: &LaunchRequest,
        history: &[JobRecord],
    ) -> Result<Option<Unsettled>, ProviderError> {
        let others = history
            .iter()
            .filter(|record| record.job_type != JobType::Deprovision && record.may_be_live());
        for record in others {
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
                Some(tracked) => match self.identified(&request.resource, &tracked).await {
                    Ok(read) => vec![self.judge(&read.body, read.job, read.now).await?],
                    // Purged: only jobs that have ended are. Or forgotten with all that came after a
                    // backup; whatever has its id now is none of ours.
                    Err(error)
                        if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Replaced) =>
                    {
                        Vec::new()
                    }
                    Err(error) => return Err(error),
                },
                None => match &record.token {
                    Some(token) => {
                        let mut query = FindRequest::new(
                            request.resource.clone(),
                            record.job_type,
                            token.clone(),
                        );
                        query.target.clone_from(&record.target);
                        query.not_before = record.timestamp.or(record.sent_at);
                        let window = std_duration(self.config.timing.visibility_window);
                        let latest = record.timestamp.max(record.sent_at);
                        query.not_after = latest.map(|at| carried_out_by(at, window));
                        let found = self.find(&query).await?;
                        // Whoever sent it may have another clock than we; the controller's is known to
                        // be close to that one, or nothing would have been sent.
                        let now = self.client.skew.theirs(self.clock.now());
                        let fresh = latest
                            .is_none_or(|at| now < clock::add(carried_out_by(at, window), SLACK));
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
                let job = format!("{} job {}", record.job_type, status.job.id);
                let reason = if status.state.is_terminal() {
                    format!("the end of {job} is not certain yet")
                } else {
                    self.send_cancel(&status.job).await?;
                    format!("{job} was still {} and is being canceled", status.state)
                };
                let is_provision = record.job_type == JobType::Provision;
                return Ok(Some(Unsettled {
                    reason,
                    job: is_provision.then_some(status),
                }));
            }
        }
        Ok(None)
    }

    async fn start(
        &self,
        request: &LaunchRequest,
        job_type: JobType,
    ) -> Result<ProvisionResult, TriggerError> {
        let started = self.launch(request, job_type).await?;
        let message = format!("launched from {}", started.template);
        Ok(ProvisionResult::new(started.job, started.state, &message))
    }

    /// Asks a job to stop, if it is the one on record and goes on.
    async fn stop(
        &self,
        resource: &Resource,
        tracked: &TrackedJob,
    ) -> Result<CancelResult, ProviderError> {
        let read = self.identified(resource, tracked).await;
        match read {
            Ok(read) if read.body.state().is_terminal() => {
                let status = self.judge_end(read).await?;
                Ok(CancelResult::Finished(Box::new(status)))
            }
            Ok(read) => self.send_cancel(&read.job).await,
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(CancelResult::Gone),
            // Nothing was asked of the job itself.
            Err(error) if error.kind() != ErrorKind::Replaced => Err(not_sent(&error)),
            Err(error) => Err(error),
        }
    }

    /// What the controller answers to a cancel says little: a refusal may mean that the job has ended, so
    /// the job itself is looked at.
    async fn send_cancel(&self, job: &JobRef) -> Result<CancelResult, ProviderError> {
        let path = format!(
            "{}/{}/cancel/",
            Kind::of(&job.kind).unwrap_or(Kind::Job).collection(),
            own_id(job)?
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
                let read = match self.read(job).await {
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        return Ok(CancelResult::Gone);
                    }
                    Err(error) => return Err(error),
                };
                let status = self.judge_end(read).await?;
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

struct Unsettled {
    reason: String,
    /// Where it is one that provisions.
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
        capabilities.actions = true;
        capabilities.find_launched = true;
        capabilities.find_relaunched = true;
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
        self.start(request, JobType::Provision).await
    }

    async fn trigger_action(
        &self,
        action: &ActionName,
        request: &LaunchRequest,
    ) -> Result<ProvisionResult, TriggerError> {
        let (kind, target) = (request.resource.kind(), request.target.as_deref());
        if self.config.templates.is_taken(action, kind, target) {
            return Err(ProviderError::new(
                Effect::NotSent,
                ErrorKind::Invalid,
                format!("no template is named for the action {action}, and by convention that is no action"),
            )
            .with_advice("name its template in the configuration (templates.actions)")
            .into());
        }
        self.start(request, JobType::Action(*action)).await
    }

    async fn status(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        self.standing(resource, job).await
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
            job: Some(started.job),
            initial_state: started.state,
            block_deletion_on_failure: true,
            provision_job: None,
        })
    }

    async fn cancel(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<CancelResult, ProviderError> {
        self.stop(resource, job).await
    }

    async fn find_launched(&self, query: &FindRequest) -> Result<Vec<JobStatus>, ProviderError> {
        self.find(query).await
    }

    async fn find_relaunched(
        &self,
        query: &RelaunchQuery,
    ) -> Result<Vec<Relaunched>, ProviderError> {
        self.relaunched(query).await
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
