//! Where explorations begin.

use std::sync::Arc;

use provider_core::{ActionName, JobRecord, JobState, JobType, OperationToken, Reason, history};

use crate::protocol::{Protocol, at, version};
use crate::state::{Job, Move, Records, Seen, What, World};

const LOAD: Move = Move::Load {
    replica: 0,
    stale: false,
};

/// Its launch went out, and nobody knows what became of it.
fn in_doubt(world: &mut World) {
    let mut records = (*world.records.0).clone();
    for record in &mut records {
        record.job_id = None;
        record.state = JobState::Pending;
        record.reason = Some(Reason::Ambiguous);
    }
    world.records = Records(Arc::new(records));
    world.before = None;
}

/// A newer version has provisioned the object, was at work on it in a way that only it knows, and was rolled
/// back.
pub(crate) fn left_by_a_newer_version(world: &mut World) {
    let n = world.jobs.len();
    let job = |token: &str, act: Option<u8>, state: JobState| Job {
        token: token.to_owned(),
        at_other: false,
        down: false,
        act,
        spec: Some(version(1)),
        state,
        alive: !state.is_terminal(),
        canceled: false,
        asked: false,
        forgotten: false,
        copy: false,
        stray: false,
    };
    let record = |attempt: u64, job_type: JobType, id: usize, token: &str, state: JobState| {
        JobRecord::new(attempt, job_type).with(|record| {
            record.provider = Some("b".to_owned());
            record.kind = Some("k".to_owned());
            record.job_id = Some(id.to_string());
            record.token = Some(OperationToken::from_text(token));
            record.config_version = Some(version(1));
            record.state = state;
            record.state_since = Some(at(0));
            record.sent_at = Some(at(0));
            record.finished_at = state.is_terminal().then(|| at(0));
        })
    };
    let other = JobType::Other(ActionName::new("migrate").unwrap());
    let (up, at_work) = (JobState::Succeeded, JobState::Running);
    let mut records = (*world.records.0).clone();
    let attempt = history::next_attempt(&records);
    records.push(record(attempt, JobType::Provision, n, "made", up));
    records.push(record(attempt + 1, other, n + 1, "moved", at_work));
    world.records = Records(Arc::new(records));
    world.jobs.push(job("made", None, up));
    world.jobs.push(job("moved", Some(0), at_work));
}

impl Protocol {
    pub(crate) fn starts(&self) -> Vec<World> {
        let mut fresh = self.fresh();
        if self.bounds.newer {
            left_by_a_newer_version(&mut fresh);
        }
        if self.bounds.from_a_stall {
            return vec![self.stalled(fresh)];
        }
        if !self.bounds.from_the_middle && !self.bounds.silence {
            return vec![fresh];
        }
        // Each is a life that one replica has led so far without trouble.
        let running = self.led(fresh.clone(), &[LOAD]);
        if self.bounds.silence {
            return self.silent(&running);
        }
        let applied = self.led(running.clone(), &[Move::End { job: 0, well: true }, LOAD]);
        let mut deleted = running.clone();
        deleted.deleting = Some(0);
        let mut gone = applied;
        gone.deleting = Some(0);
        let mut lost = running.clone();
        in_doubt(&mut lost);
        vec![fresh, running, deleted, gone, lost]
    }

    /// A life after these moves, and after the pass that they have begun.
    fn led(&self, mut world: World, moves: &[Move]) -> World {
        for action in moves {
            world = self.step(&world, action);
        }
        while !world.replicas[0].is_idle() {
            world = self.step(&world, &Move::Act { replica: 0, way: 0 });
        }
        world
    }

    /// The first replica knows that its launch was refused, and has not said so yet. The second one has
    /// looked for it until it was proven absent, has sent it again, and has not said so either.
    fn stalled(&self, mut world: World) -> World {
        let act = |replica, way| Move::Act { replica, way };
        for action in [LOAD, act(0, 0), act(0, 3)] {
            world = self.step(&world, &action);
        }
        let running = world.replicas[0].running.as_ref();
        assert_eq!(running.unwrap().what, What::Saw(Seen::Refused));
        while world.jobs.is_empty() {
            if world.replicas[1].is_idle() {
                let load = Move::Load {
                    replica: 1,
                    stale: false,
                };
                world = self.step(&world, &load);
            } else {
                world = self.step(&world, &act(1, 0));
            }
            if world.replicas[1].is_idle() {
                world.now += 1; // it waits until it may look again
            }
            assert!(world.now < 20, "it is never sent again");
        }
        world
    }

    /// Lives in which the backend has fallen silent about a job that runs, has claimed an end of one that
    /// works on, and has never carried out a launch.
    fn silent(&self, running: &World) -> Vec<World> {
        let mut later = running.clone();
        later.now = 4;
        let faults = later.faults;
        later.faults += 2;
        let mut missing = later.clone();
        for action in [LOAD, Move::Act { replica: 0, way: 2 }] {
            missing = self.step(&missing, &action);
        }
        // Its answer is put on record, and the process stops there.
        missing = self.step(&missing, &Move::Act { replica: 0, way: 0 });
        self.idle(&mut missing, 0, None);
        let mut doubtful = self.led(later, &[LOAD]);
        doubtful.now += 1;
        doubtful = self.led(doubtful, &[Move::CancelThere { job: 0 }, LOAD]);
        let mut lost = running.clone();
        lost.jobs.clear();
        in_doubt(&mut lost);
        for world in [&mut missing, &mut doubtful, &mut lost] {
            world.faults = faults;
            world.before = None;
        }
        assert!(missing.records.0[0].is_missing() && doubtful.records.0[0].doubtful);
        vec![running.clone(), missing, doubtful, lost]
    }
}
