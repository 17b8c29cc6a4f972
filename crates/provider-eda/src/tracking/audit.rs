//! Tracking in the audit of the EDA server, after the fact.
//!
//! An audit rule appears when the first action of the rule has ended, and its other actions are added to
//! it as they end (eda-server of August 2026). Its events are written after it, and not in one
//! transaction with it. The list cannot be searched by the events of its rules: each rule's events are
//! asked for until there are some, and remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use provider_core::clock::Elapsed as _;
use provider_core::{
    Clock, Effect, ErrorKind, JobStatus, OperationToken, Preflight, ProviderError, Secret, text,
};
use serde::Deserialize;

use super::ends::Ends;
use super::rows::{Action, Detail, Event, Fired, Rule, ended, rank, tokens};
use super::{Look, SETTLE};
use crate::api::{AT_ONCE, Api, LOOK, place};
use crate::client::{Client, std_duration};
use crate::config::tidy_text;
use crate::{ConfigError, activation};

/// A bound on the rules whose events are read in one look, newest first; the others are read in the next.
const MAX_NEW: usize = 50;

/// Reads the ends of actions in the audit of the EDA server.
///
/// Needs a user that may read the audit, and an activation that writes one (`skip_audit_events`
/// off). Costs a request for every 200 rules that have fired within `lookback`, once per poll
/// interval for all objects together, and one for each rule that is new.
///
/// A rulebook reports an event as ASCII JSON, and a report of 1 MiB or more never arrives; so events are
/// limited to less than that.
#[derive(Debug, Clone, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditTracking {
    /// The EDA server, or the gateway in front of it: scheme, host, and the path before `/api/eda/v1/`
    /// if there is one.
    pub url: String,
    /// A token of the gateway; or the password of `username`.
    #[serde(alias = "password")]
    pub token: Secret,
    /// The user of an EDA server without a gateway, which knows passwords (Basic) and no tokens. Default: none.
    #[serde(default)]
    pub username: Option<String>,
    /// The activations that work off our events, by name, all of them: the rules of others are not read.
    /// Default: none. Where none is named, the provider's `activation` is meant if it is of the same server, or else
    /// all rules of the server are read.
    #[serde(default)]
    pub activations: Vec<String>,
    /// How far back rules are looked for: longer than the longest job. Default: 4h.
    #[serde(default = "default_lookback")]
    pub lookback: SignedDuration,
    /// How long nothing may follow an end before it is one: a further action of the rule, another rule,
    /// or the object's signs. An action that runs longer than this after the first has ended is seen too
    /// late, because the audit shows no action before its end: with several actions or rules for one
    /// event, set it to longer than the longest of them. Default: 1m.
    #[serde(default = "default_settle")]
    pub settle: SignedDuration,
}

fn default_lookback() -> SignedDuration {
    SignedDuration::from_hours(4)
}

fn default_settle() -> SignedDuration {
    SETTLE
}

provider_core::guarded_settings!(AuditTracking);

impl AuditTracking {
    /// The audit of this server.
    #[must_use]
    pub fn new(url: impl Into<String>, token: impl Into<Secret>) -> Self {
        Self {
            url: url.into(),
            token: token.into(),
            username: None,
            activations: Vec::new(),
            lookback: default_lookback(),
            settle: default_settle(),
        }
    }

    /// For this user, with the token as its password.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    /// Of the rules of this activation, and of others that are named so.
    #[must_use]
    pub fn with_activation(mut self, name: impl Into<String>) -> Self {
        self.activations.push(name.into());
        self
    }

    /// With another time for the consequences of a job's end.
    #[must_use]
    pub fn with_settle(mut self, settle: SignedDuration) -> Self {
        self.settle = settle;
        self
    }

    pub(super) fn tidy(&mut self) -> Result<(), ConfigError> {
        let Self {
            url,
            token: _,
            username,
            activations,
            lookback: _,
            settle: _,
        } = self;
        tidy_text(FIELD, url)?;
        if let Some(username) = username {
            tidy_text("tracking.username", username)?;
        }
        for name in activations {
            tidy_text("tracking.activations", name)?;
        }
        Ok(())
    }

    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        for (field, value) in [
            ("tracking.lookback", self.lookback),
            ("tracking.settle", self.settle),
        ] {
            if value.is_negative() {
                let what = "expected a duration that is not negative";
                return Err(ConfigError::new(field, what));
            }
        }
        place(&self.url, "audit-rules/", FIELD).map(drop)
    }
}

const FIELD: &str = "tracking.url";

