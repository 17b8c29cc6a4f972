//! Whether the activation behind the events is running, asked at the EDA server's own API.

use provider_core::{Effect, ErrorKind, Preflight, ProviderError, Secret, text};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::ConfigError;
use crate::client::Client;

/// The activation that works off our events, for [`preflight`](provider_core::Provider::preflight).
#[derive(Debug, Clone, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
pub struct Activation {
    /// The EDA server, or the gateway in front of it: scheme and host.
    pub url: String,
    /// A token of the gateway, or of the EDA server where there is no gateway.
    pub token: Secret,
    /// The activation's name.
    pub name: String,
}

provider_core::guarded_settings!(Activation);

impl Activation {
    /// An activation by its name.
    #[must_use]
    pub fn new(url: impl Into<String>, token: impl Into<Secret>, name: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: token.into(),
            name: name.into(),
        }
    }

    /// The list that holds it.
    pub(crate) fn list(&self) -> Result<Url, ConfigError> {
        let mut url = api(&self.url, "activations/", "activation.url")?;
        // The server looks for names that contain this one.
        url.query_pairs_mut()
            .append_pair("name", &self.name)
            .append_pair("page_size", "200");
        Ok(url)
    }
}

/// A place in the API of the EDA server at this URL.
pub(crate) fn api(server: &str, path: &str, field: &str) -> Result<Url, ConfigError> {
    let refuse = || ConfigError::new(field, "expected https://host");
    let base = Url::parse(server.trim()).map_err(|_| refuse())?;
    let url = base.join("/api/eda/v1/").map_err(|_| refuse())?;
    if !matches!(url.scheme(), "http" | "https") || !base.username().is_empty() {
        return Err(refuse());
    }
    url.join(path).map_err(|_| refuse())
}

/// What the API of the EDA server answered.
pub(crate) fn read<T: DeserializeOwned>(
    status: u16,
    body: &[u8],
    what: &str,
) -> Result<T, ProviderError> {
    let failed = |kind, text: String, advice: &str| {
        ProviderError::new(Effect::Rejected, kind, text).with_advice(advice)
    };
    match status {
        200 => serde_json::from_slice(body).map_err(|_| {
            failed(
                ErrorKind::Protocol,
                format!("the answer is not a {what}"),
                "check the URL of the EDA server's API",
            )
        }),
        401 | 403 => Err(failed(
            ErrorKind::Unauthorized,
            format!("the EDA server does not accept the token of its API ({status})"),
            "use a token of the gateway; with AAP, the EDA server takes no other",
        )),
        status => Err(failed(
            ErrorKind::Unavailable,
            format!("the API of the EDA server answered {status}"),
            "check the URL of the EDA server's API",
        )),
    }
}

#[derive(Deserialize)]
struct List {
    results: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    status_message: Option<String>,
}

impl Client {
    /// The row of the activation, if there is one.
    async fn activation(&self, activation: &Activation) -> Result<Option<Row>, ProviderError> {
        let url = activation.list().map_err(|error| {
            ProviderError::new(Effect::NotSent, ErrorKind::Invalid, error.to_string())
        })?;
        let (status, body) = self.get_json(&url, &activation.token).await?;
        let list: List = read(status, &body, "list of activations")?;
        let mut rows = list.results.into_iter();
        Ok(rows.find(|row| row.name == activation.name))
    }

    pub(crate) async fn check_activation(&self, report: &mut Preflight, activation: &Activation) {
        let check = format!("activation {}", text::bounded(&activation.name, 60));
        match self.activation(activation).await {
            Err(error) => report.error(&check, error.message(), error.advice()),
            Ok(None) => report.error(
                &check,
                "the EDA server has no activation of this name",
                "create it, or correct its name in the configuration",
            ),
            Ok(Some(row)) if row.status == "running" => report.ok(&check, "it is running"),
            Ok(Some(row)) => report.error(
                &check,
                &format!(
                    "it is {}: {}",
                    text::bounded(&row.status, 40),
                    text::bounded(&row.status_message.unwrap_or_default(), 300)
                ),
                "enable or restart it; a rulebook's Service exists only while it runs, and an event \
                 stream loses events until then",
            ),
        }
    }
}
