//! The wrapper: the fake, with one defect.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use provider_core::clock::Elapsed as _;
use provider_core::{
    ActionName, CancelResult, Capabilities, Clock, DeprovisionResult, Effect, ErrorKind,
    FindRequest, JobRecord, JobRef, JobState, JobStatus, JobType, LaunchRequest, ManualClock,
    OperationToken, Preflight, Provider, ProviderError, ProvisionResult, RelaunchQuery, Relaunched,
    Resource, TrackedJob, TriggerError, WakeUps,
};
use provider_testkit::conformance::SECRET;
use provider_testkit::{FakeJob, FakeProvider};
use serde_json::{Value, json};

use super::harness::CREDENTIAL;
use super::memory::Memory;

pub struct Wrong {
    pub(super) fake: Arc<FakeProvider>,
    clock: ManualClock,
    /// The name of the behaviour that it breaks; none is a provider without defect.
    pub(super) defect: &'static str,
    memory: Mutex<Memory>,
}

impl fmt::Debug for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = if self.is("debug_holds_no_secret") {
            CREDENTIAL
        } else {
            "***"
        };
        write!(f, "Wrong({}, {shown})", self.defect)
    }
}

pub(super) fn error(effect: Effect, kind: ErrorKind) -> ProviderError {
    ProviderError::new(effect, kind, "wrong on purpose")
}

/// The object under another name.
fn another(resource: &Resource, name: &str) -> Resource {
    let mut value = Value::Object(resource.object().clone());
    value["metadata"]["uid"] = json!("another");
    value["metadata"]["name"] = json!(name);
    Resource::from_json(value).unwrap()
}

impl Wrong {
    pub fn new(fake: Arc<FakeProvider>, clock: ManualClock, defect: &'static str) -> Self {
        Self {
            fake,
            clock,
            defect,
            memory: Mutex::default(),
        }
    }

