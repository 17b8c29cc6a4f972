//! The contract between a controller's engine and a backend.

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::Stream;
use jiff::Timestamp;

use crate::{
    ActionName, CancelResult, ConfigVersion, DeprovisionResult, Effect, ErrorKind, ExtraVars,
    JobRecord, JobRef, JobStatus, JobType, OperationToken, Preflight, ProviderError,
    ProvisionResult, Resource, TrackedJob, TriggerError,
};

/// Automation outside the cluster that creates and deletes resources by jobs.
///
/// Controllers do not call this themselves: the lifecycle engine does, in the right order.
///
/// # For implementors
/// - Every method may be called at any time, from several tasks at once, and again after the
///   calling future was dropped at any await point.
/// - No method retries a request whose effect is doubtful. Reads may be retried.
/// - Every text that is returned is bounded, on one line, and holds no secret and no body.
/// - A job has one name for all its life: that which its launch gave, or by which it was first found. A
///   backend that names a run anew (an attempt of the same run, say) has one part of the name that stays; that
///   part is the id.
/// - A job is named in as many bytes as fit on record: an id of 256, a kind of 253, a url of 2,048 at
///   most ([`JobRef::check`]). An answer with a longer name is refused; a launch that gave it is in doubt.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait Provider: Send + Sync + fmt::Debug {
    /// The name under which records find their owner, and logs name it; unique in a registry.
    ///
    /// *Behaviour*: the same text for ever. A record written under a name that no registered
    /// provider has is held for a person.
    fn name(&self) -> &str;

    /// What this provider can do and how it wants to be treated.
    ///
    /// *Behaviour*: constant for the life of the provider.
    fn capabilities(&self) -> Capabilities;

    /// The [`JobRef::kind`] that the job of this launch will have, where that depends on
    /// something that is known before the launch alone, such as what the object says then.
    ///
    /// *Behaviour*: pure. It is written down with the intent, so that neither a crash nor a lost
    /// answer forgets it; a launch in doubt that is taken as sent keeps it.
    fn launch_kind(
        &self,
        _request: &LaunchRequest,
        _job_type: JobType,
    ) -> Option<Cow<'static, str>> {
        None
    }

    /// Starts a job that brings the resource to its desired configuration.
    ///
    /// *Behaviour*: sends one launch request at most. Not idempotent: called twice it starts
    /// two jobs. The token of the request is carried to the backend. Nothing is sent after
    /// [`send_by`](LaunchRequest::send_by): [`in_time`](LaunchRequest::in_time) is asked right
    /// before the request leaves.
    ///
    /// *Errors*: [`TriggerError::NotLaunched`] when nothing was started for sure,
    /// [`TriggerError::Ambiguous`] in every other case.
    async fn trigger_provision(
        &self,
        request: &LaunchRequest,
    ) -> Result<ProvisionResult, TriggerError>;

    /// Starts a job that removes the resource, unless a job that provisions or acts is in the way.
    ///
    /// *Behaviour*: while a job of `history` that does not deprovision is not settled, it is canceled and
    /// the answer is [`DeprovisionResult::Waiting`]; nothing is started then. May be called again
    /// after `Waiting` with the same token. After `Triggered` it must not be called again.
    ///
    /// *Errors*: as for [`trigger_provision`](Self::trigger_provision).
    async fn trigger_deprovision(
        &self,
        request: &LaunchRequest,
        history: &[JobRecord],
    ) -> Result<DeprovisionResult, TriggerError>;

    /// Starts a job that does something to a living resource: restarts it, say.
    ///
    /// *Requires*: [`Capabilities::actions`]; without it nothing is asked for, and the answer is
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    ///
    /// *Behaviour*: as [`trigger_provision`](Self::trigger_provision). Asked for only while the resource is
    /// applied and nothing else runs.
    ///
    /// *Errors*: as for [`trigger_provision`](Self::trigger_provision); a name that the backend has no
    /// automation for is [`TriggerError::NotLaunched`].
    async fn trigger_action(
        &self,
        _action: &ActionName,
        _request: &LaunchRequest,
    ) -> Result<ProvisionResult, TriggerError> {
        Err(TriggerError::NotLaunched(ProviderError::unsupported(
            "actions",
        )))
    }

    /// Where a job stands.
    ///
    /// *Behaviour*: reads only. A backend may learn completion from the resource itself.
    ///
    /// *Errors*: [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) when the backend does not
    /// know the job (any more); no other failure is reported so.
    async fn status(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError>;

    /// Asks the backend to end a job.
    ///
    /// *Requires*: [`Capabilities::cancel`]; without it the answer is
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    ///
    /// *Behaviour*: a request that may lose. Idempotent: a job that has ended answers
    /// [`CancelResult::Finished`], one that is gone [`CancelResult::Gone`], one that the backend does not
    /// cancel at this moment [`CancelResult::NotYet`].
    async fn cancel(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<CancelResult, ProviderError>;

    /// All jobs that were launched with this token and are visible at the backend, in the
    /// order of their launch; in whatever state.
    ///
    /// *Requires*: [`Capabilities::find_launched`]; without it the answer is
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    ///
    /// *Behaviour*: reads only. An empty answer proves that the launch was not carried out only
    /// once [`Capabilities::visibility_window`] has passed since the request was sent. Jobs
    /// that a person started as a copy of ours are not listed.
    async fn find_launched(&self, query: &FindRequest) -> Result<Vec<JobStatus>, ProviderError>;

    /// All jobs that people started at the backend as copies of ours (a relaunch) and that carry one of
    /// these tokens, in the order of their launch; in whatever state.
    ///
    /// *Requires*: [`Capabilities::find_relaunched`]; without it the answer is
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
    ///
    /// *Behaviour*: reads only. A copy is a job of the object like any other: the engine asks before it
    /// launches and before it lets an object go.
    ///
    /// *Errors*: whenever it cannot be told that there is no such job.
    async fn find_relaunched(
        &self,
        _query: &RelaunchQuery,
    ) -> Result<Vec<Relaunched>, ProviderError> {
        Err(ProviderError::unsupported("looking for relaunched jobs"))
    }

    /// Checks what can be checked without starting anything: reachable, authenticated, the
    /// automation for these kinds exists and can be launched.
    ///
    /// *Behaviour*: starts and changes nothing, never fails: what is wrong is a finding with its
    /// advice.
    async fn preflight(&self, kinds: &[String]) -> Preflight;

    /// Jobs that have ended, or may have, as soon as the backend tells of them; none where it
    /// cannot.
    ///
    /// *Behaviour*: reasons to ask at once instead of at the next poll, and nothing more: some may be
    /// missed, some repeated, some wrong. Whatever it takes to hear of them, such as a connection, is
    /// kept up while the stream is polled, and ends with it.
    ///
    /// *Requires*: who holds the stream polls it, and asks about what it names. So long, a status may
    /// say by [`JobStatus::poll_after`] that its job need not be asked about as often; so of several
    /// controllers that share a provider, each holds a stream, or none.
    fn wake_ups(&self) -> Option<WakeUps> {
        None
    }
}

/// Jobs that may have ended, for [`Provider::wake_ups`].
pub type WakeUps = Pin<Box<dyn Stream<Item = JobRef> + Send>>;

/// What a provider can do and how it wants to be treated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Jobs can be canceled.
    pub cancel: bool,
    /// Jobs can be found by the token of their launch.
    pub find_launched: bool,
    /// Living resources can be acted on; see [`trigger_action`](Provider::trigger_action).
    pub actions: bool,
    /// Jobs that people started as copies of ours can be found; see
    /// [`find_relaunched`](Provider::find_relaunched).
    pub find_relaunched: bool,
    /// How long an accepted launch may stay invisible to
    /// [`find_launched`](Provider::find_launched), counted from the sending of the request.
    pub visibility_window: Duration,
    /// How often a live job should be asked about.
    pub poll_interval: Duration,
    /// What to do about a launch in doubt where jobs cannot be found by token.
    pub on_ambiguity: OnAmbiguity,
    /// Whether a deprovision job that fails keeps the object. The answer to
    /// [`trigger_deprovision`](Provider::trigger_deprovision) overrides this.
    pub block_deletion_on_failure: bool,
}

