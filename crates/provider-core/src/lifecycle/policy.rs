//! What a user may choose, checked before anything runs.

use std::time::Duration;

use jiff::SignedDuration;
use jiff::fmt::serde::duration::friendly::compact as friendly;
use serde::{Deserialize, Serialize, Serializer};

/// The engine's choices as a plain, serialisable value; [`Policy::new`] checks it.
///
/// Durations are written as people write them (`30s`, `15m`, `2h 30m`) or as ISO 8601.
///
/// ```
/// use provider_core::lifecycle::{Policy, PolicyConfig};
/// let config: PolicyConfig = serde_json::from_str(
///     r#"{"historyLength": 20, "backoff": {"base": "1m"}, "supersede": "Cancel"}"#,
/// ).unwrap();
/// assert!(Policy::new(config).is_ok());
/// let nonsense = PolicyConfig::default().with(|config| config.history_length = 0);
/// assert_eq!(
///     Policy::new(nonsense).unwrap_err().to_string(),
///     "historyLength is 0; it must be at least 1",
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
#[non_exhaustive]
pub struct PolicyConfig {
    /// How often a live job is asked about. Default: none, which follows the provider's own pace.
    #[serde(serialize_with = "friendly::optional")]
    pub poll_interval: Option<SignedDuration>,
    /// How often a job that is being canceled is asked about. Default: 5s.
    #[serde(serialize_with = "friendly::required")]
    pub cancel_poll_interval: SignedDuration,
    /// How much intervals are varied, as a part of them, so that objects do not march in step:
    /// from 0 (not at all) to 0.5. Default: 0.2.
    pub jitter: f64,
    /// How long to wait after failures. Default: from 30s to 30m.
    pub backoff: BackoffConfig,
    /// How long each phase of a job may last. Default: those of [`DeadlinesConfig`].
    pub deadlines: DeadlinesConfig,
    /// How long to wait before asking again for a cancel that was taken and not obeyed; doubles each time.
    /// Default: 1m.
    #[serde(serialize_with = "friendly::required")]
    pub cancel_retry: SignedDuration,
    /// What deletion may do. Default: those of [`DeletionConfig`].
    pub deletion: DeletionConfig,
    /// What a job means that the backend has forgotten before its end was seen. Default: `Rerun`.
    pub purge: Purge,
    /// What becomes of a running job when the desired configuration changes. Default: `Wait`.
    pub supersede: Supersede,
    /// What a success means whose configuration version cannot be compared with today's. Default: `Rerun`.
    pub incomparable_version: IncomparableVersion,
    /// What to do about a launch in doubt that cannot be looked up. Default: none, which leaves it to the
    /// provider's own [`Capabilities::on_ambiguity`](crate::Capabilities::on_ambiguity).
    pub ambiguity: Option<Ambiguity>,
    /// How many records are kept of each type and target. Those that still matter are kept
    /// in any case. Default: 10.
    pub history_length: usize,
    /// After so many failures in a row for one configuration the engine holds for a person. Default: none,
    /// which retries for ever. What was never sent
    /// ([`ProviderError::is_failure`](crate::ProviderError::is_failure)) is none.
    pub max_failures: Option<u32>,
    /// How many tries a request for an action has. Past them the action is held, and nothing else is; another
    /// request begins anew. Default: 1.
    pub action_tries: u32,
}

/// How long to wait after failures: `base`, doubled with each further one, up to `cap`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
#[non_exhaustive]
pub struct BackoffConfig {
    /// After the first failure. Default: 30s.
    #[serde(serialize_with = "friendly::required")]
    pub base: SignedDuration,
    /// At most. Default: 30m.
    #[serde(serialize_with = "friendly::required")]
    pub cap: SignedDuration,
}

/// How long each phase of a job may last. None is for ever.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
#[non_exhaustive]
pub struct DeadlinesConfig {
    /// From the launch to the start. Past it, the job is canceled and counts as failed. Default: 6h.
    #[serde(serialize_with = "friendly::optional")]
    pub queued: Option<SignedDuration>,
    /// From the start to the end. Past it, the job is canceled and counts as failed. Default: 24h.
    #[serde(serialize_with = "friendly::optional")]
    pub running: Option<SignedDuration>,
    /// From the first request to cancel that the backend took to the end. Past it, a person is called for.
    /// Default: 30m.
    #[serde(serialize_with = "friendly::required")]
    pub canceling: SignedDuration,
    /// How long a job may be in a state that cannot be told. Past it, provisioning calls for a
    /// person, and deletion takes the job as over, when the backend has answered and cannot tell; a
    /// backend that does not answer is waited for. Zero takes that risk at the first answer. Default: 15m.
    #[serde(serialize_with = "friendly::required")]
    pub unknown: SignedDuration,
}

