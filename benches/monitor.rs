//! What it costs to know about a thousand jobs: by pages, and by one GET each.
//!
//!     cargo bench --bench monitor
//!
//! Requests, delays and memory over whole lives of jobs: `examples/scale`.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench that panics has failed"
)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use futures::StreamExt;
use jiff::SignedDuration;
use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig, MonitorConfig, Timing};
use provider_core::{JobRef, JobType, Provider, Resource, SystemClock, TrackedJob};
use provider_testkit::aap::{ADMIN_TOKEN, AapSim, RunPlan, Template, World};
use serde_json::{Map, json};
use tokio::runtime::{Builder, Runtime};

const JOBS: usize = 1_000;
/// As many as other controllers have on their way.
const AT_ONCE: usize = 64;

fn provider(sim: &AapSim, batch_from: u32, interval: SignedDuration) -> Arc<AapProvider> {
    let config = AapConfig::new(sim.url(), Auth::token(ADMIN_TOKEN))
        .with_http(HttpConfig {
            proxy_from_environment: false,
            ..HttpConfig::default()
        })
        .with_timing(Timing {
            poll_interval: interval,
            ..Timing::default()
        })
        .with_monitor(MonitorConfig {
            batch_from,
            ..MonitorConfig::default()
        });
    Arc::new(AapProvider::new(config).unwrap())
}

async fn ask(provider: &AapProvider, vm: &Resource, jobs: &[TrackedJob], at_once: usize) {
    let asked = futures::stream::iter(jobs).map(|job| provider.status(vm, job));
    let mut answers = asked.buffer_unordered(at_once);
    while let Some(answer) = answers.next().await {
        black_box(answer.unwrap());
    }
}

fn thousand_jobs(criterion: &mut Criterion) {
    let server = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let template = Template::job("work").with_plan(RunPlan::endless());
    let world = World::with([template]);
    let sim = server
        .block_on(AapSim::start(world, Arc::new(SystemClock)))
        .unwrap();
    let jobs: Vec<TrackedJob> = (0..JOBS)
        .map(|_| sim.launch("work", &Map::new(), &[]).unwrap())
        .map(|id| {
            TrackedJob::new(
                JobType::Provision,
                JobRef::new("aap", "job", id.to_string()),
            )
        })
        .collect();
    let vm = json!({"kind": "ComputeInstance", "metadata": {"name": "vm"}});
    let vm = Resource::from_json(vm).unwrap();
    let client: Runtime = Builder::new_current_thread().enable_all().build().unwrap();

    let mut group = criterion.benchmark_group("thousand_jobs");
    group.sample_size(20);
    let alone = provider(&sim, u32::MAX, SignedDuration::from_secs(30));
    group.bench_function("one_get_each", |bencher| {
        bencher
            .to_async(&client)
            .iter(|| ask(&alone, &vm, &jobs, AT_ONCE));
    });
    // The first look at each is at its row; a new monitor knows nothing. Pages are not held back.
    let new = || provider(&sim, 0, SignedDuration::from_millis(10));
    group.bench_function("first_sight_by_pages", |bencher| {
        bencher.to_async(&client).iter_batched(
            new,
            async |aap| ask(&aap, &vm, &jobs, JOBS).await,
            BatchSize::PerIteration,
        );
    });
    let known = provider(&sim, 0, SignedDuration::from_hours(1));
    client.block_on(async {
        tokio::time::timeout(
            std::time::Duration::from_secs(60),
            ask(&known, &vm, &jobs, JOBS),
        )
        .await
        .unwrap();
    });
    group.bench_function("seen_in_the_round", |bencher| {
        bencher
            .to_async(&client)
            .iter(|| ask(&known, &vm, &jobs, AT_ONCE));
    });
    group.finish();
}

criterion_group!(benches, thousand_jobs);
criterion_main!(benches);
