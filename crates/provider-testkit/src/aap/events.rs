//! What a playbook prints: job events and standard output, with the members and in the order that were
//! measured (ansible-core 2.19 with ansible-runner 2.4).

use jiff::Timestamp;
use provider_core::clock;
use serde_json::{Map, Value, json};

use super::jobs::Job;
use super::plan::Ending;
use super::play::{Outcome, Play, Task};
use super::rows::time;
use super::shape;

/// The events of one job, as they come.
struct Events<'a> {
    job: &'a Job,
    at: Timestamp,
    rows: Vec<Value>,
    line: usize,
}

impl Events<'_> {
    fn add(&mut self, event: &str, display: &str, failed: bool, stdout: &str, data: Value) {
        let counter = self.rows.len() + 1;
        let lines = stdout.lines().count();
        let job = self.job.id;
        let id = job * 1_000 + counter as u64;
        let mut row = shape::JOB_EVENT.clone();
        let mut put = |name: &str, value: Value| {
            row.insert(name.to_owned(), value);
        };
        put("id", json!(id));
        put("url", json!(format!("/api/v2/job_events/{id}/")));
        put(
            "related",
            json!({
                "job": format!("/api/v2/jobs/{job}/"),
                "children": format!("/api/v2/job_events/{id}/children/"),
            }),
        );
        put("created", json!(time(self.at)));
        put("modified", json!(time(self.at)));
        put("job", json!(job));
        put("event", json!(event));
        put("counter", json!(counter));
        put("event_display", json!(display));
        put("failed", json!(failed));
        put("stdout", json!(stdout));
        put("start_line", json!(self.line));
        put("end_line", json!(self.line + lines));
        put("uuid", json!(format!("event-{id}")));
        put(
            "task",
            data.get("task").cloned().unwrap_or_else(|| json!("")),
        );
        put(
            "host_name",
            data.get("host").cloned().unwrap_or_else(|| json!("")),
        );
        put("event_data", data);
        self.line += lines;
        self.rows.push(Value::Object(row));
    }

    /// What the task was, for each of its events.
    fn data(task: &Task) -> Map<String, Value> {
        let data = json!({
            "playbook": "site.yml", "play": "all", "task": task.name, "task_action": "fail",
            "resolved_action": "ansible.builtin.fail", "task_args": "", "host": task.host,
            "remote_addr": task.host, "res": task.res,
        });
        data.as_object().cloned().unwrap_or_default()
    }

    fn task(&mut self, task: &Task) {
        let title = format!("\r\nTASK [{}] *********************", task.name);
        let name = json!({"play": "all", "task": task.name, "name": task.name});
        let started = format!("Task Started ({})", task.name);
        self.add("playbook_on_task_start", &started, false, &title, name);
        let items = task.res.get("results").and_then(Value::as_array);
        let is_failed = |item: &&Value| item.get("failed") == Some(&json!(true));
        for item in items.into_iter().flatten().filter(is_failed) {
            let mut data = Self::data(task);
            data.insert("res".to_owned(), item.clone());
            let (name, display) = ("runner_item_on_failed", "Item Failed");
            self.add(name, display, true, &fatal(task, item), Value::Object(data));
        }
        let (name, display) = task.outcome.event();
        let is_ignored = task.outcome == Outcome::Ignored;
        let mut data = Self::data(task);
        if name == "runner_on_failed" {
            let ignored = if is_ignored { json!(true) } else { Value::Null };
            data.insert("ignore_errors".to_owned(), ignored);
            data.insert("event_loop".to_owned(), Value::Null);
        }
        // What its items have said is not said again.
        let mut said = match items {
            Some(_) => String::new(),
            None => fatal(task, &task.res),
        };
        if is_ignored {
            said.push_str("\r\n\u{1b}[0;36m...ignoring\u{1b}[0m");
        }
        self.add(name, display, !is_ignored, &said, Value::Object(data));
        if task.outcome == Outcome::Rescued {
            let said = format!("\u{1b}[0;32mok: [{}]\u{1b}[0m", task.host);
            let data = json!({
                "play": "all", "task": "rescue", "host": task.host,
                "res": {"changed": false, "_ansible_no_log": false},
            });
            self.add("runner_on_ok", "Host OK", false, &said, data);
        }
    }

    /// How many tasks of each host came to what.
    fn statistics(&mut self, tasks: &[Task]) {
        let mut data = Map::new();
        for column in [
            "changed", "dark", "failures", "ignored", "ok", "rescued", "skipped",
        ] {
            data.insert(column.to_owned(), json!({}));
        }
        let hosts = tasks.iter().map(|task| (task.host.clone(), json!(1)));
        data.insert("processed".to_owned(), Value::Object(hosts.collect()));
        data.insert("artifact_data".to_owned(), json!({}));
        data.insert("playbook".to_owned(), json!("site.yml"));
        for task in tasks {
            let column = data.get_mut(task.outcome.column());
            if let Some(column) = column.and_then(Value::as_object_mut) {
                let known = column.get(&task.host).and_then(Value::as_u64);
                column.insert(task.host.clone(), json!(known.unwrap_or(0) + 1));
            }
        }
        let recap = "\r\nPLAY RECAP *********************";
        let data = Value::Object(data);
        self.add("playbook_on_stats", "Playbook Complete", false, recap, data);
    }
}

fn fatal(task: &Task, res: &Value) -> String {
    let word = match task.outcome.event().0 {
        "runner_on_unreachable" => "UNREACHABLE!",
        _ => "FAILED!",
    };
    format!(
        "\u{1b}[0;31mfatal: [{}]: {word} => {res}\u{1b}[0m",
        task.host
    )
}

/// Whether all that a job has printed is stored.
pub(super) fn are_stored(job: &Job, now: Timestamp) -> bool {
    match (&job.plan.ending, job.finished) {
        (Ending::Played(play), Some(finished)) => now >= clock::add(finished, play.lag),
        _ => true,
    }
}

/// The events of a job that has started, in order.
pub(super) fn of(job: &Job, now: Timestamp) -> Vec<Value> {
    let Some(started) = job.started.filter(|_| job.handed_out) else {
        return Vec::new();
    };
    let mut events = Events {
        job,
        at: started,
        rows: Vec::new(),
        line: 0,
    };
    let play = match &job.plan.ending {
        Ending::Played(play) => play.clone(),
        Ending::Failed { task, message } => Play::of([Task::saying(task.as_str(), message)]),
        _ => Play::default(),
    };
    let has_failed = job.status == "failed";
    if has_failed && !play.output.is_empty() {
        for line in play.output.iter().filter(|_| are_stored(job, now)) {
            events.add("verbose", "Verbose", false, line, json!({}));
        }
        return events.rows;
    }
    let start = json!({"playbook": "site.yml"});
    events.add("playbook_on_start", "Playbook Started", false, "", start);
    events.add(
        "playbook_on_play_start",
        "Play Started (all)",
        false,
        "\r\nPLAY [all] *********************",
        json!({"play": "all"}),
    );
    if job.is_active() || !are_stored(job, now) {
        return events.rows;
    }
    let tasks: &[Task] = if has_failed { &play.tasks } else { &[] };
    for task in tasks {
        events.task(task);
    }
    events.statistics(tasks);
    events.rows
}

/// All that was printed.
pub(super) fn stdout(job: &Job, now: Timestamp) -> String {
    of(job, now)
        .iter()
        .filter_map(|event| event.get("stdout")?.as_str())
        .filter(|text| !text.is_empty())
        .flat_map(|text| [text, "\n"])
        .collect()
}
