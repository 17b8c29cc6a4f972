//! What must be true whenever a pass comes to rest, and of every life once nothing goes wrong any more.

use provider_core::engine::Rest;
use provider_core::lifecycle::{Block, Ground, IncomparableVersion, Mode, Release, Standing};
use provider_core::{JobState, JobType, Reason};

use crate::protocol::{Protocol, at, is_busy, is_removed};
use crate::state::{Move, World};

impl Protocol {
    pub(crate) fn rest(&self, world: &mut World, n: usize, rest: &Rest) {
        let wrong = match &rest.standing {
            standing if rest.wake_at.is_none() && !standing.is_final() => {
                Some("I4: a rest without a wake-up")
            }
            Standing::Applied { version } => {
                // Two are never alive at once, so that they stand in the order of their launches. What others
                // have launched since this pass has read counts in the next one.
                let running = world.replicas[n].running.as_ref().unwrap();
                let is_known = |token: &str| {
                    let mut records = running.machine.records.iter();
                    token == "none"
                        || records.any(|r| {
                            r.token
                                .as_ref()
                                .is_some_and(|known| known.as_str() == token)
                        })
                };
                let choice = self.policy.config().incomparable_version;
                let trusts = choice == IncomparableVersion::Trust;
                let mut jobs = world.jobs.iter();
                let last =
                    jobs.rposition(|job| !job.copy && job.act.is_none() && is_known(&job.token));
                // A person may have started an earlier one once more since.
                let later = world.jobs.iter().skip(last.unwrap_or(0));
                let again = |token: &str| last.is_some_and(|last| world.jobs[last].token == token);
                let earlier = world.jobs.iter().filter(|job| again(&job.token));
                let reached = later.chain(earlier).any(|job| {
                    is_known(&job.token)
                        && !job.down
                        && job.act.is_none()
                        && !job.stray
                        && job.state == JobState::Succeeded
                        && (job.spec.as_ref() == Some(version) || trusts && job.spec.is_none())
                });
                // What was taken over was there, and has no job.
                let newest = running
                    .machine
                    .records
                    .iter()
                    .max_by_key(|r| (r.job_type == JobType::Provision).then_some(r.attempt));
                let imported = newest.is_some_and(|r| {
                    r.reason == Some(Reason::Imported) && r.config_version.as_ref() == Some(version)
                });
                (!reached && !imported)
                    .then_some("I6: applied, and the newest job did not succeed with that version")
            }
            Standing::Absent { left_behind } if world.wish.absent && world.replicas[n].current => {
                let blocks = self.backends.capabilities.block_deletion_on_failure;
                let is_gone = is_removed(world) || !left_behind.is_empty() && !blocks;
                (is_busy(world) || !is_gone).then_some("absent, and something is there")
            }
            // Whoever has written since takes the finalizer's removal off: it is bound to the version that the
            // pass has seen. What is to stay may be wanted to go by then; all other grounds hold for ever.
            Standing::Released(release)
                if release.ground == Ground::Retained && !world.replicas[n].current =>
            {
                None
            }
            Standing::Released(release) if self.is_of_this_deletion(world, n) => {
                let wrong = self.let_go(world, n, release);
                world.released = true;
                world.given_up = matches!(
                    release.ground,
                    Ground::Abandoned | Ground::Unmanaged | Ground::Retained
                );
                wrong
            }
            Standing::Blocked(Block::NotEnding { attempt }) => {
                let running = world.replicas[n].running.as_ref().unwrap();
                let mut records = running.machine.records.iter();
                let record = records.find(|record| record.attempt == *attempt);
                let id = record.and_then(|record| record.job_id.as_deref());
                let job = id.and_then(|id| Self::ever_named(world, id));
                let asked = job.is_some_and(|job| world.jobs[job].asked);
                (!asked && self.backends.capabilities.cancel)
                    .then_some("a job disobeys what it was never asked")
            }
            // A replica that still sees a deletion which is no more, or an earlier one: its finalizer removal
            // is refused by the API server. Nothing may rest on it, but nothing is lost either.
            _ => None,
        };
        if let Some(wrong) = wrong {
            world.wrong.get_or_insert(wrong);
        }
        // What is applied is noted in the metadata, which a backup keeps.
        if self.bounds.imports && matches!(rest.standing, Standing::Applied { .. }) {
            let running = world.replicas[n].running.as_ref().unwrap();
            world.wish.already = running.wish.spec;
        }
    }

