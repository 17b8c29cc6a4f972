//! Where the controller is, who we are there, and which templates do the work.

use jiff::SignedDuration;
use provider_core::settings::{line, tidied};
use provider_core::{ActionName, Projection, SecretString};
use provider_http::HttpConfig;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{ConfigError, Envelope, MonitorConfig, TargetTemplates, TemplateName, Templates};

mod auth;
mod shown;

pub use auth::Auth;

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
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
pub struct AapConfig {
    /// The name of this provider in records and logs: at most 63 characters, and never changed
    /// while records exist. Default: `aap`.
    #[serde(default = "default_name")]
    pub name: String,
    /// The controller's URL: a bare host (`https` is assumed), or with the path of its API, of one place in
    /// it, or of the web interface, with or without a slash at the end.
    pub url: String,
    /// Who we are.
    pub auth: Auth,
    /// Connections. Default: those of [`HttpConfig`].
    #[serde(default)]
    pub http: HttpConfig,
    /// The organization whose templates are meant, unless a template names its own. Default: none.
    #[serde(default)]
    pub organization: Option<String>,
    /// Which template does what. Default: none, so that something has to be named.
    #[serde(default)]
    pub templates: Templates,
    /// Where in `extra_vars` the object is put. Default: `ansible_eda`, that is `ansible_eda.event.payload`.
    #[serde(default)]
    pub envelope: Envelope,
    /// What of the object is sent. Default: all but its status and its managed fields.
    #[serde(default)]
    pub projection: Projection,
    /// The extra variable that carries the operation token. Default: `provider_operation_token`.
    #[serde(default = "default_token_variable")]
    pub token_variable: String,
    /// Extra variables that go with every launch. Default: none.
    #[serde(default)]
    pub extra_vars: Map<String, Value>,
    /// Whether a job that has failed is looked into, and the approvals that a workflow waits for are told:
    /// some requests more when a job has failed (once, a dozen at most), and one now and then while a
    /// workflow runs. Default: on.
    ///
    /// What a failed task says, and the last lines of the output, then stand in the object's status. Our
    /// credentials are masked in them, and the texts among the caller's extra variables, as the job itself
    /// still tells them. What a playbook has from elsewhere, or makes of a variable, cannot be known. Tasks
    /// that could print it need `no_log`, which is respected here.
    #[serde(default = "default_diagnose")]
    pub diagnose: bool,
    /// Times. Default: those of [`Timing`], which suit a controller of usual size.
    #[serde(default)]
    pub timing: Timing,
    /// How many launches are on their way at once; others wait for their turn. A controller has a handful
    /// of web workers, and a launch that waits for one of them too long is a launch in doubt. Default: 8.
    #[serde(default = "default_max_launches")]
    pub max_launches: u32,
    /// How jobs are watched together. Default: as in [`MonitorConfig`].
    #[serde(default)]
    pub monitor: MonitorConfig,
    /// Whether [`Provider::wake_ups`](provider_core::Provider::wake_ups) listens to the controller's
    /// websocket, so that an end is known within a second. Default: off.
    #[cfg(feature = "push")]
    #[serde(default)]
    pub push: bool,
}

fn default_name() -> String {
    "aap".to_owned()
}

fn default_token_variable() -> String {
    "provider_operation_token".to_owned()
}

const fn default_diagnose() -> bool {
    true
}

const fn default_max_launches() -> u32 {
    8
}

provider_core::guarded_settings!(AapConfig, Timing);

