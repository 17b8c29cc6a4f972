//! The activation behind the events: whether it runs, and whether events reach it.

use std::time::Duration;

use jiff::Timestamp;
use provider_core::clock::Elapsed as _;
use provider_core::{ErrorKind, Preflight, ProviderError, Secret, text};
use provider_http::json::lenient;
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::api::{Api, place};
use crate::client::Client;
use crate::config::tidy_text;
use crate::{ConfigError, EdaProvider, Transport};

/// The activation that works off our events: looked at by
/// [`preflight`](provider_core::Provider::preflight), and named with its state where an event seems lost.
#[derive(Debug, Clone, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
pub struct Activation {
    /// The EDA server, or the gateway in front of it: scheme, host, and the path before `/api/eda/v1/`
    /// if there is one.
    pub url: String,
    /// A token of the gateway; or the password of `username`.
    #[serde(alias = "password")]
    pub token: Secret,
    /// The user of an EDA server without a gateway, which knows passwords (Basic) and no tokens. Default: none.
    #[serde(default)]
    pub username: Option<String>,
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
            username: None,
            name: name.into(),
        }
    }

    /// For this user, with the token as its password.
    #[must_use]
    pub fn with_username(mut self, username: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self
    }

    pub(crate) fn tidy(&mut self) -> Result<(), ConfigError> {
        let Self {
            url,
            token: _,
            username,
            name,
        } = self;
        tidy_text(FIELD, url)?;
        tidy_text("activation.name", name)?;
        let user = username.as_mut();
        user.map_or(Ok(()), |user| tidy_text("activation.username", user))
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        place(&self.url, "activations/", FIELD).map(drop)
    }

    fn api<'a>(&'a self, client: &'a Client) -> Api<'a> {
        Api {
            client,
            url: &self.url,
            token: &self.token,
            username: self.username.as_deref(),
            field: FIELD,
        }
    }

    fn shown(&self) -> String {
        format!("activation \"{}\"", text::bounded(&self.name, 60))
    }
}

const FIELD: &str = "activation.url";

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Row {
    #[serde(deserialize_with = "lenient")]
    pub id: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    name: String,
    #[serde(deserialize_with = "lenient")]
    status: String,
    #[serde(deserialize_with = "lenient")]
    status_message: Option<String>,
}

impl Row {
    /// For people. Our own credential is taken out before anything is cut, should a server repeat it.
    fn state(&self, token: &Secret) -> String {
        let shown = |text: &str, max| text::bounded(&token.redact(text), max);
        let state = shown(&self.status, 40);
        match self.status_message.as_deref().unwrap_or_default() {
            "" => state,
            message => format!("{state}: {}", shown(message, 300)),
        }
    }
}

/// The activation of this name, if it is shown.
pub(crate) async fn named(api: &Api<'_>, name: &str) -> Result<Option<Row>, ProviderError> {
    // The server looks for names that contain this one.
    let filter = [("name", name)];
    let rows: Vec<Row> = api
        .all("activations/", &filter, "list of activations")
        .await?;
    Ok(rows.into_iter().find(|row| row.name == name))
}

/// How old the last answer about the activation may be.
const LATELY: Duration = Duration::from_secs(60);
/// How long a message waits for that answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The activation in messages, asked about once for all objects.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Option<(Timestamp, String)>>);

