//! All that the simulated controller knows.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::fault::{Faults, Route};
use super::jobs::{Job, Jobs};
use super::notify::{self, Notice};
use super::plan::RunPlan;
use super::web::{Costs, Web};
use super::world::{Layout, Template, User, World};

#[derive(Debug)]
pub(super) struct State {
    pub jobs: Jobs,
    pub users: Vec<User>,
    pub layout: Layout,
    pub version: String,
    pub faults: Faults,
    pub plans: HashMap<String, VecDeque<RunPlan>>,
    pub counts: BTreeMap<Route, u64>,
    pub requests: Vec<String>,
    pub record_requests: bool,
    pub max_page_size: usize,
    /// Users, and the templates on which they have no role any more.
    pub strangers: BTreeSet<(usize, u64)>,
    /// Where requests cost something.
    pub web: Option<Arc<Web>>,
}

impl State {
    pub(super) fn new(world: World) -> Self {
        Self {
            jobs: Jobs::new(world.templates),
            users: world.users,
            layout: world.layout,
            version: world.version,
            faults: Faults::default(),
            plans: HashMap::new(),
            counts: BTreeMap::new(),
            requests: Vec::new(),
            record_requests: world.record_requests,
            max_page_size: world.max_page_size.max(1),
            strangers: BTreeSet::new(),
            web: world.costs.map(Web::new),
        }
    }

    /// From now on. Requests that have come in already cost what they did.
    pub(super) fn set_costs(&mut self, costs: Option<Costs>) {
        self.web = costs.map(Web::new);
    }

    /// The number of the user who sent this header.
    pub(super) fn user(&self, authorization: Option<&str>) -> Option<usize> {
        let (scheme, rest) = authorization?.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.users.iter().position(|user| user.token == rest);
        }
        if scheme.eq_ignore_ascii_case("basic") {
            return self
                .users
                .iter()
                .position(|user| base64(&format!("{}:{}", user.name, user.password)) == rest);
        }
        None
    }

    /// The notifications that are due.
    pub(super) fn notices(&mut self) -> Vec<Notice> {
        let told = std::mem::take(&mut self.jobs.told);
        let notices = told.iter().filter_map(|id| {
            let job = self.jobs.jobs.get(id)?;
            let webhook = self.jobs.templates.get(&job.template?)?.notifies.clone()?;
            let body = notify::body(job, &self.users);
            Some(Notice { webhook, body })
        });
        notices.collect()
    }

    fn sees_all(&self, user: usize) -> bool {
        self.users
            .get(user)
            .is_some_and(|user| user.superuser || user.auditor)
    }

    pub(super) fn sees_template(&self, id: u64, user: usize) -> bool {
        self.sees_all(user) || !self.strangers.contains(&(user, id))
    }

    /// A job is shown to whoever may read its template; once that is gone, to those who see all.
    pub(super) fn sees_job(&self, job: &Job, user: usize) -> bool {
        let template = job.template;
        let template = template.filter(|id| self.jobs.templates.contains_key(id));
        // Jobs of other kinds have no template here; everybody has the roles that show them.
        let is_of_another_kind = job.other.is_some();
        let is_shown = template.is_some_and(|id| self.sees_template(id, user));
        self.sees_all(user) || is_of_another_kind || is_shown
    }

    /// The role Execute; a token of the scope `read` has none.
    pub(super) fn may_launch(&self, id: u64, template: &Template, user: usize) -> bool {
        self.users.get(user).is_some_and(|of| {
            let may = !of.auditor && !template.restricted && self.sees_template(id, user);
            !of.read_only && (of.superuser || may)
        })
    }

    /// The course of a copy of this job, where one is planned.
    pub(super) fn plan_of_copy(&mut self, id: u64) -> Option<RunPlan> {
        let template = self.jobs.jobs.get(&id)?.template?;
        let name = &self.jobs.templates.get(&template)?.name;
        self.plans.get_mut(name)?.pop_front()
    }

    /// The course of the next job of this template.
    pub(super) fn next_plan(&mut self, template: &str, usual: RunPlan) -> RunPlan {
        self.plans
            .get_mut(template)
            .and_then(VecDeque::pop_front)
            .or_else(|| self.faults.plan())
            .unwrap_or(usual)
    }
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}
