//! One request, one answer.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::{Answer, End};
use super::fault::{Fault, Route};
use super::jobs::{Broken, Job};
use super::lists::{jobs, list_values, stdout, templates};
use super::nodes::Other;
use super::rows::{self, View};
use super::state::State;
use super::world::{Kind, Layout};
use super::{approvals, events, options, shape};

mod instead;
mod writes;

use instead::in_other_words;
pub(super) use instead::instead;
pub(super) use writes::launch;
use writes::{delete, post};

/// A request, taken apart.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub query: Vec<(String, String)>,
    pub authorization: Option<&'a str>,
    pub body: &'a [u8],
}

const FORBIDDEN: &str = "You do not have permission to perform this action.";
const NO_CREDENTIALS: &str = "Authentication credentials were not provided. To establish a login \
                              session, visit /api/login/.";

/// The path below the API's root, when the layout has such a root.
fn below_root(layout: Layout, path: &str) -> Option<(&'static str, &str)> {
    let controller = || path.strip_prefix("/api/v2/").map(|rest| ("/api/v2", rest));
    let prefixed = || {
        path.strip_prefix("/api/controller/v2/")
            .map(|rest| ("/api/controller/v2", rest))
    };
    match layout {
        Layout::Controller => controller(),
        Layout::Prefixed => controller().or_else(prefixed),
        Layout::Gateway => prefixed(),
    }
}

fn route(method: &str, segments: &[&str]) -> Route {
    match (method, segments) {
        ("POST", [.., "launch"]) => Route::Launch,
        (_, [.., "launch"]) => Route::LaunchOptions,
        ("POST", [.., "cancel"]) => Route::Cancel,
        ("GET", [collection, _]) if is_job(collection) => Route::Job,
        ("GET", ["jobs" | "workflow_jobs" | "unified_jobs"]) => Route::Jobs,
        (
            "GET",
            [
                "job_templates" | "workflow_job_templates" | "unified_job_templates",
                ..,
            ],
        ) => Route::Templates,
        ("GET", [_, _, "job_events" | "events" | "stdout" | "workflow_nodes"]) => Route::Diagnosis,
        _ => Route::Other,
    }
}

/// A request that what is in front of the controller lets through.
#[derive(Debug)]
pub(super) struct Admitted {
    pub route: Route,
    prefix: &'static str,
    segments: Vec<String>,
    fault: Option<Fault>,
}

/// What is in front of the controller: it may answer itself.
pub(super) fn admit(
    state: &mut State,
    asked: &Asked<'_>,
    now: Timestamp,
) -> Result<Admitted, Answer> {
    state.jobs.advance(now);
    let Some((prefix, rest)) = below_root(state.layout, asked.path) else {
        return Err(root(state, asked));
    };
    let segments: Vec<String> = rest
        .split('/')
        .filter(|part| !part.is_empty())
        .map(percent_decoded)
        .collect();
    let names: Vec<&str> = segments.iter().map(String::as_str).collect();
    let route = route(asked.method, &names);
    *state.counts.entry(route).or_default() += 1;
    let fault = state.faults.next(route);
    if let Some(answer) = fault
        .as_ref()
        .and_then(|fault| instead(state, fault, asked, &names, now))
    {
        return Err(answer);
    }
    if !asked.path.ends_with('/') {
        return Err(slash(asked));
    }
    Ok(Admitted {
        route,
        prefix,
        segments,
        fault,
    })
}

/// Answers as the controller does, and as its answer fares on its way.
pub(super) fn serve(
    state: &mut State,
    asked: &Asked<'_>,
    admitted: Admitted,
    now: Timestamp,
) -> Answer {
    state.jobs.advance(now);
    let Admitted {
        prefix,
        segments,
        fault,
        ..
    } = admitted;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let mut answer = carry_out(state, asked, &segments, now);
    if prefix != "/api/v2" && answer.json {
        let text = String::from_utf8_lossy(&answer.body);
        answer.body = text
            .replace("\"/api/v2/", &format!("\"{prefix}/"))
            .into_bytes();
    }
    match fault {
        Some(Fault::DropAfter) => answer.ends(End::Closed),
        Some(Fault::Hang) => answer.ends(End::Silent),
        Some(Fault::StatusAfter(status)) => Answer::html(status, 500),
        Some(Fault::Truncated) => {
            let half = answer.body.len() / 2;
            answer.body.truncate(half);
            answer
        }
        Some(Fault::Word(word)) => in_other_words(answer, &word),
        _ => answer,
    }
}

/// What a path outside the versioned API answers.
fn root(state: &State, asked: &Asked<'_>) -> Answer {
    match (asked.path, state.layout) {
        ("/api/", Layout::Controller | Layout::Prefixed) => Answer::json(
            200,
            &json!({
                "description": "AWX REST API", "current_version": "/api/v2/",
                "available_versions": {"v2": "/api/v2/"}, "oauth2": "/api/o/",
                "custom_logo": "", "custom_login_info": "", "login_redirect_override": "",
            }),
        ),
        ("/migrations_notran/", _) => Answer::html(200, 3_000),
        _ => Answer::no_such_path(),
    }
}

