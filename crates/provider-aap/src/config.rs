//! Where the controller is, who we are there, and which templates do the work.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use jiff::SignedDuration;
use provider_core::text::MASK;
use provider_core::{JobType, Projection, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ConfigError;

/// All settings of an [`AapProvider`](crate::AapProvider).
///
/// Made by [`new`](Self::new) and the `with_…` functions, read from a file by serde, or from the
/// environment by [`from_env`](Self::from_env). `Debug` and `Display` show what is in force, with
/// secrets masked.
///
/// ```
/// use provider_aap::{AapConfig, Auth};
///
/// let config = AapConfig::new("https://aap.example.com", Auth::token("s3cret-token"))
///     .with_organization("Cloud")
///     .with_template_prefix("osac");
/// assert!(config.to_string().contains("osac"));
/// assert!(!config.to_string().contains("s3cret"));
/// ```
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AapConfig {
    /// The name of this provider in records and logs: at most 63 characters, and never changed
    /// while records exist.
    #[serde(default = "default_name")]
    pub name: String,
    /// The controller's URL: a bare host, or with `/api`, `/api/v2`, `/api/controller`,
    /// `/api/controller/v2`, with or without a slash at the end.
    pub url: String,
    /// Who we are.
    pub auth: Auth,
    /// Connections.
    #[serde(default)]
    pub http: HttpConfig,
    /// The organization whose templates are meant, unless a template names its own.
    #[serde(default)]
    pub organization: Option<String>,
    /// Which template does what.
    #[serde(default)]
    pub templates: Templates,
    /// Where in `extra_vars` the object is put.
    #[serde(default)]
    pub envelope: Envelope,
    /// What of the object is sent.
    #[serde(default)]
    pub projection: Projection,
    /// The extra variable that carries the operation token.
    #[serde(default = "default_token_variable")]
    pub token_variable: String,
    /// Extra variables that go with every launch.
    #[serde(default)]
    pub extra_vars: Map<String, Value>,
    /// Whether a failed job is looked into: one or two requests more when a job has failed.
    #[serde(default)]
    pub diagnose: bool,
    /// Times; all have defaults that suit a controller of usual size.
    #[serde(default)]
    pub timing: Timing,
}

fn default_name() -> String {
    "aap".to_owned()
}

fn default_token_variable() -> String {
    "provider_operation_token".to_owned()
}

/// Who we are at the controller.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Auth {
    /// A personal access token (AAP 2.5 and later: a token of the gateway), scope `write`.
    Token(SecretString),
    /// A user with password, where the controller allows basic authentication.
    Basic {
        /// Login name.
        username: String,
        /// Password.
        password: SecretString,
    },
}

impl Auth {
    /// A bearer token.
    #[must_use]
    pub fn token(token: impl Into<SecretString>) -> Self {
        Self::Token(token.into())
    }

    /// A user with password.
    #[must_use]
    pub fn basic(username: impl Into<String>, password: impl Into<SecretString>) -> Self {
        Self::Basic {
            username: username.into(),
            password: password.into(),
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => write!(f, "token {MASK}"),
            Self::Basic { username, .. } => write!(f, "user {username:?} with password {MASK}"),
        }
    }
}

/// How connections are made.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HttpConfig {
    /// A PEM file with certificates to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Trust any certificate. Everything sent can then be read and changed by others on the way.
    pub insecure: bool,
    /// Use the proxies that the environment names (`HTTPS_PROXY`, `NO_PROXY`, …).
    pub proxy_from_environment: bool,
    /// How long a connection may take.
    pub connect_timeout: SignedDuration,
    /// How long a request may take.
    pub request_timeout: SignedDuration,
    /// How long a cancel may take: a controller whose dispatcher does not answer takes 10 s and
    /// more (AWX 24.6.1), so at least 30 s.
    pub cancel_timeout: SignedDuration,
    /// The `User-Agent`; the name and version of this library where absent.
    pub user_agent: Option<String>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            ca_file: None,
            insecure: false,
            proxy_from_environment: true,
            connect_timeout: SignedDuration::from_secs(10),
            request_timeout: SignedDuration::from_secs(30),
            cancel_timeout: SignedDuration::from_secs(45),
            user_agent: None,
        }
    }
}

