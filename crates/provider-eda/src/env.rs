//! The configuration from variables.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::SignedDuration;
use provider_core::Secret;
use provider_core::settings::tidied;
use serde::de::DeserializeOwned;

use crate::{
    Activation, Algorithm, AuditTracking, ClientIdentity, ConfigError, EdaConfig, Encoding,
    Endpoints, EventStream, Hmac, RulebookWebhook, StreamAuth, Tracking, Transport,
};

/// Variables with a look at them; blank ones count as absent.
struct Vars<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Vars<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.trim().is_empty())
    }

    fn required(&self, name: &str, what: &str) -> Result<String, ConfigError> {
        self.get(name).ok_or_else(|| ConfigError::new(name, what))
    }

    /// A secret, given itself or as a file (`NAME_FILE`), which is read again when it changes.
    fn secret(&self, name: &str) -> Result<Option<Secret>, ConfigError> {
        if let Some(value) = self.get(name) {
            return Ok(Some(value.into()));
        }
        let of_file = format!("{name}_FILE");
        let Some(file) = self.get(&of_file) else {
            return Ok(None);
        };
        let secret = Secret::of_file(tidied(&of_file, &file));
        let read = secret.read();
        read.map_err(|error| ConfigError::new(&of_file, &error.to_string()))?;
        Ok(Some(secret))
    }

    fn flag(&self, name: &str) -> Result<bool, ConfigError> {
        match self.get(name).as_deref().map(str::trim) {
            None | Some("false" | "0" | "no") => Ok(false),
            Some("true" | "1" | "yes") => Ok(true),
            Some(_) => Err(ConfigError::new(name, "expected true or false")),
        }
    }

    fn duration(&self, name: &str, into: &mut SignedDuration) -> Result<(), ConfigError> {
        if let Some(text) = self.get(name) {
            *into = text
                .trim()
                .parse()
                .map_err(|_| ConfigError::new(name, "expected a duration such as 45s or 2m"))?;
        }
        Ok(())
    }

    fn count(&self, name: &str, into: &mut u32) -> Result<(), ConfigError> {
        if let Some(text) = self.get(name) {
            *into = text
                .trim()
                .parse()
                .map_err(|_| ConfigError::new(name, "expected a whole number"))?;
        }
        Ok(())
    }

    /// URLs of single kinds or targets, as JSON.
    fn urls<T: DeserializeOwned>(
        &self,
        name: &str,
        what: &str,
    ) -> Result<BTreeMap<String, T>, ConfigError> {
        let Some(text) = self.get(name) else {
            return Ok(BTreeMap::new());
        };
        // The parser's error is not repeated: a URL may hold a secret.
        serde_json::from_str(&text).map_err(|_| ConfigError::new(name, what))
    }

    /// The URL and the token of the EDA server's own API.
    fn api(&self, why: &str) -> Result<(String, Secret), ConfigError> {
        let url = self.required("EDA_API_URL", why)?;
        let token = self.secret("EDA_API_TOKEN")?;
        let token = token.ok_or_else(|| ConfigError::new("EDA_API_TOKEN", why))?;
        Ok((url, token))
    }

    fn api_username(&self) -> Option<String> {
        let name = self.get("EDA_API_USERNAME")?;
        Some(name.trim().to_owned())
    }

    fn tracking(&self) -> Result<Option<Tracking>, ConfigError> {
        match self.get("EDA_TRACKING").as_deref().map(str::trim) {
            None => Ok(None),
            Some("audit") => {
                let (url, token) = self.api("EDA_TRACKING=audit needs it")?;
                let mut audit = AuditTracking::new(url, token);
                audit.username = self.api_username();
                Ok(Some(audit.into()))
            }
            #[cfg(feature = "aap")]
            Some("jobs") => {
                let aap = provider_aap::AapConfig::from_vars(self.0);
                let aap = aap.map_err(|error| crate::backend::of_aap(&error))?;
                let mut jobs = crate::JobTracking::new(aap);
                if let Some(label) = self.get("EDA_TRACKING_LABEL") {
                    label.trim().clone_into(&mut jobs.label);
                }
                Ok(Some(jobs.into()))
            }
            #[cfg(not(feature = "aap"))]
            Some("jobs") => Err(ConfigError::new(
                "EDA_TRACKING",
                "this program was built without provider-eda's feature aap",
            )),
            Some(_) => Err(ConfigError::new("EDA_TRACKING", "expected jobs or audit")),
        }
    }

    fn hmac(&self) -> Result<Option<Hmac>, ConfigError> {
        let Some(secret) = self.secret("EDA_HMAC_SECRET")? else {
            return Ok(None);
        };
        let mut hmac = Hmac::new(secret);
        if let Some(header) = self.get("EDA_HMAC_HEADER") {
            header.trim().clone_into(&mut hmac.header);
        }
        hmac.encoding = match self.get("EDA_HMAC_ENCODING").as_deref().map(str::trim) {
            None => None,
            Some("hex") => Some(Encoding::Hex),
            Some("base64") => Some(Encoding::Base64),
            Some(_) => {
                return Err(ConfigError::new(
                    "EDA_HMAC_ENCODING",
                    "expected hex or base64",
                ));
            }
        };
        hmac.algorithm = match self.get("EDA_HMAC_ALGORITHM").as_deref().map(str::trim) {
            None | Some("sha256") => Algorithm::Sha256,
            Some("sha1") => Algorithm::Sha1,
            Some("sha384") => Algorithm::Sha384,
            Some("sha512") => Algorithm::Sha512,
            Some(_) => {
                return Err(ConfigError::new(
                    "EDA_HMAC_ALGORITHM",
                    "expected sha1, sha256, sha384 or sha512",
                ));
            }
        };
        // Set to nothing, it means "no prefix", which is not the same as not set.
        hmac.prefix = (self.0)("EDA_HMAC_PREFIX");
        Ok(Some(hmac))
    }

    fn stream_auth(&self) -> Result<StreamAuth, ConfigError> {
        if let Some(hmac) = self.hmac()? {
            return Ok(StreamAuth::Hmac(hmac));
        }
        if let Some(token) = self.secret("EDA_TOKEN")? {
            let mut auth = StreamAuth::token(token);
            if let (StreamAuth::Token { header, .. }, Some(other)) =
                (&mut auth, self.get("EDA_TOKEN_HEADER"))
            {
                other.trim().clone_into(header);
            }
            return Ok(auth);
        }
        if let (Some(username), Some(password)) =
            (self.get("EDA_USERNAME"), self.secret("EDA_PASSWORD")?)
        {
            return Ok(StreamAuth::basic(username, password));
        }
        if self.get("EDA_CLIENT_CERT_FILE").is_some() {
            return Ok(StreamAuth::ClientCertificate);
        }
        Err(ConfigError::new(
            "EDA_TOKEN",
            "an event stream needs EDA_TOKEN, EDA_HMAC_SECRET, EDA_USERNAME and EDA_PASSWORD, or \
             EDA_CLIENT_CERT_FILE",
        ))
    }
}

