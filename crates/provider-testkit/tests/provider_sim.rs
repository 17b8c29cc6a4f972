//! The simulators as programs: what a test-suite in another language sees.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

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
        Self::of(Command::new(PROGRAM).args(arguments))
    }

    fn of(command: &mut Command) -> Self {
        let mut child = command
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

    /// Where the controls are.
    fn root(&self) -> String {
        let end = self
            .url
            .match_indices('/')
            .nth(2)
            .map_or(self.url.len(), |(at, _)| at);
        self.url[..end].to_owned()
    }

    /// A control, or the API as the superuser: its status, and the answer.
    async fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = client().request(method, format!("{}{path}", self.root()));
        let request = request.bearer_auth("sim-admin-token").body(body.to_owned());
        let request = request.header("content-type", "application/json");
        let Ok(answer) = request.send().await else {
            return (0, Value::Null);
        };
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap_or_default();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn status(&self, method: &str, path: &str, body: &str) -> u16 {
        self.call(method, path, body).await.0
    }

    /// An event with a header; the status of its answer.
    async fn event(&self, header: (&str, &str), body: &'static str) -> u16 {
        let request = client().post(&self.url).header(header.0, header.1);
        let request = request.header("content-type", "application/json");
        request.body(body).send().await.unwrap().status().as_u16()
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
    let client = reqwest::Client::builder().no_proxy();
    let client = client.redirect(reqwest::redirect::Policy::none());
    client.build().unwrap()
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
        "provider-sim eda --token",
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

/// What the documentation has, the help names.
#[test]
fn the_help_names_every_control_of_a_controller() {
    let help = text(&run(&["aap", "--help"]).stdout);
    let named = help.split_once("Controls, below URL/_sim/: ").unwrap().1;
    let named = named.split(';').next().unwrap();
    let named: Vec<&str> = named.split(',').map(str::trim).collect();
    let doc = include_str!("../docs/SIMULATORS.md");
    let table = doc.split_once("below `/_sim/`").unwrap().1;
    let is_row = |line: &&str| line.starts_with("| `");
    let rows = table
        .lines()
        .skip_while(|line| !is_row(line))
        .take_while(is_row);
    let mut seen = 0;
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        // A control of the other one has nothing to say here.
        if cells[2].is_empty() {
            continue;
        }
        let mut before = "";
        for shown in cells[1].split('`').skip(1).step_by(2) {
            let control = match shown.split_once("/_sim/") {
                Some((_, control)) => control.to_owned(),
                // `/reap`, below the one before it.
                None if shown.starts_with('/') => {
                    format!("{}{shown}", before.rsplit_once('/').unwrap().0)
                }
                None => continue,
            };
            assert!(named.contains(&control.as_str()), "{control}: {named:?}");
            before = shown.split_once("/_sim/").map_or(before, |(_, it)| it);
            seen += 1;
        }
    }
    assert!(seen >= 14, "{seen}");
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

/// What stands in the first column of a table below a heading cell.
fn first_column<'a>(text: &'a str, heading: &str) -> Vec<&'a str> {
    let table = text.split_once(heading).unwrap().1;
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect()
}

fn is_a_script(of: &[&str], file: &Path, script: &str) {
    std::fs::write(file, script).unwrap();
    let check = ["--check", "--faults", file.to_str().unwrap()];
    let output = run(&[of, &check].concat());
    assert!(
        output.status.success(),
        "{script}: {}",
        text(&output.stderr)
    );
}

