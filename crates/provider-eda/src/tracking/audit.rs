//! Tracking in the audit of the EDA server, after the fact.
//!
//! An audit rule appears when the actions of the rule have ended, not when they begin (eda-server of
//! August 2026), and the list cannot be searched by the events of its rules: each rule's events are
//! asked for once, and remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use provider_core::{
    Clock, Effect, ErrorKind, JobRef, JobState, JobStatus, OperationToken, Preflight,
    ProviderError, Secret, clock, text,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::SETTLE;
use crate::client::Client;
use crate::{ConfigError, activation};

/// The largest page that the EDA server gives.
const PAGE: usize = 200;
/// A bound on the rules that are read in one look, newest first; the others are read in the next.
const MAX_NEW: usize = 50;

/// Reads the ends of actions in the audit of the EDA server.
///
/// Needs a token that may read the audit, and an activation that writes one (`skip_audit_events`
/// off). Costs a request for every 200 rules that have fired within `lookback`, once per poll
/// interval for all objects together, and one for each rule that is new.
#[derive(Debug, Clone, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditTracking {
    /// The EDA server, or the gateway in front of it: scheme and host.
    pub url: String,
    /// A token of the gateway, or of the EDA server where there is no gateway.
    pub token: Secret,
    /// How far back rules are looked for: longer than the longest job.
    #[serde(default = "default_lookback")]
    pub lookback: SignedDuration,
    /// How long after a job's end the object may still lack its signs.
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
            lookback: default_lookback(),
            settle: default_settle(),
        }
    }

    /// With another time for the consequences of a job's end.
    #[must_use]
    pub fn with_settle(mut self, settle: SignedDuration) -> Self {
        self.settle = settle;
        self
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
        activation::api(&self.url, "audit-rules/", "tracking.url").map(drop)
    }
}

#[derive(Deserialize)]
struct List<T> {
    results: Vec<T>,
    #[serde(default)]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Rule {
    id: u64,
}

#[derive(Deserialize)]
struct Detail {
    /// When the row was written, which is when the actions had ended.
    created_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    payload: String,
}

#[derive(Deserialize)]
struct Action {
    name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    status_message: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    fired_at: Option<Timestamp>,
}

/// What is known of the audit.
#[derive(Default)]
struct Known {
    /// The operation tokens of the events of each rule.
    rules: BTreeMap<u64, Vec<String>>,
    asked: Option<Timestamp>,
}

