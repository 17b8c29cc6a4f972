//! Which templates do the work.

use std::collections::{BTreeMap, BTreeSet};

use provider_core::ActionName;
use serde::{Deserialize, Serialize};

mod choice;

/// Which template does what. For an object without a target: the entry of the kind, else the fixed one, else by
/// convention `PREFIX-create-KIND` / `PREFIX-delete-KIND` / `PREFIX-ACTION-KIND` with the kind in kebab case.
/// For one of several targets those of the target come first: its entry of the kind, its fixed one, and by
/// convention where it has a prefix of its own.
///
/// ```
/// use provider_aap::Templates;
/// use provider_core::{ActionName, JobType};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let templates: Templates = serde_json::from_value(serde_json::json!({
///     "prefix": "osac",
///     "usedActions": ["restart"],
///     "kinds": {"Tenant": {"actions": {"restart": "bounce-tenant"}}},
///     "targets": {"east": {"prefix": "east"}, "west": {"create": "make-in-west"}},
/// }))?;
/// let restart = JobType::Action(ActionName::new("restart")?);
/// let name = |job_type, kind, target| templates.name(job_type, kind, target).name;
/// assert_eq!(name(restart, "ComputeInstance", None), "osac-restart-compute-instance");
/// assert_eq!(name(restart, "Tenant", Some("west")), "bounce-tenant");
/// assert_eq!(name(JobType::Provision, "Tenant", Some("east")), "east-create-tenant");
/// assert_eq!(name(JobType::Provision, "Tenant", Some("west")), "make-in-west");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct Templates {
    /// What names begin with, without the dash. Default: empty, for none.
    pub prefix: String,
    /// The template that provisions every kind. Default: none.
    pub create: Option<TemplateName>,
    /// The template that deprovisions every kind. Default: none.
    pub delete: Option<TemplateName>,
    /// The templates that act on every kind, by the name of the action (`restart`). Default: none.
    pub actions: BTreeMap<ActionName, TemplateName>,
    /// The actions that are used on every kind, by templates that nothing names here. The preflight looks for
    /// the template of each, as for those that are named; without an entry an action works as well, and its
    /// template is looked for at its first launch. Default: none.
    pub used_actions: BTreeSet<ActionName>,
    /// Templates of single kinds, by kind (`ComputeInstance`). Default: none.
    pub kinds: BTreeMap<String, KindTemplates>,
    /// Templates of single targets, by the name of the target. Default: none, so that all targets of an object
    /// share the templates above.
    pub targets: BTreeMap<String, TargetTemplates>,
}

/// The templates of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct KindTemplates {
    /// Provisions it. Default: none.
    pub create: Option<TemplateName>,
    /// Deprovisions it. Default: none.
    pub delete: Option<TemplateName>,
    /// Act on it, by the name of the action (`restart`). Default: none.
    pub actions: BTreeMap<ActionName, TemplateName>,
    /// The actions that are used on it, beside those that are used on every kind; see
    /// [`Templates::used_actions`]. Default: none.
    pub used_actions: BTreeSet<ActionName>,
}

/// The templates of one target. What is not said here is as for objects without a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct TargetTemplates {
    /// What names begin with, without the dash; empty for none. Default: none, with which the
    /// target has no convention of its own.
    pub prefix: Option<String>,
    /// The template that provisions every kind there. Default: none.
    pub create: Option<TemplateName>,
    /// The template that deprovisions every kind there. Default: none.
    pub delete: Option<TemplateName>,
    /// The templates that act on every kind there, by the name of the action (`restart`). Default: none.
    pub actions: BTreeMap<ActionName, TemplateName>,
    /// The actions that are used there, beside those that are used everywhere; see
    /// [`Templates::used_actions`]. Default: none.
    pub used_actions: BTreeSet<ActionName>,
    /// Templates of single kinds there, by kind (`ComputeInstance`). Default: none.
    pub kinds: BTreeMap<String, KindTemplates>,
}

/// A template by name: `"NAME"`, or an object that says more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "TemplateNameForm")]
pub struct TemplateName {
    /// Its name, exactly.
    pub name: String,
    /// Its organization, where it is not the one of the configuration. Default: none.
    pub organization: Option<String>,
    /// Its kind, where a job template and a workflow template of one organization share the name. Default: none.
    pub kind: Option<TemplateKind>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TemplateNameForm {
    Name(String),
    #[serde(rename_all = "camelCase")]
    Full {
        name: String,
        #[serde(default)]
        organization: Option<String>,
        #[serde(default)]
        kind: Option<TemplateKind>,
    },
}

provider_core::guarded_settings!(Templates, KindTemplates, TargetTemplates);

impl From<TemplateNameForm> for TemplateName {
    fn from(form: TemplateNameForm) -> Self {
        match form {
            TemplateNameForm::Name(name) => Self::new(name),
            TemplateNameForm::Full {
                name,
                organization,
                kind,
            } => Self {
                name,
                organization,
                kind,
            },
        }
    }
}

impl TemplateName {
    /// A template by its name alone.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            organization: None,
            kind: None,
        }
    }

    /// In this organization.
    #[must_use]
    pub fn in_organization(mut self, organization: impl Into<String>) -> Self {
        self.organization = Some(organization.into());
        self
    }

    /// Of this kind.
    #[must_use]
    pub fn of_kind(mut self, kind: TemplateKind) -> Self {
        self.kind = Some(kind);
        self
    }
}

/// The two kinds of template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateKind {
    /// A job template: one playbook.
    JobTemplate,
    /// A workflow job template.
    WorkflowJobTemplate,
}
