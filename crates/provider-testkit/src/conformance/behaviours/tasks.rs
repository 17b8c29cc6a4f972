//! Many callers at once, and callers that go away in the middle.

use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use provider_core::{
    DeprovisionResult, JobRef, JobType, LaunchRequest, OperationToken, TriggerError,
};
use tokio::task::JoinHandle;

use super::launch::launch;
use crate::conformance::case::{Case, Launched, broken, check, not_applicable};
use crate::conformance::report::{Stop, Verdict};

const CALLERS: usize = 16;
/// A call has fewer await points than this at which it really waits.
const POINTS: usize = 256;

async fn joined<T>(task: JoinHandle<T>) -> Result<T, Stop> {
    let panicked = |error| broken(format!("a task of its own ended in: {error}"));
    task.await.or_else(panicked)
}

/// Each launch has arrived once, and its answer names the job that it has started.
async fn are_apart(case: &Case, launches: Vec<(LaunchRequest, JobRef)>) -> Verdict {
    for (request, job) in launches {
        let ran = case.ran(&request.token).await;
        let [ran] = ran.as_slice() else {
            return broken(format!(
                "the launch for {} started {} jobs",
                request.resource.name(),
                ran.len()
            ));
        };
        let same_id = ran.id.as_ref().is_none_or(|id| *id == job.id);
        check(same_id, || {
            let (name, id) = (request.resource.name(), &job.id);
            format!(
                "the launch for {name} was answered with {id}; its token is at {:?}",
                ran.id
            )
        })?;
    }
    Ok(())
}

/// Launches at the same time, from several tasks, are jobs of their own, each with its own token and
/// answer.
pub async fn launches_at_once_are_kept_apart(case: &Case) -> Verdict {
    let requests: Vec<_> = (0..CALLERS)
        .map(|n| case.request(&format!("vm-{n}")))
        .collect();
    let tasks = requests.into_iter().map(|request| {
        let provider = case.shared();
        tokio::spawn(async move { (provider.trigger_provision(&request).await, request) })
    });
    let mut launches = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        match joined(task).await? {
            (Ok(result), request) => {
                let job = case.named(&request, JobType::Provision, result.job).await?;
                launches.push((request, job));
            }
            (Err(error), _) => return broken(format!("one of them ended in: {error}")),
        }
    }
    are_apart(case, launches).await
}

/// The same for deprovisions.
pub async fn deprovisions_at_once_are_kept_apart(case: &Case) -> Verdict {
    let mut asked = Vec::new();
    for n in 0..CALLERS / 2 {
        let provisioned = case.provisioned(&format!("vm-{n}")).await?;
        asked.push((case.deletion(provisioned.name())?, provisioned.history()));
    }
    let tasks = asked.into_iter().map(|(request, history)| {
        let provider = case.shared();
        let asked = async move {
            let answer = provider.trigger_deprovision(&request, &history).await;
            (answer, request, history)
        };
        tokio::spawn(asked)
    });
    let mut launches = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        match joined(task).await? {
            (Ok(DeprovisionResult::Triggered { job, .. }), request, _) => {
                let job = case.named(&request, JobType::Deprovision, job).await?;
                launches.push((request, job));
            }
            // What became of its provision was not known yet: it is asked for again.
            (Ok(DeprovisionResult::Waiting { retry_after, .. }), request, mut history) => {
                case.world().pass(retry_after).await;
                let again = case
                    .started(&request, &mut history, &mut |_| Ok(()))
                    .await?;
                let Some((job, _)) = again else {
                    return broken("one of them was skipped after it had to wait");
                };
                launches.push((request, job));
            }
            (other, ..) => return broken(format!("one of them was answered: {other:?}")),
        }
    }
    are_apart(case, launches).await
}

