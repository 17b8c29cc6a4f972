//! The provider against a real ansible-rulebook, whose jobs run on the AAP simulator.
//!
//! ```sh
//! scripts/test-rulebook.sh    # installs ansible-rulebook and runs this
//! ```
//!
//! Needs the program's path as its argument, or `ansible-rulebook` in the `PATH`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a check that panics has failed, and says so"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use provider_aap::{AapConfig, Auth};
use provider_core::{
    ConfigVersion, DeprovisionResult, Effect, ErrorKind, JobState, LaunchRequest, OperationToken,
    Provider, Resource, SystemClock, TrackedJob, TriggerError,
};
use provider_eda::{
    EdaConfig, EdaProvider, Encoding, Endpoints, Hmac, HttpConfig, JobTracking, Pacing,
    RulebookWebhook,
};
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, RunPlan, Template, World};
use serde_json::{Value, json};

const CREATE: &str = "osac-create-compute-instance";
const DELETE: &str = "osac-delete-compute-instance";
const FINALIZER: &str = "osac.openshift.io/computeinstance-aap";
const APPLIED: &str = "osac.openshift.io/reconciled-config-version";

/// A running ansible-rulebook with one webhook source.
struct Rulebook {
    child: Child,
    port: u16,
}

impl Drop for Rulebook {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Rulebook {
    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// As an orderly end of an activation.
    fn stop(&mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
    }
}

struct Lane {
    program: PathBuf,
    dir: PathBuf,
    aap: AapSim,
    /// The objects of the simulated cluster, by name.
    objects: BTreeMap<String, Value>,
    next: u128,
}

impl Lane {
    /// Starts the real program and waits until its rules are ready.
    async fn rulebook(&self, name: &str, strategy: &str, source: &Value) -> Rulebook {
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
                    "labels": ["osac-{{ event.payload.providerEvent.operationToken }}"],
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
    fn act(&mut self) {
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

    fn object(&self, name: &str) -> Resource {
        Resource::from_json(self.objects[name].clone()).unwrap()
    }

    /// A launch for a new or a known object.
    fn request(&mut self, name: &str) -> LaunchRequest {
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
    async fn wait(&mut self, eda: &EdaProvider, name: &str, job: &TrackedJob, create: bool) {
        for _ in 0..1_200 {
            self.act();
            let object = self.object(name);
            let status = if create {
                eda.provision_status(&object, job).await.unwrap()
            } else {
                eda.deprovision_status(&object, job).await.unwrap()
            };
            if status.state == JobState::Succeeded {
                let version = create.then(version);
                assert_eq!(status.reconciled_version, version);
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the job of {name} did not succeed within a minute");
    }

    async fn create(&mut self, eda: &EdaProvider, name: &str) -> TrackedJob {
        let request = self.request(name);
        let sent = eda.trigger_provision(&request).await.unwrap();
        assert_eq!(sent.initial_state, JobState::Unknown);
        tracked(&request, sent.job)
    }

    async fn delete(&mut self, eda: &EdaProvider, name: &str) -> TrackedJob {
        let request = self.request(name);
        match eda.trigger_deprovision(&request, &[]).await.unwrap() {
            DeprovisionResult::Triggered {
                job, initial_state, ..
            } => {
                assert_eq!(initial_state, JobState::Running);
                tracked(&request, job)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Create, wait, delete, wait.
    async fn whole_life(&mut self, eda: &EdaProvider, name: &str) {
        let job = self.create(eda, name).await;
        self.wait(eda, name, &job, true).await;
        let job = self.delete(eda, name).await;
        self.wait(eda, name, &job, false).await;
    }

    /// Jobs seen, and cancelled, by their label alone: no playbook leaves a mark here.
    async fn tracked(&mut self, rulebook: &Rulebook) {
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
                let status = eda.provision_status(&object, &job).await.unwrap();
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
    async fn twenty(&mut self, eda: &EdaProvider, prefix: &str) {
        let names: Vec<String> = (0..20).map(|n| format!("{prefix}-{n}")).collect();
        let requests: Vec<_> = names.iter().map(|name| self.request(name)).collect();
        let results =
            futures::future::join_all(requests.iter().map(|r| eda.trigger_provision(r))).await;
        for ((name, request), result) in names.iter().zip(&requests).zip(results) {
            let job = tracked(request, result.unwrap().job);
            self.wait(eda, name, &job, true).await;
        }
        assert_eq!(self.jobs(prefix), 20);
    }

    /// How many jobs were really launched for objects of this prefix.
    fn jobs(&self, prefix: &str) -> usize {
        let name = |run: &Value| {
            let name = run.pointer("/ansible_eda/event/payload/metadata/name");
            name.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let runs = self.aap.journal();
        let of_prefix =
            |run: &&provider_testkit::aap::Run| name(&run.extra_vars).starts_with(prefix);
        runs.iter().filter(of_prefix).count()
    }
}

fn version() -> ConfigVersion {
    ConfigVersion::of_json(&json!({"cores": 4}))
}

fn tracked(request: &LaunchRequest, job: provider_core::JobRef) -> TrackedJob {
    TrackedJob::from(job)
        .with_token(request.token.clone())
        .with_config_version(version())
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn webhook(rulebook: &Rulebook) -> RulebookWebhook {
    let base = format!("http://127.0.0.1:{}", rulebook.port);
    RulebookWebhook::new(Endpoints::new(
        format!("{base}/create-{{kind}}"),
        format!("{base}/delete-{{kind}}"),
    ))
}

fn config(webhook: RulebookWebhook, timeout: i64) -> EdaConfig {
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

fn provider(webhook: RulebookWebhook, timeout: i64) -> EdaProvider {
    EdaProvider::new(config(webhook, timeout)).unwrap()
}

async fn refused(lane: &mut Lane, eda: &EdaProvider, name: &str) -> (Effect, ErrorKind) {
    let request = lane.request(name);
    match eda.trigger_provision(&request).await.unwrap_err() {
        TriggerError::NotLaunched(error) => (error.effect(), error.kind()),
        TriggerError::Ambiguous(error) => panic!("{name} is in doubt: {error}"),
    }
}

#[tokio::main]
async fn main() {
    let program = std::env::args().nth(1);
    let dir = tempfile::tempdir().unwrap();
    let plan = RunPlan {
        queue: Duration::ZERO,
        ..RunPlan::lasting(Duration::from_millis(300))
    };
    let world = World::with(
        [CREATE, DELETE].map(|name| Template::job(name).with_labels().with_plan(plan.clone())),
    );
    let mut lane = Lane {
        program: PathBuf::from(program.as_deref().unwrap_or("ansible-rulebook")),
        dir: dir.path().to_owned(),
        aap: AapSim::start(world, Arc::new(SystemClock)).await.unwrap(),
        objects: BTreeMap::new(),
        next: 0,
    };
    let refusal = (Effect::Rejected, ErrorKind::Unauthorized);

    let token = json!({"token": "lane-token"});
    let mut rulebook = lane.rulebook("parallel", "parallel", &token).await;
    let eda = provider(webhook(&rulebook).with_token("lane-token"), 30);
    let report = eda.preflight(&["ComputeInstance".to_owned()]).await;
    assert!(report.is_ok(), "{report}");
    println!("ok: preflight");

    lane.whole_life(&eda, "vm").await;
    assert_eq!(lane.jobs("vm"), 2);
    println!("ok: create, Unknown, Succeeded; delete, Running, Succeeded");

    for token in [None, Some("wrong")] {
        let mut hook = webhook(&rulebook);
        hook.token = token.map(|token| token.to_owned().into());
        assert_eq!(
            refused(&mut lane, &provider(hook, 30), "denied").await,
            refusal
        );
    }
    println!("ok: a wrong token and a missing one are refused");

    let mut elsewhere = webhook(&rulebook).with_token("lane-token");
    elsewhere.endpoints = Endpoints::one(format!("http://127.0.0.1:{}/no-rule", rulebook.port));
    let elsewhere = provider(elsewhere, 30);
    let unmatched = lane.create(&elsewhere, "unmatched").await;
    // An event behind it that was worked off shows that its turn has passed.
    lane.whole_life(&eda, "after").await;
    let object = lane.object("unmatched");
    let status = elsewhere
        .provision_status(&object, &unmatched)
        .await
        .unwrap();
    assert_eq!(
        (status.state, lane.jobs("unmatched")),
        (JobState::Unknown, 0)
    );
    println!("ok: an event that no rule fits is taken and stays Unknown");

    lane.tracked(&rulebook).await;
    println!("ok: jobs are seen by the label that the rulebook gives them, and cancelled");

    lane.twenty(&eda, "parallel").await;
    println!("ok: 20 objects at once, parallel");

    rulebook.stop();
    // With connections of its own: on one that is left over, an event may be in doubt.
    let eda = provider(webhook(&rulebook).with_token("lane-token"), 30);
    let stopped = refused(&mut lane, &eda, "stopped").await;
    assert_eq!(stopped, (Effect::NotSent, ErrorKind::Unavailable));
    println!("ok: with the rulebook stopped, events are known not to be sent");

    for (name, encoding) in [("hex", Encoding::Hex), ("base64", Encoding::Base64)] {
        let source = json!({
            "hmac_secret": "lane-secret", "hmac_format": name, "hmac_header": "X-Lane-Signature",
        });
        let rulebook = lane.rulebook(name, "parallel", &source).await;
        let hmac = |secret: &str| {
            Hmac::new(secret.to_owned())
                .with_encoding(encoding)
                .with_header("X-Lane-Signature")
        };
        let eda = provider(webhook(&rulebook).with_hmac(hmac("lane-secret")), 30);
        lane.whole_life(&eda, name).await;
        let eda = provider(webhook(&rulebook).with_hmac(hmac("other")), 30);
        assert_eq!(refused(&mut lane, &eda, "forged").await, refusal);
        assert_eq!(
            refused(&mut lane, &provider(webhook(&rulebook), 30), "unsigned").await,
            refusal
        );
    }
    println!("ok: HMAC in hex and in base64; a wrong and a missing signature are refused");

    let mut rulebook = lane.rulebook("sequential", "sequential", &json!({})).await;
    let eda = provider(webhook(&rulebook), 120);
    lane.twenty(&eda, "sequential").await;
    println!("ok: 20 objects at once, sequential");

    let first = lane.create(&eda, "killed-0").await;
    for n in 1..4 {
        lane.create(&eda, &format!("killed-{n}")).await;
    }
    while lane.jobs("killed") == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    rulebook.kill();
    lane.wait(&eda, "killed-0", &first, true).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    lane.act();
    assert_eq!(
        lane.jobs("killed"),
        1,
        "the queue was expected to die with the process"
    );
    for n in 1..4 {
        let object = lane.object(&format!("killed-{n}"));
        let status = eda.provision_status(&object, &first).await.unwrap();
        assert_eq!(status.state, JobState::Unknown);
    }
    println!("ok: events that died in the queue stay Unknown");
    println!(
        "ansible-rulebook is satisfied: {} jobs were launched",
        lane.jobs("")
    );
}
