//! Where events go: one URL for each action, fixed, of single kinds, or of single targets.

use std::collections::{BTreeMap, BTreeSet};

use provider_core::text::kebab;
use provider_core::{ActionName, JobType};
use serde::Deserialize;
use url::Url;

use crate::ConfigError;
use crate::body::action;
use crate::config::tidy_text;

mod made;
mod text;

pub(crate) use made::Made;
use text::parse;
pub(crate) use text::shown;

/// What stands for the kind in a URL.
const KIND: &str = "{kind}";
/// What stands for the action.
const ACTION: &str = "{action}";

/// The URLs. Of all that fit an event the most specific one counts: that of the target and the kind, of the
/// target, of the kind, the fixed one. Where one of these has no URL for the event, the next one is asked; of an
/// action, each is asked for the URL of its name first, and for that of every action then.
///
/// In a URL, `{kind}` becomes the kind in kebab case, and `{action}` the word that the payload says too:
/// `create`, `delete`, or the name of the action. So one template can serve all:
/// `http://rulebook:5000/{action}-{kind}`.
///
/// ```
/// use provider_eda::Endpoints;
///
/// # fn main() -> Result<(), provider_core::BadActionName> {
/// let urls = Endpoints::new("http://rulebook:5000/create-{kind}", "http://rulebook:5000/delete-{kind}")
///     .with_action("restart".parse()?, "http://rulebook:5000/restart-{kind}");
/// assert_eq!(urls.actions.len(), 1);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct Endpoints {
    /// Takes the events that provision. Default: none.
    pub create: Option<String>,
    /// Takes the events that deprovision. Default: none.
    pub delete: Option<String>,
    /// Takes the events of every action that has no URL of its own in `actions`. Default: none.
    pub action: Option<String>,
    /// Take the events that act on a living object, by the name of the action (`restart`). Default: none; with
    /// no URL for any action the provider has no actions.
    pub actions: BTreeMap<ActionName, String>,
    /// URLs of single kinds, by kind (`ComputeInstance`). Default: none.
    pub kinds: BTreeMap<String, KindEndpoints>,
    /// URLs of single targets, by the name of the target, for objects of several backends. Default: none.
    pub targets: BTreeMap<String, TargetEndpoints>,
}

/// The URLs of one kind. What it has none for goes where the next more general place says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct KindEndpoints {
    /// Takes the events that provision. Default: none.
    pub create: Option<String>,
    /// Takes the events that deprovision. Default: none.
    pub delete: Option<String>,
    /// Takes the events of every action that has no URL of its own in `actions`. Default: none.
    pub action: Option<String>,
    /// Take the events that act on it, by the name of the action (`restart`). Default: none.
    pub actions: BTreeMap<ActionName, String>,
}

/// The URLs of one target. What it has none for goes where the next more general place says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct TargetEndpoints {
    /// Takes the events that provision. Default: none.
    pub create: Option<String>,
    /// Takes the events that deprovision. Default: none.
    pub delete: Option<String>,
    /// Takes the events of every action that has no URL of its own in `actions`. Default: none.
    pub action: Option<String>,
    /// Take the events that act on it, by the name of the action (`restart`). Default: none.
    pub actions: BTreeMap<ActionName, String>,
    /// URLs of single kinds of this target, by kind. Default: none.
    pub kinds: BTreeMap<String, KindEndpoints>,
}

provider_core::guarded_settings!(Endpoints, KindEndpoints, TargetEndpoints);

/// The URLs at one of the places that are asked.
struct Level<'a> {
    create: Option<&'a String>,
    delete: Option<&'a String>,
    action: Option<&'a String>,
    actions: &'a BTreeMap<ActionName, String>,
}

impl<'a> Level<'a> {
    fn get(&self, job_type: JobType) -> Option<&'a String> {
        match job_type {
            JobType::Provision => self.create,
            JobType::Deprovision => self.delete,
            JobType::Action(name) => self.actions.get(&name).or(self.action),
            _ => None,
        }
    }

    fn has_actions(&self) -> bool {
        self.action.is_some() || !self.actions.is_empty()
    }
}

