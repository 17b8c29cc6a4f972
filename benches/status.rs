//! What one poll costs: through the provider, and as a bare request for the same body.
//!
//!     cargo bench --bench status

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench that panics has failed"
)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig, map_status};
use provider_core::{
    JobType, LaunchRequest, OperationToken, Provider, Resource, SystemClock, TrackedJob,
};
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, RunPlan, Template, World};
use serde_json::{Value, json};

fn status_poll(criterion: &mut Criterion) {
    // The simulator has threads of its own, so that both sides share nothing but the socket.
    let server = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let template = Template::job("osac-create-compute-instance").with_plan(RunPlan::endless());
    let sim = server
        .block_on(AapSim::start(
            World::with([template]),
            Arc::new(SystemClock),
        ))
        .unwrap();
    let client = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let http = HttpConfig {
        proxy_from_environment: false,
        ..HttpConfig::default()
    };
    let config = AapConfig::new(sim.url(), Auth::token(ADMIN_TOKEN))
        .with_template_prefix("osac")
        .with_http(http);
    let provider = AapProvider::new(config).unwrap();
    let vm = Resource::from_json(json!({"kind": "ComputeInstance", "metadata": {"name": "vm"}}))
        .unwrap();
    let request = LaunchRequest::new(vm.clone(), OperationToken::from_random(1));
    let job = client
        .block_on(provider.trigger_provision(&request))
        .unwrap()
        .job
        .unwrap();
    let url = format!("{}/api/v2/jobs/{}/", sim.url(), job.id);
    let job = TrackedJob::new(JobType::Provision, job);
    let bare = reqwest::Client::builder().no_proxy().build().unwrap();

    let mut group = criterion.benchmark_group("status_poll");
    group.bench_function("bare", |bencher| {
        bencher.to_async(&client).iter(|| async {
            let answer = bare
                .get(&url)
                .bearer_auth(ADMIN_TOKEN)
                .send()
                .await
                .unwrap();
            black_box(answer.json::<Value>().await.unwrap())
        });
    });
    group.bench_function("provider", |bencher| {
        bencher
            .to_async(&client)
            .iter(|| async { black_box(provider.status(&vm, &job).await.unwrap()) });
    });
    group.finish();
}

fn map(criterion: &mut Criterion) {
    let words = [
        "new",
        "pending",
        "waiting",
        "running",
        "successful",
        "failed",
        "error",
        "canceled",
    ];
    let mut group = criterion.benchmark_group("map_status");
    for word in words.into_iter().chain(["never updated"]) {
        group.bench_function(word, |bencher| bencher.iter(|| map_status(black_box(word))));
    }
    group.finish();
}

criterion_group!(benches, status_poll, map);
criterion_main!(benches);
