//! Sends one event and says what became of it.

use std::time::Duration;

use jiff::SignedDuration;
use provider_core::{Effect, ErrorKind, ProviderError, SecretString, text};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use rustls::AlertDescription;
use url::Url;

use crate::answer::{Answer, MAX_BODY};
use crate::transport::secret;
use crate::{ClientIdentity, ConfigError, EdaConfig, Hmac, HttpConfig, StreamAuth, Transport};

/// The largest list that is read.
const MAX_LIST: usize = 4 << 20;

/// One pool of connections, with the credentials of the transport.
pub(crate) struct Client {
    http: reqwest::Client,
    transport: Transport,
    headers: HeaderMap,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// A length that validation has proved not to be negative.
pub(crate) fn std_duration(duration: SignedDuration) -> Duration {
    Duration::try_from(duration).unwrap_or_default()
}

impl Client {
    pub(crate) fn new(config: &EdaConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            http: http_client(&config.http)?,
            headers: headers(&config.transport)?,
            transport: config.transport.clone(),
        })
    }

    fn hmac(&self) -> Option<&Hmac> {
        match &self.transport {
            Transport::RulebookWebhook(webhook) => webhook.hmac.as_ref(),
            Transport::EventStream(stream) => match &stream.auth {
                StreamAuth::Hmac(hmac) => Some(hmac),
                _ => None,
            },
        }
    }

    /// Sends an event: once, to this place, whatever is answered.
    pub(crate) async fn post(&self, url: &Url, body: Vec<u8>) -> Result<(), ProviderError> {
        let answer = self.post_signed(url, body).await?;
        answer.judge(self.transport.kind(), url)
    }

    /// Tries the credential out by a body that nobody can read, so that it can start nothing. (An
    /// event stream counts it among its events if it refuses the credential.)
    ///
    /// # Errors
    /// What an event would have met; also when the body was taken nevertheless.
    pub(crate) async fn knock(&self, url: &Url) -> Result<(), ProviderError> {
        let kind = self.transport.kind();
        let answer = self.post_signed(url, b"{".to_vec()).await?;
        if answer.is_about_the_body(kind) {
            return Ok(());
        }
        answer.judge(kind, url)?;
        Err(ProviderError::new(
            Effect::Unreadable,
            ErrorKind::Protocol,
            format!("a body that is no JSON was taken, which no {kind} does"),
        )
        .with_advice("check the URL, and what is in front of the service"))
    }

    async fn post_signed(&self, url: &Url, body: Vec<u8>) -> Result<Answer, ProviderError> {
        let mut headers = self.headers.clone();
        if let Some(hmac) = self.hmac() {
            let (name, value) = signature(hmac, &self.transport, &body)?;
            headers.insert(name, value);
        }
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let request = self.http.post(url.clone()).headers(headers).body(body);
        self.answer(request).await
    }

    /// Asks for the same place without an event: both transports answer 405 to that, a webhook after
    /// it has looked at the token.
    pub(crate) async fn probe(&self, url: &Url) -> Result<Answer, ProviderError> {
        let request = self.http.get(url.clone()).headers(self.headers.clone());
        self.answer(request).await
    }

    /// Reads a list of the EDA server's API: its status and its body.
    pub(crate) async fn get_json(
        &self,
        url: &Url,
        token: &SecretString,
        username: Option<&str>,
    ) -> Result<(u16, Vec<u8>), ProviderError> {
        let request = self.http.get(url.clone());
        let request = match username {
            Some(username) => request.basic_auth(username, Some(secret(token))),
            None => request.bearer_auth(secret(token)),
        };
        let mut response = request.send().await.map_err(|e| self.transport_error(&e))?;
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            if body.len() + chunk.len() > MAX_LIST {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status().as_u16(), body))
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Answer, ProviderError> {
        let mut response = request.send().await.map_err(|e| self.transport_error(&e))?;
        let value = |name: HeaderName| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let mut answer = Answer {
            status: response.status().as_u16(),
            location: value(header::LOCATION),
            // The other form of this header, a date, is not sent by these services.
            retry_after: value(header::RETRY_AFTER)
                .and_then(|text| text.trim().parse().ok())
                .map(|seconds: u64| Duration::from_secs(seconds.min(3_600))),
            body: Vec::new(),
            cut: false,
        };
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if answer.body.len() + chunk.len() <= MAX_BODY => {
                    answer.body.extend_from_slice(&chunk);
                }
                Ok(None) => return Ok(answer),
                Ok(Some(_)) | Err(_) => {
                    answer.cut = true;
                    return Ok(answer);
                }
            }
        }
    }

    /// No answer came.
    fn transport_error(&self, error: &reqwest::Error) -> ProviderError {
        let chain = Chain::of(error);
        let cause = text::redacted(&chain.root, self.transport.secrets());
        let not_sent = |kind, text: String, advice: &str| {
            ProviderError::new(Effect::NotSent, kind, text).with_advice(advice)
        };
        if error.is_builder() {
            return not_sent(
                ErrorKind::Invalid,
                format!("the event cannot be sent: {cause}"),
                "",
            );
        }
        if chain.refused_certificate {
            // Without an accepted certificate nothing that we send is ever read.
            return not_sent(
                ErrorKind::Unauthorized,
                format!("our certificate was not accepted: {cause}"),
                "set the client certificate that the service expects",
            );
        }
        if error.is_connect() {
            let advice = if chain.dns {
                "check the URL; in a cluster, the Service exists only while an activation runs"
            } else if chain.tls {
                "check the CA file, and that the service speaks TLS"
            } else {
                "check that the activation runs: its port opens when its rulebook has started"
            };
            let text = format!("no connection to the service: {cause}");
            return not_sent(ErrorKind::Unavailable, text, advice);
        }
        if error.is_timeout() {
            return ProviderError::new(
                Effect::MaybeSent,
                ErrorKind::Timeout,
                "no answer to the event in time; it may still be carried out",
            )
            .with_advice(
                "a rulebook that works off its events one after the other lets senders wait; set \
                 execution_strategy: parallel, or allow fewer events in flight",
            );
        }
        ProviderError::new(
            Effect::MaybeSent,
            ErrorKind::Unavailable,
            format!("the connection broke before the event was answered: {cause}"),
        )
    }
}

