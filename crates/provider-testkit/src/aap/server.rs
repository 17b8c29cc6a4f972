//! The simulator on a socket.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use provider_core::Clock;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::fault::{Fault, Route, Weather};
use super::jobs::Broken;
use super::journal::{Run, overlapping};
use super::plan::{Ending, RunPlan};
use super::push;
use super::routes;
use super::script::Script;
use super::state::State;
use super::web::{Costs, Load, Web};
use super::world::{Layout, Template, World};
use crate::line::Line;

mod connections;

/// A running simulator; it stops when this is dropped.
#[derive(Debug)]
pub struct AapSim {
    shared: Arc<Shared>,
    /// None without sockets.
    address: Option<SocketAddr>,
    line: Arc<Line>,
    server: AbortHandle,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) clock: Arc<dyn Clock>,
    latency: Duration,
    /// What websockets are told; and how they are all closed.
    pushes: tokio::sync::broadcast::Sender<String>,
    hang_up: Arc<tokio::sync::Notify>,
    /// With sockets, how often it is looked whether something has happened that somebody is told of.
    tick: Option<Duration>,
    /// Without, it is looked when something may have, or is due: no answer has to be on its way when the paused
    /// timer runs on.
    stirred: tokio::sync::Notify,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AapSim {
    fn drop(&mut self) {
        self.server.abort();
        if let Some(web) = &self.shared.lock().web {
            web.close();
        }
    }
}

