//! Which templates do the work.

use std::collections::BTreeMap;

use provider_core::JobType;
use serde::{Deserialize, Serialize};

/// Which template does what: the entry of the kind, else the fixed one, else
/// `PREFIX-create-KIND` / `PREFIX-delete-KIND` with the kind in kebab case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct Templates {
    /// What names begin with, without the dash; empty for none.
    pub prefix: String,
    /// The template that provisions every kind.
    pub create: Option<TemplateName>,
    /// The template that deprovisions every kind.
    pub delete: Option<TemplateName>,
    /// Templates of single kinds, by kind (`ComputeInstance`).
    pub kinds: BTreeMap<String, KindTemplates>,
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
    /// Provisions it.
    pub create: Option<TemplateName>,
    /// Deprovisions it.
    pub delete: Option<TemplateName>,
}

/// A template by name: `"NAME"`, or an object that says more.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "TemplateNameForm")]
pub struct TemplateName {
    /// Its name, exactly.
    pub name: String,
    /// Its organization, where it is not the one of the configuration.
    pub organization: Option<String>,
    /// Its kind, where a job template and a workflow template of one organization share the name.
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

provider_core::guarded_settings!(Templates, KindTemplates);

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

impl Templates {
    /// The template for an object of this kind.
    #[must_use]
    pub fn name(&self, job_type: JobType, kind: &str) -> TemplateName {
        let of_kind = self.kinds.get(kind);
        let (of_kind, fixed, action) = match job_type {
            JobType::Provision => (
                of_kind.and_then(|k| k.create.as_ref()),
                &self.create,
                "create",
            ),
            JobType::Deprovision => (
                of_kind.and_then(|k| k.delete.as_ref()),
                &self.delete,
                "delete",
            ),
        };
        of_kind.or(fixed.as_ref()).cloned().unwrap_or_else(|| {
            let dash = if self.prefix.is_empty() { "" } else { "-" };
            TemplateName::new(format!("{}{dash}{action}-{}", self.prefix, kebab(kind)))
        })
    }
}

/// `ComputeInstance` → `compute-instance`, `ExternalIP` → `external-ip`, `VMPool` → `vm-pool`.
fn kebab(kind: &str) -> String {
    let chars: Vec<char> = kind.chars().collect();
    let mut out = String::with_capacity(kind.len() + 4);
    for (at, c) in chars.iter().enumerate() {
        let upper = |at: Option<usize>| at.and_then(|at| chars.get(at)).map(|c| c.is_uppercase());
        if c.is_uppercase() {
            let after_lower = upper(at.checked_sub(1)) == Some(false);
            let begins_word = at > 0 && upper(Some(at + 1)) == Some(false);
            if after_lower || begins_word {
                out.push('-');
            }
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AapConfig, Auth};

    #[test]
    fn kinds_become_kebab_case() {
        for (kind, expected) in [
            ("ComputeInstance", "compute-instance"),
            ("ExternalIP", "external-ip"),
            ("VMPool", "vm-pool"),
            ("Tenant", "tenant"),
            ("S3Bucket", "s3-bucket"),
            ("", ""),
        ] {
            assert_eq!(kebab(kind), expected);
        }
    }

    #[test]
    fn the_most_specific_template_wins() {
        let mut config =
            AapConfig::new("https://x", Auth::token("abcd")).with_template_prefix("osac");
        let name = |c: &AapConfig, kind: &str| c.templates.name(JobType::Provision, kind).name;
        assert_eq!(
            name(&config, "ComputeInstance"),
            "osac-create-compute-instance"
        );
        config.templates.create = Some(TemplateName::new("make"));
        assert_eq!(name(&config, "ComputeInstance"), "make");
        let own: Templates = serde_json::from_str(
            r#"{"create": "make", "kinds": {"Tenant": {"create": {"name": "t", "organization": "o"}}}}"#,
        )
        .unwrap();
        config.templates = own;
        assert_eq!(name(&config, "Tenant"), "t");
        assert_eq!(name(&config, "Other"), "make");
    }
}
