//! What an exploration walks through: a store, a backend, and processes between two steps of their passes.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;
use provider_core::engine::{Call, Machine, Pace, Purpose, Right, Stage};
use provider_core::lifecycle::Mode;
use provider_core::{ConfigVersion, JobRecord, JobState};

/// Records that can be members of a hashed state.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Records(pub(crate) Arc<Vec<JobRecord>>);

impl Eq for Records {}

impl Hash for Records {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for record in self.0.iter() {
            hash_record(record, hasher);
        }
    }
}

fn hash_record<H: Hasher>(r: &JobRecord, hasher: &mut H) {
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
    (
        r.turned_away,
        r.running_since,
        r.missing_since,
        r.copy_of,
        &r.provider,
        &r.retry_request,
        &r.action_request,
    )
        .hash(hasher);
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    pub(crate) token: String,
    /// Which of the two providers it runs at.
    pub(crate) at_other: bool,
    pub(crate) down: bool,
    /// The request that it answers, where it acts on what is there; zero once a person has looked at it.
    pub(crate) act: Option<u8>,
    pub(crate) spec: Option<ConfigVersion>,
    /// What the backend says.
    pub(crate) state: JobState,
    /// Whether it does its work, whatever the backend says.
    pub(crate) alive: bool,
    pub(crate) canceled: bool,
    /// Whether the backend has taken a request of ours to cancel it.
    pub(crate) asked: bool,
    /// Whether the backend has forgotten it.
    pub(crate) forgotten: bool,
    /// Whether a person has started it, as a copy of one of ours.
    pub(crate) copy: bool,
    /// Whether it was started without what it was to be given.
    pub(crate) stray: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Late {
    pub(crate) job: Job,
    pub(crate) until: u8,
}

/// What a call gave, small enough to be part of a state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Seen {
    Accepted(usize),
    /// The launch was taken, and its job is named later.
    Unnamed,
    Lost,
    Refused,
    /// The backend will not take it as it is.
    Rejected,
    /// The provider asks to wait.
    HeldBack,
    /// The provider knows that there is nothing to remove.
    Skipped,
    Status(usize, JobState, bool),
    Asked,
    /// The job cannot be canceled yet.
    NotYet,
    Ended(usize, JobState, bool),
    Found(Vec<(usize, JobState, bool)>),
    Copies(Vec<(usize, JobState, bool)>),
    /// The launch has started this job, which is not the one that was wanted.
    Stray(usize),
    /// The question did not arrive.
    Away(Call),
    /// The backend says that it does not know the job.
    NotKnown(Call),
    /// We have no right to ask.
    Denied(Call),
    /// Nobody can tell where the job stands, and its work is known not to be done.
    Undone(usize),
    /// The job's name is that of another one now.
    Replaced,
}

/// What came of the last effect of a pass. It has not been told yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// These records, and the object of that moment: what it asks for, and when its deletion was asked for.
    Loaded(Records, Wish, Option<u8>),
    Written,
    Conflict,
    Gone,
    /// It was written or not, and there was no answer.
    NoAnswer,
    Saw(Seen),
}

/// A pass between two steps.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) machine: Machine,
    pub(crate) what: What,
    /// What the last call gave: what is being recorded rests on it.
    pub(crate) seen: Option<Seen>,
    /// What its caller wants.
    pub(crate) wish: Wish,
}

/// What a controller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Wish {
    pub(crate) spec: u8,
    pub(crate) at_other: bool,
    pub(crate) mode: Mode,
    /// The how manieth request to try again.
    pub(crate) retry: u8,
    /// The how manieth request to act; none at zero.
    pub(crate) action: u8,
    /// Whether the target is to go while the object stays.
    pub(crate) absent: bool,
    /// Whether what was provisioned stays when the object goes.
    pub(crate) keep: bool,
    /// Whether something has to be there first.
    pub(crate) not_yet: bool,
    /// The version that is said to be there already; none at zero.
    pub(crate) already: u8,
}

