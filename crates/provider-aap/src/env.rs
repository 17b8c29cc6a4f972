//! The configuration from the environment.

use std::path::PathBuf;

use jiff::SignedDuration;
use provider_core::Secret;
use serde::de::DeserializeOwned;

use crate::{AapConfig, Auth, ClientIdentity, ConfigError, TemplateName};

impl AapConfig {
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
    /// | `AAP_TOKEN`, or `AAP_TOKEN_FILE` | bearer token, or a file that holds it, which is read again when it changes |
    /// | `AAP_USERNAME`, `AAP_PASSWORD` (or `AAP_PASSWORD_FILE`) | instead of a token |
    /// | `AAP_NAME` | name of the provider in records (default `aap`) |
    /// | `AAP_ORGANIZATION` | organization of the templates |
    /// | `AAP_TEMPLATE_PREFIX` | templates are `PREFIX-create-KIND`, `PREFIX-delete-KIND`, `PREFIX-ACTION-KIND` (default: no prefix) |
    /// | `AAP_CREATE_TEMPLATE`, `AAP_DELETE_TEMPLATE` | one template for all kinds |
    /// | `AAP_ACTION_TEMPLATES` | templates of actions for all kinds, as JSON: `{"restart": NAME}` (default: none) |
    /// | `AAP_USED_ACTIONS` | actions whose templates the preflight looks for although nothing names them, with commas: `restart,resize` (default: none) |
    /// | `AAP_KIND_TEMPLATES` | templates of single kinds, as JSON: `{"Tenant": {"create": NAME, "delete": NAME, "actions": {"restart": NAME}, "usedActions": ["resize"]}}` |
    /// | `AAP_TARGET_TEMPLATES` | templates of single targets, as JSON: `{"east": {"prefix": TEXT, "create": NAME, "delete": NAME, "actions": {…}, "usedActions": […], "kinds": {…}}}` (default: none) |
    /// | `AAP_ENVELOPE` | `ansible_eda` (default), `osac_job_vars`, or a dotted path |
    /// | `AAP_CA_FILE` | PEM file to trust beside the system's certificates |
    /// | `AAP_CLIENT_CERT_FILE`, `AAP_CLIENT_KEY_FILE` | our certificate; the key may be in the same file |
    /// | `AAP_INSECURE` | `true` trusts any certificate |
    /// | `AAP_DIAGNOSE` | `false` looks into no failed job, and for no approval |
    /// | `AAP_PUSH` | `true` listens to the controller's websocket (feature `push`) |
    /// | `AAP_MAX_LAUNCHES` | how many launches are on their way at once (default 8) |
    /// | `AAP_BATCH_FROM`, `AAP_MAX_IN_FLIGHT` | from so many jobs on they are watched in pages, so many at once |
    /// | `AAP_BREAKER_FAILURES`, `AAP_BREAKER_PAUSE` | after how many failures nothing is asked, and how long |
    /// | `AAP_CONNECT_TIMEOUT`, `AAP_REQUEST_TIMEOUT`, `AAP_CANCEL_TIMEOUT`, `AAP_POLL_INTERVAL`, `AAP_TEMPLATE_CACHE`, `AAP_VISIBILITY_WINDOW`, `AAP_CONFIRM_WINDOW`, `AAP_CONFIRM_LIMIT` | durations such as `45s` or `2m` |
    ///
    /// Blanks, line ends and quotes around a value are taken off.
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
        let secret = |name: &str, of_file: &'static str| match (get(name), get(of_file)) {
            (Some(text), _) => Ok(Some(Secret::from(text))),
            (None, Some(file)) => {
                let file = Secret::of_file(provider_core::settings::tidied(of_file, &file));
                let read = file.read();
                read.map_err(|error| ConfigError::new(of_file, &error.to_string()))?;
                Ok(Some(file))
            }
            (None, None) => Ok(None),
        };
        let token = secret("AAP_TOKEN", "AAP_TOKEN_FILE")?;
        let password = secret("AAP_PASSWORD", "AAP_PASSWORD_FILE")?;
        let auth = match (token, get("AAP_USERNAME"), password) {
            (Some(token), ..) => Auth::token(token),
            (None, Some(username), Some(password)) => Auth::basic(username, password),
            _ => {
                return Err(missing(
                    "AAP_TOKEN",
                    "set it to a personal access token, or set AAP_USERNAME and AAP_PASSWORD",
                ));
            }
        };
        let flag_or = |name: &'static str, otherwise| match get(name).as_deref().map(str::trim) {
            None => Ok(otherwise),
            Some("true" | "1" | "yes") => Ok(true),
            Some("false" | "0" | "no") => Ok(false),
            Some(_) => Err(ConfigError::new(name, "expected true or false")),
        };
        let flag = |name| flag_or(name, false);
        let duration = |name: &'static str, otherwise: SignedDuration| match get(name) {
            None => Ok(otherwise),
            Some(text) => text
                .trim()
                .parse()
                .map_err(|_| ConfigError::new(name, "expected a duration such as 45s or 2m")),
        };
        let count = |name: &'static str, otherwise: u32| match get(name) {
            None => Ok(otherwise),
            Some(text) => text
                .trim()
                .parse()
                .map_err(|_| ConfigError::new(name, "expected a whole number")),
        };
        let mut config = Self::new(url, auth);
        if let Some(name) = get("AAP_NAME") {
            config.name = name;
        }
        config.organization = get("AAP_ORGANIZATION");
        config.templates.prefix = get("AAP_TEMPLATE_PREFIX").unwrap_or_default();
        config.templates.create = get("AAP_CREATE_TEMPLATE").map(TemplateName::new);
        config.templates.delete = get("AAP_DELETE_TEMPLATE").map(TemplateName::new);
        let templates = &mut config.templates;
        if let Some(actions) = get("AAP_ACTION_TEMPLATES") {
            templates.actions = json("AAP_ACTION_TEMPLATES", &actions, "{\"restart\": NAME}")?;
        }
        if let Some(kinds) = get("AAP_KIND_TEMPLATES") {
            let form = "{\"Tenant\": {\"create\": NAME, \"delete\": NAME}}";
            templates.kinds = json("AAP_KIND_TEMPLATES", &kinds, form)?;
        }
        if let Some(targets) = get("AAP_TARGET_TEMPLATES") {
            let form = "{\"east\": {\"create\": NAME, \"delete\": NAME}}";
            templates.targets = json("AAP_TARGET_TEMPLATES", &targets, form)?;
        }
        if let Some(actions) = get("AAP_USED_ACTIONS") {
            let field = "AAP_USED_ACTIONS";
            let names = provider_core::settings::tidied(field, &actions).split(',');
            let names = names.map(str::trim).filter(|name| !name.is_empty());
            templates.used_actions = names
                .map(str::parse)
                .collect::<Result<_, _>>()
                .map_err(|_| ConfigError::new(field, "expected actions such as restart,resize"))?;
        }
        if let Some(envelope) = get("AAP_ENVELOPE") {
            config.envelope = envelope.parse().map_err(|_| {
                ConfigError::new(
                    "AAP_ENVELOPE",
                    "expected ansible_eda, osac_job_vars, or a dotted path",
                )
            })?;
        }
        config.http.ca_file = get("AAP_CA_FILE").map(PathBuf::from);
        config.http.client_identity = get("AAP_CLIENT_CERT_FILE").map(|certificate| {
            let key = get("AAP_CLIENT_KEY_FILE");
            ClientIdentity::Files {
                key: PathBuf::from(key.unwrap_or_else(|| certificate.clone())),
                certificate: PathBuf::from(certificate),
            }
        });
        config.http.insecure = flag("AAP_INSECURE")?;
        config.diagnose = flag_or("AAP_DIAGNOSE", config.diagnose)?;
        let push = flag("AAP_PUSH")?;
        #[cfg(feature = "push")]
        {
            config.push = push;
        }
        #[cfg(not(feature = "push"))]
        if push {
            let what = "this program was built without the feature push of provider-aap";
            return Err(ConfigError::new("AAP_PUSH", what));
        }
        let http = &mut config.http;
        http.connect_timeout = duration("AAP_CONNECT_TIMEOUT", http.connect_timeout)?;
        http.request_timeout = duration("AAP_REQUEST_TIMEOUT", http.request_timeout)?;
        let monitor = &mut config.monitor;
        monitor.batch_from = count("AAP_BATCH_FROM", monitor.batch_from)?;
        monitor.max_in_flight = count("AAP_MAX_IN_FLIGHT", monitor.max_in_flight)?;
        monitor.breaker_failures = count("AAP_BREAKER_FAILURES", monitor.breaker_failures)?;
        monitor.breaker_pause = duration("AAP_BREAKER_PAUSE", monitor.breaker_pause)?;
        if let Some(launches) = get("AAP_MAX_LAUNCHES") {
            let launches = launches
                .trim()
                .parse()
                .ok()
                .filter(|launches| *launches > 0);
            let field = "AAP_MAX_LAUNCHES";
            config.max_launches =
                launches.ok_or_else(|| ConfigError::new(field, "expected a number above 0"))?;
        }
        let timing = &mut config.timing;
        timing.cancel_timeout = duration("AAP_CANCEL_TIMEOUT", timing.cancel_timeout)?;
        timing.template_cache = duration("AAP_TEMPLATE_CACHE", timing.template_cache)?;
        timing.poll_interval = duration("AAP_POLL_INTERVAL", timing.poll_interval)?;
        timing.visibility_window = duration("AAP_VISIBILITY_WINDOW", timing.visibility_window)?;
        timing.confirm_window = duration("AAP_CONFIRM_WINDOW", timing.confirm_window)?;
        timing.confirm_limit = duration("AAP_CONFIRM_LIMIT", timing.confirm_limit)?;
        Ok(config)
    }
}