/// What is in the documentation and in the help is a script, or a file of templates, for real.
#[test]
fn every_script_that_is_shown_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shown.yaml");
    let doc = include_str!("../docs/SIMULATORS.md");
    let blocks: Vec<&str> = doc.split("```yaml\n").skip(1).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let block = block.split("```").next().unwrap();
        if block.starts_with("faults:") {
            is_a_script(&["aap"], &file, block);
        } else {
            std::fs::write(&file, block).unwrap();
            Sim::start(&["aap", "--templates-file", file.to_str().unwrap()]).end();
        }
    }
    for (of, heading) in [("aap", "| fault of `aap` |"), ("eda", "| fault of `eda` |")] {
        let faults = first_column(doc, heading);
        assert!(faults.len() >= 12, "{faults:?}");
        for fault in faults {
            let fault = fault
                .replace("MS", "5")
                .replace("BYTES", "9")
                .replace(": S}", ": 7}");
            let fault = fault.replace("URL", "/x");
            let route = if of == "aap" { "route: any, " } else { "" };
            is_a_script(
                &[of],
                &file,
                &format!("faults: [{{{route}fault: {fault}}}]"),
            );
        }
    }
    for of in [&[][..], &["aap"], &["eda"], &["eda", "stream"]] {
        let help = text(&run(&[of, &["--help"]].concat()).stdout);
        for (heading, of) in [
            ("A fault script:\n", of),
            ("A file of templates:\n", &["aap"][..]),
        ] {
            let Some((_, shown)) = help.split_once(heading) else {
                continue;
            };
            let shown = shown.split("\n\n").next().unwrap().replace("\n  ", "\n");
            let shown = shown.trim_start();
            if heading.starts_with("A file") {
                std::fs::write(&file, shown).unwrap();
                Sim::start(&["aap", "--templates-file", file.to_str().unwrap()]).end();
            } else {
                is_a_script(if of.is_empty() { &["aap"] } else { of }, &file, shown);
            }
        }
    }
}

/// Every command of the examples is understood; `--check` keeps it from serving.
#[test]
fn every_example_of_the_help_is_a_command() {
    let directory = tempfile::tempdir().unwrap();
    let faults = directory.path().join("faults.yaml");
    let templates = directory.path().join("templates.yaml");
    std::fs::write(&faults, "weather: {seed: 1}").unwrap();
    std::fs::write(&templates, "[{name: work}]").unwrap();
    let (faults, templates) = (faults.to_str().unwrap(), templates.to_str().unwrap());
    let mut seen = 0;
    for of in [&[][..], &["aap"], &["eda"]] {
        let help = text(&run(&[of, &["--help"]].concat()).stdout);
        let examples = help.split_once("Examples:\n").unwrap().1;
        let examples = examples.split("\n\n").next().unwrap();
        for line in examples.lines().map(|line| line.split('#').next().unwrap()) {
            let mut words: Vec<&str> = line.split_whitespace().skip(1).collect();
            for word in &mut words {
                match *word {
                    "faults.yaml" => *word = faults,
                    "templates.yaml" => *word = templates,
                    _ => {}
                }
            }
            if !words.contains(&"--faults") {
                words.extend(["--faults", faults]);
            }
            words.push("--check");
            let output = run(&words);
            assert!(output.status.success(), "{line}: {}", text(&output.stderr));
            seen += 1;
        }
    }
    assert!(seen >= 12, "{seen}");
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
async fn a_seed_is_a_course_of_trouble_for_events_too() {
    let mut courses = Vec::new();
    for seed in ["7", "7", "8"] {
        let sim = Sim::start(&["eda", "--seed", seed]);
        let mut course = Vec::new();
        for _ in 0..40 {
            // What is never answered is not waited for.
            let request = client().post(&sim.url).body("{}");
            let request = request.timeout(std::time::Duration::from_millis(300));
            course.push(
                request
                    .send()
                    .await
                    .map_or(0, |answer| answer.status().as_u16()),
            );
        }
        courses.push(course);
        sim.end();
    }
    assert_eq!(courses[0], courses[1]);
    assert_ne!(courses[0], courses[2]);
    assert!(courses[0].contains(&200) && courses[0].iter().any(|status| *status != 200));
}

/// A script that says nothing of weather has none, whatever the seed is; one that does has its seed
/// replaced.
#[tokio::test]
async fn a_seed_adds_nothing_to_a_script_and_replaces_the_seed_of_its_weather() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("faults.yaml");
    let name = file.to_str().unwrap();
    let course = async |of: &[&str], seed: &str| {
        let sim = Sim::start(&[of, &["--faults", name, "--seed", seed]].concat());
        let mut course = Vec::new();
        for _ in 0..30 {
            let path = if of.len() > 1 {
                "/api/v2/jobs/"
            } else {
                "/endpoint"
            };
            let method = if of.len() > 1 { "GET" } else { "POST" };
            course.push(sim.status(method, path, "{}").await);
        }
        sim.end();
        course
    };
    for of in [&["aap", "--template", "work"][..], &["eda"]] {
        let route = if of.len() > 1 { "route: any, " } else { "" };
        let script = format!("faults: [{{{route}fault: {{status: 503}}}}]");
        std::fs::write(&file, script).unwrap();
        let mut expected = vec![200; 30];
        expected[0] = 503;
        for seed in ["1", "2", "3"] {
            assert_eq!(course(of, seed).await, expected, "{of:?}");
        }
        std::fs::write(&file, "weather: {seed: 7, refusals: 50}").unwrap();
        let (seven, eight) = (course(of, "7").await, course(of, "8").await);
        assert_ne!(seven, eight, "{of:?}");
    }
}

