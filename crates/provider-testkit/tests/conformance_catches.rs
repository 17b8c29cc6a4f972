//! The tests of the conformance suite itself: for each behaviour there is a provider that breaks it,
//! and each is found to break that behaviour and no other.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]
#![allow(unreachable_pub, reason = "modules of one test")]

mod wrong;

use std::sync::Arc;

use provider_core::{ManualClock, Provider};
use provider_testkit::conformance::{self, Report};
use provider_testkit::{FakeProvider, Function};
use wrong::Wrong;
use wrong::harness::FakeHarness;

const SEED: u64 = 7;
/// Behaviours that can be broken in further ways, each with a provider of its own.
const VARIANTS: [&str; 30] = [
    "a_refused_launch_is_not_launched/launches",
    "a_missed_launch_is_no_job/launches",
    "a_rate_limit_tells_its_delay/launches",
    "refused_credentials_are_called_so/launches",
    "a_refused_deprovision_is_not_launched/launches",
    "the_undeclared_is_unsupported/cancels",
    "the_undeclared_is_unsupported/find",
    "the_undeclared_is_unsupported/relaunched",
    "the_undeclared_is_unsupported/acts",
    "an_action_is_a_job_like_any_other/token",
    "an_action_is_a_job_like_any_other/named",
    "an_action_is_a_job_like_any_other/end",
    "a_refused_action_is_not_launched/launches",
    "a_job_keeps_its_name/found",
    "a_restart_loses_no_job/renamed",
    "a_relaunch_is_found/token",
    "a_deprovision_waits_for_a_job_at_work/ends",
    "messages_hold_no_secret/variable",
    "errors_hold_no_secret/status",
    "errors_hold_no_secret/find",
    "errors_hold_no_secret/relaunched",
    "errors_hold_no_secret/cancel",
    "answers_hold_no_secret/waiting",
    "answers_hold_no_secret/cancel",
    "answers_hold_no_secret/preflight",
    "answers_are_bounded/launch",
    "answers_are_bounded/waiting",
    "answers_are_bounded/cancel",
    "an_abandoned_launch_does_no_harm/late",
    "an_abandoned_question_does_no_harm/deprovision",
];
/// Breaks no behaviour.
const NONE: &str = "";
/// Break none either, although they do what some backends make necessary: say that a cancel comes too early, and
/// miss no job inside of the visibility window.
const ALLOWED: [&str; 2] = ["allowed/early_cancel", "allowed/young_jobs"];

fn harness(defect: &'static str) -> FakeHarness {
    let undeclared = match defect {
        "the_undeclared_is_unsupported" | "the_undeclared_is_unsupported/cancels" => {
            vec![Function::Cancel]
        }
        "the_undeclared_is_unsupported/find" | "an_assumed_job_is_answered_for" => {
            vec![Function::FindLaunched]
        }
        "the_undeclared_is_unsupported/relaunched" => vec![Function::FindRelaunched],
        "the_undeclared_is_unsupported/acts" => vec![Function::TriggerAction],
        _ => Vec::new(),
    };
    let wrap = move |fake: Arc<FakeProvider>, clock: ManualClock| {
        Arc::new(Wrong::new(fake, clock, defect)) as Arc<dyn Provider>
    };
    FakeHarness {
        undeclared,
        assumes: defect == "an_assumed_job_is_answered_for",
        unnamed: false,
        wrap: Arc::new(wrap),
    }
}

async fn report(defect: &'static str) -> Report {
    conformance::run(&harness(defect), SEED).await
}

/// What a provider that can do everything is not asked.
const LEFT_OUT: [&str; 2] = [
    "the_undeclared_is_unsupported",
    "an_assumed_job_is_answered_for",
];

