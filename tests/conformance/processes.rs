//! The example of a third backend: real processes, which wait until they are told how to end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use provider_core::{
    ActionName, Clock, DeprovisionResult, JobRecord, JobState, JobType, LaunchRequest,
    OperationToken, Provider, Resource, SystemClock, TrackedJob,
};
use provider_testkit::conformance::{Deed, Fault, Harness, Ran, World};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

#[path = "../../examples/processes/mod.rs"]
mod example;

use example::ProcessProvider;

/// What every job does: writes down that it runs, and waits for its end, or for that of its world. A job of
/// a stubborn world is deaf to polite signals.
const JOB: &str = r#"
if [ -e "$WORLD/stubborn" ]; then rm "$WORLD/stubborn"; trap '' TERM; fi
echo "$JOB_TOKEN $TYPE $JOB_NAME $$" >>"$WORLD/journal"
until [ -e "$WORLD/end-$JOB_TOKEN" ]; do [ -d "$WORLD" ] || exit 1; sleep 0.01; done
if [ -e "$WORLD/loud" ]; then head -c 3000000 /dev/zero | tr '\0' '\n'; env; echo failed; fi
exit $(cat "$WORLD/end-$JOB_TOKEN")
"#;

/// The action that the example has a command for.
fn touch() -> ActionName {
    "touch".parse().unwrap()
}

struct ProcessHarness;

struct ProcessWorld {
    directory: TempDir,
}

#[async_trait]
impl Harness for ProcessHarness {
    async fn world(&self, _seed: u64) -> Result<Box<dyn World>, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        Ok(Box::new(ProcessWorld { directory }))
    }
}

impl ProcessWorld {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn jobs(&self) -> PathBuf {
        self.path("jobs")
    }

    fn command(&self, job_type: JobType) -> String {
        let world = self.directory.path().display();
        format!("WORLD='{world}' TYPE={job_type}\n{JOB}")
    }

    /// The directory of jobs is there again, with all that was in it.
    fn mend(&self) {
        if self.jobs().is_file() {
            std::fs::remove_file(self.jobs()).unwrap();
            let _ = std::fs::rename(self.path("away"), self.jobs());
        }
    }

