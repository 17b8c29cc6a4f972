//! What is wanted of an object.

use std::time::Duration;

use super::Policy;
use crate::{ActionName, ConfigVersion, ExtraVars, JobRecord};

/// What is wanted of an object, for one target.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Desired {
    /// The configuration that is to be applied.
    pub version: ConfigVersion,
    /// The provider that new attempts go to, by its registered name.
    pub provider: String,
    /// What is added to launches.
    pub extra_vars: ExtraVars,
    /// Which of several backends of the object this is about; none where there is one only.
    pub target: Option<String>,
    /// Whether records without a target belong to this one: the history from before the object
    /// had several. At most one target of an object may say so.
    pub absorbs_untagged: bool,
    /// Whether the target is to go while the object stays.
    pub absent: bool,
    /// What has to be there first, where it is not there yet.
    pub not_yet: Option<NotYet>,
    /// What is there without a job of ours having made it: taken over where there is no record of the target.
    pub already: Option<ConfigVersion>,
    /// What is to be done to the living resource, in this order.
    pub actions: Vec<ActionRequest>,
    /// Whether what was provisioned stays when the object goes; none leaves it to the policy.
    pub keep_on_delete: Option<bool>,
    /// The choices for this object; none leaves it to those of the engine.
    pub policy: Option<Policy>,
    /// How much is done without asking.
    pub mode: Mode,
    /// A person's request to try again, as any text that differs from the last one (an
    /// annotation's value). It ends a hold, a back-off or a doubt, once. A doubt about a launch that cannot be
    /// looked up is one when that launch cannot be under way any more, a few minutes after it was made.
    pub retry_request: Option<String>,
}

/// What has to be there before anything is provisioned, and is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotYet {
    /// What is missing, for people.
    pub reason: String,
    /// When to look again, where nothing else wakes the object up before.
    pub retry_after: Duration,
}

/// A wish to act on a living resource, once: to restart it, say.
///
/// ```
/// use provider_core::lifecycle::ActionRequest;
/// # fn main() -> Result<(), provider_core::BadActionName> {
/// // `spec.restartRequestedAt` of the object: each new value is answered once.
/// let restart = ActionRequest::new("restart", "2026-01-01T00:00:00Z")?;
/// # assert_eq!(restart.name.as_str(), "restart");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ActionRequest {
    /// Which action.
    pub name: ActionName,
    /// Any text that differs from the last one. It is answered once, so that it may stay where it stands; up
    /// to 1,024 bytes of it count.
    pub request: String,
    /// What is added to the launch beside the object's own [`extra_vars`](Desired::extra_vars). Of two values of
    /// one name, the action's counts.
    pub extra_vars: ExtraVars,
}

impl ActionRequest {
    /// An action, and the request for it.
    ///
    /// # Errors
    /// When the name cannot be that of an action.
    pub fn new(name: &str, request: impl Into<String>) -> Result<Self, crate::BadActionName> {
        Ok(Self {
            name: ActionName::new(name)?,
            request: crate::text::bounded(&request.into(), crate::text::MAX_TEXT),
            extra_vars: ExtraVars::new(),
        })
    }

    /// The same action with variables of its own.
    #[must_use]
    pub fn with_extra_vars(mut self, extra_vars: ExtraVars) -> Self {
        self.extra_vars = extra_vars;
        self
    }
}

impl Desired {
    /// A configuration, to be brought about by a provider.
    #[must_use]
    pub fn new(version: ConfigVersion, provider: impl Into<String>) -> Self {
        Self {
            version,
            provider: provider.into(),
            extra_vars: ExtraVars::new(),
            target: None,
            absorbs_untagged: false,
            absent: false,
            not_yet: None,
            already: None,
            actions: Vec::new(),
            keep_on_delete: None,
            policy: None,
            mode: Mode::Managed,
            retry_request: None,
        }
    }

    /// The same with variables that are added to launches.
    #[must_use]
    pub fn with_extra_vars(mut self, extra_vars: ExtraVars) -> Self {
        self.extra_vars = extra_vars;
        self
    }

