//! Where an object stands, as conditions.

mod words;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use provider_core::lifecycle::{Desired, Ground, Mode, Release, Standing, Why};
use provider_core::{ErrorKind, JobRecord, JobState, JobType, ProviderError, Resource, text};
use serde_json::{Value, json};

pub(crate) use words::{ABSENT, ACTION_UNSUPPORTED, of_action};

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

/// The caller's function can say what is wanted of the object. Written only when it cannot.
pub const DESIRED_KNOWN: &str = "DesiredKnown";

/// The reason of [`DEPROVISIONED`] when deletion takes longer than the policy's `escalateAfter`.
pub(crate) const OVERDUE: &str = "DeletionOverdue";
/// How the reasons begin that say what the backend fails with.
pub(crate) const BACKEND: &str = "Backend";

/// What is known about an object after a pass, or in the middle of one.
pub(crate) struct Findings<'a> {
    pub(crate) standing: &'a Standing,
    /// The rule that it follows from, where a pass has come to its end.
    pub(crate) why: Option<Why>,
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
    let (mut reason, progressing, mut message) = words::progress(findings, records, desired)?;
    if let Some(note) = note {
        note.clone_into(&mut message);
    }
    if let (Some(error), Standing::InProgress { .. }) = (findings.trouble, standing) {
        backend(error.kind()).clone_into(&mut reason);
        message = format!("{message}; the backend cannot be asked: {error}");
    }
    let going = resource.is_deleting() || desired.absent;
    let provisioned = match applied_version(standing, records, resource, desired) {
        Some(version) => says(
            "True",
            "Applied",
            &format!("configuration {version} is applied"),
        ),
        None if resource.is_deleting() => says("False", "Deleting", ""),
        None => says("False", &reason, &message),
    };
    let is_well = reason == "Applied";
    let progressing = says(
        if progressing { "True" } else { "False" },
        &reason,
        if is_well { "" } else { &message },
    );
    let deprovisioned = match standing {
        Standing::Released(Release { ground, .. }) if *ground == Ground::Retained => says(
            "False",
            ground.as_str(),
            "what was provisioned stays, as was asked for",
        ),
        Standing::Released(release) if release.left_behind.is_empty() => {
            says("True", release.ground.as_str(), &message)
        }
        Standing::Released(release) => says("Unknown", release.ground.as_str(), &message),
        Standing::Absent { left_behind } => {
            let status = if left_behind.is_empty() {
                "True"
            } else {
                "Unknown"
            };
            says(status, &reason, &message)
        }
        _ if findings.overdue => says(
            "False",
            OVERDUE,
            &format!("deletion takes longer than escalateAfter ({reason}); {message}"),
        ),
        _ if going => says("False", &reason, &message),
        _ => says("False", "NotDeleted", ""),
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
pub(crate) fn undeclared(targets: &[String], resource: &Resource) -> Condition {
    let (status, reason, message) = if targets.is_empty() {
        ("True", "AllKnown", String::new())
    } else {
        let message = format!(
            "there are records of {}, which this controller does not name any more; declare it `absent()` to \
             have it deprovisioned and forgotten, or name it again",
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

/// The version that is applied, if it is the one that is wanted: by its standing, or beside an action that
/// runs, and while something is missing for the next one.
fn applied_version<'r>(
    standing: &'r Standing,
    records: &'r [JobRecord],
    resource: &Resource,
    desired: &Desired,
) -> Option<&'r str> {
    let beside = match standing {
        Standing::Applied { version } => return Some(version.as_str()),
        Standing::InProgress { job_type, .. } => !is_main(*job_type),
        Standing::NotYet { .. } => true,
        _ => false,
    };
    let version = applied(records, desired)?.config_version.as_ref()?;
    let is_wanted = *version == desired.version && !resource.is_deleting() && !desired.absent;
    (beside && is_wanted).then(|| version.as_str())
}

/// Whether jobs of this type change what is there. Actions never do, and those of a newer version do not
/// count.
fn is_main(job_type: JobType) -> bool {
    matches!(job_type, JobType::Provision | JobType::Deprovision)
}

/// The attempt whose configuration is applied: the newest that may have changed anything, if it is a
/// provision that succeeded. An attempt of which nobody knows that it was never launched may have changed
/// anything.
pub(crate) fn applied<'r>(records: &'r [JobRecord], desired: &Desired) -> Option<&'r JobRecord> {
    let launched = records
        .iter()
        .filter(|record| desired.owns(record) && record.may_have_run() && is_main(record.job_type));
    let newest = launched.max_by_key(|record| record.attempt)?;
    let done = newest.job_type == JobType::Provision
        && newest.state == JobState::Succeeded
        && !newest.may_be_live();
    done.then_some(newest)
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
    let deleting = resource.is_deleting();
    // An action that went well leaves the object as it was.
    let acted = newest.job_type.action().is_some() && newest.state == JobState::Succeeded;
    let main = mine.iter().filter(|record| is_main(record.job_type));
    let main = main.max_by_key(|record| record.attempt)?;
    if main.attempt != newest.attempt && !acted {
        return None;
    }
    match (main.job_type, main.state) {
        (JobType::Provision, JobState::Succeeded)
            if !deleting
                && !desired.absent
                && desired.not_yet.is_none()
                && main.config_version.as_ref() == Some(&desired.version) =>
        {
            Some(Standing::Applied {
                version: desired.version.clone(),
            })
        }
        (JobType::Deprovision, JobState::Succeeded) if deleting && desired.mode != Mode::Paused => {
            Some(Standing::Released(Release::new(Ground::Deprovisioned)))
        }
        (_, JobState::Failed) => main.retry_at.map(|until| Standing::BackingOff {
            until,
            failures: main.failures,
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
        [STATUS_WRITABLE, READABLE, DESIRED_KNOWN].contains(&type_)
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
