//! What the engine costs: one decision, and ten thousand objects.
//!
//!     cargo bench --bench lifecycle

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a bench that panics has failed"
)]

use std::alloc::System;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use jiff::Timestamp;
use provider_core::engine::{Pass, Situation, decide};
use provider_core::lifecycle::{
    Desired, Lifecycle, MemoryStore, Policy, ProviderRegistry, SeededEntropy,
};
use provider_core::{ConfigVersion, JobRecord, JobRef, JobState, JobType, ManualClock, Resource};
use provider_testkit::FakeProvider;
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const OBJECTS: usize = 10_000;

fn start() -> Timestamp {
    "2026-11-23T04:00:00Z".parse().unwrap()
}

fn decide_20(criterion: &mut Criterion) {
    let version = ConfigVersion::of_json(&json!({"cores": 4}));
    let mut records: Vec<JobRecord> = (1..=20)
        .map(|n| {
            let of = if n % 2 == 0 {
                JobType::Deprovision
            } else {
                JobType::Provision
            };
            let mut record = JobRecord::new(n, of);
            record.set_job_ref(JobRef::new("fake", "fake", n.to_string()));
            record.state = JobState::Failed;
            record.failures = 1;
            record.sent_at = Some(start());
            record.finished_at = Some(start());
            record
        })
        .collect();
    records[18].state = JobState::Running;
    let registry = ProviderRegistry::single(Arc::new(FakeProvider::new("fake")));
    let desired = Desired::new(version, "fake");
    let policy = Policy::default();
    let situation = Situation::new(&desired, &policy, &registry, start())
        .with_records(&records)
        .with_seed(1);
    let pass = Pass::default();
    criterion.bench_function("decide_20", |bencher| {
        bencher.iter(|| decide(black_box(&situation), black_box(&pass)));
    });
}

struct Fleet {
    engine: Lifecycle,
    registry: ProviderRegistry,
    store: MemoryStore,
    objects: Vec<(Resource, Desired)>,
    clock: ManualClock,
}

impl Fleet {
    fn new() -> Self {
        let fake = FakeProvider::new("fake")
            .ending_after(0)
            .without_call_records();
        let objects = (0..OBJECTS).map(|n| {
            let object = json!({
                "kind": "ComputeInstance",
                "metadata": {"name": format!("vm-{n}"), "namespace": "t", "uid": format!("uid-{n}")},
                "spec": {"cores": 4},
            });
            let resource = Resource::from_json(object).unwrap();
            let desired = Desired::new(ConfigVersion::of_json(resource.spec()), "fake");
            (resource, desired)
        });
        Self {
            objects: objects.collect(),
            engine: Lifecycle::with_entropy(Policy::default(), Arc::new(SeededEntropy::new(1))),
            registry: ProviderRegistry::single(Arc::new(fake)),
            store: MemoryStore::new(),
            clock: ManualClock::new(start()),
        }
    }

    async fn reconcile_all(&self) {
        for (resource, desired) in &self.objects {
            let outcome = self
                .engine
                .reconcile(&self.registry, &self.store, resource, desired, &self.clock)
                .await;
            black_box(&outcome);
        }
    }
}

fn reconcile_10k(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let fleet = Fleet::new();
    let region = Region::new(ALLOCATOR);
    runtime.block_on(fleet.reconcile_all());
    let change = region.change();
    let held = change.bytes_allocated - change.bytes_deallocated;
    let json: usize = fleet
        .objects
        .iter()
        .map(|(object, _)| {
            serde_json::to_vec(&fleet.store.records(object.key()))
                .unwrap()
                .len()
        })
        .sum();
    println!(
        "heap: {} bytes an object for records, pacing and the fake's job, of which {} are the \
         records' JSON",
        held / OBJECTS,
        json / OBJECTS
    );

    let mut group = criterion.benchmark_group("reconcile_10k");
    group.throughput(Throughput::Elements(OBJECTS as u64));
    group.sample_size(10);
    // Every object has a running job and is polled in every round: load, decide, call, absorb, decide.
    group.bench_function("poll", |bencher| {
        bencher.iter_batched(
            || fleet.clock.advance(Duration::from_secs(60)),
            |()| runtime.block_on(fleet.reconcile_all()),
            BatchSize::PerIteration,
        );
    });
    // Nothing is due: load, decide, rest.
    group.bench_function("rest", |bencher| {
        bencher.iter(|| runtime.block_on(fleet.reconcile_all()));
    });
    // New objects: two writes, a launch.
    group.bench_function("launch", |bencher| {
        bencher.iter_batched(
            Fleet::new,
            |fleet| runtime.block_on(fleet.reconcile_all()),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, decide_20, reconcile_10k);
criterion_main!(benches);
