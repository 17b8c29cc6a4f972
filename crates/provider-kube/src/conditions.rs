//! Where an object stands, as conditions.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use provider_core::lifecycle::{Block, Desired, Ground, Hold, Mode, Release, Standing};
use provider_core::{ErrorKind, JobRecord, JobState, JobType, ProviderError, Resource, text};
use serde_json::{Value, json};

/// The object is in its desired configuration.
pub const PROVISIONED: &str = "Provisioned";
/// Something is under way, or will be without anybody's help.
pub const PROGRESSING: &str = "Progressing";
/// The backend has nothing of the object any more.
pub const DEPROVISIONED: &str = "Deprovisioned";

/// The targets of the object can be kept in its status, and every record belongs to one that the controller
/// still names. Written only when that is not so.
pub const TARGETS_KNOWN: &str = "TargetsKnown";

/// The API server takes what this controller writes. Written only when it does not.
pub const STATUS_WRITABLE: &str = "StatusWritable";

/// The object fits the Rust type that this controller has for it. Written only when it does not.
pub const READABLE: &str = "Readable";

/// The reason of [`DEPROVISIONED`] when deletion takes longer than the policy's `escalateAfter`.
pub(crate) const OVERDUE: &str = "DeletionOverdue";
/// How the reasons begin that say what the backend fails with.
pub(crate) const BACKEND: &str = "Backend";

/// What is known about an object after a pass, or in the middle of one.
pub(crate) struct Findings<'a> {
    pub(crate) standing: &'a Standing,
    /// What the backend failed with.
    pub(crate) trouble: Option<&'a ProviderError>,
    /// Deletion takes too long.
    pub(crate) overdue: bool,
}

/// What a standing says about one condition.
struct Says {
    status: &'static str,
    reason: String,
    message: String,
}

fn says(status: &'static str, reason: &str, message: &str) -> Says {
    Says {
        status,
        reason: reason.to_owned(),
        message: text::bounded(message, text::MAX_TEXT),
    }
}

/// The three conditions for what was found; none where it says nothing about the object.
pub(crate) fn of(
    findings: &Findings<'_>,
    records: &[JobRecord],
    resource: &Resource,
    desired: &Desired,
    note: Option<&str>,
) -> Option<[Condition; 3]> {
    let standing = findings.standing;
    let (mut reason, progressing, mut message) = progress(standing, records)?;
    if let Some(note) = note {
        note.clone_into(&mut message);
    }
    if let (Some(error), Standing::InProgress { .. }) = (findings.trouble, standing) {
        backend(error.kind()).clone_into(&mut reason);
        message = format!("{message}; the backend cannot be asked: {error}");
    }
    let applied = matches!(standing, Standing::Applied { .. });
    let released = match standing {
        Standing::Released(release) => Some(release),
        _ => None,
    };
    let provisioned = match standing {
        Standing::Applied { .. } => says("True", &reason, &message),
        _ if resource.is_deleting() => says("False", "Deleting", ""),
        _ => says("False", &reason, &message),
    };
    let progressing = says(
        if progressing { "True" } else { "False" },
        &reason,
        if applied { "" } else { &message },
    );
    let deprovisioned = match released {
        Some(release) if release.left_behind.is_empty() => {
            says("True", release.ground.as_str(), &message)
        }
        Some(release) => says("Unknown", release.ground.as_str(), &message),
        None if findings.overdue => says(
            "False",
            OVERDUE,
            &format!("deletion takes longer than escalateAfter ({reason}); {message}"),
        ),
        None if resource.is_deleting() => says("False", &reason, &message),
        None => says("False", "NotDeleted", ""),
    };
    let generation = Some(resource.generation()).filter(|generation| *generation > 0);
    let condition = |word: &str, says: Says| Condition {
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        message: says.message,
        observed_generation: generation,
        reason: says.reason,
        status: says.status.to_owned(),
        type_: name(desired, word),
    };
    Some([
        condition(PROVISIONED, provisioned),
        condition(PROGRESSING, progressing),
        condition(DEPROVISIONED, deprovisioned),
    ])
}

