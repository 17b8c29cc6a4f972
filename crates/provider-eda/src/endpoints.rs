//! Where events go: one URL for each action, fixed or of single kinds.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use provider_core::JobType;
use serde::Deserialize;
use url::Url;

use crate::ConfigError;
use crate::config::tidy_text;

/// What stands for the kind in a URL.
const KIND: &str = "{kind}";

/// The URLs: the entry of the kind, else the fixed one. `{kind}` in a URL becomes the kind in
/// kebab case: `http://rulebook:5000/create-{kind}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct Endpoints {
    /// Takes the events that provision.
    pub create: Option<String>,
    /// Takes the events that deprovision.
    pub delete: Option<String>,
    /// URLs of single kinds, by kind (`ComputeInstance`).
    pub kinds: BTreeMap<String, KindEndpoints>,
}

/// The URLs of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct KindEndpoints {
    /// Takes the events that provision.
    pub create: Option<String>,
    /// Takes the events that deprovision.
    pub delete: Option<String>,
}

provider_core::guarded_settings!(Endpoints, KindEndpoints);

impl Endpoints {
    /// Takes off what surrounds URLs that come from files and Secrets.
    pub(crate) fn tidy(&mut self) -> Result<(), ConfigError> {
        let kinds = self.kinds.values_mut();
        let kinds = kinds.flat_map(|kind| {
            [
                (JobType::Provision, &mut kind.create),
                (JobType::Deprovision, &mut kind.delete),
            ]
        });
        let fixed = [
            (JobType::Provision, &mut self.create),
            (JobType::Deprovision, &mut self.delete),
        ];
        for (job_type, url) in kinds.chain(fixed) {
            if let Some(url) = url {
                tidy_text(field(job_type), url)?;
            }
        }
        Ok(())
    }

    /// Fixed URLs.
    #[must_use]
    pub fn new(create: impl Into<String>, delete: impl Into<String>) -> Self {
        Self {
            create: Some(create.into()),
            delete: Some(delete.into()),
            kinds: BTreeMap::new(),
        }
    }

    /// One URL for both actions, as for an event stream whose rules look at the action.
    #[must_use]
    pub fn one(url: impl Into<String>) -> Self {
        let url = url.into();
        Self::new(url.clone(), url)
    }

    /// With URLs of their own for a kind.
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
        };
        self.kinds.insert(kind.into(), urls);
        self
    }

    /// The URL for an object of this kind, as text.
    fn text(&self, job_type: JobType, kind: &str) -> Option<String> {
        let own = self.kinds.get(kind);
        let (own, fixed) = match job_type {
            JobType::Provision => (own.and_then(|k| k.create.as_ref()), self.create.as_ref()),
            JobType::Deprovision => (own.and_then(|k| k.delete.as_ref()), self.delete.as_ref()),
        };
        Some(own.or(fixed)?.replace(KIND, &kebab(kind)))
    }

    /// The URL for an object of this kind.
    pub(crate) fn url(&self, job_type: JobType, kind: &str) -> Option<Result<Url, ConfigError>> {
        Some(parse(field(job_type), &self.text(job_type, kind)?))
    }

    /// Every URL with the name of its setting; a kind that is not named stands for all others.
    pub(crate) fn all(&self) -> Vec<(&'static str, Result<Url, ConfigError>)> {
        let kinds = self.kinds.keys().map(String::as_str).chain(["AnyKind"]);
        kinds
            .flat_map(|kind| [JobType::Provision, JobType::Deprovision].map(|t| (t, kind)))
            .filter_map(|(job_type, kind)| Some((field(job_type), self.url(job_type, kind)?)))
            .collect()
    }
}

/// URLs that were made before: to make one takes as long as to write a small event.
#[derive(Debug, Default)]
pub(crate) struct Made(Mutex<Vec<(JobType, String, Url)>>);

/// More kinds than any operator has.
const MAX_MADE: usize = 64;

impl Made {
    /// The URL for an object of this kind, made once.
    pub(crate) fn url(
        &self,
        endpoints: &Endpoints,
        job_type: JobType,
        kind: &str,
    ) -> Option<Result<Url, ConfigError>> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, url)) = made.iter().find(|(j, k, _)| *j == job_type && k == kind) {
            return Some(Ok(url.clone()));
        }
        let url = endpoints.url(job_type, kind)?;
        if let Ok(url) = &url
            && made.len() < MAX_MADE
        {
            made.push((job_type, kind.to_owned(), url.clone()));
        }
        Some(url)
    }
}

const fn field(job_type: JobType) -> &'static str {
    match job_type {
        JobType::Provision => "endpoints.create",
        JobType::Deprovision => "endpoints.delete",
    }
}

fn parse(field: &str, given: &str) -> Result<Url, ConfigError> {
    let refuse = |what: &str| ConfigError::new(field, what);
    let url = Url::parse(given.trim()).map_err(|error| {
        refuse(&format!(
            "it is not a URL ({error}); expected https://host/path"
        ))
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refuse("expected http:// or https:// and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse(
            "it holds a user name or password; set them as credentials instead",
        ));
    }
    if url.fragment().is_some() {
        return Err(refuse("it holds a fragment (#…), which is never sent"));
    }
    Ok(url)
}

/// Scheme, host and path; a query may hold secrets.
pub(crate) fn shown(given: &str) -> String {
    let plain = given.split(['?', '#']).next().unwrap_or_default();
    let plain = match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => plain.rsplit('@').next().unwrap_or_default().to_owned(),
    };
    provider_core::text::bounded(&plain, 200)
}

/// `ComputeInstance` → `compute-instance`, `ExternalIP` → `external-ip`, `VMPool` → `vm-pool`.
pub(crate) fn kebab(kind: &str) -> String {
    let mut out = String::with_capacity(kind.len() + 4);
    let mut before: Option<char> = None;
    let mut rest = kind.chars().peekable();
    while let Some(c) = rest.next() {
        if let Some(before) = before.filter(|_| c.is_uppercase()) {
            let begins_word = rest.peek().is_some_and(|next| !next.is_uppercase());
            if !before.is_uppercase() || begins_word {
                out.push('-');
            }
        }
        out.extend(c.to_lowercase());
        before = Some(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_most_specific_url_wins() {
        let urls = Endpoints::new("http://e/create-{kind}", "http://e/delete-{kind}").with_kind(
            "Tenant",
            "http://t/new",
            "http://t/gone",
        );
        let url = |job_type, kind| urls.url(job_type, kind).unwrap().unwrap().to_string();
        assert_eq!(
            url(JobType::Provision, "ComputeInstance"),
            "http://e/create-compute-instance"
        );
        assert_eq!(url(JobType::Deprovision, "Tenant"), "http://t/gone");
        assert!(Endpoints::default().url(JobType::Provision, "X").is_none());
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_with_the_reason() {
        for (given, part) in [
            ("", "not a URL"),
            ("ftp://h/x", "expected http"),
            ("https://user:pass@h/x", "set them as credentials"),
            ("https://h/x#y", "fragment"),
        ] {
            let error = parse("endpoints.create", given).unwrap_err().to_string();
            assert!(
                error.contains(part) && !error.contains("pass@"),
                "{given}: {error}"
            );
        }
        assert_eq!(shown("https://u:p@h:1/a?token=x#f"), "https://h:1/a");
        assert_eq!(
            shown("http://e:5000/create-{kind}"),
            "http://e:5000/create-{kind}"
        );
    }
}
