//! What others do to a job, and what keeps it from beginning.

use std::time::Duration;

use jiff::Timestamp;
use provider_core::clock;

use super::{Broken, Event, Job, Jobs, NewJob};
use crate::aap::notify;
use crate::aap::plan::{OnCancel, RunPlan};
use crate::aap::world::Kind;

impl Jobs {
    /// Whoever is told of jobs of this template is told of this one, in its own time.
    pub(super) fn notify(&mut self, id: u64, now: Timestamp) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let after = if job.is_active() {
            Some(Duration::ZERO)
        } else {
            notify::delay(job)
        };
        let template = job.template.and_then(|id| self.templates.get(&id));
        let wanted = template.is_some_and(|template| template.notifies.is_some());
        if let (true, None, Some(after)) = (wanted, job.parent, after) {
            self.at(clock::add(now, after), Event::Notify(id));
        }
    }

    pub(super) fn blocker(&self, job: &Job) -> Option<String> {
        let template = self.templates.get(&job.template?)?;
        if template.allow_simultaneous || job.parent.is_some() {
            return None;
        }
        let blocker = self.jobs.values().find(|other| {
            other.id < job.id
                && other.template == job.template
                && other.parent.is_none()
                && other.is_active()
        })?;
        let model = match blocker.kind {
            Kind::Job => "job",
            Kind::Workflow => "workflowjob",
        };
        Some(format!("{model}-{}", blocker.id))
    }

    /// `POST …/cancel/` on an active job.
    pub(in crate::aap) fn cancel(&mut self, id: u64, now: Timestamp) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_active()) else {
            return;
        };
        job.canceled_on.get_or_insert(now);
        if let Some(changed) = &mut self.changed {
            changed.push(id);
            changed.extend(job.parent);
        }
        if job.status == "pending" {
            job.status = "canceled";
            job.finished = Some(now);
            job.explanation.clear();
            self.stopped(id, now, false);
            return;
        }
        if job.kind == Kind::Workflow {
            for child in job.children.clone() {
                self.cancel(child, now);
            }
            return;
        }
        match job.plan.on_cancel {
            OnCancel::Obeys(after) => self.at(clock::add(now, after), Event::Stop(id)),
            OnCancel::Ignores => {}
            OnCancel::Lies => {
                job.status = "canceled";
                job.finished = Some(now);
                let (endless, parent) = (job.plan.run.is_none(), job.parent);
                if endless {
                    // A lie needs an end of its own: as measured, some 25 s later.
                    self.at(clock::add(now, Duration::from_secs(25)), Event::Finish(id));
                }
                if let Some(parent) = parent {
                    self.child_ended(parent, now);
                }
            }
        }
    }

    /// Marks a working job `failed`, as the reaper does; the work goes on.
    pub(in crate::aap) fn reap(&mut self, id: u64, now: Timestamp) -> bool {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_active()) else {
            return false;
        };
        job.status = "failed";
        job.finished = Some(now);
        if let Some(changed) = &mut self.changed {
            changed.push(id);
        }
        job.explanation = "Task was marked as running but was not present in the job queue, so \
                           it has been marked as failed."
            .to_owned();
        let parent = job.parent;
        self.notify(id, now);
        // Its workflow goes by what the status says.
        if let Some(parent) = parent {
            self.child_ended(parent, now);
        }
        true
    }

    /// Forgets a job, as the clean-up schedule does with ended ones.
    pub(in crate::aap) fn purge(&mut self, id: u64) -> bool {
        if self.jobs.get(&id).is_some_and(|job| !job.is_active()) {
            self.jobs.remove(&id);
            return true;
        }
        false
    }

    /// Whether there is such a job.
    pub(in crate::aap) fn break_row(&mut self, id: u64, broken: Option<Broken>) -> bool {
        let job = self.jobs.get_mut(&id);
        job.map(|job| job.broken = broken).is_some()
    }

    /// The new job of `POST …/relaunch/`, of this course or else of the first job's.
    pub(in crate::aap) fn relaunch(
        &mut self,
        id: u64,
        user: usize,
        plan: Option<RunPlan>,
        now: Timestamp,
    ) -> Option<u64> {
        let job = self.jobs.get(&id)?;
        let new = NewJob {
            template: job.template?,
            extra_vars: job.extra_vars.clone(),
            limit: job.limit.clone(),
            labels: job.labels.clone(),
            launch_type: "relaunch",
            user,
            plan: plan.unwrap_or_else(|| job.plan.clone()),
            parent: None,
        };
        self.create(new, now)
    }
}
