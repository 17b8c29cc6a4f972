//! Whether what was told is true: every condition, record, event and count, by the journal of what really ran.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use provider_core::ConfigVersion;
use provider_testkit::aap::Run;
use serde_json::Value;

use crate::api::{Told, Written};
use crate::counters::Counters;
use crate::judge::is_stray;
use crate::report::report;
use crate::run::Scene;

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// The jobs that a text names: `aap job/42`, `aap workflow_job/42`.
fn jobs_in(text: &str) -> Vec<u64> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '/' || c == '_'));
    let named = words.filter_map(|word| {
        word.strip_prefix("job/")
            .or_else(|| word.strip_prefix("workflow_job/"))
    });
    named.filter_map(|id| id.parse().ok()).collect()
}

/// The journal, as one who judges asks it.
struct Book {
    runs: Vec<Run>,
    /// When people, or the controller itself, have made the journal and our records tell different things:
    /// job ids that were given twice.
    restored: bool,
}

impl Book {
    /// The run of this id, which must be of this object.
    fn of(&self, uid: &str, id: u64) -> Result<Option<&Run>, String> {
        let mut named = self.runs.iter().filter(|run| run.id == id);
        match (named.next(), named.next()) {
            // It was given twice: which one is meant?
            (Some(_), Some(_)) => Ok(None),
            (Some(run), _) if run.object().as_deref() == Some(uid) => Ok(Some(run)),
            // It was started without our variables, so that nothing in it says whose it is.
            (Some(run), _) if is_stray(run) => Ok(None),
            _ if self.restored => Ok(None),
            (Some(run), _) => Err(format!(
                "job {id} is of {}",
                run.object().unwrap_or_default()
            )),
            (None, _) => Err(format!("there was no job {id}")),
        }
    }

    fn launched<'b>(&'b self, uid: &'b str) -> impl Iterator<Item = &'b Run> + 'b {
        self.runs.iter().filter(move |run| {
            run.launch_type != "workflow" && run.object().as_deref() == Some(uid)
        })
    }
}

fn ended(run: &Run, at: Timestamp) -> bool {
    run.stopped.is_some_and(|stopped| stopped <= at)
}

fn is_create(run: &Run) -> bool {
    run.template.contains("create")
}

fn is_delete(run: &Run) -> bool {
    run.template.contains("delete")
}

/// It changes nothing of what is there.
fn is_restart(run: &Run) -> bool {
    run.template.contains("restart")
}

fn version(run: &Run) -> String {
    let spec = &run.extra_vars["ansible_eda"]["event"]["payload"]["spec"];
    ConfigVersion::of_json(spec).as_str().to_owned()
}

/// What is untrue of a status at the time when it was written.
fn of_status(book: &Book, written: &Written) -> Result<(), String> {
    let (at, object) = (written.at, &written.object);
    let uid = text(object, "/metadata/uid");
    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
    let status = &object["status"];
    if status["observedGeneration"]
        .as_i64()
        .is_some_and(|observed| observed > generation)
    {
        return Err(format!(
            "generation {generation} and observed {}",
            status["observedGeneration"]
        ));
    }
    for condition in status["conditions"].as_array().into_iter().flatten() {
        let (name, is) = (text(condition, "/type"), text(condition, "/status"));
        let (reason, message) = (text(condition, "/reason"), text(condition, "/message"));
        let wrong = |what: &str| Err(format!("{name}={is}, {reason}, {message:?}: {what}"));
        if condition["observedGeneration"]
            .as_i64()
            .is_some_and(|observed| observed > generation)
        {
            return wrong("a generation that there is not yet");
        }
        for id in jobs_in(message) {
            if let Err(what) = book.of(uid, id) {
                return wrong(&what);
            }
        }
        match (name, is) {
            ("Provisioned", "True") => {
                let applied = message
                    .split_whitespace()
                    .find(|word| word.starts_with("v1-"));
                // A message that has something else to say (a mode that is misspelt) leaves it to the status.
                let known = text(status, "/reconciledConfigVersion");
                if let Err(what) = is_applied(book, uid, applied.unwrap_or(known), at) {
                    return wrong(&what);
                }
            }
            ("Deprovisioned", "True") if reason == "Deprovisioned" => {
                let last = book
                    .launched(uid)
                    .filter(|run| run.accepted <= at && run.launch_type == "manual");
                let last = last.max_by_key(|run| (run.accepted, run.id));
                let removed =
                    last.is_some_and(|run| is_delete(run) && run.succeeded && ended(run, at));
                if !removed && !book.restored {
                    return wrong("no job has removed it");
                }
            }
            _ => {}
        }
    }
    for record in status["jobs"].as_array().into_iter().flatten() {
        of_record(book, uid, record, at).map_err(|what| format!("{what}: {record}"))?;
    }
    Ok(())
}

