//! The two ways into Event-Driven Ansible, which differ in nearly everything but the verb.

use std::fmt;

use provider_core::settings::{SettingError, as_token, guarded, tidied, without_line_end};
use provider_core::text::MASK;
use provider_core::{Secret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use crate::{ConfigError, Endpoints};

mod hmac;

pub use hmac::{Algorithm, Encoding, Hmac};

/// Where events are sent, and how. Chosen by the user: nothing in a URL or an answer tells the
/// two apart for sure.
#[derive(Debug, Clone, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase")]
#[non_exhaustive]
pub enum Transport {
    /// A rulebook's own webhook source (`eda.builtin.webhook`, `ansible.eda.webhook`).
    RulebookWebhook(RulebookWebhook),
    /// An event stream of the EDA server (AAP 2.5 and later).
    EventStream(EventStream),
}

/// Which of the two a transport is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TransportKind {
    /// A rulebook's own webhook source.
    RulebookWebhook,
    /// An event stream of the EDA server.
    EventStream,
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RulebookWebhook => "rulebook webhook",
            Self::EventStream => "event stream",
        })
    }
}

/// A rulebook's own webhook source.
///
/// Measured on ansible-rulebook 1.3.2: any path is taken, and 200 says that the event stands in
/// a queue in memory. A body may have 1 MiB. Token and HMAC may be asked for together: SHA-1, SHA-256,
/// SHA-384 or SHA-512, in hex or base64, of all that the source's `hmac_algo` knows.
///
/// A rulebook reports what it has done to the EDA server as ASCII JSON, with the event in it (an emoji is
/// 12 bytes there). A report of 1 MiB or more never arrives, and one of 1.4 MB blocks those behind it: the
/// audit lacks them, and the activation may look dead. With [`AuditTracking`](crate::AuditTracking) such
/// an event is refused; without, it is sent.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct RulebookWebhook {
    /// The URLs; their last part is what rules see as `event.meta.endpoint`. Default: none, with which nothing
    /// can be sent.
    pub endpoints: Endpoints,
    /// The source's `token`. Default: none.
    pub token: Option<Secret>,
    /// The source's `hmac_secret` and what belongs to it. Default: none, so that nothing is signed. With a
    /// secret alone the digest is sent in hex as `sha256=DIGEST`.
    pub hmac: Option<Hmac>,
}

/// An event stream of the EDA server.
///
/// Measured on eda-server of August 2026: the body is read as YAML, may have 2.5 MiB, and is cut
/// in pieces that must fit a notification of PostgreSQL. 200 is answered whether an activation
/// listens or not, and an event that nobody listens to is lost. So is an event whose text is a multiple of
/// 6,144 characters for the server; larger events are padded by a length of their own for each attempt, so
/// that not all are lost.
#[derive(Debug, Clone, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
pub struct EventStream {
    /// The URLs, as the EDA server shows them: `…/external_event_stream/UUID/post/`.
    pub endpoints: Endpoints,
    /// The credential of the stream.
    pub auth: StreamAuth,
}

/// The credential of an event stream.
///
/// | type at the EDA server | here |
/// |---|---|
/// | Token, GitLab | [`Token`](Self::Token), with the header of the type (`X-Gitlab-Token`) |
/// | HMAC | [`Hmac`](Self::Hmac): SHA-1, SHA-256, SHA-384, SHA-512, in hex or base64; SHA-224, MD5 and the rest of Python's hashes are not built |
/// | GitHub | [`Hmac::github`] |
/// | ServiceNow, Dynatrace | [`Token`](Self::Token) with its header; [`Basic`](Self::Basic) |
/// | Basic | [`Basic`](Self::Basic) |
/// | mTLS | [`ClientCertificate`](Self::ClientCertificate) |
/// | OAuth2 (introspection), OAuth2 JWT | not built: nothing here asks an authorization server for a token or renews one. One that lasts is sent by [`Token`](Self::Token) |
/// | ECDSA | not built |
#[derive(Clone, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
#[non_exhaustive]
pub enum StreamAuth {
    /// Type "Token". In a configuration also the token alone.
    #[serde(deserialize_with = "token_form")]
    Token {
        /// The token.
        token: Secret,
        /// The header of the credential, as it stands there. Default: `Authorization`.
        #[serde(default = "authorization")]
        header: String,
    },
    /// Type "HMAC", or "GitHub": by default the digest is sent in base64 without a prefix, which
    /// is the default of the type "HMAC".
    Hmac(Hmac),
    /// Type "Basic".
    Basic {
        /// Login name.
        username: String,
        /// Password.
        password: Secret,
    },
    /// Type "mTLS": the certificate of [`HttpConfig`](crate::HttpConfig) alone.
    ClientCertificate,
}

provider_core::guarded_settings!(Transport, RulebookWebhook, EventStream, StreamAuth);