#[tokio::test]
async fn a_controller_is_steered_from_outside() {
    let sim = Sim::start(&[
        "aap",
        "--template",
        "work",
        "--run-ms",
        "600000",
        "--queue-ms",
        "0",
    ]);
    let launch = "/api/v2/job_templates/7/launch/";
    // What a cancel does must not race with the requests that follow it here: the clock is a real one.
    let plan = r#"{"template": "work", "plan": {"queue": 0, "run": null, "on_cancel": "ignores"}}"#;
    assert_eq!(sim.status("POST", "/_sim/plans", plan).await, 200);
    // What goes wrong is said, and taken back.
    let fault = r#"{"route": "launch", "fault": {"status": 503}, "times": 9}"#;
    assert_eq!(sim.status("POST", "/_sim/faults", fault).await, 200);
    assert_eq!(sim.status("POST", launch, "{}").await, 503);
    assert_eq!(sim.status("DELETE", "/_sim/faults", "").await, 200);
    assert_eq!(sim.status("POST", launch, "{}").await, 201);
    let weather = r#"{"seed": 1, "refusals": 100}"#;
    assert_eq!(sim.status("POST", "/_sim/weather", weather).await, 200);
    assert_ne!(sim.status("GET", "/api/v2/jobs/", "").await, 200);
    assert_eq!(sim.status("DELETE", "/_sim/faults", "").await, 200);
    // The journal has the one launch that was carried out; the counts have all requests.
    let (_, journal) = sim.call("GET", "/_sim/journal", "").await;
    assert_eq!(
        (journal.as_array().unwrap().len(), &journal[0]["id"]),
        (1, &json!(8))
    );
    let (_, counts) = sim.call("GET", "/_sim/counts", "").await;
    assert_eq!(counts["launch"], 2, "{counts}");
    // A template that was not there, with a plan of its own.
    let template = r#"{"name": "later", "kind": "workflow"}"#;
    let (status, made) = sim.call("POST", "/_sim/templates", template).await;
    let workflow = format!("/api/v2/workflow_job_templates/{}/launch/", made["id"]);
    assert_eq!(status, 200);
    let plan = r#"{"template": "later", "plan": {"queue": 0, "run": 0}}"#;
    assert_eq!(sim.status("POST", "/_sim/plans", plan).await, 200);
    let (status, job) = sim.call("POST", &workflow, "{}").await;
    assert_eq!(status, 201, "{job}");
    let job = format!("/api/v2/workflow_jobs/{}/", job["id"]);
    assert_eq!(sim.call("GET", &job, "").await.1["status"], "successful");
    // What people, the reaper and the clean-up do.
    let job = "/api/v2/jobs/8/";
    assert_eq!(sim.call("GET", job, "").await.1["status"], "running");
    assert_eq!(
        sim.status("POST", "/_sim/jobs/8/purge", "").await,
        409,
        "it is alive"
    );
    assert_eq!(sim.status("POST", "/_sim/jobs/8/cancel", "").await, 200);
    assert_ne!(sim.call("GET", job, "").await.1["canceled_on"], Value::Null);
    assert_eq!(sim.status("POST", "/_sim/jobs/8/reap", "").await, 200);
    assert_eq!(sim.call("GET", job, "").await.1["status"], "failed");
    assert_eq!(
        sim.status("POST", "/_sim/jobs/8/reap", "").await,
        409,
        "it has ended"
    );
    assert_eq!(sim.status("POST", "/_sim/jobs/8/purge", "").await, 200);
    assert_eq!(sim.status("GET", job, "").await, 404);
    // What is not understood says so.
    assert_eq!(
        sim.status("POST", "/_sim/weather", r#"{"rain": 1}"#).await,
        400
    );
    assert_eq!(sim.status("POST", "/_sim/jobs/8/promote", "").await, 409);
    assert_eq!(sim.status("GET", "/_sim/nothing", "").await, 404);
    sim.end();
}

#[tokio::test]
async fn a_row_is_broken_and_mended_from_outside() {
    let sim = Sim::start(&["aap", "--template", "work", "--run-ms", "600000"]);
    let launch = "/api/v2/job_templates/7/launch/";
    let (status, job) = sim.call("POST", launch, "{}").await;
    assert_eq!(status, 201, "{job}");
    let job = job["id"].as_u64().unwrap();
    let control = format!("/_sim/jobs/{job}/break");
    let detail = format!("/api/v2/jobs/{job}/");
    for (how, list, by_itself) in [
        (r#""in_lists""#, 500, 200),
        (r#""everywhere""#, 500, 500),
        ("null", 200, 200),
    ] {
        assert_eq!(sim.status("POST", &control, how).await, 200, "{how}");
        let of_list = sim.status("GET", "/api/v2/unified_jobs/", "").await;
        let of_job = sim.status("GET", &detail, "").await;
        assert_eq!((of_list, of_job), (list, by_itself), "{how}");
    }
    assert_eq!(sim.status("POST", &control, r#""somehow""#).await, 400);
    let unknown = "/_sim/jobs/999/break";
    assert_eq!(sim.status("POST", unknown, r#""in_lists""#).await, 409);
    sim.end();
}

#[tokio::test]
async fn a_network_in_between_swallows_connections_and_carries_new_ones() {
    let sim = Sim::start(&["aap", "--template", "work"]);
    let inside = sim.root().trim_start_matches("http://").to_owned();
    let arguments = ["forward", "--to", &inside, "--swallow-every-ms", "300"];
    let forward = Sim::start(&arguments);
    let ping = format!("http://{}/api/v2/ping/", forward.url);
    // One that is swallowed while it is on its way is sent again, over a connection of its own.
    let mut tries = 0;
    let answered = loop {
        let request = client().get(&ping).timeout(Duration::from_secs(2));
        match request.send().await {
            Ok(answer) => break answer.status().as_u16(),
            Err(error) => assert!(error.is_timeout(), "{error:?}"),
        }
        tries += 1;
        assert!(tries < 20, "nothing comes through");
    };
    assert_eq!(answered, 200);
    // A connection that says nothing itself; the service would close one after a bad request.
    let kept = client();
    let mut answers = 0;
    let swallowed = loop {
        let request = kept.get(&ping).timeout(Duration::from_secs(2));
        match request.send().await {
            Ok(answer) => assert_eq!(answer.status(), 200),
            Err(error) => break error,
        }
        answers += 1;
        assert!(answers < 20_000, "nothing is ever swallowed");
    };
    assert!(swallowed.is_timeout(), "it is silent: {swallowed:?}");
    let mut tries = 0;
    while client()
        .get(&ping)
        .timeout(Duration::from_secs(2))
        .send()
        .await
        .is_err()
    {
        tries += 1;
        assert!(tries < 20, "no new connection works");
    }
    forward.end();
    sim.end();
}

/// What a worker costs is said by flags, by the script and from outside; nobody waits for it here, the load
/// tells.
#[tokio::test]
async fn a_controller_is_as_slow_as_it_is_told() {
    let sim = Sim::start(&[
        "aap",
        "--template",
        "work",
        "--workers",
        "2",
        "--launch-ms",
        "30",
    ]);
    let launch = "/api/v2/job_templates/7/launch/";
    assert_eq!(sim.status("POST", launch, "{}").await, 201);
    let (_, load) = sim.call("GET", "/_sim/load", "").await;
    assert_eq!(load["served"], 1);
    assert!(load["worked_ms"].as_u64().unwrap() >= 30, "{load}");
    let none = r#"{"workers": 1, "queue": 0, "launch_ms": 0, "patience_ms": 0}"#;
    assert_eq!(sim.status("POST", "/_sim/costs", none).await, 200);
    assert_eq!(sim.status("GET", "/api/v2/jobs/8/", "").await, 504);
    assert_eq!(
        sim.status("POST", "/_sim/costs", r#"{"worker": 1}"#).await,
        400
    );
    assert_eq!(sim.status("DELETE", "/_sim/costs", "").await, 200);
    assert_eq!(sim.status("GET", "/api/v2/jobs/8/", "").await, 200);
    sim.end();
}

#[tokio::test]
async fn a_rulebook_is_steered_from_outside() {
    let sim = Sim::start(&["eda", "--queue", "1"]);
    let event = ("x-nothing", "");
    let fault = r#"{"fault": {"status": 503}, "times": 9}"#;
    assert_eq!(sim.status("POST", "/_sim/faults", fault).await, 200);
    assert_eq!(sim.event(event, "{}").await, 503);
    assert_eq!(sim.status("DELETE", "/_sim/faults", "").await, 200);
    let weather = r#"{"seed": 1, "refusals": 100}"#;
    assert_eq!(sim.status("POST", "/_sim/weather", weather).await, 200);
    assert_ne!(sim.status("POST", "/endpoint", "{}").await, 200);
    assert_eq!(sim.status("DELETE", "/_sim/faults", "").await, 200);
    assert_eq!(sim.event(event, r#"{"n": 1}"#).await, 200);
    // The queue is full: the next sender waits until there is room.
    let mut waiting = Box::pin(sim.event(event, r#"{"n": 2}"#));
    let room = async {
        let mut counts = Value::Null;
        while counts["requests"] != 4 {
            counts = sim.call("GET", "/_sim/counts", "").await.1;
        }
    };
    tokio::select! {
        status = &mut waiting => panic!("{status} although the queue is full"),
        () = room => {}
    }
    assert_eq!(
        sim.status("POST", "/_sim/work_off", r#"{"events": 1}"#)
            .await,
        200
    );
    assert_eq!(waiting.await, 200);
    let (_, journal) = sim.call("GET", "/_sim/journal", "").await;
    let numbers: Vec<&Value> = journal
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["payload"]["n"])
        .collect();
    assert_eq!(numbers, [1, 2]);
    sim.end();
}

#[tokio::test]
async fn the_api_is_where_the_layout_has_it() {
    let places = ["/api/v2/ping/", "/api/controller/v2/ping/"];
    for (layout, expected) in [
        ("controller", [200, 404]),
        ("prefixed", [200, 200]),
        ("gateway", [404, 200]),
    ] {
        let sim = Sim::start(&["aap", "--layout", layout]);
        let found = [
            sim.status("GET", places[0], "").await,
            sim.status("GET", places[1], "").await,
        ];
        assert_eq!(found, expected, "{layout}");
        sim.end();
    }
    let output = run(&["aap", "--layout", "upside-down"]);
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test]
async fn templates_come_from_a_file_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("templates.yaml");
    let name = file.to_str().unwrap();
    let templates =
        "- {name: work, plan: {queue: 0, run: 0}}\n- {name: picky, ask_variables: false}";
    std::fs::write(&file, templates).unwrap();
    let sim = Sim::start(&["aap", "--template", "first", "--templates-file", name]);
    let variables = r#"{"extra_vars": {"a": 1}}"#;
    let (status, job) = sim
        .call("POST", "/api/v2/job_templates/8/launch/", variables)
        .await;
    assert_eq!((status, &job["ignored_fields"]), (201, &json!({})));
    let job = format!("/api/v2/jobs/{}/", job["id"]);
    assert_eq!(sim.call("GET", &job, "").await.1["status"], "successful");
    let (_, job) = sim
        .call("POST", "/api/v2/job_templates/9/launch/", variables)
        .await;
    assert_ne!(job["ignored_fields"], json!({}), "{job}");
    sim.end();
    std::fs::write(&file, "- {name: work, speed: 3}").unwrap();
    let output = run(&["aap", "--templates-file", name]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("speed"), "{output:?}");
}

/// HMAC-SHA-256 by a library that the simulator does not use.
fn signature(secret: &str, body: &str) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    ring::hmac::sign(&key, body.as_bytes()).as_ref().to_vec()
}

#[tokio::test]
async fn who_has_the_credential_is_let_in_and_nobody_else() {
    use base64::Engine;
    const BODY: &str = r#"{"action": "create"}"#;
    let hex = |secret: &str| -> String {
        signature(secret, BODY)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    let standard = base64::engine::general_purpose::STANDARD;
    let in_base64 = standard.encode(signature("s3cret", BODY));
    let prefixed = format!("v1={}", hex("s3cret"));
    let basic = |pair: &str| format!("Basic {}", standard.encode(pair));
    let usual = "X-Hub-Signature-256";
    for (flags, header, good, bad) in [
        (
            &["eda", "--token", "t"][..],
            "Authorization",
            "Bearer t".to_owned(),
            "Bearer u".to_owned(),
        ),
        (
            &["eda", "webhook", "--hmac-secret", "s3cret"],
            usual,
            hex("s3cret"),
            hex("other"),
        ),
        (
            &[
                "eda",
                "webhook",
                "--hmac-secret",
                "s3cret",
                "--hmac-base64",
                "--hmac-header",
                "X-Mine",
            ],
            "X-Mine",
            in_base64.clone(),
            hex("s3cret"),
        ),
        (
            &[
                "eda",
                "stream",
                "--hmac-secret",
                "s3cret",
                "--hmac-prefix",
                "v1=",
            ],
            usual,
            prefixed,
            hex("s3cret"),
        ),
        (
            &["eda", "stream", "--basic", "me:pass"],
            "Authorization",
            basic("me:pass"),
            basic("me:word"),
        ),
    ] {
        let sim = Sim::start(flags);
        assert_eq!(sim.event((header, &good), BODY).await, 200, "{flags:?}");
        let refused = sim.event((header, &bad), BODY).await;
        assert!([401, 403].contains(&refused), "{flags:?}: {refused}");
        let (_, journal) = sim.call("GET", "/_sim/journal", "").await;
        assert_eq!(journal.as_array().unwrap().len(), 1, "{flags:?}");
        sim.end();
    }
}

#[tokio::test]
async fn a_secret_may_come_from_the_environment() {
    for command in [&["eda"][..], &["eda", "webhook"], &["eda", "stream"]] {
        let mut program = Command::new(PROGRAM);
        program.args(command).env("EDA_SIM_TOKEN", "t0psecret");
        let sim = Sim::of(&mut program);
        let good = ("Authorization", "Bearer t0psecret");
        assert_eq!(sim.event(good, "{}").await, 200, "{command:?}");
        let bad = ("Authorization", "Bearer other");
        assert_ne!(sim.event(bad, "{}").await, 200, "{command:?}");
        sim.end();
        let help = program.arg("--help").output().unwrap();
        assert!(!text(&help.stdout).contains("t0psecret"));
    }
}

/// A port that is taken is named, with a way out.
#[test]
fn a_taken_port_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    for of in ["aap", "eda"] {
        let output = run(&[of, "--listen", &port]);
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(
            error.contains(&port) && error.contains("--listen"),
            "{error}"
        );
    }
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