    /// The journal, once every job that was started, and not stopped before it began, is in it.
    async fn lines(&self) -> Vec<[String; 4]> {
        self.mend();
        for _ in 0..1_000 {
            let text = std::fs::read_to_string(self.path("journal")).unwrap_or_default();
            let jobs = std::fs::read_dir(self.jobs()).into_iter().flatten();
            let waiting = jobs.map(|job| job.unwrap().path()).any(|job| {
                let is = |file: &str| job.join(file).exists();
                let token = job.file_name().unwrap().to_str().unwrap();
                !(text.contains(token) || is("exit"))
            });
            if !waiting {
                let words =
                    |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
                let lines = text.lines().map(words);
                return lines.map(|words| words.try_into().unwrap()).collect();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("a job was started and does not run");
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

impl Drop for ProcessWorld {
    /// Ends what the behaviour has left at work.
    fn drop(&mut self) {
        self.mend();
        for job in std::fs::read_dir(self.jobs()).into_iter().flatten() {
            let token = job.unwrap().file_name().into_string().unwrap();
            let _ = std::fs::write(self.path(&format!("end-{token}")), "0");
        }
        let text = std::fs::read_to_string(self.path("journal")).unwrap_or_default();
        for _ in 0..500 {
            let mut pids = text.lines().filter_map(|line| line.rsplit(' ').next());
            if !pids.any(is_alive) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[async_trait]
impl World for ProcessWorld {
    fn provider(&self) -> Result<Arc<dyn Provider>, String> {
        Ok(Arc::new(ProcessProvider {
            directory: self.jobs(),
            create: self.command(JobType::Provision),
            delete: self.command(JobType::Deprovision),
            touch: self.command(JobType::Action(touch())),
        }))
    }

    fn object(&self, name: &str) -> Resource {
        super::resource(super::object(name))
    }

    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    async fn pass(&self, by: Duration) {
        self.lines().await;
        tokio::time::sleep(by.min(Duration::from_millis(10))).await;
    }

    async fn break_next(&self, fault: Fault, way: usize) -> bool {
        self.mend();
        match (fault, way) {
            (Fault::RefusesLaunch | Fault::MissesLaunch, 0)
            | (Fault::FailsRead | Fault::RefusesCancel, 0) => {
                // No directory can be made, and no file be read, where a file is.
                let _ = std::fs::rename(self.jobs(), self.path("away"));
                std::fs::write(self.jobs(), "").is_ok()
            }
            (Fault::IgnoresCancel, 0) => std::fs::write(self.path("stubborn"), "").is_ok(),
            _ => false,
        }
    }

    async fn make(&self, deed: Deed, token: &OperationToken) -> bool {
        self.mend();
        let job = self.jobs().join(token.as_str());
        let lines = self.lines().await;
        let Some(line) = lines.iter().find(|line| line[0] == token.as_str()) else {
            return false;
        };
        let end = |code: &str| {
            std::fs::write(self.path("end.new"), code).unwrap();
            let to = self.path(&format!("end-{token}"));
            std::fs::rename(self.path("end.new"), to).is_ok()
        };
        match deed {
            Deed::Succeed => end("0"),
            Deed::Fail => end("3"),
            Deed::FailLoudly => {
                std::fs::write(self.path("loud"), "").unwrap();
                end("3")
            }
            Deed::BeCanceled => {
                let pid = line[3].parse().ok().and_then(Pid::from_raw);
                kill_process(pid.unwrap(), Signal::TERM).is_ok()
            }
            Deed::BeForgotten => std::fs::remove_dir_all(job).is_ok(),
            Deed::SpeakUnknownWord => std::fs::write(job.join("exit"), "hibernating").is_ok(),
            _ => false,
        }
    }

    async fn journal(&self) -> Vec<Ran> {
        let ran = |[token, job_type, name, pid]: [String; 4]| Ran {
            live: is_alive(&pid),
            id: Some(token.clone()),
            token: OperationToken::from_text(&token),
            job_type: match job_type.as_str() {
                "provision" => JobType::Provision,
                "deprovision" => JobType::Deprovision,
                _ => JobType::Action(touch()),
            },
            object: name,
        };
        self.lines().await.into_iter().map(ran).collect()
    }

    fn action(&self) -> Option<&str> {
        Some("touch")
    }

    fn tells_credentials_beforehand(&self) -> bool {
        false
    }
}

/// There is nobody between us and our own processes whose answer could be lost, or who could refuse us.
const NO_NETWORK: [&str; 9] = [
    "a_lost_answer_is_in_doubt",
    "an_unreadable_answer_is_in_doubt",
    "a_launch_in_doubt_is_not_repeated",
    "a_rate_limit_tells_its_delay",
    "refused_credentials_are_called_so",
    "a_lost_cancel_answer_does_no_harm",
    "a_lost_deprovision_answer_is_in_doubt",
    "a_lost_action_answer_is_in_doubt",
    "a_preflight_sees_refused_credentials",
];
/// Its functions never wait.
const NO_AWAIT: [&str; 3] = [
    "an_abandoned_launch_does_no_harm",
    "an_abandoned_question_does_no_harm",
    "an_abandoned_deprovision_does_no_harm",
];

#[tokio::test]
async fn processes_pass() {
    let others = [
        "a_wake_up_names_its_job",
        "jobs_are_found_in_their_order",
        "a_copy_is_not_found",
    ];
    let left_out: [&[&str]; 5] = [
        &[super::ASSUMED],
        &super::ABOUT_RELAUNCH,
        &NO_NETWORK,
        &NO_AWAIT,
        &others,
    ];
    super::passes(&ProcessHarness, &left_out).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_processes_are_kept_apart() {
    super::passes_at_once(&ProcessHarness).await;
}

/// The shell of a job may be killed alone: its command is what counts.
#[tokio::test]
async fn a_job_without_its_shell_is_at_work_as_long_as_its_command() {
    let world = ProcessWorld {
        directory: tempfile::tempdir().unwrap(),
    };
    let provider = world.provider().unwrap();
    let token = OperationToken::from_random(1);
    let request = LaunchRequest::new(world.object("vm"), token.clone());
    let job = provider.trigger_provision(&request).await.unwrap().job;
    assert_eq!(world.journal().await.len(), 1);

    let group = world.jobs().join(token.as_str()).join("group");
    let shell = std::fs::read_to_string(group).unwrap();
    let pid = Pid::from_raw(shell.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    while is_alive(shell.trim()) {
        tokio::task::yield_now().await;
    }
    let state = async || {
        let tracked = TrackedJob::new(JobType::Provision, job.clone().unwrap());
        let status = provider.status(&request.resource, &tracked);
        status.await.unwrap().state
    };
    assert!(world.journal().await[0].live);
    assert_eq!(state().await, JobState::Running);

    let mut record = JobRecord::new(1, JobType::Provision);
    record.set_job_ref(job.clone().unwrap());
    record.state = JobState::Running;
    let delete = LaunchRequest::new(world.object("vm"), OperationToken::from_random(2));
    loop {
        let history = std::slice::from_ref(&record);
        let at_work = world.journal().await[0].live;
        match provider
            .trigger_deprovision(&delete, history)
            .await
            .unwrap()
        {
            DeprovisionResult::Waiting { .. } => world.pass(Duration::from_millis(10)).await,
            _ if at_work => panic!("beside its command"),
            _ => break,
        }
    }
    assert_eq!(state().await, JobState::Failed);
}