/// What is refused is not repeated.
fn json<T: DeserializeOwned>(
    field: &'static str,
    text: &str,
    form: &str,
) -> Result<T, ConfigError> {
    serde_json::from_str(text)
        .map_err(|_| ConfigError::new(field, &format!("expected JSON such as {form}")))
}

#[cfg(test)]
mod tests {
    use provider_core::{ActionName, JobType};

    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Result<AapConfig, ConfigError> {
        AapConfig::from_vars(|name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
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
    fn failed_jobs_are_looked_into_unless_it_is_said_otherwise() {
        let with = |value: &[(&str, &str)]| {
            let pairs = [&[("AAP_URL", "https://x"), ("AAP_TOKEN", "abcd")], value].concat();
            vars(&pairs).unwrap().diagnose
        };
        assert!(with(&[]) && with(&[("AAP_DIAGNOSE", "true")]));
        assert!(!with(&[("AAP_DIAGNOSE", "false")]));
        let settings = serde_json::json!({"url": "https://x", "auth": {"token": "abcd"}});
        let config: AapConfig = serde_json::from_value(settings).unwrap();
        assert!(config.diagnose);
    }

    #[test]
    fn every_setting_of_a_deployment_has_a_variable() {
        let config = vars(&[
            ("AAP_URL", "https://x"),
            ("AAP_TOKEN", "abcd"),
            (
                "AAP_KIND_TEMPLATES",
                r#"{"Tenant": {"create": "t", "delete": {"name": "u", "organization": "o"}}}"#,
            ),
            ("AAP_ACTION_TEMPLATES", r#"{"restart": "bounce"}"#),
            ("AAP_USED_ACTIONS", " resize, stop ,"),
            ("AAP_TARGET_TEMPLATES", r#"{"east": {"prefix": "east"}}"#),
            ("AAP_BATCH_FROM", "100"),
            ("AAP_MAX_IN_FLIGHT", "2"),
            ("AAP_BREAKER_FAILURES", "9"),
            ("AAP_BREAKER_PAUSE", "1m"),
            ("AAP_CLIENT_CERT_FILE", "/tls/both.pem"),
            ("AAP_CANCEL_TIMEOUT", "50s"),
        ])
        .unwrap();
        let tenant = &config.templates.kinds["Tenant"];
        assert_eq!(tenant.create, Some(TemplateName::new("t")));
        assert_eq!(
            tenant.delete.as_ref().unwrap().organization.as_deref(),
            Some("o")
        );
        let name = |job_type, target| config.templates.name(job_type, "Pool", target).name;
        let restart = ActionName::new("restart").unwrap();
        assert_eq!(name(JobType::Action(restart), None), "bounce");
        assert_eq!(name(JobType::Provision, Some("east")), "east-create-pool");
        let used: Vec<&str> = config
            .templates
            .used_actions
            .iter()
            .map(ActionName::as_str)
            .collect();
        assert_eq!(used, ["resize", "stop"]);
        let monitor = &config.monitor;
        assert_eq!(
            (
                monitor.batch_from,
                monitor.max_in_flight,
                monitor.breaker_failures
            ),
            (100, 2, 9)
        );
        assert_eq!(monitor.breaker_pause, SignedDuration::from_mins(1));
        assert_eq!(config.timing.cancel_timeout, SignedDuration::from_secs(50));
        assert!(
            matches!(&config.http.client_identity, Some(ClientIdentity::Files { certificate, key })
            if certificate == key)
        );
        for name in [
            "AAP_KIND_TEMPLATES",
            "AAP_ACTION_TEMPLATES",
            "AAP_TARGET_TEMPLATES",
            "AAP_USED_ACTIONS",
        ] {
            let error = vars(&[("AAP_URL", "x"), ("AAP_TOKEN", "t"), (name, "S3cret")]);
            let error = error.unwrap_err().to_string();
            let expected = format!("{name}: expected ");
            assert!(
                error.starts_with(&expected) && !error.contains("S3cret"),
                "{error}"
            );
        }
    }
}
