//! What happens to the controller itself, and what is done there that is nobody's work on an object.

use std::time::Duration;

use provider_core::JobRecord;
use provider_testkit::aap::{Broken, OPERATOR_TOKEN, Run, RunPlan, Template};
use serde_json::Value;

use crate::dice::Dice;
use crate::run::Scene;
use crate::script::Mischief;

pub(crate) const TEMPLATES: [&str; 3] = [
    "osac-create-machine",
    "osac-delete-machine",
    "osac-restart-machine",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// Its database is that of a backup again: the newest of its jobs, so many, are forgotten, and their ids are
    /// given to others.
    Restore(u64),
    /// It is restarted, and cancels what was just starting.
    Restart,
    /// We lose every role on this template, and so sight of its jobs; or have them again.
    Estrange(usize, bool),
    /// It cannot show its newest job any more: in lists, or at all.
    BreakRow(bool),
    /// It can show all of them again.
    MendRows,
    /// This template is deleted, if no job of it is under way.
    RemoveTemplate(usize),
    /// There is one of this name again.
    BringTemplate(usize),
    /// This template drops the variables of launches from now on; or takes them again.
    Drop(usize, bool),
}

pub(crate) fn make(workflow: bool, template: usize) -> Template {
    let (name, seconds) = (TEMPLATES[template], [40, 20, 30][template]);
    let template = if workflow {
        Template::workflow(name)
    } else {
        Template::job(name)
    };
    template.with_plan(RunPlan::lasting(Duration::from_secs(seconds)))
}

/// Those of a world; most have none of a sort.
pub(crate) fn draw(seed: u64, storm: Duration) -> Vec<(Duration, Mischief)> {
    let dice = Dice::of(seed, "the controller");
    let mut all = Vec::new();
    let at = |dice: &Dice| Duration::from_secs(dice.below(storm.as_secs()));
    let lasting = |dice: &Dice| Duration::from_secs(5 + dice.below(900));
    for _ in 0..3 {
        if dice.percent(15) {
            all.push((at(&dice), Mishap::Restart));
        }
        if dice.percent(12) {
            let (from, template) = (at(&dice), dice.pick(2));
            all.push((from, Mishap::Estrange(template, true)));
            all.push((from + lasting(&dice), Mishap::Estrange(template, false)));
        }
        if dice.percent(6) {
            let (from, template) = (at(&dice), dice.pick(2));
            all.push((from, Mishap::Drop(template, true)));
            all.push((from + lasting(&dice), Mishap::Drop(template, false)));
        }
        if dice.percent(12) {
            let from = at(&dice);
            all.push((from, Mishap::BreakRow(dice.percent(50))));
            all.push((from + lasting(&dice), Mishap::MendRows));
        }
    }
    // A backup has its templates as well, so one of the two.
    if dice.percent(15) {
        all.push((at(&dice), Mishap::Restore(1 + dice.below(6))));
    } else if dice.percent(15) {
        let (from, template) = (at(&dice), dice.pick(2));
        all.push((from, Mishap::RemoveTemplate(template)));
        all.push((from + lasting(&dice), Mishap::BringTemplate(template)));
    }
    all.retain(|(at, _)| *at < storm);
    let all = all.into_iter();
    all.map(|(at, mishap)| (at, Mischief::Controller(mishap)))
        .collect()
}

