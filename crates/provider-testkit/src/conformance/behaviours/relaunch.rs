//! Jobs that people started as copies of ours.

use provider_core::JobState;

use crate::conformance::case::{Case, Launched, Ways, broken, check};
use crate::conformance::harness::{Deed, Fault};
use crate::conformance::report::{Stop, Verdict};

/// A launch of which a person has started a copy, which can be seen by now.
async fn copied(case: &Case) -> Result<Launched, Stop> {
    case.needs_relaunched()?;
    let launched = case.provision("vm").await?;
    case.make(Deed::BeCopied, &launched).await?;
    case.world()
        .pass(case.capabilities().visibility_window)
        .await;
    Ok(launched)
}

/// A copy that a person started is found as a relaunch, with the token that it carries and an id of its
/// own.
pub async fn a_relaunch_is_found(case: &Case) -> Verdict {
    let launched = copied(case).await?;
    let found = case.relaunched(&[&launched]).await?;
    let [copy] = found.as_slice() else {
        return broken(format!("{} relaunches were found", found.len()));
    };
    check(copy.token == *launched.token(), || {
        format!(
            "{} was relaunched, {} was told",
            launched.token(),
            copy.token
        )
    })?;
    let ended = copy.status.state.is_terminal() && copy.status.settled;
    check(copy.status.job.id != launched.job.id && !ended, || {
        format!(
            "a copy of {} is at work, and was told as {}, {}",
            launched.job, copy.status.job, copy.status.state
        )
    })
}

/// Relaunches are found in whatever state they are, and their end is told.
pub async fn a_relaunch_that_has_ended_is_found_too(case: &Case) -> Verdict {
    let launched = copied(case).await?;
    case.make(Deed::Succeed, &launched).await?;
    case.make(Deed::FinishCopies, &launched).await?;
    case.a_while().await;
    let found = case.relaunched(&[&launched]).await?;
    let [copy] = found.as_slice() else {
        return broken(format!("{} relaunches were found", found.len()));
    };
    check(copy.status.state == JobState::Succeeded, || {
        format!("it succeeded, and was told as {}", copy.status.state)
    })
}

/// Our own launches are no relaunches. Where nobody has made a copy nothing is found, and that is no
/// error.
pub async fn a_search_for_relaunches_finds_no_originals(case: &Case) -> Verdict {
    case.needs_relaunched()?;
    let launched = case.provision("vm").await?;
    case.world()
        .pass(case.capabilities().visibility_window)
        .await;
    let found = case.relaunched(&[&launched]).await?;
    check(found.is_empty(), || {
        format!("nobody has made a copy, {} were found", found.len())
    })
}

/// A search for relaunches finds copies of the launches that were asked for alone.
pub async fn a_search_for_relaunches_finds_its_own_tokens_alone(case: &Case) -> Verdict {
    case.needs_relaunched()?;
    let (mine, other) = (case.provision("vm").await?, case.provision("vm").await?);
    case.make(Deed::BeCopied, &other).await?;
    case.world()
        .pass(case.capabilities().visibility_window)
        .await;
    let found = case.relaunched(&[&mine]).await?;
    check(found.is_empty(), || {
        format!("a copy of {} was found as one of {}", other.job, mine.job)
    })
}

/// A search for relaunches that fails is no proof that there are none.
pub async fn a_failed_search_for_relaunches_proves_nothing(case: &Case) -> Verdict {
    let launched = copied(case).await?;
    let mut ways = Ways::of(&[Fault::FailsRead, Fault::FloodsRead]);
    while let Some((fault, way)) = ways.next(case).await? {
        let query = case.relaunch_query(&[&launched]);
        let answer = case.provider().find_relaunched(&query).await;
        check(answer.map_or(true, |found| !found.is_empty()), || {
            format!("{fault:?}, way {way}: it said that there is no such job")
        })?;
    }
    Ok(())
}
