//! The protocol, model-checked: the real `decide` and `absorb`, and around them a model of the
//! driver's loop, of a store with stale reads, of two replicas that may crash between any two steps,
//! and of a backend that loses answers, commits late, is away, forgets jobs, and says "canceled" while a
//! job works on.
//!
//! Every interleaving up to the bounds of each configuration is visited. Broken variants of the rules
//! are run too, and each must be caught: a check that cannot fail proves nothing.
//!
//! The bounds are small, so that this is over in seconds; with `PROVIDER_FULL` they are those that CI visits.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test that panics has failed"
)]

use std::hash::{Hash, Hasher};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use provider_core::lifecycle::{
    Action as Step, Backends, Block, Call, Context, Decision, Desired, Ground, LAUNCH_LEASE,
    Lesson, Look, Observation, Pace, Pass, Policy, PolicyConfig, Purge, RelaunchLook, Release,
    Rest, Right, Situation, Standing, Supersede, absorb, decide,
};
use provider_core::{
    CancelResult, Capabilities, ConfigVersion, DeprovisionResult, Effect, ErrorKind, JobRecord,
    JobRef, JobState, JobStatus, JobType, OperationToken, ProviderError, ProvisionResult,
    Relaunched, TriggerError, clock, history,
};
use serde_json::json;
use stateright::{Checker, Model, Property};

// ---- time: a tick is half a minute ----

const TICK: Duration = Duration::from_secs(30);
/// A launch without an answer turns up within two ticks or never.
const LATE_TICKS: u8 = 2;

fn at(tick: u8) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    clock::add(start, TICK * u32::from(tick))
}

fn version(spec: u8) -> ConfigVersion {
    ConfigVersion::from_text(format!("v1-{spec:032x}"))
}

// ---- the broken variants ----

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    /// The launch comes first, its intent after it.
    IntentAfterLaunch,
    /// A launch without an answer counts as not launched.
    LostIsNotSent,
    /// Provision jobs are taken for ended as soon as deletion is asked for.
    NoSettleBeforeDeprovision,
    /// "Canceled" is believed at once.
    CanceledIsBelieved,
    /// The success of any deprovision lets the object go.
    ReleaseOnOldSuccess,
    /// An object is let go on records that may be stale.
    ReleaseOnStaleRead,
    /// The newest attempt is the one with the latest time stamp.
    OrderByTimestamp,
    /// A write does not compare versions.
    LastWriterWins,
    /// One look in vain counts as proof, however fresh the launch is.
    AbsentAtOnce,
    /// An answer "it is not there" counts when it is acted on, however old it is by then.
    OldAbsence,
    /// A replica that stalled after its intent launches nevertheless.
    NoLease,
    /// Any success of a provision counts as success of the desired version.
    AnySuccessIsApplied,
    /// A refusal counts, however many sends ago it was given.
    OldRefusalCounts,
    /// A relaunch after a proven absence draws a new attempt and forgets the old one.
    FailureForgetsTheJob,
    /// What was planned counts as a look.
    PlanIsALook,
    /// An error counts as an answer.
    ErrorIsAnAnswer,
    /// What was seen of an end is forgotten when the backend does not know the job any more.
    SilenceWeakens,
    /// A cancel counts as taken that the backend has not heard of.
    CancelCountsUnheard,
    /// A doubt has no end once a search was answered in vain.
    NoEndAfterOneInVain,
    /// Nobody looks for jobs that a person has relaunched.
    NobodyLooks,
    /// Jobs are adopted without a look at what they were given.
    AdoptedUnchecked,
}

/// The bounds of one exploration.
#[derive(Debug, Clone)]
struct Bounds {
    replicas: usize,
    ticks: u8,
    /// Lost and late answers, lies, stale reads, refusals: so many in all.
    faults: u8,
    crashes: u8,
    edits: u8,
    failures: u8,
    supersede: Supersede,
    /// The first replica's clock is ahead by so many ticks.
    skew: u8,
    /// After its deletion the object may be wanted again once.
    again: bool,
    /// How many steps are taken, where the ends of all lives are out of reach.
    depth: Option<usize>,
    /// Whether lives also begin in their middle: applied, deleted in mid-provision, launch lost.
    from_the_middle: bool,
    /// Whether lives begin where one replica has stalled on a refusal, and the other has sent again.
    from_a_stall: bool,
    /// The backend may be away, not know a job for a moment, and forget jobs that have ended; people cancel
    /// jobs there. What is unknown is so for one tick at most.
    silence: bool,
    /// So many times a person relaunches a job that has ended, between two passes.
    relaunches: u8,
    /// Whether provision jobs may be started without what they were to be given.
    strays: bool,
    mutant: Option<Mutant>,
}

impl Bounds {
    fn small() -> Self {
        Self {
            replicas: 2,
            ticks: 5,
            faults: 1,
            crashes: 1,
            edits: 0,
            failures: 0,
            supersede: Supersede::Wait,
            skew: 0,
            again: false,
            depth: None,
            from_the_middle: false,
            from_a_stall: false,
            silence: false,
            relaunches: 0,
            strays: false,
            mutant: None,
        }
    }

    fn broken(mut self, mutant: Mutant) -> Self {
        self.mutant = Some(mutant);
        self
    }
}

// ---- the state ----

/// Records that can be members of a hashed state.
#[derive(Debug, Clone, PartialEq)]
struct Records(Vec<JobRecord>);

impl Eq for Records {}

