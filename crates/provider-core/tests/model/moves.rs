//! What can happen next, and what it leads to.

use provider_core::lifecycle::Mode;
use provider_core::{JobRecord, JobState};

use crate::backend::is_due;
use crate::protocol::{Protocol, is_busy};
use crate::state::{Job, Move, Records, Replica, World};

impl Protocol {
    pub(crate) fn moves(&self, world: &World, moves: &mut Vec<Move>) {
        if world.wrong.is_some() {
            return;
        }
        for (replica, state) in world.replicas.iter().enumerate() {
            if let Some(running) = &state.running {
                let mut next = running.clone();
                let effect = self.feed(world, &mut next, self.clock(world, replica));
                let ways = self.ways(world, &effect);
                moves.extend((0..ways).map(|way| Move::Act { replica, way }));
                if world.crashes > 0 {
                    moves.push(Move::Crash { replica });
                }
            } else if !world.released {
                moves.push(Move::Load {
                    replica,
                    stale: false,
                });
                if world.faults > 0 && world.before.is_some() {
                    moves.push(Move::Load {
                        replica,
                        stale: true,
                    });
                }
            }
        }
        if world.now < self.bounds.ticks && !is_due(world) {
            moves.push(Move::Tick);
        }
        for job in 0..world.jobs.len() {
            self.of_job(world, job, moves);
        }
        for late in 0..world.late.len() {
            moves.push(Move::Commit { late });
            moves.push(Move::Vanish { late });
        }
        if world.deleting.is_none() && !world.released {
            moves.push(Move::Delete);
            if world.edits > 0 {
                moves.push(Move::Edit);
                if self.bounds.everything && world.wish.spec > 1 {
                    moves.push(Move::EditBack);
                }
            }
        }
        if world.released && world.again && !is_busy(world) {
            moves.push(Move::Again);
        }
        if world.actions > 0 && world.deleting.is_none() && !world.released {
            moves.push(Move::Ask);
        }
        if self.bounds.absent && world.deleting.is_none() && !world.released && world.edits > 0 {
            moves.push(Move::Absent(!world.wish.absent));
        }
        if self.bounds.keep && !world.released && world.edits > 0 {
            moves.push(Move::Keep(!world.wish.keep));
        }
        if self.bounds.everything && world.people > 0 && !world.released {
            moves.push(Move::NotYet(!world.wish.not_yet));
        }
        let quiet = || !is_busy(world) && world.replicas.iter().all(Replica::is_idle);
        if self.bounds.imports && world.wish.already > 0 && world.edits > 0 && quiet() {
            moves.push(Move::LoseStatus);
        }
        if world.people > 0 && !world.released {
            // Who asks for another try has looked: nothing runs, and nothing is being launched.
            if !is_busy(world) && world.replicas.iter().all(Replica::is_idle) {
                moves.push(Move::Retry);
            }
            for mode in [Mode::Managed, Mode::Paused, Mode::Manual, Mode::Unmanaged] {
                if world.wish.mode != mode {
                    moves.push(Move::Set(mode));
                }
            }
            moves.push(Move::Switch);
        }
    }

    fn of_job(&self, world: &World, job: usize, moves: &mut Vec<Move>) {
        let Job {
            state,
            alive,
            forgotten,
            token,
            down,
            canceled,
            ..
        } = &world.jobs[job];
        if *alive {
            moves.push(Move::End { job, well: true });
            if world.failures > 0 {
                moves.push(Move::End { job, well: false });
            }
            if *canceled {
                moves.push(Move::Stop { job });
            }
        }
        let between = || world.replicas.iter().all(Replica::is_idle);
        // The records of a job that is copied are there: nobody looks for the copies of others.
        let on_record = || {
            let mut tokens = world.records.0.iter().filter_map(|r| r.token.as_ref());
            tokens.any(|known| known.as_str() == token)
        };
        let may = world.relaunches > 0 && !alive && !forgotten && !world.released;
        if may && between() && on_record() {
            moves.push(Move::Relaunch { job });
        }
        if (self.bounds.silence || self.bounds.everything) && world.faults > 0 {
            // One that cancels a deprovision is waited for, however long.
            if *state == JobState::Running && !down {
                moves.push(Move::CancelThere { job });
            }
            // What people have canceled is not taken for a success: it is not forgotten before that was seen.
            let silent = match state {
                JobState::Succeeded => true,
                JobState::Canceled => !self.bounds.everything,
                _ => false,
            };
            // Nor is any before somebody has seen it: a launch is visible within its window, or never.
            let named = |r: &JobRecord| r.job_id.as_deref() == Some(&job.to_string());
            let seen = !self.bounds.everything || world.records.0.iter().any(named);
            if silent && seen && !alive && !forgotten {
                moves.push(Move::Forget { job });
            }
        }
    }