impl EdaConfig {
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
    /// | `EDA_TRANSPORT` | `rulebook-webhook` or `event-stream` (required) |
    /// | `EDA_CREATE_URL`, `EDA_DELETE_URL` | where events go (required); `{kind}` becomes the kind |
    /// | `EDA_ACTION_URL` | where the events of actions go; `{action}` becomes the action, `{kind}` the kind (default: none, so there are no actions) |
    /// | `EDA_KIND_URLS` | URLs of single kinds, as JSON: `{"Tenant": {"create": URL, "delete": URL, "actions": {"restart": URL}}}` (default: none) |
    /// | `EDA_TARGET_URLS` | URLs of single targets, as JSON: `{"dns": {"create": URL, "delete": URL}}`, with `actions` and `kinds` as well (default: none) |
    /// | `EDA_TOKEN`, or `EDA_TOKEN_FILE` | bearer token, or a file that holds it, which is read again when it changes, as that of every secret |
    /// | `EDA_TOKEN_HEADER` | header of an event stream's token (default `Authorization`) |
    /// | `EDA_HMAC_SECRET`, or `EDA_HMAC_SECRET_FILE` | secret of the signature |
    /// | `EDA_HMAC_HEADER` | its header (default `X-Hub-Signature-256`) |
    /// | `EDA_HMAC_ENCODING` | `hex` or `base64` (default: hex for a webhook, base64 for a stream) |
    /// | `EDA_HMAC_ALGORITHM` | `sha1`, `sha256` (default), `sha384` or `sha512` |
    /// | `EDA_HMAC_PREFIX` | what stands before the digest (default: `sha256=` or nothing) |
    /// | `EDA_USERNAME`, `EDA_PASSWORD` (or `_FILE`) | basic authentication of an event stream |
    /// | `EDA_CLIENT_CERT_FILE`, `EDA_CLIENT_KEY_FILE` | our certificate; the key may be in the same file |
    /// | `EDA_CA_FILE` | PEM file to trust beside the system's certificates |
    /// | `EDA_INSECURE` | `true` trusts any certificate (default `false`) |
    /// | `EDA_NAME` | name of the provider in records (default `eda`) |
    /// | `EDA_ENVELOPE` | member of the payload for what is ours (default `providerEvent`) |
    /// | `EDA_VERSION_ANNOTATION` | annotation with the version that was applied; `{group}` becomes the object's API group, `{kind}` its kind (default `{group}/reconciled-config-version`) |
    /// | `EDA_OPERATION_ANNOTATION` | annotation with the operation that was worked off: the sign of the end of an action (default `{group}/reconciled-operation`) |
    /// | `EDA_FINALIZER` | finalizer of the automation (default `{group}/{kind}-aap`) |
    /// | `EDA_API_URL`, `EDA_API_TOKEN` (or `_FILE`), `EDA_ACTIVATION` | the activation behind the events, for the preflight and for messages |
    /// | `EDA_API_USERNAME` | the user of an EDA server without a gateway (Basic); `EDA_API_TOKEN` is then the password |
    /// | `EDA_TRACKING` | `jobs`: by label on the controller of `AAP_URL` and the other `AAP_…` variables (feature `aap`); `audit`: in the audit of `EDA_API_URL` |
    /// | `EDA_TRACKING_LABEL` | the label of the jobs (default `event-{token}`; `{uid}` for the object's) |
    /// | `EDA_MAX_IN_FLIGHT` | events on their way at once (default 10) |
    /// | `EDA_BREAKER_FAILURES`, `EDA_BREAKER_PAUSE` | after how many sendings that found no service nothing is sent, and how long (default 5, `30s`) |
    /// | `EDA_MIN_INTERVAL`, `EDA_POLL_INTERVAL` | durations such as `45s` or `2m` (default `30s`, `15s`) |
    /// | `EDA_CONNECT_TIMEOUT`, `EDA_REQUEST_TIMEOUT` | the same (default `10s`, `30s`) |
    /// | `EDA_IN_FLIGHT_WINDOW`, `EDA_DEPROVISION_LIMIT` | the same (default `15m`, `2h`) |
    ///
    /// # Errors
    /// When a required variable is missing or one cannot be read; the error names it.
    pub fn from_vars(vars: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let vars = Vars(&vars);
        let is_stream = match vars
            .required(
                "EDA_TRANSPORT",
                "set it to rulebook-webhook or event-stream",
            )?
            .trim()
        {
            "rulebook-webhook" => false,
            "event-stream" => true,
            _ => {
                return Err(ConfigError::new(
                    "EDA_TRANSPORT",
                    "expected rulebook-webhook or event-stream",
                ));
            }
        };
        let mut urls = Endpoints::new(
            vars.required("EDA_CREATE_URL", "set it to the URL for creation")?,
            vars.required("EDA_DELETE_URL", "set it to the URL for deletion")?,
        );
        urls.action = vars.get("EDA_ACTION_URL");
        urls.kinds = vars.urls(
            "EDA_KIND_URLS",
            "expected JSON such as {\"Tenant\": {\"create\": URL, \"delete\": URL, \"actions\": {\"restart\": URL}}}",
        )?;
        urls.targets = vars.urls(
            "EDA_TARGET_URLS",
            "expected JSON such as {\"dns\": {\"create\": URL, \"delete\": URL, \"kinds\": {}}}",
        )?;
        let transport = if is_stream {
            Transport::from(EventStream::new(urls, vars.stream_auth()?))
        } else {
            let mut webhook = RulebookWebhook::new(urls);
            webhook.token = vars.secret("EDA_TOKEN")?;
            webhook.hmac = vars.hmac()?;
            webhook.into()
        };
        let mut config = Self::new(transport);
        for (name, into) in [
            ("EDA_NAME", &mut config.name),
            ("EDA_ENVELOPE", &mut config.envelope),
            (
                "EDA_VERSION_ANNOTATION",
                &mut config.completion.version_annotation,
            ),
            (
                "EDA_OPERATION_ANNOTATION",
                &mut config.completion.operation_annotation,
            ),
            ("EDA_FINALIZER", &mut config.completion.finalizer),
        ] {
            if let Some(value) = vars.get(name) {
                *into = value.trim().to_owned();
            }
        }
        vars.duration("EDA_CONNECT_TIMEOUT", &mut config.http.connect_timeout)?;
        config.http.ca_file = vars.get("EDA_CA_FILE").map(PathBuf::from);
        config.http.insecure = vars.flag("EDA_INSECURE")?;
        config.http.client_identity = vars.get("EDA_CLIENT_CERT_FILE").map(|certificate| {
            let key = vars.get("EDA_CLIENT_KEY_FILE");
            ClientIdentity::Files {
                key: PathBuf::from(key.unwrap_or_else(|| certificate.clone())),
                certificate: PathBuf::from(certificate),
            }
        });
        if let Some(name) = vars.get("EDA_ACTIVATION") {
            let (url, token) = vars.api("EDA_ACTIVATION needs it")?;
            let mut activation = Activation::new(url, token, name.trim());
            activation.username = vars.api_username();
            config.activation = Some(activation);
        }
        config.tracking = vars.tracking()?;
        vars.count("EDA_MAX_IN_FLIGHT", &mut config.pacing.max_in_flight)?;
        vars.count("EDA_BREAKER_FAILURES", &mut config.pacing.breaker_failures)?;
        vars.duration("EDA_BREAKER_PAUSE", &mut config.pacing.breaker_pause)?;
        vars.duration("EDA_MIN_INTERVAL", &mut config.pacing.min_interval)?;
        vars.duration("EDA_REQUEST_TIMEOUT", &mut config.http.request_timeout)?;
        vars.duration("EDA_POLL_INTERVAL", &mut config.timing.poll_interval)?;
        vars.duration("EDA_IN_FLIGHT_WINDOW", &mut config.timing.in_flight_window)?;
        vars.duration(
            "EDA_DEPROVISION_LIMIT",
            &mut config.timing.deprovision_limit,
        )?;
        Ok(config)
    }
}
