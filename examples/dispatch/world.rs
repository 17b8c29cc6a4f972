//! GitHub, as far as the provider can see it, on a socket and with a clock of its own: and the hand
//! that breaks it, for the conformance suite.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, Uri};
use jiff::Timestamp;
use provider_core::clock::{Elapsed, add};
use provider_core::{ActionName, Clock, JobType, ManualClock, OperationToken, Provider, Resource};
use provider_testkit::conformance::{Deed, Fault, Harness, Ran, World};
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use super::{DispatchProvider, GitHub};

const TOKEN: &str = "ghp_token-of-the-provider";
const REPOSITORY: &str = "/repos/tenant/automation";
const FILES: [&str; 3] = ["provision.yml", "deprovision.yml", "action-restart.yml"];
/// A run is listed so long after its dispatch, and begins so long after it: slower than GitHub, so that
/// the suite meets runs that are not listed yet, and cancels that come too early.
const LISTED_AFTER: Duration = Duration::from_secs(45);
const BEGINS_AFTER: Duration = Duration::from_secs(65);

/// What the backend does with the next request of one sort.
#[derive(Debug, Clone, Copy)]
enum Spoilt {
    /// It is not carried out, and answered with this status.
    Before(u16),
    /// The same, and the answer repeats the request.
    Echo(u16),
    /// Nor is this one; it asks to wait for so many seconds.
    Slowly(u64),
    /// It is carried out, and answered with this status.
    After(u16),
    /// It is answered with a page of megabytes, or not at all as far as it can be read.
    Page,
}

#[derive(Debug)]
struct Run {
    id: usize,
    file: String,
    object: String,
    token: String,
    created: Timestamp,
    /// `status`, where it is none that time brings.
    status: Option<&'static str>,
    conclusion: Option<&'static str>,
    ignores_cancel: bool,
    forgotten: bool,
    /// What it has printed: people can read it, and no provider asks for it.
    log: String,
}

#[derive(Debug, Default)]
struct Backend {
    runs: Vec<Run>,
    revoked: bool,
    launch: Option<Spoilt>,
    read: Option<Spoilt>,
    cancel: Option<Spoilt>,
    next_ignores_cancel: bool,
}

#[derive(Debug, Clone)]
struct Shared {
    backend: Arc<Mutex<Backend>>,
    clock: ManualClock,
}

impl Run {
    fn has_begun(&self, now: Timestamp) -> bool {
        now.elapsed_since(self.created) >= BEGINS_AFTER
    }

    fn shown(&self, now: Timestamp) -> Value {
        let by_time = if self.has_begun(now) {
            "in_progress"
        } else {
            "queued"
        };
        let status = match self.conclusion {
            Some(_) => "completed",
            None => self.status.unwrap_or(by_time),
        };
        json!({
            "id": self.id, "display_title": format!("{} {}", self.object, self.token),
            "status": status, "conclusion": self.conclusion, "run_attempt": 1,
            "event": "workflow_dispatch", "created_at": self.created.to_string(),
        })
    }
}

impl Backend {
    fn run(&mut self, id: &str) -> Option<&mut Run> {
        let mut runs = self.runs.iter_mut().filter(|run| !run.forgotten);
        runs.find(|run| run.id.to_string() == id)
    }
}

