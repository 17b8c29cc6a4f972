//! Properties of records and of their history.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use provider_core::{
    ActionName, ConfigVersion, JobRecord, JobRef, JobState, JobType, OperationToken, Reason,
    history, text,
};
use serde_json::{Value, json};

fn state() -> impl Strategy<Value = JobState> {
    prop::sample::select(vec![
        JobState::Pending,
        JobState::Waiting,
        JobState::Running,
        JobState::Succeeded,
        JobState::Failed,
        JobState::Canceled,
        JobState::Unknown,
    ])
}

fn job_type() -> impl Strategy<Value = JobType> {
    prop_oneof![
        prop::sample::select(vec![JobType::Provision, JobType::Deprovision]),
        "[a-z][a-z0-9-]{0,40}[a-z0-9]"
            .prop_map(|name| JobType::Action(ActionName::new(&name).unwrap())),
        "z[a-z0-9-]{0,40}[a-z0-9]".prop_map(|name| JobType::Other(ActionName::new(&name).unwrap())),
    ]
}

fn moment() -> impl Strategy<Value = Timestamp> {
    (0_i64..4_000_000_000).prop_map(|s| Timestamp::from_second(s).unwrap())
}

fn reason() -> impl Strategy<Value = Reason> {
    prop_oneof![
        prop::sample::select(vec![
            Reason::Intended,
            Reason::Ambiguous,
            Reason::HeldBack,
            Reason::NotSent,
            Reason::Rejected,
            Reason::Withdrawn,
            Reason::Adopted,
            Reason::Purged,
            Reason::Unnamed,
            Reason::Imported,
        ]),
        "Z[a-z]{1,20}".prop_map(Reason::Other),
    ]
}

