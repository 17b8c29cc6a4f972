//! A provider in memory: scriptable, and it remembers what it was asked.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::channel::mpsc;
use provider_core::{
    Capabilities, ConfigVersion, Effect, ErrorKind, ExtraVars, JobRef, JobState, JobType,
    ObjectKey, OperationToken, ProviderError, Resource,
};

mod contract;

/// The functions of a provider, for scripts and for records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Function {
    /// `trigger_provision`
    TriggerProvision,
    /// `trigger_deprovision`
    TriggerDeprovision,
    /// `trigger_action`
    TriggerAction,
    /// `status`
    Status,
    /// `cancel`
    Cancel,
    /// `find_launched`
    FindLaunched,
    /// `find_relaunched`
    FindRelaunched,
    /// `preflight`
    Preflight,
}

/// How one call goes wrong.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Trouble {
    /// It ends in this error, and nothing is carried out.
    Fails(ProviderError),
    /// It is carried out, and its answer is lost.
    LosesAnswer,
    /// It is carried out, and its answer makes no sense.
    GarblesAnswer,
}

/// One call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// Which function.
    pub function: Function,
    /// For which object.
    pub object: ObjectKey,
    /// About which job, where one was named.
    pub job: Option<String>,
}

/// A job of the fake.
#[derive(Debug, Clone)]
pub struct FakeJob {
    /// Its id, also the order of launches.
    pub id: u64,
    /// What it does.
    pub job_type: JobType,
    /// For which object.
    pub object: ObjectKey,
    /// For which of several targets of the object; none where there is one only.
    pub target: Option<String>,
    /// The token that it was launched with.
    pub token: OperationToken,
    /// The version that it was launched with.
    pub config_version: Option<ConfigVersion>,
    /// The object as the launch had it.
    pub sent: Resource,
    /// Its state.
    pub state: JobState,
    /// What it says of itself.
    pub message: String,
    /// What was added to its launch.
    pub extra_vars: ExtraVars,
    obeys_cancels: bool,
    copied: bool,
    stray: bool,
    unfinished: bool,
    hidden: bool,
    /// So many searches do not find it yet.
    unnamed_for: u32,
    polls_left: u32,
    ending: JobState,
}

/// A provider whose jobs end after a number of polls.
///
/// ```
/// use provider_testkit::{FakeProvider, Function, Trouble};
///
/// let fake = FakeProvider::new("fake").ending_after(2);
/// fake.trouble(Function::TriggerProvision, Trouble::LosesAnswer);
/// assert!(fake.calls().is_empty());
/// ```
#[derive(Debug)]
pub struct FakeProvider {
    name: String,
    capabilities: Capabilities,
    polls: u32,
    records_calls: bool,
    obeys_cancels: bool,
    poll_after: Option<Duration>,
    id_length: usize,
    /// After how many searches a job has a name, where launches are answered without one.
    unnamed_for: Option<u32>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    jobs: BTreeMap<u64, FakeJob>,
    last_id: u64,
    by_object: HashMap<ObjectKey, Vec<u64>>,
    /// Ids under which a stranger's job is found.
    strangers: BTreeSet<u64>,
    endings: VecDeque<JobState>,
    /// How many of the next jobs go on when they are canceled.
    stubborn: u32,
    /// How many of the next cancels come too early, and when to ask again.
    too_early: (u32, Duration),
    troubles: Vec<(Vec<Function>, Trouble)>,
    /// What ends in this error, until further notice.
    away: Option<(Vec<Function>, ProviderError)>,
    calls: Vec<CallRecord>,
    listeners: Vec<mpsc::UnboundedSender<JobRef>>,
}

impl Function {
    /// All of them, with which a backend is away altogether.
    pub const ALL: [Self; 8] = [
        Self::TriggerProvision,
        Self::TriggerDeprovision,
        Self::TriggerAction,
        Self::Status,
        Self::Cancel,
        Self::FindLaunched,
        Self::FindRelaunched,
        Self::Preflight,
    ];
}

impl State {
    /// Refuses to answer for a job whose name belongs to another one by now.
    fn check_name(&self, named: &JobRef) -> Result<(), ProviderError> {
        let id = named.id.parse();
        if !id.is_ok_and(|id: u64| self.strangers.contains(&id)) {
            return Ok(());
        }
        Err(ProviderError::new(
            Effect::Rejected,
            ErrorKind::Replaced,
            format!("{named} is a job of somebody else"),
        ))
    }

