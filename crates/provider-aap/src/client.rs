//! One connection pool to one controller, with its base path discovered once.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use provider_core::{Clock, Effect, ErrorKind, ExtraVars, ProviderError, text};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, header};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::answer::{self, Answer, Intent};
use crate::config::{AapConfig, Auth, secret};
use crate::shared::Shared;
use crate::skew::Skew;
use crate::{ConfigError, HttpConfig};

/// Sends requests; knows nothing of jobs.
pub(crate) struct Client {
    http: reqwest::Client,
    auth: Auth,
    /// Scheme, host, and what comes before `/api/`, with a slash at the end.
    origin: Url,
    /// API roots to try, most likely first, relative to the origin.
    candidates: Vec<&'static str>,
    base: Shared<Url>,
    /// How far the controller's clock is from ours.
    pub(crate) skew: Skew,
    clock: Arc<dyn Clock>,
    cancel_timeout: Duration,
    /// Connections that become something else than HTTP; those begin as HTTP/1.1.
    #[cfg(feature = "push")]
    upgrading: reqwest::Client,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("origin", &self.origin.as_str())
            .field("base", &self.base.get().map(Url::as_str))
            .finish_non_exhaustive()
    }
}

const CONTROLLER: &str = "api/v2/";
const GATEWAY: &str = "api/controller/v2/";

/// The longest URL of a job that is kept; the records' schema has the same bound.
const MAX_URL: usize = 2_000;

/// A length that validation has proved not to be negative.
pub(crate) fn std_duration(duration: SignedDuration) -> Duration {
    Duration::try_from(duration).unwrap_or_default()
}

impl Client {
    pub(crate) fn new(config: &AapConfig, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let (origin, candidates) = roots(&config.url)?;
        Ok(Self {
            http: build(http_client(&config.http)?)?,
            #[cfg(feature = "push")]
            upgrading: build(http_client(&config.http)?.http1_only())?,
            auth: config.auth.clone(),
            origin,
            candidates,
            base: Shared::new(),
            skew: Skew::default(),
            clock,
            cancel_timeout: std_duration(config.http.cancel_timeout),
        })
    }