    pub(super) fn is(&self, behaviour: &str) -> bool {
        self.defect == behaviour
    }

    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap()
    }

    /// A job that nobody asked for, for another object.
    pub(super) async fn extra_job(&self, resource: &Resource) {
        let token = OperationToken::from_random(7);
        let request = LaunchRequest::new(another(resource, "other"), token);
        let _ = self.fake.trigger_provision(&request).await;
    }

    /// Jobs as a search would list them.
    fn listed(&self, which: impl Fn(&FakeJob) -> bool) -> Vec<JobStatus> {
        let jobs = self.fake.jobs().into_iter().filter(which);
        let name = |job: &FakeJob| JobRef::new("fake", "fake", job.id.to_string());
        jobs.map(|job| JobStatus::new(name(&job), job.state))
            .collect()
    }

    /// A deprovision job whatever else is at work.
    async fn forced(&self, request: &LaunchRequest) -> Result<DeprovisionResult, TriggerError> {
        let mut request = request.clone();
        request.resource = another(&request.resource, request.resource.name());
        self.fake.trigger_deprovision(&request, &[]).await
    }

    fn is_live(&self, name: &str, which: impl Fn(JobType) -> bool) -> bool {
        let jobs = self.fake.jobs();
        jobs.iter()
            .any(|job| job.object.name == name && which(job.job_type) && !job.state.is_terminal())
    }

    /// Whether a job may be one that its backend does not show yet.
    fn is_young(&self, job: &TrackedJob) -> bool {
        let window = self.fake.capabilities().visibility_window;
        let since = |at| self.clock.now().elapsed_since(at) < window;
        job.launched_at.is_some_and(since)
    }

    /// The state of the fake's own job of this name.
    fn state_of(&self, id: &str) -> Option<JobState> {
        let jobs = self.fake.jobs();
        let job = jobs.iter().find(|job| job.id.to_string() == id)?;
        Some(job.state)
    }

    /// Marks something as being worked on, waits, and would unmark it; who leaves in between does not.
    async fn busy(&self, what: &str) -> Result<(), ProviderError> {
        if !self.memory().busy.insert(what.to_owned()) {
            return Err(error(Effect::NotSent, ErrorKind::Invalid));
        }
        tokio::task::yield_now().await;
        self.memory().busy.remove(what);
        Ok(())
    }

    /// A point at which callers may go away.
    pub(super) async fn pause(&self) {
        tokio::task::yield_now().await;
    }

    /// A text that shows too much, or too much of it, where the defect says so.
    fn spoilt(&self, variant: &str, text: &mut String) {
        match self.defect.split_once('/') {
            Some(("answers_hold_no_secret", of)) if of == variant => {
                *text = format!("sent with {CREDENTIAL}");
            }
            Some(("answers_are_bounded", of)) if of == variant => {
                *text = "line\n".repeat(10_000);
            }
            _ => {}
        }
    }

    pub(super) fn changed(&self, error_of: ProviderError, job_type: JobType) -> ProviderError {
        let kind = error_of.kind();
        let provision = job_type == JobType::Provision;
        let (removal, action) = (
            job_type == JobType::Deprovision,
            job_type.action().is_some(),
        );
        match kind {
            ErrorKind::Invalid if action && self.is("a_refused_action_is_not_launched") => {
                error(Effect::MaybeSent, ErrorKind::Unavailable)
            }
            ErrorKind::Timeout if action && self.is("a_lost_action_answer_is_in_doubt") => {
                error(Effect::NotSent, kind)
            }
            ErrorKind::RateLimited if self.is("a_rate_limit_tells_its_delay") => {
                error(Effect::Rejected, kind)
            }
            ErrorKind::Unauthorized if self.is("refused_credentials_are_called_so") => {
                error(Effect::Rejected, ErrorKind::Unavailable)
            }
            ErrorKind::Invalid if provision && self.is("a_refused_launch_is_not_launched") => {
                error(Effect::MaybeSent, ErrorKind::Unavailable)
            }
            ErrorKind::Invalid if removal && self.is("a_refused_deprovision_is_not_launched") => {
                error(Effect::MaybeSent, ErrorKind::Unavailable)
            }
            ErrorKind::Timeout if provision && self.is("a_lost_answer_is_in_doubt") => {
                error(Effect::NotSent, kind)
            }
            ErrorKind::Timeout if removal && self.is("a_lost_deprovision_answer_is_in_doubt") => {
                error(Effect::NotSent, kind)
            }
            ErrorKind::Protocol if self.is("an_unreadable_answer_is_in_doubt") => {
                error(Effect::Rejected, kind)
            }
            _ => error_of,
        }
    }

    fn changed_status(&self, mut status: JobStatus, asked: u32, of: &TrackedJob) -> JobStatus {
        let id = &of.job.id;
        let (found, canceled) = {
            let memory = self.memory();
            (memory.found.contains(id), memory.canceled.contains_key(id))
        };
        let at_first_sight = asked == 1 && !found;
        let succeeded = status.state == JobState::Succeeded;
        let live = !status.state.is_terminal();
        match self.defect {
            "a_job_at_work_has_not_ended" if live && asked >= 3 => status.settled = true,
            "a_success_is_seen" if succeeded && at_first_sight && !canceled => {
                status.state = JobState::Failed;
            }
            "a_success_reports_its_version" if succeeded && at_first_sight => {
                status.reconciled_version = None;
            }
            "a_failure_is_seen" if status.state == JobState::Failed => {
                status.state = JobState::Succeeded;
            }
            "a_cancel_by_others_is_seen" if status.state == JobState::Canceled && !canceled => {
                status.state = JobState::Failed;
            }
            "only_a_success_reports_a_version" if live => {
                status.reconciled_version.clone_from(&of.config_version);
            }
            "an_unknown_word_is_no_end" if status.state == JobState::Unknown => {
                status.state = JobState::Failed;
                status.settled = true;
            }
            "a_cancel_that_loses_is_not_believed" if live && canceled => {
                status.state = JobState::Canceled;
                status.settled = true;
            }
            "polls_are_put_off_for_nobody_who_is_not_told" if live => {
                let listened = self.memory().listening;
                status.poll_after = listened.then_some(Duration::from_secs(60));
            }
            "polls_are_put_off_for_nobody_who_is_not_told/ever" if live => {
                status.poll_after = Some(Duration::from_secs(60));
            }
            "messages_are_bounded" if !status.message.is_empty() => {
                status.message = "line\n".repeat(10_000);
            }
            "a_job_keeps_its_name" if self.memory().known.contains(id) => {
                status.job.id.push_str("-2");
            }
            "a_restart_loses_no_job/renamed" if !self.memory().known.contains(id) => {
                status.job.kind.push_str("-2");
            }
            "messages_hold_no_secret" => status.message = format!("sent with {CREDENTIAL}"),
            "messages_hold_no_secret/variable" if !status.message.is_empty() => {
                status.message = format!("password: {SECRET}");
            }
            _ => {}
        }
        status
    }
}