/// The type of a condition for one target.
pub(crate) fn name(desired: &Desired, word: &str) -> String {
    named_for(desired.target.as_deref(), word)
}

fn named_for(target: Option<&str>, word: &str) -> String {
    match target {
        Some(target) => format!("{target}/{word}"),
        None => word.to_owned(),
    }
}

/// What a backend fails with, in one word.
const fn backend(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unauthorized => "BackendUnauthorized",
        ErrorKind::Forbidden => "BackendForbidden",
        ErrorKind::RateLimited => "BackendRateLimited",
        ErrorKind::Unavailable => "BackendUnavailable",
        ErrorKind::Timeout => "BackendTimeout",
        _ => "BackendTrouble",
    }
}

/// Whether there are records of targets which nobody looks after.
pub(crate) fn strays(targets: &[String], resource: &Resource) -> Condition {
    let (status, reason, message) = if targets.is_empty() {
        ("True", "AllKnown", String::new())
    } else {
        let message = format!(
            "there are records of {}, which this controller does not name any more; name it until it \
             is deprovisioned",
            targets.join(", ")
        );
        ("False", "UnknownTarget", message)
    };
    Condition {
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        message: text::bounded(&message, text::MAX_TEXT),
        observed_generation: Some(resource.generation()).filter(|generation| *generation > 0),
        reason: reason.to_owned(),
        status: status.to_owned(),
        type_: TARGETS_KNOWN.to_owned(),
    }
}

/// The reason, whether things move by themselves, and a message.
fn progress(standing: &Standing, records: &[JobRecord]) -> Option<(String, bool, String)> {
    let newest = records.iter().max_by_key(|record| record.attempt);
    let told = |record: Option<&JobRecord>| {
        let Some(record) = record else {
            return String::new();
        };
        let job = record
            .job_ref()
            .map_or_else(String::new, |job| format!(", {job}"));
        let colon = if record.message.is_empty() { "" } else { ": " };
        format!("attempt {}{job}{colon}{}", record.attempt, record.message)
    };
    Some(match standing {
        Standing::Applied { version } => (
            "Applied".to_owned(),
            false,
            format!("configuration {} is applied", version.as_str()),
        ),
        Standing::InProgress {
            attempt,
            job_type,
            state,
        } => {
            let record = records.iter().find(|record| record.attempt == *attempt);
            let reason = match (job_type, state) {
                (JobType::Provision, JobState::Running) => "Provisioning",
                (JobType::Deprovision, JobState::Running) => "Deprovisioning",
                (_, JobState::Pending | JobState::Waiting) => "JobPending",
                (_, JobState::Unknown) => "JobUnknown",
                (_, JobState::Succeeded | JobState::Failed | JobState::Canceled) => "JobEnding",
            };
            let canceling = record.is_some_and(|r| r.cancel_requested_at.is_some());
            let reason = if canceling { "Canceling" } else { reason };
            (reason.to_owned(), true, told(record))
        }
        // Nothing has failed: the backend was away, or did not let us in.
        Standing::BackingOff { until, failures: 0 } => (
            "BackingOff".to_owned(),
            true,
            format!(
                "the launch could not be made; next try at {until}; {}",
                told(newest)
            ),
        ),
        Standing::BackingOff { until, failures } => (
            "BackingOff".to_owned(),
            true,
            format!(
                "{failures} failed in a row; next try at {until}; {}",
                told(newest)
            ),
        ),
        Standing::Waiting { reason } => ("Waiting".to_owned(), true, reason.clone()),
        Standing::Held(hold) => {
            let (word, what) = held(*hold);
            (word.to_owned(), false, format!("{what}; {}", told(newest)))
        }
        Standing::Blocked(block) => {
            let (word, what) = blocked(block);
            let about = block.attempt();
            let record = records.iter().find(|r| Some(r.attempt) == about);
            let said =
                record.filter(|record| record.defect.is_none() && !record.message.is_empty());
            let what = match said {
                Some(_) => format!("{what}; {}", told(said)),
                None => what,
            };
            (word.to_owned(), false, what)
        }
        Standing::Released(Release { ground, .. }) => {
            (ground.as_str().to_owned(), false, told(newest))
        }
        _ => return None,
    })
}

