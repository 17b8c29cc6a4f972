//! Whether a store keeps the contract of [`StatusStore`]: every promise that the engine relies on.
//!
//! # Expected flow
//! Write a [`StoreHarness`] and [`check`] it: the answer lists the behaviours that are broken.
//!
//! # Guarantees
//! Testkit's own tests hold a wrong store for each behaviour, which this behaviour finds.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use provider_core::lifecycle::{Freshness, StatusStore, StoreError, StoreVersion};
use provider_core::{JobRecord, JobState, JobType, ObjectKey, OperationToken};

/// Makes stores of one sort.
#[async_trait]
pub trait StoreHarness: Sync {
    /// Opens the store for an object, which is there: made, if the store keeps whole objects. Each
    /// opening is a process of its own, with no memory of the others. An object that was there before
    /// under the same name with another uid has been deleted.
    async fn open(&self, key: &ObjectKey) -> Arc<dyn StatusStore>;

    /// Whether objects may have such a key here. A store that names its objects itself has rules.
    fn accepts(&self, key: &ObjectKey) -> bool {
        let _ = key;
        true
    }
}

/// What is wrong, in words.
pub type Found = Result<(), String>;

type Run = for<'a> fn(&'a dyn StoreHarness) -> BoxFuture<'a, Found>;

/// One behaviour of a store.
#[derive(Clone, Copy)]
pub struct StoreBehaviour {
    /// Its name: that of its function.
    pub name: &'static str,
    run: Run,
}

impl fmt::Debug for StoreBehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! behaviours {
    ($($name:ident,)*) => {
        &[$(StoreBehaviour {
            name: stringify!($name),
            run: |harness| Box::pin($name(harness)),
        },)*]
    };
}

/// All behaviours.
#[must_use]
pub const fn all() -> &'static [StoreBehaviour] {
    behaviours![
        a_new_object_has_no_records,
        what_was_written_is_read_by_others,
        records_come_back_as_they_were,
        an_old_version_is_a_conflict_and_changes_nothing,
        the_answer_to_a_swap_is_the_version_for_the_next,
        a_swap_of_the_same_records_is_a_write_too,
        of_many_at_once_one_wins,
        a_list_can_be_emptied,
        another_life_of_a_name_has_no_records,
        a_former_life_cannot_be_written_to,
        names_that_differ_share_nothing,
        long_names_are_kept,
        an_object_is_as_its_store_has_it,
    ]
}

/// Looks at every behaviour; gives the broken ones, with what was seen.
pub async fn check(harness: &dyn StoreHarness) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    for behaviour in all() {
        let looked = AssertUnwindSafe((behaviour.run)(harness)).catch_unwind();
        match looked.await {
            Ok(Ok(())) => {}
            Ok(Err(what)) => broken.push((behaviour.name, what)),
            Err(_) => broken.push((behaviour.name, "it panicked".to_owned())),
        }
    }
    broken
}

fn key(name: &str, uid: &str) -> ObjectKey {
    ObjectKey {
        kind: "Machine".to_owned(),
        namespace: Some("conformance".to_owned()),
        name: name.to_owned(),
        uid: uid.to_owned(),
    }
}

fn record(attempt: u64) -> JobRecord {
    let mut record = JobRecord::new(attempt, JobType::Provision);
    record.job_id = Some(attempt.to_string());
    record.state = JobState::Failed;
    record
}