impl Wrong {
    pub(super) async fn removal_status(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        if self.is("a_restart_loses_no_deprovision") && !self.memory().known.contains(&job.job.id) {
            return Err(error(Effect::Rejected, ErrorKind::NotFound));
        }
        if self.is("an_abandoned_question_does_no_harm/deprovision") {
            self.busy(&job.job.id).await?;
        }
        let mut status = self.fake.status(resource, job).await?;
        if status.state == JobState::Succeeded {
            match self.defect {
                "a_deprovision_is_seen_to_its_end" if self.memory().known.contains(&job.job.id) => {
                    status.state = JobState::Failed;
                }
                "a_deprovision_reports_no_version" => {
                    status.reconciled_version.clone_from(&job.config_version);
                }
                _ => {}
            }
        }
        Ok(status)
    }
}

#[async_trait]
impl Provider for Wrong {
    fn name(&self) -> &str {
        // Whoever listens for wake-ups asks, too.
        let asked = !self.memory().asked.is_empty() && !self.memory().listening;
        if self.is("a_provider_does_not_change_what_it_is") && asked {
            return "renamed";
        }
        self.fake.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.fake.capabilities()
    }

    async fn trigger_provision(
        &self,
        request: &LaunchRequest,
    ) -> Result<ProvisionResult, TriggerError> {
        let mut request = request.clone();
        let name = request.resource.name().to_owned();
        let mut late = Late::new(&self.fake, &request);
        late.armed = self.is("an_abandoned_launch_does_no_harm/late");
        self.pause().await;
        late.armed = false;
        match self.defect {
            "a_provision_launch_carries_its_token" => {
                let text = request.token.as_str().to_lowercase().replace('-', "");
                request.token = OperationToken::from_text(&text);
            }
            "two_launches_are_two_jobs" => {
                let memory = self.memory();
                let before = memory.launched.get(&name);
                let same = memory
                    .tokens
                    .get(&name)
                    .is_some_and(|tokens| tokens.contains(&request.token));
                if let Some(job) = before.filter(|_| !same) {
                    return Ok(ProvisionResult::new(job.clone(), JobState::Pending, ""));
                }
            }
            "an_abandoned_launch_does_no_harm" => self.busy(&name).await?,
            _ => {}
        }
        let launched = self.fake.trigger_provision(&request).await;
        self.pause().await;
        let mut result = match launched {
            Ok(result) => result,
            Err(trouble) => {
                let original = trouble.error().clone();
                let launches_anyway = match original.kind() {
                    ErrorKind::Invalid => "a_refused_launch_is_not_launched/launches",
                    ErrorKind::RateLimited => "a_rate_limit_tells_its_delay/launches",
                    ErrorKind::Unauthorized => "refused_credentials_are_called_so/launches",
                    _ => "a_missed_launch_is_no_job/launches",
                };
                if self.is(launches_anyway) && !original.effect().is_doubtful() {
                    let _ = self.fake.trigger_provision(&request).await;
                }
                if self.is("a_launch_in_doubt_is_not_repeated")
                    && original.kind() == ErrorKind::Protocol
                {
                    let _ = self.fake.trigger_provision(&request).await;
                }
                if self.is("a_missed_launch_is_no_job") && original.effect() == Effect::NotSent {
                    let job = JobRef::new("fake", "fake", "999");
                    return Ok(ProvisionResult::new(job, JobState::Pending, ""));
                }
                if self.is("errors_hold_no_secret") && original.kind() == ErrorKind::Invalid {
                    let text = Value::Object(request.extra_vars.expose()).to_string();
                    return Err(ProviderError::new(original.effect(), original.kind(), text).into());
                }
                return Err(self.changed(original, JobType::Provision).into());
            }
        };
        if self.is("a_launch_starts_one_job") {
            self.extra_job(&request.resource).await;
        }
        if self.is("launches_at_once_are_kept_apart") {
            self.memory().last.clone_from(&result.job);
            tokio::task::yield_now().await;
            result.job = self.memory().last.clone();
        }
        if self.is("a_launched_job_is_named") {
            result.job.as_mut().unwrap().provider = "another".to_owned();
        }
        self.spoilt("launch", &mut result.message);
        let mut memory = self.memory();
        if let Some(job) = &result.job {
            memory.known.insert(job.id.clone());
            memory.launched.insert(name.clone(), job.clone());
        }
        memory.tokens.entry(name).or_default().push(request.token);
        Ok(result)
    }

