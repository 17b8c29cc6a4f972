//! The pieces that behaviours are made of: launches, complaints, and the ways of a fault.

use jiff::Timestamp;
use provider_core::{
    ConfigVersion, JobRecord, JobRef, JobStatus, JobType, LaunchRequest, OperationToken, Resource,
    TrackedJob,
};
use serde_json::{Value, json};

use super::case::Case;
use super::harness::Fault;
use super::report::{Stop, Verdict};

/// A launch that was accepted.
#[derive(Debug, Clone)]
pub(super) struct Launched {
    pub request: LaunchRequest,
    pub job: JobRef,
    pub job_type: JobType,
    /// The record that an engine would keep.
    pub record: JobRecord,
    /// The records of what was launched for the object before, the oldest first.
    pub before: Vec<JobRecord>,
}

impl Launched {
    pub(super) fn tracked(&self) -> TrackedJob {
        let tracked = TrackedJob::new(self.job_type, self.job.clone());
        let tracked = tracked.with_token(self.request.token.clone());
        let tracked = match &self.request.config_version {
            Some(version) => tracked.with_config_version(version.clone()),
            None => tracked,
        };
        match self.record.sent_at {
            Some(at) => tracked.with_launched_at(at),
            None => tracked,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.request.resource.name()
    }

    pub(super) fn token(&self) -> &OperationToken {
        &self.request.token
    }

    pub(super) fn history(&self) -> Vec<JobRecord> {
        let mut history = self.before.clone();
        history.push(self.record.clone());
        history
    }

    /// The job for people: under both names, where it was just told under another one.
    pub(super) fn called(&self, told: &JobRef) -> String {
        if is_same(&self.job, told) {
            return self.job.to_string();
        }
        format!("{}, which was last told as {told},", self.job)
    }
}

/// Whether two names of one provider are one. Where it is read is no part of a name.
fn is_same(one: &JobRef, other: &JobRef) -> bool {
    (&one.kind, &one.id) == (&other.kind, &other.id)
}

/// A job is called what its launch called it.
pub(super) fn keeps_its_name(launched: &Launched, place: &str, told: &JobRef) -> Verdict {
    check(is_same(&launched.job, told), || {
        format!(
            "the launch called it {}, {place} calls it {told}: a job may not change its name; where a \
             backend names a run anew, the id is the part of the name that stays",
            launched.job
        )
    })
}

/// A search has found the job of this launch, and nothing else.
pub(super) fn found_alone(launched: &Launched, found: &[JobStatus]) -> Verdict {
    let names: Vec<_> = found.iter().map(|status| status.job.to_string()).collect();
    match found {
        [status] if status.job.id == launched.job.id => Ok(()),
        [status] => broken(format!(
            "{} was launched, {} was found: another job, or the same one under another name, which a job \
             may not get",
            launched.job, status.job
        )),
        _ => broken(format!(
            "{} was launched, {names:?} were found",
            launched.job
        )),
    }
}

pub(super) fn broken<T>(happened: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Broken(happened.into()))
}

pub(super) fn not_applicable<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::NotApplicable(why.into()))
}

/// Breaks off with what happened, unless it is so.
pub(super) fn check(is_so: bool, happened: impl FnOnce() -> String) -> Verdict {
    if is_so { Ok(()) } else { broken(happened()) }
}

/// The version that all launches of the suite carry.
pub(super) fn version() -> ConfigVersion {
    ConfigVersion::of_json(&json!({"cores": 4}))
}

/// The object once its deletion was asked for.
pub(super) fn deleted(object: &Resource, at: Timestamp) -> Result<Resource, Stop> {
    let mut value = Value::Object(object.object().clone());
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("deletionTimestamp".to_owned(), json!(at.to_string()));
    }
    Resource::from_json(value).or_else(|error| broken(format!("the harness's object: {error}")))
}

/// All ways of several faults, one after another; one at least must exist.
pub(super) struct Ways<'a> {
    faults: &'a [Fault],
    way: usize,
    any: bool,
}

impl<'a> Ways<'a> {
    pub(super) fn of(faults: &'a [Fault]) -> Self {
        Self {
            faults,
            way: 0,
            any: false,
        }
    }

    /// Breaks the world in the next way; none when there are no more.
    pub(super) async fn next(&mut self, case: &Case) -> Result<Option<(Fault, usize)>, Stop> {
        let all = self.faults;
        while let Some((fault, rest)) = self.faults.split_first() {
            if case.world().break_next(*fault, self.way).await {
                self.any = true;
                self.way += 1;
                return Ok(Some((*fault, self.way - 1)));
            }
            (self.faults, self.way) = (rest, 0);
        }
        if self.any {
            return Ok(None);
        }
        not_applicable(format!(
            "the harness cannot break its world by any of {all:?}"
        ))
    }
}

/// Brings the record that a status is about up to date: the one of its name, or that of a provision without one.
pub(super) fn fold_one_of(history: &mut [JobRecord], status: &JobStatus) {
    let named = |record: &JobRecord| record.job_id.as_ref() == Some(&status.job.id);
    let at = history.iter().position(named).or_else(|| {
        let nameless = |record: &JobRecord| record.job_id.is_none();
        let provisions = |record: &JobRecord| record.job_type == JobType::Provision;
        history
            .iter()
            .position(|record| nameless(record) && provisions(record))
    });
    if let Some(record) = at.and_then(|at| history.get_mut(at)) {
        fold(record, status);
    }
}

/// Brings a record up to date, as the engine does.
pub(super) fn fold(record: &mut JobRecord, status: &JobStatus) {
    record.set_job_ref(status.job.clone());
    record.state = status.state;
    record.doubtful = status.state.is_terminal() && !status.settled;
    record.reason = None;
}