    fn is_of_this_deletion(&self, world: &World, n: usize) -> bool {
        let running = world.replicas[n].running.as_ref();
        let seen = running.and_then(|running| running.machine.resource.deletion_timestamp());
        seen.is_some() && seen == world.deleting.map(at)
    }

    fn let_go(&self, world: &World, n: usize, release: &Release) -> Option<&'static str> {
        let up_ran = world.jobs.iter().any(|job| !job.down);
        let wish = world.replicas[n]
            .running
            .as_ref()
            .map(|running| running.wish);
        let (fits, may_be_busy) = match release.ground {
            Ground::Deprovisioned => (is_removed(world), false),
            Ground::ProviderSkipped => (true, false),
            Ground::NeverProvisioned => {
                // Of a target that was absent for a while nothing is on record any more.
                let forgotten = self.bounds.absent && is_removed(world);
                (!up_ran || forgotten, false)
            }
            Ground::FailureDoesNotBlock => {
                (!self.backends.capabilities.block_deletion_on_failure, false)
            }
            Ground::Abandoned => {
                let allowed = self.policy.config().deletion.abandon_after.is_some();
                (allowed, true)
            }
            Ground::Unmanaged => (wish.is_some_and(|wish| wish.mode == Mode::Unmanaged), true),
            Ground::Retained => {
                let keeps = self.policy.config().deletion.keep || wish.is_some_and(|w| w.keep);
                (keeps, false)
            }
            _ => (false, false),
        };
        if !fits || (is_busy(world) && !may_be_busy) {
            return Some("I3: let go without proof");
        }
        let left =
            is_busy(world) || (!is_removed(world) && release.ground != Ground::FailureDoesNotBlock);
        let tells = !release.left_behind.is_empty();
        // Of a status that was lost nothing can be told.
        let known = self.policy.config().history_length > 1 && !world.records.0.is_empty();
        (left && !tells && known && may_be_busy && up_ran)
            .then_some("something was left behind, and nobody was told")
    }

    /// Without any further fault, and with the object deleted, it comes to its end; with searches that fail
    /// for ever it does when a person has looked.
    pub(crate) fn ends(&self, world: &World, searches_fail: bool) -> bool {
        self.end(world, searches_fail).is_ok()
    }

    /// The same; the world as it stands for ever where there is no end.
    pub(crate) fn end(&self, world: &World, searches_fail: bool) -> Result<(), Box<World>> {
        let mut world = world.clone();
        world.searches_fail = searches_fail;
        (world.faults, world.crashes, world.edits, world.failures) = (0, 0, 0, 0);
        (world.again, world.relaunches, world.people) = (false, 0, 0);
        (world.actions, world.wish.not_yet) = (0, false);
        world.wish.at_other = false;
        if world.wish.mode != Mode::Unmanaged {
            world.wish.mode = Mode::Managed;
        }
        if world.deleting.is_none() {
            world.deleting = Some(world.now);
        }
        for round in 0..60 {
            if round % 20 == 19 && (searches_fail || self.bounds.everything) {
                world.wish.retry += 1;
            }
            while !world.late.is_empty() {
                world = self.step(&world, &Move::Commit { late: 0 });
            }
            for replica in 0..world.replicas.len() {
                for _ in 0..40 {
                    let action = if world.replicas[replica].is_idle() {
                        Move::Load {
                            replica,
                            stale: false,
                        }
                    } else {
                        Move::Act { replica, way: 0 }
                    };
                    world = self.step(&world, &action);
                    if world.released {
                        return Ok(());
                    }
                    if world.replicas[replica].is_idle() {
                        break;
                    }
                }
            }
            for job in 0..world.jobs.len() {
                if world.jobs[job].alive {
                    let action = if world.jobs[job].canceled {
                        Move::Stop { job }
                    } else {
                        Move::End { job, well: true }
                    };
                    world = self.step(&world, &action);
                }
            }
            world.now += 1;
        }
        Err(Box::new(world))
    }
}
