//! All that the simulated controller knows.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::fault::{Faults, Route};
use super::jobs::Jobs;
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

    pub(super) fn may_launch(&self, template: &Template, user: usize) -> bool {
        self.users
            .get(user)
            .is_some_and(|user| user.superuser || !template.restricted)
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
