//! The questions that behaviours ask about jobs, and the one request that they make: the cancel.

use std::time::Duration;

use provider_core::{CancelResult, FindRequest, JobStatus, JobType, LaunchRequest, ProviderError};

use super::case::{Case, Launched, ROUNDS, broken};
use super::report::Stop;

impl Case {
    pub(super) async fn try_status(&self, of: &Launched) -> Result<JobStatus, ProviderError> {
        let object = self.world().object(of.name());
        self.provider().status(&object, &of.tracked()).await
    }

    pub(super) async fn status(&self, of: &Launched) -> Result<JobStatus, Stop> {
        match self.try_status(of).await {
            Ok(status) => Ok(status),
            Err(error) => broken(format!(
                "the status of {} could not be read: {error}",
                of.job
            )),
        }
    }

    /// The status once it is terminal and the backend will not take it back.
    pub(super) async fn settled(&self, of: &Launched) -> Result<JobStatus, Stop> {
        let mut last = String::new();
        for _ in 0..ROUNDS {
            let status = self.status(of).await?;
            if status.state.is_terminal() && status.settled {
                return Ok(status);
            }
            last = format!(
                "{} had not settled; its state was {}",
                of.called(&status.job),
                status.state
            );
            self.tick().await;
        }
        broken(format!("after {ROUNDS} polls {last}"))
    }

    /// A cancel, asked for again after the delay as long as it comes too early.
    pub(super) async fn try_cancel(&self, of: &Launched) -> Result<CancelResult, ProviderError> {
        let object = self.world().object(of.name());
        let tracked = of.tracked();
        for _ in 1..ROUNDS {
            match self.provider().cancel(&object, &tracked).await {
                Ok(CancelResult::NotYet { retry_after }) => {
                    self.world()
                        .pass(retry_after.max(Duration::from_secs(1)))
                        .await;
                }
                other => return other,
            }
        }
        self.provider().cancel(&object, &tracked).await
    }

    /// A cancel without trouble.
    pub(super) async fn cancel(&self, of: &Launched) -> Result<CancelResult, Stop> {
        match self.try_cancel(of).await {
            Ok(CancelResult::NotYet { .. }) => broken(format!(
                "asked {ROUNDS} times, with the delays that it asked for, the cancel of {} still came too \
                 early",
                of.job
            )),
            Ok(result) => Ok(result),
            Err(error) => broken(format!(
                "the cancel of {} ended in: {error} (a backend that cannot cancel a job at this moment \
                 answers NotYet)",
                of.job
            )),
        }
    }

    pub(super) fn query(&self, request: &LaunchRequest, job_type: JobType) -> FindRequest {
        FindRequest::new(request.resource.clone(), job_type, request.token.clone())
    }

    pub(super) async fn find(
        &self,
        request: &LaunchRequest,
        job_type: JobType,
    ) -> Result<Vec<JobStatus>, Stop> {
        let query = self.query(request, job_type);
        match self.provider().find_launched(&query).await {
            Ok(found) => Ok(found),
            Err(error) => broken(format!("a search without trouble ended in: {error}")),
        }
    }
}