impl Running {
    /// Which step it waits in, and the right that a write gives.
    fn step(&self) -> (u8, Option<Right>) {
        let (tag, purpose) = match &self.machine.stage {
            Stage::Asking(_) => return (0, None),
            Stage::Writing(purpose, _) => (1, purpose),
            Stage::Rereading(purpose) => (2, purpose),
            _ => return (3, None),
        };
        match purpose {
            Purpose::Decision(right, _) => (tag, *right),
            _ => (tag + 10, None),
        }
    }

    /// The call that it is about, and whether the object has meanwhile become another.
    fn asked(&self) -> Option<(Call, &JobRecord, Timestamp, bool)> {
        let (asked, outdated) = match &self.machine.stage {
            Stage::Asking(asked) => (&**asked, false),
            Stage::Writing(Purpose::Observation(seen), _)
            | Stage::Rereading(Purpose::Observation(seen)) => (&seen.asked, seen.outdated),
            _ => return None,
        };
        Some((asked.call, &asked.record, asked.at, outdated))
    }
}

// What a pass has told, and how many steps it took, decides nothing; without it, states merge.
impl PartialEq for Running {
    fn eq(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.machine, &other.machine);
        self.what == other.what
            && self.seen == other.seen
            && self.wish == other.wish
            && self.step() == other.step()
            && self.asked() == other.asked()
            && mine.pass == theirs.pass
            && mine.conflicts == theirs.conflicts
            && mine.resource.deletion_timestamp() == theirs.resource.deletion_timestamp()
            && mine.resource.generation() == theirs.resource.generation()
            && mine.records == theirs.records
    }
}

impl Eq for Running {}

impl Hash for Running {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let machine = &self.machine;
        (&self.what, &self.seen, &self.wish, &machine.pass).hash(hasher);
        (self.step(), machine.conflicts).hash(hasher);
        if let Some((call, record, at, outdated)) = self.asked() {
            (call, at, outdated).hash(hasher);
            hash_record(record, hasher);
        }
        machine.resource.deletion_timestamp().hash(hasher);
        machine.resource.generation().hash(hasher);
        for record in machine.records.iter() {
            hash_record(record, hasher);
        }
    }
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Replica {
    /// None between two passes.
    pub(crate) running: Option<Box<Running>>,
    /// Whether nobody has written since it read.
    pub(crate) current: bool,
    /// What it remembers between two passes.
    pub(crate) paces: Vec<Pace>,
    /// Since when it has seen that the object is deleted.
    pub(crate) deleting: Option<Timestamp>,
}

impl Replica {
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_none()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) now: u8,
    pub(crate) records: Records,
    /// What a stale read shows, once something was written.
    pub(crate) before: Option<Records>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) late: Vec<Late>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) deleting: Option<u8>,
    pub(crate) wish: Wish,
    pub(crate) faults: u8,
    pub(crate) crashes: u8,
    pub(crate) edits: u8,
    pub(crate) failures: u8,
    pub(crate) again: bool,
    pub(crate) released: bool,
    /// It was let go whatever was left.
    pub(crate) given_up: bool,
    /// Searches fail.
    pub(crate) searches_fail: bool,
    /// What people may still do beside edits.
    pub(crate) people: u8,
    pub(crate) relaunches: u8,
    /// How often the resource may still be asked to be acted on.
    pub(crate) actions: u8,
    /// The first rule that was broken.
    pub(crate) wrong: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Move {
    /// Begins a pass.
    Load {
        replica: usize,
        stale: bool,
    },
    /// Is told what came of its last effect, and carries the next one out; `way` says how the other side
    /// behaves.
    Act {
        replica: usize,
        way: u8,
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
    /// What was wanted before is wanted again.
    EditBack,
    Again,
    /// A person asks for another try.
    Retry,
    /// A person says how much is done without asking.
    Set(Mode),
    /// New jobs are to run at the other provider.
    Switch,
    /// The resource is to be acted on, once more.
    Ask,
    /// The target is to go, or to come back.
    Absent(bool),
    /// What was provisioned is to stay when the object goes, or not.
    Keep(bool),
    /// Something is missing that has to be there first, or is there by now.
    NotYet(bool),
    /// The object comes from a backup that has its metadata and not its status.
    LoseStatus,
}
