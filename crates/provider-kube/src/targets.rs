//! What the caller names as targets, against what a status can hold.

use std::collections::BTreeSet;

use provider_core::JobRecord;
use provider_core::JobType;
use provider_core::lifecycle::Desired;

use crate::Error;
use crate::status::MAX_JOBS;

/// Whether the status has room for these targets, each with a history of this length.
pub(crate) fn check(all: &[Desired], history_length: usize) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    for desired in all {
        let name = desired.target.as_deref();
        if name.is_some_and(|name| !is_prefix(name)) {
            return Err(Error::Targets(format!(
                "{name:.80?} is not a name in the manner of DNS (small letters, digits, dashes, dots)",
                name = name.unwrap_or_default()
            )));
        }
        if !names.insert(name) {
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
    let most = history_length
        .saturating_add(2)
        .saturating_mul(2)
        .saturating_mul(all.len());
    if most > MAX_JOBS as usize {
        return Err(Error::Targets(format!(
            "{} targets with a historyLength of {history_length} need up to {most} records, and there \
             is room for {MAX_JOBS}; shorten historyLength",
            all.len()
        )));
    }
    Ok(())
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
pub(crate) fn strays(records: &[JobRecord], all: &[Desired]) -> Vec<String> {
    let stray = |record: &&JobRecord| !all.iter().any(|desired| desired.owns(record));
    let strays: Vec<&JobRecord> = records.iter().filter(stray).collect();
    let names: BTreeSet<_> = strays.iter().map(|record| &record.target).collect();
    let something = |name: &&Option<String>| {
        let of_it = || strays.iter().filter(|record| record.target == **name);
        let ran = of_it().filter(|record| record.may_have_run());
        let newest = ran.max_by_key(|record| record.attempt);
        let gone = newest.is_none_or(|record| {
            record.job_type == JobType::Deprovision && record.state.is_successful()
        });
        !gone || of_it().any(|record| record.may_be_live())
    };
    let told = |name: &Option<String>| match name {
        Some(name) => format!("target \"{name}\""),
        None => "no target".to_owned(),
    };
    names.into_iter().filter(something).map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use provider_core::{ConfigVersion, JobState};

    fn desired(name: &str) -> Desired {
        Desired::new(ConfigVersion::from_text("v"), "p").for_target(name, false)
    }

    #[test]
    fn names_and_room_are_checked_before_anything_is_started() {
        let names = |names: &[&str]| -> Vec<Desired> { names.iter().map(|n| desired(n)).collect() };
        for good in [&["a"][..], &["a-1.b", "c"], &[]] {
            assert_eq!(check(&names(good), 10), Ok(()), "{good:?}");
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
            assert!(check(&names(bad), 10).is_err(), "{bad:?}");
        }
        assert_eq!(check(&names(&["a"]), 48), Ok(()));
        assert!(check(&names(&["a"]), 49).is_err());
        assert!(check(&names(&["a", "b"]), 24).is_err());
        let mut two = names(&["a", "b"]);
        two.iter_mut().for_each(|one| one.absorbs_untagged = true);
        assert!(check(&two, 10).is_err());
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
        let found = |records: &[JobRecord], named: &[Desired]| strays(records, named).len();
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