fn answer(status: u16, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = axum::http::StatusCode::from_u16(status).unwrap_or_default();
    response
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Backend> {
        self.backend.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &str) -> Response<Body> {
        let backend = &mut *self.lock();
        let authorized = headers.get("authorization").is_some_and(|given| {
            given.as_bytes() == format!("Bearer {TOKEN}").as_bytes() && !backend.revoked
        });
        if !authorized {
            return answer(401, r#"{"message":"Bad credentials"}"#);
        }
        let path = uri.path().strip_prefix(REPOSITORY).unwrap_or("/nowhere");
        let words: Vec<&str> = path.split('/').skip(1).collect();
        let slot = match (method, words.as_slice()) {
            (&Method::POST, [.., "dispatches"]) => &mut backend.launch,
            (&Method::POST, _) => &mut backend.cancel,
            _ => &mut backend.read,
        };
        // A cancel is spoilt when there is one to be carried out.
        let spoilt = match words.as_slice() {
            ["actions", "runs", id, "cancel"] => {
                let live = backend.runs.iter().any(|run| {
                    run.id.to_string() == *id
                        && run.conclusion.is_none()
                        && run.has_begun(self.clock.now())
                });
                if live { slot.take() } else { None }
            }
            _ => slot.take(),
        };
        let real = match spoilt {
            Some(Spoilt::Before(status)) => return answer(status, r#"{"message":"no"}"#),
            Some(Spoilt::Echo(status)) => return answer(status, format!("{headers:?} {body}")),
            Some(Spoilt::Slowly(seconds)) => {
                let mut response = answer(403, r#"{"message":"secondary rate limit"}"#);
                response.headers_mut().insert("retry-after", seconds.into());
                return response;
            }
            Some(Spoilt::After(_) | Spoilt::Page) | None => self.real(
                backend,
                method,
                &words,
                uri.query().unwrap_or_default(),
                body,
            ),
        };
        match spoilt {
            Some(Spoilt::After(status)) => answer(status, "<html>bad gateway</html>"),
            Some(Spoilt::Page) => answer(200, "<p>\n".repeat(1 << 19)),
            _ => real,
        }
    }

    fn real(
        &self,
        backend: &mut Backend,
        method: &Method,
        words: &[&str],
        query: &str,
        body: &str,
    ) -> Response<Body> {
        let now = self.clock.now();
        let missing = || answer(404, r#"{"message":"Not Found"}"#);
        match (method.as_str(), words) {
            ("GET", []) => answer(200, r#"{"name":"automation"}"#),
            (_, ["actions", "workflows", file, ..]) if !FILES.contains(file) => missing(),
            ("GET", ["actions", "workflows", _]) => answer(200, r#"{"state":"active"}"#),
            ("POST", ["actions", "workflows", file, "dispatches"]) => {
                let body: Value = serde_json::from_str(body).unwrap_or_default();
                let input = |name: &str| body["inputs"][name].as_str().map(str::to_owned);
                let (Some(object), Some(token)) = (input("object"), input("token")) else {
                    return answer(422, r#"{"message":"Required input is missing"}"#);
                };
                backend.runs.push(Run {
                    id: 9_000 + backend.runs.len(),
                    file: (*file).to_owned(),
                    object,
                    token,
                    created: now,
                    status: None,
                    conclusion: None,
                    ignores_cancel: std::mem::take(&mut backend.next_ignores_cancel),
                    forgotten: false,
                    log: input("vars").unwrap_or_default(),
                });
                answer(204, "")
            }
            ("GET", ["actions", "workflows", file, "runs"]) => {
                let parameter = |name: &str| {
                    let mut all = query.split('&').filter_map(|pair| pair.split_once('='));
                    all.find(|(is, _)| *is == name).map(|(_, value)| value)
                };
                let since = parameter("created").and_then(|text| text.strip_prefix("%3E%3D"));
                let since = since.and_then(|text| text.parse::<Timestamp>().ok());
                let number = |name, otherwise| {
                    let given = parameter(name).and_then(|text| text.parse::<usize>().ok());
                    given.unwrap_or(otherwise)
                };
                let (size, page) = (number("per_page", 30), number("page", 1));
                let listed = backend.runs.iter().rev().filter(|run| {
                    run.file == **file
                        && !run.forgotten
                        && add(run.created, LISTED_AFTER) <= now
                        && since.is_none_or(|since| run.created >= since)
                });
                let rows = listed.skip(size * page.saturating_sub(1)).take(size);
                let rows: Vec<Value> = rows.map(|run| run.shown(now)).collect();
                answer(200, json!({"workflow_runs": rows}).to_string())
            }
            ("GET", ["actions", "runs", id]) => match backend.run(id) {
                Some(run) => answer(200, run.shown(now).to_string()),
                None => missing(),
            },
            ("POST", ["actions", "runs", id, "cancel"]) => {
                match backend.run(id) {
                    None => missing(),
                    // One that has ended, and one that has not begun.
                    Some(run) if run.conclusion.is_some() || !run.has_begun(now) => {
                        answer(409, r#"{"message":"Cannot cancel this run"}"#)
                    }
                    Some(run) => {
                        if !run.ignores_cancel {
                            run.conclusion = Some("cancelled");
                        }
                        answer(202, "{}")
                    }
                }
            }
            _ => missing(),
        }
    }
}

/// One repository, on a socket of its own.
struct Repository {
    shared: Shared,
    url: String,
    server: AbortHandle,
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub(crate) struct Repositories;

#[async_trait]
impl Harness for Repositories {
    async fn world(&self, _seed: u64) -> Result<Box<dyn World>, String> {
        let start = "2026-11-23T04:00:00Z".parse();
        let start = start.map_err(|_| "this is no moment".to_owned())?;
        let shared = Shared {
            backend: Arc::default(),
            clock: ManualClock::new(start),
        };
        let handle =
            async |State(shared): State<Shared>,
                   method: Method,
                   uri: Uri,
                   headers: HeaderMap,
                   body: String| { shared.serve(&method, &uri, &headers, &body) };
        let routes = axum::Router::new()
            .fallback(handle)
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Box::new(Repository {
            shared,
            url: format!("http://{address}{REPOSITORY}"),
            server: server.abort_handle(),
        }))
    }
}

#[async_trait]
impl World for Repository {
    fn provider(&self) -> Result<Arc<dyn Provider>, String> {
        let client = reqwest::Client::builder().no_proxy();
        let github = GitHub::new(client, self.url.clone(), TOKEN);
        Ok(Arc::new(DispatchProvider {
            github: github.map_err(|error| error.to_string())?,
            clock: Arc::new(self.shared.clock.clone()),
        }))
    }

    fn object(&self, name: &str) -> Resource {
        let metadata = json!({"name": name, "namespace": "tenant", "uid": format!("uid-{name}")});
        let object = json!({"kind": "ComputeInstance", "metadata": metadata, "spec": {"cores": 4}});
        Resource::from_json(object).expect("this is an object")
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    async fn pass(&self, by: Duration) {
        self.shared.clock.advance(by);
    }

    async fn break_next(&self, fault: Fault, way: usize) -> bool {
        let backend = &mut *self.shared.lock();
        let before = |codes: &[u16]| codes.get(way).map(|code| Spoilt::Before(*code));
        let after = |codes: &[u16]| codes.get(way).map(|code| Spoilt::After(*code));
        let (slot, spoilt) = match fault {
            Fault::RefusesLaunch => (&mut backend.launch, before(&[422, 404, 403, 400, 415])),
            // A redirect, or a gateway: nobody can tell whether it has passed the launch on.
            Fault::MissesLaunch => (&mut backend.launch, before(&[500, 503, 302])),
            Fault::LosesLaunchAnswer => (&mut backend.launch, after(&[502, 504, 408])),
            Fault::GarblesLaunchAnswer if way == 1 => (&mut backend.launch, Some(Spoilt::Page)),
            Fault::GarblesLaunchAnswer => (&mut backend.launch, after(&[200])),
            Fault::RateLimits(delay) if way == 0 => {
                (&mut backend.launch, Some(Spoilt::Slowly(delay.as_secs())))
            }
            Fault::Echoes => {
                let codes = [400, 422, 409, 500];
                (
                    &mut backend.launch,
                    codes.get(way).map(|code| Spoilt::Echo(*code)),
                )
            }
            Fault::FailsRead => (&mut backend.read, before(&[503, 401, 429, 502])),
            Fault::FloodsRead if way == 0 => (&mut backend.read, Some(Spoilt::Page)),
            Fault::RefusesCancel => (&mut backend.cancel, before(&[409, 403, 500])),
            Fault::LosesCancelAnswer => (&mut backend.cancel, after(&[502, 504])),
            Fault::RefusesCredentials if way == 0 => {
                backend.revoked = true;
                return true;
            }
            Fault::IgnoresCancel if way == 0 => {
                backend.next_ignores_cancel = true;
                return true;
            }
            _ => return false,
        };
        let is_one = spoilt.is_some();
        *slot = spoilt;
        is_one
    }

    async fn make(&self, deed: Deed, token: &OperationToken) -> bool {
        let mut backend = self.shared.lock();
        let is_it = |run: &&mut Run| run.token == token.as_str();
        let Some(run) = backend.runs.iter_mut().find(is_it) else {
            return false;
        };
        match deed {
            Deed::Succeed => run.conclusion = run.conclusion.or(Some("success")),
            Deed::Fail => run.conclusion = Some("failure"),
            Deed::FailLoudly => {
                run.log = format!("{} {TOKEN}\n{}", run.log, "a line\n".repeat(300_000));
                run.conclusion = Some("failure");
            }
            Deed::BeCanceled => run.conclusion = Some("cancelled"),
            Deed::BeForgotten => run.forgotten = true,
            Deed::SpeakUnknownWord => run.status = Some("hibernating"),
            // A person runs it again: another attempt of the same run, and no copy.
            _ => return false,
        }
        true
    }

    async fn journal(&self) -> Vec<Ran> {
        let backend = self.shared.lock();
        let ran = |run: &Run| Ran {
            id: Some(run.id.to_string()),
            token: OperationToken::from_text(&run.token),
            job_type: match run.file.as_str() {
                "provision.yml" => JobType::Provision,
                "deprovision.yml" => JobType::Deprovision,
                _ => JobType::Action(ActionName::new("restart").expect("this is a name")),
            },
            object: run.object.clone(),
            live: run.conclusion.is_none(),
        };
        backend.runs.iter().map(ran).collect()
    }

    fn action(&self) -> Option<&str> {
        Some("restart")
    }

    fn secrets(&self) -> Vec<String> {
        vec![TOKEN.to_owned()]
    }
}
