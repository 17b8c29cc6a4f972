//! Every example runs, ends well, and says so.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has failed"
)]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use provider_core::SystemClock;
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, Ending, RunPlan, Template, World};
use provider_testkit::eda::{Cluster, EdaSim, Marks, Rule, Rulebook, Webhook};
use serde_json::Value;

/// The examples are built beside the tests.
fn example(name: &str) -> Command {
    let mut directory: PathBuf = std::env::current_exe().unwrap();
    while !directory.join("examples").is_dir() {
        assert!(
            directory.pop(),
            "no directory of examples; build them with `cargo build --examples`"
        );
    }
    let program = directory.join("examples").join(name);
    assert!(
        program.exists(),
        "{} is not built; run `cargo build --examples`",
        program.display()
    );
    let mut command = Command::new(program);
    let ours = |name: &str| name.starts_with("AAP_") || name.starts_with("EDA_");
    for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command
}

fn run(name: &str, flags: &[&str]) -> Output {
    example(name).args(flags).output().unwrap()
}

fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}\n{text}\n{error}",
        output.status
    );
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// One sentence on standard error, and nothing that looks like a crash.
fn complaint(output: &Output) -> String {
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.trim().lines().count(), 1, "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

#[test]
fn lifecycle() {
    let line = last_line(&run("lifecycle", &["--json"]));
    let expected = serde_json::json!({
        "result": "ok", "provisioned": 1, "deprovisioned": 2, "canceled_before_deprovision": 1,
    });
    assert_eq!(line, expected);
}

#[test]
fn lifecycle_in_plain_lines() {
    let output = run("lifecycle", &[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("Canceling") && text.trim_end().ends_with("2 deprovisioned."),
        "{text}"
    );
}

#[test]
fn create_compute_instance() {
    assert_eq!(
        last_line(&run("create_compute_instance", &["--json"]))
            .get("result")
            .unwrap(),
        "ok"
    );
}

#[test]
fn delete_compute_instance() {
    let line = last_line(&run("delete_compute_instance", &["--json"]));
    assert_eq!(line.get("ground").unwrap(), "Deprovisioned");
}

#[test]
fn test_compute_instance() {
    let line = last_line(&run(
        "test_compute_instance",
        &["--provider", "aap,eda", "--repeat", "2", "--json"],
    ));
    assert_eq!(line.get("result").unwrap(), "ok");
    let phases = line.get("phases").unwrap().as_array().unwrap();
    let names = phases.iter().map(|row| {
        let text = |name: &str| row.get(name).unwrap().as_str().unwrap().to_owned();
        (text("provider"), text("action"))
    });
    let expected = [
        ("aap", "create"),
        ("aap", "delete"),
        ("eda", "create"),
        ("eda", "delete"),
    ];
    assert!(names.eq(expected.map(|(p, a)| (p.to_owned(), a.to_owned()))));
    // What the simulator makes of its plans: half a second in the queue, three at work.
    for row in phases
        .iter()
        .filter(|row| row.get("action").unwrap() == "create")
    {
        assert_eq!(row.get("jobs").unwrap(), 2);
        let seconds = |pointer: &str| row.pointer(pointer).unwrap().as_f64().unwrap();
        assert!(seconds("/queuedSeconds/min") >= 0.4, "{row}");
        assert!(seconds("/runningSeconds/median") >= 2.9, "{row}");
        assert!(
            seconds("/totalSeconds/max") >= seconds("/runningSeconds/max"),
            "{row}"
        );
    }
}

/// A backend that answers launches without a name, proved whole: nothing is left out that could be looked at.
#[test]
fn dispatch_provider() {
    for seed in ["1", "2"] {
        let line = last_line(&run("dispatch_provider", &["--json", "--seed", seed]));
        assert_eq!(line.get("result").unwrap(), "ok", "{line}");
        assert_eq!(line.get("broken").unwrap().as_array().unwrap().len(), 0);
        let kept = line.get("kept").unwrap().as_u64().unwrap();
        assert!(kept >= 70, "{line}");
    }
}

/// It is copied by whoever has such a backend.
#[test]
fn dispatch_provider_has_under_200_lines() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/dispatch");
    for file in ["mod.rs", "github.rs", "runs.rs"] {
        let text = std::fs::read_to_string(directory.join(file)).unwrap();
        assert!(text.lines().count() < 200, "{file}");
    }
}

/// Without tracking, the end is seen on the object, and the phases are not.
#[test]
fn test_compute_instance_without_tracking() {
    let line = last_line(&run(
        "test_compute_instance",
        &["--provider", "eda", "--untracked", "--json"],
    ));
    assert!(line.pointer("/phases/0/runningSeconds").unwrap().is_null());
    assert!(
        line.pointer("/phases/0/totalSeconds/median")
            .unwrap()
            .as_f64()
            .unwrap()
            >= 3.0
    );
}

/// Against backends outside of the program, as a person would run it.
#[tokio::test(flavor = "multi_thread")]
async fn test_compute_instance_on_real_endpoints() {
    let plan = RunPlan::lasting(Duration::from_millis(200));
    let templates = ["create", "delete"].map(|action| {
        Template::job(format!("mine-{action}-compute-instance")).with_plan(plan.clone())
    });
    let aap = AapSim::start(World::with(templates), Arc::new(SystemClock))
        .await
        .unwrap();
    let flags = |url: &str| {
        let mut command = example("test_compute_instance");
        command.args([
            "--real",
            "--url",
            url,
            "--token",
            ADMIN_TOKEN,
            "--prefix",
            "mine",
            "--json",
        ]);
        command
            .env("AAP_POLL_INTERVAL", "100ms")
            .env("NO_PROXY", "*");
        command
    };
    let mut good = flags(&aap.url());
    let output = tokio::task::spawn_blocking(move || good.output().unwrap())
        .await
        .unwrap();
    assert_eq!(last_line(&output).get("result").unwrap(), "ok");
    assert_eq!(aap.journal().len(), 2);
    // A job that fails is named with its reason.
    let ending = Ending::Failed {
        task: "Create the machine".to_owned(),
        message: "no quota left".to_owned(),
    };
    let failing = RunPlan::lasting(Duration::from_millis(200)).ending(ending);
    aap.plan_next("mine-create-compute-instance", failing);
    let mut bad = flags(&aap.url());
    bad.env("AAP_DIAGNOSE", "true");
    let output = tokio::task::spawn_blocking(move || bad.output().unwrap())
        .await
        .unwrap();
    let text = complaint(&output);
    assert!(text.contains("no quota left"), "{text}");
    // The end of an event is seen on the object, so without one it cannot be tested.
    let text = complaint(&run(
        "test_compute_instance",
        &["--real", "--provider", "eda"],
    ));
    assert!(text.contains("--observe"), "{text}");
}

/// The object of a cluster that is one file, on which the simulated playbooks leave their marks.
struct ObjectFile(PathBuf);

impl Cluster for ObjectFile {
    fn edit(&self, _: &str, _: &str, change: &mut dyn FnMut(&mut Value)) -> bool {
        let mut object = serde_json::from_slice(&std::fs::read(&self.0).unwrap()).unwrap();
        change(&mut object);
        // Whoever reads meanwhile sees the whole of the one or of the other.
        let new = self.0.with_extension("new");
        std::fs::write(&new, object.to_string()).unwrap();
        std::fs::rename(new, &self.0).unwrap();
        true
    }
}

/// Events alone, and an object that is observed: as on a cluster.
#[tokio::test(flavor = "multi_thread")]
async fn test_compute_instance_with_an_observed_object() {
    let clock = Arc::new(SystemClock);
    let eda = Arc::new(EdaSim::start(Webhook::new(), clock.clone()).await.unwrap());
    let plan = RunPlan::lasting(Duration::from_millis(200));
    let templates = ["create", "delete"].map(|name| Template::job(name).with_plan(plan.clone()));
    let aap = AapSim::start(World::with(templates), clock).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("object.json");
    let object = serde_json::json!({
        "apiVersion": "osac.openshift.io/v1alpha1", "kind": "ComputeInstance",
        "metadata": {"name": "web", "namespace": "blue", "uid": "u"}, "spec": {"cores": 4},
    });
    std::fs::write(&file, object.to_string()).unwrap();
    let url = eda.url();
    let observe = format!("cat '{}'", file.display());
    let check = |more: &[&str]| {
        let mut command = example("test_compute_instance");
        command
            .args([
                "--real",
                "--provider",
                "eda",
                "--json",
                "--observe",
                &observe,
            ])
            .args(["--create-url", &format!("{url}/create")])
            .args(["--delete-url", &format!("{url}/delete")])
            .args(more)
            .env("EDA_POLL_INTERVAL", "100ms")
            .env("NO_PROXY", "*");
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    // The playbooks report the version, and nothing else.
    let marks = Marks {
        reports_operation: false,
        ..Marks::default()
    };
    let rules = ["create", "delete"].map(|action| Rule::new(action, action));
    let mut rulebook = Rulebook::sequential(rules).with_marks(marks);
    let cluster = ObjectFile(file.clone());
    let events = Arc::clone(&eda);
    let at_work = tokio::spawn(async move {
        loop {
            rulebook.step(&events, &aap, &cluster);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert_eq!(
        last_line(&check(&[]).await.unwrap()).get("result").unwrap(),
        "ok"
    );
    assert_eq!(eda.journal().len(), 2);
    // What the first run has left on the object would pass for the end of the second.
    let text = complaint(&check(&[]).await.unwrap());
    assert!(text.contains("applied; change its spec"), "{text}");
    let text = complaint(&check(&["--repeat", "2"]).await.unwrap());
    assert!(text.contains("--observe shows one object"), "{text}");
    assert_eq!(eda.journal().len(), 2);
    at_work.abort();
}

#[test]
fn preflight() {
    let line = last_line(&run("preflight", &["--json"]));
    assert_eq!(line.pointer("/findings/1/severity").unwrap(), "ok");
    let output = run("preflight", &["--kind", "Tenant"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("there is no job or workflow template named \"osac-create-tenant\""),
        "{text}"
    );
    complaint(&output);
}

#[test]
fn controller() {
    let directory = tempfile::tempdir().unwrap();
    let (objects, state) = (
        directory.path().join("objects"),
        directory.path().join("state"),
    );
    std::fs::create_dir(&objects).unwrap();
    let object = r#"{"kind": "ComputeInstance", "metadata": {"name": "vm", "deletionTimestamp": "2026-11-23T04:00:00Z"}}"#;
    std::fs::write(objects.join("vm.json"), object).unwrap();
    let paths = [objects.to_str().unwrap(), state.to_str().unwrap()];
    let output = run(
        "controller",
        &["--objects", paths[0], "--state", paths[1], "--until-empty"],
    );
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read_dir(&objects).unwrap().count(), 0);
    assert!(String::from_utf8_lossy(&output.stdout).contains("Succeeded"));
}

#[test]
fn crash() {
    assert_eq!(
        last_line(&run("crash", &["--json"])).get("jobs").unwrap(),
        1
    );
}

#[test]
fn bad_input_ends_in_one_sentence_that_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let broken = file("broken.yaml", "kind: [unclosed");
    let list = file("list.yaml", "- a\n- b\n");
    let nameless = file("nameless.yaml", "kind: ComputeInstance\nmetadata: {}\n");
    let missing = directory.path().join("missing.yaml");
    for (flags, part) in [
        (vec!["--manifest", &broken], "neither YAML nor JSON"),
        (vec!["--manifest", &list], "expected a Kubernetes object"),
        (vec!["--manifest", &nameless], "metadata.name is missing"),
        (vec!["--manifest", missing.to_str().unwrap()], "cannot read"),
        (
            vec!["--url", "http://127.0.0.1:1", "--token", "t0psecret"],
            "no connection to the controller",
        ),
        (
            vec!["--url", "ftp://x", "--token", "t0psecret"],
            "expected http:// or https://",
        ),
        (vec!["--url", "http://127.0.0.1:1"], "AAP_TOKEN: set it to"),
    ] {
        let text = complaint(&run("lifecycle", &flags));
        assert!(
            text.contains(part) && !text.contains("t0psecret"),
            "{flags:?}: {text}"
        );
    }
}

/// The definition in the repository is the one that the operator has.
#[test]
fn operator_prints_the_definition_that_is_in_its_manifests() {
    let output = run("operator", &["--print-crd"]);
    assert!(output.status.success());
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/operator");
    let golden = std::fs::read_to_string(root.join("manifests/crd.yaml")).unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        printed, golden,
        "run `cargo run --example operator -- --print-crd > examples/operator/manifests/crd.yaml`"
    );
    for manifest in ["rbac.yaml", "deployment.yaml"] {
        let text = std::fs::read_to_string(root.join("manifests").join(manifest)).unwrap();
        for document in text.split("\n---\n") {
            let value: Value = serde_norway::from_str(document).unwrap();
            assert!(value.get("kind").is_some(), "{manifest}");
        }
    }
}

/// What a user writes is small, asks nobody which backend it is, and has no line by which an event could be lost:
/// what is wanted, and all of the wiring.
#[test]
fn operator_is_small_names_no_backend_and_cannot_lose_an_event() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/operator");
    let text = std::fs::read_to_string(root.join("main.rs")).unwrap();
    let body = text.split("async fn operate(").nth(1).unwrap();
    let body = body.split(" -> Result<(), Failure> {").nth(1).unwrap();
    let body = body.split("\n}\n").next().unwrap();
    let lines = body.lines().filter(|line| !line.trim().is_empty()).count();
    assert!((10..=25).contains(&lines), "{lines} lines: {body}");
    for word in ["match", "aap", "eda", "Aap", "Eda"] {
        assert!(!body.contains(word), "{word}: {body}");
    }
    for word in [
        "predicate",
        "reflect",
        "wake_ups",
        "error_policy",
        "managed_fields",
    ] {
        assert!(!text.contains(word), "{word} is the provisioner's affair");
    }
}

#[test]
fn operator_without_a_cluster_says_so_and_ends() {
    let mut command = example("operator");
    command
        .env("KUBECONFIG", "/nonexistent")
        .args(["--listen", "127.0.0.1:0"]);
    for name in ["KUBERNETES_SERVICE_HOST", "HOME"] {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("kubeconfig") && !text.contains("panicked"),
        "{text}"
    );
}

/// Which backend it would use is said before anything else is done.
#[test]
fn operator_takes_no_simulator_for_a_backend_that_was_given_or_in_a_cluster() {
    let said = |variables: &[(&str, &str)]| {
        let mut command = example("operator");
        for name in [
            "PROVISIONING_PROVIDER",
            "AAP_URL",
            "EDA_CREATE_URL",
            "EDA_DELETE_URL",
        ] {
            command.env_remove(name);
        }
        command
            .env("KUBECONFIG", "/nonexistent")
            .env_remove("HOME")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .envs(variables.iter().copied())
            .args(["--listen", "127.0.0.1:0"]);
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let cluster = ("KUBERNETES_SERVICE_HOST", "192.0.2.1");
    let url = "https://backend.example.com";
    assert!(said(&[cluster]).contains("no backend is given"));
    let transport = ("EDA_TRANSPORT", "rulebook-webhook");
    let eda = ("PROVISIONING_PROVIDER", "eda");
    assert!(said(&[cluster, eda, transport]).contains("EDA_CREATE_URL"));
    assert!(said(&[("AAP_URL", url)]).contains("AAP_TOKEN"));
    assert!(said(&[("EDA_CREATE_URL", url), transport]).contains("EDA_DELETE_URL"));
    assert!(said(&[("AAP_URL", url), ("EDA_CREATE_URL", url)]).contains("both set"));
    assert!(
        said(&[]).contains("kubeconfig"),
        "a simulator needs a cluster"
    );
}

/// The README lists every example, and lists no other.
#[test]
fn every_example_is_in_the_readme() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root.join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_program =
            path.extension().is_some_and(|e| e == "rs") || path.join("main.rs").is_file();
        if is_program {
            assert!(
                readme.contains(&format!("--example {stem}")),
                "{stem} is not in the README"
            );
            names.push(stem);
        }
    }
    assert!(names.len() >= 5, "{names:?}");
    for word in readme.split("--example ").skip(1) {
        let name: String = word
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        assert!(
            names.contains(&name),
            "the README names {name}, which is no example"
        );
    }
}

/// The name of the golden text, the object, and flags.
const EXPLAINED: [(&str, &str, &[&str]); 20] = [
    ("empty", "empty", &[]),
    ("finished", "finished", &[]),
    ("running", "running", &[]),
    ("held", "held", &[]),
    ("ambiguous", "ambiguous", &[]),
    ("deleting", "deleting", &[]),
    ("legacy", "legacy", &[]),
    // What people say by annotations.
    ("paused", "paused", &[]),
    ("misspelt", "misspelt", &[]),
    ("retried", "retried", &[]),
    // Wake-ups at a time, and what a policy changes about them.
    ("backing-off", "backing-off", &[]),
    (
        "backing-off.patient",
        "backing-off",
        &["--policy", "patient.policy.yaml"],
    ),
    ("escalated", "escalated", &[]),
    (
        "escalated.patient",
        "escalated",
        &["--policy", "patient.policy.yaml"],
    ),
    // Histories of their own.
    (
        "targets.west",
        "targets",
        &["--target", "west", "--backend", "awx-west=aap"],
    ),
    (
        "targets.east",
        "targets",
        &["--target", "east", "--absorbs-untagged"],
    ),
    (
        "empty.records",
        "empty",
        &["--records", "stored.records.json"],
    ),
    // What a provider can do decides, not its name.
    (
        "stranger.finds",
        "stranger",
        &["--backend", "mine=cancel,find"],
    ),
    ("stranger.holds", "stranger", &["--backend", "mine=none"]),
    ("running.missing", "running", &["--backend", "aap=missing"]),
];

fn explain(flags: &[&str]) -> Command {
    let mut command = example("explain");
    let cases = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/explain");
    command
        .current_dir(cases)
        .args(["--now", "2026-11-23T09:00:00Z"])
        .args(flags);
    command
}

#[test]
fn explain_says_what_is_next_and_why() {
    let cases = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/explain");
    for (name, object, flags) in EXPLAINED {
        let file = format!("{object}.yaml");
        let output = explain(flags).arg(&file).output().unwrap();
        let golden = std::fs::read_to_string(cases.join(format!("{name}.txt"))).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            golden,
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        // The same from standard input, for machines.
        let object = std::fs::File::open(cases.join(&file)).unwrap();
        let output = explain(flags).arg("--json").stdin(object).output().unwrap();
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |member: &str| json.get(member).and_then(Value::as_str);
        for (label, member) in [("next:    ", "next"), ("because: ", "because")] {
            let line = format!("\n{label} {}\n", text(member).unwrap());
            assert!(golden.contains(&line), "{name}: {json}");
        }
        let wake = golden.split("\nwake-up:  ").nth(1).unwrap();
        let wake = wake.split('\n').next().unwrap();
        match text("wakeAt") {
            None => assert_eq!(wake, "when the object changes", "{name}"),
            Some("2026-11-23T09:00:00Z") => assert_eq!(wake, "now", "{name}"),
            Some(at) => assert!(wake.ends_with(&format!("({at})")), "{name}: {at}"),
        }
        // A row an attempt: the table has the newest last, JSON has it first.
        let attempts = json.get("attempts").and_then(Value::as_array).unwrap();
        let numbers = attempts
            .iter()
            .map(|attempt| attempt.get("attempt").unwrap().to_string());
        let rows = golden
            .lines()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
        let rows = rows.map(|line| line.split(' ').next().unwrap().to_owned());
        assert!(rows.rev().eq(numbers), "{name}: {json}");
    }
}

#[test]
fn explain_gives_machines_the_evidence_too() {
    let output = explain(&["--json", "escalated.yaml"]).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (pointer, expected) in [
        ("/escalated", Value::from(true)),
        ("/wakeAt", "2026-11-23T09:05:00Z".into()),
        ("/attempts/0/attempt", 2.into()),
        ("/attempts/0/type", "deprovision".into()),
        ("/attempts/0/state", "Failed".into()),
        ("/attempts/0/since", "2026-11-23T08:50:00Z".into()),
        ("/attempts/0/job", "aap job/18".into()),
        ("/attempts/0/live", false.into()),
        ("/attempts/0/message", "volume is busy".into()),
        ("/attempts/1/state", "Succeeded".into()),
        ("/assumed/version", "v1".into()),
        ("/assumed/provider", "aap".into()),
        ("/assumed/mode", "managed".into()),
    ] {
        assert_eq!(json.pointer(pointer), Some(&expected), "{pointer}: {json}");
    }
}

/// Annotations may have other names; then the usual ones say nothing.
#[test]
fn explain_reads_the_annotations_that_the_controller_reads() {
    let next = |flags: &[&str]| {
        let output = explain(flags).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.split("\nnext:     ")
            .nth(1)
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    let launch = "record the intent of attempt 1, then launch it";
    assert_eq!(
        next(&["paused.yaml", "--mode-annotation", "example.com/mode"]),
        launch
    );
    let held = next(&["retried.yaml", "--retry-annotation", "example.com/again"]);
    assert!(held.starts_with("hold: "), "{held}");
    let again = next(&["held.yaml", "--retry-annotation", "osac.openshift.io/retry"]);
    assert!(again.starts_with("hold: "), "{again}");
}

#[test]
fn explain_refuses_to_guess() {
    for (flags, said) in [
        (&["nowhere.yaml"][..], "cannot read"),
        (&["empty.txt"], "YAML"),
        (&["targets.yaml"], "--target (east, west)"),
        (&["targets.yaml", "--target", "west"], "--backend awx-west="),
        (&["stranger.yaml"], "--backend mine="),
        (
            &["empty.yaml", "--provider", "eda-of-somebody"],
            "--backend eda-of-somebody=",
        ),
        (&["empty.yaml", "--policy", "empty.yaml"], "is no policy"),
        (
            &["empty.yaml", "--records", "patient.policy.yaml"],
            "holds no records",
        ),
    ] {
        let text = complaint(&explain(flags).output().unwrap());
        assert!(text.contains(said), "{text}");
    }
    // A word that is none is refused by the flags themselves.
    let output = explain(&["empty.yaml", "--backend", "mine=everything"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("eda-tracked"),
        "{output:?}"
    );
}

/// Few jobs and short intervals: that every way sees every end as it was. What it costs is for release
/// builds.
#[test]
fn scale_watches_all_jobs_to_their_ends() {
    let plot = std::env::temp_dir().join(format!("scale-{}.svg", std::process::id()));
    let file = plot.to_str().unwrap();
    let few = [
        "--jobs",
        "60",
        "--interval",
        "300ms",
        "--json",
        "--plot",
        file,
    ];
    let output = run("scale", &few);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let cells: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let ways: Vec<&str> = cells
        .iter()
        .filter_map(|cell| cell.get("way").and_then(Value::as_str))
        .collect();
    assert_eq!(ways, ["get", "monitor", "push"]);
    let requests = |way: usize| {
        cells
            .get(way)
            .and_then(|cell| cell.get("requests")?.as_u64())
    };
    assert!(requests(0).unwrap() > requests(1).unwrap(), "{text}");
    let with_bars = cells.iter().filter(|cell| cell.get("bar").is_some());
    assert!(with_bars.count() >= 4, "{text}");
    let picture = std::fs::read_to_string(&plot).unwrap();
    std::fs::remove_file(&plot).unwrap();
    assert!(picture.starts_with("<svg") && picture.contains("polyline"));
}

/// The same with half of the lists failing, and with hints that are lost.
/// Which bars are met is for the reader; that each object gets its one job, and knows it, is a must.
#[test]
fn scale_tells_how_a_slow_controller_fares() {
    let output = run("scale", &["--trouble", "slow", "--jobs", "20", "--json"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // A run, and one in which the answers to a third of the launches are lost; four bars each.
    assert_eq!(lines.len(), 10, "{text}");
    for (run, lost) in lines.chunks(5).zip([0, 7]) {
        let (cell, bars) = (&run[0], &run[1..]);
        assert_eq!(
            (&cell["jobs"], &cell["trouble"], &cell["lost"]),
            (&20.into(), &"slow".into(), &lost.into())
        );
        // Twenty launches of five seconds by five workers.
        assert_eq!(cell["launches_alone_s"], 20.0);
        assert!(cell["all_known_s"].as_f64().unwrap() >= 20.0, "{cell}");
        assert!(bars.iter().all(|bar| bar["met"] == true), "{text}");
    }
}

#[test]
fn scale_misses_no_end_in_trouble() {
    for (trouble, ways) in [
        ("half", &["monitor", "push"][..]),
        ("lost-hints", &["push"]),
    ] {
        let flags = ["--jobs", "60", "--interval", "300ms", "--json", "--trouble"];
        let output = run("scale", &[&flags[..], &[trouble]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let cells: Vec<Value> = lines.filter(|line| line.get("way").is_some()).collect();
        let told: Vec<(&str, &str)> = cells
            .iter()
            .filter_map(|cell| Some((cell.get("way")?.as_str()?, cell.get("trouble")?.as_str()?)))
            .collect();
        let expected: Vec<(&str, &str)> = ways.iter().map(|way| (*way, trouble)).collect();
        assert_eq!(told, expected, "{text}");
    }
}