/// What deletion may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
#[non_exhaustive]
pub struct DeletionConfig {
    /// What becomes of a provision job that runs when deletion is asked for. Default: `Cancel`.
    pub running_provision: RunningProvision,
    /// What to do for an object without any record of a provision attempt. Default: `Deprovision`.
    pub never_provisioned: NeverProvisioned,
    /// Whether what was provisioned stays when the object goes: a job that runs is waited for, and none is
    /// launched. An object can say otherwise ([`Desired::keep_on_delete`](super::Desired::keep_on_delete)).
    /// Default: off.
    pub keep: bool,
    /// How long after the request for deletion the outcome is marked as needing attention. Default: 1h.
    #[serde(serialize_with = "friendly::required")]
    pub escalate_after: SignedDuration,
    /// How long after the request for deletion the object is let go whatever is left behind
    /// (an orphan receipt says what may be). Default: none, which never gives up.
    #[serde(serialize_with = "friendly::optional")]
    pub abandon_after: Option<SignedDuration>,
}

/// What a job means that the backend has forgotten before its end was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Purge {
    /// Verify that it is gone, then count it as failed: it is run again after the back-off.
    Rerun,
    /// Verify that it is gone, then take it as succeeded. Only for automation that is known to
    /// have succeeded whenever its record is gone. A job that nobody has ever seen is not.
    AssumeSucceeded,
    /// Verify that it is gone, then wait for a person.
    Hold,
}

/// What becomes of a running provision job when the desired configuration changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Supersede {
    /// It runs to its end, then the new configuration is provisioned.
    Wait,
    /// It is canceled, then the new configuration is provisioned.
    Cancel,
}

/// What a success means whose configuration version was made by another algorithm (an older
/// operator's hash, or none at all).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum IncomparableVersion {
    /// Nothing: the configuration is provisioned again. True, and costs a job an object.
    Rerun,
    /// The present configuration is taken as the one that was applied, once; from then on
    /// changes are seen. Saves a job an object, and misses a change made in between.
    Trust,
}

/// What to do about a launch in doubt that cannot be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Ambiguity {
    /// Start nothing until a person has looked and asks for a retry.
    Hold,
}

/// What becomes of a provision job that runs when deletion is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RunningProvision {
    /// It is canceled.
    Cancel,
    /// It runs to its end.
    Wait,
}

/// What deletion does for an object without any record of a provision attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NeverProvisioned {
    /// Deprovision all the same: a status can get lost (objects restored from a backup have
    /// none), and automation that removes should bear finding nothing.
    Deprovision,
    /// Let it go. Only where a status cannot get lost.
    Release,
}

crate::guarded_settings!(PolicyConfig, BackoffConfig, DeadlinesConfig, DeletionConfig);

/// Written as they are derived; the reader's `remote` has made that an inherent function as well.
macro_rules! written {
    ($($name:ty),+ $(,)?) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$name>::serialize(self, serializer)
            }
        }
    )+};
}

/// Read and checked at once: a controller's configuration holds a policy as it is.
impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let config = <PolicyConfig as Deserialize>::deserialize(deserializer)?;
        Self::new(config).map_err(serde::de::Error::custom)
    }
}

impl TryFrom<PolicyConfig> for Policy {
    type Error = PolicyError;

    fn try_from(config: PolicyConfig) -> Result<Self, PolicyError> {
        Self::new(config)
    }
}

written!(PolicyConfig, BackoffConfig, DeadlinesConfig, DeletionConfig);

impl PolicyConfig {
    /// The same configuration with choices of the caller's.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            poll_interval: None,
            cancel_poll_interval: SignedDuration::from_secs(5),
            jitter: 0.2,
            backoff: BackoffConfig::default(),
            deadlines: DeadlinesConfig::default(),
            cancel_retry: SignedDuration::from_secs(60),
            deletion: DeletionConfig::default(),
            purge: Purge::Rerun,
            supersede: Supersede::Wait,
            incomparable_version: IncomparableVersion::Rerun,
            ambiguity: None,
            history_length: 10,
            max_failures: None,
            action_tries: 1,
        }
    }
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            base: SignedDuration::from_secs(30),
            cap: SignedDuration::from_mins(30),
        }
    }
}

impl Default for DeadlinesConfig {
    fn default() -> Self {
        Self {
            queued: Some(SignedDuration::from_hours(6)),
            running: Some(SignedDuration::from_hours(24)),
            canceling: SignedDuration::from_mins(30),
            unknown: SignedDuration::from_mins(15),
        }
    }
}

