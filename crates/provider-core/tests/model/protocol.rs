//! Processes carry out what their machines want, one effect at a time, in every order.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use provider_core::engine::{
    Backends, Effect, End, Happened, Machine, Pace, Pass, Purpose, Setting, Stage,
};
use provider_core::lifecycle::{
    ActionRequest, Desired, Ground, Mode, Policy, PolicyConfig, Purge, Snapshot, Standing,
    StoreError, StoreVersion, Written,
};
use provider_core::{
    Capabilities, ConfigVersion, JobRecord, JobState, Reason, Resource, clock, history,
};
use serde_json::json;

use crate::bounds::{Bounds, Mutant};
use crate::state::{Records, Replica, Running, What, Wish, World};

// ---- time: a tick is half a minute ----

pub(crate) const TICK: Duration = Duration::from_secs(30);
/// A launch without an answer turns up within two ticks or never.
pub(crate) const LATE_TICKS: u8 = 2;

pub(crate) fn at(tick: u8) -> Timestamp {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    clock::add(start, TICK * u32::from(tick))
}

pub(crate) fn version(spec: u8) -> ConfigVersion {
    ConfigVersion::from_text(format!("v1-{spec:032x}"))
}

/// Two providers that can do the same; the second one may not be registered.
#[derive(Debug)]
pub(crate) struct Both {
    pub(crate) capabilities: Capabilities,
    pub(crate) has_other: bool,
}

impl Backends for Both {
    fn owner<'a>(&'a self, record: &'a JobRecord) -> Option<(&'a str, &'a Capabilities)> {
        let name = record.provider.as_deref()?;
        Some((name, self.capabilities(name)?))
    }

    fn capabilities(&self, name: &str) -> Option<&Capabilities> {
        (name == "b" || self.has_other).then_some(&self.capabilities)
    }
}

pub(crate) struct Protocol {
    pub(crate) bounds: Bounds,
    pub(crate) policy: Policy,
    pub(crate) backends: Both,
}