/// Questions at the same time, from several tasks, are each answered for their own job.
pub async fn questions_at_once_are_kept_apart(case: &Case) -> Verdict {
    let mut launches = Vec::new();
    for n in 0..CALLERS {
        launches.push(case.provision(&format!("vm-{n}")).await?);
    }
    let tasks = launches.iter().map(|launched| {
        let (provider, job) = (case.shared(), launched.tracked());
        let object = case.world().object(launched.name());
        tokio::spawn(async move { provider.status(&object, &job).await })
    });
    let tasks: Vec<_> = tasks.collect();
    for (launched, task) in launches.iter().zip(tasks) {
        let status = joined(task).await?;
        let status = status.or_else(|error| broken(format!("one of them ended in: {error}")))?;
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

/// A call that can be made again and again.
type Call<'a> = &'a (dyn Fn() -> BoxFuture<'a, Result<(), String>> + Sync);

/// Leaves a call at each of its await points, and lets it end at last: well, whatever was left before.
/// How many points it has.
async fn leave(what: &str, call: Call<'_>) -> Result<usize, Stop> {
    for polls in 1..=POINTS {
        match Polls::new(call(), polls).await {
            Some(Ok(())) => return Ok(polls - 1),
            Some(Err(text)) => {
                return broken(format!(
                    "after {what} was left {} times it ended in: {text}",
                    polls - 1
                ));
            }
            None => {}
        }
    }
    broken(format!("{what} has more than {POINTS} await points"))
}

fn none_left(points: usize) -> Verdict {
    if points > 0 {
        return Ok(());
    }
    not_applicable("it has no await points: nobody can leave it in the middle")
}

/// What was launched and left has started one job at most, and will not start another.
async fn at_most_one(case: &Case, tokens: &Mutex<Vec<OperationToken>>) -> Verdict {
    for _ in 0..5 {
        case.tick().await;
        tokio::task::yield_now().await;
    }
    let tokens = std::mem::take(&mut *lock(tokens));
    for (n, token) in tokens.iter().enumerate() {
        let count = case.ran(token).await.len();
        check(count <= 1, || {
            format!("left at point {}, it started {count} jobs", n + 1)
        })?;
    }
    Ok(())
}

fn lock(tokens: &Mutex<Vec<OperationToken>>) -> std::sync::MutexGuard<'_, Vec<OperationToken>> {
    tokens
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A caller may go away at any await point of a launch: at most one job is started, and the provider
/// goes on working.
pub async fn an_abandoned_launch_does_no_harm(case: &Case) -> Verdict {
    let tokens = Mutex::default();
    // Always for the same object: nothing may be held by the one who left.
    let points = leave("a launch", &|| {
        Box::pin(async {
            let request = case.request("vm");
            lock(&tokens).push(request.token.clone());
            let answer = launch(case, &request).await;
            answer.map(drop).map_err(|error| error.to_string())
        })
    })
    .await?;
    at_most_one(case, &tokens).await?;
    none_left(points)
}

/// The same for the questions, the cancel and the check of the configuration: afterwards the provider
/// answers as ever.
pub async fn an_abandoned_question_does_no_harm(case: &Case) -> Verdict {
    let provider = case.provider();
    let deprovision = case.deprovision("vm-2").await?;
    let launched = case.provision("vm").await?;
    let (object, job) = (case.world().object("vm"), launched.tracked());
    let query = case.query(&launched.request, JobType::Provision);
    let kinds = [object.kind().to_owned()];
    let text = |error: provider_core::ProviderError| error.to_string();
    let status = || asked(async { case.try_status(&launched).await.map(drop).map_err(text) });
    let other = || asked(async { case.try_status(&deprovision).await.map(drop).map_err(text) });
    let search = || asked(async { provider.find_launched(&query).await.map(drop).map_err(text) });
    let check = || {
        asked(async {
            provider.preflight(&kinds).await;
            Ok(())
        })
    };
    let cancel = || asked(async { provider.cancel(&object, &job).await.map(drop).map_err(text) });
    let capabilities = case.capabilities();
    let calls: [(&str, bool, Call<'_>); 5] = [
        ("a status", true, &status),
        ("the status of a deprovision", true, &other),
        ("a search", capabilities.find_launched, &search),
        ("a preflight", true, &check),
        ("a cancel", capabilities.cancel, &cancel),
    ];
    let mut points = 0;
    for (what, declared, call) in calls {
        if declared {
            points += leave(what, call).await?;
            leave("a status", &status).await?;
        }
    }
    none_left(points)
}

fn asked<'a>(
    call: impl Future<Output = Result<(), String>> + Send + 'a,
) -> BoxFuture<'a, Result<(), String>> {
    Box::pin(call)
}

/// A caller may go away at any await point of a deprovision: at most one job is started, and none while
/// a provision job is at work.
pub async fn an_abandoned_deprovision_does_no_harm(case: &Case) -> Verdict {
    let provisioned = case.provisioned("vm").await?;
    let mut points = leave_deprovision(case, &provisioned).await?;
    let at_work = case.provision("vm-2").await?;
    points += leave_deprovision(case, &at_work).await?;
    none_left(points)
}

async fn leave_deprovision(case: &Case, provision: &Launched) -> Result<usize, Stop> {
    let tokens = Mutex::default();
    let history = provision.history();
    let points = leave("a deprovision", &|| {
        Box::pin(async {
            let request = case
                .deletion(provision.name())
                .map_err(|stop| format!("{stop:?}"))?;
            lock(&tokens).push(request.token.clone());
            let asked = case.provider().trigger_deprovision(&request, &history);
            asked
                .await
                .map(drop)
                .map_err(|error: TriggerError| error.to_string())
        })
    })
    .await?;
    let started = case.has_live(provision.name(), JobType::Deprovision).await;
    let still = case.at_work(provision).await;
    check(!(still && started), || {
        "a deprovision job and a provision job are at work at once".to_owned()
    })?;
    at_most_one(case, &tokens).await?;
    Ok(points)
}

/// A future that is dropped, or left alone, after it was polled so often.
pub(super) struct Polls<F> {
    inner: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Polls<F> {
    pub(super) fn new(inner: F, polls: usize) -> Self {
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