/// What is known of the audit.
#[derive(Default)]
struct Known {
    rules: BTreeMap<u64, Fired>,
    asked: Option<Timestamp>,
    /// Whether there was a row that cannot be read: it may be of any event.
    is_doubtful: bool,
}

/// The running part.
pub(crate) struct Audit {
    config: AuditTracking,
    clock: Arc<dyn Clock>,
    interval: Duration,
    known: Mutex<Known>,
    ends: Ends,
    /// Held while the audit is read. Whoever comes meanwhile is told what is known.
    reading: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

const RULES: &str = "list of audit rules";

impl Audit {
    pub(super) fn new(config: AuditTracking, clock: Arc<dyn Clock>, interval: Duration) -> Self {
        Self {
            config,
            clock,
            interval,
            known: Mutex::default(),
            ends: Ends::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    fn api<'a>(&'a self, client: &'a Client) -> Api<'a> {
        Api {
            client,
            url: &self.config.url,
            token: &self.config.token,
            username: self.config.username.as_deref(),
            field: FIELD,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rules that have fired for an event, as far as is known.
    fn rules_of(&self, token: &OperationToken) -> Vec<u64> {
        let known = self.known();
        let rules = known.rules.iter();
        rules
            .filter(|(_, rule)| rule.tokens.iter().any(|seen| seen == token.as_str()))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Whether a rule that is not known is not there: the audit was read to its end, lately.
    fn is_read(&self, now: Timestamp) -> bool {
        let known = self.known();
        let lately = known.asked.is_some_and(|at| self.lately(at, now));
        lately
            && !known.is_doubtful
            && !known
                .rules
                .values()
                .any(|rule| rule.may_be_uncommitted(now))
    }

    fn lately(&self, at: Timestamp, now: Timestamp) -> bool {
        at <= now && now.elapsed_since(at) < self.interval
    }

    pub(super) async fn look(
        &self,
        client: &Client,
        token: &OperationToken,
    ) -> Result<Look, ProviderError> {
        let api = self.api(client);
        let look = tokio::time::timeout(LOOK, self.look_at(&api, token));
        look.await.unwrap_or_else(|_| {
            let text = format!("the audit was not read to its end in {} s", LOOK.as_secs());
            Err(
                ProviderError::new(Effect::NotSent, ErrorKind::Timeout, text).with_advice(
                    "name the activations in `tracking`, look back less far, or look at the load of the \
                     EDA server",
                ),
            )
        })
    }

    async fn look_at(&self, api: &Api<'_>, token: &OperationToken) -> Result<Look, ProviderError> {
        // Also when a rule is known: another one may have fired for the same event.
        if let Ok(_reading) = self.reading.try_lock() {
            self.refresh(api).await?;
        }
        let rules = self.rules_of(token);
        let actions = self.actions(api, &rules).await?;
        let mut worst: Option<JobStatus> = None;
        for (_, action) in &actions {
            if let Some(status) = ended(action, token, |text| self.config.token.redact(text))
                && worst.as_ref().is_none_or(|w| rank(&status) > rank(w))
            {
                worst = Some(status);
            }
        }
        let now = self.clock.now();
        let Some(mut status) = worst else {
            return Ok(match self.is_read(now) {
                true => Look::Nothing,
                false => Look::Unread,
            });
        };
        if let ([rule], [_]) = (rules.as_slice(), actions.as_slice()) {
            // Of a second action the audit does not tell when it ended.
            let detail: Detail = api
                .one(&format!("audit-rules/{rule}/"), "audit rule")
                .await?;
            status.finished_at = detail.created_at.filter(|_| status.state.is_terminal());
        }
        let all: Vec<(u64, &str, &str)> = actions
            .iter()
            .map(|(rule, action)| (*rule, action.id.as_str(), action.status.as_str()))
            .collect();
        let settle = std_duration(self.config.settle);
        status.settled =
            status.state.is_terminal() && self.ends.have_rested(token, &all, settle, now);
        Ok(Look::Job(Box::new(status)))
    }

    /// The actions of these rules that have ended, in a steady order.
    async fn actions(
        &self,
        api: &Api<'_>,
        rules: &[u64],
    ) -> Result<Vec<(u64, Action)>, ProviderError> {
        let mut all = Vec::new();
        for some in rules.chunks(AT_ONCE) {
            let mut lists = Vec::new();
            for rule in some {
                lists.push(async move {
                    let path = format!("audit-rules/{rule}/actions/");
                    let actions = api.all::<Action>(&path, &[], "list of actions").await;
                    (*rule, actions)
                });
            }
            for (rule, actions) in join_all(lists).await {
                all.extend(actions?.into_iter().map(|action| (rule, action)));
            }
        }
        all.sort_by(|(a, x), (b, y)| (a, &x.id).cmp(&(b, &y.id)));
        Ok(all)
    }

    /// Reads the rules that are new since the last look.
    async fn refresh(&self, api: &Api<'_>) -> Result<(), ProviderError> {
        let now = self.clock.now();
        if self.known().asked.is_some_and(|at| self.lately(at, now)) {
            return Ok(());
        }
        let rows = self.listed(api, now).await?;
        let listed: Vec<u64> = rows.iter().filter_map(|rule| rule.id).collect();
        let due: Vec<u64> = {
            let mut known = self.known();
            known.is_doubtful = listed.len() < rows.len();
            let there: BTreeSet<u64> = listed.iter().copied().collect();
            known.rules.retain(|id, _| there.contains(id));
            for id in there {
                known.rules.entry(id).or_insert(Fired {
                    first_seen: now,
                    read: None,
                    has_events: false,
                    tokens: Vec::new(),
                });
            }
            let mut due: Vec<u64> = listed;
            due.retain(|id| {
                let rule = known.rules.get(id);
                rule.is_some_and(|rule| rule.is_due(self.interval, now))
            });
            // What was never read comes before what had nothing.
            due.sort_by_key(|id| known.rules.get(id).and_then(|rule| rule.read));
            due
        };
        let all_read = due.len() <= MAX_NEW;
        for some in due.get(..MAX_NEW).unwrap_or(&due).chunks(AT_ONCE) {
            let mut lists = Vec::new();
            for rule in some {
                lists.push(async move {
                    let path = format!("audit-rules/{rule}/events/");
                    (*rule, api.all::<Event>(&path, &[], "list of events").await)
                });
            }
            for (rule, events) in join_all(lists).await {
                self.learn(rule, events, now)?;
            }
        }
        self.known().asked = all_read.then_some(now);
        Ok(())
    }

    fn learn(
        &self,
        rule: u64,
        events: Result<Vec<Event>, ProviderError>,
        now: Timestamp,
    ) -> Result<(), ProviderError> {
        let mut known = self.known();
        let events = match events {
            // The row was removed meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            events => events?,
        };
        if let Some(fired) = known.rules.get_mut(&rule) {
            fired.read = Some(now);
            fired.has_events = !events.is_empty();
            let found = events.iter().flat_map(|event| tokens(&event.payload));
            fired.tokens = found.collect();
        }
        Ok(())
    }

    /// The rules that have fired lately, newest first, of the activations that are named.
    async fn listed(&self, api: &Api<'_>, now: Timestamp) -> Result<Vec<Rule>, ProviderError> {
        let since = now.checked_sub(self.config.lookback).unwrap_or(now);
        let since = since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let filter = [("fired_at__gte", since.as_str()), ("order_by", "-fired_at")];
        let mut ids = Vec::new();
        for name in &self.config.activations {
            let row = activation::named(api, name).await?;
            ids.extend(row.and_then(|row| row.id).map(|id| id.to_string()));
        }
        let mut rules = Vec::new();
        if ids.len() < self.config.activations.len() || ids.is_empty() {
            // One that is gone has left its rules behind, and they are found without its name.
            rules = api.all::<Rule>("audit-rules/", &filter, RULES).await?;
        } else {
            for id in &ids {
                let mut filter = filter.to_vec();
                filter.push(("activation_instance__activation", id.as_str()));
                rules.extend(api.all::<Rule>("audit-rules/", &filter, RULES).await?);
            }
        }
        Ok(rules)
    }

    pub(super) async fn check(&self, client: &Client, report: &mut Preflight) {
        let check = "tracking: audit";
        let api = self.api(client);
        match api.shows_any("audit-rules/", RULES).await {
            Ok(true) => report.ok(check, "the audit of the EDA server can be read"),
            Ok(false) => report.warning(
                check,
                "the audit of the EDA server shows no rule: either none has fired yet, or this user may \
                 not see any, which is answered in the same way",
                "give the user of the API the right to view the audit (role Auditor), and look again once \
                 a rule has fired",
            ),
            Err(error) => report.error(check, error.message(), error.advice()),
        }
        for name in &self.config.activations {
            let check = format!("tracking: activation {}", text::bounded(name, 60));
            match activation::named(&api, name).await {
                Ok(Some(_)) => report.ok(&check, "its rules are read"),
                Ok(None) => report.warning(
                    &check,
                    "the EDA server shows no activation of this name, so the rules of all are read",
                    "correct the name, or give the user of the API the right to view activations",
                ),
                Err(error) => report.error(&check, error.message(), error.advice()),
            }
        }
    }
}