/// The last thing that was done is a provision of this version, with success.
fn is_applied(book: &Book, uid: &str, applied: &str, at: Timestamp) -> Result<(), String> {
    let before = book
        .launched(uid)
        .filter(|run| run.accepted <= at && !is_restart(run));
    let ours: Vec<&Run> = before.filter(|run| run.launch_type == "manual").collect();
    let of_it =
        |run: &&&Run| is_create(run) && version(run) == applied && run.succeeded && ended(run, at);
    // What a person relaunches may succeed in place of ours.
    let by_people = |run: &&Run| {
        run.launch_type == "relaunch" && is_create(run) && version(run) == applied && run.succeeded
    };
    let Some(run) = ours
        .iter()
        .filter(of_it)
        .max_by_key(|run| (run.accepted, run.id))
    else {
        let relaunched = book.launched(uid).any(|run| by_people(&run));
        return match relaunched || book.restored {
            true => Ok(()),
            false => Err("no job of this version has succeeded".to_owned()),
        };
    };
    let later = ours
        .iter()
        .find(|later| (later.accepted, later.id) > (run.accepted, run.id));
    match later.filter(|later| later.started.is_some_and(|started| started <= at)) {
        Some(later) => Err(format!("job {} has begun since", later.id)),
        None => Ok(()),
    }
}

/// A record is told to whoever reads the status.
fn of_record(book: &Book, uid: &str, record: &Value, at: Timestamp) -> Result<(), String> {
    let Some(id) = text(record, "/jobID").parse::<u64>().ok() else {
        return Ok(());
    };
    let Some(run) = book.of(uid, id)? else {
        return Ok(());
    };
    let expected = match text(record, "/type") {
        "provision" => is_create(run),
        "action" => is_restart(run) && text(record, "/action") == "restart",
        _ => is_delete(run),
    };
    if !expected {
        return Err(format!("job {id} is one of {}", run.template));
    }
    let token = text(&run.extra_vars, "/provider_operation_token");
    let own = text(record, "/token");
    if !own.is_empty() && run.launch_type == "manual" && token != own {
        return Err(format!("job {id} has the token {token}"));
    }
    let doubtful = record["doubtful"].as_bool().unwrap_or(false);
    match text(record, "/state") {
        "Succeeded" if !run.succeeded || !ended(run, at) => {
            Err(format!("job {id} has not succeeded"))
        }
        // Ends by assumption say so.
        "Failed" | "Canceled"
            if !doubtful
                && ["", "Adopted", "CanceledByOthers", "CanceledByUs"]
                    .contains(&text(record, "/reason"))
                && !ended(run, at) =>
        {
            Err(format!("job {id} has not ended"))
        }
        "Failed" | "Canceled"
            if !doubtful && run.succeeded && text(record, "/reason").is_empty() =>
        {
            Err(format!("job {id} has succeeded"))
        }
        _ => Ok(()),
    }
}