/// Times of the provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct Timing {
    /// Proposed time between two polls of a job. Default: 15s.
    pub poll_interval: SignedDuration,
    /// How long a cancel may take: a controller whose dispatcher does not answer takes 10 s and
    /// more (AWX 24.6.1), so at least 30 s. Default: 45s.
    pub cancel_timeout: SignedDuration,
    /// How long a found template is remembered. Default: 5m.
    pub template_cache: SignedDuration,
    /// How long after an unanswered launch its job may still turn up: the read time-out of the
    /// controller's web server is 120 s (AWX 24.6.1). Default: 3m.
    pub visibility_window: SignedDuration,
    /// How long a `canceled` of a job that had started is doubted at least: the status can be set
    /// while the playbook runs on (AWX 24.6.1). Default: 1m.
    pub confirm_window: SignedDuration,
    /// How long it is doubted at most, while the controller still counts events of the job. Default: 15m.
    pub confirm_limit: SignedDuration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            poll_interval: SignedDuration::from_secs(15),
            cancel_timeout: SignedDuration::from_secs(45),
            template_cache: SignedDuration::from_mins(5),
            visibility_window: SignedDuration::from_mins(3),
            confirm_window: SignedDuration::from_mins(1),
            confirm_limit: SignedDuration::from_mins(15),
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
            diagnose: default_diagnose(),
            timing: Timing::default(),
            max_launches: default_max_launches(),
            monitor: MonitorConfig::default(),
            #[cfg(feature = "push")]
            push: false,
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

    /// Templates named `PREFIX-create-KIND`, `PREFIX-delete-KIND` and `PREFIX-ACTION-KIND`.
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

    /// An action that is used on every kind: the preflight looks for its template.
    #[must_use]
    pub fn with_used_action(mut self, action: ActionName) -> Self {
        self.templates.used_actions.insert(action);
        self
    }

    /// The template that does this to every kind.
    #[must_use]
    pub fn with_action_template(mut self, action: ActionName, template: TemplateName) -> Self {
        self.templates.actions.insert(action, template);
        self
    }

    /// Templates for one of several targets of an object.
    #[must_use]
    pub fn with_target(mut self, target: impl Into<String>, templates: TargetTemplates) -> Self {
        self.templates.targets.insert(target.into(), templates);
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

    /// With failed jobs looked into, as they are anyway.
    #[must_use]
    pub fn with_diagnosis(mut self) -> Self {
        self.diagnose = true;
        self
    }

    /// Without looking into failed jobs, and without asking for approvals.
    #[must_use]
    pub fn without_diagnosis(mut self) -> Self {
        self.diagnose = false;
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

    /// Another number of launches at once.
    #[must_use]
    pub fn with_max_launches(mut self, launches: u32) -> Self {
        self.max_launches = launches;
        self
    }

    /// Another way of watching many jobs.
    #[must_use]
    pub fn with_monitor(mut self, monitor: MonitorConfig) -> Self {
        self.monitor = monitor;
        self
    }

    /// With ends of jobs told by the controller's websocket.
    #[cfg(feature = "push")]
    #[must_use]
    pub fn with_push(mut self) -> Self {
        self.push = true;
        self
    }

    /// As it is meant: without what surrounds texts that come from files and Secrets. Refuses what cannot
    /// work, before the first request.
    pub(crate) fn checked(mut self) -> Result<Self, ConfigError> {
        self.tidy()?;
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
            ("timing.pollInterval", self.timing.poll_interval, 1),
            ("timing.cancelTimeout", self.timing.cancel_timeout, 1),
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
        if self.templates.reserved_action().is_some() {
            return refuse(
                "templates.usedActions",
                "by convention create and delete are no actions: name a template for this one under actions",
            );
        }
        if self.max_launches == 0 {
            return refuse("maxLaunches", "expected 1 or more");
        }
        Ok(self)
    }

    fn tidy(&mut self) -> Result<(), ConfigError> {
        self.auth.tidy()?;
        self.http.tidy()?;
        let of_template = |name: &mut TemplateName| {
            let TemplateName {
                name, organization, ..
            } = name;
            tidy_text("templates", name)?;
            organization
                .as_mut()
                .map_or(Ok(()), |of| tidy_text("templates", of))
        };
        let templates = &mut self.templates;
        templates
            .names_mut()
            .into_iter()
            .try_for_each(of_template)?;
        for target in templates.targets.values_mut() {
            if let Some(prefix) = &mut target.prefix {
                tidy_text("templates.targets.prefix", prefix)?;
            }
        }
        for (field, text) in [
            ("name", &mut self.name),
            ("url", &mut self.url),
            ("templates.prefix", &mut templates.prefix),
            ("tokenVariable", &mut self.token_variable),
        ] {
            tidy_text(field, text)?;
        }
        self.organization
            .as_mut()
            .map_or(Ok(()), |of| tidy_text("organization", of))
    }
}

fn tidy_text(field: &str, text: &mut String) -> Result<(), ConfigError> {
    let tidy = tidied(field, text);
    if tidy.len() != text.len() {
        *text = tidy.to_owned();
    }
    line(field, text)
}

pub(crate) fn secret(secret: &SecretString) -> &str {
    use secrecy::ExposeSecret;
    secret.expose_secret()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_name_of_a_template_is_freed_of_what_surrounds_it() {
        let names = json!({"create": " c\n", "delete": "'d'", "actions": {"restart": " r\n"}});
        let mut templates = names.clone();
        templates["kinds"] = json!({"Tenant": names});
        templates["targets"] = json!({"east": templates});
        templates["targets"]["east"]["prefix"] = json!(" p\n");
        let mut config = AapConfig::new("https://x", Auth::token("abcd"));
        config.templates = serde_json::from_str(&templates.to_string()).unwrap();
        let mut config = config.checked().unwrap();
        let names = config.templates.names_mut();
        assert_eq!(names.len(), 12);
        assert!(names.iter().all(|name| name.name.len() == 1), "{names:?}");
        assert_eq!(
            config.templates.targets["east"].prefix.as_deref(),
            Some("p")
        );
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let base = || AapConfig::new("https://x", Auth::token("abcd"));
        assert!(base().checked().is_ok());
        let mut config = base();
        config.http.request_timeout = SignedDuration::from_secs(-1);
        assert!(
            config
                .checked()
                .unwrap_err()
                .to_string()
                .starts_with("http.requestTimeout: ")
        );
        let delete = ActionName::new("delete").unwrap();
        let error = base().with_used_action(delete).checked().unwrap_err();
        assert!(error.to_string().starts_with("templates.usedActions: "));
        let mut config = base();
        config.token_variable = "ansible_eda".to_owned();
        assert!(config.checked().is_err());
        assert!(
            AapConfig::new("https://x", Auth::token(""))
                .checked()
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
