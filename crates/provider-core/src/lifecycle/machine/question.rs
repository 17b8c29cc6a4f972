//! What a provider is asked.

use super::{Call, LAUNCH_LEASE, Machine, Setting, under_way};
use crate::clock::add;
use crate::lifecycle::relaunch;
use crate::{
    ExtraVars, FindRequest, JobRecord, JobRef, JobType, LaunchRequest, RelaunchQuery, Resource,
    TrackedJob, history,
};

/// A question to the provider of this name.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Question {
    /// The provider.
    pub provider: String,
    /// The object.
    pub resource: Resource,
    /// What the job is for, of which it is asked.
    pub job_type: JobType,
    /// Whether what was provisioned is to go, with its object or without.
    pub removing: bool,
    /// The method, and its arguments.
    pub method: Method,
}

/// A method of a provider, with what it is given.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Method {
    /// `trigger_provision`, `trigger_action` or `trigger_deprovision`; the last one with the history of the target.
    Trigger(Box<LaunchRequest>, Vec<JobRecord>),
    /// `status`.
    Status(TrackedJob),
    /// `cancel`.
    Cancel(TrackedJob),
    /// `find_launched`.
    Find(FindRequest),
    /// `find_relaunched`.
    FindRelaunched(RelaunchQuery),
}

impl Machine {
    pub(super) fn question(
        &self,
        setting: &Setting<'_>,
        call: Call,
        record: &JobRecord,
    ) -> Option<Question> {
        let (owner, caps) = setting.backends.owner(record)?;
        let method = match call {
            Call::Launch(_) => {
                let history = match record.job_type {
                    JobType::Deprovision => {
                        let mine = self.records.iter().filter(|r| setting.desired.owns(r));
                        mine.cloned().collect()
                    }
                    // What this version does not know, it does not launch.
                    JobType::Other(_) => return None,
                    JobType::Provision | JobType::Action(_) => Vec::new(),
                };
                Method::Trigger(Box::new(self.request(setting, record)?), history)
            }
            Call::Status(_) => Method::Status(record.tracked()?),
            Call::Cancel(_) => Method::Cancel(record.tracked()?),
            Call::Find(_) => {
                let mut query = FindRequest::new(
                    self.resource.clone(),
                    record.job_type,
                    record.token.clone()?,
                );
                // What was sent with another version may have been something else: no job is called
                // stray for the lack of it.
                if record.config_version.as_ref() == Some(&setting.desired.version) {
                    query = query.with_extra_vars(extra_vars(setting, record));
                }
                query.target.clone_from(&record.target);
                // From the first launch of the token to the last one, whose clock may be another's.
                let moments = || record.timestamp.into_iter().chain(record.sent_at);
                query.not_before = moments().min();
                query.not_after = moments().max().map(|at| add(at, under_way(caps)));
                Method::Find(query)
            }
            Call::FindRelaunched(_) => Method::FindRelaunched(self.relaunch_query(setting, owner)),
        };
        Some(Question {
            provider: owner.to_owned(),
            resource: self.resource.clone(),
            job_type: record.job_type,
            removing: self.resource.is_deleting() || setting.desired.absent,
            method,
        })
    }

    /// What the provider says of a launch before it is made.
    pub(super) fn launch_kind(&self, setting: &Setting<'_>, intent: &JobRecord) -> Option<String> {
        let request = self.request(setting, intent)?;
        let kind = setting.backends.launch_kind(intent, &request)?;
        if kind.len() > JobRef::MAX_KIND {
            let owner = intent.provider.as_deref();
            tracing::error!(owner, "the kind of the launch is too long to go on record");
            return None;
        }
        Some(kind)
    }

    fn request(&self, setting: &Setting<'_>, asked: &JobRecord) -> Option<LaunchRequest> {
        let mut request = LaunchRequest::new(self.resource.clone(), asked.token.clone()?)
            .with_extra_vars(extra_vars(setting, asked));
        request.target.clone_from(&asked.target);
        request.config_version.clone_from(&asked.config_version);
        request.last_sent = history::last_sent(&self.records, asked);
        request.send_by = asked.sent_at.map(|at| add(at, LAUNCH_LEASE));
        Some(request)
    }

    /// Which copies are looked for: those of every job of the object that this provider may have run.
    fn relaunch_query(&self, setting: &Setting<'_>, owner: &str) -> RelaunchQuery {
        let owned = |record: &&JobRecord| {
            setting.desired.owns(record)
                && relaunch::can_be_copied(record)
                && setting
                    .backends
                    .owner(record)
                    .is_some_and(|(o, _)| o == owner)
        };
        let owned = || self.records.iter().filter(owned);
        let mut query = RelaunchQuery::new(self.resource.clone(), Vec::new());
        for token in owned().filter_map(|record| record.token.clone()) {
            if !query.tokens.contains(&token) {
                query.tokens.push(token);
            }
        }
        for record in owned() {
            query = query.launched_for(record.job_type, record.target.as_deref());
        }
        let moments = owned().flat_map(|record| record.timestamp.into_iter().chain(record.sent_at));
        query.not_before = moments.min();
        query
    }
}

/// What the caller adds to the launch of an attempt.
fn extra_vars(setting: &Setting<'_>, record: &JobRecord) -> ExtraVars {
    let all = setting.desired.extra_vars.clone();
    let mut actions = setting.desired.actions.iter();
    let action = actions.find(|action| Some(&action.name) == record.job_type.action());
    match action {
        Some(action) => all.merged(&action.extra_vars),
        None => all,
    }
}
