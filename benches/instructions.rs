//! Instructions that one decision takes, counted by valgrind: the same on any machine, however busy.
//!
//!     scripts/bench-instructions.sh

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench that panics has failed"
)]

use std::hint::black_box;
use std::sync::Arc;

use gungraun::{library_benchmark, library_benchmark_group, main};
use provider_core::engine::{Decision, Pass, Situation, decide};
use provider_core::lifecycle::{Desired, Policy, ProviderRegistry};
use provider_core::{ConfigVersion, JobRecord, JobRef, JobState, JobType};
use provider_testkit::FakeProvider;

struct Case {
    records: Vec<JobRecord>,
    registry: ProviderRegistry,
    desired: Desired,
    policy: Policy,
}

fn case(length: u64) -> Case {
    let records = (1..=length).map(|n| {
        let of = if n % 2 == 0 {
            JobType::Deprovision
        } else {
            JobType::Provision
        };
        let mut record = JobRecord::new(n, of);
        record.set_job_ref(JobRef::new("fake", "fake", n.to_string()));
        record.state = JobState::Failed;
        record.failures = 1;
        record
    });
    Case {
        records: records.collect(),
        registry: ProviderRegistry::single(Arc::new(FakeProvider::new("fake"))),
        desired: Desired::new(ConfigVersion::from_text("v1-0"), "fake"),
        policy: Policy::default(),
    }
}

#[library_benchmark]
#[bench::one(case(1))]
#[bench::twenty(case(20))]
fn decide_once(case: Case) -> (Decision, Case) {
    let now = "2026-11-23T04:00:00Z".parse().unwrap();
    let situation = Situation::new(&case.desired, &case.policy, &case.registry, now)
        .with_records(&case.records)
        .with_seed(1);
    let decision = black_box(decide(black_box(&situation), &Pass::default()));
    // Handed back, so that dropping it is not counted.
    (decision, case)
}

library_benchmark_group!(name = decisions, benchmarks = decide_once);
main!(library_benchmark_groups = decisions);