/// The running part.
pub(crate) struct Audit {
    config: AuditTracking,
    clock: Arc<dyn Clock>,
    interval: Duration,
    known: Mutex<Known>,
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

impl Audit {
    pub(super) fn new(config: AuditTracking, clock: Arc<dyn Clock>, interval: Duration) -> Self {
        Self {
            config,
            clock,
            interval,
            known: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
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
            .filter(|(_, tokens)| tokens.iter().any(|seen| seen == token.as_str()))
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) async fn look(
        &self,
        client: &Client,
        token: &OperationToken,
    ) -> Result<Option<JobStatus>, ProviderError> {
        let mut rules = self.rules_of(token);
        if rules.is_empty()
            && let Ok(_reading) = self.reading.try_lock()
        {
            self.refresh(client).await?;
            rules = self.rules_of(token);
        }
        let mut worst: Option<JobStatus> = None;
        for rule in rules {
            let path = format!("audit-rules/{rule}/");
            let detail: Detail = self.read(client, &self.url(&path)?).await?;
            let path = format!("{path}actions/");
            for action in self.all::<Action>(client, &path, &[]).await? {
                if let Some(status) = ended(&action, detail.created_at, token)
                    && worst.as_ref().is_none_or(|w| rank(&status) > rank(w))
                {
                    worst = Some(status);
                }
            }
        }
        Ok(worst)
    }

    /// Reads the rules that are new since the last look.
    async fn refresh(&self, client: &Client) -> Result<(), ProviderError> {
        let now = self.clock.now();
        let lately = |at: Timestamp| at <= now && clock::since(now, at) < self.interval;
        if self.known().asked.is_some_and(lately) {
            return Ok(());
        }
        let since = now.checked_sub(self.config.lookback).unwrap_or(now);
        let since = since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let filter = [("fired_at__gte", since.as_str()), ("order_by", "-fired_at")];
        let listed = self.all::<Rule>(client, "audit-rules/", &filter).await?;
        let listed: Vec<u64> = listed.into_iter().map(|rule| rule.id).collect();
        let new: Vec<u64> = {
            let mut known = self.known();
            let there: BTreeSet<u64> = listed.iter().copied().collect();
            known.rules.retain(|id, _| there.contains(id));
            let is_new = |id: &u64| !known.rules.contains_key(id);
            listed.into_iter().filter(is_new).collect()
        };
        let all_read = new.len() <= MAX_NEW;
        for id in new.into_iter().take(MAX_NEW) {
            let path = format!("audit-rules/{id}/events/");
            let events = self.all::<Event>(client, &path, &[]).await?;
            let tokens = events.iter().flat_map(|event| tokens(&event.payload));
            self.known().rules.insert(id, tokens.collect());
        }
        self.known().asked = all_read.then_some(now);
        Ok(())
    }

    /// All pages of a list.
    async fn all<T: DeserializeOwned>(
        &self,
        client: &Client,
        path: &str,
        filter: &[(&str, &str)],
    ) -> Result<Vec<T>, ProviderError> {
        let mut rows = Vec::new();
        for page in 1_u32.. {
            let mut url = self.url(path)?;
            url.query_pairs_mut()
                .extend_pairs(filter)
                .append_pair("page_size", &PAGE.to_string())
                .append_pair("page", &page.to_string());
            let list: List<T> = self.read(client, &url).await?;
            let empty = list.results.is_empty();
            rows.extend(list.results);
            if empty || list.next.is_none() {
                break;
            }
        }
        Ok(rows)
    }

    fn url(&self, path: &str) -> Result<Url, ProviderError> {
        activation::api(&self.config.url, path, "tracking.url").map_err(|error| {
            ProviderError::new(Effect::NotSent, ErrorKind::Invalid, error.to_string())
        })
    }

    async fn read<T: DeserializeOwned>(
        &self,
        client: &Client,
        url: &Url,
    ) -> Result<T, ProviderError> {
        let (status, body) = client.get_json(url, &self.config.token).await?;
        activation::read(status, &body, "list of audit rules")
    }

    pub(super) async fn check(&self, client: &Client, report: &mut Preflight) {
        let check = "tracking: audit";
        let read = async {
            let mut url = self.url("audit-rules/")?;
            url.query_pairs_mut().append_pair("page_size", "1");
            self.read::<List<Rule>>(client, &url).await
        };
        match read.await {
            Ok(_) => report.ok(check, "the audit of the EDA server can be read"),
            Err(error) => report.error(check, error.message(), error.advice()),
        }
    }
}

/// The operation tokens in the YAML text of an event.
fn tokens(payload: &str) -> impl Iterator<Item = String> {
    payload.split("operationToken").skip(1).map(|rest| {
        let rest = rest.trim_start_matches(['"', '\'', ':', ' ']);
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        rest.chars().take_while(|c| is_part(*c)).collect()
    })
}

/// What an action that ran automation says about the event; others say nothing.
fn ended(action: &Action, at: Option<Timestamp>, token: &OperationToken) -> Option<JobStatus> {
    if !action.name.starts_with("run_") {
        return None;
    }
    let state = match action.status.as_str() {
        "successful" => JobState::Succeeded,
        "failed" | "error" => JobState::Failed,
        "canceled" => JobState::Canceled,
        _ => JobState::Unknown,
    };
    let mut job = JobRef::new("eda", "action", token.as_str());
    if let Some(url) = action.url.as_deref().filter(|url| !url.is_empty()) {
        job = job.with_url(text::bounded(url, 300));
    }
    let message = action.status_message.as_deref().unwrap_or_default();
    let message = if message.is_empty() {
        format!("{} ended {}", action.name, action.status)
    } else {
        message.to_owned()
    };
    let mut status = JobStatus::new(job, state).with_message(&message);
    status.started_at = action.fired_at;
    status.finished_at = at.filter(|_| state.is_terminal());
    Some(status)
}

/// Of several actions of one event, the worst tells how it went.
const fn rank(status: &JobStatus) -> u8 {
    match status.state {
        JobState::Succeeded => 0,
        JobState::Canceled => 1,
        JobState::Failed => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_from_yaml_in_any_quotes() {
        let text = "payload:\n  providerEvent:\n    action: create\n    operationToken: 0a1b\n  other:\n    \
                    operationToken: '123'\n  third: {\"operationToken\": \"zz-9\", \"a\": 1}\n";
        let found: Vec<String> = tokens(text).collect();
        assert_eq!(found, ["0a1b", "123", "zz-9"]);
        assert_eq!(tokens("payload: operationToke").count(), 0);
    }
}
