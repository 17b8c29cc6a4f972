//! The simulators as programs: what a test-suite in another language sees.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_provider-sim");

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running simulator; ends politely when it is asked to, and is killed when a test fails.
struct Sim {
    child: Child,
    url: String,
}

impl Sim {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        Self { child, url }
    }

    fn end(mut self) {
        let id = self.child.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(killed.success());
        assert!(self.child.wait().unwrap().success(), "it ends politely");
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_help_has_examples_of_both() {
    let help = text(&run(&["--help"]).stdout);
    for needed in [
        "provider-sim aap --template",
        "provider-sim eda webhook",
        "faults:",
        "/_sim/journal",
    ] {
        assert!(help.contains(needed), "{needed}: {help}");
    }
    for of in [&["aap", "--help"][..], &["eda", "stream", "--help"]] {
        let help = text(&run(of).stdout);
        assert!(
            help.contains("--faults") && help.contains("--journal"),
            "{help}"
        );
    }
}

#[test]
fn a_bad_script_is_refused_in_words_and_a_good_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("faults.yaml");
    let name = file.to_str().unwrap();
    for (script, said) in [
        ("faults: [{route: launch, fault: explode}]", "explode"),
        ("faults: [{route: launch, fault: hang, tmes: 2}]", "tmes"),
        ("faults: [{route: nowhere, fault: hang}]", "nowhere"),
        ("weather: {lost_answers: many}", "lost_answers"),
        ("faults: [", "line 2"),
    ] {
        std::fs::write(&file, script).unwrap();
        for check in [&["--check"][..], &[]] {
            let output = run(&[&["aap", "--faults", name][..], check].concat());
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{script}: {error}");
            assert!(error.contains(said) && error.contains(name), "{error}");
            assert!(output.stdout.is_empty());
        }
    }
    let good = r#"{"faults": [{"route": "job", "fault": {"redirect": [307, "/x"]}, "after": 3}]}"#;
    std::fs::write(&file, good).unwrap();
    let output = run(&["aap", "--check", "--faults", name]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = run(&["aap", "--faults", "/nowhere/at.all"]);
    assert_eq!(output.status.code(), Some(2));
    let output = run(&["eda", "webhook", "--basic", "me:secret"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!text(&output.stderr).contains("secret "), "{output:?}");
}

/// The same seed and the same requests: the same trouble, and another with another seed.
#[tokio::test]
async fn a_seed_is_a_course_of_trouble() {
    let client = client();
    let mut courses = Vec::new();
    for seed in ["7", "7", "8"] {
        let sim = Sim::start(&["aap", "--template", "work", "--seed", seed]);
        let mut course = Vec::new();
        for _ in 0..60 {
            let request = client.get(format!("{}/api/v2/jobs/", sim.url));
            let answer = request.bearer_auth("sim-admin-token").send().await;
            course.push(answer.map(|answer| answer.status().as_u16()).unwrap_or(0));
        }
        courses.push(course);
        sim.end();
    }
    assert_eq!(courses[0], courses[1]);
    assert_ne!(courses[0], courses[2]);
    assert!(courses[0].contains(&200) && courses[0].iter().any(|status| *status != 200));
}

#[tokio::test]
async fn a_job_is_in_the_journal_whatever_the_client_was_told() {
    let directory = tempfile::tempdir().unwrap();
    let (faults, journal) = (directory.path().join("f.yaml"), directory.path().join("j"));
    let script = "faults: [{route: launch, fault: {status_after: 504}, after: 1}]\n\
                  plans: [{template: work, plan: {queue: 0, run: null}}]";
    std::fs::write(&faults, script).unwrap();
    let (faults, file) = (faults.to_str().unwrap(), journal.to_str().unwrap());
    let sim = Sim::start(&[
        "aap",
        "--template",
        "work",
        "--faults",
        faults,
        "--journal",
        file,
    ]);
    let client = client();
    let mut statuses = Vec::new();
    for n in 0..2 {
        let request = client.post(format!("{}/api/v2/job_templates/7/launch/", sim.url));
        let body = json!({"extra_vars": {"n": n}}).to_string();
        let request = request
            .bearer_auth("sim-admin-token")
            .header("content-type", "application/json")
            .body(body);
        statuses.push(request.send().await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [201, 504]);
    let end = client.post(format!("{}/_sim/jobs/8/end", sim.url));
    let end = end.body("\"successful\"").send().await.unwrap();
    assert!(end.status().is_success(), "{end:?}");
    sim.end();
    let lines = lines(&journal);
    let last = |id: u64| lines.iter().rfind(|line| line["id"] == id).unwrap();
    assert_eq!(
        (&last(8)["succeeded"], &last(9)["extra_vars"]),
        (&json!(true), &json!({"n": 1}))
    );
}

#[tokio::test]
async fn an_event_is_in_the_journal_and_a_refused_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("events.jsonl");
    let file = journal.to_str().unwrap();
    let sim = Sim::start(&["eda", "stream", "--token", "s3cret", "--journal", file]);
    assert!(
        sim.url.contains("/api/eda/v1/external_event_stream/"),
        "{}",
        sim.url
    );
    let root = sim.url.split("/api/").next().unwrap().to_owned();
    let client = client();
    let post = async |url: &str, token: &str, body: &Value| {
        let request = client.post(url).header("authorization", token);
        let request = request.header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        answer.status().as_u16()
    };
    let event = json!({"action": "create"});
    assert_eq!(post(&sim.url, "wrong", &event).await, 403);
    assert_eq!(post(&sim.url, "s3cret", &event).await, 200);
    let fault = json!({"fault": "lose"});
    assert_eq!(post(&format!("{root}/_sim/faults"), "", &fault).await, 200);
    assert_eq!(post(&sim.url, "s3cret", &event).await, 200);
    assert_eq!(post(&format!("{root}/_sim/nothing"), "", &fault).await, 404);
    sim.end();
    let fates: Vec<Value> = lines(&journal)
        .iter()
        .map(|line| line["fate"].clone())
        .collect();
    assert_eq!(fates, ["queued", "lost"]);
}