/// Without the trailing slash: the permanent redirect of the web server in front.
fn slash(asked: &Asked<'_>) -> Answer {
    let mut location = format!("{}/", asked.path);
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(&asked.query)
        .finish();
    if !query.is_empty() {
        location = format!("{location}?{query}");
    }
    Answer::redirect(301, &location)
}

fn is_job(collection: &str) -> bool {
    matches!(collection, "jobs" | "workflow_jobs") || Other::of_collection(collection).is_some()
}

pub(super) fn kind_of(collection: &str) -> Option<Kind> {
    match collection {
        "jobs" | "job_templates" => Some(Kind::Job),
        "workflow_jobs" | "workflow_job_templates" => Some(Kind::Workflow),
        _ => None,
    }
}

fn carry_out(state: &mut State, asked: &Asked<'_>, segments: &[&str], now: Timestamp) -> Answer {
    if let (_, ["ping"]) = (asked.method, segments) {
        let mut row = shape::PING.clone();
        row.insert("version".to_owned(), json!(state.version));
        return Answer::json(200, &Value::Object(row));
    }
    if asked.method == "GET" && segments.is_empty() {
        return Answer::json(200, &Value::Object(shape::API.clone()));
    }
    let Some(user) = state.user(asked.authorization) else {
        let mut answer = Answer::detail(401, NO_CREDENTIALS);
        answer.headers.push((
            "www-authenticate",
            "Bearer realm=api authorization_url=/api/o/authorize/".to_owned(),
        ));
        return answer;
    };
    let read_only = state.users.get(user).is_some_and(|user| user.read_only);
    if read_only && !matches!(asked.method, "GET" | "OPTIONS") {
        return Answer::detail(403, FORBIDDEN);
    }
    let outcome = match asked.method {
        "OPTIONS" => options::answer(segments)
            .map(|body| Answer::json(200, &body))
            .ok_or_else(|| Answer::detail(404, "Not found.")),
        "GET" => get(state, asked, segments, user, now),
        "POST" => post(state, asked, segments, user, now),
        "DELETE" => delete(state, segments),
        other => Err(Answer::detail(
            405,
            &format!("Method \"{other}\" not allowed."),
        )),
    };
    outcome.unwrap_or_else(|answer| answer)
}