/// Times of the provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Timing {
    /// Proposed time between two polls of a job.
    pub poll_interval: SignedDuration,
    /// How long a found template is remembered.
    pub template_cache: SignedDuration,
    /// How long after an unanswered launch its job may still turn up: the read time-out of the
    /// controller's web server is 120 s (AWX 24.6.1).
    pub visibility_window: SignedDuration,
    /// How long a `canceled` of a job that had started is doubted at least: the status can be set
    /// while the playbook runs on (AWX 24.6.1).
    pub confirm_window: SignedDuration,
    /// How long it is doubted at most, while the controller still counts events of the job.
    pub confirm_limit: SignedDuration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            poll_interval: SignedDuration::from_secs(15),
            template_cache: SignedDuration::from_mins(5),
            visibility_window: SignedDuration::from_mins(3),
            confirm_window: SignedDuration::from_mins(1),
            confirm_limit: SignedDuration::from_mins(15),
        }
    }
}

/// Which template does what: the entry of the kind, else the fixed one, else
/// `PREFIX-create-KIND` / `PREFIX-delete-KIND` with the kind in kebab case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
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
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
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

/// Where in `extra_vars` the object is put. In text: `ansible_eda`, `osac_job_vars`, or a path of
/// members with dots between them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub enum Envelope {
    /// `ansible_eda.event.payload`: what playbooks read that a rulebook used to start.
    #[default]
    AnsibleEda,
    /// `osac_job_vars.resource`.
    OsacJobVars,
    /// A path of members.
    Custom(Vec<String>),
}

impl TryFrom<String> for Envelope {
    type Error = ConfigError;

    fn try_from(text: String) -> Result<Self, ConfigError> {
        text.parse()
    }
}

impl std::str::FromStr for Envelope {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text {
            "ansible_eda" => Ok(Self::AnsibleEda),
            "osac_job_vars" => Ok(Self::OsacJobVars),
            path => {
                let members: Vec<String> = path.split('.').map(str::to_owned).collect();
                if members.iter().any(String::is_empty) {
                    return Err(ConfigError::new(
                        "envelope",
                        "expected ansible_eda, osac_job_vars, or member names with dots between",
                    ));
                }
                Ok(Self::Custom(members))
            }
        }
    }
}

impl Envelope {
    /// The members from the root of `extra_vars` to the object.
    pub(crate) fn path(&self) -> Vec<&str> {
        match self {
            Self::AnsibleEda => vec!["ansible_eda", "event", "payload"],
            Self::OsacJobVars => vec!["osac_job_vars", "resource"],
            Self::Custom(path) => path.iter().map(String::as_str).collect(),
        }
    }

    /// The object at its place.
    pub(crate) fn wrap(&self, object: Value) -> Map<String, Value> {
        let mut value = object;
        for member in self.path().into_iter().rev() {
            let mut outer = Map::new();
            outer.insert(member.to_owned(), value);
            value = Value::Object(outer);
        }
        match value {
            Value::Object(members) => members,
            // An envelope has at least one member.
            _ => Map::new(),
        }
    }
}

impl AapConfig {
    /// A configuration with defaults for everything else.
    #[must_use]
    pub fn new(url: impl Into<String>, auth: Auth) -> Self {
        Self {
            name: default_name(),
            url: url.into(),
            auth,
            http: HttpConfig::default(),
            organization: None,
            templates: Templates::default(),
            envelope: Envelope::default(),
            projection: Projection::default(),
            token_variable: default_token_variable(),
            extra_vars: Map::new(),
            diagnose: false,
            timing: Timing::default(),
        }
    }

