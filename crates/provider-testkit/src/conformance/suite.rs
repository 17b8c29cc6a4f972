//! The list of all behaviours, and the one call that looks at each.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::behaviours::{
    actions, cancel, deprovision, find, launch, relaunch, status, tasks, text,
};
use super::case::Case;
use super::harness::Harness;
use super::report::{Report, Row, Stop, Verdict};

/// After so long without an end a behaviour counts as broken: a provider must not hang.
const PATIENCE: Duration = Duration::from_secs(30);

type Run = for<'a> fn(&'a mut Case) -> BoxFuture<'a, Verdict>;

/// One behaviour of the suite.
#[derive(Clone, Copy)]
pub struct Behaviour {
    /// Its name: that of its function.
    pub name: &'static str,
    /// What is expected.
    pub expected: &'static str,
    run: Run,
}

impl std::fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! behaviours {
    ($($module:ident :: $name:ident : $expected:literal,)*) => {
        &[$(Behaviour {
            name: stringify!($name),
            expected: $expected,
            run: |case| Box::pin($module::$name(case)),
        },)*]
    };
}

/// All behaviours, in the order of the report.
#[must_use]
pub const fn all() -> &'static [Behaviour] {
    behaviours![
        launch::a_launch_starts_one_job: "A launch starts one job, for its object, of its type.",
        launch::a_provision_launch_carries_its_token: "The token of a provision launch reaches the backend, letter for letter.",
        launch::a_launched_job_is_named: "The answer names the job: by the provider's own name, an id, and the id that the backend has.",
        launch::two_launches_are_two_jobs: "Two launches are two jobs: the provider does not guess that one is meant.",
        launch::a_refused_launch_is_not_launched: "A launch that the backend refused was not carried out, and is said not to have been.",
        launch::a_missed_launch_is_no_job: "A launch that was not carried out is never told as one that was. (To be in doubt is allowed.)",
        launch::a_lost_answer_is_in_doubt: "A launch whose answer was lost is in doubt.",
        launch::an_unreadable_answer_is_in_doubt: "A launch whose answer makes no sense is in doubt.",
        launch::a_launch_in_doubt_is_not_repeated: "A launch in doubt is not sent a second time.",
        launch::a_rate_limit_tells_its_delay: "A rate limit is told with its delay, and nothing was launched.",
        launch::refused_credentials_are_called_so: "Refused credentials are called so, and nothing was launched.",
        launch::a_provider_does_not_change_what_it_is: "A provider is the same thing whenever it is asked what it is.",
        launch::the_undeclared_is_unsupported: "What is not declared answers that it is unsupported, and did nothing.",
        status::a_job_at_work_has_not_ended: "A job at work has not ended.",
        status::a_success_is_seen: "A job that succeeds is seen to.",
        status::a_failure_is_seen: "A job that fails is seen to.",
        status::a_cancel_by_others_is_seen: "A job that somebody else cancels is seen to be canceled.",
        status::a_success_reports_its_version: "A provision that succeeded reports the version that it was launched with.",
        status::only_a_success_reports_a_version: "A provision job at work, or one that failed, reports no version.",
        status::a_deprovision_is_seen_to_its_end: "A deprovision that succeeds is seen to.",
        status::a_deprovision_reports_no_version: "A deprovision reports no version as applied.",
        status::an_unknown_word_is_no_end: "A word that the provider does not know is neither an end nor an error.",
        status::a_forgotten_job_is_not_found: "A job that the backend has forgotten is not found.",
        status::a_failed_question_is_no_verdict: "A question that fails says nothing about the job: neither that it ended nor that it is gone.",
        status::a_failed_question_is_forgotten: "After a question that failed, the next one is answered.",
        status::questions_start_nothing: "Questions start nothing.",
        status::a_job_keeps_its_name: "A job has one name for all its life: from its launch on, at every look and in every search.",
        status::a_restart_loses_no_job: "A provider that has just started sees the jobs of the one before, under the same names.",
        status::a_restart_loses_no_deprovision: "The same for deprovision jobs.",
        status::an_assumed_job_is_answered_for: "A launch in doubt that is taken as sent is answered for, under its token.",
        status::a_wake_up_names_its_job: "A wake-up names a job as its launch did.",
        status::polls_are_put_off_for_nobody_who_is_not_told: "Only while somebody listens to wake-ups may a job say that it need not be asked about.",
        cancel::a_cancel_stops_the_job: "A cancel stops a job at work, and its end is seen.",
        cancel::a_cancel_may_be_repeated: "A cancel may be asked for again.",
        cancel::a_late_cancel_says_how_it_ended: "The cancel of a job that has ended says how it ended.",
        cancel::a_cancel_of_a_forgotten_job_says_so: "The cancel of a job that the backend has forgotten says so.",
        cancel::a_refused_cancel_is_an_error: "A refused cancel of a job at work is an error, or comes too early: it was not taken, and the job has neither ended nor gone.",
        cancel::a_lost_cancel_answer_does_no_harm: "A cancel whose answer was lost may be asked for again, and its end is seen.",
        cancel::a_cancel_may_meet_the_end: "A cancel at the moment of the end says what is told afterwards.",
        cancel::a_cancel_that_loses_is_not_believed: "A job that goes on after a cancel is not believed to have stopped, and its end is what counts.",
        find::a_lost_launch_is_adopted: "A launch whose answer was lost is found by its token, by a provider that has just started, and followed to its end.",
        find::a_search_finds_its_own_launch_alone: "A search finds the jobs of its own launch alone.",
        find::a_search_may_start_at_the_launch: "A search from the moment of the launch on finds it.",
        find::a_search_may_find_nothing: "Where nothing was launched, a search finds nothing, and that is no error.",
        find::an_ended_job_is_found_too: "Jobs are found in whatever state they are.",
        find::jobs_are_found_in_their_order: "A launch that was sent twice is two jobs, found in the order of their launch.",
        find::a_copy_is_not_found: "A copy that a person started is not found.",
        find::a_failed_search_proves_nothing: "A search that fails is no proof that nothing was launched.",
        find::a_deprovision_is_found_by_its_token: "Deprovision jobs are found as well.",
        relaunch::a_relaunch_is_found: "A copy that a person started is found as a relaunch, with the token that it carries and an id of its own.",
        relaunch::a_relaunch_that_has_ended_is_found_too: "Relaunches are found in whatever state they are, and their end is told.",
        relaunch::a_search_for_relaunches_finds_no_originals: "Our own launches are no relaunches. Where nobody has made a copy nothing is found, and that is no error.",
        relaunch::a_search_for_relaunches_finds_its_own_tokens_alone: "A search for relaunches finds copies of the launches that were asked for alone.",
        relaunch::a_failed_search_for_relaunches_proves_nothing: "A search for relaunches that fails is no proof that there are none.",
        deprovision::a_deprovision_waits_for_a_job_at_work: "While a provision job is at work no deprovision is started. Once it has ended, one is.",
        deprovision::a_deprovision_waits_for_a_launch_in_doubt: "The same for a launch whose answer was lost.",
        deprovision::a_deprovision_waits_after_a_cancel_that_lost: "The same for a job that goes on although the engine has asked for its cancel.",
        deprovision::a_deprovision_needs_no_history: "What was provisioned is deprovisioned although its records were lost: an object that comes from a backup has none.",
        deprovision::a_canceled_provision_clears_the_way: "A canceled provision job is out of the way, sooner or later.",
        deprovision::waiting_starts_nothing: "An answer that says to wait has started nothing.",
        deprovision::a_deprovision_launch_carries_its_token: "The token of a deprovision launch reaches the backend, letter for letter.",
        deprovision::a_lost_deprovision_answer_is_in_doubt: "A deprovision launch whose answer was lost is in doubt.",
        deprovision::a_refused_deprovision_is_not_launched: "A refused deprovision launch was not carried out, and is said not to have been.",
        actions::an_action_is_a_job_like_any_other: "The launch of an action starts one job, of its type, for its object, with its token. Its name is told, and it is seen to its end.",
        actions::an_action_reports_no_version: "An action changes nothing of the configuration: its success reports no version.",
        actions::a_restart_loses_no_action: "A provider that has just started sees the actions of the one before.",
        actions::a_cancel_stops_an_action: "A cancel stops an action at work, and its end is seen.",
        actions::an_action_is_found_by_its_token: "Actions are found by their token as well.",
        actions::a_deprovision_waits_for_an_action: "While an action is at work no deprovision is started. Once it has ended, one is.",
        actions::a_lost_action_answer_is_in_doubt: "The launch of an action whose answer was lost is in doubt.",
        actions::a_refused_action_is_not_launched: "An action that was refused was not carried out, and is said not to have been.",
        text::messages_are_bounded: "The messages of statuses are bounded and on one line, whatever the job says.",
        text::messages_hold_no_secret: "The texts of statuses hold no credential and no secret variable, whatever the job says.",
        text::errors_hold_no_secret: "Errors hold no credential and no secret variable, even when the backend repeats them.",
        text::answers_hold_no_secret: "Answers to launches, deprovisions, cancels and checks hold no credential and no secret variable.",
        text::answers_are_bounded: "Their texts are bounded and on one line.",
        text::debug_holds_no_secret: "The provider's own `Debug` holds no credential and no variable of a launch.",
        text::a_preflight_starts_nothing: "A check of the configuration starts nothing.",
        text::a_preflight_likes_what_works: "A check of a configuration that works finds nothing wrong.",
        text::a_preflight_sees_refused_credentials: "A check of refused credentials says so.",
        tasks::launches_at_once_are_kept_apart: "Launches at the same time are jobs of their own, each with its own token and answer.",
        tasks::deprovisions_at_once_are_kept_apart: "The same for deprovisions.",
        tasks::questions_at_once_are_kept_apart: "Questions at the same time are each answered for their own job.",
        tasks::an_abandoned_launch_does_no_harm: "A caller may go away at any await point of a launch: at most one job is started, and the provider goes on working.",
        tasks::an_abandoned_question_does_no_harm: "The same for the questions, the cancel and the check: afterwards the provider answers as ever.",
        tasks::an_abandoned_deprovision_does_no_harm: "A caller may go away at any await point of a deprovision: at most one job is started, and none beside a provision.",
    ]
}

/// Looks at every behaviour of a provider, each in a world of its own.
///
/// A behaviour that panics, or that has not ended after half a minute, is broken as well.
pub async fn run(harness: &dyn Harness, seed: u64) -> Report {
    let mut rows = Vec::new();
    for behaviour in all() {
        rows.push(run_one(behaviour, harness, seed).await);
    }
    Report { seed, rows }
}

/// Looks at one behaviour.
pub async fn run_one(behaviour: &Behaviour, harness: &dyn Harness, seed: u64) -> Row {
    let looked = async {
        let mut case = Case::start(harness, seed).await?;
        (behaviour.run)(&mut case).await
    };
    let guarded = AssertUnwindSafe(tokio::time::timeout(PATIENCE, looked)).catch_unwind();
    let verdict = match guarded.await {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(_)) => Err(Stop::Broken(format!("no end after {PATIENCE:?}"))),
        Err(panic) => Err(Stop::Broken(format!("it panicked: {}", said(&*panic)))),
    };
    Row {
        name: behaviour.name,
        expected: behaviour.expected,
        verdict,
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a word")
}