/// What the causes of an error tell.
#[derive(Default)]
struct Chain {
    root: String,
    dns: bool,
    tls: bool,
    refused_certificate: bool,
}

impl Chain {
    fn of(error: &reqwest::Error) -> Self {
        let mut chain = Self::default();
        let mut next: Option<&dyn std::error::Error> = Some(error);
        while let Some(cause) = next {
            let text = cause.to_string();
            chain.dns |= text.starts_with("dns error");
            if let Some(tls) = tls_error(cause) {
                chain.tls = true;
                chain.refused_certificate |= is_about_our_certificate(tls);
            }
            chain.root = text::bounded(&text, 200);
            next = cause.source();
        }
        chain
    }
}

/// An I/O error shows the text of what it wraps, but does not name it as its source.
fn tls_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = cause.downcast_ref() {
        return Some(tls);
    }
    let inner = cause.downcast_ref::<std::io::Error>()?.get_ref()?;
    tls_error(inner)
}

fn is_about_our_certificate(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
        )
    )
}

/// The headers that are the same for every event.
fn headers(transport: &Transport) -> Result<HeaderMap, ConfigError> {
    let mut headers = HeaderMap::new();
    let mut put = |name: &str, value: String| {
        let field = "auth";
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| ConfigError::new(field, "expected the name of a header"))?;
        let mut value = HeaderValue::try_from(value)
            .map_err(|_| ConfigError::new(field, "a header cannot carry this credential"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    };
    match transport {
        Transport::RulebookWebhook(webhook) => {
            if let Some(token) = &webhook.token {
                put("authorization", format!("Bearer {}", secret(token)))?;
            }
        }
        Transport::EventStream(stream) => match &stream.auth {
            StreamAuth::Token { token, header } if header.eq_ignore_ascii_case("authorization") => {
                put(header, format!("Bearer {}", secret(token)))?;
            }
            StreamAuth::Token { token, header } => put(header, secret(token).to_owned())?,
            StreamAuth::Basic { username, password } => {
                use base64::Engine;
                let pair = format!("{username}:{}", secret(password));
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                put("authorization", format!("Basic {pair}"))?;
            }
            StreamAuth::Hmac(_) | StreamAuth::ClientCertificate => {}
        },
    }
    Ok(headers)
}

fn signature(
    hmac: &Hmac,
    transport: &Transport,
    body: &[u8],
) -> Result<(HeaderName, HeaderValue), ProviderError> {
    let name = HeaderName::from_bytes(hmac.header.as_bytes()).ok();
    let value = HeaderValue::try_from(hmac.signature(transport.kind(), body)).ok();
    name.zip(value).ok_or_else(|| {
        ProviderError::new(
            Effect::NotSent,
            ErrorKind::Invalid,
            "the signature cannot be carried by its header",
        )
    })
}

fn http_client(config: &HttpConfig) -> Result<reqwest::Client, ConfigError> {
    // TLS needs a provider of cryptography for the process; an application that has chosen one
    // keeps it.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let agent = config.user_agent.clone().unwrap_or_else(|| {
        concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")).to_owned()
    });
    let agent = HeaderValue::from_str(&agent)
        .map_err(|_| ConfigError::new("http.userAgent", "expected printable ASCII"))?;
    let mut builder = reqwest::Client::builder()
        .user_agent(agent)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        // A connection that the other side has given up costs an event in doubt; aiohttp keeps
        // them for 75 s.
        .pool_idle_timeout(Duration::from_secs(30))
        .connect_timeout(std_duration(config.connect_timeout))
        .timeout(std_duration(config.request_timeout))
        .tls_danger_accept_invalid_certs(config.insecure);
    if !config.proxy_from_environment {
        builder = builder.no_proxy();
    }
    if let Some(file) = &config.ca_file {
        let field = "http.caFile";
        let certificates = reqwest::Certificate::from_pem_bundle(&read(field, file)?)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| {
                let shown = file.display();
                ConfigError::new(field, &format!("{shown} holds no PEM certificate"))
            })?;
        builder = builder.tls_certs_merge(certificates);
    }
    if let Some(identity) = &config.client_identity {
        let field = "http.clientIdentity";
        let pem = match identity {
            ClientIdentity::Pem(pem) => secret(pem).as_bytes().to_vec(),
            ClientIdentity::Files { certificate, key } => {
                let mut pem = read(field, certificate)?;
                if key != certificate {
                    pem.push(b'\n');
                    pem.extend(read(field, key)?);
                }
                pem
            }
        };
        // The error of the parser is not repeated: it has just read a key.
        let identity = reqwest::Identity::from_pem(&pem).map_err(|_| {
            ConfigError::new(
                field,
                "expected a certificate and its unencrypted key in PEM",
            )
        })?;
        builder = builder.identity(identity);
    }
    builder
        .build()
        .map_err(|error| ConfigError::new("http", &format!("no connections can be made: {error}")))
}

fn read(field: &str, file: &std::path::Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(file).map_err(|error| {
        ConfigError::new(field, &format!("cannot read {}: {error}", file.display()))
    })
}