    async fn trigger_action(
        &self,
        action: &ActionName,
        request: &LaunchRequest,
    ) -> Result<ProvisionResult, TriggerError> {
        self.act(action, request).await
    }

    async fn status(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<JobStatus, ProviderError> {
        self.pause().await;
        if job.job_type == JobType::Deprovision {
            return self.removal_status(resource, job).await;
        }
        if job.job_type.action().is_some() {
            return self.action_status(resource, job).await;
        }
        let asked = {
            let mut memory = self.memory();
            let asked = memory.asked.entry(job.job.id.clone()).or_default();
            *asked += 1;
            *asked
        };
        match self.defect {
            "a_restart_loses_no_job" if !self.memory().known.contains(&job.job.id) => {
                return Err(error(Effect::Rejected, ErrorKind::NotFound));
            }
            "a_failed_question_is_forgotten" if self.memory().failed => {
                return Err(error(Effect::NotSent, ErrorKind::Unavailable));
            }
            "an_assumed_job_is_answered_for" if job.job.kind == "assumed" => {
                return Err(error(Effect::Rejected, ErrorKind::NotFound));
            }
            "questions_start_nothing" => self.extra_job(resource).await,
            "an_abandoned_question_does_no_harm" => self.busy(&job.job.id).await?,
            _ => {}
        }
        if self.is("questions_at_once_are_kept_apart") {
            self.memory().last = Some(job.job.clone());
            tokio::task::yield_now().await;
            let last = self.memory().last.clone().unwrap();
            let mut status = self.fake.status(resource, job).await?;
            status.job = last;
            return Ok(status);
        }
        match self.fake.status(resource, job).await {
            Ok(status) => Ok(self.changed_status(status, asked, job)),
            Err(trouble) if trouble.kind() == ErrorKind::NotFound => {
                if self.is("allowed/young_jobs") && self.is_young(job) {
                    return Ok(JobStatus::new(job.job.clone(), JobState::Pending));
                }
                if self.is("a_forgotten_job_is_not_found") {
                    return Ok(JobStatus::new(job.job.clone(), JobState::Failed));
                }
                Err(trouble)
            }
            Err(trouble) => {
                self.memory().failed = true;
                if self.is("errors_hold_no_secret/status") {
                    let text = format!("sent with {CREDENTIAL}");
                    return Err(ProviderError::new(trouble.effect(), trouble.kind(), text));
                }
                if self.is("a_failed_question_is_no_verdict") {
                    return Err(error(Effect::Rejected, ErrorKind::NotFound));
                }
                Err(trouble)
            }
        }
    }

    async fn trigger_deprovision(
        &self,
        request: &LaunchRequest,
        history: &[JobRecord],
    ) -> Result<DeprovisionResult, TriggerError> {
        let mut request = request.clone();
        let name = request.resource.name().to_owned();
        self.pause().await;
        let live = self.is_live(&name, |of| of == JobType::Provision);
        let acting = self.is_live(&name, |of| of.action().is_some());
        let newest = history.last();
        let in_doubt = newest.is_some_and(|record| record.job_id.is_none());
        let canceling = newest.is_some_and(|record| record.cancel_requested_at.is_some());
        let at_work = live && !in_doubt && !canceling;
        let wait = || DeprovisionResult::Waiting {
            reason: "wrong on purpose".to_owned(),
            retry_after: Duration::from_secs(1),
            block_deletion_on_failure: true,
            provision_job: None,
        };
        match self.defect {
            // The one who is left in the middle asks for another object.
            "a_deprovision_waits_for_a_job_at_work" if at_work && name == "vm" => {
                return self.forced(&request).await;
            }
            "a_deprovision_waits_for_a_job_at_work/ends" if at_work => {
                let answer = self.forced(&request).await?;
                if let DeprovisionResult::Triggered { job, .. } = &answer {
                    self.fake
                        .end(job.as_ref().unwrap().id.parse().unwrap(), JobState::Failed);
                }
                return Ok(answer);
            }
            "a_deprovision_waits_for_an_action" if acting => return self.forced(&request).await,
            "a_deprovision_waits_for_a_launch_in_doubt" if live && in_doubt => {
                return self.forced(&request).await;
            }
            "a_deprovision_waits_after_a_cancel_that_lost" if live && canceling => {
                return self.forced(&request).await;
            }
            "a_deprovision_needs_no_history" if history.is_empty() => {
                return Ok(DeprovisionResult::Skipped {
                    reason: "wrong on purpose".to_owned(),
                });
            }
            "a_canceled_provision_clears_the_way" if live => return Ok(wait()),
            "waiting_starts_nothing" if at_work => {
                let answer = self.fake.trigger_deprovision(&request, history).await?;
                if let DeprovisionResult::Triggered { job, .. } = self.forced(&request).await? {
                    self.fake
                        .end(job.as_ref().unwrap().id.parse().unwrap(), JobState::Failed);
                }
                return Ok(answer);
            }
            "a_deprovision_launch_carries_its_token" => {
                let text = request.token.as_str().to_lowercase().replace('-', "");
                request.token = OperationToken::from_text(&text);
            }
            "an_abandoned_deprovision_does_no_harm" => self.busy(&name).await?,
            _ => {}
        }
        let answer = self.fake.trigger_deprovision(&request, history).await;
        self.pause().await;
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(trouble) => {
                let original = trouble.error().clone();
                if self.is("a_refused_deprovision_is_not_launched/launches")
                    && original.kind() == ErrorKind::Invalid
                {
                    let _ = self.fake.trigger_deprovision(&request, history).await;
                }
                return Err(self.changed(original, JobType::Deprovision).into());
            }
        };
        if let DeprovisionResult::Waiting { reason, .. } = &mut answer {
            self.spoilt("waiting", reason);
        }
        if let DeprovisionResult::Triggered { job, .. } = &mut answer {
            if self.is("deprovisions_at_once_are_kept_apart") {
                self.memory().last.clone_from(job);
                tokio::task::yield_now().await;
                *job = self.memory().last.clone();
            }
            let known = job.iter().map(|job| job.id.clone());
            self.memory().known.extend(known);
        }
        Ok(answer)
    }

