//! The real program, the controller that it launches on, and the objects of a cluster.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jiff::SignedDuration;
use provider_aap::{AapConfig, Auth};
use provider_core::{
    ConfigVersion, DeprovisionResult, JobRef, JobState, JobType, LaunchRequest, OperationToken,
    Provider, Resource, TrackedJob,
};
use provider_eda::{
    EdaConfig, EdaProvider, Endpoints, HttpConfig, JobTracking, Pacing, RulebookWebhook,
};
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, Run, RunPlan};
use serde_json::{Value, json};

pub(crate) const CREATE: &str = "osac-create-compute-instance";
pub(crate) const DELETE: &str = "osac-delete-compute-instance";
const FINALIZER: &str = "osac.openshift.io/computeinstance-aap";
const APPLIED: &str = "osac.openshift.io/reconciled-config-version";

/// A running ansible-rulebook with one webhook source.
pub(crate) struct Rulebook {
    child: Child,
    pub(crate) port: u16,
}

impl Drop for Rulebook {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Rulebook {
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// As an orderly end of an activation.
    pub(crate) fn stop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
    }
}

pub(crate) struct Lane {
    pub(crate) program: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) aap: AapSim,
    /// The objects of the simulated cluster, by name.
    pub(crate) objects: BTreeMap<String, Value>,
    pub(crate) next: u128,
}