fn failed(what: &str) -> impl Fn(StoreError) -> String {
    move |error| format!("{what}: {error}")
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Found {
    if holds { Ok(()) } else { Err(what()) }
}

async fn version(store: &dyn StatusStore, key: &ObjectKey) -> Result<StoreVersion, String> {
    let loaded = store.load(key, Freshness::Current).await;
    Ok(loaded.map_err(failed("a load"))?.version)
}

async fn attempts(store: &dyn StatusStore, key: &ObjectKey) -> Result<Vec<u64>, String> {
    let loaded = store.load(key, Freshness::Current).await;
    let loaded = loaded.map_err(failed("a load"))?;
    Ok(loaded.records.iter().map(|record| record.attempt).collect())
}

/// Writes on what there is.
async fn put(
    store: &dyn StatusStore,
    key: &ObjectKey,
    records: &[JobRecord],
) -> Result<StoreVersion, String> {
    let known = version(store, key).await?;
    let written = store.swap(key, &known, records).await;
    Ok(written.map_err(failed("a swap"))?.version)
}

async fn has(store: &dyn StatusStore, key: &ObjectKey, expected: &[u64]) -> Found {
    let found = attempts(store, key).await?;
    ensure(found == expected, || {
        format!("{key} has the attempts {found:?}, and should have {expected:?}")
    })
}

async fn a_new_object_has_no_records(harness: &dyn StoreHarness) -> Found {
    let key = key("new", "new-1");
    let store = harness.open(&key).await;
    for freshness in [Freshness::Cached, Freshness::Current] {
        let loaded = store.load(&key, freshness).await;
        let records = loaded.map_err(failed("a load"))?.records;
        ensure(records.is_empty(), || {
            format!("there are {}", records.len())
        })?;
    }
    Ok(())
}

async fn what_was_written_is_read_by_others(harness: &dyn StoreHarness) -> Found {
    let key = key("read", "read-1");
    let store = harness.open(&key).await;
    let other = harness.open(&key).await;
    has(&*other, &key, &[]).await?;
    put(&*store, &key, &[record(1)]).await?;
    has(&*store, &key, &[1]).await?;
    // One that has looked before, and one that has just started.
    has(&*other, &key, &[1]).await?;
    has(&*harness.open(&key).await, &key, &[1]).await
}

async fn records_come_back_as_they_were(harness: &dyn StoreHarness) -> Found {
    let key = key("whole", "whole-1");
    let store = harness.open(&key).await;
    let mut all: Vec<JobRecord> = (1..=20).map(record).collect();
    for record in &mut all {
        record.provider = Some("a provider".to_owned());
        record.token = Some(OperationToken::from_text(&format!(
            "token-{}",
            record.attempt
        )));
        record.message = "two\u{1f600} \"words\"".to_owned();
        record.timestamp = Timestamp::from_second(1_800_000_000).ok();
        record.target = Some("compute".to_owned());
        record.failures = 3;
    }
    all.reverse();
    put(&*store, &key, &all).await?;
    let loaded = harness
        .open(&key)
        .await
        .load(&key, Freshness::Current)
        .await;
    let loaded = loaded.map_err(failed("a load"))?;
    ensure(*loaded.records == all, || {
        "the records are not those that were written, in their order".to_owned()
    })
}

async fn an_old_version_is_a_conflict_and_changes_nothing(harness: &dyn StoreHarness) -> Found {
    let key = key("old", "old-1");
    let (store, other) = (harness.open(&key).await, harness.open(&key).await);
    let old = version(&*store, &key).await?;
    let older = version(&*other, &key).await?;
    put(&*store, &key, &[record(1)]).await?;
    for (store, old) in [(&store, &old), (&other, &older)] {
        let swapped = store.swap(&key, old, &[record(9)]).await;
        ensure(matches!(swapped, Err(StoreError::Conflict)), || {
            format!("a swap on an old version: {swapped:?}")
        })?;
    }
    has(&*harness.open(&key).await, &key, &[1]).await
}

async fn the_answer_to_a_swap_is_the_version_for_the_next(harness: &dyn StoreHarness) -> Found {
    let key = key("next", "next-1");
    let store = harness.open(&key).await;
    let mut known = version(&*store, &key).await?;
    for n in 1..=3 {
        let written = store.swap(&key, &known, &[record(n)]).await;
        let next = written.map_err(failed("a swap"))?.version;
        ensure(next != known, || "the version is the same".to_owned())?;
        known = next;
    }
    let loaded = version(&*harness.open(&key).await, &key).await?;
    ensure(loaded == known, || {
        format!("a load has {loaded}, the last swap {known}")
    })
}

/// Whoever has read before must notice that somebody has confirmed what is there: a write of the same
/// records is a fence too. A store that keeps whole objects may leave the version where nothing changes.
async fn a_swap_of_the_same_records_is_a_write_too(harness: &dyn StoreHarness) -> Found {
    let key = key("same", "same-1");
    let store = harness.open(&key).await;
    let known = put(&*store, &key, &[record(1)]).await?;
    let written = store.swap(&key, &known, &[record(1)]).await;
    let next = written.map_err(failed("a swap"))?.version;
    let more = store.swap(&key, &next, &[record(1), record(2)]).await;
    more.map_err(failed("a swap after it"))?;
    has(&*store, &key, &[1, 2]).await
}

async fn of_many_at_once_one_wins(harness: &dyn StoreHarness) -> Found {
    const MANY: u64 = 8;
    let key = key("race", "race-1");
    for round in 0..4_u64 {
        let mut all = Vec::new();
        for n in 0..MANY {
            let store = harness.open(&key).await;
            let known = version(&*store, &key).await?;
            all.push((store, known, round * MANY + n + 1));
        }
        let swaps = all.iter().map(async |(store, known, n)| {
            let swapped = store.swap(&key, known, &[record(*n)]).await;
            (*n, swapped)
        });
        let mut winners = Vec::new();
        for (n, swapped) in join_all(swaps).await {
            match swapped {
                Ok(_) => winners.push(n),
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(format!("a swap among many: {error}")),
            }
        }
        ensure(winners.len() == 1, || {
            format!("{} of {MANY} have won", winners.len())
        })?;
        has(&*harness.open(&key).await, &key, &winners).await?;
    }
    Ok(())
}

async fn a_list_can_be_emptied(harness: &dyn StoreHarness) -> Found {
    let key = key("empty", "empty-1");
    let store = harness.open(&key).await;
    put(&*store, &key, &[record(1)]).await?;
    put(&*store, &key, &[]).await?;
    has(&*harness.open(&key).await, &key, &[]).await
}

async fn another_life_of_a_name_has_no_records(harness: &dyn StoreHarness) -> Found {
    let (first, second) = (key("again", "again-1"), key("again", "again-2"));
    put(&*harness.open(&first).await, &first, &[record(1)]).await?;
    let store = harness.open(&second).await;
    has(&*store, &second, &[]).await?;
    put(&*store, &second, &[record(7)]).await?;
    has(&*store, &second, &[7]).await
}

async fn a_former_life_cannot_be_written_to(harness: &dyn StoreHarness) -> Found {
    let (first, second) = (key("former", "former-1"), key("former", "former-2"));
    let old = harness.open(&first).await;
    let known = put(&*old, &first, &[record(1)]).await?;
    let new = harness.open(&second).await;
    put(&*new, &second, &[record(7)]).await?;
    // It may keep its own records, be gone, or be a conflict: it is not the other one's.
    let _ = old.swap(&first, &known, &[record(2)]).await;
    has(&*new, &second, &[7]).await
}

async fn names_that_differ_share_nothing(harness: &dyn StoreHarness) -> Found {
    let named = |kind: &str, namespace: Option<&str>, name: &str| ObjectKey {
        kind: kind.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
        uid: "one-for-all".to_owned(),
    };
    let all = [
        named("Machine", Some("a"), "b.c"),
        named("Machine", Some("a.b"), "c"),
        named("Machine", Some("_"), "c"),
        named("Machine", None, "c"),
        named("Machine", Some("_"), "b.c"),
        named("Machine", Some("s"), "system:node"),
        named("Machine", Some("s"), "system_node"),
        named("Machine", Some("s"), "System_node"),
        named("Machine.s", None, "system_node"),
        named("Machine", Some("s"), "../s"),
        named("Machine", Some("s"), ".._s"),
    ];
    let all: Vec<&ObjectKey> = all.iter().filter(|key| harness.accepts(key)).collect();
    for (n, key) in (1..).zip(&all) {
        put(&*harness.open(key).await, key, &[record(n)]).await?;
    }
    for (n, key) in (1..).zip(&all) {
        has(&*harness.open(key).await, key, &[n]).await?;
    }
    Ok(())
}

async fn long_names_are_kept(harness: &dyn StoreHarness) -> Found {
    let long = "a".repeat(252);
    for (n, last) in [(1, "b"), (2, "c")] {
        let mut key = key(&format!("{long}{last}"), &format!("long-{n}"));
        key.namespace = Some("n".repeat(63));
        if harness.accepts(&key) {
            let store = harness.open(&key).await;
            has(&*store, &key, &[]).await?;
            put(&*store, &key, &[record(n)]).await?;
            has(&*harness.open(&key).await, &key, &[n]).await?;
        }
    }
    Ok(())
}

/// Where a store shows the object, it is this one, in a load and in the answer to a swap, and the two
/// agree.
async fn an_object_is_as_its_store_has_it(harness: &dyn StoreHarness) -> Found {
    let key = key("shown", "shown-1");
    let store = harness.open(&key).await;
    let loaded = store.load(&key, Freshness::Current).await;
    let loaded = loaded.map_err(failed("a load"))?;
    let written = store.swap(&key, &loaded.version, &[record(1)]).await;
    let written = written.map_err(failed("a swap"))?;
    match (&loaded.resource, &written.resource) {
        (None, None) => Ok(()),
        (Some(loaded), Some(written)) => ensure(
            *loaded.key() == key
                && loaded.asks_the_same(written)
                && loaded.spec() == written.spec(),
            || "the object of the swap's answer is not the one that was loaded".to_owned(),
        ),
        _ => Err("the object is shown by one of load and swap only".to_owned()),
    }
}
