//! What the caller names as targets, against what a status can hold.

use std::collections::BTreeSet;

use provider_core::JobRecord;
use provider_core::JobType;
use provider_core::lifecycle::Desired;

use serde_json::Value;

use crate::status::{MAX_CONDITIONS, MAX_JOBS};
use crate::{Error, conditions};

/// The names of targets.
pub(crate) fn names(all: &[Desired]) -> Vec<Option<&str>> {
    all.iter()
        .map(|desired| desired.target.as_deref())
        .collect()
}

/// Whether the status has room for these targets, each with a history of this length, beside what is in
/// it of others.
pub(crate) fn check(
    all: &[Desired],
    history_length: usize,
    records: &[JobRecord],
    present: &[Value],
) -> Result<(), Error> {
    let mut known = BTreeSet::new();
    for desired in all {
        let name = desired.target.as_deref();
        if name.is_some_and(|name| !is_prefix(name)) {
            return Err(Error::Targets(format!(
                "{name:.80?} is not a name in the manner of DNS (small letters, digits, dashes, dots)",
                name = name.unwrap_or_default()
            )));
        }
        if !known.insert(name) {
            return Err(Error::Targets(format!(
                "{name:.80?} is named twice",
                name = name.unwrap_or_default()
            )));
        }
    }
    if all
        .iter()
        .filter(|desired| desired.absorbs_untagged)
        .count()
        > 1
    {
        return Err(Error::Targets(
            "two of them absorb the records without a target".to_owned(),
        ));
    }
    // Of each type: the history, one that is alive, and the last that reached the backend.
    let most = |desired: &Desired| {
        let own = desired.policy.as_ref();
        let history = own.map_or(history_length, |own| own.config().history_length);
        types(desired, records).saturating_mul(history.saturating_add(2))
    };
    let most = all.iter().map(most).fold(0, usize::saturating_add);
    let owned = |record: &JobRecord| all.iter().any(|desired| desired.owns(record));
    let left = without_former(records, all);
    let former = left.iter().filter(|record| !owned(record)).count();
    if most.saturating_add(former) > MAX_JOBS as usize {
        return Err(Error::Targets(format!(
            "{} targets with a historyLength of {history_length} (and their actions) need up to {most} records, beside \
             {former} of former targets, and there is room for {MAX_JOBS}; shorten historyLength",
            all.len()
        )));
    }
    let ours = conditions::WORDS.len().saturating_mul(all.len());
    // Whether all of these are known is one more.
    let others = conditions::of_others(present, &names(all));
    let more = others.saturating_add(usize::from(all.len() > 1 || former > 0));
    if ours.saturating_add(more) > MAX_CONDITIONS as usize {
        return Err(Error::Targets(format!(
            "{} targets need {ours} conditions, beside {more} others, and there is room for \
             {MAX_CONDITIONS}; name fewer targets",
            all.len()
        )));
    }
    Ok(())
}

/// How many types of jobs a target has: two, and its actions, those of before too.
fn types(desired: &Desired, records: &[JobRecord]) -> usize {
    let wanted = desired.actions.iter();
    let wanted = wanted.map(|action| JobType::Action(action.name));
    let owned = records.iter().filter(|record| desired.owns(record));
    let mut all: BTreeSet<JobType> = owned.map(|record| record.job_type).chain(wanted).collect();
    all.extend([JobType::Provision, JobType::Deprovision]);
    all.len()
}

/// The records without those of targets which nobody names and which have nothing left: nobody would
/// ever shorten their history. The newest record stays, because numbers go on from it.
pub(crate) fn without_former(records: &[JobRecord], all: &[Desired]) -> Vec<JobRecord> {
    let newest = records.iter().map(|record| record.attempt).max();
    let undeclared = undeclared_names(records, all);
    let kept = |record: &&JobRecord| {
        all.is_empty()
            || all.iter().any(|desired| desired.owns(record))
            || undeclared.contains(&record.target)
            || Some(record.attempt) == newest
    };
    records.iter().filter(kept).cloned().collect()
}