macro_rules! levels {
    ($($endpoints:ty),*) => {$(
        impl $endpoints {
            const fn level(&self) -> Level<'_> {
                Level {
                    create: self.create.as_ref(),
                    delete: self.delete.as_ref(),
                    action: self.action.as_ref(),
                    actions: &self.actions,
                }
            }

            /// The URLs of this place by the names of their settings.
            fn texts(&mut self) -> impl Iterator<Item = (&'static str, &mut String)> {
                let named = self.actions.values_mut();
                let named = named.map(|url| ("endpoints.actions", url));
                let single = [
                    ("endpoints.create", &mut self.create),
                    ("endpoints.delete", &mut self.delete),
                    ("endpoints.action", &mut self.action),
                ];
                let single = single.into_iter();
                single.filter_map(|(field, url)| Some((field, url.as_mut()?))).chain(named)
            }
        }
    )*};
}

levels!(Endpoints, KindEndpoints, TargetEndpoints);

/// For whom an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addressee<'a> {
    pub target: Option<&'a str>,
    pub kind: &'a str,
}

/// Where actions go that are named nowhere.
pub(crate) struct AnyAction {
    /// Whether the name of the action is no part of the URL.
    pub is_the_same_for_all: bool,
    pub url: Result<Url, ConfigError>,
}

/// A kind that is not named, which stands for all others.
const ANY_KIND: &str = "AnyKind";

