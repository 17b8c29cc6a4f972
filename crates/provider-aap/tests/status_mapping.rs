//! Every status word, for both kinds of job and both directions, through the client over HTTP.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::time::Duration;

use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig, map_status};
use provider_core::{
    ConfigVersion, Effect, ErrorKind, JobRef, JobState, JobStatus, JobType, Provider,
    ProviderError, Resource, TrackedJob, text,
};
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

const TOKEN: &str = "a-very-secret-token";

const STATUSES: [(&str, JobState); 8] = [
    ("new", JobState::Pending),
    ("pending", JobState::Pending),
    ("waiting", JobState::Waiting),
    ("running", JobState::Running),
    ("successful", JobState::Succeeded),
    ("failed", JobState::Failed),
    ("error", JobState::Failed),
    ("canceled", JobState::Canceled),
];

/// Words of templates, projects and inventory sources, words of the future, and nonsense.
const FOREIGN: [&str; 9] = [
    "never updated",
    "ok",
    "missing",
    "none",
    "updating",
    "cancelled",
    "SUCCESSFUL",
    "",
    "\u{0}\u{1b}[31m",
];

async fn controller() -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/api/v2/ping/"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"version": "24.6.1"})))
        .mount(&server)
        .await;
    server
}

fn provider(server: &MockServer) -> AapProvider {
    let http = HttpConfig {
        proxy_from_environment: false,
        ..HttpConfig::default()
    };
    AapProvider::new(AapConfig::new(server.uri(), Auth::token(TOKEN)).with_http(http)).unwrap()
}

fn vm() -> Resource {
    let object = json!({"kind": "ComputeInstance", "metadata": {"name": "vm", "uid": "u"}});
    Resource::from_json(object).unwrap()
}

fn version() -> ConfigVersion {
    ConfigVersion::of_json(&json!({"cores": 4}))
}

async fn answer(server: &MockServer, at: &str, answer: ResponseTemplate) {
    server.reset().await;
    Mock::given(method("GET"))
        .and(path("/api/v2/ping/"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"version": "24.6.1"})))
        .mount(server)
        .await;
    Mock::given(method("GET"))
        .and(path(at))
        .respond_with(answer)
        .mount(server)
        .await;
}

async fn poll(server: &MockServer, body: &Value) -> Result<JobStatus, ProviderError> {
    answer(
        server,
        "/api/v2/jobs/7/",
        ResponseTemplate::new(200).set_body_json(body),
    )
    .await;
    let job = TrackedJob::new(JobType::Provision, JobRef::new("aap", "job", "7"))
        .with_config_version(version());
    provider(server).status(&vm(), &job).await
}

#[tokio::test]
async fn every_status_word_for_both_kinds_in_both_directions() {
    let server = controller().await;
    for (word, state) in STATUSES {
        assert_eq!(map_status(word), state);
        for (kind, collection) in [("job", "jobs"), ("workflow_job", "workflow_jobs")] {
            let body = json!({"id": 7, "type": kind, "status": word});
            let at = format!("/api/v2/{collection}/7/");
            answer(
                &server,
                &at,
                ResponseTemplate::new(200).set_body_json(&body),
            )
            .await;
            let provider = provider(&server);
            let poll = async |job_type| {
                let job = TrackedJob::new(job_type, JobRef::new("aap", kind, "7"));
                let job = job.with_config_version(version());
                provider.status(&vm(), &job).await.unwrap()
            };
            let up = poll(JobType::Provision).await;
            let down = poll(JobType::Deprovision).await;
            assert_eq!((up.state, down.state), (state, state), "{word} of a {kind}");
            assert_eq!(up.job.kind, kind);
            // The version is reached by a provision job that succeeded, and by nothing else.
            let reached = (state == JobState::Succeeded).then(version);
            assert_eq!(up.reconciled_version, reached, "{word} of a {kind}");
            assert_eq!(down.reconciled_version, None, "{word} of a {kind}");
        }
    }
}

#[tokio::test]
async fn unknown_words_are_never_an_end() {
    let server = controller().await;
    for word in FOREIGN {
        let status = poll(&server, &json!({"id": 7, "status": word}))
            .await
            .unwrap();
        assert_eq!(
            (status.state, status.settled),
            (JobState::Unknown, false),
            "{word:?}"
        );
        assert!(
            status.message.contains("unknown status"),
            "{}",
            status.message
        );
        assert!(!status.message.contains('\u{1b}'));
    }
}

#[tokio::test]
async fn missing_and_null_members_are_no_errors() {
    let server = controller().await;
    for body in [
        json!({"status": "running"}),
        json!({"status": "running", "started": null, "finished": null, "elapsed": null,
               "artifacts": null, "job_explanation": null, "result_traceback": null}),
        json!({"status": "running", "id": "seven", "elapsed": "1s", "started": "soon",
               "artifacts": "none", "job_explanation": 5}),
    ] {
        let status = poll(&server, &body).await.unwrap();
        assert_eq!(status.state, JobState::Running);
        assert_eq!((status.started_at, status.elapsed), (None, None));
    }
    for body in [json!({}), json!({"status": null}), json!({"status": 7})] {
        assert_eq!(poll(&server, &body).await.unwrap().state, JobState::Unknown);
    }
}