    /// `GET` below the API's root.
    pub(crate) async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        what: &str,
    ) -> Result<Answer, ProviderError> {
        let mut url = self.url(path).await?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(Method::GET, url, None, None, what, &ExtraVars::new())
            .await
    }

    /// The same with a patience of its own.
    pub(crate) async fn get_within(
        &self,
        patience: Duration,
        path: &str,
        query: &[(&str, &str)],
        what: &str,
    ) -> Result<Answer, ProviderError> {
        let mut url = self.url(path).await?;
        url.query_pairs_mut().extend_pairs(query);
        let none = ExtraVars::new();
        self.send(Method::GET, url, None, Some(patience), what, &none)
            .await
    }

    /// `POST` below the API's root; never repeated, never redirected.
    pub(crate) async fn post(
        &self,
        path: &str,
        body: &Value,
        what: &str,
        secrets: &ExtraVars,
    ) -> Result<Answer, ProviderError> {
        let url = self.url(path).await?;
        self.send(Method::POST, url, Some(body), None, what, secrets)
            .await
    }

    /// `POST` of a cancel, which may take long.
    pub(crate) async fn post_cancel(
        &self,
        path: &str,
        what: &str,
    ) -> Result<Answer, ProviderError> {
        let url = self.url(path).await?;
        let body = Value::Object(serde_json::Map::new());
        let timeout = Some(self.cancel_timeout);
        self.send(
            Method::POST,
            url,
            Some(&body),
            timeout,
            what,
            &ExtraVars::new(),
        )
        .await
    }

    /// A websocket below the server's root, or below the API's where that has a prefix.
    #[cfg(feature = "push")]
    pub(crate) async fn upgrade(
        &self,
        path: &str,
        key: &str,
        csrf: &str,
    ) -> Result<reqwest::Upgraded, ProviderError> {
        let what = "the controller's websocket";
        let root = self.base().await?;
        let at = if root.path().ends_with(GATEWAY) {
            root
        } else {
            &self.origin
        };
        let url = at.join(path).map_err(|_| {
            ProviderError::new(
                Effect::NotSent,
                ErrorKind::Invalid,
                "the path cannot be used in a URL",
            )
        })?;
        let request = self
            .upgrading
            .get(url)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, key)
            .header(header::COOKIE, format!("csrftoken={csrf}"));
        let request = match &self.auth {
            Auth::Token(token) => request.bearer_auth(secret(token)),
            Auth::Basic { username, password } => {
                request.basic_auth(username, Some(secret(password)))
            }
        };
        let unread = |error: reqwest::Error| answer::transport(&error, Intent::Reads, what);
        let response = request.send().await.map_err(unread)?;
        let status = response.status().as_u16();
        if status == 101 {
            return response.upgrade().await.map_err(unread);
        }
        let kind = if matches!(status, 401 | 403) {
            ErrorKind::Unauthorized
        } else {
            ErrorKind::Unavailable
        };
        let text = format!("{what} answered {status}");
        Err(ProviderError::new(Effect::Rejected, kind, text)
            .with_advice("let websockets through to the controller; without them, jobs are polled"))
    }

    /// The API's root, discovered at the first use.
    pub(crate) async fn base(&self) -> Result<&Url, ProviderError> {
        self.base.get_or_make(|| self.discover()).await
    }

    /// A path that the server gave us, on the server's origin.
    pub(crate) fn on_origin(&self, path: &str) -> Option<Url> {
        if path.len() > MAX_URL || !path.starts_with('/') {
            return None;
        }
        // What looks like a path can lead elsewhere ("//host", "/\\host"), and our token with it.
        let url = self.origin.join(path).ok()?;
        (url.origin() == self.origin.origin()).then_some(url)
    }

    async fn url(&self, path: &str) -> Result<Url, ProviderError> {
        self.base().await?.join(path).map_err(|_| {
            ProviderError::new(
                Effect::NotSent,
                ErrorKind::Invalid,
                "the path cannot be used in a URL",
            )
        })
    }

    async fn send(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
        timeout: Option<Duration>,
        what: &str,
        secrets: &ExtraVars,
    ) -> Result<Answer, ProviderError> {
        let intent = if method == Method::GET {
            Intent::Reads
        } else {
            Intent::Writes
        };
        let mut request = self.http.request(method, url);
        request = match &self.auth {
            Auth::Token(token) => request.bearer_auth(secret(token)),
            Auth::Basic { username, password } => {
                request.basic_auth(username, Some(secret(password)))
            }
        };
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(timeout) = timeout {
            request = request.timeout(timeout);
        }
        let asked = self.clock.now();
        let response = request
            .send()
            .await
            .map_err(|error| answer::transport(&error, intent, what))?;
        if let Some(theirs) = answer::date(response.headers(), &header::DATE) {
            self.skew.note(asked, theirs, self.clock.now());
        }
        answer::read(response, intent, what, |text| {
            self.redact(&secrets.redact(text))
        })
        .await
    }

    /// Without our own credentials, should a server repeat them.
    pub(crate) fn redact(&self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let (Auth::Token(own) | Auth::Basic { password: own, .. }) = &self.auth;
        text::redacted(text, [secret(own)])
    }

    /// The first candidate whose ping answers like a controller.
    async fn discover(&self) -> Result<Url, ProviderError> {
        #[derive(Deserialize)]
        struct Ping {
            version: String,
        }
        let mut first = None;
        for candidate in &self.candidates {
            let (Ok(base), what) = (self.origin.join(candidate), "the controller's ping") else {
                continue;
            };
            let Ok(ping) = base.join("ping/") else {
                continue;
            };
            let answer = self
                .send(Method::GET, ping, None, None, what, &ExtraVars::new())
                .await;
            match answer.and_then(|answer| answer.json::<Ping>()) {
                Ok(ping) => {
                    tracing::debug!(
                        base = base.as_str(),
                        version = ping.version,
                        "found the controller"
                    );
                    return Ok(base);
                }
                // Only "there is no such path" is a reason to try the next one.
                Err(error) if is_elsewhere(&error) => {
                    first.get_or_insert(error);
                }
                Err(error) => return Err(not_sent(&error)),
            }
        }
        let tried = self.candidates.join(" or ");
        let why = first
            .map(|error| error.message().to_owned())
            .unwrap_or_default();
        Err(ProviderError::new(
            Effect::NotSent,
            ErrorKind::Unavailable,
            format!(
                "no controller answers at {} under {tried} ({why})",
                self.origin
            ),
        )
        .with_advice("set the URL to the address of the AAP or AWX controller, or of its gateway"))
    }
}

fn is_elsewhere(error: &ProviderError) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Protocol)
        || (error.kind() == ErrorKind::Unavailable && error.effect() == Effect::Rejected)
        || matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Forbidden)
}

/// The error of a preparing request, which leaves the request itself unsent.
pub(crate) fn not_sent(error: &ProviderError) -> ProviderError {
    let mut same = ProviderError::new(Effect::NotSent, error.kind(), error.message())
        .with_advice(error.advice());
    if let Some(wait) = error.retry_after() {
        same = same.with_retry_after(wait);
    }
    same
}