/// A hold in one word, and what a person can do about it.
pub(crate) const fn held(hold: Hold) -> (&'static str, &'static str) {
    match hold {
        Hold::Paused => (
            "Paused",
            "paused; nothing is started until the annotation goes",
        ),
        Hold::Manual => ("Manual", "jobs start on a retry request only"),
        Hold::CanceledByOthers { .. } => (
            "CanceledByOthers",
            "somebody cancelled the job; change the spec or ask for a retry",
        ),
        Hold::Purged { .. } => (
            "Purged",
            "the backend has forgotten the job; look at the resource, then ask for a retry",
        ),
        Hold::Stray { .. } => (
            "Stray",
            "the job ran without what it was to be given; mend the automation, then ask for a retry",
        ),
        Hold::FailuresExhausted { .. } => (
            "FailuresExhausted",
            "as many attempts failed as the policy allows; mend the cause, then ask for a retry",
        ),
        _ => ("Held", "a person's decision is waited for"),
    }
}

/// A block in one word, and what must be mended.
pub(crate) fn blocked(block: &Block) -> (&'static str, String) {
    match block {
        Block::DefectiveRecord { attempt, defect } => (
            "DefectiveRecord",
            format!("the record of attempt {attempt} cannot be read: {defect}"),
        ),
        Block::MissingProvider { provider } => (
            "MissingProvider",
            format!("provider \"{provider}\" is not registered here; its jobs cannot be looked at"),
        ),
        Block::AmbiguousLaunch { attempt } => (
            "AmbiguousLaunch",
            format!(
                "attempt {attempt} may have been launched and cannot be looked up; look at the \
                 backend, then ask for a retry"
            ),
        ),
        Block::UnknownTooLong { attempt } => (
            "UnknownTooLong",
            format!("the outcome of attempt {attempt} is still unknown; look at the backend"),
        ),
        Block::NotEnding { attempt } => (
            "NotEnding",
            format!("the job of attempt {attempt} does not end; end it at the backend"),
        ),
        Block::CancelRefused { attempt } => (
            "CancelRefused",
            format!(
                "the backend refuses to cancel the job of attempt {attempt}; give the right to, or end \
                 the job there"
            ),
        ),
        _ => ("Blocked", "something must be mended first".to_owned()),
    }
}

/// What the records alone say, while a pass is still under way: in the ordinary course this is where
/// the pass comes to rest, so that its conditions need no write of their own.
pub(crate) fn implied(
    records: &[JobRecord],
    resource: &Resource,
    desired: &Desired,
) -> Option<Standing> {
    let mine: Vec<&JobRecord> = records.iter().filter(|r| desired.owns(r)).collect();
    let newest = mine.iter().max_by_key(|record| record.attempt)?;
    let live = mine.iter().filter(|record| record.may_be_live());
    if let Some(live) = live.max_by_key(|record| record.attempt) {
        return Some(Standing::InProgress {
            attempt: live.attempt,
            job_type: live.job_type,
            state: live.state,
        });
    }
    match (newest.job_type, newest.state) {
        (JobType::Provision, JobState::Succeeded)
            if !resource.is_deleting()
                && newest.config_version.as_ref() == Some(&desired.version) =>
        {
            Some(Standing::Applied {
                version: desired.version.clone(),
            })
        }
        (JobType::Deprovision, JobState::Succeeded)
            if resource.is_deleting() && desired.mode != Mode::Paused =>
        {
            Some(Standing::Released(Release::new(Ground::Deprovisioned)))
        }
        (_, JobState::Failed) => newest.retry_at.map(|until| Standing::BackingOff {
            until,
            failures: newest.failures,
        }),
        _ => None,
    }
}