/// Whether it may stand before the slash of a condition's type.
fn is_prefix(name: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().copied().is_some_and(inner)
            && bytes.last().copied().is_some_and(inner)
            && bytes.iter().all(|c| inner(*c) || *c == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// The targets that have records by which something may be there, and that nobody names.
pub(crate) fn undeclared(records: &[JobRecord], all: &[Desired]) -> Vec<String> {
    let told = |name: Option<String>| match name {
        Some(name) => format!("target \"{name}\""),
        None => "no target".to_owned(),
    };
    undeclared_names(records, all)
        .into_iter()
        .map(told)
        .collect()
}

fn undeclared_names(records: &[JobRecord], all: &[Desired]) -> BTreeSet<Option<String>> {
    let is_undeclared = |record: &&JobRecord| !all.iter().any(|desired| desired.owns(record));
    let undeclared: Vec<&JobRecord> = records.iter().filter(is_undeclared).collect();
    let names: BTreeSet<_> = undeclared.iter().map(|record| &record.target).collect();
    let something = |name: &&Option<String>| {
        let of_it = || undeclared.iter().filter(|record| record.target == **name);
        // What actions have done is gone with what they were done to.
        let ran = of_it().filter(|record| {
            let main = [JobType::Provision, JobType::Deprovision].contains(&record.job_type);
            record.may_have_run() && main
        });
        let newest = ran.max_by_key(|record| record.attempt);
        let gone = newest.is_none_or(|record| {
            record.job_type == JobType::Deprovision && record.state.is_successful()
        });
        !gone || of_it().any(|record| record.may_be_live())
    };
    names.into_iter().filter(something).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use provider_core::lifecycle::{ActionRequest, Policy, PolicyConfig};
    use provider_core::{ConfigVersion, JobState};

    fn desired(name: &str) -> Desired {
        Desired::new(ConfigVersion::from_text("v"), "p").for_target(name)
    }

    #[test]
    fn names_and_room_are_checked_before_anything_is_started() {
        let names = |names: &[&str]| -> Vec<Desired> { names.iter().map(|n| desired(n)).collect() };
        for good in [&["a"][..], &["a-1.b", "c"], &[]] {
            assert!(check(&names(good), 10, &[], &[]).is_ok(), "{good:?}");
        }
        let long = "a".repeat(254);
        for bad in [
            &["A"][..],
            &[""],
            &["a/b"],
            &["-a"],
            &["a."],
            &[&long],
            &["a", "a"],
        ] {
            assert!(check(&names(bad), 10, &[], &[]).is_err(), "{bad:?}");
        }
        assert!(check(&names(&["a"]), 48, &[], &[]).is_ok());
        assert!(check(&names(&["a"]), 49, &[], &[]).is_err());
        assert!(check(&names(&["a", "b"]), 24, &[], &[]).is_err());
        let mut two = names(&["a", "b"]);
        // By the choices of the target, where it has some.
        let long = PolicyConfig::default().with(|config| config.history_length = 49);
        let long = Policy::new(long).unwrap();
        assert!(check(&[desired("a").with_policy(long)], 10, &[], &[]).is_err());
        // Each action has a history of its own.
        let mut acting = desired("a");
        for n in 0..7 {
            let action = ActionRequest::new(&format!("act-{n}"), "1").unwrap();
            acting = acting.with_action(action);
        }
        assert!(check(&[acting.clone()], 9, &[], &[]).is_ok());
        assert!(check(&[acting], 10, &[], &[]).is_err());
        two.iter_mut().for_each(|one| one.absorbs_untagged = true);
        assert!(check(&two, 10, &[], &[]).is_err());
    }

    #[test]
    fn twelve_targets_are_refused_where_they_are_named() {
        let names =
            |n: usize| -> Vec<Desired> { (0..n).map(|n| desired(&format!("t{n}"))).collect() };
        let condition = |type_: &str| serde_json::json!({"type": type_, "status": "True"});
        assert!(check(&names(10), 2, &[], &[]).is_ok());
        let said = check(&names(12), 2, &[], &[]).unwrap_err().to_string();
        assert!(said.contains("need 36 conditions"), "{said}");
        // What is in the status already has its place: ours once, that of others for itself.
        let mut present: Vec<_> = (0..10)
            .flat_map(|n| conditions::WORDS.map(|word| condition(&format!("t{n}/{word}"))))
            .collect();
        present.push(condition("example.com/Other"));
        assert!(check(&names(10), 2, &[], &present).is_ok());
        present.push(condition("example.com/More"));
        assert!(check(&names(10), 2, &[], &present).is_err());
        // Former targets make room, and what they have left does not.
        assert!(check(&[desired("x"), desired("y")], 2, &[], &present).is_ok());
        let undeclared: Vec<JobRecord> = (1..=90)
            .map(|n| {
                let mut record = JobRecord::new(n, JobType::Provision);
                record.target = Some("old".to_owned());
                record.job_id = Some(n.to_string());
                record.state = JobState::Succeeded;
                record
            })
            .collect();
        assert!(check(&[desired("x")], 2, &undeclared, &[]).is_ok());
        assert!(check(&[desired("x")], 4, &undeclared, &[]).is_err());
    }

    #[test]
    fn a_target_that_nobody_names_counts_while_something_may_be_there() {
        let record = |n, job_type, state| {
            let mut record = JobRecord::new(n, job_type);
            record.target = Some("old".to_owned());
            record.job_id = Some(n.to_string());
            record.state = state;
            record
        };
        let provisioned = record(1, JobType::Provision, JobState::Succeeded);
        let removed = record(2, JobType::Deprovision, JobState::Succeeded);
        let removing = record(2, JobType::Deprovision, JobState::Running);
        let named = [desired("new")];
        let found = |records: &[JobRecord], named: &[Desired]| undeclared(records, named).len();
        assert_eq!(found(std::slice::from_ref(&provisioned), &named), 1);
        assert_eq!(found(&[provisioned.clone(), removing], &named), 1);
        assert_eq!(found(&[provisioned.clone(), removed], &named), 0);
        assert_eq!(
            found(std::slice::from_ref(&provisioned), &[desired("old")]),
            0
        );
        assert_eq!(found(&[provisioned], &[]), 1);
    }
}