    async fn cancel(
        &self,
        resource: &Resource,
        job: &TrackedJob,
    ) -> Result<CancelResult, ProviderError> {
        let times = {
            let mut memory = self.memory();
            let times = memory.canceled.entry(job.job.id.clone()).or_default();
            *times += 1;
            *times
        };
        let is_live = self
            .state_of(&job.job.id)
            .is_some_and(|state| !state.is_terminal());
        self.pause().await;
        match self.defect {
            "the_undeclared_is_unsupported/cancels" => {
                self.fake
                    .end(job.job.id.parse().unwrap(), JobState::Canceled);
                return Err(error(Effect::NotSent, ErrorKind::Unsupported));
            }
            "allowed/early_cancel" if times <= 2 && is_live => {
                let retry_after = Duration::from_secs(5);
                return Ok(CancelResult::NotYet { retry_after });
            }
            "allowed/young_jobs" if self.is_young(job) && self.state_of(&job.job.id).is_none() => {
                let retry_after = Duration::from_secs(5);
                return Ok(CancelResult::NotYet { retry_after });
            }
            "a_cancel_may_be_repeated" if times > 2 => {
                return Err(error(Effect::Rejected, ErrorKind::Conflict));
            }
            "the_undeclared_is_unsupported" => return Ok(CancelResult::Requested),
            _ => {}
        }
        match self.fake.cancel(resource, job).await {
            Ok(CancelResult::Requested)
                if self.is("a_cancel_stops_an_action") && job.job_type.action().is_some() =>
            {
                self.fake
                    .end(job.job.id.parse().unwrap(), JobState::Running);
                Ok(CancelResult::Requested)
            }
            Ok(CancelResult::Requested)
                if self.is("a_cancel_stops_the_job") && job.job_type == JobType::Provision =>
            {
                self.fake
                    .end(job.job.id.parse().unwrap(), JobState::Running);
                Ok(CancelResult::Requested)
            }
            Ok(CancelResult::Finished(_)) if self.is("a_late_cancel_says_how_it_ended") => {
                Ok(CancelResult::Requested)
            }
            Ok(CancelResult::Finished(_)) if is_live && self.is("a_cancel_may_meet_the_end") => {
                Ok(CancelResult::Gone)
            }
            Ok(CancelResult::Finished(mut status)) => {
                self.spoilt("cancel", &mut status.message);
                Ok(CancelResult::Finished(status))
            }
            Err(trouble)
                if trouble.kind() == ErrorKind::Timeout
                    && self.is("a_lost_cancel_answer_does_no_harm") =>
            {
                Ok(CancelResult::Gone)
            }
            Err(trouble) if self.is("errors_hold_no_secret/cancel") => {
                let text = format!("sent with {CREDENTIAL}");
                Err(ProviderError::new(trouble.effect(), trouble.kind(), text))
            }
            Ok(CancelResult::Gone) if self.is("a_cancel_of_a_forgotten_job_says_so") => {
                Err(error(Effect::Rejected, ErrorKind::NotFound))
            }
            Err(trouble)
                if trouble.kind() == ErrorKind::Conflict
                    && self.is("a_refused_cancel_is_an_error") =>
            {
                Ok(CancelResult::Gone)
            }
            other => other,
        }
    }

