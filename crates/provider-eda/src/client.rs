//! Sends one event and says what became of it.

use provider_core::{Effect, ErrorKind, ProviderError, Secret};
pub(crate) use provider_http::std_duration;
use provider_http::{Manner, Pool, SendError, SendFailure, retry_after};
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::answer::{Answer, MAX_BODY};
use crate::transport::{read, secret, token_now};
use crate::{ConfigError, EdaConfig, Hmac, StreamAuth, Tracking, Transport};

/// The largest list that is read.
const MAX_LIST: usize = 4 << 20;

/// One pool of connections, with the credentials of the transport.
pub(crate) struct Client {
    pool: Pool,
    transport: Transport,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(config: &EdaConfig) -> Result<Self, ConfigError> {
        headers(&config.transport)?;
        let manner = Manner {
            headers: HeaderMap::new(),
            user_agent: concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")),
            upgrades: false,
            plain: is_plain(config),
        };
        Ok(Self {
            pool: Pool::new(&config.http, manner)?,
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
        let mut headers = self.headers()?;
        if let Some(hmac) = self.hmac() {
            let (name, value) = signature(hmac, &self.transport, &body)?;
            headers.insert(name, value);
        }
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let make = |http: &reqwest::Client| http.post(url.clone()).headers(headers).body(body);
        self.answer(make).await
    }

    /// Our credentials as they are now: they may have been rotated.
    fn headers(&self) -> Result<HeaderMap, ProviderError> {
        headers(&self.transport).map_err(|error| {
            let (kind, text) = (ErrorKind::Unauthorized, error.to_string());
            ProviderError::new(Effect::NotSent, kind, text)
        })
    }

    /// Asks for the same place without an event: both transports answer 405 to that, a webhook after
    /// it has looked at the token.
    pub(crate) async fn probe(&self, url: &Url) -> Result<Answer, ProviderError> {
        let headers = self.headers()?;
        self.answer(|http| http.get(url.clone()).headers(headers))
            .await
    }

    /// Reads a list of the EDA server's API: its status and its body.
    pub(crate) async fn get_json(
        &self,
        url: &Url,
        token: &Secret,
        username: Option<&str>,
    ) -> Result<(u16, Vec<u8>), ProviderError> {
        let mut response = self.get_with(url, token, username).await?;
        if response.status().as_u16() == 401 && token.is_of_file() {
            // It may have been rotated since.
            token.doubt();
            response = self.get_with(url, token, username).await?;
        }
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            if body.len() + chunk.len() > MAX_LIST {
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status().as_u16(), body))
    }

    async fn get_with(
        &self,
        url: &Url,
        token: &Secret,
        username: Option<&str>,
    ) -> Result<reqwest::Response, ProviderError> {
        let now = match username {
            Some(_) => read("the password of the API", token),
            None => token_now("the token of the API", token),
        };
        let now = now.map_err(|error| {
            let (kind, text) = (ErrorKind::Unauthorized, error.to_string());
            ProviderError::new(Effect::NotSent, kind, text)
        })?;
        let make = |http: &reqwest::Client| match username {
            Some(username) => http
                .get(url.clone())
                .basic_auth(username, Some(secret(&now))),
            None => http.get(url.clone()).bearer_auth(secret(&now)),
        };
        let response = self.pool.send(make).await;
        response.map_err(|error| self.transport_error(&error))
    }

    async fn answer(
        &self,
        make: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder,
    ) -> Result<Answer, ProviderError> {
        let response = self.pool.send(make).await;
        let mut response = response.map_err(|error| self.transport_error(&error))?;
        if matches!(response.status().as_u16(), 401 | 403) {
            self.transport.doubt();
        }
        let value = |name: HeaderName| {
            let value = response.headers().get(name)?.to_str().ok()?;
            // Whoever redirects may repeat what we have sent.
            Some(self.transport.redact(value))
        };
        let mut answer = Answer {
            status: response.status().as_u16(),
            location: value(header::LOCATION),
            retry_after: retry_after(response.headers()),
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
    fn transport_error(&self, error: &SendError) -> ProviderError {
        let found = &error.cause;
        let cause = self.transport.redact(&found.text);
        let not_sent = |kind, text: String, advice: &str| {
            ProviderError::new(Effect::NotSent, kind, text).with_advice(advice)
        };
        if error.failure == SendFailure::Invalid {
            return not_sent(
                ErrorKind::Invalid,
                format!("the event cannot be sent: {cause}"),
                "",
            );
        }
        if found.refused_certificate {
            // Without an accepted certificate nothing that we send is ever read.
            return not_sent(
                ErrorKind::Unauthorized,
                format!("our certificate was not accepted: {cause}"),
                "set the client certificate that the service expects",
            );
        }
        if error.failure == SendFailure::Connect {
            let advice = if let Some(advice) = found.advice {
                advice
            } else if found.dns {
                "check the URL; in a cluster, the Service exists only while an activation runs"
            } else if found.tls {
                "check the CA file, and that the service speaks TLS"
            } else {
                "check that the activation runs: its port opens when its rulebook has started"
            };
            let text = format!("no connection to the service: {cause}");
            return not_sent(ErrorKind::Unavailable, text, advice);
        }
        if error.failure == SendFailure::Timeout {
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

/// Whether nothing is sent by TLS.
fn is_plain(config: &EdaConfig) -> bool {
    let events = config.transport.endpoints().all();
    let mut events = events.into_iter().filter_map(|(_, url)| url.ok());
    let activation = config.activation.iter().map(|activation| &activation.url);
    let audit = config
        .tracking
        .iter()
        .filter_map(|tracking| match tracking {
            Tracking::Audit(audit) => Some(&audit.url),
            #[cfg(feature = "aap")]
            Tracking::Jobs(_) => None,
        });
    events.all(|url| url.scheme() == "http")
        && activation
            .chain(audit)
            .all(|url| url.starts_with("http://"))
}

/// The headers that are the same for every event, until a secret changes.
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
                let token = token_now("token", token)?;
                put("authorization", format!("Bearer {}", secret(&token)))?;
            }
        }
        Transport::EventStream(stream) => match &stream.auth {
            StreamAuth::Token { token, header } => {
                let token = token_now("auth.token", token)?;
                let token = secret(&token);
                if header.eq_ignore_ascii_case("authorization") {
                    put(header, format!("Bearer {token}"))?;
                } else {
                    put(header, token.to_owned())?;
                }
            }
            StreamAuth::Basic { username, password } => {
                use base64::Engine;
                let password = read("auth.basic.password", password)?;
                let pair = format!("{username}:{}", secret(&password));
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