impl Capabilities {
    /// The careful ones: nothing optional, doubts are held for a person, failures block.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            cancel: false,
            find_launched: false,
            actions: false,
            find_relaunched: false,
            visibility_window: Duration::from_secs(180),
            poll_interval: Duration::from_secs(30),
            on_ambiguity: OnAmbiguity::Hold,
            block_deletion_on_failure: true,
        }
    }
}

/// What to do about a launch in doubt where jobs cannot be found by token.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnAmbiguity {
    /// Start nothing until a person has looked.
    Hold,
    /// Take it as sent. The job is then named by its token; the provider's status methods must be
    /// able to answer for such a job.
    AssumeSent {
        /// [`JobRef::kind`](crate::JobRef::kind) of the assumed job, unless
        /// [`launch_kind`](Provider::launch_kind) named another one before the launch.
        kind: Cow<'static, str>,
    },
}

/// One launch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LaunchRequest {
    /// The object.
    pub resource: Resource,
    /// Which of several backends of the object this is for; none where there is one only. Targets that
    /// share a provider may get automation of their own.
    pub target: Option<String>,
    /// The name of this launch, to be carried to the backend.
    pub token: OperationToken,
    /// The configuration that is wanted.
    pub config_version: Option<ConfigVersion>,
    /// What the caller adds.
    pub extra_vars: ExtraVars,
    /// The last moment, by this process's clock, at which the request may leave; none without a limit.
    /// Whoever leaves later may meet the launch of a replica that has taken over.
    pub send_by: Option<Timestamp>,
    /// When the backend was last sent a launch of this type for this object, as the records tell:
    /// a pace that a restart does not forget.
    pub last_sent: Option<Timestamp>,
}