    /// The same for one of several targets of the object.
    #[must_use]
    pub fn for_target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// The same target, to which the records without a target belong: the history from before the object had
    /// several. At most one target of an object may absorb them.
    #[must_use]
    pub fn absorbing_untagged(mut self) -> Self {
        self.absorbs_untagged = true;
        self
    }

    /// The same target, which is to go while the object stays: what was provisioned of it is deprovisioned by
    /// the provider that is named here, and its records are forgotten then. Nothing is launched where there is
    /// no record of it. Requests for actions are forgotten with it: one that still stands when the target comes
    /// back is answered again. It is said of the target until the standing is
    /// [`Absent`](super::Standing::Absent), and may be said for ever.
    #[must_use]
    pub fn absent(mut self) -> Self {
        self.absent = true;
        self
    }

    /// The same, for which something has to be there first. Nothing is provisioned, and what runs is watched;
    /// a deletion goes on as ever. It is looked again after `retry_after`, or when the object changes.
    #[must_use]
    pub fn not_yet(mut self, reason: &str, retry_after: Duration) -> Self {
        self.not_yet = Some(NotYet {
            reason: crate::text::bounded(reason, crate::text::MAX_TEXT),
            retry_after,
        });
        self
    }

    /// The same, which is there already in this version. Where there is no record of the target, it is put on
    /// record as applied, and no job runs; everything after is as ever, the deletion too. Where there is a
    /// record, this says nothing.
    #[must_use]
    pub fn already(mut self, version: ConfigVersion) -> Self {
        self.already = Some(version);
        self
    }

    /// The same with an action on the living resource. Several are carried out one after the other, in the
    /// order in which they were added.
    ///
    /// An action starts when the desired configuration is applied, nothing runs, and the object is not being
    /// deleted. It changes nothing of what is applied. Its failures count for themselves
    /// ([`actionTries`](super::PolicyConfig::action_tries)).
    #[must_use]
    pub fn with_action(mut self, action: ActionRequest) -> Self {
        self.actions.push(action);
        self
    }

    /// The same, of which what was provisioned stays when the object goes.
    #[must_use]
    pub fn keep_on_delete(mut self) -> Self {
        self.keep_on_delete = Some(true);
        self
    }

    /// The same with choices of its own, instead of those of the engine.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// The same in another mode.
    #[must_use]
    pub fn in_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// The same with a person's request to try again.
    #[must_use]
    pub fn with_retry_request(mut self, request: impl Into<String>) -> Self {
        self.retry_request = Some(request.into());
        self
    }

    /// Whether a record belongs to this target.
    #[must_use]
    pub fn owns(&self, record: &JobRecord) -> bool {
        record.target == self.target || (record.target.is_none() && self.absorbs_untagged)
    }
}

/// How much is done without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Mode {
    /// Everything.
    #[default]
    Managed,
    /// Nothing is started, canceled or let go. Live jobs are watched.
    Paused,
    /// Jobs start on a [retry request](Desired::retry_request) only, and actions on theirs. What runs is
    /// watched, and is canceled where deletion or a deadline asks for it.
    Manual,
    /// Nothing at all, not even a look. Deletion lets the object go, with a receipt for what
    /// is left behind and what is still at work.
    Unmanaged,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 4] = [Self::Managed, Self::Paused, Self::Manual, Self::Unmanaged];

    /// The word for it, as annotations write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Managed => "managed",
            Self::Paused => "paused",
            Self::Manual => "manual",
            Self::Unmanaged => "unmanaged",
        }
    }
}

/// A text that is no mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a mode is \"managed\", \"paused\", \"manual\" or \"unmanaged\"")]
pub struct BadMode;

impl std::str::FromStr for Mode {
    type Err = BadMode;

    /// Reads a mode as annotations write it: white space around it and capitals say nothing.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let same = |mode: &Self| mode.as_str().eq_ignore_ascii_case(word.trim());
        Self::ALL.into_iter().find(same).ok_or(BadMode)
    }
}

impl<'de> serde::Deserialize<'de> for Mode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        word.parse().map_err(serde::de::Error::custom)
    }
}