#[derive(Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "a token in quotes, or a map with `token` and `header`"
)]
struct TokenForm {
    token: Secret,
    #[serde(default = "authorization")]
    header: String,
}

/// `token: TEXT`, `token: {file: PATH}`, or `token: {token: …, header: …}`.
fn token_form<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(Secret, String), D::Error> {
    guarded(deserializer, |tree| {
        if let Ok(token) = Secret::deserialize(tree.clone()) {
            return Ok((token, authorization()));
        }
        let form: Result<TokenForm, SettingError> = Deserialize::deserialize(tree);
        form.map(|form| (form.token, form.header))
    })
}

fn authorization() -> String {
    "Authorization".to_owned()
}

impl fmt::Debug for StreamAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { header, .. } => write!(f, "token {MASK} in {header}"),
            Self::Hmac(hmac) => hmac.fmt(f),
            Self::Basic { username, .. } => write!(f, "user {username:?} with password {MASK}"),
            Self::ClientCertificate => f.write_str("client certificate"),
        }
    }
}

impl StreamAuth {
    /// A bearer token.
    #[must_use]
    pub fn token(token: impl Into<Secret>) -> Self {
        Self::Token {
            token: token.into(),
            header: authorization(),
        }
    }

    /// A user with password.
    #[must_use]
    pub fn basic(username: impl Into<String>, password: impl Into<Secret>) -> Self {
        Self::Basic {
            username: username.into(),
            password: password.into(),
        }
    }
}

impl RulebookWebhook {
    /// A webhook without credentials.
    #[must_use]
    pub fn new(endpoints: Endpoints) -> Self {
        Self {
            endpoints,
            token: None,
            hmac: None,
        }
    }

    /// With the source's token.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// With a signature.
    #[must_use]
    pub fn with_hmac(mut self, hmac: Hmac) -> Self {
        self.hmac = Some(hmac);
        self
    }
}

impl EventStream {
    /// An event stream with its credential.
    #[must_use]
    pub fn new(endpoints: Endpoints, auth: StreamAuth) -> Self {
        Self { endpoints, auth }
    }
}

impl From<RulebookWebhook> for Transport {
    fn from(webhook: RulebookWebhook) -> Self {
        Self::RulebookWebhook(webhook)
    }
}

impl From<EventStream> for Transport {
    fn from(stream: EventStream) -> Self {
        Self::EventStream(stream)
    }
}

impl Transport {
    /// Which of the two it is.
    #[must_use]
    pub const fn kind(&self) -> TransportKind {
        match self {
            Self::RulebookWebhook(_) => TransportKind::RulebookWebhook,
            Self::EventStream(_) => TransportKind::EventStream,
        }
    }

    pub(crate) const fn endpoints(&self) -> &Endpoints {
        match self {
            Self::RulebookWebhook(webhook) => &webhook.endpoints,
            Self::EventStream(stream) => &stream.endpoints,
        }
    }

    /// The text without any secret that goes out.
    pub(crate) fn redact(&self, text: &str) -> String {
        let secrets: [Option<&Secret>; 2] = match self {
            Self::RulebookWebhook(w) => [w.token.as_ref(), w.hmac.as_ref().map(|h| &h.secret)],
            Self::EventStream(stream) => match &stream.auth {
                StreamAuth::Token { token, .. } => [Some(token), None],
                StreamAuth::Hmac(hmac) => [Some(&hmac.secret), None],
                StreamAuth::Basic { password, .. } => [Some(password), None],
                StreamAuth::ClientCertificate => [None, None],
            },
        };
        let secrets = secrets.into_iter().flatten();
        secrets.fold(text.to_owned(), |text, secret| secret.redact(&text))
    }

    /// Our credentials were refused: they may have been rotated.
    pub(crate) fn doubt(&self) {
        let (token, hmac) = match self {
            Self::RulebookWebhook(w) => (w.token.as_ref(), w.hmac.as_ref()),
            Self::EventStream(stream) => match &stream.auth {
                StreamAuth::Token { token, .. } => (Some(token), None),
                StreamAuth::Hmac(hmac) => (None, Some(hmac)),
                StreamAuth::Basic { password, .. } => (Some(password), None),
                StreamAuth::ClientCertificate => (None, None),
            },
        };
        for secret in token.into_iter().chain(hmac.map(|hmac| &hmac.secret)) {
            secret.doubt();
        }
    }

