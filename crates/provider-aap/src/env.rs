//! The configuration from the environment.

use std::path::PathBuf;

use jiff::SignedDuration;

use crate::{AapConfig, Auth, ConfigError, TemplateName};

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
    /// | `AAP_PUSH` | `true` listens to the controller's websocket (feature `push`) |
    /// | `AAP_MAX_LAUNCHES` | how many launches are on their way at once (default 8) |
    /// | `AAP_REQUEST_TIMEOUT`, `AAP_POLL_INTERVAL`, `AAP_VISIBILITY_WINDOW`, `AAP_CONFIRM_WINDOW`, `AAP_CONFIRM_LIMIT` | durations such as `45s` or `2m` |
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
        config.http.request_timeout = duration("AAP_REQUEST_TIMEOUT", config.http.request_timeout)?;
        let timing = &mut config.timing;
        timing.poll_interval = duration("AAP_POLL_INTERVAL", timing.poll_interval)?;
        timing.visibility_window = duration("AAP_VISIBILITY_WINDOW", timing.visibility_window)?;
        timing.confirm_window = duration("AAP_CONFIRM_WINDOW", timing.confirm_window)?;
        timing.confirm_limit = duration("AAP_CONFIRM_LIMIT", timing.confirm_limit)?;
        Ok(config)
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
}
