//! The API of the EDA server as the world hands it on: what is between may write JSON in its own way, and one
//! odd row hides no other.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod common;

use std::sync::Arc;

use common::{config, record, request, start, tracked, vm};
use provider_core::{DeprovisionResult, JobState, JobType, ManualClock, Provider};
use provider_eda::{Activation, AuditTracking, EdaProvider, Endpoints, RulebookWebhook};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// An API that gives these answers, by the place below `/api/eda/v1/`, and a provider that reads its audit.
async fn reader(answers: &[(&str, String)]) -> (MockServer, EdaProvider) {
    let api = MockServer::start().await;
    for (place, body) in answers {
        let answer = ResponseTemplate::new(200).set_body_bytes(body.as_bytes());
        Mock::given(method("GET"))
            .and(path(format!("/api/eda/v1/{place}")))
            .respond_with(answer)
            .mount(&api)
            .await;
    }
    let webhook = RulebookWebhook::new(Endpoints::one("http://nowhere.invalid/x"));
    let config = config(webhook)
        .with_tracking(AuditTracking::new(api.uri(), "t"))
        .with_activation(Activation::new(api.uri(), "t", "mine"));
    let clock = Arc::new(ManualClock::new(start()));
    let eda = EdaProvider::with_clock(config, clock).unwrap();
    (api, eda)
}

fn list(rows: &str) -> String {
    format!(r#"{{"count": 1, "next": null, "results": [{rows}]}}"#)
}

#[tokio::test]
async fn an_end_is_seen_however_the_audit_is_written() {
    let event = format!("operationToken: {}", common::token(1).as_str());
    let answers = [
        ("activations/", list("")),
        (
            "audit-rules/",
            format!("\u{feff}{}", list(r#"{"id": 7, "x": NaN}"#)),
        ),
        (
            "audit-rules/7/events/",
            list(&format!(r#"null, {{"payload": "{event}"}}"#)),
        ),
        (
            "audit-rules/7/actions/",
            list(
                r#"{"id": "a", "name": "x", "name": "run_job_template", "status": "successful",
                     "status_message": {}, "fired_at": "yesterday"}"#,
            ),
        ),
        (
            "audit-rules/7/",
            r#"{"id": 7, "created_at": "2026-11-23T03:59:00.000000000000"}"#.to_owned(),
        ),
    ];
    let (_api, eda) = reader(&answers).await;
    let status = eda.status(&vm("vm"), &tracked(1)).await.unwrap();
    assert_eq!(status.state, JobState::Succeeded);
    let ended = status.finished_at.map(|at| at.to_string());
    assert_eq!(ended.as_deref(), Some("2026-11-23T03:59:00Z"));
}

/// A rule whose row cannot be read may have fired for any event.
#[tokio::test]
async fn a_rule_that_cannot_be_read_is_no_rule_that_is_not_there() {
    for (rows, is_known) in [("", true), (r#"{"id": "x"}"#, false), ("null", false)] {
        let answers = [("activations/", list("")), ("audit-rules/", list(rows))];
        let (_api, eda) = reader(&answers).await;
        let provision = record(JobType::Provision, 1, JobState::Unknown, start());
        let answer = eda
            .trigger_deprovision(&request(vm("vm"), 2), &[provision])
            .await
            .unwrap();
        let DeprovisionResult::Waiting { reason, .. } = answer else {
            panic!("{rows}: {answer:?}");
        };
        assert_eq!(
            !reason.contains("read to its end"),
            is_known,
            "{rows}: {reason}"
        );
    }
}

#[tokio::test]
async fn an_activation_is_found_beside_odd_rows() {
    let rows = r#"null, {"id": "x", "name": "mine too"}, {"id": 3, "name": "mine", "status": "running",
                  "status_message": {"odd": NaN}}"#;
    let (_api, eda) = reader(&[("activations/", list(rows))]).await;
    let report = eda.preflight(&[]).await.to_string();
    assert!(
        report.contains("activation mine: it is running"),
        "{report}"
    );
}