impl Watch {
    /// The activation by its name and with its state, as far as they are known.
    pub(crate) async fn told(
        &self,
        client: &Client,
        activation: Option<&Activation>,
        now: Timestamp,
    ) -> String {
        let Some(activation) = activation else {
            return "the activation is not known (set `activation` to be told its state)"
                .to_owned();
        };
        let mut known = self.0.lock().await;
        if let Some((asked, told)) = &*known
            && *asked <= now
            && now.elapsed_since(*asked) < LATELY
        {
            return told.clone();
        }
        let name = activation.shown();
        let api = activation.api(client);
        let told = match tokio::time::timeout(PATIENCE, named(&api, &activation.name)).await {
            Ok(Ok(Some(row))) => format!("{name} is {}", row.state(&activation.token)),
            Ok(Ok(None)) => format!("the EDA server shows no {name}"),
            Ok(Err(error)) => format!("the state of {name} cannot be read: {}", error.message()),
            Err(_) => format!("the state of {name} was not told in time"),
        };
        *known = Some((now, told.clone()));
        told
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Mapped {
    #[serde(deserialize_with = "lenient")]
    event_streams: Option<Vec<Stream>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Stream {
    #[serde(deserialize_with = "lenient")]
    url: Option<String>,
    #[serde(deserialize_with = "lenient")]
    test_mode: bool,
}

impl Stream {
    fn is(&self, uuid: &str) -> bool {
        let url = self.url.as_deref().unwrap_or_default();
        url.contains(&format!("/external_event_stream/{uuid}/"))
    }
}

impl EdaProvider {
    pub(crate) async fn check_activation(&self, report: &mut Preflight, activation: &Activation) {
        let check = format!("activation {}", text::bounded(&activation.name, 60));
        let api = activation.api(&self.client);
        let row = match named(&api, &activation.name).await {
            Err(error) => return report.error(&check, error.message(), error.advice()),
            Ok(None) => {
                return report.error(
                    &check,
                    "the EDA server shows no activation of this name",
                    "create it, or correct its name in the configuration; a user without roles is shown \
                     empty lists: give it the right to view activations",
                );
            }
            Ok(Some(row)) => row,
        };
        if row.status == "running" {
            report.ok(&check, "it is running");
        } else {
            report.error(
                &check,
                &format!("it is {}", row.state(&activation.token)),
                "enable or restart it; a rulebook's Service exists only while it runs, and an event \
                 stream loses events until then",
            );
        }
        if let Transport::EventStream(_) = &self.config.transport {
            for uuid in self.stream_uuids() {
                self.check_stream(report, &api, &row, &uuid).await;
            }
        }
    }

    /// The event streams that events go to.
    fn stream_uuids(&self) -> Vec<String> {
        let mut uuids = Vec::new();
        for (_, url) in self.config.transport.endpoints().all() {
            let path = url.map(|url| url.path().to_owned()).unwrap_or_default();
            let uuid = path.split_once("/external_event_stream/");
            let uuid = uuid.and_then(|(_, rest)| rest.split('/').next());
            if let Some(uuid) = uuid.filter(|uuid| !uuids.iter().any(|known| known == uuid)) {
                uuids.push(uuid.to_owned());
            }
        }
        uuids
    }

    /// Whether what is sent to a stream is passed on, and to this activation.
    async fn check_stream(&self, report: &mut Preflight, api: &Api<'_>, row: &Row, uuid: &str) {
        let check = format!("event stream {uuid}");
        let listed = api.all::<Stream>("event-streams/", &[], "list of event streams");
        match listed.await {
            Err(error) => report.error(&check, error.message(), error.advice()),
            Ok(streams) => match streams.iter().find(|stream| stream.is(uuid)) {
                None => report.warning(
                    &check,
                    "the EDA server does not show this event stream, so its test mode cannot be seen",
                    "give the user of the API the right to view event streams, and compare the URL",
                ),
                Some(stream) if stream.test_mode => report.error(
                    &check,
                    "it is in test mode: it takes events, shows them, and passes none on",
                    "switch \"Forward events to rulebook activation\" on",
                ),
                Some(_) => report.ok(&check, "it passes events on"),
            },
        }
        let check = format!("mapping of event stream {uuid}");
        let Some(id) = row.id else {
            return report.warning(
                &check,
                "the EDA server does not tell the activation's number, so its streams cannot be seen",
                "look at what is in front of the EDA server's API",
            );
        };
        let path = format!("activations/{id}/");
        match api.one::<Mapped>(&path, "row of an activation").await {
            // An older server does not tell.
            Ok(Mapped {
                event_streams: None,
            }) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => report.error(&check, error.message(), error.advice()),
            Ok(Mapped {
                event_streams: Some(mapped),
            }) => {
                if mapped.iter().any(|stream| stream.is(uuid)) {
                    report.ok(&check, "the activation listens to it");
                } else {
                    report.error(
                        &check,
                        "the activation is not mapped to this event stream: events are taken and lost",
                        "map the stream to a source of the activation's rulebook, or correct the URL",
                    );
                }
            }
        }
    }
}