    /// Another name of the provider.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The organization of templates.
    #[must_use]
    pub fn with_organization(mut self, organization: impl Into<String>) -> Self {
        self.organization = Some(organization.into());
        self
    }

    /// Templates named `PREFIX-create-KIND` and `PREFIX-delete-KIND`.
    #[must_use]
    pub fn with_template_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.templates.prefix = prefix.into();
        self
    }

    /// One template for all that is created, and one for all that is deleted.
    #[must_use]
    pub fn with_templates(mut self, create: TemplateName, delete: TemplateName) -> Self {
        self.templates.create = Some(create);
        self.templates.delete = Some(delete);
        self
    }

    /// Another place of the object in `extra_vars`.
    #[must_use]
    pub fn with_envelope(mut self, envelope: Envelope) -> Self {
        self.envelope = envelope;
        self
    }

    /// An extra variable that goes with every launch.
    #[must_use]
    pub fn with_extra_var(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra_vars.insert(name.into(), value.into());
        self
    }

    /// With failed jobs looked into.
    #[must_use]
    pub fn with_diagnosis(mut self) -> Self {
        self.diagnose = true;
        self
    }

    /// Other settings of connections.
    #[must_use]
    pub fn with_http(mut self, http: HttpConfig) -> Self {
        self.http = http;
        self
    }

    /// Other times.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Reads the environment of the process; see [`from_vars`](Self::from_vars) for the names.
    ///
    /// # Errors
    /// When a variable is missing or unreadable.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// Reads variables from wherever the caller has them.
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `AAP_URL` | the controller (required) |
    /// | `AAP_TOKEN`, or `AAP_TOKEN_FILE` | bearer token, or a file that holds it |
    /// | `AAP_USERNAME`, `AAP_PASSWORD` | instead of a token |
    /// | `AAP_NAME` | name of the provider in records (default `aap`) |
    /// | `AAP_ORGANIZATION` | organization of the templates |
    /// | `AAP_TEMPLATE_PREFIX` | templates are `PREFIX-create-KIND`, `PREFIX-delete-KIND` |
    /// | `AAP_CREATE_TEMPLATE`, `AAP_DELETE_TEMPLATE` | one template for all kinds |
    /// | `AAP_ENVELOPE` | `ansible_eda` (default), `osac_job_vars`, or a dotted path |
    /// | `AAP_CA_FILE` | PEM file to trust beside the system's certificates |
    /// | `AAP_INSECURE` | `true` trusts any certificate |
    /// | `AAP_DIAGNOSE` | `true` looks into failed jobs |
    /// | `AAP_REQUEST_TIMEOUT`, `AAP_POLL_INTERVAL` | durations such as `45s` or `2m` |
    ///
    /// # Errors
    /// When a required variable is missing or one cannot be read; the error names it.
    pub fn from_vars(vars: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let get = |name: &str| vars(name).filter(|value| !value.trim().is_empty());
        let missing = |name: &'static str, what| ConfigError::new(name, what);
        let url = get("AAP_URL").ok_or_else(|| {
            missing(
                "AAP_URL",
                "set it to the URL of the controller, such as https://aap.example.com",
            )
        })?;
        let token = match (get("AAP_TOKEN"), get("AAP_TOKEN_FILE")) {
            (Some(token), _) => Some(token),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(&file).map_err(|error| {
                    ConfigError::new("AAP_TOKEN_FILE", &format!("cannot read {file}: {error}"))
                })?;
                Some(text)
            }
            (None, None) => None,
        };
        let auth = match (token, get("AAP_USERNAME"), get("AAP_PASSWORD")) {
            (Some(token), ..) => Auth::token(token.trim().to_owned()),
            (None, Some(username), Some(password)) => Auth::basic(username, password),
            _ => {
                return Err(missing(
                    "AAP_TOKEN",
                    "set it to a personal access token, or set AAP_USERNAME and AAP_PASSWORD",
                ));
            }
        };
        let flag = |name: &'static str| match get(name).as_deref().map(str::trim) {
            None => Ok(false),
            Some("true" | "1" | "yes") => Ok(true),
            Some("false" | "0" | "no") => Ok(false),
            Some(_) => Err(ConfigError::new(name, "expected true or false")),
        };
        let duration = |name: &'static str, otherwise: SignedDuration| match get(name) {
            None => Ok(otherwise),
            Some(text) => text
                .trim()
                .parse()
                .map_err(|_| ConfigError::new(name, "expected a duration such as 45s or 2m")),
        };
        let mut config = Self::new(url, auth);
        if let Some(name) = get("AAP_NAME") {
            config.name = name;
        }
        config.organization = get("AAP_ORGANIZATION");
        config.templates.prefix = get("AAP_TEMPLATE_PREFIX").unwrap_or_default();
        config.templates.create = get("AAP_CREATE_TEMPLATE").map(TemplateName::new);
        config.templates.delete = get("AAP_DELETE_TEMPLATE").map(TemplateName::new);
        if let Some(envelope) = get("AAP_ENVELOPE") {
            config.envelope = envelope.parse().map_err(|_| {
                ConfigError::new(
                    "AAP_ENVELOPE",
                    "expected ansible_eda, osac_job_vars, or a dotted path",
                )
            })?;
        }
        config.http.ca_file = get("AAP_CA_FILE").map(PathBuf::from);
        config.http.insecure = flag("AAP_INSECURE")?;
        config.diagnose = flag("AAP_DIAGNOSE")?;
        config.http.request_timeout = duration("AAP_REQUEST_TIMEOUT", config.http.request_timeout)?;
        config.timing.poll_interval = duration("AAP_POLL_INTERVAL", config.timing.poll_interval)?;
        Ok(config)
    }

    /// Refuses what cannot work, before the first request.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field: &'static str, what: &str| Err(ConfigError::new(field, what));
        if self.name.is_empty() || self.name.len() > 63 {
            return refuse("name", "expected 1 to 63 characters");
        }
        if self.token_variable.is_empty() {
            return refuse("tokenVariable", "expected the name of an extra variable");
        }
        if self.envelope.path().first() == Some(&self.token_variable.as_str()) {
            return refuse(
                "tokenVariable",
                "it is also the first member of the envelope",
            );
        }
        for (field, value, least) in [
            ("http.connectTimeout", self.http.connect_timeout, 1),
            ("http.requestTimeout", self.http.request_timeout, 1),
            ("http.cancelTimeout", self.http.cancel_timeout, 1),
            ("timing.pollInterval", self.timing.poll_interval, 1),
            ("timing.templateCache", self.timing.template_cache, 0),
            ("timing.visibilityWindow", self.timing.visibility_window, 0),
            ("timing.confirmWindow", self.timing.confirm_window, 0),
            ("timing.confirmLimit", self.timing.confirm_limit, 0),
        ] {
            if value < SignedDuration::from_millis(least) {
                return refuse(
                    field,
                    "expected a duration that is not negative (time-outs: more than zero)",
                );
            }
        }
        let empty = |auth: &Auth| match auth {
            Auth::Token(token) => secret(token).is_empty(),
            Auth::Basic { username, .. } => username.is_empty(),
        };
        if empty(&self.auth) {
            return refuse("auth", "the token or user name is empty");
        }
        Ok(())
    }
}