    pub(crate) fn step(&self, world: &World, action: &Move) -> World {
        let mut next = world.clone();
        match *action {
            Move::Load { replica, stale } => self.load(&mut next, replica, stale),
            Move::Act { replica, way } => {
                self.act(&mut next, replica, way);
            }
            Move::Crash { replica } => {
                next.crashes -= 1;
                self.crash(&mut next, replica);
            }
            Move::Tick => next.now += 1,
            Move::End { job, well } => {
                let job = &mut next.jobs[job];
                job.alive = false;
                job.state = if well {
                    JobState::Succeeded
                } else {
                    JobState::Failed
                };
                if !well {
                    next.failures -= 1;
                }
            }
            Move::Stop { job } => {
                next.jobs[job].alive = false;
                next.jobs[job].state = JobState::Canceled;
            }
            Move::CancelThere { job } => {
                next.faults -= 1;
                next.jobs[job].state = JobState::Canceled;
                next.jobs[job].canceled = true;
            }
            Move::Forget { job } => {
                next.faults -= 1;
                next.jobs[job].forgotten = true;
            }
            Move::Relaunch { job } => {
                next.relaunches -= 1;
                let copy = Job {
                    state: JobState::Running,
                    alive: true,
                    canceled: false,
                    asked: false,
                    copy: true,
                    ..next.jobs[job].clone()
                };
                next.jobs.push(copy);
            }
            Move::Commit { late } => {
                let late = next.late.remove(late);
                next.jobs.push(late.job);
            }
            Move::Vanish { late } => {
                next.late.remove(late);
            }
            Move::Delete => next.deleting = Some(next.now),
            Move::Edit => {
                next.wish.spec += 1;
                next.edits -= 1;
            }
            Move::EditBack => {
                next.wish.spec -= 1;
                next.edits -= 1;
            }
            Move::Again => {
                next.again = false;
                next.released = false;
                next.given_up = false;
                next.deleting = None;
            }
            Move::Retry => {
                next.people -= 1;
                next.wish.retry += 1;
                // Whoever asks for another try has looked at what came of the last one.
                for job in next.jobs.iter_mut().filter(|job| job.act.is_some()) {
                    job.act = Some(0);
                }
            }
            Move::Set(mode) => {
                next.people -= 1;
                next.wish.mode = mode;
            }
            Move::Switch => {
                next.people -= 1;
                next.wish.at_other = !next.wish.at_other;
            }
            Move::Ask => {
                next.actions -= 1;
                next.wish.action += 1;
            }
            Move::Absent(absent) => {
                next.edits -= 1;
                next.wish.absent = absent;
            }
            Move::Keep(keep) => {
                next.edits -= 1;
                next.wish.keep = keep;
            }
            Move::NotYet(missing) => {
                next.people -= 1;
                next.wish.not_yet = missing;
            }
            Move::LoseStatus => {
                next.edits -= 1;
                next.records = Records::default();
                next.before = None;
                for replica in &mut next.replicas {
                    *replica = Replica::default();
                }
                // What was acted on before the backup is acted on again: nobody knows of it any more.
                for job in next.jobs.iter_mut().filter(|job| job.act.is_some()) {
                    job.act = Some(0);
                }
            }
        }
        if next.faults == 0 {
            next.before = None;
        }
        let ours = next.jobs.iter().filter(|job| job.alive && !job.copy);
        if ours.count() > 1 {
            next.wrong.get_or_insert("I1, I2: two jobs alive at once");
        }
        next
    }
}
