//! What the behaviours share: one world, its provider, and steps with their complaints.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use provider_core::clock::Elapsed as _;
use provider_core::lifecycle::{Entropy, SeededEntropy};
use provider_core::{
    ActionName, Capabilities, DeprovisionResult, ExtraVars, JobRecord, JobRef, JobType,
    LaunchRequest, OperationToken, Provider, Reason, RelaunchQuery, Relaunched, Resource,
    TriggerError,
};

use super::harness::{Deed, Fault, Harness, Ran, World};
use super::report::{Stop, Verdict};
pub(super) use super::steps::{
    Launched, Ways, broken, check, deleted, found_alone, keeps_its_name, not_applicable, version,
};
use super::steps::{fold, fold_one_of};

/// The value of a secret variable, `password`, that every launch of the suite carries.
pub const SECRET: &str = "s3cret-of-the-caller";

/// How often something is asked for that must become true: with the poll interval in between.
pub(super) const ROUNDS: usize = 200;

/// One behaviour under test: a world of its own, and a provider.
pub struct Case {
    world: Box<dyn World>,
    provider: Arc<dyn Provider>,
    tokens: SeededEntropy,
    dice: SeededEntropy,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("provider", &self.provider.name())
            .finish_non_exhaustive()
    }
}

impl Case {
    /// A fresh world of this harness.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn start(harness: &dyn Harness, seed: u64) -> Result<Self, Stop> {
        let trouble = |text: String| Stop::Broken(format!("the harness has no world: {text}"));
        let world = harness.world(seed).await.map_err(trouble)?;
        let provider = world.provider().map_err(trouble)?;
        Ok(Self {
            world,
            provider,
            tokens: SeededEntropy::new(seed),
            dice: SeededEntropy::new(!seed),
        })
    }

    pub(super) fn world(&self) -> &dyn World {
        &*self.world
    }

    pub(super) fn provider(&self) -> &dyn Provider {
        &*self.provider
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.provider.capabilities()
    }

    /// The same world, seen by a provider that has just started.
    pub(super) fn restart(&mut self) -> Verdict {
        match self.world.provider() {
            Ok(provider) => {
                self.provider = provider;
                Ok(())
            }
            Err(text) => broken(format!("the provider cannot be started again: {text}")),
        }
    }

    pub(super) fn needs_cancel(&self) -> Verdict {
        if self.capabilities().cancel {
            return Ok(());
        }
        not_applicable("cancel is not declared")
    }

    pub(super) fn needs_find(&self) -> Verdict {
        if self.capabilities().find_launched {
            return Ok(());
        }
        not_applicable("find_launched is not declared")
    }

    pub(super) fn needs_relaunched(&self) -> Verdict {
        if self.capabilities().find_relaunched {
            return Ok(());
        }
        not_applicable("find_relaunched is not declared")
    }

    /// The action that the backend has automation for.
    pub(super) fn needs_actions(&self) -> Result<ActionName, Stop> {
        if !self.capabilities().actions {
            return not_applicable("actions are not declared");
        }
        match self.world.action().map(ActionName::new) {
            Some(Ok(name)) => Ok(name),
            Some(Err(error)) => broken(format!("the harness's action: {error}")),
            None => not_applicable("the harness names no action"),
        }
    }

    /// A search for copies of these launches, from the first of them on.
    pub(super) fn relaunch_query(&self, of: &[&Launched]) -> RelaunchQuery {
        let object = of.first().map_or("vm", |launched| launched.name());
        let tokens = of.iter().map(|launched| launched.token().clone()).collect();
        let mut query = RelaunchQuery::new(self.world.object(object), tokens);
        query.not_before = of
            .iter()
            .filter_map(|launched| launched.record.sent_at)
            .min();
        query
    }

    pub(super) async fn relaunched(&self, of: &[&Launched]) -> Result<Vec<Relaunched>, Stop> {
        let query = self.relaunch_query(of);
        match self.provider.find_relaunched(&query).await {
            Ok(found) => Ok(found),
            Err(error) => broken(format!("a search without trouble ended in: {error}")),
        }
    }

    /// The same provider, for other tasks.
    pub(super) fn shared(&self) -> Arc<dyn Provider> {
        self.provider.clone()
    }

    /// Breaks the world in one of its ways; the seed says in which.
    pub(super) async fn break_next(&self, fault: Fault) -> Verdict {
        for way in (0..=self.roll(8)).rev() {
            if self.world.break_next(fault, way).await {
                return Ok(());
            }
        }
        not_applicable(format!("the harness cannot break its world by {fault:?}"))
    }

    /// A number below this one.
    fn roll(&self, below: u8) -> usize {
        let number = self.dice.next() % u64::from(below.max(1));
        usize::try_from(number).unwrap_or_default()
    }

    /// Whether there is such a way to break it; the first one must exist.
    pub(super) async fn break_by(&self, fault: Fault, way: usize) -> Result<bool, Stop> {
        if self.world.break_next(fault, way).await {
            return Ok(true);
        }
        if way > 0 {
            return Ok(false);
        }
        not_applicable(format!("the harness cannot break its world by {fault:?}"))
    }

    pub(super) async fn make(&self, deed: Deed, launched: &Launched) -> Verdict {
        if self.world.make(deed, launched.token()).await {
            return Ok(());
        }
        not_applicable(format!("the harness has no sign of {deed:?}"))
    }

    pub(super) fn token(&self) -> OperationToken {
        let bits = (u128::from(self.tokens.next()) << 64) | u128::from(self.tokens.next());
        OperationToken::from_random(bits)
    }

    pub(super) fn request(&self, name: &str) -> LaunchRequest {
        self.launch_of(self.world.object(name))
    }

    fn launch_of(&self, object: Resource) -> LaunchRequest {
        LaunchRequest::new(object, self.token())
            .with_config_version(version())
            .with_extra_vars(ExtraVars::new().with_secret("password", SECRET))
    }

    /// The same launch for an object that is being deleted.
    pub(super) fn deletion(&self, name: &str) -> Result<LaunchRequest, Stop> {
        let object = deleted(&self.world.object(name), self.world.now())?;
        Ok(self.launch_of(object))
    }

    /// A launch without trouble.
    pub(super) async fn provision(&self, name: &str) -> Result<Launched, Stop> {
        let request = self.request(name);
        match self.provider.trigger_provision(&request).await {
            Ok(result) => {
                let job = self.named(&request, JobType::Provision, result.job).await?;
                Ok(self.launched(request, job, JobType::Provision, result.initial_state))
            }
            Err(error) => broken(format!("a launch without trouble ended in: {error}")),
        }
    }

    /// A provision job that was seen to succeed.
    pub(super) async fn provisioned(&self, name: &str) -> Result<Launched, Stop> {
        let mut launched = self.provision(name).await?;
        self.make(Deed::Succeed, &launched).await?;
        let status = self.settled(&launched).await?;
        fold(&mut launched.record, &status);
        Ok(launched)
    }

    /// An action without trouble, on what was provisioned.
    pub(super) async fn act(&self, name: &str) -> Result<Launched, Stop> {
        let action = self.needs_actions()?;
        let provisioned = self.provisioned(name).await?;
        self.act_on(&provisioned, action, self.request(name)).await
    }

    pub(super) async fn act_on(
        &self,
        provisioned: &Launched,
        action: ActionName,
        request: LaunchRequest,
    ) -> Result<Launched, Stop> {
        let job_type = JobType::Action(action);
        match self.provider.trigger_action(&action, &request).await {
            Ok(result) => {
                let job = self.named(&request, job_type, result.job).await?;
                let mut acted = self.launched(request, job, job_type, result.initial_state);
                acted.record.attempt = provisioned.record.attempt + 1;
                acted.before = provisioned.history();
                Ok(acted)
            }
            Err(error) => broken(format!("an action without trouble ended in: {error}")),
        }
    }

    /// A deprovision without trouble, after a provision that has succeeded.
    pub(super) async fn deprovision(&self, name: &str) -> Result<Launched, Stop> {
        let provisioned = self.provisioned(name).await?;
        let request = self.deletion(name)?;
        let started = self
            .started(&request, &mut provisioned.history(), &mut |_| Ok(()))
            .await?;
        match started {
            Some((job, state)) => Ok(self.launched(request, job, JobType::Deprovision, state)),
            None => broken("deprovisioning what was provisioned was skipped"),
        }
    }

    /// Asks for a deprovision until it is started; none when it is skipped. Looks at the journal
    /// after every answer.
    pub(super) async fn started(
        &self,
        request: &LaunchRequest,
        history: &mut [JobRecord],
        after_each: &mut (dyn FnMut(&DeprovisionResult) -> Verdict + Send),
    ) -> Result<Option<(JobRef, provider_core::JobState)>, Stop> {
        for _ in 0..ROUNDS {
            let result = self.provider.trigger_deprovision(request, history).await;
            let result = match result {
                Ok(result) => result,
                Err(TriggerError::NotLaunched(error)) if error.is_transient() => {
                    let wait = error.retry_after();
                    self.world
                        .pass(wait.unwrap_or(Duration::from_secs(1)))
                        .await;
                    continue;
                }
                Err(error) => {
                    return broken(format!("a deprovision without trouble ended in: {error}"));
                }
            };
            after_each(&result)?;
            match result {
                DeprovisionResult::Triggered {
                    job, initial_state, ..
                } => {
                    let job = self.named(request, JobType::Deprovision, job).await?;
                    return Ok(Some((job, initial_state)));
                }
                DeprovisionResult::Skipped { .. } => return Ok(None),
                DeprovisionResult::Waiting {
                    retry_after,
                    provision_job,
                    ..
                } => {
                    if let Some(status) = &provision_job {
                        fold_one_of(history, status);
                    }
                    self.world
                        .pass(retry_after.max(Duration::from_secs(1)))
                        .await;
                }
                other => return broken(format!("it was answered in a new way: {other:?}")),
            }
        }
        broken(format!(
            "it was still waiting after having been asked {ROUNDS} times, with the delays that it \
             asked for"
        ))
    }

    /// The job of a launch: as the answer names it, or as it is found by its token in the time that the
    /// provider asks for.
    pub(super) async fn named(
        &self,
        request: &LaunchRequest,
        job_type: JobType,
        named: Option<JobRef>,
    ) -> Result<JobRef, Stop> {
        if let Some(job) = named {
            return Ok(job);
        }
        if !self.capabilities().find_launched {
            return broken(
                "a launch was answered without a job, and find_launched is not declared: nobody will \
                 ever know its name",
            );
        }
        let window = self.capabilities().visibility_window;
        let step = self.capabilities().poll_interval.min(window);
        let began = self.world.now();
        loop {
            // Looked at before the search: one more is made when the window has passed.
            let last = self.world.now().elapsed_since(began) > window;
            match self.find(request, job_type).await?.as_slice() {
                [status] => return Ok(status.job.clone()),
                [] if last => {
                    return broken(format!(
                        "a launch was answered without a job, and no job with its token was found in \
                         the visibility window of {window:?}"
                    ));
                }
                [] => self.world.pass(step.max(Duration::from_secs(1))).await,
                several => {
                    let names: Vec<_> = several.iter().map(|one| one.job.to_string()).collect();
                    return broken(format!(
                        "one launch without a name has several jobs: {names:?}"
                    ));
                }
            }
        }
    }

    pub(super) fn launched(
        &self,
        request: LaunchRequest,
        job: JobRef,
        job_type: JobType,
        state: provider_core::JobState,
    ) -> Launched {
        let mut record = self.intent(&request, job_type);
        record.set_job_ref(job.clone());
        record.state = state;
        record.reason = None;
        Launched {
            request,
            job,
            job_type,
            record,
            before: Vec::new(),
        }
    }

    /// The record of a launch whose answer was lost.
    pub(super) fn intent(&self, request: &LaunchRequest, job_type: JobType) -> JobRecord {
        let mut record = JobRecord::new(1, job_type);
        record.provider = Some(self.provider.name().to_owned());
        record.token = Some(request.token.clone());
        record.config_version.clone_from(&request.config_version);
        record.timestamp = Some(self.world.now());
        record.sent_at = record.timestamp;
        record.sends = 1;
        record.reason = Some(Reason::Ambiguous);
        record
    }

    /// A few poll intervals; the seed says how many.
    pub(super) async fn a_while(&self) {
        for _ in 0..=self.roll(3) {
            self.tick().await;
        }
    }

    /// One poll interval.
    pub(super) async fn tick(&self) {
        self.world.pass(self.capabilities().poll_interval).await;
    }

    pub(super) async fn journal(&self) -> Vec<Ran> {
        self.world.journal().await
    }

    pub(super) async fn ran(&self, token: &OperationToken) -> Vec<Ran> {
        let mut journal = self.world.journal().await;
        journal.retain(|ran| ran.token == *token);
        journal
    }

    /// What was told as not launched was not carried out: neither before nor after the answer.
    pub(super) async fn check_not_carried_out(&self, request: &LaunchRequest) -> Verdict {
        self.tick().await;
        let count = self.ran(&request.token).await.len();
        check(count == 0, || {
            format!("told as not launched, it started {count} jobs")
        })
    }

    /// Whether this job may still do work, by the journal.
    pub(super) async fn at_work(&self, launched: &Launched) -> bool {
        self.ran(launched.token()).await.iter().any(|ran| ran.live)
    }

    pub(super) async fn has_live(&self, name: &str, job_type: JobType) -> bool {
        let journal = self.world.journal().await;
        let is_so = |ran: &Ran| ran.live && ran.job_type == job_type && ran.object == name;
        journal.iter().any(is_so)
    }
}