/// The conditions of an object without ours that are no longer true of it: those of targets that are not
/// among these, and those that say that it cannot be worked on.
///
/// Conditions of a target always come as three, by which they are known: one of somebody else that has
/// a name of ours stays.
pub(crate) fn without_former(present: &[Value], named: &[Option<&str>]) -> Vec<Value> {
    let types = || present.iter().filter_map(type_of);
    let all_three = |target: Option<&str>| {
        WORDS
            .iter()
            .all(|word| types().any(|one| split(one) == (target, word)))
    };
    let former = |one: &Value| {
        let Some(type_) = type_of(one) else {
            return false;
        };
        let (target, word) = split(type_);
        [STATUS_WRITABLE, READABLE].contains(&type_)
            || (!named.is_empty()
                && WORDS.contains(&word)
                && !named.contains(&target)
                && all_three(target))
    };
    present.iter().filter(|one| !former(one)).cloned().collect()
}

/// How many conditions of an object are neither of these targets nor about all of them.
pub(crate) fn of_others(present: &[Value], named: &[Option<&str>]) -> usize {
    let left = without_former(present, named);
    let others = left.iter().filter(|one| {
        let type_ = type_of(one).unwrap_or_default();
        let (target, word) = split(type_);
        type_ != TARGETS_KNOWN && !(WORDS.contains(&word) && named.contains(&target))
    });
    others.count()
}

/// Whether the object was let go before, for all of its targets: its conditions say so before the
/// finalizer goes from an object that others keep.
pub(crate) fn let_go(present: &[Value]) -> bool {
    let mut ours = present
        .iter()
        .filter(|one| type_of(one).is_some_and(|one| split(one).1 == DEPROVISIONED))
        .peekable();
    let status = |one: &Value| one.get("status").and_then(Value::as_str) != Some("False");
    ours.peek().is_some() && ours.all(status)
}

/// The conditions of a target.
pub(crate) const WORDS: [&str; 3] = [PROVISIONED, PROGRESSING, DEPROVISIONED];

fn type_of(one: &Value) -> Option<&str> {
    one.get("type")?.as_str()
}

/// The target of a condition's type, and the word.
fn split(type_: &str) -> (Option<&str>, &str) {
    match type_.rsplit_once('/') {
        Some((target, word)) => (Some(target), word),
        None => (None, type_),
    }
}

/// That nobody waits for an object's deprovisioning any more, because our finalizer was taken off: in the
/// place of every condition that says otherwise, and of each of these targets.
pub(crate) fn taken(
    present: &[Value],
    named: &[Option<&str>],
    message: &str,
    generation: Option<i64>,
) -> Vec<Condition> {
    let there = present.iter().filter_map(type_of);
    let there = there.filter(|type_| split(type_).1 == DEPROVISIONED);
    let mut types: Vec<String> = there.map(str::to_owned).collect();
    for target in named {
        let type_ = named_for(*target, DEPROVISIONED);
        if !types.contains(&type_) {
            types.push(type_);
        }
    }
    let of = |type_: &String| Condition {
        status: "Unknown".to_owned(),
        ..obstacle(type_, "FinalizerTaken", message, generation)
    };
    types.iter().map(of).collect()
}

/// That the object cannot be worked on, and why.
pub(crate) fn obstacle(
    type_: &str,
    reason: &str,
    message: &str,
    generation: Option<i64>,
) -> Condition {
    Condition {
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        message: text::bounded(message, text::MAX_TEXT),
        observed_generation: generation.filter(|generation| *generation > 0),
        reason: reason.to_owned(),
        status: "False".to_owned(),
        type_: type_.to_owned(),
    }
}

/// The conditions of the object with ours in them; those of others stay as they are. A condition
/// that says what it said before keeps the time of its last transition.
pub(crate) fn merged(present: &[Value], ours: Vec<Condition>, now: Timestamp) -> Vec<Value> {
    let mut all = present.to_vec();
    // Whole seconds, as Kubernetes writes them.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    for mut condition in ours {
        condition.last_transition_time = Time(now);
        let mut new = json!(condition);
        let named = |one: &&mut Value| one.get("type") == new.get("type");
        let Some(old) = all.iter_mut().find(named) else {
            all.push(new);
            continue;
        };
        let since = old
            .get("lastTransitionTime")
            .filter(|time| time.is_string());
        if let (true, Some(since), Some(members)) = (
            old.get("status") == new.get("status"),
            since.cloned(),
            new.as_object_mut(),
        ) {
            members.insert("lastTransitionTime".to_owned(), since);
        }
        *old = new;
    }
    all
}