    /// The job of this id, or the one that was assumed to be sent: it is called by its token.
    fn job(&mut self, named: &JobRef) -> Option<&mut FakeJob> {
        let by_token = |job: &&mut FakeJob| job.token.as_str() == named.id;
        match named.id.parse() {
            Ok(id) => self.jobs.get_mut(&id),
            Err(_) => self.jobs.values_mut().find(by_token),
        }
    }

    /// What goes wrong with a call: before it is carried out, or, as `Ok`, after it.
    fn trouble(&mut self, function: Function) -> Result<Option<ProviderError>, ProviderError> {
        if let Some((_, error)) = self.away.as_ref().filter(|away| away.0.contains(&function)) {
            return Err(error.clone());
        }
        let mut troubles = self.troubles.iter();
        let at = troubles.position(|(of, _)| of.contains(&function));
        match at.map(|at| self.troubles.remove(at).1) {
            Some(Trouble::Fails(error)) => Err(error),
            Some(Trouble::LosesAnswer) => Ok(Some(ProviderError::new(
                Effect::MaybeSent,
                ErrorKind::Timeout,
                "the answer was lost, as the script says",
            ))),
            Some(Trouble::GarblesAnswer) => Ok(Some(ProviderError::new(
                Effect::Unreadable,
                ErrorKind::Protocol,
                "the answer makes no sense, as the script says",
            ))),
            None => Ok(None),
        }
    }
}

