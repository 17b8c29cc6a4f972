//! What a playbook prints: job events and standard output.

use serde_json::{Value, json};

use super::jobs::Job;
use super::plan::Ending;
use super::rows::time;
use super::shape;

/// The events of a job that has started, in order.
pub(super) fn of(job: &Job) -> Vec<Value> {
    let Some(started) = job.started.filter(|_| job.handed_out) else {
        return Vec::new();
    };
    let mut events = Vec::new();
    let mut line = 0;
    let mut add = |event: &str, display: &str, failed: bool, stdout: &str, data: Value| {
        let counter = events.len() + 1;
        let lines = stdout.lines().count();
        let id = job.id * 1_000 + counter as u64;
        let mut row = shape::JOB_EVENT.clone();
        let mut put = |name: &str, value: Value| {
            row.insert(name.to_owned(), value);
        };
        put("id", json!(id));
        put("url", json!(format!("/api/v2/job_events/{id}/")));
        put(
            "related",
            json!({
                "job": format!("/api/v2/jobs/{}/", job.id),
                "children": format!("/api/v2/job_events/{id}/children/"),
            }),
        );
        put("created", json!(time(started)));
        put("modified", json!(time(started)));
        put("job", json!(job.id));
        put("event", json!(event));
        put("counter", json!(counter));
        put("event_display", json!(display));
        put("failed", json!(failed));
        put("stdout", json!(stdout));
        put("start_line", json!(line));
        put("end_line", json!(line + lines));
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
        line += lines;
        events.push(Value::Object(row));
    };
    add(
        "playbook_on_start",
        "Playbook Started",
        false,
        "",
        json!({"playbook": "site.yml"}),
    );
    add(
        "playbook_on_play_start",
        "Play Started (all)",
        false,
        "\r\nPLAY [all] *********************",
        json!({"play": "all"}),
    );
    if job.is_active() {
        return events;
    }
    if let Ending::Failed { task, message } = &job.plan.ending
        && job.status == "failed"
    {
        add(
            "runner_on_failed",
            "Host Failed",
            true,
            &format!(
                "\u{1b}[0;31mfatal: [h0]: FAILED! => {{\"changed\": false, \"msg\": \
                     \"{message}\"}}\u{1b}[0m"
            ),
            json!({
                "playbook": "site.yml", "play": "all", "task": task, "task_action": "fail",
                "resolved_action": "ansible.builtin.fail", "host": "h0", "remote_addr": "h0",
                "res": {"msg": message, "_ansible_no_log": false, "changed": false},
                "ignore_errors": null,
            }),
        );
    }
    add(
        "playbook_on_stats",
        "Playbook Complete",
        false,
        "\r\nPLAY RECAP *********************",
        json!({"playbook": "site.yml"}),
    );
    events
}

/// All that was printed.
pub(super) fn stdout(job: &Job) -> String {
    of(job)
        .iter()
        .filter_map(|event| event.get("stdout")?.as_str())
        .filter(|text| !text.is_empty())
        .flat_map(|text| [text, "\n"])
        .collect()
}