impl LaunchRequest {
    /// A launch for an object under a fresh token.
    #[must_use]
    pub fn new(resource: Resource, token: OperationToken) -> Self {
        Self {
            resource,
            target: None,
            token,
            config_version: None,
            extra_vars: ExtraVars::new(),
            send_by: None,
            last_sent: None,
        }
    }

    /// The same launch for a configuration.
    #[must_use]
    pub fn with_config_version(mut self, version: ConfigVersion) -> Self {
        self.config_version = Some(version);
        self
    }

    /// The same launch for one of several targets of the object.
    #[must_use]
    pub fn for_target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// The same launch with variables of the caller.
    #[must_use]
    pub fn with_extra_vars(mut self, extra_vars: ExtraVars) -> Self {
        self.extra_vars = extra_vars;
        self
    }

    /// The same launch, to be sent by this moment or not at all.
    #[must_use]
    pub fn send_by(mut self, moment: Timestamp) -> Self {
        self.send_by = Some(moment);
        self
    }

    /// Whether the request may still leave. Asked last of all, after every preparation that waits.
    ///
    /// # Errors
    /// When it is too late; nothing was sent then.
    pub fn in_time(&self, now: Timestamp) -> Result<(), ProviderError> {
        if self.send_by.is_none_or(|last| now <= last) {
            return Ok(());
        }
        Err(ProviderError::new(
            Effect::NotSent,
            ErrorKind::Timeout,
            "the preparations of the launch took so long that it may not be sent any more",
        )
        .with_advice("see why lookups at the backend take so long; the launch is tried again"))
    }

    /// The same launch with the time of the one before it.
    #[must_use]
    pub fn with_last_sent(mut self, at: Timestamp) -> Self {
        self.last_sent = Some(at);
        self
    }
}

/// A search for the jobs of one launch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FindRequest {
    /// The object that it was for.
    pub resource: Resource,
    /// Which of several backends of the object it was for; none where there is one only.
    pub target: Option<String>,
    /// What the launch was for.
    pub job_type: JobType,
    /// The name of the launch.
    pub token: OperationToken,
    /// A moment before the launch, by our clock: backends may search from there on, with slack
    /// for clocks that differ. None searches everything.
    pub not_before: Option<Timestamp>,
    /// A moment by which the launch was carried out, or never was; by our clock, as above. None
    /// searches up to the present.
    pub not_after: Option<Timestamp>,
    /// What the caller added to the launch. A job that lacks it, or was given something else, is
    /// [stray](JobStatus::stray).
    pub extra_vars: ExtraVars,
}

impl FindRequest {
    /// A search for the jobs of one launch, however old.
    #[must_use]
    pub fn new(resource: Resource, job_type: JobType, token: OperationToken) -> Self {
        Self {
            resource,
            target: None,
            job_type,
            token,
            not_before: None,
            not_after: None,
            extra_vars: ExtraVars::new(),
        }
    }

    /// The same search for one of several targets of the object.
    #[must_use]
    pub fn for_target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// The same search from a moment on.
    #[must_use]
    pub fn not_before(mut self, moment: Timestamp) -> Self {
        self.not_before = Some(moment);
        self
    }

    /// The same search up to a moment.
    #[must_use]
    pub fn not_after(mut self, moment: Timestamp) -> Self {
        self.not_after = Some(moment);
        self
    }

    /// The same search for a launch with these variables of the caller.
    #[must_use]
    pub fn with_extra_vars(mut self, extra_vars: ExtraVars) -> Self {
        self.extra_vars = extra_vars;
        self
    }
}

/// A search for jobs that people started as copies of ours.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RelaunchQuery {
    /// The object that the first jobs were for.
    pub resource: Resource,
    /// The tokens of their launches.
    pub tokens: Vec<OperationToken>,
    /// What they were launched for, each with its target; empty where that is not known, and anything is
    /// searched.
    pub launched_for: Vec<(JobType, Option<String>)>,
    /// A moment before the first of these launches, by our clock; none searches everything.
    pub not_before: Option<Timestamp>,
}

impl RelaunchQuery {
    /// A search for copies of these launches, however old.
    #[must_use]
    pub fn new(resource: Resource, tokens: Vec<OperationToken>) -> Self {
        Self {
            resource,
            tokens,
            launched_for: Vec::new(),
            not_before: None,
        }
    }

    /// The same search, where one of these launches was for this.
    #[must_use]
    pub fn launched_for(mut self, job_type: JobType, target: Option<&str>) -> Self {
        let one = (job_type, target.map(ToOwned::to_owned));
        if !self.launched_for.contains(&one) {
            self.launched_for.push(one);
        }
        self
    }

    /// The same search from a moment on.
    #[must_use]
    pub fn not_before(mut self, moment: Timestamp) -> Self {
        self.not_before = Some(moment);
        self
    }
}

/// A job that a person started as a copy of one of ours.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Relaunched {
    /// The token that it carries: that of the launch that was copied.
    pub token: OperationToken,
    /// Where it stands.
    pub status: JobStatus,
}

impl Relaunched {
    /// A copy of the launch with this token.
    #[must_use]
    pub fn new(token: OperationToken, status: JobStatus) -> Self {
        Self { token, status }
    }
}
