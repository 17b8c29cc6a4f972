//! What the parts share: the server, operators, objects, and the judge.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::{Client, Config, ResourceExt};
use provider_core::SystemClock;
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, Run, RunPlan, Template, World as Jobs};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::proxy::{self, Proxy};

pub(crate) const FINALIZER: &str = "osac.openshift.io/provisioning";

pub(crate) struct World {
    operator: String,
    server: String,
    pub(crate) client: Client,
    /// Leads to the server itself.
    pub(crate) kubeconfig: PathBuf,
    /// What operators use.
    pub(crate) proxy: Proxy,
    pub(crate) directory: tempfile::TempDir,
    ports: AtomicU32,
}

/// One operator process.
pub(crate) struct Operator {
    child: Child,
    pub(crate) port: u16,
}

impl Operator {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("the operator has ended")
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = std::process::Command::new("kill")
            .args([name, &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// As Kubernetes ends a pod; it must end well, and soon.
    pub(crate) async fn stop(mut self) {
        self.signal("-TERM");
        let limit = Duration::from_secs(20 * PATIENCE);
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        assert!(ended.expect("it does not end").unwrap().success());
    }

    /// A counter of `/metrics`.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let url = format!("http://127.0.0.1:{}/metrics", self.port);
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or(0)
    }

    /// Resident memory in KiB: now, and at most so far.
    pub(crate) fn memory(&self) -> [u64; 2] {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        ["VmRSS:", "VmHWM:"].map(|name| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        })
    }
}

/// A controller of jobs for one part.
pub(crate) async fn jobs(create: u64, delete: u64) -> AapSim {
    let template = |action: &str, run: u64| {
        let plan = RunPlan {
            queue: Duration::from_millis(100),
            ..RunPlan::lasting(Duration::from_millis(run))
        };
        Template::job(format!("osac-{action}-compute-instance")).with_plan(plan)
    };
    let world = Jobs::with([template("create", create), template("delete", delete)]);
    AapSim::start(world, Arc::new(SystemClock)).await.unwrap()
}

impl World {
    pub(crate) async fn start(operator: String, server: String) -> Self {
        let kubeconfig = PathBuf::from(std::env::var("KUBECONFIG").expect("KUBECONFIG is not set"));
        let mut config = Config::infer().await.unwrap();
        config.read_timeout = Some(Duration::from_secs(30));
        let directory = tempfile::tempdir().unwrap();
        Self {
            operator,
            server,
            client: Client::try_from(config).unwrap(),
            proxy: proxy::start(&kubeconfig, directory.path(), true).await,
            kubeconfig,
            directory,
            ports: AtomicU32::new(0),
        }
    }

    /// Runs the script of the server: `stop-api`, `start-api`, `compact`.
    pub(crate) async fn server(&self, action: &str) {
        let status = Command::new(&self.server)
            .arg(action)
            .stdout(Stdio::null())
            .status()
            .await;
        assert!(status.unwrap().success(), "{} {action} failed", self.server);
    }

