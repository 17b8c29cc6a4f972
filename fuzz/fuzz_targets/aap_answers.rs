//! A conversation with a controller that answers anything: the real provider asks, from the ping to the diagnosis.
//! The first line says what it is asked for, the rest is the answers.
#![no_main]

use std::sync::Arc;

use provider_aap::{AapConfig, AapProvider, Auth, MonitorConfig};
use provider_core::{
    ActionName, CancelResult, DeprovisionResult, ExtraVars, FindRequest, JobRecord, JobRef,
    JobType, LaunchRequest, OperationToken, Provider, RelaunchQuery, TrackedJob, TriggerError,
    text,
};
use provider_fuzz::{
    Answers, CANARY, check_answer, check_preflight, check_status, check_text, clock, http_of, now,
    object, run, text_of,
};

fn provider(answers: &str, is_many: bool) -> AapProvider {
    let answers = Answers::of(answers);
    let mut config = AapConfig::new("https://aap.example.com", Auth::token(CANARY))
        .with_template_prefix("osac")
        .with_used_action(restart())
        .with_diagnosis()
        .with_http(http_of(&answers));
    if is_many {
        config = config.with_monitor(MonitorConfig {
            batch_from: 1,
            ..MonitorConfig::default()
        });
    }
    AapProvider::with_clock(config, clock()).expect("a configuration that works")
}

fn token() -> OperationToken {
    OperationToken::from_random(1)
}

fn launch() -> LaunchRequest {
    // The same secret: an answer may repeat what a launch has given.
    let vars = ExtraVars::new().with_secret("password", CANARY);
    LaunchRequest::new(object(), token()).with_extra_vars(vars)
}

fn job(job_type: JobType, kind: &str, id: &str) -> TrackedJob {
    TrackedJob::new(job_type, JobRef::new("aap", kind, id))
        .with_launched_at(now())
        .with_token(token())
}

fn restart() -> ActionName {
    ActionName::new("restart").expect("a name of an action")
}

/// What is asked of a job, with each type: which template it is of, and what its end says, depends on that.
fn types() -> [JobType; 4] {
    let unknown = JobType::Other(ActionName::new("migrate").expect("a word"));
    [
        JobType::Provision,
        JobType::Deprovision,
        JobType::Action(restart()),
        unknown,
    ]
}

fn check_cancel(result: &CancelResult) {
    if let CancelResult::Finished(status) = result {
        check_status(status);
    }
}

fn of_trigger<T>(result: Result<T, TriggerError>) -> Result<T, provider_core::ProviderError> {
    result.map_err(|error| error.error().clone())
}

async fn ask(what: &str, answers: &str) {
    let aap = Arc::new(provider(answers, what == "many"));
    let resource = object();
    match what {
        "launch" => {
            let started = aap.trigger_provision(&launch()).await;
            check_answer(of_trigger(started), |started| {
                check_text(&started.message, text::MAX_TEXT);
            });
        }
        "action" => {
            let started = aap.trigger_action(&restart(), &launch()).await;
            check_answer(of_trigger(started), |started| {
                check_text(&started.message, text::MAX_TEXT);
            });
        }
        "deprovision" => {
            // The last one has no name yet.
            let mut records = types().map(|job_type| JobRecord::new(1, job_type));
            for (record, id) in records.iter_mut().zip(["7", "8", "9"]) {
                record.set_job_ref(JobRef::new("aap", "job", id));
            }
            for record in &mut records {
                record.token = Some(token());
            }
            let result = aap.trigger_deprovision(&launch(), &records).await;
            check_answer(of_trigger(result), |result| {
                if let DeprovisionResult::Waiting { reason, .. } = result {
                    check_text(reason, text::MAX_TEXT);
                }
            });
        }
        "cancel" => {
            for job_type in types() {
                let canceled = aap.cancel(&resource, &job(job_type, "job", "7")).await;
                check_answer(canceled, check_cancel);
            }
        }
        "find" => {
            for job_type in types() {
                let query = FindRequest::new(resource.clone(), job_type, token())
                    .not_before(now())
                    .not_after(now());
                check_answer(aap.find_launched(&query).await, |all| {
                    all.iter().for_each(check_status);
                });
            }
        }
        "relaunched" => {
            let query = RelaunchQuery::new(resource, vec![token()]).not_before(now());
            check_answer(aap.find_relaunched(&query).await, |all| {
                all.iter().for_each(|one| check_status(&one.status));
            });
        }
        "labelled" => check_answer(aap.find_labelled("osac-1", Some("x")).await, |all| {
            all.iter().for_each(check_status);
        }),
        "preflight" => check_preflight(&aap.preflight(&["ComputeInstance".to_owned()]).await),
        "workflow" => {
            for job_type in types() {
                let job = job(job_type, "workflow_job", "7");
                check_answer(aap.status(&resource, &job).await, check_status);
            }
        }
        "many" => {
            let mut asked = Vec::new();
            for (id, job_type) in ["7", "8", "9", "10"].into_iter().zip(types()) {
                let (aap, resource) = (Arc::clone(&aap), object());
                asked.push(tokio::spawn(async move {
                    let status = aap.status(&resource, &job(job_type, "job", id)).await;
                    check_answer(status, check_status);
                }));
            }
            for one in asked {
                one.await.expect("no panic");
            }
        }
        _ => {
            for job_type in types() {
                let job = job(job_type, "job", "7");
                check_answer(aap.status(&resource, &job).await, check_status);
            }
        }
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some(text) = text_of(data) else {
        return;
    };
    let (what, answers) = text.split_once('\n').unwrap_or((&text, ""));
    run(ask(what, answers));
});