impl AapSim {
    /// Starts a controller on a free port of the loopback interface.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn start(world: World, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        Self::start_at(world, clock, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts a controller on this address.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_at(
        world: World,
        clock: Arc<dyn Clock>,
        address: SocketAddr,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self::run(world, clock, Some((listener, address))))
    }

    /// Starts a controller without sockets: only its [line](Self::line) leads to it. With tokio's paused
    /// time nothing is left to chance then.
    #[must_use]
    pub fn start_in_process(world: World, clock: Arc<dyn Clock>) -> Self {
        Self::run(world, clock, None)
    }

    fn run(
        world: World,
        clock: Arc<dyn Clock>,
        listens: Option<(TcpListener, SocketAddr)>,
    ) -> Self {
        let shared = Arc::new(Shared {
            latency: world.latency,
            state: Mutex::new(State::new(world)),
            clock,
            pushes: tokio::sync::broadcast::channel(push::BACKLOG).0,
            hang_up: Arc::default(),
            tick: listens.is_some().then_some(push::TICK),
            stirred: tokio::sync::Notify::new(),
        });
        let (listener, address) = listens.unzip();
        let (calls, called) = tokio::sync::mpsc::unbounded_channel();
        let server = connections::serve(listener, called, Arc::clone(&shared));
        Self {
            shared,
            address,
            line: Line::new(calls),
            server: tokio::spawn(server).abort_handle(),
        }
    }

    /// `http://127.0.0.1:PORT`, without a path; without sockets, a host that only the line knows.
    #[must_use]
    pub fn url(&self) -> String {
        match self.address {
            Some(address) => format!("http://{address}"),
            None => "http://controller.invalid".to_owned(),
        }
    }

    /// A line to this controller, for `HttpConfig::carrier`.
    #[must_use]
    pub fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }

    /// The next `times` requests of this route meet this fault.
    pub fn fault(&self, route: Route, fault: &Fault, times: u32) {
        self.shared.lock().faults.script(route, fault, times, 100);
    }

    /// Trouble by chance from now on, or, with `None`, none.
    pub fn weather(&self, weather: Option<Weather>) {
        self.shared.lock().faults.set_weather(weather);
    }

    /// No faults any more, neither scripted nor by chance.
    pub fn clear_faults(&self) {
        self.shared.lock().faults.clear();
    }

    /// What requests cost from now on, or, with `None`, nothing.
    pub fn costs(&self, costs: Option<Costs>) {
        self.shared.lock().set_costs(costs);
    }

    /// What the workers have done since costs were set.
    #[must_use]
    pub fn load(&self) -> Load {
        let web = self.shared.lock().web.clone();
        web.as_deref().map(Web::load).unwrap_or_default()
    }

    /// A person revokes this token.
    pub fn revoke(&self, token: &str) {
        let users = &mut self.shared.lock().users;
        // Users are known by their number, so they stay.
        for user in users.iter_mut().filter(|user| user.token == token) {
            user.token.insert_str(0, "revoked ");
        }
    }

    /// The API is at another place from now on, as after an upgrade.
    pub fn move_to(&self, layout: Layout) {
        self.shared.lock().layout = layout;
    }

    /// Everything that a script says.
    pub fn play(&self, script: Script) {
        script.happen(&mut self.shared.lock());
    }

    /// Adds a template and returns its id.
    pub fn add_template(&self, template: Template) -> u64 {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        let id = state.jobs.add_template(template);
        state.jobs.born.insert(id, now);
        id
    }

    /// The user with this token loses every role on the template of this name, or has them again.
    /// Jobs are shown to whoever may read their template.
    pub fn estrange(&self, token: &str, template: &str, is_stranger: bool) {
        let mut state = self.shared.lock();
        let user = state.users.iter().position(|user| user.token == token);
        let named = |(_, known): &(&u64, &Template)| known.name == template;
        let ids: Vec<u64> = state
            .jobs
            .templates
            .iter()
            .filter(named)
            .map(|(id, _)| *id)
            .collect();
        for key in ids.into_iter().filter_map(|id| Some((user?, id))) {
            if is_stranger {
                state.strangers.insert(key);
            } else {
                state.strangers.remove(&key);
            }
        }
    }

    /// The controller cannot show this job any more, or can again.
    pub fn break_row(&self, id: u64, broken: Option<Broken>) {
        self.advanced().jobs.break_row(id, broken);
    }

    /// Somebody edits the template of this id: it is this one from now on.
    pub fn edit_template(&self, id: u64, template: Template) {
        if let Some(known) = self.shared.lock().jobs.templates.get_mut(&id) {
            *known = template;
        }
    }

    /// Deletes the template of this id.
    pub fn remove_template(&self, id: u64) {
        self.shared.lock().jobs.templates.remove(&id);
    }

    /// The course of the next job of this template; further calls are for the jobs after it.
    pub fn plan_next(&self, template: &str, plan: RunPlan) {
        let mut state = self.shared.lock();
        let plans = state.plans.entry(template.to_owned()).or_default();
        plans.push_back(plan);
    }

    /// Everything that was accepted so far, by id.
    #[must_use]
    pub fn journal(&self) -> Vec<Run> {
        self.advanced().jobs.journal.values().cloned().collect()
    }

    /// What has changed in the journal since the last call; everything, at the first.
    #[must_use]
    pub fn journal_changes(&self) -> Vec<Run> {
        let mut state = self.advanced();
        let changed = std::mem::take(&mut state.jobs.journal_changed);
        let runs = changed.iter().filter_map(|id| state.jobs.journal.get(id));
        runs.cloned().collect()
    }

    /// What was accepted for one object, by id; see [`Run::object`].
    #[must_use]
    pub fn runs_of(&self, object: &str) -> Vec<Run> {
        let state = self.advanced();
        let of_it = |run: &&Run| run.object().as_deref() == Some(object);
        state.jobs.journal.values().filter(of_it).cloned().collect()
    }

    /// Pairs of jobs of one object that were alive at one moment: empty, or a defect.
    #[must_use]
    pub fn overlaps(&self) -> Vec<(u64, u64)> {
        overlapping(&self.journal())
    }

    /// All websockets are closed, as when the controller's web server restarts.
    pub fn hang_up(&self) {
        self.shared.hang_up.notify_waiters();
    }

    /// How many websockets have subscribed to changes of jobs.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.shared.pushes.receiver_count()
    }

    /// How many requests of this route came in.
    #[must_use]
    pub fn count(&self, route: Route) -> u64 {
        self.shared.lock().counts.get(&route).copied().unwrap_or(0)
    }

    /// `METHOD path?query` of every request, where [`World::record_requests`] is set.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.shared.lock().requests.clone()
    }

    /// The status that the API shows for this job.
    #[must_use]
    pub fn status(&self, id: u64) -> Option<&'static str> {
        self.advanced().jobs.jobs.get(&id).map(|job| job.status)
    }

    /// A person cancels this job.
    pub fn cancel(&self, id: u64) {
        let now = self.shared.clock.now();
        self.advanced().jobs.cancel(id, now);
    }

    /// This job comes to this end now, whatever its plan; whether it was at work.
    pub fn end(&self, id: u64, ending: &Ending) -> bool {
        let now = self.shared.clock.now();
        self.advanced().jobs.end(id, ending, now)
    }

    /// The reaper marks this job failed while its work goes on; whether it was active.
    pub fn reap(&self, id: u64) -> bool {
        let now = self.shared.clock.now();
        self.advanced().jobs.reap(id, now)
    }

    /// The database is that of a backup again: it knows no job after this one, and gives their ids to others.
    /// What was at work was stopped with the controller.
    pub fn restore(&self, newest: u64) {
        let now = self.shared.clock.now();
        self.advanced().jobs.restore(newest, now);
    }

    /// The dispatcher is restarted while this job is just starting, and cancels it; whether it was active.
    pub fn interrupt(&self, id: u64) -> bool {
        let now = self.shared.clock.now();
        self.advanced().jobs.interrupt(id, now)
    }

    /// An administrator sets this status in the database and no time with it; whether there is such a job.
    pub fn set_in_database(&self, id: u64, status: &'static str) -> bool {
        let now = self.shared.clock.now();
        self.advanced().jobs.set_in_database(id, status, now)
    }

    /// The clean-up deletes this job; whether there was an ended one.
    pub fn purge(&self, id: u64) -> bool {
        self.advanced().jobs.purge(id)
    }

    /// A person relaunches this job; the new id. Its course is the planned one, or that of the first job.
    pub fn relaunch(&self, id: u64) -> Option<u64> {
        let now = self.shared.clock.now();
        let mut state = self.advanced();
        let plan = state.plan_of_copy(id);
        state.jobs.relaunch(id, 0, plan, now)
    }

    /// Somebody with every right launches a job of this template, as a rulebook does: labels that do
    /// not exist come into being, and what the template does not prompt for is ignored. Answers the
    /// new id.
    ///
    /// # Errors
    /// With the controller's words, when it refuses.
    pub fn launch(
        &self,
        template: &str,
        extra_vars: &serde_json::Map<String, serde_json::Value>,
        labels: &[String],
    ) -> Result<u64, String> {
        let now = self.shared.clock.now();
        routes::launch(&mut self.advanced(), template, extra_vars, labels, now)
    }

    /// The next moment at which a job changes by itself: where a simulation may jump to.
    #[must_use]
    pub fn next_event(&self) -> Option<jiff::Timestamp> {
        self.advanced().jobs.next_event()
    }

    fn advanced(&self) -> MutexGuard<'_, State> {
        self.at_work().0
    }

    /// All that is known at this moment, and the moment.
    pub(super) fn at_work(&self) -> (MutexGuard<'_, State>, jiff::Timestamp) {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        state.jobs.advance(now);
        self.shared.stirred.notify_one();
        (state, now)
    }
}