impl Endpoints {
    /// Takes off what surrounds URLs that come from files and Secrets.
    pub(crate) fn tidy(&mut self) -> Result<(), ConfigError> {
        fn tidy<'a>(
            texts: impl Iterator<Item = (&'static str, &'a mut String)>,
        ) -> Result<(), ConfigError> {
            for (field, url) in texts {
                tidy_text(field, url)?;
            }
            Ok(())
        }
        tidy(self.texts())?;
        let mut kinds: Vec<&mut KindEndpoints> = self.kinds.values_mut().collect();
        for target in self.targets.values_mut() {
            tidy(target.texts())?;
            kinds.extend(target.kinds.values_mut());
        }
        kinds.into_iter().try_for_each(|kind| tidy(kind.texts()))
    }

    /// Fixed URLs.
    #[must_use]
    pub fn new(create: impl Into<String>, delete: impl Into<String>) -> Self {
        Self {
            create: Some(create.into()),
            delete: Some(delete.into()),
            ..Self::default()
        }
    }

    /// One URL for everything, every action too, as for an event stream whose rules look at the action.
    #[must_use]
    pub fn one(url: impl Into<String>) -> Self {
        let url = url.into();
        Self::new(url.clone(), url.clone()).with_any_action(url)
    }

    /// With the URL of one action.
    #[must_use]
    pub fn with_action(mut self, action: ActionName, url: impl Into<String>) -> Self {
        self.actions.insert(action, url.into());
        self
    }

    /// With a URL for every action that has none of its own.
    #[must_use]
    pub fn with_any_action(mut self, url: impl Into<String>) -> Self {
        self.action = Some(url.into());
        self
    }

    /// With URLs of their own for creation and deletion of a kind.
    #[must_use]
    pub fn with_kind(
        mut self,
        kind: impl Into<String>,
        create: impl Into<String>,
        delete: impl Into<String>,
    ) -> Self {
        let urls = KindEndpoints {
            create: Some(create.into()),
            delete: Some(delete.into()),
            ..KindEndpoints::default()
        };
        self.kinds.insert(kind.into(), urls);
        self
    }

    /// With URLs of its own for a target.
    #[must_use]
    pub fn with_target(mut self, target: impl Into<String>, urls: TargetEndpoints) -> Self {
        self.targets.insert(target.into(), urls);
        self
    }

    /// The places that are asked for a URL, the most specific one first.
    fn levels<'a>(&'a self, to: Addressee<'_>) -> impl Iterator<Item = Level<'a>> {
        let target = to.target.and_then(|target| self.targets.get(target));
        let of_target = target.and_then(|target| target.kinds.get(to.kind));
        [
            of_target.map(KindEndpoints::level),
            target.map(TargetEndpoints::level),
            self.kinds.get(to.kind).map(KindEndpoints::level),
            Some(self.level()),
        ]
        .into_iter()
        .flatten()
    }

    /// The URL of an event, as text.
    fn text(&self, job_type: JobType, to: Addressee<'_>) -> Option<String> {
        let url = self.levels(to).find_map(|level| level.get(job_type))?;
        let url = url.replace(KIND, &kebab(to.kind));
        Some(url.replace(ACTION, action(&job_type)))
    }

    /// The URL of an event.
    pub(crate) fn url(
        &self,
        job_type: JobType,
        to: Addressee<'_>,
    ) -> Option<Result<Url, ConfigError>> {
        Some(parse(field(job_type), &self.text(job_type, to)?))
    }

    /// Whether there is a URL for any action.
    pub(crate) fn has_actions(&self) -> bool {
        let kinds = self.kinds.values().map(KindEndpoints::level);
        let targets = self.targets.values().flat_map(|target| {
            let kinds = target.kinds.values().map(KindEndpoints::level);
            kinds.chain([target.level()])
        });
        let mut all = kinds.chain(targets).chain([self.level()]);
        all.any(|level| level.has_actions())
    }

    /// The actions that are named anywhere.
    pub(crate) fn action_names(&self) -> BTreeSet<ActionName> {
        let kinds = self.kinds.values().map(|kind| &kind.actions);
        let targets = self.targets.values().flat_map(|target| {
            let kinds = target.kinds.values().map(|kind| &kind.actions);
            kinds.chain([&target.actions])
        });
        let all = kinds.chain(targets).chain([&self.actions]);
        all.flat_map(|actions| actions.keys().copied()).collect()
    }

    /// Where actions go that are named nowhere.
    pub(crate) fn any_action(&self, to: Addressee<'_>) -> Option<AnyAction> {
        let text = self.levels(to).find_map(|level| level.action)?;
        Some(AnyAction {
            is_the_same_for_all: !text.contains(ACTION),
            url: parse("endpoints.action", &text.replace(KIND, &kebab(to.kind))),
        })
    }

    /// The targets that events may be for: none only where something is said of objects without targets.
    pub(crate) fn addressed(&self) -> Vec<Option<&str>> {
        let level = self.level();
        let is_named = level.create.is_some() || level.delete.is_some() || !self.kinds.is_empty();
        let untargeted = is_named || self.targets.is_empty();
        let targets = self.targets.keys().map(|target| Some(target.as_str()));
        untargeted
            .then_some(None)
            .into_iter()
            .chain(targets)
            .collect()
    }

    /// Every URL with the name of its setting.
    pub(crate) fn all(&self) -> Vec<(&'static str, Result<Url, ConfigError>)> {
        let mut types = vec![JobType::Provision, JobType::Deprovision];
        types.extend(self.action_names().into_iter().map(JobType::Action));
        types.extend(ActionName::new("any-action").ok().map(JobType::Action));
        let mut all = Vec::new();
        let targets = self.targets.keys().map(|target| Some(target.as_str()));
        for target in targets.chain([None]) {
            let own = target.and_then(|target| self.targets.get(target));
            let own = own.into_iter().flat_map(|target| target.kinds.keys());
            let kinds = self.kinds.keys().chain(own).map(String::as_str);
            for kind in kinds.chain([ANY_KIND]) {
                let to = Addressee { target, kind };
                let urls = types.iter().filter_map(|job_type| {
                    let url = self.url(*job_type, to)?;
                    Some((field(*job_type), url))
                });
                all.extend(urls);
            }
        }
        all
    }

    /// Refuses actions whose events a rule would take for something else.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        match self.action_names().iter().find(|name| is_taken(name)) {
            None => Ok(()),
            Some(name) => Err(ConfigError::new(
                "endpoints.actions",
                &format!("no action can be called {name}: rules know the events by that word"),
            )),
        }
    }
}

/// Whether the word for this action in payloads means something else to the rules.
pub(crate) fn is_taken(name: &ActionName) -> bool {
    [JobType::Provision, JobType::Deprovision]
        .iter()
        .any(|job_type| action(job_type) == name.as_str())
}