pub(crate) fn secret(secret: &SecretString) -> &str {
    use secrecy::ExposeSecret;
    secret.expose_secret()
}

/// The URL without user name, password, query and fragment, all of which may hold secrets.
fn shown(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(mut url) => {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.set_fragment(None);
            url.to_string()
        }
        Err(_) => provider_core::text::bounded(url.rsplit('@').next().unwrap_or_default(), 200),
    }
}

impl fmt::Display for AapConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at {} as {:?}; templates ",
            self.name,
            shown(&self.url),
            self.auth
        )?;
        for (job_type, fixed) in [
            (JobType::Provision, &self.templates.create),
            (JobType::Deprovision, &self.templates.delete),
        ] {
            match fixed {
                Some(name) => write!(f, "{}, ", name.name)?,
                None => {
                    let name = self.templates.name(job_type, "KIND").name;
                    write!(f, "{}, ", name.replace("kind", "KIND"))?;
                }
            }
        }
        if !self.templates.kinds.is_empty() {
            write!(
                f,
                "with {} kinds of their own, ",
                self.templates.kinds.len()
            )?;
        }
        match &self.organization {
            Some(organization) => write!(f, "of organization {organization:?}")?,
            None => f.write_str("of any organization")?,
        }
        write!(f, "; object in {}", self.envelope.path().join("."))?;
        if self.http.insecure {
            f.write_str("; INSECURE: certificates are not checked")?;
        }
        Ok(())
    }
}

