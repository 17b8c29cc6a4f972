//! A provider whose jobs are processes of this machine (Linux): the worked example of the guide.
//!
//! A job is a directory, named by the token of its launch: nothing is kept in memory, and a token that is
//! there already starts nothing. It holds `job`, the version that a success applies, locked as long as
//! one process of the job lives; `group`, its process group; `output`; and at last `exit`, its status.

use std::fs::{self, File, TryLockError};
use std::{io, path::PathBuf, process::Stdio, time::Duration};

use async_trait::async_trait;
use provider_core::*;
use rustix::process::{Pid, Signal, kill_process_group};

/// Runs commands of the shell as jobs: `touch` is an action. They must not leave their process group.
#[derive(Debug)]
pub(crate) struct ProcessProvider {
    pub(crate) directory: PathBuf,
    pub(crate) create: String,
    pub(crate) delete: String,
    pub(crate) touch: String,
}

const NAME: &str = "processes";
const PACE: Duration = Duration::from_millis(200);

type Answer<T> = Result<T, ProviderError>;
type Launched<T> = Result<T, TriggerError>;

/// No question has an effect, and a launch that fails here has started nothing.
#[expect(clippy::needless_pass_by_value, reason = "this way it fits map_err")]
fn failed(error: io::Error) -> ProviderError {
    let text = format!("the directory of jobs: {}", error.kind());
    ProviderError::new(Effect::NotSent, ErrorKind::Unavailable, text)
        .with_advice("check that it is there, and ours")
}

fn job_ref(token: &str) -> JobRef {
    JobRef::new(NAME, "process", token)
}

/// A file of a job; none when it is not there.
fn text_of(path: PathBuf) -> Answer<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

impl ProcessProvider {
    /// The directory of a job. Tokens are names of files, so they must look like names.
    fn job(&self, id: &str) -> Answer<PathBuf> {
        if !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Ok(self.directory.join(id));
        }
        let (effect, kind) = (Effect::NotSent, ErrorKind::Invalid);
        Err(ProviderError::new(effect, kind, "this is no job of ours"))
    }

    fn launch(&self, request: &LaunchRequest, of: JobType) -> Answer<ProvisionResult> {
        let version = request.config_version.as_ref();
        let version = version.map_or("", ConfigVersion::as_str);
        let (command, version) = match of {
            JobType::Provision => (&self.create, version),
            JobType::Deprovision => (&self.delete, ""),
            // An action applies no version.
            JobType::Action(name) if name.as_str() == "touch" => (&self.touch, ""),
            _ => return Err(ProviderError::unsupported("jobs of this type")),
        };
        let job = self.job(request.token.as_str())?;
        start(&job, command, version, request).map_err(failed)?;
        let job = job_ref(request.token.as_str());
        Ok(ProvisionResult::new(job, JobState::Pending, "started"))
    }

    /// Where the job stands; none when there is none.
    fn read(&self, of: &JobRef) -> Answer<Option<JobStatus>> {
        let job = self.job(&of.id)?;
        let Some(version) = text_of(job.join("job"))? else {
            return Ok(None);
        };
        let lock = File::open(job.join("job"))
            .map_err(failed)?
            .try_lock_shared();
        // After the lock: whoever has let it go has written all that it ever will.
        let exit = text_of(job.join("exit"))?;
        // What the command has printed stays in its directory: it may hold secrets.
        let (state, message) = match (exit.map(|code| code.parse::<u8>()), lock) {
            (Some(Ok(0)), _) => (JobState::Succeeded, String::new()),
            // A shell's words for: ended by INT, KILL, TERM.
            (Some(Ok(130 | 137 | 143)), _) => (JobState::Canceled, "ended by a signal".to_owned()),
            (Some(Ok(code)), _) => (JobState::Failed, format!("exit status {code}")),
            (Some(Err(_)), _) => (JobState::Unknown, "no exit status".to_owned()),
            (None, Ok(())) => (JobState::Failed, "killed, or never started".to_owned()),
            (None, Err(TryLockError::WouldBlock)) => (JobState::Running, String::new()),
            (None, Err(TryLockError::Error(error))) => return Err(failed(error)),
        };
        let mut status = JobStatus::new(of.clone(), state).with_message(&message);
        if state == JobState::Succeeded && !version.is_empty() {
            status.reconciled_version = Some(ConfigVersion::from_text(&version));
        }
        Ok(Some(status))
    }

    fn look(&self, of: &JobRef) -> Answer<JobStatus> {
        let (effect, kind) = (Effect::Rejected, ErrorKind::NotFound);
        let gone = || ProviderError::new(effect, kind, "this job has no directory");
        self.read(of)?.ok_or_else(gone)
    }

    fn stop(&self, of: &JobRef) -> Answer<CancelResult> {
        match self.read(of)? {
            None => return Ok(CancelResult::Gone),
            Some(end) if end.settled => return Ok(CancelResult::Finished(Box::new(end))),
            Some(_) => {}
        }
        let group = text_of(self.job(&of.id)?.join("group"))?.and_then(|text| text.parse().ok());
        // A job that has not begun has no group yet; the engine asks again.
        let Some(group) = group.and_then(Pid::from_raw) else {
            return Ok(CancelResult::NotYet { retry_after: PACE });
        };
        let _ = kill_process_group(group, Signal::TERM); // it may have ended since we looked
        Ok(CancelResult::Requested)
    }
}