impl FakeProvider {
    /// A provider that can do everything and whose jobs succeed at the first poll.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let mut capabilities = Capabilities::none();
        capabilities.cancel = true;
        capabilities.find_launched = true;
        capabilities.actions = true;
        capabilities.find_relaunched = true;
        capabilities.visibility_window = Duration::from_secs(60);
        capabilities.poll_interval = Duration::from_secs(10);
        Self {
            name: name.into(),
            capabilities,
            polls: 1,
            records_calls: true,
            obeys_cancels: true,
            poll_after: None,
            id_length: 0,
            unnamed_for: None,
            state: Mutex::default(),
        }
    }

    /// The same with other capabilities.
    #[must_use]
    pub fn with_capabilities(mut self, change: impl FnOnce(&mut Capabilities)) -> Self {
        change(&mut self.capabilities);
        self
    }

    /// The same with jobs that end at the n-th poll; 0 leaves them running until
    /// [`end`](Self::end).
    #[must_use]
    pub fn ending_after(mut self, polls: u32) -> Self {
        self.polls = polls;
        self
    }

    /// The same with jobs that go on when they are canceled.
    #[must_use]
    pub fn ignoring_cancels(mut self) -> Self {
        self.obeys_cancels = false;
        self
    }

    /// The same that tells of ends, so that nobody needs to ask about a job for so long while somebody
    /// listens to [`wake_ups`](provider_core::Provider::wake_ups).
    #[must_use]
    pub fn telling_ends(mut self, poll_after: Duration) -> Self {
        self.poll_after = Some(poll_after);
        self
    }

    /// The same with ids of so many digits.
    #[must_use]
    pub fn naming_jobs_in(mut self, digits: usize) -> Self {
        self.id_length = digits;
        self
    }

    /// The same that answers launches without the name of their job, as a workflow dispatch does. So many
    /// searches do not find the job, as long as nobody [shows](Self::hide) it; then it has a name.
    #[must_use]
    pub fn naming_jobs_after(mut self, searches: u32) -> Self {
        self.unnamed_for = Some(searches);
        self
    }

    /// The same without a memory of calls, for long runs.
    #[must_use]
    pub fn without_call_records(mut self) -> Self {
        self.records_calls = false;
        self
    }

    /// The next call of this function goes wrong.
    pub fn trouble(&self, function: Function, trouble: Trouble) {
        self.trouble_in(&[function], trouble);
    }

    /// The next call of any of these functions goes wrong.
    pub fn trouble_in(&self, functions: &[Function], trouble: Trouble) {
        let troubles = &mut self.lock().troubles;
        troubles.push((functions.to_vec(), trouble));
    }

    /// From now on these functions end in this error, and nothing of them is carried out, until the
    /// backend is [`back`](Self::back).
    pub fn away(&self, functions: &[Function], error: ProviderError) {
        self.lock().away = Some((functions.to_vec(), error));
    }

    /// Nothing is [`away`](Self::away) any more.
    pub fn back(&self) {
        self.lock().away = None;
    }

    /// The next job ends in this state; further calls are for the jobs after it.
    pub fn next_ending(&self, state: JobState) {
        self.lock().endings.push_back(state);
    }

    /// The next job goes on when it is canceled; further calls are for the jobs after it.
    pub fn next_ignores_cancels(&self) {
        self.lock().stubborn += 1;
    }

    /// So many of the next cancels of jobs at work come too early: nothing is ended, and the answer is
    /// [`CancelResult::NotYet`](provider_core::CancelResult::NotYet) with this delay.
    pub fn cancels_come_too_early(&self, cancels: u32, retry_after: Duration) {
        self.lock().too_early = (cancels, retry_after);
    }

    /// What a job says of itself from now on.
    pub fn say(&self, id: u64, message: impl Into<String>) {
        if let Some(job) = self.lock().jobs.get_mut(&id) {
            job.message = message.into();
        }
    }

    /// A person starts a copy of a job, with its token; the new id. It ends as any other job. A search for
    /// launches does not find it, one for relaunches does.
    pub fn copy(&self, id: u64) -> Option<u64> {
        let mut state = self.lock();
        let mut job = state.jobs.get(&id)?.clone();
        state.last_id += 1;
        job.id = state.last_id;
        job.state = JobState::Running;
        job.copied = true;
        job.polls_left = self.polls;
        job.ending = state.endings.pop_front().unwrap_or(JobState::Succeeded);
        job.message.clear();
        let (object, id) = (job.object.clone(), job.id);
        state.by_object.entry(object).or_default().push(id);
        state.jobs.insert(id, job);
        Some(id)
    }

    /// The launch of a job has started this one too, as a proxy that repeats requests makes it: the new
    /// id. Unlike a copy it is found by the token.
    pub fn double(&self, id: u64) -> Option<u64> {
        let double = self.copy(id)?;
        if let Some(job) = self.lock().jobs.get_mut(&double) {
            job.copied = false;
        }
        Some(double)
    }

    /// A search does not find this job, as one that is not committed yet, until it is told to. A job that was
    /// launched [without a name](Self::naming_jobs_after) has one as soon as it is shown.
    pub fn hide(&self, id: u64, hidden: bool) {
        if let Some(job) = self.lock().jobs.get_mut(&id) {
            job.hidden = hidden;
            job.unnamed_for = 0;
        }
    }

    /// Ends a job, or puts it into any other state.
    pub fn end(&self, id: u64, state: JobState) {
        if let Some(job) = self.lock().jobs.get_mut(&id) {
            job.state = state;
        }
        if self.poll_after.is_some() {
            self.hint(id);
        }
    }

    /// Tells whoever listens that this job may have ended.
    pub fn hint(&self, id: u64) {
        let job = self.job_ref(id);
        let listeners = &mut self.lock().listeners;
        listeners.retain(|listener| listener.unbounded_send(job.clone()).is_ok());
    }

    /// Forgets a job, as a backend that purges does.
    pub fn purge(&self, id: u64) {
        self.lock().jobs.remove(&id);
    }

    /// The backend is restored from a backup, and gives the id of this job to a stranger's. What is asked
    /// under that id is answered as [`ErrorKind::Replaced`]; the job is gone.
    pub fn replace(&self, id: u64) {
        let mut state = self.lock();
        state.jobs.remove(&id);
        state.strangers.insert(id);
    }

    /// The same, and the job goes on under another id; the new one.
    pub fn renumber(&self, id: u64) -> Option<u64> {
        let mut state = self.lock();
        let mut job = state.jobs.remove(&id)?;
        state.strangers.insert(id);
        state.last_id += 1;
        job.id = state.last_id;
        let (object, id) = (job.object.clone(), job.id);
        state.by_object.entry(object).or_default().push(id);
        state.jobs.insert(id, job);
        Some(id)
    }

    /// The job turns out to have been started without what it was to be given.
    pub fn stray(&self, id: u64) {
        if let Some(job) = self.lock().jobs.get_mut(&id) {
            job.stray = true;
        }
    }

    /// Whether the work of a job is known not to be done.
    pub fn unfinished(&self, id: u64, is_so: bool) {
        if let Some(job) = self.lock().jobs.get_mut(&id) {
            job.unfinished = is_so;
        }
    }

    /// All jobs, by id.
    #[must_use]
    pub fn jobs(&self) -> Vec<FakeJob> {
        self.lock().jobs.values().cloned().collect()
    }

    /// All calls so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<CallRecord> {
        self.lock().calls.clone()
    }

    /// How often a function was called.
    #[must_use]
    pub fn count(&self, function: Function) -> usize {
        let calls = |state: &State| {
            state
                .calls
                .iter()
                .filter(|c| c.function == function)
                .count()
        };
        calls(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn job_ref(&self, id: u64) -> JobRef {
        let digits = self.id_length;
        JobRef::new(&self.name, "fake", format!("{id:0digits$}"))
    }
}