impl Protocol {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let tick = SignedDuration::try_from(TICK).unwrap();
        let mut config = PolicyConfig::default();
        config.poll_interval = Some(tick);
        config.cancel_poll_interval = tick;
        config.cancel_retry = tick;
        config.jitter = 0.0;
        config.supersede = bounds.supersede;
        config.history_length = 1;
        config.backoff.base = tick;
        config.backoff.cap = tick;
        config.deadlines.queued = None;
        config.deadlines.running = None;
        if bounds.silence {
            config.deadlines.unknown = tick;
            config.deadlines.canceling = tick;
            config.cancel_retry = SignedDuration::try_from(TICK * 2).unwrap();
            config.purge = Purge::AssumeSucceeded;
        }
        let mut capabilities = Capabilities::none();
        capabilities.cancel = true;
        capabilities.find_launched = true;
        capabilities.actions = true;
        capabilities.find_relaunched =
            bounds.relaunches > 0 && bounds.mutant != Some(Mutant::NobodyLooks);
        capabilities.visibility_window = match bounds.mutant {
            Some(Mutant::AbsentAtOnce) => Duration::ZERO,
            _ => TICK * u32::from(LATE_TICKS),
        };
        Self {
            bounds,
            policy: Policy::new(config).unwrap(),
            backends: Both {
                capabilities,
                has_other: false,
            },
        }
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.bounds.mutant == Some(mutant)
    }

    pub(crate) fn clock(&self, world: &World, replica: usize) -> Timestamp {
        let ahead = if replica == 0 { self.bounds.skew } else { 0 };
        at(world.now + ahead)
    }

    /// Whether what processes remember between passes is kept as it is.
    fn remembers(&self) -> bool {
        self.bounds.silence || self.bounds.everything
    }

    fn resource(wish: Wish, deleting: Option<u8>) -> Resource {
        let asked = format!(
            "{:?} {} {} {} {} {} {}",
            wish.mode, wish.at_other, wish.retry, wish.action, wish.absent, wish.keep, wish.not_yet
        );
        let object = json!({
            "kind": "Machine",
            "metadata": {
                "name": "m", "uid": "u", "generation": wish.spec,
                "deletionTimestamp": deleting.map(|tick| at(tick).to_string()),
                "annotations": {"asked": asked},
            },
        });
        Resource::from_json(object).unwrap()
    }

    fn desired(wish: Wish) -> Desired {
        let provider = if wish.at_other { "c" } else { "b" };
        let mut desired = Desired::new(version(wish.spec), provider).in_mode(wish.mode);
        if wish.retry > 0 {
            desired = desired.with_retry_request(wish.retry.to_string());
        }
        if wish.action > 0 {
            let action = ActionRequest::new("act", wish.action.to_string()).unwrap();
            desired = desired.with_action(action);
        }
        if wish.absent {
            desired = desired.absent();
        }
        if wish.keep {
            desired = desired.keep_on_delete();
        }
        if wish.not_yet {
            desired = desired.not_yet("something is missing", TICK);
        }
        if wish.already > 0 {
            desired = desired.already(version(wish.already));
        }
        desired
    }

    // ---- passes ----

    pub(crate) fn begin(&self, world: &mut World, n: usize, stale: bool) {
        let now = self.clock(world, n);
        let (wish, deleting) = (world.wish, world.deleting);
        let replica = &mut world.replicas[n];
        let mut remembered = Pass::default();
        remembered.paces = std::mem::take(&mut replica.paces);
        if deleting.is_some() && self.policy.config().deletion.abandon_after.is_some() {
            let seen = replica.deleting.filter(|seen| *seen <= now);
            remembered.deleting = Some(seen.unwrap_or(now));
        }
        let resource = Self::resource(wish, deleting);
        // Where records are forgotten, attempts have the numbers of earlier ones, and never their tokens.
        let forgets = self.bounds.imports || self.bounds.absent;
        let drawn = if forgets {
            world.jobs.len() as u128 * 100
        } else {
            0
        };
        let seed = (n as u128 + 1) * 100_000 + drawn;
        let (machine, _) = Machine::begin(resource, remembered, seed);
        let records = match &world.before {
            Some(before) if stale => before.clone(),
            _ => world.records.clone(),
        };
        let replica = &mut world.replicas[n];
        replica.current = !stale;
        replica.running = Some(Box::new(Running {
            machine,
            what: What::Loaded(self.altered(records, wish, deleting), wish, deleting),
            seen: None,
            wish,
        }));
    }

    /// Tells a pass what came of its last effect, and gives what it wants next.
    pub(crate) fn feed(&self, world: &World, running: &mut Running, now: Timestamp) -> Effect {
        self.plan(running, now);
        let now = self.twisted(running, now);
        let happened = match running.what.clone() {
            What::Loaded(records, wish, deleting) => {
                let snapshot = Snapshot::new(records.0, StoreVersion::new("as read"))
                    .with_resource(Self::resource(wish, deleting));
                Happened::Loaded(Ok(snapshot))
            }
            What::Written => Happened::Swapped(Ok(Written::new(StoreVersion::new("as written")))),
            What::Conflict => Happened::Swapped(Err(StoreError::Conflict)),
            What::Gone => Happened::Loaded(Err(StoreError::Gone)),
            What::NoAnswer => Happened::Swapped(Err(StoreError::unavailable("no answer"))),
            What::Saw(seen) => {
                let Stage::Asking(asked) = &running.machine.stage else {
                    panic!("an answer to no question");
                };
                let deleting = running.machine.resource.is_deleting() || running.wish.absent;
                let observation = self.observation(world, &asked.record, &seen, deleting);
                running.seen = Some(seen);
                Happened::Saw(Box::new(observation))
            }
        };
        let desired = Self::desired(running.wish);
        let setting = Setting::new(&desired, &self.policy, &self.backends);
        let effect = running.machine.step(&setting, happened, now);
        running.machine.events.clear();
        if !matches!(
            running.machine.stage,
            Stage::Writing(Purpose::Observation(_), _) | Stage::Rereading(Purpose::Observation(_))
        ) {
            running.seen = None;
        }
        self.broken(running, effect)
    }

    /// Without memory between two passes, each job was planned to be asked about long ago.
    fn plan(&self, running: &mut Running, now: Timestamp) {
        let is_look = self.is(Mutant::PlanIsALook);
        if self.remembers() && !is_look {
            return;
        }
        let records = match &running.what {
            What::Loaded(records, ..) => Arc::clone(&records.0),
            _ => Arc::clone(&running.machine.records),
        };
        let paces = &mut running.machine.pass.paces;
        for record in records.iter() {
            let is_known = paces.iter().any(|pace| pace.attempt == record.attempt);
            if is_known || record.job_id.is_none() || !record.may_be_live() {
                continue;
            }
            paces.push(if is_look {
                Pace::new(record.attempt, now, clock::add(now, TICK))
            } else {
                Pace::new(record.attempt, at(0), at(0))
            });
        }
    }

    /// Carries an effect out, at once, in the way that the other side chooses.
    pub(crate) fn perform(&self, world: &mut World, n: usize, effect: Effect, way: u8) {
        let what = match effect {
            Effect::Load(_) if world.released => What::Gone,
            Effect::Load(_) => {
                world.replicas[n].current = true;
                let records = world.records.clone();
                let (wish, deleting) = (world.wish, world.deleting);
                What::Loaded(self.altered(records, wish, deleting), wish, deleting)
            }
            Effect::Swap { records, .. } => self.swap(world, n, &records, way),
            Effect::Ask(question) => {
                let seen = self.answer(world, n, &question, way);
                What::Saw(seen)
            }
            Effect::Rest(end) => {
                if let End::Rest(rest, _) = &end {
                    self.rest(world, n, rest);
                }
                return self.idle(world, n, Some(&end));
            }
            other => panic!("an effect that the model does not know: {other:?}"),
        };
        if let Some(running) = &mut world.replicas[n].running {
            running.what = what;
        }
    }

    fn swap(&self, world: &mut World, n: usize, records: &[JobRecord], way: u8) -> What {
        let machine = world.replicas[n]
            .running
            .as_ref()
            .map(|running| &running.machine);
        let machine = machine.unwrap();
        if self.is_sham(machine) {
            return What::Written;
        }
        if world.released {
            // The object is gone: what the store says to a write, too.
            world.replicas[n].current = false;
            return What::Conflict;
        }
        if !(world.replicas[n].current || self.is(Mutant::LastWriterWins)) {
            return What::Conflict;
        }
        let mut records = self.mistaken(world, n, records);
        let notes = history::check(&records);
        if !notes.is_empty() {
            if self.bounds.everything {
                crate::say(&format!("{notes:?}"));
            }
            world
                .wrong
                .get_or_insert("a history that can never be right");
        }
        let is_known = |new: &JobRecord| {
            let mut old = world.records.0.iter();
            old.any(|old| {
                old.token == new.token
                    && old.reason == Some(Reason::Unnamed)
                    && new.sends > old.sends
            })
        };
        if records.iter().any(is_known) {
            let wrong = "launched again although the backend has taken it for sure";
            world.wrong.get_or_insert(wrong);
        }
        if !self.is(Mutant::OrderByTimestamp) && !self.bounds.everything {
            // Moments that no decision rests on within the bounds; without them, states merge.
            for record in &mut records {
                record.state_since = record.state_since.map(|_| at(0));
                record.timestamp = record.timestamp.map(|_| at(0));
                record.finished_at = record.finished_at.map(|_| at(0));
                record.cancel_requested_at = record.cancel_requested_at.map(|_| at(0));
                record.running_since = record.running_since.map(|_| at(0));
                record.missing_since = record.missing_since.map(|_| at(0));
                record.message.clear();
            }
        }
        // Without faults left there are no stale reads, and what they would show is forgotten.
        let written = Records(Arc::new(records));
        let old = std::mem::replace(&mut world.records, written.clone());
        world.before = (world.faults > 0).then_some(old);
        for replica in &mut world.replicas {
            replica.current = false;
        }
        let replica = &mut world.replicas[n];
        replica.current = true;
        if let Some(running) = &mut replica.running
            && let Stage::Writing(_, write) = &mut running.machine.stage
        {
            write.records = written.0;
        }
        if way == 1 {
            world.faults -= 1;
            return What::NoAnswer;
        }
        What::Written
    }

    /// A pass is over: by its end, or because its process has died.
    pub(crate) fn idle(&self, world: &mut World, n: usize, end: Option<&End>) {
        let Some(running) = world.replicas[n].running.take() else {
            return;
        };
        let Pass {
            mut paces,
            deleting,
            ..
        } = running.machine.pass;
        if self.bounds.everything {
            let mine = &running.machine.records;
            paces.retain(|pace| {
                let record = mine.iter().find(|record| record.attempt == pace.attempt);
                record.is_some_and(JobRecord::may_be_live)
            });
        } else {
            // Of what a process remembers between two passes, only this decides anything. That it may
            // ask again at once is allowed for.
            let silence = self.bounds.silence;
            let open = world
                .records
                .0
                .iter()
                .filter(|r| r.is_unresolved() || (silence && r.may_be_live()));
            let open: Vec<u64> = open.map(|record| record.attempt).collect();
            paces.retain(|pace| (silence || pace.vain.is_some()) && open.contains(&pace.attempt));
        }
        if !self.remembers() {
            for pace in &mut paces {
                (pace.planned, pace.due) = (at(0), at(0));
                (pace.look, pace.cancel) = (None, None);
            }
        }
        let is_over = matches!(end, Some(End::Rest(rest, _)) if matches!(
            &rest.standing, Standing::Released(release) if release.ground != Ground::Abandoned
        ));
        world.replicas[n] = Replica {
            paces,
            deleting: deleting.filter(|_| !is_over && self.bounds.everything),
            ..Replica::default()
        };
    }

    pub(crate) fn crash(&self, world: &mut World, n: usize) {
        self.idle(world, n, None);
        world.replicas[n] = Replica::default();
    }

    /// Begins a pass. One that only looks and rests is one step: nothing of it can be interleaved.
    pub(crate) fn load(&self, world: &mut World, n: usize, stale: bool) {
        if stale {
            world.faults -= 1;
        }
        self.begin(world, n, stale);
        let now = self.clock(world, n);
        let mut running = world.replicas[n].running.clone().unwrap();
        let effect = self.feed(world, &mut running, now);
        if matches!(effect, Effect::Rest(_)) {
            world.replicas[n].running = Some(running);
            self.perform(world, n, effect, 0);
        }
    }

    pub(crate) fn act(&self, world: &mut World, n: usize, way: u8) -> Option<Effect> {
        let now = self.clock(world, n);
        let mut running = world.replicas[n].running.take()?;
        let effect = self.feed(world, &mut running, now);
        world.replicas[n].running = Some(running);
        self.perform(world, n, effect.clone(), way);
        Some(effect)
    }

    /// The first of the world's lives.
    pub(crate) fn fresh(&self) -> World {
        World {
            now: 0,
            records: Records::default(),
            before: None,
            jobs: Vec::new(),
            late: Vec::new(),
            replicas: vec![Replica::default(); self.bounds.replicas],
            deleting: None,
            wish: Wish {
                spec: 1,
                at_other: false,
                mode: Mode::Managed,
                retry: 0,
                action: 0,
                absent: false,
                keep: false,
                not_yet: false,
                already: 0,
            },
            faults: self.bounds.faults,
            crashes: self.bounds.crashes,
            edits: self.bounds.edits,
            failures: self.bounds.failures,
            again: self.bounds.again,
            released: false,
            given_up: false,
            searches_fail: false,
            people: self.bounds.people,
            relaunches: self.bounds.relaunches,
            actions: self.bounds.actions,
            wrong: None,
        }
    }
}

/// Whether a job may still be doing something.
pub(crate) fn is_busy(world: &World) -> bool {
    world.jobs.iter().any(|job| job.alive) || !world.late.is_empty()
}

/// Whether the last thing that was built has been removed, or nothing was.
pub(crate) fn is_removed(world: &World) -> bool {
    match world
        .jobs
        .iter()
        .rposition(|job| !job.down && job.act.is_none())
    {
        None => true,
        Some(up) => world.jobs[up..]
            .iter()
            .any(|job| job.down && job.state == JobState::Succeeded),
    }
}