    async fn find_launched(&self, query: &FindRequest) -> Result<Vec<JobStatus>, ProviderError> {
        self.pause().await;
        if self.is("the_undeclared_is_unsupported/find") {
            return Ok(self.listed(|job| job.token == query.token));
        }
        let mut found = match self.fake.find_launched(query).await {
            Err(trouble) if self.is("errors_hold_no_secret/find") => {
                let text = format!("sent with {CREDENTIAL}");
                return Err(ProviderError::new(trouble.effect(), trouble.kind(), text));
            }
            Err(_) if self.is("a_failed_search_proves_nothing") => return Ok(Vec::new()),
            other => other?,
        };
        let name = query.resource.name();
        let mut memory = self.memory();
        let ours = memory.tokens.get(name).cloned().unwrap_or_default();
        match self.defect {
            "a_lost_launch_is_adopted"
                if query.job_type == JobType::Provision && !ours.contains(&query.token) =>
            {
                found.clear();
            }
            "a_search_finds_its_own_launch_alone"
                if query.job_type == JobType::Provision
                    && ours.iter().any(|token| *token != query.token) =>
            {
                found.extend(
                    self.listed(|job| job.token != query.token && ours.contains(&job.token)),
                );
            }
            "a_search_may_start_at_the_launch" if query.not_before.is_some() => found.clear(),
            "a_search_may_find_nothing" if found.is_empty() => {
                return Err(error(Effect::Rejected, ErrorKind::NotFound));
            }
            "a_job_keeps_its_name/found" => {
                for status in &mut found {
                    status.job.kind.push_str("-2");
                }
            }
            "a_search_finds_its_own_launch_alone/renamed" => {
                for status in &mut found {
                    status.job.id.push_str("-2");
                }
            }
            "an_action_is_found_by_its_token" if query.job_type.action().is_some() => found.clear(),
            "an_ended_job_is_found_too" => found.retain(|status| !status.state.is_terminal()),
            "jobs_are_found_in_their_order" => found.reverse(),
            "a_copy_is_not_found" => {
                found = self.listed(|job| job.token == query.token);
            }
            "a_deprovision_is_found_by_its_token" if query.job_type == JobType::Deprovision => {
                found.clear();
            }
            _ => {}
        }
        for status in &found {
            memory.known.insert(status.job.id.clone());
            memory.found.insert(status.job.id.clone());
        }
        Ok(found)
    }

