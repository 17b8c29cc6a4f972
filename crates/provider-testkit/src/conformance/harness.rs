//! What the author of a provider supplies: worlds, ways to break them, and what really ran.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use provider_core::{JobType, OperationToken, Provider, Resource};

/// Makes worlds. One is made for every behaviour, so that none sees the leftovers of another.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A backend without jobs.
    ///
    /// All randomness of it should come from the seed.
    ///
    /// # Errors
    /// When it cannot be started; the behaviour is then reported as broken, with this text.
    async fn world(&self, seed: u64) -> Result<Box<dyn World>, String>;
}

/// One backend, its provider, and the hand of whoever breaks it.
///
/// Jobs do their work until [`make`](Self::make) says how they end, or until a cancel stops them.
#[async_trait]
pub trait World: Send + Sync {
    /// A provider for this backend, as a process builds it that has just started: it remembers
    /// nothing of earlier ones.
    ///
    /// # Errors
    /// When it cannot be built.
    fn provider(&self) -> Result<Arc<dyn Provider>, String>;

    /// The object of this name, as the cluster has it now, with what the automation has done to it.
    fn object(&self, name: &str) -> Resource;

    /// The present moment, by the clock that the provider goes by.
    fn now(&self) -> Timestamp;

    /// Lets time go by. A world with a clock of its own jumps; one with real processes waits for as
    /// long as they need to take a step, which may be much shorter than `by`.
    async fn pass(&self, by: Duration);

    /// Breaks something, in one of several ways that mean the same; ways count from zero. False when
    /// there is no such way: the backend cannot go wrong like this, or there are no more ways.
    async fn break_next(&self, fault: Fault, way: usize) -> bool;

    /// Something happens to the job of this launch. False when it cannot happen at this backend, or
    /// when it would leave no sign that the provider could see.
    async fn make(&self, deed: Deed, token: &OperationToken) -> bool;

    /// Everything that was really started so far, in order, whatever the provider was told.
    async fn journal(&self) -> Vec<Ran>;

    /// The name of an action that this backend has automation for, `restart` say; none where there is none.
    fn action(&self) -> Option<&str> {
        None
    }

    /// Texts that must never be seen: the credentials of the provider.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether the backend tells of refused credentials without a launch.
    fn tells_credentials_beforehand(&self) -> bool {
        true
    }

    /// For providers that cannot see the end of a job: after how long they take one as over.
    fn assumes_over_after(&self) -> Option<Duration> {
        None
    }
}

/// A way to break a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The backend understands the next launch, and refuses it.
    RefusesLaunch,
    /// The next launch is not carried out, and fails in a way that may look like anything.
    MissesLaunch,
    /// The next launch is carried out, and its answer never arrives.
    LosesLaunchAnswer,
    /// The next launch is carried out, and its answer makes no sense.
    GarblesLaunchAnswer,
    /// The next launch is refused, with the request to stay away for so long.
    RateLimits(Duration),
    /// The backend no longer accepts the provider's credentials.
    RefusesCredentials,
    /// The next launch is refused with a text that repeats the request: headers and body.
    Echoes,
    /// The next question about a job, or for a list of jobs, fails as at a backend that is down.
    FailsRead,
    /// The next question is answered with megabytes of something else.
    FloodsRead,
    /// The next cancel of a job that is at work is refused.
    RefusesCancel,
    /// The next cancel is carried out, and its answer never arrives.
    LosesCancelAnswer,
    /// The next job that is launched goes on when it is canceled.
    IgnoresCancel,
}

/// An event in the life of a job that the suite asks a world to bring about: an end, a cancel by somebody else, a
/// copy that a person starts. A [`Fault`], in contrast, happens to a request of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Deed {
    /// It does its work to the end, well; true also when it has ended before.
    Succeed,
    /// It ends badly.
    Fail,
    /// It ends badly, with a text of many lines and megabytes that holds the provider's credentials and
    /// the variables of its launch, one of which is [`SECRET`](super::SECRET).
    FailLoudly,
    /// Somebody else cancels it, and it stops.
    BeCanceled,
    /// The backend forgets it; it has ended before.
    BeForgotten,
    /// The backend tells its state in a word that it never used before; it goes on working.
    SpeakUnknownWord,
    /// A person starts a copy of it.
    BeCopied,
    /// The copies that persons have started of it do their work to the end, well.
    FinishCopies,
}

/// One job that was really started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its id, as a [`JobRef`](provider_core::JobRef) has it, where the journal knows it.
    pub id: Option<String>,
    /// The token that it was launched with.
    pub token: OperationToken,
    /// What it is for.
    pub job_type: JobType,
    /// The name of its object.
    pub object: String,
    /// Whether it may still do work.
    pub live: bool,
}