    /// Takes off what surrounds texts that come from files and Secrets.
    pub(crate) fn tidy(&mut self) -> Result<(), ConfigError> {
        let endpoints = match self {
            Self::RulebookWebhook(webhook) => &mut webhook.endpoints,
            Self::EventStream(stream) => &mut stream.endpoints,
        };
        endpoints.tidy()?;
        match self {
            Self::RulebookWebhook(webhook) => {
                if let Some(hmac) = &mut webhook.hmac {
                    hmac.tidy("hmac.header");
                }
                webhook
                    .token
                    .as_ref()
                    .map_or(Ok(()), |token| told("token", token))
            }
            Self::EventStream(stream) => match &mut stream.auth {
                StreamAuth::Token { token, header } => {
                    *header = tidied("auth.token.header", header).to_owned();
                    told("auth.token", token)
                }
                StreamAuth::Hmac(hmac) => {
                    hmac.tidy("auth.hmac.header");
                    Ok(())
                }
                StreamAuth::Basic { username, .. } => {
                    *username = tidied("auth.basic.username", username).to_owned();
                    Ok(())
                }
                StreamAuth::ClientCertificate => Ok(()),
            },
        }
    }

    pub(crate) fn validate(&self, has_identity: bool) -> Result<(), ConfigError> {
        let urls = self.endpoints().all();
        if urls.is_empty() {
            return Err(ConfigError::new(
                "endpoints",
                "set the URLs for creation and deletion",
            ));
        }
        self.endpoints().validate()?;
        for (field, url) in urls {
            self.fits(field, &url?)?;
        }
        match self {
            Self::RulebookWebhook(webhook) => {
                if let Some(token) = &webhook.token {
                    token_now("token", token)?;
                }
                webhook.hmac.as_ref().map_or(Ok(()), |h| h.validate("hmac"))
            }
            Self::EventStream(stream) => match &stream.auth {
                StreamAuth::Token { token, header } => {
                    header_name("auth.token.header", header)?;
                    token_now("auth.token", token).map(drop)
                }
                StreamAuth::Hmac(hmac) => hmac.validate("auth.hmac"),
                StreamAuth::Basic { username, .. }
                    if username.is_empty() || username.contains(':') =>
                {
                    let what = "the user name is empty or holds a colon";
                    Err(ConfigError::new("auth.basic", what))
                }
                StreamAuth::Basic { password, .. } => {
                    read("auth.basic.password", password).map(drop)
                }
                StreamAuth::ClientCertificate if !has_identity => Err(ConfigError::new(
                    "auth.clientCertificate",
                    "set http.clientIdentity to the certificate and its key",
                )),
                StreamAuth::ClientCertificate => Ok(()),
            },
        }
    }

    /// Refuses the URL of one transport for the other.
    fn fits(&self, field: &str, url: &Url) -> Result<(), ConfigError> {
        let stream_uuid = url
            .path()
            .split_once("/external_event_stream/")
            .map(|(_, rest)| rest);
        match (self, stream_uuid) {
            (Self::RulebookWebhook(_), None) => Ok(()),
            (Self::RulebookWebhook(_), Some(_)) => Err(ConfigError::new(
                field,
                "this is the URL of an event stream; configure the transport eventStream",
            )),
            (Self::EventStream(_), Some(rest))
                if rest.strip_suffix("/post/").is_some_and(is_uuid) =>
            {
                Ok(())
            }
            // Without the slash at the end the server redirects, and with another uuid it says 400.
            (Self::EventStream(_), _) => Err(ConfigError::new(
                field,
                "expected the URL that the EDA server shows for the stream: \
                 https://host/…/external_event_stream/UUID/post/ with the slash at the end",
            )),
        }
    }
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    groups == [8, 4, 4, 4, 12] && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}

/// The secret as it is now and as it is used: without line ends.
pub(crate) fn read(field: &str, given: &Secret) -> Result<SecretString, ConfigError> {
    let text = given.read();
    let text = text.map_err(|error| ConfigError::new(field, &error.to_string()))?;
    Ok(without_line_end(secret(&text)).into())
}

/// The token as it is now and as it goes into a header. An empty one makes an event stream fail with 500.
pub(crate) fn token_now(field: &str, given: &Secret) -> Result<SecretString, ConfigError> {
    let text = read(field, given)?;
    Ok(as_token(field, secret(&text))?.0.into())
}

/// Warns of what is taken off the token whenever it is sent.
fn told(field: &str, given: &Secret) -> Result<(), ConfigError> {
    let text = read(field, given)?;
    if as_token(field, secret(&text))?.1 {
        tracing::warn!(
            setting = field,
            "quotes or the word Bearer around the token were taken off"
        );
    }
    Ok(())
}

fn printable(field: &str, text: &str, what: &str) -> Result<(), ConfigError> {
    if text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return Ok(());
    }
    let message = format!("{what} holds characters that a header cannot carry");
    Err(ConfigError::new(field, &message))
}

fn header_name(field: &str, name: &str) -> Result<(), ConfigError> {
    match reqwest::header::HeaderName::from_bytes(name.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err(ConfigError::new(field, "expected the name of a header")),
    }
}

pub(crate) fn secret(secret: &SecretString) -> &str {
    use secrecy::ExposeSecret;
    secret.expose_secret()
}