#[tokio::test(start_paused = true)]
async fn the_fake_passes() {
    for seed in 1..=5 {
        let report = conformance::run(&harness(NONE), seed).await;
        println!("{report}");
        assert!(report.broken().is_empty(), "{report}");
        assert_eq!(report.not_applicable(), LEFT_OUT);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fake_that_answers_launches_without_a_name_passes_whole() {
    let mut harness = harness(NONE);
    harness.unnamed = true;
    for seed in 1..=5 {
        let report = conformance::run(&harness, seed).await;
        assert!(report.broken().is_empty(), "{report}");
        assert_eq!(report.not_applicable(), LEFT_OUT);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_backend_makes_necessary_breaks_nothing() {
    for allowed in ALLOWED {
        let report = report(allowed).await;
        assert!(report.broken().is_empty(), "{allowed}: {report}");
        assert_eq!(report.not_applicable(), LEFT_OUT);
    }
}

/// A name that nobody ever learns, and one that changes: the complaint says which names were seen.
#[tokio::test(start_paused = true)]
async fn complaints_about_names_show_both() {
    let text = report("a_job_keeps_its_name").await.to_string();
    for part in [
        "the launch called it fake fake/1, its status calls it fake fake/1-2",
        "a job may not change its name",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let text = report("a_search_finds_its_own_launch_alone/renamed")
        .await
        .to_string();
    assert!(
        text.contains("fake fake/1 was launched, fake fake/1-2 was found"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_fake_that_can_do_little_says_so_and_passes() {
    let mut harness = harness(NONE);
    harness.undeclared = vec![
        Function::Cancel,
        Function::FindLaunched,
        Function::FindRelaunched,
        Function::TriggerAction,
    ];
    let report = conformance::run(&harness, SEED).await;
    assert!(report.broken().is_empty(), "{report}");
    let skipped = report.not_applicable();
    let about_them = |name: &&str| {
        let words = [
            "cancel", "search", "found", "copy", "adopted", "assumed", "action",
        ];
        words.iter().any(|word| name.contains(word))
    };
    assert!(skipped.iter().all(about_them), "{report}");
    assert!(report.kept().contains(&"the_undeclared_is_unsupported"));
}

#[tokio::test(start_paused = true)]
async fn every_wrong_provider_fails_the_behaviour_that_it_breaks_and_no_other() {
    let mut missed = Vec::new();
    let names = conformance::all().iter().map(|behaviour| behaviour.name);
    for defect in names.chain(VARIANTS) {
        // The one that is spoilt in several ways has a provider for each, and none without a way.
        let defect = match defect {
            "answers_hold_no_secret" => "answers_hold_no_secret/launch",
            "answers_are_bounded" => "answers_are_bounded/preflight",
            other => other,
        };
        let report = report(defect).await;
        if report.broken() != [defect.split('/').next().unwrap()] {
            missed.push(format!("{defect}: {:?}", report.broken()));
        }
    }
    assert!(missed.is_empty(), "seed {SEED}\n{}", missed.join("\n"));
    assert!(conformance::all().len() >= 25);
}

#[tokio::test(start_paused = true)]
async fn a_report_names_the_behaviour_what_was_expected_what_happened_and_the_seed() {
    let text = report("two_launches_are_two_jobs").await.to_string();
    for part in [
        "BROKEN  two_launches_are_two_jobs",
        "expected: Two launches are two jobs",
        "happened: one of them started 0 jobs",
        "seed:     7",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_panics_or_hangs_is_broken_and_the_suite_goes_on() {
    use provider_testkit::conformance::{Harness, World};

    struct Rude(bool);
    #[async_trait::async_trait]
    impl Harness for Rude {
        async fn world(&self, _seed: u64) -> Result<Box<dyn World>, String> {
            if self.0 {
                panic!("no manners");
            }
            std::future::pending().await
        }
    }
    for (panics, word) in [
        (true, "it panicked: no manners"),
        (false, "no end after 30s"),
    ] {
        let report = conformance::run(&Rude(panics), SEED).await;
        assert_eq!(report.broken().len(), conformance::all().len());
        assert!(report.to_string().contains(word), "{report}");
    }
}

#[tokio::test]
async fn each_promise_of_a_store_is_missed_when_it_is_broken() {
    use provider_testkit::conformance::store;
    use wrong::store::{Flaw, Harness};
    assert_eq!(store::check(&Harness::new(Flaw::None)).await, []);
    let all = [
        (Flaw::StartsWithARecord, "a_new_object_has_no_records"),
        (Flaw::KeepsToItself, "what_was_written_is_read_by_others"),
        (Flaw::DropsMessages, "records_come_back_as_they_were"),
        (
            Flaw::IgnoresVersions,
            "an_old_version_is_a_conflict_and_changes_nothing",
        ),
        (
            Flaw::AnswersTheOldVersion,
            "the_answer_to_a_swap_is_the_version_for_the_next",
        ),
        (
            Flaw::RefusesTheSame,
            "a_swap_of_the_same_records_is_a_write_too",
        ),
        (Flaw::LosesRaces, "of_many_at_once_one_wins"),
        (Flaw::NeverEmpties, "a_list_can_be_emptied"),
        (Flaw::IgnoresUids, "another_life_of_a_name_has_no_records"),
        (
            Flaw::WritesToWhoeverIsThere,
            "a_former_life_cannot_be_written_to",
        ),
        (Flaw::MergesNames, "names_that_differ_share_nothing"),
        (Flaw::RefusesLongNames, "long_names_are_kept"),
        (Flaw::ShowsOneSide, "an_object_is_as_its_store_has_it"),
    ];
    for (flaw, behaviour) in all {
        let broken = store::check(&Harness::new(flaw)).await;
        let found = broken.iter().any(|(name, _)| *name == behaviour);
        assert!(found, "{flaw:?}: {broken:?}");
    }
    let missed = |one: &&store::StoreBehaviour| !all.iter().any(|(_, name)| *name == one.name);
    assert!(store::all().iter().find(missed).is_none());
}

/// A harness of a store that one process shares.
struct Shared<F>(F);

#[async_trait::async_trait]
impl<F> provider_testkit::conformance::store::StoreHarness for Shared<F>
where
    F: Fn() -> Arc<dyn provider_core::lifecycle::StatusStore> + Sync,
{
    async fn open(
        &self,
        _: &provider_core::ObjectKey,
    ) -> Arc<dyn provider_core::lifecycle::StatusStore> {
        (self.0)()
    }
}

#[tokio::test]
async fn the_stores_of_memory_and_of_files_keep_the_contract() {
    use provider_testkit::conformance::store::check;
    let memory = Arc::new(provider_core::lifecycle::MemoryStore::new());
    assert_eq!(check(&Shared(|| memory.clone() as _)).await, []);
    let directory = tempfile::tempdir().unwrap();
    let open = || Arc::new(provider_testkit::FileStore::open(directory.path()).unwrap()) as _;
    assert_eq!(check(&Shared(open)).await, []);
}