impl Lane {
    /// Starts the real program and waits until its rules are ready.
    pub(crate) async fn rulebook(&self, name: &str, strategy: &str, source: &Value) -> Rulebook {
        let port = free_port();
        let mut webhook = json!({"host": "127.0.0.1", "port": port});
        for (key, value) in source.as_object().unwrap() {
            webhook[key] = value.clone();
        }
        let rule = |action: &str, template: &str| {
            json!({
                "name": action,
                "condition": format!(
                    "event.payload.providerEvent.action == \"{action}\" and \
                     event.meta.endpoint == \"{action}-compute-instance\""
                ),
                "action": {"run_job_template": {
                    "name": template, "organization": "Default",
                    "labels": ["event-{{ event.payload.providerEvent.operationToken }}"],
                }},
            })
        };
        // JSON is YAML.
        let rules = json!([{
            "name": name, "hosts": "all", "execution_strategy": strategy,
            "sources": [{"name": "hook", "eda.builtin.webhook": webhook}],
            "rules": [rule("create", CREATE), rule("delete", DELETE)],
        }]);
        let file = self.dir.join(format!("{name}.yml"));
        std::fs::write(&file, rules.to_string()).unwrap();
        let log = self.dir.join(format!("{name}.log"));
        let out = File::create(&log).unwrap();
        let child = Command::new(&self.program)
            .args(["-v", "--controller-url", &self.aap.url()])
            .args(["--controller-token", ADMIN_TOKEN, "-r"])
            .arg(&file)
            .env("EDA_JOB_TEMPLATE_REFRESH_DELAY", "1")
            .stdin(Stdio::null())
            .stderr(out.try_clone().unwrap())
            .stdout(out)
            .spawn()
            .expect("ansible-rulebook cannot be started");
        let mut rulebook = Rulebook { child, port };
        for _ in 0..1_200 {
            if read(&log).contains("Waiting for events") {
                return rulebook;
            }
            if let Some(status) = rulebook.child.try_wait().unwrap() {
                panic!("ansible-rulebook ended with {status}:\n{}", read(&log));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("ansible-rulebook did not start:\n{}", read(&log));
    }

    /// What the playbooks would do to their objects: the finalizer when a creation begins, the
    /// annotation when it ends, and no finalizer when a deletion ends.
    pub(crate) fn act(&mut self) {
        for run in self.aap.journal() {
            let Some(payload) = run.extra_vars.pointer("/ansible_eda/event/payload") else {
                continue;
            };
            let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str);
            let name = text("/metadata/name").unwrap_or_default();
            let Some(object) = self.objects.get_mut(name) else {
                continue;
            };
            let metadata = &mut object["metadata"];
            match text("/providerEvent/action") {
                Some("create") if metadata["finalizers"].is_null() => {
                    metadata["finalizers"] = json!([FINALIZER]);
                }
                Some("create") if run.succeeded => {
                    let version = text("/providerEvent/configVersion");
                    metadata["annotations"] = json!({ APPLIED: version });
                }
                Some("delete") if run.succeeded => metadata["finalizers"] = json!([]),
                _ => {}
            }
        }
    }

    pub(crate) fn object(&self, name: &str) -> Resource {
        Resource::from_json(self.objects[name].clone()).unwrap()
    }

    /// A launch for a new or a known object.
    pub(crate) fn request(&mut self, name: &str) -> LaunchRequest {
        self.next += 1;
        let object = self.objects.entry(name.to_owned()).or_insert_with(|| {
            json!({
                "apiVersion": "osac.openshift.io/v1alpha1", "kind": "ComputeInstance",
                "metadata": {"name": name, "namespace": "tenant", "uid": format!("uid-{name}")},
                "spec": {"cores": 4, "note": "é 😀 \"quoted\""},
            })
        });
        let object = Resource::from_json(object.clone()).unwrap();
        LaunchRequest::new(object, OperationToken::from_random(self.next))
            .with_config_version(version())
    }

    /// Polls a job until it is in this state.
    pub(crate) async fn wait(&mut self, eda: &EdaProvider, name: &str, job: &TrackedJob) {
        for _ in 0..1_200 {
            self.act();
            let object = self.object(name);
            let status = eda.status(&object, job).await.unwrap();
            if status.state == JobState::Succeeded {
                let version = (job.job_type == JobType::Provision).then(version);
                assert_eq!(status.reconciled_version, version);
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the job of {name} did not succeed within a minute");
    }

    pub(crate) async fn create(&mut self, eda: &EdaProvider, name: &str) -> TrackedJob {
        let request = self.request(name);
        let sent = eda.trigger_provision(&request).await.unwrap();
        assert_eq!(sent.initial_state, JobState::Unknown);
        tracked(JobType::Provision, &request, sent.job)
    }

    pub(crate) async fn delete(&mut self, eda: &EdaProvider, name: &str) -> TrackedJob {
        let request = self.request(name);
        match eda.trigger_deprovision(&request, &[]).await.unwrap() {
            DeprovisionResult::Triggered {
                job, initial_state, ..
            } => {
                assert_eq!(initial_state, JobState::Running);
                tracked(JobType::Deprovision, &request, job)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Create, wait, delete, wait.
    pub(crate) async fn whole_life(&mut self, eda: &EdaProvider, name: &str) {
        let job = self.create(eda, name).await;
        self.wait(eda, name, &job).await;
        let job = self.delete(eda, name).await;
        self.wait(eda, name, &job).await;
    }

    /// Jobs seen, and canceled, by their label alone: no playbook leaves a mark here.
    pub(crate) async fn tracked(&mut self, rulebook: &Rulebook) {
        let aap = AapConfig::new(self.aap.url(), Auth::token(ADMIN_TOKEN)).with_http(
            provider_aap::HttpConfig {
                proxy_from_environment: false,
                ..provider_aap::HttpConfig::default()
            },
        );
        let config = config(webhook(rulebook).with_token("lane-token"), 30)
            .with_tracking(JobTracking::new(aap));
        let eda = EdaProvider::new(config).unwrap();
        for (name, plan, end) in [
            ("seen", None, JobState::Succeeded),
            (
                "stopped-by-label",
                Some(RunPlan::endless()),
                JobState::Canceled,
            ),
        ] {
            if let Some(plan) = plan {
                self.aap.plan_next(CREATE, plan);
            }
            let job = self.create(&eda, name).await;
            let object = self.object(name);
            let mut states = vec![JobState::Unknown];
            for _ in 0..1_200 {
                let status = eda.status(&object, &job).await.unwrap();
                if states.last() != Some(&status.state) {
                    states.push(status.state);
                }
                if status.state.is_terminal() {
                    break;
                }
                if status.state == JobState::Running && end == JobState::Canceled {
                    eda.cancel(&object, &job).await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert_eq!(states.last(), Some(&end), "{states:?}");
            assert!(states.contains(&JobState::Running), "{states:?}");
        }
    }

    /// Twenty objects at once.
    pub(crate) async fn twenty(&mut self, eda: &EdaProvider, prefix: &str) {
        let names: Vec<String> = (0..20).map(|n| format!("{prefix}-{n}")).collect();
        let requests: Vec<_> = names.iter().map(|name| self.request(name)).collect();
        let results =
            futures::future::join_all(requests.iter().map(|r| eda.trigger_provision(r))).await;
        for ((name, request), result) in names.iter().zip(&requests).zip(results) {
            let job = tracked(JobType::Provision, request, result.unwrap().job);
            self.wait(eda, name, &job).await;
        }
        assert_eq!(self.jobs(prefix), 20);
    }

    /// How many jobs of this prefix were at work at once, at most.
    pub(crate) fn at_once(&self, prefix: &str) -> usize {
        let times: Vec<_> = self
            .runs(prefix)
            .iter()
            .map(|run| (run.started.unwrap(), run.stopped.unwrap()))
            .collect();
        let at = |moment| {
            times
                .iter()
                .filter(move |(from, to)| *from <= moment && moment < *to)
        };
        times
            .iter()
            .map(|(from, _)| at(*from).count())
            .max()
            .unwrap_or(0)
    }

    /// How many jobs were really launched for objects of this prefix.
    pub(crate) fn jobs(&self, prefix: &str) -> usize {
        self.runs(prefix).len()
    }

    fn runs(&self, prefix: &str) -> Vec<Run> {
        let name = |run: &Run| {
            let name = run
                .extra_vars
                .pointer("/ansible_eda/event/payload/metadata/name");
            name.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let mut runs = self.aap.journal();
        runs.retain(|run| name(run).starts_with(prefix));
        runs
    }

    /// How many jobs the event of this token has led to.
    pub(crate) fn launches_of(&self, token: &OperationToken) -> usize {
        let of_event = |run: &&Run| {
            let pointer = "/ansible_eda/event/payload/providerEvent/operationToken";
            run.extra_vars.pointer(pointer).and_then(Value::as_str) == Some(token.as_str())
        };
        self.aap.journal().iter().filter(of_event).count()
    }

    /// Waits until so many jobs were launched for objects of this prefix.
    pub(crate) async fn launched(&self, prefix: &str, jobs: usize) {
        for _ in 0..2_400 {
            if self.jobs(prefix) >= jobs {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "{} of {jobs} jobs of {prefix} were launched",
            self.jobs(prefix)
        );
    }
}

pub(crate) fn version() -> ConfigVersion {
    ConfigVersion::of_json(&json!({"cores": 4}))
}

/// The job of an event that was taken; an event is named by its token, and so at once.
fn tracked(job_type: JobType, request: &LaunchRequest, job: Option<JobRef>) -> TrackedJob {
    TrackedJob::new(job_type, job.unwrap())
        .with_token(request.token.clone())
        .with_config_version(version())
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

pub(crate) fn webhook(rulebook: &Rulebook) -> RulebookWebhook {
    let base = format!("http://127.0.0.1:{}", rulebook.port);
    RulebookWebhook::new(Endpoints::new(
        format!("{base}/create-{{kind}}"),
        format!("{base}/delete-{{kind}}"),
    ))
}

pub(crate) fn config(webhook: RulebookWebhook, timeout: i64) -> EdaConfig {
    EdaConfig::new(webhook)
        .with_http(HttpConfig {
            proxy_from_environment: false,
            request_timeout: SignedDuration::from_secs(timeout),
            ..HttpConfig::default()
        })
        .with_pacing(Pacing {
            min_interval: SignedDuration::ZERO,
            max_in_flight: 20,
            ..Pacing::default()
        })
}

pub(crate) fn provider(webhook: RulebookWebhook, timeout: i64) -> EdaProvider {
    EdaProvider::new(config(webhook, timeout)).unwrap()
}
