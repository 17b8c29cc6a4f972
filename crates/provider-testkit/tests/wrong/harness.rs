//! Worlds around the fake provider, with a wrapper of the caller's around it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use provider_core::clock::Elapsed as _;
use provider_core::{
    Clock, Effect, ErrorKind, JobState, ManualClock, OnAmbiguity, OperationToken, Provider,
    ProviderError, Resource,
};
use provider_testkit::conformance::{Deed, Fault, Harness, Ran, SECRET, World};
use provider_testkit::{FakeProvider, Function, Trouble};
use serde_json::json;

pub const CREDENTIAL: &str = "credential-of-the-fake";

/// Builds what is tested around a fake, on the clock of its world: called again for every restart.
pub type Wrap = dyn Fn(Arc<FakeProvider>, ManualClock) -> Arc<dyn Provider> + Send + Sync;

#[derive(Clone)]
pub struct FakeHarness {
    pub undeclared: Vec<Function>,
    /// Launches in doubt are taken as sent.
    pub assumes: bool,
    /// Launches are answered without the name of their job, which a search shows after a while.
    pub unnamed: bool,
    pub wrap: Arc<Wrap>,
}

struct FakeWorld {
    fake: Arc<FakeProvider>,
    wrap: Arc<Wrap>,
    clock: ManualClock,
    /// When a job was first there, by its id.
    born: Mutex<BTreeMap<u64, Timestamp>>,
}

/// So long a job without a name is not found: a part of the declared window.
const UNSEEN: Duration = Duration::from_secs(20);

#[async_trait]
impl Harness for FakeHarness {
    async fn world(&self, _seed: u64) -> Result<Box<dyn World>, String> {
        let fake = FakeProvider::new("fake").ending_after(0);
        let fake = fake.with_capabilities(|capabilities| {
            capabilities.cancel = !self.undeclared.contains(&Function::Cancel);
            capabilities.find_launched = !self.undeclared.contains(&Function::FindLaunched);
            capabilities.actions = !self.undeclared.contains(&Function::TriggerAction);
            capabilities.find_relaunched = !self.undeclared.contains(&Function::FindRelaunched);
            if self.assumes {
                let kind = "assumed".into();
                capabilities.on_ambiguity = OnAmbiguity::AssumeSent { kind };
            }
        });
        let fake = match self.unnamed {
            true => fake.naming_jobs_after(u32::MAX),
            false => fake,
        };
        let start: Timestamp = "2026-11-23T04:00:00Z".parse().unwrap();
        Ok(Box::new(FakeWorld {
            fake: Arc::new(fake),
            wrap: self.wrap.clone(),
            clock: ManualClock::new(start),
            born: Mutex::default(),
        }))
    }
}

const LAUNCHES: [Function; 3] = [
    Function::TriggerProvision,
    Function::TriggerDeprovision,
    Function::TriggerAction,
];
const QUESTIONS: [Function; 3] = [
    Function::Status,
    Function::FindLaunched,
    Function::FindRelaunched,
];

fn fails(effect: Effect, kind: ErrorKind, text: &str) -> ProviderError {
    ProviderError::new(effect, kind, text)
}

#[async_trait]
impl World for FakeWorld {
    fn provider(&self) -> Result<Arc<dyn Provider>, String> {
        Ok((self.wrap)(self.fake.clone(), self.clock.clone()))
    }

