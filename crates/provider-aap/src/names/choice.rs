//! Which of the configured templates is meant.

use std::collections::{BTreeMap, BTreeSet};

use provider_core::text::kebab;
use provider_core::{ActionName, JobType};

use super::{KindTemplates, TargetTemplates, TemplateName, Templates};

/// A template that the configuration tells of, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Use<'a> {
    pub(crate) job_type: JobType,
    /// The first target that it is for; none when it is for objects without one.
    pub(crate) target: Option<&'a str>,
    pub(crate) name: TemplateName,
}

/// What the three places of names have in common: all kinds, one kind, one target.
#[derive(Clone, Copy)]
struct Entry<'a> {
    create: Option<&'a TemplateName>,
    delete: Option<&'a TemplateName>,
    actions: &'a BTreeMap<ActionName, TemplateName>,
    used_actions: &'a BTreeSet<ActionName>,
}

macro_rules! entries {
    ($($of:ty),+) => {$(
        impl<'a> From<&'a $of> for Entry<'a> {
            fn from(of: &'a $of) -> Self {
                Self {
                    create: of.create.as_ref(),
                    delete: of.delete.as_ref(),
                    actions: &of.actions,
                    used_actions: &of.used_actions,
                }
            }
        }
    )+};
}

entries!(Templates, KindTemplates, TargetTemplates);

impl<'a> Entry<'a> {
    fn named(self, job_type: &JobType) -> Option<&'a TemplateName> {
        match job_type {
            JobType::Provision => self.create,
            JobType::Deprovision => self.delete,
            JobType::Action(name) => self.actions.get(name),
            // Never launched; one that a newer version has launched may be asked about.
            _ => None,
        }
    }
}

impl Templates {
    /// The template for an object of this kind, of this target where it has several.
    #[must_use]
    pub fn name(&self, job_type: JobType, kind: &str, target: Option<&str>) -> TemplateName {
        self.own(&job_type, kind, self.target(target))
            .or_else(|| self.named(&job_type, kind).cloned())
            .unwrap_or_else(|| conventional(&self.prefix, &job_type, kind))
    }

    /// All templates that the configuration tells of for this kind, each once: what is provisioned and
    /// deprovisioned by, and the actions that are named or used.
    ///
    /// Where there are targets, and neither a name nor a prefix for objects without one, those do not count.
    pub(crate) fn uses(&self, kind: &str) -> Vec<Use<'_>> {
        let targets = self.targets.keys().map(|name| Some(name.as_str()));
        let mut uses: Vec<Use<'_>> = Vec::new();
        for target in std::iter::once(None).chain(targets) {
            let actions = self.actions_of(kind, self.target(target));
            let actions = actions.into_iter().map(JobType::Action);
            for job_type in [JobType::Provision, JobType::Deprovision]
                .into_iter()
                .chain(actions)
            {
                let is_told = !self.prefix.is_empty() || self.named(&job_type, kind).is_some();
                if target.is_none() && !self.targets.is_empty() && !is_told {
                    continue;
                }
                let name = self.name(job_type, kind, target);
                let is_known = |known: &Use<'_>| known.job_type == job_type && known.name == name;
                if !uses.iter().any(is_known) {
                    uses.push(Use {
                        job_type,
                        target,
                        name,
                    });
                }
            }
        }
        uses
    }

    /// Whether the template of this action is one that creates or deletes, because nothing names it and the
    /// convention has that name for something else.
    pub(crate) fn is_taken(&self, action: &ActionName, kind: &str, target: Option<&str>) -> bool {
        let job_type = JobType::Action(*action);
        let is_conventional = match self.target(target) {
            Some(target) if target.named(&job_type, kind).is_some() => false,
            Some(target) if target.prefix.is_some() => true,
            _ => self.named(&job_type, kind).is_none(),
        };
        is_conventional && RESERVED.contains(&action.as_str())
    }

    /// The first action that is said to be used without a template, and cannot be by that name.
    pub(crate) fn reserved_action(&self) -> Option<&ActionName> {
        let targets = self.targets.values();
        let kinds = self.kinds.values();
        let kinds = kinds.chain(targets.clone().flat_map(|target| target.kinds.values()));
        let used = std::iter::once(&self.used_actions)
            .chain(targets.map(|target| &target.used_actions))
            .chain(kinds.map(|kind| &kind.used_actions));
        used.flatten()
            .find(|action| RESERVED.contains(&action.as_str()))
    }

    /// Every name of a template.
    pub(crate) fn names_mut(&mut self) -> Vec<&mut TemplateName> {
        fn of_kinds(
            kinds: &mut BTreeMap<String, KindTemplates>,
        ) -> impl Iterator<Item = &mut TemplateName> {
            kinds.values_mut().flat_map(|kind| {
                let fixed = kind.create.iter_mut().chain(kind.delete.iter_mut());
                fixed.chain(kind.actions.values_mut())
            })
        }
        let mut names: Vec<&mut TemplateName> = Vec::new();
        names.extend(self.create.iter_mut().chain(self.delete.iter_mut()));
        names.extend(self.actions.values_mut());
        names.extend(of_kinds(&mut self.kinds));
        for target in self.targets.values_mut() {
            names.extend(target.create.iter_mut().chain(target.delete.iter_mut()));
            names.extend(target.actions.values_mut());
            names.extend(of_kinds(&mut target.kinds));
        }
        names
    }

    fn target(&self, name: Option<&str>) -> Option<&TargetTemplates> {
        self.targets.get(name?)
    }

    /// What a target says itself.
    fn own(
        &self,
        job_type: &JobType,
        kind: &str,
        target: Option<&TargetTemplates>,
    ) -> Option<TemplateName> {
        let target = target?;
        let by_convention = || {
            let prefix = target.prefix.as_deref()?;
            Some(conventional(prefix, job_type, kind))
        };
        target.named(job_type, kind).cloned().or_else(by_convention)
    }

    /// What is named for objects without a target.
    fn named(&self, job_type: &JobType, kind: &str) -> Option<&TemplateName> {
        named(job_type, self.kinds.get(kind), self.into())
    }

    /// The actions that are named or used.
    fn actions_of(&self, kind: &str, target: Option<&TargetTemplates>) -> BTreeSet<ActionName> {
        let entries = [
            Some(Entry::from(self)),
            self.kinds.get(kind).map(Entry::from),
            target.map(Entry::from),
            target
                .and_then(|target| target.kinds.get(kind))
                .map(Entry::from),
        ];
        entries
            .into_iter()
            .flatten()
            .flat_map(|entry| entry.actions.keys().chain(entry.used_actions))
            .copied()
            .collect()
    }
}

