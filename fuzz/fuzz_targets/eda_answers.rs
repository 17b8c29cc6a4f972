//! Answers to events, and the EDA server's API: the real provider asks. The first line says what it is asked for, the
//! rest is the answers; all of it is the text of an event as well.
#![no_main]

use jiff::Timestamp;
use provider_core::{
    ActionName, ConfigVersion, DeprovisionResult, JobRef, JobType, LaunchRequest, OperationToken,
    Provider, TrackedJob, TriggerError, text,
};
use provider_eda::{
    Activation, Algorithm, AuditTracking, EdaConfig, EdaProvider, Encoding, Endpoints, EventStream,
    Hmac, Pacing, RulebookWebhook, StreamAuth, Transport,
};
use provider_fuzz::{
    Answers, CANARY, check_answer, check_preflight, check_status, check_text, clock, http_of, now,
    object, run, text_of,
};

const API: &str = "https://eda.example.com";

fn transport(is_stream: bool) -> Transport {
    if !is_stream {
        let urls = Endpoints::one("http://e:5000/{action}-{kind}");
        return RulebookWebhook::new(urls).with_token(CANARY).into();
    }
    let mut hmac = Hmac::new(CANARY);
    (hmac.algorithm, hmac.encoding) = (Algorithm::Sha256, Some(Encoding::Hex));
    let url = "https://eda.example.com/eda-event-streams/api/eda/v1/external_event_stream/2eebd70c-5f8c-4b54-ad5e-6e23d4fdd2a7/post/";
    EventStream::new(Endpoints::one(url), StreamAuth::Hmac(hmac)).into()
}

fn provider(answers: &str, is_stream: bool) -> EdaProvider {
    let answers = Answers::of(answers);
    let config = EdaConfig::new(transport(is_stream))
        .with_http(http_of(&answers))
        .with_pacing(Pacing {
            min_interval: jiff::SignedDuration::ZERO,
            ..Pacing::default()
        })
        .with_activation(Activation::new(API, CANARY, "osac"))
        .with_tracking(AuditTracking::new(API, CANARY));
    EdaProvider::with_clock(config, clock()).expect("a configuration that works")
}

fn token() -> OperationToken {
    OperationToken::from_text("0a1b")
}

fn job(job_type: JobType, kind: &str, at: Timestamp) -> TrackedJob {
    let mut job = TrackedJob::new(job_type, JobRef::new("eda", kind, "0a1b")).with_launched_at(at);
    job.token = Some(token());
    job.config_version = Some(ConfigVersion::from_text("v1-00"));
    job
}

fn restart() -> ActionName {
    ActionName::new("restart").expect("a name")
}

fn of_trigger<T>(result: Result<T, TriggerError>) -> Result<T, provider_core::ProviderError> {
    result.map_err(|error| error.error().clone())
}

async fn ask(what: &str, answers: &str) {
    let (what, is_stream) = match what.strip_suffix(" stream") {
        Some(what) => (what, true),
        None => (what, false),
    };
    let eda = provider(answers, is_stream);
    let resource = object();
    let request = LaunchRequest::new(resource.clone(), token());
    match what {
        "send" => {
            let sent = eda.trigger_provision(&request).await;
            check_answer(of_trigger(sent), |sent| {
                check_text(&sent.message, text::MAX_TEXT);
            });
        }
        "remove" => {
            let sent = eda.trigger_deprovision(&request, &[]).await;
            check_answer(of_trigger(sent), |sent| {
                if let DeprovisionResult::Skipped { reason } = sent {
                    check_text(reason, text::MAX_TEXT);
                }
            });
        }
        "preflight" => check_preflight(&eda.preflight(&["ComputeInstance".to_owned()]).await),
        "act" => {
            let sent = eda.trigger_action(&restart(), &request).await;
            check_answer(of_trigger(sent), |sent| {
                check_text(&sent.message, text::MAX_TEXT);
            });
        }
        what => {
            let (job_type, kind, at) = match what {
                "removal" => (JobType::Deprovision, "event", Timestamp::UNIX_EPOCH),
                "blind" => (JobType::Deprovision, "blind-event", now()),
                "action" => (JobType::Action(restart()), "event", now()),
                _ => (JobType::Provision, "event", now()),
            };
            let status = eda.status(&resource, &job(job_type, kind, at)).await;
            check_answer(status, check_status);
        }
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some(text) = text_of(data) else {
        return;
    };
    provider_eda::fuzzing::payload(&text);
    let (what, answers) = text.split_once('\n').unwrap_or((&text, ""));
    run(ask(what, answers));
});
