//! What a reconcile gives back, and what a function may say that is wanted.

use kube::runtime::controller::Action;
use provider_core::lifecycle::{Desired, Outcome};

/// What a reconcile has found, and when to come back.
///
/// A reconcile function of a [`Controller`](kube::runtime::Controller) gives back the action alone:
/// `provisioner.reconcile(&object, wanted).await.map(Action::from)`.
#[derive(Debug)]
#[non_exhaustive]
pub struct Reconciled {
    /// For the controller: when to reconcile the object again.
    pub action: Action,
    /// What the engine has found, for each target that was looked at, in the order in which they were named. With
    /// what happened in all passes of this reconcile. None where nothing was to be done.
    pub outcomes: Vec<(Option<String>, Outcome)>,
}

impl Reconciled {
    /// What was found of this target; none for an object that has one backend only.
    #[must_use]
    pub fn outcome(&self, target: Option<&str>) -> Option<&Outcome> {
        found(&self.outcomes, target)
    }
}

impl From<Action> for Reconciled {
    fn from(action: Action) -> Self {
        Self {
            action,
            outcomes: Vec::new(),
        }
    }
}

impl From<Reconciled> for Action {
    fn from(reconciled: Reconciled) -> Self {
        reconciled.action
    }
}

/// What the passes of a reconcile have found so far.
#[derive(Debug, Default)]
pub(crate) struct Found(pub(crate) Vec<(Option<String>, Outcome)>);

impl Found {
    /// One more pass over a target: what happened before stays told.
    pub(crate) fn note(&mut self, target: Option<&str>, mut outcome: Outcome) {
        let known = self.0.iter_mut();
        match known
            .into_iter()
            .find(|(name, _)| name.as_deref() == target)
        {
            Some((_, before)) => {
                let mut events = std::mem::take(&mut before.events);
                events.append(&mut outcome.events);
                outcome.events = events;
                *before = outcome;
            }
            None => self.0.push((target.map(str::to_owned), outcome)),
        }
    }

    pub(crate) fn of(&self, target: Option<&str>) -> Option<&Outcome> {
        found(&self.0, target)
    }
}

fn found<'f>(all: &'f [(Option<String>, Outcome)], target: Option<&str>) -> Option<&'f Outcome> {
    let mut all = all.iter();
    let (_, outcome) = all.find(|(name, _)| name.as_deref() == target)?;
    Some(outcome)
}

/// What may be wanted of an object: one [`Desired`], or several, each for a target of its own.
pub trait IntoTargets {
    /// All of them.
    fn into_targets(self) -> Vec<Desired>;
}

impl IntoTargets for Desired {
    fn into_targets(self) -> Vec<Desired> {
        vec![self]
    }
}

impl IntoTargets for Vec<Desired> {
    fn into_targets(self) -> Vec<Desired> {
        self
    }
}

impl<const N: usize> IntoTargets for [Desired; N] {
    fn into_targets(self) -> Vec<Desired> {
        self.into()
    }
}