    fn object(&self, name: &str) -> Resource {
        let object = json!({
            "kind": "ComputeInstance", "spec": {"cores": 4},
            "metadata": {"name": name, "namespace": "tenant", "uid": format!("uid-{name}")},
        });
        Resource::from_json(object).unwrap()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn pass(&self, by: Duration) {
        let mut born = self.born.lock().unwrap();
        for job in self.fake.jobs() {
            born.entry(job.id).or_insert(self.clock.now());
        }
        self.clock.advance(by);
        let seen = |at: &Timestamp| self.clock.now().elapsed_since(*at) >= UNSEEN;
        for (id, _) in born.iter().filter(|(_, at)| seen(at)) {
            self.fake.hide(*id, false);
        }
    }

    async fn break_next(&self, fault: Fault, way: usize) -> bool {
        if way > 0 {
            return false;
        }
        let launch = |trouble| self.fake.trouble_in(&LAUNCHES, trouble);
        let refused = |kind, text| Trouble::Fails(fails(Effect::Rejected, kind, text));
        match fault {
            Fault::RefusesLaunch => launch(refused(ErrorKind::Invalid, "refused")),
            Fault::Echoes => launch(refused(ErrorKind::Invalid, "refused: …")),
            Fault::MissesLaunch => {
                let error = fails(Effect::NotSent, ErrorKind::Unavailable, "no connection");
                launch(Trouble::Fails(error));
            }
            Fault::LosesLaunchAnswer => launch(Trouble::LosesAnswer),
            Fault::GarblesLaunchAnswer => launch(Trouble::GarblesAnswer),
            Fault::RateLimits(delay) => {
                let error = fails(Effect::Rejected, ErrorKind::RateLimited, "too many");
                launch(Trouble::Fails(error.with_retry_after(delay)));
            }
            Fault::RefusesCredentials => {
                launch(refused(ErrorKind::Unauthorized, "who are you?"));
                let again = refused(ErrorKind::Unauthorized, "who are you?");
                self.fake.trouble(Function::Preflight, again);
            }
            Fault::FailsRead => {
                let error = fails(Effect::MaybeSent, ErrorKind::Unavailable, "it is down");
                self.fake.trouble_in(&QUESTIONS, Trouble::Fails(error));
            }
            Fault::FloodsRead => {
                let error = fails(Effect::Unreadable, ErrorKind::Protocol, "a page");
                self.fake.trouble_in(&QUESTIONS, Trouble::Fails(error));
            }
            Fault::RefusesCancel => {
                let error = refused(ErrorKind::Conflict, "not now");
                self.fake.trouble(Function::Cancel, error);
            }
            Fault::LosesCancelAnswer => self.fake.trouble(Function::Cancel, Trouble::LosesAnswer),
            Fault::IgnoresCancel => self.fake.next_ignores_cancels(),
            _ => return false,
        }
        true
    }

    async fn make(&self, deed: Deed, token: &OperationToken) -> bool {
        let jobs = self.fake.jobs();
        let Some(job) = jobs.iter().find(|job| job.token == *token) else {
            return false;
        };
        match deed {
            Deed::Succeed if job.state.is_terminal() => {}
            Deed::Succeed => {
                self.fake.end(job.id, JobState::Succeeded);
                self.fake.hint(job.id);
            }
            Deed::Fail => self.fake.end(job.id, JobState::Failed),
            Deed::FailLoudly => {
                let lines = "line\n".repeat(1 << 20);
                self.fake
                    .say(job.id, format!("password: {SECRET}\n{lines}"));
                self.fake.end(job.id, JobState::Failed);
            }
            Deed::BeCanceled => self.fake.end(job.id, JobState::Canceled),
            Deed::BeForgotten => self.fake.purge(job.id),
            Deed::SpeakUnknownWord => self.fake.end(job.id, JobState::Unknown),
            Deed::BeCopied => return self.fake.copy(job.id).is_some(),
            Deed::FinishCopies => {
                for copy in jobs
                    .iter()
                    .filter(|other| other.token == *token && other.id > job.id)
                {
                    self.fake.end(copy.id, JobState::Succeeded);
                }
            }
            _ => return false,
        }
        true
    }

    async fn journal(&self) -> Vec<Ran> {
        let ran = |job: provider_testkit::FakeJob| Ran {
            id: Some(job.id.to_string()),
            token: job.token,
            job_type: job.job_type,
            object: job.object.name,
            live: !job.state.is_terminal(),
        };
        self.fake.jobs().into_iter().map(ran).collect()
    }

    fn action(&self) -> Option<&str> {
        Some("restart")
    }

    fn secrets(&self) -> Vec<String> {
        vec![CREDENTIAL.to_owned()]
    }
}
