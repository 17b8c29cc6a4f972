//! Jobs found again by the token of their launch.

use provider_core::{JobState, JobType};

use super::launch::{launch, lost};
use crate::conformance::case::{
    Case, Launched, Ways, broken, check, found_alone, not_applicable, version,
};
use crate::conformance::harness::{Deed, Fault};
use crate::conformance::report::Verdict;

/// A launch whose answer was lost is found by its token, by a provider that has just started, and
/// followed to its end.
pub async fn a_lost_launch_is_adopted(case: &mut Case) -> Verdict {
    case.needs_find()?;
    let request = case.request("vm");
    lost(case, &request).await?;
    case.restart()?;
    case.world()
        .pass(case.capabilities().visibility_window)
        .await;
    let found = case.find(&request, JobType::Provision).await?;
    let [status] = found.as_slice() else {
        return broken(format!("{} jobs were found", found.len()));
    };
    let mut record = case.intent(&request, JobType::Provision);
    record.set_job_ref(status.job.clone());
    let adopted = Launched {
        job: status.job.clone(),
        job_type: JobType::Provision,
        record,
        request,
        before: Vec::new(),
    };
    case.make(Deed::Succeed, &adopted).await?;
    let status = case.settled(&adopted).await?;
    check(
        status.state == JobState::Succeeded && status.reconciled_version == Some(version()),
        || {
            format!(
                "the adopted job succeeded, and was told as {} with {:?}",
                status.state, status.reconciled_version
            )
        },
    )
}

/// A search finds the jobs of its own launch alone.
pub async fn a_search_finds_its_own_launch_alone(case: &Case) -> Verdict {
    case.needs_find()?;
    let (mine, _other) = (case.provision("vm").await?, case.provision("vm").await?);
    case.world()
        .pass(case.capabilities().visibility_window)
        .await;
    let found = case.find(&mine.request, JobType::Provision).await?;
    found_alone(&mine, &found)
}

/// A search may be limited to what was launched from a moment on, that of the launch included.
pub async fn a_search_may_start_at_the_launch(case: &Case) -> Verdict {
    case.needs_find()?;
    let before = case.world().now();
    let launched = case.provision("vm").await?;
    case.world()
        .pass(case.capabilities().visibility_window)
        .await;
    let query = case.query(&launched.request, JobType::Provision);
    let found = case
        .provider()
        .find_launched(&query.not_before(before))
        .await;
    match found {
        Ok(found) if found.len() == 1 => Ok(()),
        Ok(found) => broken(format!("{} jobs were found", found.len())),
        Err(error) => broken(format!("it ended in: {error}")),
    }
}

/// Where nothing was launched, a search finds nothing, and that is no error.
pub async fn a_search_may_find_nothing(case: &Case) -> Verdict {
    case.needs_find()?;
    let query = case.query(&case.request("vm"), JobType::Provision);
    match case.provider().find_launched(&query).await {
        Ok(found) if found.is_empty() => Ok(()),
        Ok(found) => broken(format!("{} jobs were found", found.len())),
        Err(error) => broken(format!("it ended in: {error}")),
    }
}

/// Jobs are found in whatever state they are.
pub async fn an_ended_job_is_found_too(case: &Case) -> Verdict {
    case.needs_find()?;
    let launched = case.provisioned("vm").await?;
    let found = case.find(&launched.request, JobType::Provision).await?;
    check(found.len() == 1, || {
        format!("{} jobs were found", found.len())
    })
}

/// A launch that was sent twice is two jobs, found in the order of their launch.
pub async fn jobs_are_found_in_their_order(case: &Case) -> Verdict {
    case.needs_find()?;
    let first = case.provision("vm").await?;
    case.tick().await;
    let again = launch(case, &first.request).await;
    let second = again.or_else(|error| broken(format!("the second launch ended in: {error}")))?;
    // What really ran says how many jobs there are, and not the names in the answers.
    let ran = case.ran(first.token()).await;
    let [one, other] = ran.as_slice() else {
        return match ran.len() {
            1 => not_applicable("the backend starts one job a token, however often it is asked"),
            count => broken(format!("two launches with one token started {count} jobs")),
        };
    };
    // A launch that is answered without a name has that which the backend knows it by.
    let second = second.job.map(|job| job.id).or_else(|| other.id.clone());
    let Some(second) = second else {
        return not_applicable("neither the answers nor the journal name the jobs");
    };
    check(second != first.job.id, || {
        format!(
            "two launches started two jobs, {:?} and {:?} by the journal, and both were called {second}",
            one.id, other.id
        )
    })?;
    case.world()
        .pass(case.capabilities().visibility_window)
        .await;
    let found = case.find(&first.request, JobType::Provision).await?;
    let ids: Vec<_> = found.iter().map(|status| &status.job.id).collect();
    check(ids == [&first.job.id, &second], || {
        format!("launched {}, {second}; found {ids:?}", first.job.id)
    })
}

/// A copy that a person started is not found.
pub async fn a_copy_is_not_found(case: &Case) -> Verdict {
    case.needs_find()?;
    let launched = case.provision("vm").await?;
    case.make(Deed::BeCopied, &launched).await?;
    case.world()
        .pass(case.capabilities().visibility_window)
        .await;
    let found = case.find(&launched.request, JobType::Provision).await?;
    check(found.len() == 1, || {
        format!("{} jobs were found, with the copy", found.len())
    })
}

/// A search that fails is no proof that nothing was launched.
pub async fn a_failed_search_proves_nothing(case: &Case) -> Verdict {
    case.needs_find()?;
    let launched = case.provision("vm").await?;
    case.world()
        .pass(case.capabilities().visibility_window)
        .await;
    let mut ways = Ways::of(&[Fault::FailsRead, Fault::FloodsRead]);
    while let Some((fault, way)) = ways.next(case).await? {
        let query = case.query(&launched.request, JobType::Provision);
        let answer = case.provider().find_launched(&query).await;
        check(answer.map_or(true, |found| !found.is_empty()), || {
            format!("{fault:?}, way {way}: it said that there is no such job")
        })?;
    }
    Ok(())
}

/// Deprovision jobs are found as well.
pub async fn a_deprovision_is_found_by_its_token(case: &Case) -> Verdict {
    case.needs_find()?;
    let launched = case.deprovision("vm").await?;
    case.world()
        .pass(case.capabilities().visibility_window)
        .await;
    let found = case.find(&launched.request, JobType::Deprovision).await?;
    found_alone(&launched, &found)
}