/// Makes the job, whole or not at all, and starts it, unless it is there already.
fn start(job: &PathBuf, command: &str, version: &str, request: &LaunchRequest) -> io::Result<()> {
    let object = request.resource.projection(&Projection::default());
    let object = object.to_string();
    let vars = serde_json::to_string(&request.extra_vars.expose())?;
    let thread = std::thread::current().id();
    let new = job.with_extension(format!("{}-{thread:?}", std::process::id()));
    fs::create_dir_all(&new)?;
    fs::write(new.join("job"), version)?;
    let lock = File::open(new.join("job"))?;
    lock.lock()?;
    if let Err(error) = fs::rename(&new, job) {
        fs::remove_dir_all(&new)?;
        return if job.is_dir() { Ok(()) } else { Err(error) };
    }
    // From here on it is a job. Should we die before it runs, its lock is free: it has failed.
    let started = tokio::process::Command::new("/bin/sh")
        .args(["-c", include_str!("job.sh"), "job", command])
        .current_dir(job)
        .env("JOB_TOKEN", request.token.as_str())
        .env("JOB_NAME", request.resource.name())
        .env("JOB_OBJECT", object)
        .env("JOB_VARS", vars)
        .stdin(lock)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    if started.is_err() {
        fs::remove_dir_all(job)?;
    }
    started.map(drop)
}

#[async_trait]
impl Provider for ProcessProvider {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        (capabilities.cancel, capabilities.find_launched) = (true, true);
        capabilities.actions = true;
        // A launch is there before its call ends, or never.
        capabilities.visibility_window = Duration::from_secs(1);
        capabilities.poll_interval = PACE;
        capabilities
    }

    async fn trigger_provision(&self, request: &LaunchRequest) -> Launched<ProvisionResult> {
        Ok(self.launch(request, JobType::Provision)?)
    }

    async fn trigger_action(
        &self,
        action: &ActionName,
        request: &LaunchRequest,
    ) -> Launched<ProvisionResult> {
        Ok(self.launch(request, JobType::Action(*action))?)
    }

    async fn status(&self, _: &Resource, job: &TrackedJob) -> Answer<JobStatus> {
        self.look(&job.job)
    }

    async fn trigger_deprovision(
        &self,
        request: &LaunchRequest,
        history: &[JobRecord],
    ) -> Launched<DeprovisionResult> {
        let may_live = |r: &&JobRecord| r.job_type != JobType::Deprovision && r.may_be_live();
        for record in history.iter().filter(may_live) {
            if record.provider.as_deref().is_some_and(|name| name != NAME) {
                let text = "the job of another provider may be alive";
                return Err(ProviderError::new(Effect::NotSent, ErrorKind::Conflict, text).into());
            }
            // Before its name is known, a job goes by its token, which is the same.
            let token = record.token.as_ref().map(OperationToken::as_str);
            let id = record.job_id.as_deref().or(token).unwrap_or_default();
            let Some(status) = self.read(&job_ref(id))?.filter(|status| !status.settled) else {
                continue;
            };
            self.stop(&status.job)?;
            return Ok(DeprovisionResult::Waiting {
                reason: format!("attempt {} has not ended", record.attempt),
                retry_after: PACE,
                block_deletion_on_failure: true,
                provision_job: (record.job_type == JobType::Provision).then_some(status),
            });
        }
        Ok(DeprovisionResult::Triggered {
            job: self.launch(request, JobType::Deprovision)?.job,
            initial_state: JobState::Pending,
            block_deletion_on_failure: true,
            provision_job: None,
        })
    }

    async fn cancel(&self, _: &Resource, job: &TrackedJob) -> Answer<CancelResult> {
        self.stop(&job.job)
    }

    async fn find_launched(&self, query: &FindRequest) -> Answer<Vec<JobStatus>> {
        let found = self.read(&job_ref(query.token.as_str()))?;
        Ok(found.into_iter().collect())
    }

    async fn preflight(&self, _: &[String]) -> Preflight {
        let mut report = Preflight::new();
        match fs::create_dir_all(&self.directory).map_err(failed) {
            Ok(()) => report.ok("directory of jobs", "it is there"),
            Err(error) => report.error("directory of jobs", error.message(), error.advice()),
        }
        report
    }
}