impl Scene {
    pub(crate) fn meet(&mut self, mishap: Mishap) {
        match mishap {
            Mishap::Restore(count) => {
                let journal = self.sim.journal();
                let newest = journal.iter().filter(|run| !self.is_forgotten(run));
                let newest = newest.map(|run| run.id).max().unwrap_or(0);
                // What was there from the beginning is in every backup.
                let left = newest.saturating_sub(count);
                if !journal.iter().any(|run| run.id == left) {
                    return;
                }
                let gone = journal
                    .iter()
                    .filter(|run| run.id > left && !self.is_forgotten(run));
                let gone: Vec<_> = gone.map(|run| (run.id, run.accepted)).collect();
                self.forgotten.extend(gone);
                self.sim.restore(left);
                self.sim.hang_up();
                self.fault("restored from a backup", &format!("with jobs up to {left}"));
            }
            Mishap::Restart => {
                let mut count = 0;
                for run in self.sim.journal() {
                    if run.started.is_none() && run.stopped.is_none() {
                        count += u64::from(self.sim.interrupt(run.id));
                    }
                }
                self.sim.hang_up();
                self.fault(
                    "restarted",
                    &format!("and cancels {count} jobs that were starting"),
                );
            }
            Mishap::Estrange(template, is_stranger) => {
                let name = TEMPLATES[template];
                self.sim.estrange(OPERATOR_TOKEN, name, is_stranger);
                let what = if is_stranger {
                    "rights are taken away"
                } else {
                    "rights are given back"
                };
                self.fault(what, name);
            }
            Mishap::BreakRow(everywhere) => {
                let how = if everywhere {
                    Broken::Everywhere
                } else {
                    Broken::InLists
                };
                if let Some(run) = self.sim.journal().iter().max_by_key(|run| run.accepted) {
                    self.sim.break_row(run.id, Some(how));
                    self.fault("cannot be shown", &format!("job {}, {how:?}", run.id));
                }
            }
            Mishap::MendRows => {
                for run in self.sim.journal() {
                    self.sim.break_row(run.id, None);
                }
            }
            Mishap::RemoveTemplate(template) => {
                let name = TEMPLATES[template];
                let busy = self
                    .sim
                    .journal()
                    .iter()
                    .any(|run| run.template == name && run.stopped.is_none());
                // Once it is gone its jobs are shown to those alone who see everything: a job whose end is not on
                // record yet would be waited for until people give that right.
                let busy = busy || self.are_waited_for();
                let known = self.templates[template].filter(|_| !busy);
                if let Some(id) = known {
                    self.sim.remove_template(id);
                    self.templates[template] = None;
                    self.fault("a template is deleted", name);
                }
            }
            Mishap::BringTemplate(template) => {
                if self.templates[template].is_none() {
                    let again = make(self.workflow, template);
                    self.templates[template] = Some(self.sim.add_template(again));
                    self.fault("a template is there again", TEMPLATES[template]);
                }
            }
            Mishap::Drop(template, drops) => {
                let Some(id) = self.templates[template] else {
                    return;
                };
                let usual = make(self.workflow, template);
                let (edited, what) = if drops {
                    (usual.not_promptable(), "a template drops variables")
                } else {
                    (usual, "a template takes variables again")
                };
                self.sim.edit_template(id, edited);
                self.fault(what, TEMPLATES[template]);
            }
        }
    }

    /// Whether the end of any job is not on record yet.
    fn are_waited_for(&self) -> bool {
        let objects = self
            .plans
            .iter()
            .filter_map(|plan| self.server.object(&plan.name));
        objects.into_iter().any(|object| {
            let jobs = object.pointer("/status/jobs").and_then(Value::as_array);
            let records = jobs.into_iter().flatten().filter_map(Value::as_object);
            records
                .map(JobRecord::from_json)
                .any(|record| record.may_be_live())
        })
    }

    /// Whether the controller has lost it with its database.
    pub(crate) fn is_forgotten(&self, run: &Run) -> bool {
        self.forgotten.contains(&(run.id, run.accepted))
    }

    fn fault(&self, what: &'static str, text: &str) {
        self.chronicle.fault(what, text);
    }

    /// All is as it was.
    pub(crate) fn mend(&mut self) {
        for (template, name) in TEMPLATES.iter().enumerate() {
            self.sim.estrange(OPERATOR_TOKEN, name, false);
            self.meet(Mishap::BringTemplate(template));
            self.meet(Mishap::Drop(template, false));
        }
        self.meet(Mishap::MendRows);
    }
}