impl fmt::Debug for AapConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AapConfig")
            .field("name", &self.name)
            .field("url", &shown(&self.url))
            .field("auth", &self.auth)
            .field("http", &self.http)
            .field("organization", &self.organization)
            .field("templates", &self.templates)
            .field("envelope", &self.envelope)
            .field("token_variable", &self.token_variable)
            .field("extra_vars", &self.extra_vars.keys().collect::<Vec<_>>())
            .field("diagnose", &self.diagnose)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Result<AapConfig, ConfigError> {
        AapConfig::from_vars(|name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

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

    #[test]
    fn the_environment_is_read_and_missing_variables_are_named() {
        let error = vars(&[]).unwrap_err().to_string();
        assert!(error.starts_with("AAP_URL: set it to"), "{error}");
        let error = vars(&[("AAP_URL", "https://x")]).unwrap_err().to_string();
        assert!(error.starts_with("AAP_TOKEN: "), "{error}");
        let error = vars(&[
            ("AAP_URL", "x"),
            ("AAP_TOKEN", "t"),
            ("AAP_INSECURE", "maybe"),
        ]);
        assert_eq!(
            error.unwrap_err().to_string(),
            "AAP_INSECURE: expected true or false"
        );
        let config = vars(&[
            ("AAP_URL", "https://x"),
            ("AAP_USERNAME", "u"),
            ("AAP_PASSWORD", "hunter22"),
            ("AAP_ENVELOPE", "a.b"),
            ("AAP_REQUEST_TIMEOUT", "45s"),
        ])
        .unwrap();
        assert_eq!(config.http.request_timeout, SignedDuration::from_secs(45));
        assert_eq!(config.envelope.path(), ["a", "b"]);
    }

    #[test]
    fn no_form_of_output_shows_a_secret() {
        let config = AapConfig::new(
            "https://me:pa55word@host/?token=t0psecret",
            Auth::token("s3cret-token"),
        )
        .with_extra_var("key", "other-secret");
        for text in [
            format!("{config}"),
            format!("{config:?}"),
            format!("{config:#?}"),
        ] {
            for secret in ["pa55word", "t0psecret", "s3cret-token", "other-secret"] {
                assert!(!text.contains(secret), "{text}");
            }
        }
        assert!(config.to_string().contains("at https://host/ as token ***"));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let base = || AapConfig::new("https://x", Auth::token("abcd"));
        assert!(base().validate().is_ok());
        let mut config = base();
        config.http.request_timeout = SignedDuration::from_secs(-1);
        assert!(
            config
                .validate()
                .unwrap_err()
                .to_string()
                .starts_with("http.requestTimeout: ")
        );
        let mut config = base();
        config.token_variable = "ansible_eda".to_owned();
        assert!(config.validate().is_err());
        assert!(
            AapConfig::new("https://x", Auth::token(""))
                .validate()
                .is_err()
        );
        let error =
            serde_json::from_str::<AapConfig>(r#"{"url": "x", "auth": {"token": "t"}, "typo": 1}"#);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("unknown field `typo`")
        );
    }
}