impl TargetTemplates {
    fn named(&self, job_type: &JobType, kind: &str) -> Option<&TemplateName> {
        named(job_type, self.kinds.get(kind), self.into())
    }
}

fn named<'a>(
    job_type: &JobType,
    of_kind: Option<&'a KindTemplates>,
    fixed: Entry<'a>,
) -> Option<&'a TemplateName> {
    let of_kind = of_kind.and_then(|kind| Entry::from(kind).named(job_type));
    of_kind.or_else(|| fixed.named(job_type))
}

/// What stands in the names of templates that are no actions.
const RESERVED: [&str; 2] = ["create", "delete"];

fn conventional(prefix: &str, job_type: &JobType, kind: &str) -> TemplateName {
    let does = match job_type {
        JobType::Provision => "create",
        JobType::Deprovision => "delete",
        JobType::Action(name) => name.as_str(),
        other => other.as_str(),
    };
    let dash = if prefix.is_empty() { "" } else { "-" };
    TemplateName::new(format!("{prefix}{dash}{does}-{}", kebab(kind)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn templates(json: &serde_json::Value) -> Templates {
        serde_json::from_str(&json.to_string()).unwrap()
    }

    fn action(name: &str) -> ActionName {
        ActionName::new(name).unwrap()
    }

    #[test]
    fn the_most_specific_template_wins() {
        let all = [
            (
                "kinds of the target",
                json!({"targets": {"east": {"kinds": {"Tenant": entry("kinds of the target")}}}}),
            ),
            (
                "the target",
                json!({"targets": {"east": entry("the target")}}),
            ),
            (
                "eastern",
                json!({"targets": {"east": {"prefix": "eastern"}}}),
            ),
            ("kinds", json!({"kinds": {"Tenant": entry("kinds")}})),
            ("fixed", entry("fixed")),
            ("osac", json!({"prefix": "osac"})),
            ("", json!({})),
        ];
        let types = [
            (JobType::Provision, "create"),
            (JobType::Deprovision, "delete"),
            (JobType::Action(action("restart")), "restart"),
        ];
        // Without the first, the second is the most specific one, and so on.
        for (n, (winner, _)) in all.iter().enumerate() {
            let mut config = json!({});
            for (_, told) in &all[n..] {
                join(&mut config, told);
            }
            let config = templates(&config);
            for (job_type, does) in types {
                let expected = match *winner {
                    "" => format!("{does}-tenant"),
                    prefix @ ("eastern" | "osac") => format!("{prefix}-{does}-tenant"),
                    named => format!("{does} by {named}"),
                };
                let of = |target| config.name(job_type, "Tenant", target).name;
                assert_eq!(of(Some("east")), expected);
                let is_of_target =
                    matches!(*winner, "kinds of the target" | "the target" | "eastern");
                for other in [None, Some("west")] {
                    assert_eq!(of(other) == expected, !is_of_target, "{winner}: {other:?}");
                }
            }
        }
    }

    fn entry(of: &str) -> serde_json::Value {
        let name = |does: &str| format!("{does} by {of}");
        json!({
            "create": name("create"), "delete": name("delete"),
            "actions": {"restart": name("restart")},
        })
    }

    fn join(into: &mut serde_json::Value, from: &serde_json::Value) {
        match (into, from) {
            (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
                for (name, value) in from {
                    join(into.entry(name.clone()).or_insert(json!({})), value);
                }
            }
            (into, from) => *into = from.clone(),
        }
    }

    #[test]
    fn an_empty_prefix_of_a_target_is_a_convention_of_its_own() {
        let config = templates(&json!({"create": "make", "targets": {"east": {"prefix": ""}}}));
        let of = |target| config.name(JobType::Provision, "Tenant", target).name;
        assert_eq!(
            (of(None), of(Some("east"))),
            ("make".to_owned(), "create-tenant".to_owned())
        );
    }

    fn used(config: &serde_json::Value, kind: &str) -> Vec<String> {
        let config = templates(config);
        let uses = config.uses(kind);
        let shown = uses.iter().map(|used| {
            let at = used
                .target
                .map_or_else(String::new, |target| format!(" at {target}"));
            format!("{}{at}: {}", used.job_type, used.name.name)
        });
        shown.collect()
    }

    #[test]
    fn each_template_that_the_configuration_tells_of_is_looked_for_once() {
        assert_eq!(
            used(&json!({}), "Tenant"),
            ["provision: create-tenant", "deprovision: delete-tenant"]
        );
        let config = json!({
            "prefix": "osac", "usedActions": ["restart"], "actions": {"stop": "halt"},
            "kinds": {
                "Tenant": {"usedActions": ["resize"], "actions": {"restart": "bounce"}},
                "Other": {"actions": {"start": "go"}, "usedActions": ["burn"]},
            },
            "targets": {
                "east": {"create": "make-in-east", "usedActions": ["move"]},
                "west": {"create": "make-in-east", "kinds": {"Tenant": {"actions": {"stop": "halt-in-west"}}}},
            },
        });
        assert_eq!(
            used(&config, "Tenant"),
            [
                "provision: osac-create-tenant",
                "deprovision: osac-delete-tenant",
                "action/resize: osac-resize-tenant",
                "action/restart: bounce",
                "action/stop: halt",
                "provision at east: make-in-east",
                "action/move at east: osac-move-tenant",
                "action/stop at west: halt-in-west",
            ]
        );
    }

    #[test]
    fn what_only_targets_have_templates_for_is_not_looked_for_without_a_target() {
        let mut config = json!({
            "usedActions": ["restart"], "targets": {"east": {"prefix": "east"}, "west": {"delete": "drop"}},
        });
        let expected = [
            "provision at east: east-create-tenant",
            "deprovision at east: east-delete-tenant",
            "action/restart at east: east-restart-tenant",
            // Nothing else is said of that target, so this is what it would launch.
            "provision at west: create-tenant",
            "deprovision at west: drop",
            "action/restart at west: restart-tenant",
        ];
        assert_eq!(used(&config, "Tenant"), expected);
        config["create"] = json!("make");
        assert_eq!(used(&config, "Tenant")[0], "provision: make");
    }

    #[test]
    fn an_action_called_like_a_job_that_creates_or_deletes_needs_a_name() {
        let config = templates(&json!({
            "actions": {"create": "snapshot"}, "targets": {"east": {"prefix": "east"}, "west": {}},
        }));
        let taken = |name, target| config.is_taken(&action(name), "Tenant", target);
        assert!(taken("delete", None) && taken("delete", Some("west")));
        assert!(!taken("create", None) && !taken("create", Some("west")));
        assert!(
            taken("create", Some("east")),
            "its own convention comes first"
        );
        assert!(!taken("restart", None) && !taken("restart", Some("east")));
        for place in [
            json!({"usedActions": ["restart", "delete"]}),
            json!({"kinds": {"Tenant": {"usedActions": ["delete"]}}}),
            json!({"targets": {"east": {"usedActions": ["delete"]}}}),
            json!({"targets": {"east": {"kinds": {"Tenant": {"usedActions": ["delete"]}}}}}),
        ] {
            assert_eq!(
                templates(&place).reserved_action(),
                Some(&action("delete")),
                "{place}"
            );
        }
        assert_eq!(config.reserved_action(), None);
    }
}