impl Hash for Records {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for r in &self.0 {
            (
                r.attempt,
                r.job_type,
                r.state,
                &r.job_id,
                &r.token,
                &r.config_version,
            )
                .hash(hasher);
            (
                r.sent_at,
                r.sends,
                r.state_since,
                r.finished_at,
                r.cancel_requested_at,
                r.cancel_accepted_at,
            )
                .hash(hasher);
            (
                r.cancel_requests,
                &r.reason,
                r.doubtful,
                r.failures,
                r.retry_at,
                r.timestamp,
            )
                .hash(hasher);
            (r.turned_away, r.running_since, r.missing_since, r.copy_of).hash(hasher);
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Job {
    token: String,
    down: bool,
    spec: Option<ConfigVersion>,
    /// What the backend says.
    state: JobState,
    /// Whether it does its work, whatever the backend says.
    alive: bool,
    cancelled: bool,
    /// Whether the backend has taken a request of ours to cancel it.
    asked: bool,
    /// Whether the backend has forgotten it.
    forgotten: bool,
    /// Whether a person has started it, as a copy of one of ours.
    copy: bool,
    /// Whether it was started without what it was to be given.
    stray: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Late {
    job: Job,
    until: u8,
}

/// What a call gave, small enough to be part of a state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Seen {
    Accepted(usize),
    Lost,
    Refused,
    Status(usize, JobState, bool),
    Asked,
    Ended(usize, JobState, bool),
    Found(Vec<(usize, JobState, bool)>),
    Copies(Vec<(usize, JobState, bool)>),
    /// The launch has started this job, which is not the one that was wanted.
    Stray(usize),
    /// The question did not arrive.
    Away(Call),
    /// The backend says that it does not know the job.
    NotKnown(Call),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    /// It has records and is about to decide.
    Ready,
    /// It has called the backend and is about to record what it saw.
    Knows(Records, Seen, u8),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Replica {
    phase: Phase,
    records: Records,
    /// Whether nobody has written since it read.
    current: bool,
    /// The object as this replica saw it when it loaded.
    deleting: Option<u8>,
    spec: u8,
    pass: Pass,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    now: u8,
    records: Records,
    /// What a stale read shows, once something was written.
    before: Option<Records>,
    jobs: Vec<Job>,
    late: Vec<Late>,
    replicas: Vec<Replica>,
    deleting: Option<u8>,
    spec: u8,
    faults: u8,
    crashes: u8,
    edits: u8,
    failures: u8,
    again: bool,
    released: bool,
    /// Searches fail.
    searches_fail: bool,
    /// A person asks for a retry.
    retry: bool,
    relaunches: u8,
    /// The first rule that was broken.
    wrong: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Move {
    Load {
        replica: usize,
        stale: bool,
    },
    /// Decides, and carries the decision out; `way` says how the backend behaves.
    Act {
        replica: usize,
        way: u8,
    },
    Record {
        replica: usize,
    },
    Crash {
        replica: usize,
    },
    Tick,
    End {
        job: usize,
        well: bool,
    },
    Stop {
        job: usize,
    },
    /// A person cancels a job at the backend, which works on for a while.
    CancelThere {
        job: usize,
    },
    Forget {
        job: usize,
    },
    /// A person starts a copy of a job.
    Relaunch {
        job: usize,
    },
    Commit {
        late: usize,
    },
    Vanish {
        late: usize,
    },
    Delete,
    Edit,
    Again,
}

#[derive(Debug)]
struct Backend(Capabilities);

impl Backends for Backend {
    fn owner<'a>(&'a self, _: &'a JobRecord) -> Option<(&'a str, &'a Capabilities)> {
        Some(("b", &self.0))
    }

    fn capabilities(&self, _: &str) -> Option<&Capabilities> {
        Some(&self.0)
    }
}

struct Protocol {
    bounds: Bounds,
    policy: Policy,
    backend: Backend,
}

impl Protocol {
    fn new(bounds: Bounds) -> Self {
        let tick = SignedDuration::try_from(TICK).unwrap();
        let mut config = PolicyConfig::default();
        config.poll_interval = Some(tick);
        config.cancel_poll_interval = tick;
        config.cancel_retry = tick;
        config.jitter = 0.0;
        config.supersede = bounds.supersede;
        config.history_length = 1;
        config.backoff.base = tick;
        config.backoff.cap = tick;
        config.deadlines.queued = None;
        config.deadlines.running = None;
        if bounds.silence {
            config.deadlines.unknown = tick;
            config.deadlines.cancelling = tick;
            config.cancel_retry = SignedDuration::try_from(TICK * 2).unwrap();
            config.purge = Purge::AssumeSucceeded;
        }
        let mut capabilities = Capabilities::none();
        capabilities.cancel = true;
        capabilities.find_launched = true;
        capabilities.find_relaunched =
            bounds.relaunches > 0 && bounds.mutant != Some(Mutant::NobodyLooks);
        capabilities.visibility_window = match bounds.mutant {
            Some(Mutant::AbsentAtOnce) => Duration::ZERO,
            _ => TICK * u32::from(LATE_TICKS),
        };
        Self {
            bounds,
            policy: Policy::new(config).unwrap(),
            backend: Backend(capabilities),
        }
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.bounds.mutant == Some(mutant)
    }

    fn clock(&self, world: &World, replica: usize) -> Timestamp {
        let ahead = if replica == 0 { self.bounds.skew } else { 0 };
        at(world.now + ahead)
    }

    /// The records as the rules are shown them.
    fn shown(&self, replica: &Replica) -> Vec<JobRecord> {
        let mut records = replica.records.0.clone();
        if self.is(Mutant::NoSettleBeforeDeprovision) && replica.deleting.is_some() {
            for record in &mut records {
                if record.job_type == JobType::Provision {
                    record.state = JobState::Canceled;
                    record.doubtful = false;
                    record.cancel_requested_at = record.sent_at;
                    record.job_id.get_or_insert_with(|| "gone".to_owned());
                }
            }
        }
        if self.is(Mutant::OrderByTimestamp) {
            records.sort_by_key(|record| record.timestamp);
            for (n, record) in records.iter_mut().enumerate() {
                record.attempt = n as u64 + 1;
            }
        }
        if self.is(Mutant::AnySuccessIsApplied) {
            for record in &mut records {
                if record.state == JobState::Succeeded && record.job_type == JobType::Provision {
                    record.config_version = Some(version(replica.spec));
                }
            }
        }
        records
    }

    fn decide(&self, world: &World, n: usize) -> Decision {
        let replica = &world.replicas[n];
        let mut desired = Desired::new(version(replica.spec), "b");
        if world.retry {
            desired = desired.with_retry_request("looked");
        }
        let records = self.shown(replica);
        let mut pass = replica.pass.clone();
        for pace in &mut pass.paces {
            if self.is(Mutant::PlanIsALook) && pace.look.is_none() {
                pace.look = Some(Look {
                    asked: pace.planned,
                    answered: true,
                    dark_since: Some(at(0)),
                });
            }
            if self.is(Mutant::ErrorIsAnAnswer)
                && let Some(look) = &mut pace.look
            {
                look.answered = true;
            }
            if self.is(Mutant::NoEndAfterOneInVain) && pace.vain.is_some() {
                pace.look = None;
            }
        }
        if self.is(Mutant::ReleaseOnStaleRead) {
            pass.current = true;
        }
        let now = self.clock(world, n);
        let situation = Situation::new(&desired, &self.policy, &self.backend, now)
            .with_records(&records)
            .deleting_since(replica.deleting.map(at))
            .with_seed((n as u128 + 1) * 1_000);
        let decision = decide(&situation, &pass);
        let old_success = self.is(Mutant::ReleaseOnOldSuccess)
            && replica.deleting.is_some()
            && records
                .iter()
                .any(|r| r.job_type == JobType::Deprovision && r.state == JobState::Succeeded);
        if old_success {
            let released = Standing::Released(Release::new(Ground::Deprovisioned));
            return Decision::new(Step::Rest(Rest::new(released)), decision.why);
        }
        decision
    }

    /// In how many ways the backend may take this decision.
    fn ways(&self, world: &World, decision: &Decision) -> u8 {
        let faulty = world.faults > 0;
        match &decision.action {
            Step::Write { .. } if self.is(Mutant::IntentAfterLaunch) => 1,
            Step::Call(Call::Launch(_)) if faulty && self.bounds.strays => 6,
            Step::Call(Call::Launch(_)) if faulty => 4,
            Step::Call(Call::FindRelaunched(_)) if faulty => 2,
            Step::Call(Call::Cancel(_)) if faulty && self.bounds.silence => 4,
            Step::Call(Call::Cancel(_)) if faulty => 3,
            Step::Call(Call::Cancel(_)) => 2,
            Step::Call(Call::Status(_)) if faulty && self.bounds.silence => 3,
            Step::Call(Call::Find(_)) if faulty && self.bounds.silence => 2,
            _ => 1,
        }
    }

    fn swap(&self, world: &mut World, n: usize, changed: &[JobRecord]) -> bool {
        let replica = &world.replicas[n];
        let current = replica.current || self.is(Mutant::LastWriterWins);
        if world.released || !current {
            return false;
        }
        let mut records = replica.records.0.clone();
        for record in changed {
            history::put(&mut records, record.clone());
        }
        history::trim(&mut records, self.policy.config().history_length);
        if !history::check(&records).is_empty() {
            world
                .wrong
                .get_or_insert("a history that can never be right");
        }
        if !self.is(Mutant::OrderByTimestamp) {
            // Moments that no decision rests on within the bounds; without them, states merge.
            for record in &mut records {
                record.state_since = record.state_since.map(|_| at(0));
                record.timestamp = record.timestamp.map(|_| at(0));
                record.finished_at = record.finished_at.map(|_| at(0));
                record.cancel_requested_at = record.cancel_requested_at.map(|_| at(0));
                record.running_since = record.running_since.map(|_| at(0));
                record.missing_since = record.missing_since.map(|_| at(0));
                record.message.clear();
            }
        }
        // Without faults left there are no stale reads, and what they would show is forgotten.
        let old = std::mem::replace(&mut world.records, Records(records));
        world.before = (world.faults > 0).then_some(old);
        for replica in &mut world.replicas {
            replica.current = false;
        }
        let replica = &mut world.replicas[n];
        replica.records = world.records.clone();
        replica.current = true;
        true
    }

    fn load(&self, world: &mut World, n: usize, stale: bool) {
        let records = match &world.before {
            Some(before) if stale => before.clone(),
            _ => world.records.clone(),
        };
        let (deleting, spec) = (world.deleting, world.spec);
        let replica = &mut world.replicas[n];
        replica.records = records;
        replica.current = !stale;
        (replica.deleting, replica.spec) = (deleting, spec);
        replica.pass.right = None;
        replica.pass.current = false;
        replica.pass.relaunch_looks.clear();
        replica.phase = Phase::Ready;
        if self.bounds.silence {
            self.spread(world, n);
        }
    }

    /// Plans the first question about each job that a replica has not asked about.
    fn spread(&self, world: &mut World, n: usize) {
        let now = self.clock(world, n);
        let Replica { records, pass, .. } = &mut world.replicas[n];
        let live = records
            .0
            .iter()
            .filter(|r| r.job_id.is_some() && r.may_be_live());
        for record in live {
            if pass.paces.iter().all(|pace| pace.attempt != record.attempt) {
                let due = clock::add(now, TICK);
                pass.paces.push(Pace::new(record.attempt, now, due));
            }
        }
    }

    fn idle(&self, world: &mut World, n: usize) {
        let replica = &mut world.replicas[n];
        replica.phase = Phase::Idle;
        // Of what a process remembers between two passes, only this decides anything. That it may
        // ask again at once is allowed for.
        let mut paces = std::mem::take(&mut replica.pass.paces);
        let silence = self.bounds.silence;
        let open = world
            .records
            .0
            .iter()
            .filter(|r| r.is_unresolved() || (silence && r.may_be_live()));
        let open: Vec<u64> = open.map(|record| record.attempt).collect();
        paces.retain(|pace| (silence || pace.vain.is_some()) && open.contains(&pace.attempt));
        if !silence {
            for pace in &mut paces {
                (pace.planned, pace.due) = (at(0), at(0));
                (pace.look, pace.cancel) = (None, None);
            }
        }
        replica.pass = Pass::default();
        replica.pass.paces = paces;
        // What an idle replica last saw decides nothing; forgetting it merges states.
        replica.records = Records(Vec::new());
        (replica.current, replica.deleting, replica.spec) = (false, None, 0);
    }

    fn act(&self, world: &mut World, n: usize, way: u8) {
        match self.decide(world, n).action {
            Step::Rest(rest) => {
                self.rest(world, n, &rest);
                self.idle(world, n);
            }
            Step::Write { records, then } => {
                if let (Some(Right::Launch(attempt)), true) =
                    (then, self.is(Mutant::IntentAfterLaunch))
                {
                    let asked = records[0].clone();
                    self.launch(world, n, attempt, &asked, 0);
                    world.replicas[n].phase = Phase::Ready;
                    if self.swap(world, n, &records) {
                        world.replicas[n].pass.current = true;
                    } else {
                        self.load(world, n, false);
                    }
                    return;
                }
                if self.swap(world, n, &records) {
                    let pass = &mut world.replicas[n].pass;
                    pass.right = then;
                    pass.current = true;
                    pass.absent = None;
                } else if world.released {
                    self.idle(world, n);
                } else {
                    self.load(world, n, false);
                }
            }
            Step::Call(call) => self.call(world, n, call, way),
            other => panic!("a step that the model does not know: {other:?}"),
        }
    }

    fn rest(&self, world: &mut World, n: usize, rest: &Rest) {
        if rest.wake_at.is_none() && !rest.standing.is_final() {
            world.wrong.get_or_insert("I4: a rest without a wake-up");
        }
        match &rest.standing {
            Standing::Applied { version } => {
                let reached = world.jobs.iter().any(|job| {
                    !job.down
                        && !job.stray
                        && job.state == JobState::Succeeded
                        && job.spec.as_ref() == Some(version)
                });
                if !reached {
                    world
                        .wrong
                        .get_or_insert("I6: applied, and no job succeeded with that version");
                }
            }
            Standing::Released(_) if world.deleting.is_some() => {
                let alive = world.jobs.iter().any(|job| job.alive) || !world.late.is_empty();
                let last_up = world.jobs.iter().rposition(|job| !job.down);
                let proof = match last_up {
                    None => true,
                    Some(up) => world.jobs[up..]
                        .iter()
                        .any(|j| j.down && j.state == JobState::Succeeded),
                };
                if alive || !proof {
                    world.wrong.get_or_insert("I3: let go without proof");
                }
                world.released = true;
            }
            Standing::Blocked(Block::NotEnding { attempt }) => {
                let records = &world.replicas[n].records.0;
                let job = records.iter().find(|record| record.attempt == *attempt);
                let job = job.and_then(|record| record.job_id.as_ref()?.parse::<usize>().ok());
                if job.is_none_or(|job| !world.jobs[job].asked) {
                    world
                        .wrong
                        .get_or_insert("a job disobeys what it was never asked");
                }
            }
            // A replica that still sees a deletion which is no more: its finalizer removal is
            // refused by the API server. Nothing may rest on it, but nothing is lost either.
            _ => {}
        }
    }

    fn launch(&self, world: &mut World, n: usize, attempt: u64, asked: &JobRecord, way: u8) {
        let token = asked
            .token
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        let intended = |r: &JobRecord| r.token == asked.token && r.is_unresolved();
        if world.released || !world.records.0.iter().any(intended) {
            world
                .wrong
                .get_or_insert("I5: launched without a durable intent");
        }
        if world.jobs.iter().any(|job| job.alive && job.copy) {
            world
                .wrong
                .get_or_insert("I1, I2: launched beside a job that a person has relaunched");
        }
        let down = asked.job_type == JobType::Deprovision;
        let job = Job {
            token,
            down,
            spec: asked.config_version.clone(),
            state: JobState::Running,
            alive: true,
            cancelled: false,
            asked: false,
            forgotten: false,
            copy: false,
            stray: way > 3 && !down,
        };
        let _ = attempt;
        let seen = match way {
            0 => {
                world.jobs.push(job);
                Seen::Accepted(world.jobs.len() - 1)
            }
            1 => {
                world.jobs.push(job);
                world.faults -= 1;
                Seen::Lost
            }
            2 => {
                let until = world.now + LATE_TICKS;
                world.late.push(Late { job, until });
                world.faults -= 1;
                Seen::Lost
            }
            3 => {
                world.faults -= 1;
                Seen::Refused
            }
            way => {
                world.faults -= 1;
                world.jobs.push(job);
                let n = world.jobs.len() - 1;
                match way {
                    _ if down => Seen::Accepted(n),
                    4 => Seen::Stray(n),
                    _ => Seen::Lost,
                }
            }
        };
        world.replicas[n].phase = Phase::Knows(Records(vec![asked.clone()]), seen, world.now);
    }

    fn call(&self, world: &mut World, n: usize, call: Call, way: u8) {
        let attempt = call.attempt();
        let now = self.clock(world, n);
        let shown = self.shown(&world.replicas[n]);
        let Some(asked) = shown.into_iter().find(|r| r.attempt == attempt) else {
            return self.idle(world, n);
        };
        world.replicas[n].pass.right = None;
        if let Call::FindRelaunched(_) = call {
            let away = way == 1;
            world.faults = world.faults.saturating_sub(u8::from(away));
            let records = &world.replicas[n].records.0;
            let tokens: Vec<String> = records
                .iter()
                .filter_map(|record| Some(record.token.as_ref()?.to_string()))
                .collect();
            let found = world.jobs.iter().enumerate();
            let found = found.filter(|(_, job)| job.copy && tokens.contains(&job.token));
            let seen = if away {
                Seen::Away(call)
            } else {
                Seen::Copies(found.map(|(i, job)| (i, job.state, !job.alive)).collect())
            };
            world.replicas[n].phase = Phase::Knows(Records(vec![asked]), seen, world.now);
            return;
        }
        world.replicas[n].pass.relaunch_looks.clear();
        if matches!(call, Call::Launch(_)) {
            let late = asked
                .sent_at
                .is_none_or(|sent| clock::since(now, sent) > LAUNCH_LEASE);
            if late && !self.is(Mutant::NoLease) {
                return; // it stays ready, and looks for the job instead
            }
            return self.launch(world, n, attempt, &asked, way);
        }
        let number = asked
            .job_id
            .as_ref()
            .and_then(|id| id.parse::<usize>().ok());
        let number = number.filter(|i| !world.jobs[*i].forgotten);
        let named = asked.job_id.is_some();
        let away = match call {
            Call::Find(_) => way == 1 || world.searches_fail,
            Call::Cancel(_) => way == 3,
            _ => way == 1,
        };
        let seen = match (call, number) {
            _ if away => {
                world.faults = world.faults.saturating_sub(1);
                Seen::Away(call)
            }
            (Call::Status(_), Some(_)) if way == 2 => {
                world.faults -= 1;
                Seen::NotKnown(call)
            }
            (Call::Find(_), _) => {
                let token = asked.token.as_ref().map(ToString::to_string);
                let found = world.jobs.iter().enumerate();
                let found =
                    found.filter(|(_, job)| Some(&job.token) == token.as_ref() && !job.forgotten);
                let found = found.filter(|(_, job)| !job.copy);
                Seen::Found(found.map(|(i, job)| (i, job.state, !job.alive)).collect())
            }
            (Call::Cancel(_), Some(i)) => {
                let job = &mut world.jobs[i];
                if job.state.is_terminal() {
                    Seen::Ended(i, job.state, !job.alive)
                } else {
                    job.asked = true;
                    match way {
                        // It stops later, or ends by itself before that.
                        1 => job.cancelled = true,
                        2 => {
                            job.state = JobState::Canceled;
                            world.faults -= 1;
                        }
                        _ => {
                            job.state = JobState::Canceled;
                            job.alive = false;
                        }
                    }
                    Seen::Asked
                }
            }
            (_, Some(i)) => Seen::Status(i, world.jobs[i].state, !world.jobs[i].alive),
            (_, None) if named => Seen::NotKnown(call),
            (_, None) => return self.idle(world, n),
        };
        world.replicas[n].phase = Phase::Knows(Records(vec![asked]), seen, world.now);
    }

    fn observation(&self, world: &World, asked: &JobRecord, seen: &Seen) -> Observation {
        let job = |i: usize| JobRef::new("b", "k", i.to_string());
        let status = |i: usize, state: JobState, settled: bool| {
            let mut status = JobStatus::new(job(i), state);
            status.settled =
                state.is_terminal() && (settled || self.is(Mutant::CanceledIsBelieved));
            status.stray = world.jobs[i].stray && !self.is(Mutant::AdoptedUnchecked);
            if state == JobState::Succeeded && !world.jobs[i].down {
                status.reconciled_version.clone_from(&world.jobs[i].spec);
            }
            status
        };
        let up = asked.job_type == JobType::Provision;
        let failed = |error: TriggerError| {
            if up {
                Observation::Provisioned(Err(error))
            } else {
                Observation::Deprovisioned(Err(error))
            }
        };
        let without = |call: Call, error: ProviderError| match call {
            Call::Find(_) => Observation::Found(Err(error)),
            Call::Cancel(_) => Observation::Canceled(Err(error)),
            Call::FindRelaunched(_) => Observation::Relaunched {
                found: Err(error),
                deleting: world.deleting.is_some(),
            },
            _ => Observation::Status(Err(error)),
        };
        match seen {
            Seen::Accepted(i) if up => {
                Observation::Provisioned(Ok(ProvisionResult::new(job(*i), JobState::Pending, "")))
            }
            Seen::Accepted(i) => Observation::Deprovisioned(Ok(DeprovisionResult::Triggered {
                job: job(*i),
                initial_state: JobState::Pending,
                block_deletion_on_failure: true,
                provision_job: None,
            })),
            Seen::Lost if !self.is(Mutant::LostIsNotSent) => {
                failed(ProviderError::new(Effect::MaybeSent, ErrorKind::Timeout, "lost").into())
            }
            Seen::Lost | Seen::Refused => failed(
                ProviderError::new(Effect::NotSent, ErrorKind::Unavailable, "refused").into(),
            ),
            Seen::Status(i, state, settled) => {
                Observation::Status(Ok(status(*i, *state, *settled)))
            }
            Seen::Away(call) => without(
                *call,
                ProviderError::new(Effect::NotSent, ErrorKind::Unavailable, "away"),
            ),
            Seen::NotKnown(call) => without(
                *call,
                ProviderError::new(Effect::Rejected, ErrorKind::NotFound, "not known"),
            ),
            Seen::Asked => Observation::Canceled(Ok(CancelResult::Requested)),
            Seen::Ended(i, state, settled) => Observation::Canceled(Ok(CancelResult::Finished(
                Box::new(status(*i, *state, *settled)),
            ))),
            Seen::Stray(i) => failed(
                ProviderError::new(Effect::MaybeSent, ErrorKind::Invalid, "not as wanted")
                    .with_stray_job(job(*i))
                    .into(),
            ),
            Seen::Copies(found) => Observation::Relaunched {
                found: Ok(found
                    .iter()
                    .map(|(i, state, settled)| {
                        let token = OperationToken::from_text(&world.jobs[*i].token);
                        Relaunched::new(token, status(*i, *state, *settled))
                    })
                    .collect()),
                deleting: world.deleting.is_some(),
            },
            Seen::Found(found) => Observation::Found(Ok(found
                .iter()
                .map(|(i, state, settled)| status(*i, *state, *settled))
                .collect())),
        }
    }

    fn record(&self, world: &mut World, n: usize) {
        let Phase::Knows(asked, seen, asked_at) = world.replicas[n].phase.clone() else {
            return;
        };
        let asked = &asked.0[0];
        let observation = self.observation(world, asked, &seen);
        let context = Context::new(&self.policy, &self.backend.0, self.clock(world, n), 7);
        let there = &world.replicas[n].records.0;
        let mut asked = asked.clone();
        if self.is(Mutant::OldRefusalCounts)
            && let Some(known) = there.iter().find(|record| record.attempt == asked.attempt)
        {
            asked.sends = known.sends;
        }
        let asked = &asked;
        let mut changed = absorb(there, asked, &observation, &context);
        for record in &mut changed {
            let was_seen = asked.state.is_terminal() && record.is_missing();
            if self.is(Mutant::SilenceWeakens) && was_seen {
                record.state = JobState::Unknown;
                record.doubtful = false;
            }
        }
        if self.is(Mutant::CancelCountsUnheard) && matches!(seen, Seen::Away(Call::Cancel(_))) {
            let mut record = asked.clone();
            record.cancel_accepted_at.get_or_insert(context.now);
            record.cancel_requests += 1;
            changed.push(record);
        }
        if self.is(Mutant::FailureForgetsTheJob) && matches!(seen, Seen::Lost) {
            // The open attempt is closed as if nothing had been sent.
            for record in &mut changed {
                record.state = JobState::Failed;
                record.reason = Some(provider_core::Reason::NotSent);
            }
        }
        if !changed.is_empty() && !self.swap(world, n, &changed) {
            if world.released {
                return self.idle(world, n);
            }
            // The observation is applied afresh to what is there now.
            let phase = world.replicas[n].phase.clone();
            let pass = world.replicas[n].pass.clone();
            self.load(world, n, false);
            if !matches!(seen, Seen::Copies(_)) {
                world.replicas[n].phase = phase;
            }
            world.replicas[n].pass.paces = pass.paces;
            return;
        }
        let now = self.clock(world, n);
        let ahead = if n == 0 { self.bounds.skew } else { 0 };
        let asked_at = if self.is(Mutant::OldAbsence) {
            now
        } else {
            at(asked_at + ahead)
        };
        let at_once = matches!(seen, Seen::Lost)
            || (matches!(seen, Seen::NotKnown(_)) && !asked.is_missing());
        let replica = &mut world.replicas[n];
        replica.pass.current |= !changed.is_empty();
        if let Observation::Relaunched { found, .. } = &observation {
            replica.pass.relaunch_looks.push(RelaunchLook {
                provider: "b".to_owned(),
                again: found.is_err().then(|| clock::add(now, TICK)),
            });
            replica.phase = Phase::Ready;
            return;
        }
        let records = replica.records.0.clone();
        let wait = if at_once { Duration::ZERO } else { TICK };
        let lesson = Lesson::new(&records, asked, &observation, &self.policy, asked_at);
        replica.pass.learn(&lesson.at(now).waiting(wait));
        replica.phase = Phase::Ready;
    }

    fn step(&self, world: &World, action: &Move) -> World {
        let mut next = world.clone();
        match *action {
            Move::Load { replica, stale } => {
                if stale {
                    next.faults -= 1;
                }
                self.load(&mut next, replica, stale);
                // A pass that only looks and rests is one step: nothing of it can be interleaved.
                if matches!(self.decide(&next, replica).action, Step::Rest(_)) {
                    self.act(&mut next, replica, 0);
                }
            }
            Move::Act { replica, way } => self.act(&mut next, replica, way),
            Move::Record { replica } => self.record(&mut next, replica),
            Move::Crash { replica } => {
                next.crashes -= 1;
                self.idle(&mut next, replica);
                next.replicas[replica].pass.paces.clear();
            }
            Move::Tick => next.now += 1,
            Move::End { job, well } => {
                let job = &mut next.jobs[job];
                job.alive = false;
                job.state = if well {
                    JobState::Succeeded
                } else {
                    JobState::Failed
                };
                if !well {
                    next.failures -= 1;
                }
            }
            Move::Stop { job } => {
                next.jobs[job].alive = false;
                next.jobs[job].state = JobState::Canceled;
            }
            Move::CancelThere { job } => {
                next.faults -= 1;
                next.jobs[job].state = JobState::Canceled;
                next.jobs[job].cancelled = true;
            }
            Move::Forget { job } => {
                next.faults -= 1;
                next.jobs[job].forgotten = true;
            }
            Move::Relaunch { job } => {
                next.relaunches -= 1;
                let copy = Job {
                    state: JobState::Running,
                    alive: true,
                    cancelled: false,
                    asked: false,
                    copy: true,
                    ..next.jobs[job].clone()
                };
                next.jobs.push(copy);
            }
            Move::Commit { late } => {
                let late = next.late.remove(late);
                next.jobs.push(late.job);
            }
            Move::Vanish { late } => {
                next.late.remove(late);
            }
            Move::Delete => next.deleting = Some(next.now),
            Move::Edit => {
                next.spec += 1;
                next.edits -= 1;
            }
            Move::Again => {
                next.again = false;
                next.released = false;
                next.deleting = None;
            }
        }
        if next.faults == 0 {
            next.before = None;
        }
        let ours = next.jobs.iter().filter(|job| job.alive && !job.copy);
        if ours.count() > 1 {
            next.wrong.get_or_insert("I1, I2: two jobs alive at once");
        }
        next
    }

    /// The first replica knows that its launch was refused, and has not said so yet. The second one has
    /// looked for it until it was proven absent, has sent it again, and has not said so either.
    fn stalled(&self, mut world: World) -> World {
        let load = |replica| Move::Load {
            replica,
            stale: false,
        };
        let act = |replica, way| Move::Act { replica, way };
        for action in [load(0), act(0, 0), act(0, 3)] {
            world = self.step(&world, &action);
        }
        assert!(matches!(
            world.replicas[0].phase,
            Phase::Knows(_, Seen::Refused, _)
        ));
        while world.jobs.is_empty() {
            let action = match world.replicas[1].phase {
                Phase::Idle => load(1),
                Phase::Ready => act(1, 0),
                Phase::Knows(..) => Move::Record { replica: 1 },
            };
            world = self.step(&world, &action);
            if world.replicas[1].phase == Phase::Idle {
                world.now += 1; // it waits until it may look again
            }
            assert!(world.now < 20, "it is never sent again");
        }
        world
    }

    /// Lives in which the backend has fallen silent about a job that runs, has claimed an end of one that
    /// works on, and has never carried out a launch.
    fn silent(&self, running: World, pass: impl Fn(World, &[Move]) -> World) -> Vec<World> {
        let load = Move::Load {
            replica: 0,
            stale: false,
        };
        let mut later = running.clone();
        later.now = 4;
        let faults = later.faults;
        later.faults += 2;
        let asks = [load.clone(), Move::Act { replica: 0, way: 2 }];
        let mut missing = later.clone();
        for action in asks {
            missing = self.step(&missing, &action);
        }
        missing = self.step(&missing, &Move::Record { replica: 0 });
        self.idle(&mut missing, 0);
        let mut doubtful = pass(later, std::slice::from_ref(&load));
        doubtful.now += 1;
        doubtful = pass(doubtful, &[Move::CancelThere { job: 0 }, load]);
        let mut lost = running.clone();
        lost.jobs.clear();
        for record in &mut lost.records.0 {
            record.job_id = None;
            record.state = JobState::Pending;
            record.reason = Some(provider_core::Reason::Ambiguous);
        }
        for world in [&mut missing, &mut doubtful, &mut lost] {
            world.faults = faults;
            world.before = None;
        }
        assert!(missing.records.0[0].is_missing() && doubtful.records.0[0].doubtful);
        vec![running, missing, doubtful, lost]
    }

    /// Without any further fault, and with the object deleted, it comes to its end; with searches that fail
    /// for ever it does when a person has looked.
    fn ends(&self, world: &World, searches_fail: bool) -> bool {
        let mut world = world.clone();
        world.searches_fail = searches_fail;
        (world.faults, world.crashes, world.edits, world.failures) = (0, 0, 0, 0);
        (world.again, world.relaunches) = (false, 0);
        if world.deleting.is_none() {
            world.deleting = Some(world.now);
        }
        for round in 0..60 {
            world.retry = searches_fail && round >= 20;
            while !world.late.is_empty() {
                world = self.step(&world, &Move::Commit { late: 0 });
            }
            for replica in 0..world.replicas.len() {
                for _ in 0..40 {
                    let action = match world.replicas[replica].phase {
                        Phase::Idle => Move::Load {
                            replica,
                            stale: false,
                        },
                        Phase::Ready => Move::Act { replica, way: 0 },
                        Phase::Knows(..) => Move::Record { replica },
                    };
                    world = self.step(&world, &action);
                    if world.released {
                        return true;
                    }
                    if world.replicas[replica].phase == Phase::Idle {
                        break;
                    }
                }
            }
            for job in 0..world.jobs.len() {
                if world.jobs[job].alive {
                    let action = if world.jobs[job].cancelled {
                        Move::Stop { job }
                    } else {
                        Move::End { job, well: true }
                    };
                    world = self.step(&world, &action);
                }
            }
            world.now += 1;
        }
        false
    }
}

impl Model for Protocol {
    type State = World;
    type Action = Move;

    fn init_states(&self) -> Vec<World> {
        let idle = Replica {
            phase: Phase::Idle,
            records: Records(Vec::new()),
            current: false,
            deleting: None,
            spec: 0,
            pass: Pass::default(),
        };
        let fresh = World {
            now: 0,
            records: Records(Vec::new()),
            before: None,
            jobs: Vec::new(),
            late: Vec::new(),
            replicas: vec![idle; self.bounds.replicas],
            deleting: None,
            spec: 1,
            faults: self.bounds.faults,
            crashes: self.bounds.crashes,
            edits: self.bounds.edits,
            failures: self.bounds.failures,
            again: self.bounds.again,
            released: false,
            searches_fail: false,
            retry: false,
            relaunches: self.bounds.relaunches,
            wrong: None,
        };
        if self.bounds.from_a_stall {
            return vec![self.stalled(fresh)];
        }
        if !self.bounds.from_the_middle && !self.bounds.silence {
            return vec![fresh];
        }
        // Each is a life that one replica has led so far without trouble.
        let pass = |world: World, moves: &[Move]| {
            let mut world = world;
            for action in moves {
                world = self.step(&world, action);
            }
            while world.replicas[0].phase != Phase::Idle {
                let action = match world.replicas[0].phase {
                    Phase::Knows(..) => Move::Record { replica: 0 },
                    _ => Move::Act { replica: 0, way: 0 },
                };
                world = self.step(&world, &action);
            }
            world
        };
        let load = Move::Load {
            replica: 0,
            stale: false,
        };
        let running = pass(fresh.clone(), std::slice::from_ref(&load));
        if self.bounds.silence {
            return self.silent(running, pass);
        }
        let applied = pass(
            running.clone(),
            &[Move::End { job: 0, well: true }, load.clone()],
        );
        let mut deleted = running.clone();
        deleted.deleting = Some(0);
        let mut gone = applied.clone();
        gone.deleting = Some(0);
        let mut lost = running.clone();
        for record in &mut lost.records.0 {
            record.job_id = None;
            record.state = JobState::Pending;
            record.reason = Some(provider_core::Reason::Ambiguous);
        }
        lost.before = None;
        vec![fresh, running, deleted, gone, lost]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Move>) {
        if world.wrong.is_some() {
            return;
        }
        for (replica, state) in world.replicas.iter().enumerate() {
            match &state.phase {
                Phase::Idle if world.released => {}
                Phase::Idle => {
                    actions.push(Move::Load {
                        replica,
                        stale: false,
                    });
                    if world.faults > 0 && world.before.is_some() {
                        actions.push(Move::Load {
                            replica,
                            stale: true,
                        });
                    }
                }
                Phase::Ready => {
                    let ways = self.ways(world, &self.decide(world, replica));
                    actions.extend((0..ways).map(|way| Move::Act { replica, way }));
                }
                Phase::Knows(..) => actions.push(Move::Record { replica }),
            }
            if world.crashes > 0 && state.phase != Phase::Idle {
                actions.push(Move::Crash { replica });
            }
        }
        let due = world.late.iter().any(|late| late.until <= world.now + 1);
        if world.now < self.bounds.ticks && !due {
            actions.push(Move::Tick);
        }
        for job in 0..world.jobs.len() {
            if world.jobs[job].alive {
                actions.push(Move::End { job, well: true });
                if world.failures > 0 {
                    actions.push(Move::End { job, well: false });
                }
                if world.jobs[job].cancelled {
                    actions.push(Move::Stop { job });
                }
            }
            let between = || world.replicas.iter().all(|r| r.phase == Phase::Idle);
            // The records of a job that is copied are there: nobody looks for the copies of others.
            let token = &world.jobs[job].token;
            let on_record = || {
                let mut tokens = world.records.0.iter().filter_map(|r| r.token.as_ref());
                tokens.any(|known| known.as_str() == token)
            };
            let may = world.relaunches > 0 && !world.jobs[job].alive && !world.released;
            if may && between() && on_record() {
                actions.push(Move::Relaunch { job });
            }
            let Job {
                state,
                alive,
                forgotten,
                ..
            } = &world.jobs[job];
            if self.bounds.silence && world.faults > 0 {
                // One that cancels a deprovision is waited for, however long.
                if *state == JobState::Running && !world.jobs[job].down {
                    actions.push(Move::CancelThere { job });
                }
                let silent = matches!(state, JobState::Succeeded | JobState::Canceled);
                if silent && !alive && !forgotten {
                    actions.push(Move::Forget { job });
                }
            }
        }
        for late in 0..world.late.len() {
            actions.push(Move::Commit { late });
            actions.push(Move::Vanish { late });
        }
        if world.deleting.is_none() && !world.released {
            actions.push(Move::Delete);
            if world.edits > 0 {
                actions.push(Move::Edit);
            }
        }
        if world.released && world.again {
            actions.push(Move::Again);
        }
    }

    fn next_state(&self, world: &World, action: Move) -> Option<World> {
        Some(self.step(world, &action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I1 to I6", |_, world: &World| world.wrong.is_none()),
            Property::always(
                "once faults stop, it ends",
                |model: &Self, world: &World| {
                    // Between two passes is enough: every pass comes to its end.
                    let between = world.replicas.iter().all(|r| r.phase == Phase::Idle);
                    world.wrong.is_some()
                        || world.released
                        || !between
                        || (model.ends(world, false)
                            && (!model.bounds.silence || model.ends(world, true)))
                },
            ),
            Property::sometimes("an object is let go", |_, world: &World| world.released),
        ]
    }
}

/// Past the test harness, which keeps what passing tests print to itself.
fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The bounds of an ordinary run, or those of a full one.
fn sized<T>(small: T, full: T) -> T {
    match std::env::var_os("PROVIDER_FULL") {
        Some(_) => full,
        None => small,
    }
}

fn check(name: &str, bounds: Bounds) {
    let depth = bounds.depth;
    let steps = depth.map_or_else(|| "to the end".to_owned(), |depth| format!("{depth} steps"));
    let name = format!("{name}, {} ticks, {steps}", bounds.ticks);
    let checker = Protocol::new(bounds).checker().threads(2);
    let checker = match depth {
        Some(depth) => checker.target_max_depth(depth),
        None => checker,
    };
    let checker = checker.spawn_bfs().join();
    say(&format!(
        "{name}: {} states, {} distinct, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    ));
    for property in ["I1 to I6", "once faults stop, it ends"] {
        if let Some(path) = checker.discovery(property) {
            let wrong = path.last_state().wrong;
            panic!("{name}: {property}: {wrong:?}\n{:#?}", path.into_actions());
        }
    }
    assert!(
        depth.is_some() || checker.discovery("an object is let go").is_some(),
        "{name} reached no end"
    );
}

fn caught(bounds: Bounds) {
    let mutant = bounds.mutant.unwrap();
    let depth = bounds.depth;
    let checker = Protocol::new(bounds).checker().threads(2);
    let checker = match depth {
        Some(depth) => checker.target_max_depth(depth),
        None => checker,
    };
    let checker = checker
        .finish_when(stateright::HasDiscoveries::AnyOf(
            ["I1 to I6", "once faults stop, it ends"].into(),
        ))
        .spawn_bfs()
        .join();
    let found = ["I1 to I6", "once faults stop, it ends"]
        .iter()
        .find_map(|name| Some((name, checker.discovery(name)?)));
    let Some((property, path)) = found else {
        panic!(
            "{mutant:?} was not caught in {} states",
            checker.unique_state_count()
        );
    };
    let wrong = path.last_state().wrong;
    say(&format!(
        "{mutant:?}: caught by {property} ({wrong:?}) after {} steps, {} states",
        path.into_actions().len(),
        checker.unique_state_count()
    ));
}

#[test]
fn two_replicas() {
    let bounds = Bounds {
        ticks: 2,
        faults: 0,
        crashes: 0,
        depth: Some(sized(13, 18)),
        from_the_middle: true,
        ..Bounds::small()
    };
    check("two replicas", bounds);
}

#[test]
fn two_replicas_with_a_fault_and_a_crash() {
    let bounds = Bounds {
        ticks: 3,
        depth: Some(sized(10, 13)),
        from_the_middle: true,
        ..Bounds::small()
    };
    check("two replicas, a fault, a crash", bounds);
}

#[test]
fn one_replica_with_a_fault_and_a_crash() {
    let bounds = Bounds {
        replicas: 1,
        ticks: sized(2, 5),
        ..Bounds::small()
    };
    check("one replica, a fault, a crash", bounds);
}

#[test]
fn one_replica_with_two_faults() {
    let bounds = Bounds {
        replicas: 1,
        ticks: sized(1, 4),
        faults: 2,
        crashes: 0,
        ..Bounds::small()
    };
    check("one replica, two faults", bounds);
}

#[test]
fn edits_and_failures() {
    for supersede in [Supersede::Wait, Supersede::Cancel] {
        let bounds = Bounds {
            replicas: 1,
            ticks: sized(1, 3),
            faults: 0,
            crashes: 0,
            edits: 1,
            failures: 1,
            supersede,
            ..Bounds::small()
        };
        check("one replica, an edit, a failure", bounds);
    }
}

#[test]
fn wanted_again_after_a_deletion() {
    let bounds = Bounds {
        replicas: 1,
        ticks: sized(1, 3),
        faults: 0,
        again: true,
        ..Bounds::small()
    };
    check("one replica, wanted again, a crash", bounds);
}

#[test]
fn clocks_that_differ_by_minutes() {
    let bounds = Bounds {
        ticks: 3,
        faults: 0,
        crashes: 1,
        skew: 6,
        depth: Some(sized(11, 14)),
        from_the_middle: true,
        ..Bounds::small()
    };
    check("two replicas, a clock three minutes ahead", bounds);
}

fn a_stall() -> Bounds {
    Bounds {
        ticks: 5,
        crashes: 1,
        depth: Some(sized(12, 13)),
        from_a_stall: true,
        ..Bounds::small()
    }
}

#[test]
fn a_refusal_that_comes_after_the_next_send() {
    check("two replicas, an old refusal, a crash", a_stall());
}

fn silence() -> Bounds {
    Bounds {
        replicas: 1,
        ticks: 6,
        faults: 1,
        depth: Some(12),
        silence: true,
        ..Bounds::small()
    }
}

#[test]
fn a_backend_that_is_away_or_does_not_know() {
    check("one replica, silence, a fault, a crash", silence());
}

fn relaunched() -> Bounds {
    Bounds {
        replicas: 1,
        ticks: sized(1, 2),
        faults: 0,
        crashes: 0,
        failures: 1,
        relaunches: 1,
        ..Bounds::small()
    }
}

#[test]
fn a_person_who_relaunches_a_job() {
    check("one replica, a relaunch, a failure", relaunched());
    let two = Bounds {
        replicas: 2,
        ticks: 2,
        failures: 0,
        depth: Some(sized(11, 12)),
        from_the_middle: true,
        ..relaunched()
    };
    check("two replicas, a relaunch", two);
}

fn strays() -> Bounds {
    Bounds {
        replicas: 1,
        ticks: sized(1, 2),
        strays: true,
        ..Bounds::small()
    }
}

#[test]
fn a_job_that_was_started_without_what_it_was_to_be_given() {
    check("one replica, a stray job, a crash", strays());
    let two = Bounds {
        replicas: 2,
        ticks: 2,
        crashes: 0,
        depth: Some(sized(11, 12)),
        ..strays()
    };
    check("two replicas, a stray job", two);
}

#[test]
fn every_broken_rule_is_caught() {
    let one = || Bounds {
        replicas: 1,
        ..Bounds::small()
    };
    caught(one().broken(Mutant::IntentAfterLaunch));
    caught(one().broken(Mutant::LostIsNotSent));
    caught(one().broken(Mutant::NoSettleBeforeDeprovision));
    // Each within the bounds that it takes: what is wrong there is wrong in all that are wider.
    let few = || Bounds {
        ticks: 2,
        crashes: 0,
        ..one()
    };
    caught(few().broken(Mutant::CanceledIsBelieved));
    caught(
        Bounds {
            again: true,
            faults: 0,
            ..few()
        }
        .broken(Mutant::ReleaseOnOldSuccess),
    );
    caught(
        Bounds {
            replicas: 2,
            again: true,
            ..few()
        }
        .broken(Mutant::ReleaseOnStaleRead),
    );
    caught(
        Bounds {
            replicas: 2,
            skew: 6,
            failures: 1,
            faults: 0,
            ..few()
        }
        .broken(Mutant::OrderByTimestamp),
    );
    caught(Bounds::small().broken(Mutant::LastWriterWins));
    caught(
        Bounds {
            crashes: 0,
            ..one()
        }
        .broken(Mutant::AbsentAtOnce),
    );
    caught(
        Bounds {
            ticks: 6,
            crashes: 0,
            ..one()
        }
        .broken(Mutant::OldAbsence),
    );
    caught(
        Bounds {
            replicas: 2,
            ticks: 3,
            faults: 0,
            ..few()
        }
        .broken(Mutant::NoLease),
    );
    caught(Bounds { edits: 1, ..few() }.broken(Mutant::AnySuccessIsApplied));
    caught(one().broken(Mutant::FailureForgetsTheJob));
    caught(a_stall().broken(Mutant::OldRefusalCounts));
    caught(relaunched().broken(Mutant::NobodyLooks));
    caught(strays().broken(Mutant::AdoptedUnchecked));
}

#[test]
fn every_broken_rule_about_silence_is_caught() {
    for mutant in [
        Mutant::PlanIsALook,
        Mutant::ErrorIsAnAnswer,
        Mutant::SilenceWeakens,
        Mutant::CancelCountsUnheard,
        Mutant::NoEndAfterOneInVain,
    ] {
        caught(silence().broken(mutant));
    }
}

/// The model's own assumption: JSON and hashing see the same records as different.
#[test]
fn records_that_differ_hash_differently() {
    let mut one = JobRecord::new(1, JobType::Provision);
    let hash = |record: &JobRecord| {
        let mut hasher = std::hash::DefaultHasher::new();
        Records(vec![record.clone()]).hash(&mut hasher);
        hasher.finish()
    };
    let before = hash(&one);
    one.state = JobState::Running;
    assert_ne!(before, hash(&one));
    assert_eq!(
        serde_json::to_value(&one).unwrap().get("state"),
        Some(&json!("Running"))
    );
}