impl Default for DeletionConfig {
    fn default() -> Self {
        Self {
            running_provision: RunningProvision::Cancel,
            never_provisioned: NeverProvisioned::Deprovision,
            keep: false,
            escalate_after: SignedDuration::from_hours(1),
            abandon_after: None,
        }
    }
}

/// Why a policy was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}; it must be {wanted}")]
pub struct PolicyError {
    field: &'static str,
    value: String,
    wanted: &'static str,
}

/// The engine's choices, checked. The default is safe for jobs of minutes to hours.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub(crate) poll_interval: Option<Duration>,
    pub(crate) cancel_poll_interval: Duration,
    pub(crate) jitter: f64,
    pub(crate) backoff_base: Duration,
    pub(crate) backoff_cap: Duration,
    pub(crate) queued: Option<Duration>,
    pub(crate) running: Option<Duration>,
    pub(crate) canceling: Duration,
    pub(crate) unknown: Duration,
    pub(crate) cancel_retry: Duration,
    pub(crate) escalate_after: Duration,
    pub(crate) abandon_after: Option<Duration>,
    pub(crate) config: PolicyConfig,
}

impl Policy {
    /// Checks a configuration.
    ///
    /// # Errors
    /// The first member that makes no sense, with what it must be.
    pub fn new(config: PolicyConfig) -> Result<Self, PolicyError> {
        if config.history_length == 0 {
            return Err(refuse("historyLength", &0, "at least 1"));
        }
        if config.max_failures == Some(0) {
            return Err(refuse(
                "maxFailures",
                &0,
                "at least 1, or absent for no limit",
            ));
        }
        if config.action_tries == 0 {
            return Err(refuse("actionTries", &0, "at least 1"));
        }
        if !(0.0..=0.5).contains(&config.jitter) {
            return Err(refuse("jitter", &config.jitter, "from 0 to 0.5"));
        }
        let base = positive("backoff.base", config.backoff.base)?;
        let cap = positive("backoff.cap", config.backoff.cap)?;
        if cap < base {
            return Err(refuse(
                "backoff.cap",
                &words(config.backoff.cap),
                "at least backoff.base",
            ));
        }
        let escalate_after =
            not_negative("deletion.escalateAfter", config.deletion.escalate_after)?;
        Ok(Self {
            poll_interval: optional("pollInterval", config.poll_interval)?,
            cancel_poll_interval: positive("cancelPollInterval", config.cancel_poll_interval)?,
            jitter: config.jitter,
            backoff_base: base,
            backoff_cap: cap,
            queued: optional("deadlines.queued", config.deadlines.queued)?,
            running: optional("deadlines.running", config.deadlines.running)?,
            canceling: positive("deadlines.canceling", config.deadlines.canceling)?,
            unknown: not_negative("deadlines.unknown", config.deadlines.unknown)?,
            cancel_retry: positive("cancelRetry", config.cancel_retry)?,
            escalate_after,
            abandon_after: optional("deletion.abandonAfter", config.deletion.abandon_after)?,
            config,
        })
    }

    /// The configuration that this policy was made from.
    #[must_use]
    pub fn config(&self) -> &PolicyConfig {
        &self.config
    }
}

impl Default for Policy {
    #[allow(
        clippy::expect_used,
        reason = "the default configuration is valid; a test says so"
    )]
    fn default() -> Self {
        Self::new(PolicyConfig::default()).expect("the default policy is valid")
    }
}

fn refuse(field: &'static str, value: &dyn ToString, wanted: &'static str) -> PolicyError {
    PolicyError {
        field,
        value: value.to_string(),
        wanted,
    }
}

/// As people write durations, with the sign that they cannot have.
fn words(value: SignedDuration) -> String {
    let sign = if value.is_negative() { "-" } else { "" };
    let length = SignedDuration::try_from(value.unsigned_abs()).unwrap_or(SignedDuration::MAX);
    format!("{sign}{length:#}")
}

fn not_negative(field: &'static str, value: SignedDuration) -> Result<Duration, PolicyError> {
    Duration::try_from(value).map_err(|_| refuse(field, &words(value), "zero or more"))
}

/// The shortest interval that is not a hot loop.
const SHORTEST: Duration = Duration::from_millis(1);

fn positive(field: &'static str, value: SignedDuration) -> Result<Duration, PolicyError> {
    match not_negative(field, value)? {
        duration if duration < SHORTEST => Err(refuse(field, &words(value), "at least 1ms")),
        duration => Ok(duration),
    }
}

fn optional(
    field: &'static str,
    value: Option<SignedDuration>,
) -> Result<Option<Duration>, PolicyError> {
    value.map(|value| positive(field, value)).transpose()
}

#[cfg(test)]
mod tests;