prop_compose! {
    fn record()(
        attempt in 1_u64..50,
        job_type in job_type(),
        state in state(),
        target in option::of("[a-c]"),
        job in option::of(("[a-z]{1,5}", "[a-z_]{1,8}", "[0-9]{1,9}")),
        token in option::of(any::<u128>()),
        version in option::of("v1-[0-9a-f]{32}"),
        times in vec(option::of(moment()), 7),
        reason in option::of(reason()),
        message in "\\PC{0,80}",
        numbers in (0_u32..9, 0_u32..9, 0_u32..9),
        flags in (option::of(any::<bool>()), any::<bool>(), option::of("[a-z]{1,9}")),
    ) -> JobRecord {
        let mut record = JobRecord::new(attempt, job_type);
        record.state = state;
        record.target = target;
        if let Some((provider, kind, id)) = job {
            record.set_job_ref(JobRef::new(provider, kind, id));
        }
        record.token = token.map(OperationToken::from_random);
        record.config_version = version.map(ConfigVersion::from_text);
        record.timestamp = times[0];
        record.sent_at = times[1];
        record.state_since = times[2];
        record.started_at = times[3];
        record.finished_at = times[4];
        record.cancel_requested_at = times[5];
        record.retry_at = times[6];
        (record.sends, record.cancel_requests, record.failures) = numbers;
        record.reason = reason;
        if record.job_type.action().is_some() {
            record.action_request = Some(format!("request {attempt}"));
        }
        record.set_message(&message);
        (record.block_deletion_on_failure, record.doubtful, record.retry_request) = flags;
        record
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("Running")),
        Just(json!("2026-11-23T04:02:46Z")),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

const MEMBERS: [&str; 12] = [
    "jobID",
    "type",
    "timestamp",
    "state",
    "message",
    "attempt",
    "provider",
    "token",
    "reason",
    "configVersion",
    "blockDeletionOnFailure",
    "somethingNew",
];

fn cases() -> ProptestConfig {
    ProptestConfig {
        cases: if std::env::var_os("PROVIDER_FULL").is_some() {
            1_000
        } else {
            200
        },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_record_reads_back_as_it_was_written(record in record()) {
        let written = serde_json::to_value(&record).unwrap();
        let read: JobRecord = serde_json::from_value(written.clone()).unwrap();
        prop_assert_eq!(&read, &record);
        prop_assert_eq!(serde_json::to_value(&read).unwrap(), written);
    }

    #[test]
    fn any_object_reads_as_a_record_and_nothing_of_it_is_lost(
        members in prop::collection::btree_map(
            prop::sample::select(MEMBERS.to_vec()), json_value(), 0..8)
    ) {
        let given: BTreeMap<String, Value> =
            members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let text = serde_json::to_string(&given).unwrap();
        let read: JobRecord = serde_json::from_str(&text).unwrap();
        let written = serde_json::to_value(&read).unwrap();
        // Written again by us, and read once more, it is the same record.
        let again: JobRecord = serde_json::from_value(written.clone()).unwrap();
        prop_assert_eq!(&again, &read);
        if read.defect.is_some() {
            // What cannot be understood is kept as it was.
            prop_assert_eq!(&written, &serde_json::to_value(&given).unwrap());
            prop_assert!(read.may_be_live(), "an unreadable record may stand for a live job");
        }
        if let Some(new) = given.get("somethingNew") {
            prop_assert_eq!(written.get("somethingNew"), Some(new));
        }
    }

    #[test]
    fn trimming_keeps_what_matters(records in vec(record(), 0..40), keep in 0_usize..12) {
        let mut records = records;
        for (n, record) in records.iter_mut().enumerate() {
            record.attempt = n as u64 + 1;
        }
        let mut kept = records.clone();
        history::trim(&mut kept, keep);
        prop_assert!(kept.iter().all(|record| records.contains(record)), "nothing is changed");
        for record in &records {
            let newest = history::newest(&records, record.job_type, record.target.as_deref());
            let must_stay = record.may_be_live() || newest == Some(record);
            prop_assert!(!must_stay || kept.contains(record), "{} was dropped", record.attempt);
        }
        for record in &kept {
            let ended = kept.iter().filter(|other| {
                other.job_type == record.job_type
                    && other.target == record.target
                    && !other.may_be_live()
            });
            // One more than asked for: the newest that may have run, as evidence.
            prop_assert!(ended.count() <= keep.max(1) + 1);
        }
        let mut twice = kept.clone();
        history::trim(&mut twice, keep);
        prop_assert_eq!(twice, kept);
    }

    #[test]
    fn the_newest_is_the_highest_attempt_whatever_the_clocks_said(
        records in vec(record(), 1..20)
    ) {
        let mut records = records;
        for (n, record) in records.iter_mut().enumerate() {
            record.attempt = n as u64 + 1;
        }
        let last = records.last().unwrap().clone();
        let newest = history::newest(&records, last.job_type, last.target.as_deref());
        prop_assert_eq!(newest, Some(&last));
        prop_assert_eq!(history::next_attempt(&records), last.attempt + 1);
    }

    #[test]
    fn texts_are_bounded_and_on_one_line(given in "(\\PC|\\n|\\x1b|é){0,200}", max in 8_usize..200) {
        let bounded = text::bounded(&given, max);
        prop_assert!(bounded.len() <= max);
        let odd = bounded.contains(char::is_control);
        prop_assert!(!odd);
    }
}

/// Found by the fuzz target `records`.
#[test]
fn what_is_blank_or_padded_in_a_record_reads_the_same_when_it_is_written_again() {
    for (member, value) in [
        ("reason", json!(" ")),
        ("reason", json!("\t\n")),
        ("reason", json!(" Intended ")),
        ("token", json!("  ")),
        ("token", json!("\u{1b}[0m")),
        ("new", json!({"ratio": -1.224_387_216_456_347_2e-8_f64})),
        (
            "new",
            json!([
                8.988_465_674_311_582e307_f64,
                1.701_411_834_604_692_3e38_f64
            ]),
        ),
    ] {
        let mut stored = json!({"jobID": "1", "type": "provision", "state": "Running"});
        stored[member] = value;
        let record: JobRecord = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(record.defect, None);
        let written = serde_json::to_string(&record).unwrap();
        let again: JobRecord = serde_json::from_str(&written).unwrap();
        assert_eq!(again, record, "{stored}: {written}");
    }
    let padded =
        json!({"jobID": "1", "type": "provision", "state": "Pending", "reason": "Intended\n"});
    let record: JobRecord = serde_json::from_value(padded).unwrap();
    assert_eq!(
        record.reason,
        Some(Reason::Intended),
        "a word is not another for a line end"
    );
}

#[test]
fn records_of_existing_operators_read_back() {
    let stored = json!({
        "jobID": "501", "type": "provision", "timestamp": "2026-08-01T10:00:00Z",
        "state": "Succeeded", "message": "ok", "blockDeletionOnFailure": true,
        "configVersion": "8f2c11", "target": "net",
    });
    let record: JobRecord = serde_json::from_value(stored.clone()).unwrap();
    assert_eq!(record.defect, None);
    assert_eq!(record.job_id.as_deref(), Some("501"));
    assert_eq!(
        (record.state, record.job_type),
        (JobState::Succeeded, JobType::Provision)
    );
    assert_eq!(record.block_deletion_on_failure, Some(true));
    assert_eq!(
        record.config_version,
        Some(ConfigVersion::from_text("8f2c11"))
    );
    let written = serde_json::to_value(&record).unwrap();
    for (name, value) in stored.as_object().unwrap() {
        assert_eq!(written.get(name), Some(value), "{name}");
    }
}

#[test]
fn d12_d13_history_without_attempts_is_numbered_by_position_and_not_by_clock() {
    let old = |id: &str, at: &str, state: &str| -> JobRecord {
        let stored = json!({"jobID": id, "type": "provision", "timestamp": at, "state": state});
        serde_json::from_value(stored).unwrap()
    };
    // The first was written by a replica whose clock was three minutes ahead.
    let mut records = vec![
        old("1", "2026-08-01T10:03:00Z", "Failed"),
        old("2", "2026-08-01T10:00:00Z", "Running"),
    ];
    history::number(&mut records);
    let newest = history::newest(&records, JobType::Provision, None).unwrap();
    assert_eq!(newest.job_id.as_deref(), Some("2"));
}

#[test]
fn d15_failed_deprovisions_do_not_push_out_a_running_provision() {
    let mut running = JobRecord::new(1, JobType::Provision);
    running.set_job_ref(JobRef::new("aap", "job", "1"));
    running.state = JobState::Running;
    let mut records = vec![running.clone()];
    for n in 2..20 {
        let mut failed = JobRecord::new(n, JobType::Deprovision);
        failed.set_job_ref(JobRef::new("aap", "job", n.to_string()));
        failed.state = JobState::Failed;
        records.push(failed);
    }
    history::trim(&mut records, 10);
    assert_eq!(records.len(), 11);
    assert!(records.contains(&running));
}

#[test]
fn an_attempt_that_may_prove_unlaunched_does_not_push_out_the_proof_that_one_ran() {
    let mut ran = JobRecord::new(1, JobType::Provision);
    ran.set_job_ref(JobRef::new("aap", "job", "1"));
    ran.state = JobState::Failed;
    let mut open = JobRecord::new(2, JobType::Provision);
    open.reason = Some(Reason::Intended);
    let mut records = vec![ran.clone(), open];
    history::trim(&mut records, 1);
    assert!(records.contains(&ran));
}

#[test]
fn d24_a_version_survives_key_order_nulls_and_new_empty_fields() {
    let version = |value: Value| ConfigVersion::of_json(&value);
    let base = version(json!({"cores": 4, "disk": {"size": 1, "tier": "x"}}));
    let other_order = json!({"disk": {"tier": "x", "size": 1}, "cores": 4});
    let new_field = json!({"cores": 4, "disk": {"size": 1, "tier": "x"}, "new": null});
    assert_eq!(base, version(other_order));
    assert_eq!(base, version(new_field));
    assert_ne!(base, version(json!({"cores": 5})));
    assert!(base.as_str().starts_with("v1-"));
    let newer = ConfigVersion::from_text("v2-00000000000000000000000000000000");
    assert!(!base.is_comparable(&newer));
}

// ---- histories as they were written: by older operators, by this version before it knew actions, and by
// ---- versions to come

fn golden(text: &str) -> (Vec<Value>, Vec<JobRecord>) {
    let stored: Vec<Value> = serde_json::from_str(text).unwrap();
    let records: Vec<JobRecord> = serde_json::from_str(text).unwrap();
    // Nothing of it is lost or changed when it is written again.
    for (stored, record) in stored.iter().zip(&records) {
        assert_eq!(record.defect, None, "{stored}");
        let written = serde_json::to_value(record).unwrap();
        for (name, value) in stored.as_object().unwrap() {
            assert_eq!(written.get(name), Some(value), "{name} of {stored}");
        }
    }
    (stored, records)
}

#[test]
fn the_history_of_an_older_operator_reads() {
    let (_, records) = golden(include_str!("golden/older-operators.json"));
    let live: Vec<bool> = records.iter().map(JobRecord::may_be_live).collect();
    assert_eq!(live, [false, false, true]);
    assert_eq!(records[1].target.as_deref(), Some("net"));
    assert_eq!(records[2].block_deletion_on_failure, Some(true));
}

#[test]
fn a_history_from_before_there_were_actions_reads_and_is_written_as_it_was() {
    let (stored, records) = golden(include_str!("golden/before-actions.json"));
    assert_eq!(serde_json::to_value(&records).unwrap(), Value::from(stored));
    let live: Vec<bool> = records.iter().map(JobRecord::may_be_live).collect();
    assert_eq!(live, [false, true, true, true]);
    assert_eq!(records[2].reason, Some(Reason::PurgeSuspected));
    assert_eq!((records[2].copy_of, records[2].turned_away), (Some(2), 1));
    assert!(records[1].is_unresolved() && records[3].doubtful);
}

#[test]
fn jobs_of_types_that_a_newer_version_has_written_are_kept_and_watched() {
    let (_, records) = golden(include_str!("golden/newer-version.json"));
    let restart = JobType::Action(ActionName::new("restart").unwrap());
    let other = |word| JobType::Other(ActionName::new(word).unwrap());
    let types: Vec<JobType> = records.iter().map(|record| record.job_type).collect();
    assert_eq!(types, [restart, other("migrate"), other("action")]);
    let live: Vec<bool> = records.iter().map(JobRecord::may_be_live).collect();
    assert_eq!(live, [false, true, true]);
    assert_eq!(
        records[0].action_request.as_deref(),
        Some("2026-11-01T10:00:00Z")
    );
    // The members of an action that this version cannot read stay where they are.
    assert_eq!(records[2].action_request, None);
}

#[test]
fn a_type_that_is_no_word_is_a_defect() {
    for bad in [
        json!("Some Thing"),
        json!(7),
        json!("x".repeat(64)),
        json!(null),
    ] {
        let stored = json!({"jobID": "1", "type": bad, "state": "Running"});
        let record: JobRecord = serde_json::from_value(stored.clone()).unwrap();
        assert!(record.defect.is_some(), "{stored}");
        assert_eq!(serde_json::to_value(&record).unwrap(), stored);
    }
}
