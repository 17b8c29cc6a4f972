//! Jobs on disk: a directory each, named by the token of its launch.
//!
//! | file | written by | says |
//! |---|---|---|
//! | `job.json` | the launch | what the job is for |
//! | `pid` | the job, first | its process: number and start time |
//! | `claim` | the job, or who gives it up | whoever makes this directory decides whether it runs |
//! | `cancel` | a cancel | when it was first asked for |
//! | `exit` | the job, last | its exit status |

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{fs, io};

use jiff::Timestamp;
use provider_core::{ConfigVersion, JobType, LaunchRequest, Projection, clock};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

/// A job without a process after so long has none: whoever launched it died in between.
const GRACE: Duration = Duration::from_secs(3);
/// A job that has not obeyed for so long is killed.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Launch {
    pub(crate) job_type: JobType,
    pub(crate) version: Option<ConfigVersion>,
    pub(crate) at: Timestamp,
}

/// What is there of a job.
pub(crate) enum Seen {
    Starting,
    Running,
    Exited(String),
    /// Its process is gone and has not said how it ended.
    Vanished,
}

pub(crate) struct Job(PathBuf);

impl Job {
    pub(crate) fn at(directory: &Path, id: &str) -> Self {
        Self(directory.join(id))
    }

    /// Makes the job, whole or not at all; false when it is there already.
    pub(crate) fn create(&self, launch: &Launch) -> io::Result<bool> {
        let new = self.0.with_extension(format!("{}.new", std::process::id()));
        fs::create_dir_all(&new)?;
        fs::write(new.join("job.json"), serde_json::to_vec(launch)?)?;
        let made = fs::rename(&new, &self.0);
        if made.is_err() {
            fs::remove_dir_all(&new)?;
        }
        match made {
            Err(error) if !self.0.is_dir() => Err(error),
            made => Ok(made.is_ok()),
        }
    }

    /// Starts its process, in a group of its own, so that it outlives us.
    pub(crate) fn start(&self, command: &str, request: &LaunchRequest) -> io::Result<()> {
        let vars = serde_json::Value::Object(request.extra_vars.expose());
        let object = request.resource.projection(&Projection::default());
        let child = tokio::process::Command::new("/bin/sh")
            .args(["-c", include_str!("job.sh"), "job", command])
            .current_dir(&self.0)
            .env("JOB_TOKEN", request.token.as_str())
            .env("JOB_NAME", request.resource.name())
            .env("JOB_OBJECT", object.to_string())
            .env("JOB_VARS", vars.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        if child.is_err() && self.claim()? {
            fs::remove_dir_all(&self.0)?;
        }
        child.map(drop)
    }

    /// What it was launched for; none when there is no such job.
    pub(crate) fn launch(&self) -> io::Result<Option<Launch>> {
        Ok(match self.read("job.json")? {
            Some(text) => Some(serde_json::from_str(&text)?),
            None => None,
        })
    }

    pub(crate) fn look(&self, launched: Timestamp, now: Timestamp) -> io::Result<Seen> {
        if let Some(code) = self.read("exit")? {
            return Ok(Seen::Exited(code));
        }
        match self.process()? {
            Some((_, true)) => Ok(Seen::Running),
            // It may have ended since the first look.
            Some((_, false)) => Ok(self.read("exit")?.map_or(Seen::Vanished, Seen::Exited)),
            None if clock::since(now, launched) < GRACE => Ok(Seen::Starting),
            // From here on it cannot start any more, or it just has.
            None if self.claim()? => Ok(Seen::Vanished),
            None => Ok(self.process()?.map_or(Seen::Vanished, |_| Seen::Running)),
        }
    }

    /// Asks it to end: politely, and no longer so after a while.
    pub(crate) fn stop(&self, now: Timestamp) -> io::Result<()> {
        let first = match self.read("cancel")? {
            Some(text) => text.parse().unwrap_or(now),
            None => {
                fs::write(self.0.join("cancel"), now.to_string())?;
                now
            }
        };
        let signal = match clock::since(now, first) < PATIENCE {
            true => Signal::TERM,
            false => Signal::KILL,
        };
        match self.process()? {
            Some((Some(group), true)) => Ok(kill_process_group(group, signal)?),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.join("cancel").exists()
    }

    /// The end of what it has printed.
    pub(crate) fn output(&self) -> String {
        let bytes = fs::read(self.0.join("output")).unwrap_or_default();
        let end = bytes.get(bytes.len().saturating_sub(500)..);
        String::from_utf8_lossy(end.unwrap_or_default()).into_owned()
    }

    fn claim(&self) -> io::Result<bool> {
        match fs::create_dir(self.0.join("claim")) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            made => made.map(|()| true),
        }
    }

    /// Its process, and whether it is alive: the same number, started at the same moment.
    fn process(&self) -> io::Result<Option<(Option<Pid>, bool)>> {
        let Some(then) = self.read("pid")? else {
            return Ok(None);
        };
        let (pid, _, started) = parts(&then);
        let now = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let (_, state, started_now) = parts(&now);
        let alive = started_now == started && state != "Z" && !started.is_empty();
        Ok(Some((pid.parse().ok().and_then(Pid::from_raw), alive)))
    }

    fn read(&self, name: &str) -> io::Result<Option<String>> {
        match fs::read_to_string(self.0.join(name)) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Number, state and start time in a line of `/proc/PID/stat`.
fn parts(stat: &str) -> (&str, &str, &str) {
    let pid = stat.split(' ').next().unwrap_or_default();
    // The name of the program is in brackets, and may hold anything.
    let mut rest = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    (
        pid,
        rest.next().unwrap_or_default(),
        rest.nth(18).unwrap_or_default(),
    )
}