fn get(
    state: &State,
    asked: &Asked<'_>,
    segments: &[&str],
    user: usize,
    now: Timestamp,
) -> Result<Answer, Answer> {
    match segments {
        ["me"] => {
            let me = state.users.get(user).map(|u| rows::user(user, u));
            Ok(Answer::json(
                200,
                &json!({"count": 1, "next": null, "previous": null, "results": [me]}),
            ))
        }
        ["config"] => Ok(Answer::json(200, &json!({"version": state.version}))),
        ["organizations"] => {
            let all: Vec<Value> = state
                .jobs
                .organizations
                .iter()
                .enumerate()
                .map(|(at, name)| json!({"id": at + 1, "type": "organization", "name": name}))
                .collect();
            list_values(state, asked, all)
        }
        ["labels"] => {
            let name = asked.query.iter().find(|(name, _)| name == "name");
            let all: Vec<Value> = state
                .jobs
                .labels
                .iter()
                .enumerate()
                .filter(|(_, (label, _))| name.is_none_or(|(_, name)| name == label))
                .map(|(at, (name, organization))| label(at + 1, name, *organization))
                .collect();
            list_values(state, asked, all)
        }
        [collection @ ("job_templates" | "workflow_job_templates" | "unified_job_templates")] => {
            templates(state, asked, collection, user)
        }
        [
            collection @ ("job_templates" | "workflow_job_templates"),
            id,
        ] => {
            let kind = kind_of(collection).unwrap_or(Kind::Job);
            let id = template_id(state, kind, id)?;
            if !state.sees_template(id, user) {
                return Err(Answer::detail(403, FORBIDDEN));
            }
            let body = state.jobs.templates.get(&id).map(|template| {
                let startable = state.may_launch(id, template, user);
                rows::template(&state.jobs, id, template, startable)
            });
            Ok(Answer::json(200, &body.unwrap_or_default()))
        }
        [
            collection @ ("job_templates" | "workflow_job_templates"),
            id,
            "launch",
        ] => {
            let kind = kind_of(collection).unwrap_or(Kind::Job);
            let id = template_id(state, kind, id)?;
            // Whoever sees the template is shown the form, with the right to start it and without.
            if !state.sees_template(id, user) {
                return Err(Answer::detail(403, FORBIDDEN));
            }
            match state.jobs.templates.get(&id) {
                Some(template) => Ok(Answer::json(200, &rows::launch_options(id, template))),
                None => Err(Answer::detail(404, "Not found.")),
            }
        }
        [collection @ ("jobs" | "workflow_jobs" | "unified_jobs")] => {
            jobs(state, asked, collection, user, now)
        }
        [
            collection @ ("job_templates" | "workflow_job_templates"),
            id,
            "survey_spec",
        ] => {
            let kind = kind_of(collection).unwrap_or(Kind::Job);
            let id = template_id(state, kind, id)?;
            let template = state.jobs.templates.get(&id);
            match template.filter(|_| state.sees_template(id, user)) {
                Some(template) => Ok(Answer::json(200, &rows::survey(template))),
                None => Err(Answer::detail(403, FORBIDDEN)),
            }
        }
        ["workflow_approvals"] => jobs(state, asked, "workflow_approvals", user, now),
        [collection, id] if is_job(collection) => {
            let job = job(state, collection, id)?;
            if !state.sees_job(job, user) {
                return Err(Answer::detail(403, FORBIDDEN));
            }
            if job.broken == Some(Broken::Everywhere) {
                return Err(Answer::detail(500, "A server error has occurred."));
            }
            let row = rows::job(&state.jobs, &state.users, job, View::Detail, now);
            Ok(Answer::json(200, &row))
        }
        [collection @ ("jobs" | "workflow_jobs"), id, "cancel"] => {
            let job = job(state, collection, id)?;
            Ok(Answer::json(200, &json!({"can_cancel": job.is_active()})))
        }
        [collection @ "jobs", id, "job_events"]
        | [collection @ "project_updates", id, "events"] => {
            let job = job(state, collection, id)?;
            let get = |name: &str| {
                asked
                    .query
                    .iter()
                    .find(|(n, _)| n == name)
                    .map(|(_, v)| v.as_str())
            };
            let from = get("start_line__gte")
                .and_then(|n| n.parse::<u64>().ok())
                .unwrap_or(0);
            let kinds: Option<Vec<&str>> = get("event__in").map(|v| v.split(',').collect());
            let is_reversed = get("order_by") == Some("-counter");
            let all = events::of(job, now).into_iter().filter(|event| {
                let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
                let line = event.get("start_line").and_then(Value::as_u64).unwrap_or(0);
                line >= from
                    && kinds
                        .as_ref()
                        .is_none_or(|kinds| kinds.contains(&text("event")))
            });
            let mut all: Vec<Value> = all.collect();
            if is_reversed {
                all.reverse();
            }
            list_values(state, asked, all)
        }
        [collection, id, "stdout"] if is_job(collection) => {
            let job = job(state, collection, id)?;
            Ok(stdout(asked, &events::stdout(job, now)))
        }
        ["workflow_jobs", id, "workflow_nodes"] => {
            let parent = job(state, "workflow_jobs", id)?;
            // Nodes are shown with their workflow, and name their jobs whoever may see those.
            if !state.sees_job(parent, user) {
                return Err(Answer::detail(403, FORBIDDEN));
            }
            let nodes = parent
                .children
                .iter()
                .enumerate()
                .filter_map(|(n, child)| {
                    Some(approvals::node(
                        parent,
                        n + 1,
                        state.jobs.jobs.get(child)?,
                        now,
                    ))
                })
                .collect();
            list_values(state, asked, nodes)
        }
        _ => Err(Answer::no_such_path()),
    }
}

/// By number, or by the name of the named URL (`name++organization`).
fn template_id(state: &State, kind: Kind, given: &str) -> Result<u64, Answer> {
    let of_kind = state
        .jobs
        .templates
        .iter()
        .filter(|(_, template)| template.kind == kind);
    let found = match (given.parse::<u64>(), given.split_once("++")) {
        (Ok(id), _) => of_kind.clone().find(|(known, _)| **known == id),
        (_, Some((name, organization))) => of_kind
            .clone()
            .find(|(_, t)| t.name == name && t.organization == organization),
        _ => None,
    };
    found.map(|(id, _)| *id).ok_or_else(|| {
        let model = match kind {
            Kind::Job => "JobTemplate",
            Kind::Workflow => "WorkflowJobTemplate",
        };
        Answer::detail(404, &format!("No {model} matches the given query."))
    })
}

fn job<'a>(state: &'a State, collection: &str, id: &str) -> Result<&'a Job, Answer> {
    let (kind, other) = (kind_of(collection), Other::of_collection(collection));
    id.parse()
        .ok()
        .and_then(|id: u64| state.jobs.jobs.get(&id))
        .filter(|job| job.other == other && (Some(job.kind) == kind || other.is_some()))
        .ok_or_else(|| {
            let model = match kind {
                Some(Kind::Workflow) => "WorkflowJob",
                _ => "Job",
            };
            Answer::detail(404, &format!("No {model} matches the given query."))
        })
}

fn label(id: usize, name: &str, organization: u64) -> Value {
    json!({
        "id": id, "type": "label", "url": format!("/api/v2/labels/{id}/"),
        "name": name, "organization": organization,
    })
}

fn percent_decoded(text: &str) -> String {
    // A path segment is decoded like a form value, except that `+` stands for itself.
    url::form_urlencoded::parse(text.replace('+', "%2B").as_bytes())
        .next()
        .map_or_else(String::new, |(name, _)| name.into_owned())
}