/// Takes the user's URL apart: the origin, and the API roots to try.
fn roots(given: &str) -> Result<(Url, Vec<&'static str>), ConfigError> {
    let refuse = |what: &str| ConfigError::new("url", what);
    let given = given.trim();
    let with_scheme = if given.contains("://") {
        given.to_owned()
    } else {
        format!("https://{given}")
    };
    let mut url = Url::parse(&with_scheme)
        .map_err(|error| refuse(&format!("it is not a URL ({error}); expected https://host")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refuse("expected http:// or https:// and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse(
            "it holds a user name or password; set them as credentials instead",
        ));
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    let (before, candidates) = [
        ("/api/controller/v2", vec![GATEWAY, CONTROLLER]),
        ("/api/controller", vec![GATEWAY, CONTROLLER]),
        ("/api/v2", vec![CONTROLLER, GATEWAY]),
        ("/api", vec![CONTROLLER, GATEWAY]),
    ]
    .into_iter()
    .find_map(|(end, candidates)| Some((path.strip_suffix(end)?.to_owned(), candidates)))
    .unwrap_or((path.clone(), vec![CONTROLLER, GATEWAY]));
    url.set_path(&format!("{before}/"));
    Ok((url, candidates))
}

fn http_client(config: &HttpConfig) -> Result<reqwest::ClientBuilder, ConfigError> {
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
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    // The controller translates its explanations.
    headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static("en"));
    let mut builder = reqwest::Client::builder()
        .user_agent(agent)
        .default_headers(headers)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(std_duration(config.connect_timeout))
        .timeout(std_duration(config.request_timeout))
        .tls_danger_accept_invalid_certs(config.insecure);
    if !config.proxy_from_environment {
        builder = builder.no_proxy();
    }
    if let Some(file) = &config.ca_file {
        let field = "http.caFile";
        let shown = file.display();
        let pem = std::fs::read(file)
            .map_err(|error| ConfigError::new(field, &format!("cannot read {shown}: {error}")))?;
        let certificates = reqwest::Certificate::from_pem_bundle(&pem)
            .ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| ConfigError::new(field, &format!("{shown} holds no PEM certificate")))?;
        builder = builder.tls_certs_merge(certificates);
    }
    Ok(builder)
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client, ConfigError> {
    builder
        .build()
        .map_err(|error| ConfigError::new("http", &format!("no connections can be made: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_url_names_one_origin() {
        for (given, origin, first) in [
            ("aap.example.com", "https://aap.example.com/", CONTROLLER),
            (
                "https://aap.example.com/",
                "https://aap.example.com/",
                CONTROLLER,
            ),
            ("http://h:8052/api", "http://h:8052/", CONTROLLER),
            ("https://h/api/", "https://h/", CONTROLLER),
            ("https://h/api/v2", "https://h/", CONTROLLER),
            ("https://h/api/v2/", "https://h/", CONTROLLER),
            ("https://h/api/controller", "https://h/", GATEWAY),
            ("https://h/api/controller/v2/", "https://h/", GATEWAY),
            ("https://h/awx/api/v2/", "https://h/awx/", CONTROLLER),
            (" https://h?x=1#y ", "https://h/", CONTROLLER),
        ] {
            let (url, candidates) = roots(given).unwrap();
            assert_eq!((url.as_str(), candidates[0]), (origin, first), "{given}");
        }
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_with_the_reason() {
        for (given, part) in [
            ("", "not a URL"),
            ("ftp://h", "expected http"),
            ("https://user:pass@h", "set them as credentials"),
            ("https://h:notaport", "not a URL"),
        ] {
            let error = roots(given).unwrap_err().to_string();
            assert!(
                error.contains(part) && !error.contains("pass@"),
                "{given}: {error}"
            );
        }
    }

    fn client() -> Client {
        let config = AapConfig::new("https://h/api", Auth::token("abcd"));
        Client::new(&config, Arc::new(provider_core::SystemClock)).unwrap()
    }

    #[test]
    fn a_path_from_an_answer_stays_on_the_origin() {
        let client = client();
        assert_eq!(
            client.on_origin("/api/v2/jobs/1/").unwrap().as_str(),
            "https://h/api/v2/jobs/1/"
        );
        assert_eq!(client.on_origin("https://evil/api/v2/jobs/1/"), None);
        for elsewhere in ["//evil/x", "/\\evil/x", "/\t/evil/x", "\\\\evil", "jobs/1/"] {
            assert_eq!(client.on_origin(elsewhere), None, "{elsewhere}");
        }
        assert_eq!(client.on_origin(&format!("/{}", "x".repeat(3_000))), None);
    }
}