    /// The definition, as the operator prints it.
    pub(crate) async fn printed_definition(&self) -> String {
        let output = Command::new(&self.operator)
            .arg("--print-crd")
            .output()
            .await
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts an operator whose jobs are run by this controller.
    pub(crate) async fn operate(&self, aap: &AapSim) -> Operator {
        self.operate_with(aap, &self.proxy.kubeconfig, "300ms", "false")
            .await
    }

    pub(crate) async fn operate_with(
        &self,
        aap: &AapSim,
        kubeconfig: &std::path::Path,
        poll: &str,
        push: &str,
    ) -> Operator {
        self.spawn(
            kubeconfig,
            &[
                ("PROVISIONING_PROVIDER", "aap"),
                ("AAP_URL", &aap.url()),
                ("AAP_TOKEN", ADMIN_TOKEN),
                ("AAP_TEMPLATE_PREFIX", "osac"),
                ("AAP_POLL_INTERVAL", poll),
                ("AAP_PUSH", push),
                ("AAP_VISIBILITY_WINDOW", "1s"),
                ("AAP_CONFIRM_WINDOW", "1s"),
                ("AAP_CONFIRM_LIMIT", "2s"),
            ],
        )
    }

    /// Starts an operator with these variables.
    pub(crate) fn spawn(&self, kubeconfig: &Path, variables: &[(&str, &str)]) -> Operator {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let policy = self.directory.path().join("policy.yaml");
        let choices = "cancelPollInterval: 200ms\ncancelRetry: 2s\nbackoff: {base: 1s, cap: 5s}\n";
        std::fs::write(&policy, choices).unwrap();
        let n = self.ports.fetch_add(1, Ordering::Relaxed);
        let log = std::fs::File::create(self.directory.path().join(format!("operator-{n}.log")));
        let child = Command::new(&self.operator)
            .args(["--listen", &format!("127.0.0.1:{port}"), "--policy"])
            .arg(&policy)
            .env("KUBECONFIG", kubeconfig)
            .envs(variables.iter().copied())
            .envs([("NO_PROXY", "*"), ("RUST_LOG", "info")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Operator { child, port }
    }

    pub(crate) fn api(&self) -> Api<DynamicObject> {
        let resource = ApiResource {
            group: "osac.openshift.io".to_owned(),
            version: "v1alpha1".to_owned(),
            api_version: "osac.openshift.io/v1alpha1".to_owned(),
            kind: "ComputeInstance".to_owned(),
            plural: "computeinstances".to_owned(),
        };
        Api::namespaced_with(self.client.clone(), "default", &resource)
    }

    pub(crate) async fn create(&self, name: &str) -> DynamicObject {
        let object = json!({
            "apiVersion": "osac.openshift.io/v1alpha1", "kind": "ComputeInstance",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"templateID": "t", "cores": 2, "memoryGiB": 4},
        });
        let object = serde_json::from_value(object).unwrap();
        self.api()
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    pub(crate) async fn create_all(&self, prefix: &str, count: usize) {
        let names: Vec<String> = (0..count).map(|n| format!("{prefix}-{n}")).collect();
        for some in names.chunks(20) {
            futures::future::join_all(some.iter().map(|name| self.create(name))).await;
        }
    }

    pub(crate) async fn delete(&self, name: &str) {
        let deleted = self.api().delete(name, &DeleteParams::default()).await;
        if let Err(error) = deleted {
            assert!(
                matches!(&error, kube::Error::Api(s) if s.code == 404),
                "{error}"
            );
        }
    }

    pub(crate) async fn delete_all(&self, prefix: &str) {
        for object in self.list(prefix).await {
            self.delete(&object.name_any()).await;
        }
    }

    pub(crate) async fn list(&self, prefix: &str) -> Vec<DynamicObject> {
        let list = self.api().list(&ListParams::default()).await.unwrap();
        let ours = |object: &DynamicObject| object.name_any().starts_with(prefix);
        list.items.into_iter().filter(ours).collect()
    }

    /// Waits until all objects of this prefix are so, see [`eventually`].
    pub(crate) async fn until(
        &self,
        prefix: &str,
        seconds: u64,
        what: &str,
        holds: impl Fn(&[DynamicObject]) -> bool,
    ) -> Vec<DynamicObject> {
        let mut found = Vec::new();
        let held = eventually(seconds, async || {
            // The server may be away for a while.
            let Ok(list) = self.api().list(&ListParams::default()).await else {
                return false;
            };
            let all = list.items.into_iter();
            found = all.filter(|o| o.name_any().starts_with(prefix)).collect();
            holds(&found)
        });
        if held.await {
            return found;
        }
        let left = self.list(prefix).await;
        let first = left.first().map(|object| json!(object).to_string());
        let logs = self.logs();
        panic!(
            "{prefix}: not {what} within {seconds} s; {} objects, such as {first:?}\n{logs}",
            left.len()
        );
    }

    /// What the operators have logged last; their files go with this program.
    fn logs(&self) -> String {
        let operators = 0..self.ports.load(Ordering::Relaxed);
        let mut all = String::new();
        for n in operators.rev().take(2) {
            let file = self.directory.path().join(format!("operator-{n}.log"));
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            all.push_str(&format!("the end of the log of operator {n}:\n{last}\n"));
        }
        all
    }

    pub(crate) async fn until_applied(&self, prefix: &str, count: usize, seconds: u64) {
        let holds = |objects: &[DynamicObject]| {
            objects.len() == count
                && objects
                    .iter()
                    .all(|object| is(object, "Provisioned", "True"))
        };
        self.until(prefix, seconds, "applied", holds).await;
    }

    /// Waits until so many objects of this prefix were told of for this reason. What happens is told
    /// after it has happened, so that whoever has seen it may still be early.
    pub(crate) async fn until_told(&self, prefix: &str, reason: &str, count: usize) {
        let told = || self.proxy.log.events(prefix, reason);
        let all = eventually(30, async || told() >= count).await;
        assert!(
            all,
            "{prefix}: {reason} was told {} times, not {count}",
            told()
        );
    }

    pub(crate) async fn until_gone(&self, prefix: &str, seconds: u64) {
        self.until(prefix, seconds, "gone", <[DynamicObject]>::is_empty)
            .await;
    }
}

/// What takes so many seconds at most on an idle machine may take so many times longer on a busy one. What
/// hangs is found all the same.
const PATIENCE: u64 = 5;

/// Whether this comes true.
pub(crate) async fn eventually(seconds: u64, mut holds: impl AsyncFnMut() -> bool) -> bool {
    for _ in 0..seconds * PATIENCE * 10 {
        if holds().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

/// The status and the reason of a condition.
pub(crate) fn condition(object: &DynamicObject, name: &str) -> Option<(String, String)> {
    let all = object.data.pointer("/status/conditions")?.as_array()?;
    let one = all.iter().find(|one| one["type"] == name)?;
    let text = |member: &str| one[member].as_str().unwrap_or_default().to_owned();
    Some((text("status"), text("reason")))
}

pub(crate) fn is(object: &DynamicObject, name: &str, status: &str) -> bool {
    condition(object, name).is_some_and(|(is, _)| is == status)
}

pub(crate) fn records(object: &DynamicObject) -> Vec<Value> {
    let jobs = object
        .data
        .pointer("/status/jobs")
        .and_then(Value::as_array);
    jobs.cloned().unwrap_or_default()
}

/// What is wrong with what really ran; nothing, on a correct operator.
pub(crate) fn violations(aap: &AapSim, all_gone: bool) -> Vec<String> {
    violations_in(&aap.journal(), aap.overlaps(), all_gone)
}

/// The judge itself, for any journal.
pub(crate) fn violations_in(
    journal: &[Run],
    overlaps: Vec<(u64, u64)>,
    all_gone: bool,
) -> Vec<String> {
    let mut found: Vec<String> = overlaps
        .into_iter()
        .map(|(a, b)| format!("jobs {a} and {b} of one object were alive at once"))
        .collect();
    let mut tokens = BTreeSet::new();
    for run in journal {
        let token = run.extra_vars["provider_operation_token"].to_string();
        if !tokens.insert(token.clone()) {
            found.push(format!("launch {token} was carried out twice"));
        }
        if all_gone && run.stopped.is_none() {
            found.push(format!("job {} was left behind", run.id));
        }
    }
    let objects: BTreeSet<String> = journal.iter().filter_map(Run::object).collect();
    for object in objects.iter().filter(|_| all_gone) {
        let mut runs: Vec<&Run> = journal
            .iter()
            .filter(|r| r.object().as_ref() == Some(object))
            .collect();
        runs.sort_by_key(|run| run.accepted);
        let created = runs
            .iter()
            .any(|r| r.template.contains("create") && r.started.is_some());
        let deleted = runs
            .last()
            .is_some_and(|r| r.template.contains("delete") && r.succeeded);
        if created && !deleted {
            found.push(format!("{object} was let go and not deprovisioned"));
        }
    }
    found
}

pub(crate) fn judge(aap: &AapSim) {
    assert_eq!(violations(aap, true), Vec::<String>::new());
}