#[tokio::test]
async fn time_stamps_with_and_without_fractions() {
    let server = controller().await;
    for (text, expected) in [
        ("2026-11-23T04:02:46.471230Z", "2026-11-23T04:02:46.47123Z"),
        ("2026-11-23T04:02:46Z", "2026-11-23T04:02:46Z"),
        ("2026-11-23T05:02:46+01:00", "2026-11-23T04:02:46Z"),
    ] {
        let body =
            json!({"status": "successful", "started": text, "finished": text, "elapsed": 9.898});
        let status = poll(&server, &body).await.unwrap();
        assert_eq!(status.started_at.unwrap().to_string(), expected);
        assert_eq!(status.finished_at.unwrap().to_string(), expected);
        assert_eq!(status.elapsed, Some(Duration::from_secs_f64(9.898)));
    }
}

#[tokio::test]
async fn artifacts_are_outputs() {
    let server = controller().await;
    let body = json!({"status": "successful", "artifacts": {"ip": "10.0.0.7"}});
    assert_eq!(
        poll(&server, &body).await.unwrap().outputs["ip"],
        "10.0.0.7"
    );
}

#[tokio::test]
async fn the_most_telling_text_is_the_message() {
    let server = controller().await;
    for (members, expected) in [
        (
            json!({"job_explanation": "Job terminated due to timeout", "result_traceback": "x"}),
            "Job terminated due to timeout",
        ),
        (
            json!({"job_explanation": "", "result_traceback": "Traceback:\n  File\nRuntimeError: no node\n"}),
            "RuntimeError: no node",
        ),
        (
            json!({"job_explanation": "", "result_traceback": ""}),
            "the job ended as failed and gave no reason",
        ),
    ] {
        let mut body = json!({"status": "failed"});
        body.as_object_mut()
            .unwrap()
            .extend(members.as_object().unwrap().clone());
        assert_eq!(poll(&server, &body).await.unwrap().message, expected);
    }
    let body = json!({"status": "pending", "job_explanation": "waiting for job-28 to finish"});
    assert_eq!(
        poll(&server, &body).await.unwrap().message,
        "waiting for job-28 to finish"
    );
}

#[tokio::test]
async fn huge_and_hostile_texts_are_bounded() {
    let server = controller().await;
    let body = json!({"status": "failed", "job_explanation": "\u{1b}[31mé\n".repeat(300_000)});
    let status = poll(&server, &body).await.unwrap();
    assert!(status.message.len() <= text::MAX_TEXT);
    assert!(!status.message.contains(['\n', '\u{1b}']));
    let body = json!({"status": "failed", "job_explanation": format!("sent {TOKEN} along")});
    assert_eq!(
        poll(&server, &body).await.unwrap().message,
        "sent *** along"
    );
}

#[tokio::test]
async fn answers_that_are_no_job_end_in_one_clear_sentence() {
    let server = controller().await;
    let html = format!("<html>{}</html>", "x".repeat(2 << 20));
    let json_type = |status: u16, body: &str| {
        ResponseTemplate::new(status).set_body_raw(body.as_bytes().to_vec(), "application/json")
    };
    let page = |status: u16| ResponseTemplate::new(status).set_body_raw(html.clone(), "text/html");
    let cases = [
        (page(200), ErrorKind::Protocol),
        (page(502), ErrorKind::Unavailable),
        (page(404), ErrorKind::Unavailable),
        (json_type(200, "{\"status\": \"succ"), ErrorKind::Protocol),
        (json_type(200, "[1, 2]"), ErrorKind::Protocol),
        (json_type(200, "null"), ErrorKind::Protocol),
        (
            json_type(404, "{\"detail\": \"No Job matches the given query.\"}"),
            ErrorKind::NotFound,
        ),
        (
            json_type(401, "{\"detail\": \"x\"}"),
            ErrorKind::Unauthorized,
        ),
        (
            json_type(403, "{\"detail\": \"You do not have permission\"}"),
            ErrorKind::Forbidden,
        ),
        (
            json_type(500, "{\"detail\": \"A server error has occurred.\"}"),
            ErrorKind::Unavailable,
        ),
        (
            json_type(429, "{}").insert_header("retry-after", "120"),
            ErrorKind::RateLimited,
        ),
        (
            ResponseTemplate::new(302).insert_header("location", "/migrations_notran/"),
            ErrorKind::Unavailable,
        ),
        (ResponseTemplate::new(204), ErrorKind::Protocol),
    ];
    for (response, kind) in cases {
        answer(&server, "/api/v2/jobs/7/", response).await;
        let job = TrackedJob::new(JobType::Provision, JobRef::new("aap", "job", "7"));
        let error = provider(&server).status(&vm(), &job).await.unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), kind, "{text}");
        assert!(
            text.len() <= text::MAX_TEXT && !text.contains("xxxx") && !text.contains(TOKEN),
            "{text}"
        );
        assert_ne!(
            error.effect(),
            Effect::MaybeSent,
            "a read changes nothing: {text}"
        );
    }
}

/// D46: a poll that sees nothing new gives nothing new, so that nothing is written.
#[tokio::test]
async fn d46_two_polls_of_one_state_are_equal() {
    let server = controller().await;
    let body = json!({"id": 7, "status": "running", "started": "2026-11-23T04:02:46Z"});
    let first = poll(&server, &body).await.unwrap();
    assert_eq!(first, poll(&server, &body).await.unwrap());
}