    async fn find_relaunched(
        &self,
        query: &RelaunchQuery,
    ) -> Result<Vec<Relaunched>, ProviderError> {
        self.pause().await;
        if self.is("the_undeclared_is_unsupported/relaunched") {
            return Ok(Vec::new());
        }
        let asked = |job: &FakeJob| query.tokens.contains(&job.token);
        let told = |status: JobStatus, query: &RelaunchQuery| {
            let token = query.tokens.first().cloned().unwrap();
            Relaunched::new(token, status)
        };
        let mut found = match self.fake.find_relaunched(query).await {
            Err(trouble) if self.is("errors_hold_no_secret/relaunched") => {
                let text = format!("sent with {CREDENTIAL}");
                return Err(ProviderError::new(trouble.effect(), trouble.kind(), text));
            }
            Err(_) if self.is("a_failed_search_for_relaunches_proves_nothing") => {
                return Ok(Vec::new());
            }
            other => other?,
        };
        match self.defect {
            "a_relaunch_is_found" => {
                found.retain(|copy| copy.status.state.is_terminal());
            }
            "a_relaunch_is_found/token" => {
                for copy in found
                    .iter_mut()
                    .filter(|copy| !copy.status.state.is_terminal())
                {
                    copy.token = OperationToken::from_random(7);
                }
            }
            "a_relaunch_that_has_ended_is_found_too" => {
                found.retain(|copy| !copy.status.state.is_terminal());
            }
            "a_search_for_relaunches_finds_no_originals" if found.is_empty() => {
                let all = self.fake.jobs();
                let alone = all.iter().all(asked);
                let originals = self.listed(|job| alone && asked(job));
                found.extend(originals.into_iter().map(|status| told(status, query)));
            }
            "a_search_for_relaunches_finds_its_own_tokens_alone" if found.is_empty() => {
                let others = self.listed(|job| !asked(job));
                found.extend(others.into_iter().map(|status| told(status, query)));
            }
            _ => {}
        }
        Ok(found)
    }

    async fn preflight(&self, kinds: &[String]) -> Preflight {
        self.pause().await;
        let mut report = self.fake.preflight(kinds).await;
        if let Some(finding) = report.findings.first_mut() {
            self.spoilt("preflight", &mut finding.message);
        }
        match self.defect {
            "a_preflight_starts_nothing" => {
                let object = json!({"kind": "ComputeInstance", "metadata": {"name": "other"}});
                self.extra_job(&Resource::from_json(object).unwrap()).await;
            }
            "a_preflight_likes_what_works" => report.error("mood", "it is not in the mood", ""),
            "a_preflight_sees_refused_credentials" => return Preflight::new(),
            _ => {}
        }
        report
    }

    fn wake_ups(&self) -> Option<WakeUps> {
        self.memory().listening = true;
        let renames = self.is("a_wake_up_names_its_job");
        let renamed = move |mut job: JobRef| {
            if renames {
                job.provider = "another".to_owned();
            }
            job
        };
        Some(Box::pin(self.fake.wake_ups()?.map(renamed)))
    }
}

/// Launches twice, and behind the back of its caller, when that has gone away.
struct Late {
    fake: Arc<FakeProvider>,
    request: LaunchRequest,
    armed: bool,
}

impl Late {
    fn new(fake: &Arc<FakeProvider>, request: &LaunchRequest) -> Self {
        Self {
            fake: fake.clone(),
            request: request.clone(),
            armed: false,
        }
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        if self.armed {
            let (fake, request) = (self.fake.clone(), self.request.clone());
            tokio::spawn(async move {
                for _ in 0..2 {
                    let _ = fake.trigger_provision(&request).await;
                }
            });
        }
    }
}