/// What is untrue of an event.
fn of_event(book: &Book, told: &Told) -> Result<(), String> {
    let (event, at) = (&told.event, told.at);
    let (uid, reason) = (text(event, "/regarding/uid"), text(event, "/reason"));
    let note = text(event, "/note");
    for id in jobs_in(note) {
        let Some(run) = book.of(uid, id)? else {
            continue;
        };
        if run.accepted > at {
            return Err(format!("job {id} began later"));
        }
        let action = match run {
            run if is_create(run) => "Provision",
            run if is_restart(run) => "Act",
            _ => "Deprovision",
        };
        if ["Started", "Adopted", "Failed", "Canceled"].contains(&reason)
            && text(event, "/action") != action
        {
            return Err(format!("job {id} is one of {}", run.template));
        }
        match reason {
            "Failed" | "Canceled" if !ended(run, at) || run.succeeded => {
                return Err(format!("job {id} has not failed"));
            }
            "Orphaned" if ended(run, at - SignedDuration::from_mins(10)) && is_delete(run) => {
                return Err(format!("job {id} was over, and has left nothing"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What is told twice by one process, of what happens once.
fn twice(told: &[Told]) -> Result<(), String> {
    let mut known = BTreeSet::new();
    for Told { process, event, .. } in told {
        let (reason, note) = (text(event, "/reason"), text(event, "/note"));
        let uid = text(event, "/regarding/uid");
        let what = match reason {
            "Started" | "Adopted" | "Failed" | "Canceled" | "Purged" => jobs_in(note),
            "Released" => vec![0],
            _ => continue,
        };
        for id in what {
            // A controller that was restored gives ids again, to other attempts.
            let attempt = note.split("attempt ").nth(1).unwrap_or_default();
            let attempt: String = attempt.chars().take_while(char::is_ascii_digit).collect();
            if !known.insert((*process, uid, reason, id, attempt)) {
                return Err(format!(
                    "{reason} is told twice of {uid}, job {id}, by process {process}"
                ));
            }
        }
    }
    Ok(())
}

/// Counts against what there was to count, up to what a process that died has taken with it.
fn counts(scene: &Scene, counters: &Counters) -> Result<(), String> {
    let crashes = scene
        .chronicle
        .counts()
        .get("crashes")
        .copied()
        .unwrap_or(0);
    let asked = scene.server.asked();
    // So many objects are worked on at once, and each has one request under way.
    let dead = crashes * 8;
    let near = |what: &str, counted: u64, there: u64| match counted.abs_diff(there) <= dead {
        true => Ok(()),
        false => Err(format!(
            "{what}: {counted} are counted, and there were {there}; {crashes} crashes"
        )),
    };
    let total = |name: &str, labels: &[(&str, &str)]| counters.total(name, labels);
    near(
        "writes",
        total("provider_kube_api_writes_total", &[]),
        asked.writes,
    )?;
    near(
        "reads",
        total("provider_kube_api_reads_total", &[]),
        asked.reads,
    )?;
    near(
        "conflicts",
        total("provider_kube_api_conflicts_total", &[]),
        asked.conflicts,
    )?;
    let journal = scene.sim.journal();
    let launched = journal
        .iter()
        .filter(|run| run.launch_type == "manual")
        .count() as u64;
    let event = |event: &str| total("provider_attempt_events_total", &[("event", event)]);
    let known = event("Started") + event("Adopted");
    // Where the database was restored, a job may be taken for gone, and be found and told once more.
    let found_again = scene.forgotten.len() as u64;
    if known > launched + found_again {
        return Err(format!(
            "{known} jobs are counted as started or adopted of {launched}"
        ));
    }
    // Whoever is not told that a write was taken does not know what it has written first.
    let unknown = dead + asked.lost + event("Duplicate");
    if known + unknown < launched {
        return Err(format!(
            "{known} jobs are counted as started or adopted of {launched}; {crashes} crashes, {asked:?}"
        ));
    }
    let succeeded = journal
        .iter()
        .filter(|run| run.succeeded && run.launch_type == "manual")
        .count() as u64;
    let counted = event("Succeeded");
    if counted + dead + asked.lost + event("Purged") + event("Assumed") + event("Failed")
        < succeeded
    {
        return Err(format!(
            "{counted} jobs are counted as succeeded of {succeeded}"
        ));
    }
    let all = journal
        .iter()
        .filter(|run| run.succeeded && run.launch_type != "workflow")
        .count() as u64;
    // Whoever asks about a job whose end others have put on record, and taken off it again to keep the
    // history short, tells its end once more.
    let again = if scene.history == 1 {
        asked.conflicts
    } else {
        0
    };
    // What a restored controller has forgotten has ended well before, or goes on under an id that was given again.
    let lost = scene.forgotten.len() as u64;
    if counted > all + again + lost {
        let twice = succeeded_twice(&scene.server.said().0);
        return Err(format!(
            "{counted} successes are counted of {all}; on record: {twice:?}"
        ));
    }
    let calls = |call: &str| total("provider_calls_total", &[("call", call)]);
    let launches = calls("launch");
    if launches + dead < event("Started") {
        return Err(format!(
            "{launches} launches are counted, and {} starts",
            event("Started")
        ));
    }
    Ok(())
}

/// When the success of each attempt was put on record.
fn succeeded_twice(written: &[Written]) -> Vec<String> {
    let mut known: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut all = Vec::new();
    for Written { at, object } in written {
        let uid = text(object, "/metadata/uid");
        let records = object["status"]["jobs"].as_array().into_iter().flatten();
        let succeeded = records.filter(|record| record["state"] == "Succeeded");
        let now: Vec<String> = succeeded
            .map(|record| record["attempt"].to_string())
            .collect();
        for attempt in &now {
            if !known
                .get(uid)
                .is_some_and(|before| before.contains(attempt))
            {
                all.push(format!("{uid} {attempt} {at}"));
            }
        }
        known.insert(uid, now);
    }
    all.sort_unstable();
    all
}

/// Everything that was told in a world.
pub(crate) fn everything(scene: &Scene, counters: &Counters) -> Result<(), String> {
    let journal = scene.sim.journal();
    let book = Book {
        runs: journal,
        restored: !scene.forgotten.is_empty(),
    };
    let (written, told) = scene.server.said();
    for one in &written {
        of_status(&book, one).map_err(|what| {
            let name = text(&one.object, "/metadata/name");
            report(
                scene,
                &format!("{name} was told what is not true, at {}: {what}", one.at),
            )
        })?;
    }
    for one in &told {
        of_event(&book, one).map_err(|what| {
            let name = text(&one.event, "/regarding/name");
            report(
                scene,
                &format!(
                    "{name}: an untrue event at {}, {what}: {}",
                    one.at, one.event
                ),
            )
        })?;
    }
    twice(&told).map_err(|what| report(scene, &what))?;
    scene
        .chronicle
        .count("conditions judged", written.len() as u64);
    scene.chronicle.count("events judged", told.len() as u64);
    counts(scene, counters).map_err(|what| report(scene, &what))
}
