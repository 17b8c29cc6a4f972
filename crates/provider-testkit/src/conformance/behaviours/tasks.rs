//! Many callers at once, and callers that go away in the middle.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::join_all;
use provider_core::JobType;

use super::launch::launch;
use crate::conformance::case::{Case, Launched, broken, check};
use crate::conformance::report::Verdict;

const CALLERS: usize = 16;
/// A call has fewer await points than this at which it really waits.
const POINTS: usize = 64;

/// Launches at the same time are jobs of their own, each with its own token and answer.
pub async fn launches_at_once_are_kept_apart(case: &Case) -> Verdict {
    let names: Vec<String> = (0..CALLERS).map(|n| format!("vm-{n}")).collect();
    let launches = join_all(names.iter().map(|name| case.provision(name))).await;
    let journal = case.journal().await;
    for launched in launches {
        let launched = launched?;
        let ran = journal.iter().find(|ran| ran.token == *launched.token());
        let Some(ran) = ran else {
            return broken(format!("the token of {} did not arrive", launched.name()));
        };
        let same_id = ran.id.as_ref().is_none_or(|id| *id == launched.job.id);
        check(same_id, || {
            let (name, id) = (launched.name(), &launched.job.id);
            format!(
                "the launch for {name} was answered with {id}; its token is at {:?}",
                ran.id
            )
        })?;
    }
    Ok(())
}

/// Questions at the same time are each answered for their own job.
pub async fn questions_at_once_are_kept_apart(case: &Case) -> Verdict {
    let mut launches = Vec::new();
    for n in 0..CALLERS {
        launches.push(case.provision(&format!("vm-{n}")).await?);
    }
    let statuses = join_all(launches.iter().map(|launched| case.status(launched))).await;
    for (launched, status) in launches.iter().zip(statuses) {
        let status = status?;
        let is_another = |other: &Launched| other.job.id == status.job.id;
        let own = status.job.id == launched.job.id;
        check(own || !launches.iter().any(is_another), || {
            format!(
                "asked about {}, told about {}",
                launched.job.id, status.job.id
            )
        })?;
    }
    Ok(())
}

/// A caller may go away at any await point of a launch: at most one job is started, and the provider
/// goes on working.
pub async fn an_abandoned_launch_does_no_harm(case: &Case) -> Verdict {
    for polls in 1..=POINTS {
        let request = case.request("vm");
        let ended = Polls::new(launch(case, &request), polls).await;
        if ended.is_some() {
            break;
        }
        let count = case.ran(&request.token).await.len();
        check(count <= 1, || {
            format!("left at point {polls}, it had started {count} jobs")
        })?;
        // The same object, right away: nothing may be held by the one who left.
        let next = case.provision("vm").await;
        next.or_else(|stop| broken(format!("after one was left at point {polls}: {stop:?}")))?;
    }
    Ok(())
}

/// The same for the other functions: afterwards the provider answers as ever.
pub async fn an_abandoned_question_does_no_harm(case: &Case) -> Verdict {
    let launched = case.provision("vm").await?;
    let after = async |what: &str, polls: usize| match case.status(&launched).await {
        Ok(_) => Ok(()),
        Err(stop) => broken(format!("after {what} was left at point {polls}: {stop:?}")),
    };
    for polls in 1..=POINTS {
        let ended = Polls::new(case.try_status(&launched), polls)
            .await
            .is_some();
        after("a status", polls).await?;
        if ended {
            break;
        }
    }
    if case.capabilities().find_launched {
        let query = case.query(&launched.request, JobType::Provision);
        for polls in 1..=POINTS {
            let search = case.provider().find_launched(&query);
            let ended = Polls::new(search, polls).await.is_some();
            after("a search", polls).await?;
            if ended {
                break;
            }
        }
    }
    if case.capabilities().cancel {
        let (object, job) = (case.world().object("vm"), launched.tracked());
        for polls in 1..=POINTS {
            let cancel = case.provider().cancel(&object, &job);
            let ended = Polls::new(cancel, polls).await.is_some();
            after("a cancel", polls).await?;
            if ended {
                break;
            }
        }
    }
    Ok(())
}

/// A caller may go away at any await point of a deprovision: at most one job is started.
pub async fn an_abandoned_deprovision_does_no_harm(case: &Case) -> Verdict {
    let provisioned = case.provisioned("vm").await?;
    let history = provisioned.history();
    for polls in 1..=POINTS {
        let request = case.deletion("vm")?;
        let asked = case.provider().trigger_deprovision(&request, &history);
        let ended = Polls::new(asked, polls).await;
        let count = case.ran(&request.token).await.len();
        check(count <= 1, || {
            format!("left at point {polls}, it had started {count} jobs")
        })?;
        match ended {
            Some(Err(error)) => {
                return broken(format!("after others were left before it: {error}"));
            }
            Some(Ok(_)) => break,
            None => {}
        }
    }
    Ok(())
}

/// A future that is dropped after it was polled so often.
struct Polls<F> {
    inner: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Polls<F> {
    fn new(inner: F, polls: usize) -> Self {
        Self {
            inner: Box::pin(inner),
            left: polls,
        }
    }
}

impl<F: Future> Future for Polls<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.left -= 1;
        match self.inner.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}