const fn field(job_type: JobType) -> &'static str {
    match job_type {
        JobType::Provision => "endpoints.create",
        JobType::Deprovision => "endpoints.delete",
        _ => "endpoints.actions",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(urls: &Endpoints, word: &str, target: Option<&str>, kind: &str) -> Option<String> {
        let job_type = match word {
            "create" => JobType::Provision,
            "delete" => JobType::Deprovision,
            name => JobType::Action(ActionName::new(name).unwrap()),
        };
        let url = urls.url(job_type, Addressee { target, kind })?;
        Some(url.unwrap().to_string())
    }

    #[test]
    fn the_most_specific_url_wins() {
        let urls = Endpoints::new("http://e/create-{kind}", "http://e/delete-{kind}").with_kind(
            "Tenant",
            "http://t/new",
            "http://t/gone",
        );
        let url = |word, kind| url(&urls, word, None, kind).unwrap();
        assert_eq!(
            url("create", "ComputeInstance"),
            "http://e/create-compute-instance"
        );
        assert_eq!(url("delete", "Tenant"), "http://t/gone");
        assert_eq!(self::url(&Endpoints::default(), "create", None, "X"), None);
        assert_eq!(self::url(&urls, "restart", None, "Tenant"), None);
    }

    /// Target and kind, target, kind, fixed; and at each the name of the action before every action.
    #[test]
    fn of_all_that_fit_the_most_specific_one_counts() {
        let urls: Endpoints = serde_json::from_value(serde_json::json!({
            "create": "http://fixed/create", "delete": "http://fixed/{action}",
            "action": "http://fixed/any/{action}-{kind}",
            "actions": {"restart": "http://fixed/restart"},
            "kinds": {"Tenant": {"create": "http://kind/create", "action": "http://kind/{action}"}},
            "targets": {
                "dns": {
                    "create": "http://dns/create",
                    "actions": {"restart": "http://dns/restart"},
                    "kinds": {"Tenant": {"actions": {"resize": "http://dns-kind/resize"}}},
                },
            },
        }))
        .unwrap();
        for (word, target, kind, expected) in [
            ("create", None, "X", "http://fixed/create"),
            ("create", None, "Tenant", "http://kind/create"),
            ("create", Some("dns"), "Tenant", "http://dns/create"),
            ("create", Some("other"), "Tenant", "http://kind/create"),
            ("delete", Some("dns"), "Tenant", "http://fixed/delete"),
            ("restart", None, "X", "http://fixed/restart"),
            ("resize", None, "VMPool", "http://fixed/any/resize-vm-pool"),
            ("restart", None, "Tenant", "http://kind/restart"),
            ("restart", Some("dns"), "Tenant", "http://dns/restart"),
            ("resize", Some("dns"), "Tenant", "http://dns-kind/resize"),
            ("resize", Some("dns"), "X", "http://fixed/any/resize-x"),
        ] {
            let found = url(&urls, word, target, kind);
            assert_eq!(found.as_deref(), Some(expected), "{word} {target:?} {kind}");
        }
        let known: Vec<String> = urls
            .all()
            .into_iter()
            .map(|(_, url)| url.unwrap().to_string())
            .collect();
        for url in [
            "http://dns-kind/resize",
            "http://fixed/any/any-action-any-kind",
        ] {
            assert!(known.iter().any(|known| known == url), "{url}: {known:?}");
        }
        assert_eq!(urls.addressed(), [None, Some("dns")]);
    }

    #[test]
    fn one_url_serves_every_action() {
        let urls = Endpoints::one("http://stream/post/");
        for word in ["create", "delete", "restart", "resize-disk"] {
            assert_eq!(
                url(&urls, word, Some("t"), "K").unwrap(),
                "http://stream/post/"
            );
        }
        assert!(urls.has_actions());
        assert!(!Endpoints::new("http://e/c", "http://e/d").has_actions());
    }

    /// A rule for deletions would take its events.
    #[test]
    fn no_action_is_called_create_or_delete() {
        for name in ["create", "delete"] {
            let action = ActionName::new(name).unwrap();
            let urls = Endpoints::default().with_action(action, "http://e/x");
            let error = urls.validate().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
