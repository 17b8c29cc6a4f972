//! One connection pool to one controller, with its base path discovered once, and again when it moves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use provider_core::http::Intent;
use provider_core::settings::ConfigError;
use provider_core::{Clock, Effect, ErrorKind, ExtraVars, ProviderError, SecretString};
#[cfg(feature = "push")]
use provider_http::SendError;
pub(crate) use provider_http::std_duration;
use provider_http::{Manner, Pool, date};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, header};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::answer::{self, Answer, Refused};
use crate::config::{AapConfig, Auth, secret};
use crate::place::{self, Place, is_same_or_safer};
use crate::shared::Shared;
use crate::skew::Skew;

/// Sends requests; knows nothing of jobs.
pub(crate) struct Client {
    pool: Pool,
    auth: Auth,
    place: Place,
    /// Where the API was found. Another one, when it is not there any more.
    base: Mutex<Arc<Shared<Url>>>,
    /// How far the controller's clock is from ours.
    pub(crate) skew: Skew,
    clock: Arc<dyn Clock>,
    cancel_timeout: Duration,
    /// Connections that become something else than HTTP; those begin as HTTP/1.1.
    #[cfg(feature = "push")]
    upgrading: Pool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("origin", &self.place.origin.as_str())
            .field("base", &self.shared().get().map(Url::as_str))
            .finish_non_exhaustive()
    }
}

/// The longest URL of a job that is kept; the records' schema has the same bound.
const MAX_URL: usize = 2_000;

/// How often a redirect is followed, of the ping alone.
const MAX_REDIRECTS: u8 = 3;

/// A request, apart from where it goes.
struct Sent<'a> {
    method: Method,
    body: Option<&'a Value>,
    timeout: Option<Duration>,
    what: &'a str,
    secrets: &'a ExtraVars,
}

impl<'a> Sent<'a> {
    const fn get(what: &'a str, secrets: &'a ExtraVars) -> Self {
        Self {
            method: Method::GET,
            body: None,
            timeout: None,
            what,
            secrets,
        }
    }

    fn intent(&self) -> Intent {
        if self.method == Method::GET {
            Intent::Reads
        } else {
            Intent::Writes
        }
    }
}

const PING: &str = "the controller's ping";

#[derive(Deserialize)]
struct Ping {
    version: String,
}

impl Client {
    pub(crate) fn new(config: &AapConfig, clock: Arc<dyn Clock>) -> Result<Self, ConfigError> {
        let place = Place::of(&config.url)?;
        let manner = |upgrades| Manner {
            upgrades,
            plain: place.origin.scheme() == "http",
            headers: headers(),
            user_agent: concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")),
        };
        Ok(Self {
            pool: Pool::new(&config.http, manner(false))?,
            #[cfg(feature = "push")]
            upgrading: Pool::new(&config.http, manner(true))?,
            place,
            auth: config.auth.clone(),
            base: Mutex::default(),
            skew: Skew::default(),
            clock,
            cancel_timeout: std_duration(config.timing.cancel_timeout),
        })
    }

    /// `GET` below the API's root.
    pub(crate) async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        what: &str,
    ) -> Result<Answer, ProviderError> {
        self.send_below(path, query, Sent::get(what, &ExtraVars::new()))
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
        let none = ExtraVars::new();
        let mut sent = Sent::get(what, &none);
        sent.timeout = Some(patience);
        self.send_below(path, query, sent).await
    }

    /// `POST` below the API's root; never repeated, never redirected.
    pub(crate) async fn post(
        &self,
        path: &str,
        body: &Value,
        what: &str,
        secrets: &ExtraVars,
    ) -> Result<Answer, ProviderError> {
        let sent = Sent {
            method: Method::POST,
            body: Some(body),
            timeout: None,
            what,
            secrets,
        };
        self.send_below(path, &[], sent).await
    }

    /// `POST` of a cancel, which may take long.
    pub(crate) async fn post_cancel(
        &self,
        path: &str,
        what: &str,
    ) -> Result<Answer, ProviderError> {
        let sent = Sent {
            method: Method::POST,
            body: Some(&Value::Object(serde_json::Map::new())),
            timeout: Some(self.cancel_timeout),
            what,
            secrets: &ExtraVars::new(),
        };
        self.send_below(path, &[], sent).await
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
        let at = place::websockets_of(&self.base().await?);
        let url = at.join(path).map_err(|_| no_path())?;
        let credential = self.credential()?;
        let make = |http: &reqwest::Client| {
            let request = http
                .get(url)
                .header(header::CONNECTION, "Upgrade")
                .header(header::UPGRADE, "websocket")
                .header(header::SEC_WEBSOCKET_VERSION, "13")
                .header(header::SEC_WEBSOCKET_KEY, key)
                .header(header::COOKIE, format!("csrftoken={csrf}"));
            self.authorized(request, &credential)
        };
        let unread = |error: SendError| answer::transport(&error, Intent::Reads, what);
        let response = self.upgrading.send(make).await.map_err(unread)?;
        let status = response.status().as_u16();
        if status == 101 {
            return response
                .upgrade()
                .await
                .map_err(|error| unread(error.into()));
        }
        if matches!(status, 401 | 403) {
            self.auth.secret().doubt();
        }
        let refused = provider_core::http::Refused::new(status, Intent::Reads).by_somebody_else();
        let text = format!("{what} answered {status}");
        Err(ProviderError::new(refused.effect(), refused.kind(), text)
            .with_advice("let websockets through to the controller; without them, jobs are polled"))
    }

    fn shared(&self) -> Arc<Shared<Url>> {
        Arc::clone(&self.base.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The API's root, discovered at the first use.
    pub(crate) async fn base(&self) -> Result<Url, ProviderError> {
        let base = self.shared();
        base.get_or_make(|| self.discover()).await.cloned()
    }

    /// The API is not where it was, it seems: it is looked for at the next use.
    fn forget(&self, base: &Url) {
        let mut shared = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.get() == Some(base) {
            *shared = Arc::default();
        }
    }

    /// A path that the server gave us, where it is reached by the configured URL.
    pub(crate) fn on_origin(&self, path: &str) -> Option<Url> {
        if path.len() > MAX_URL || !path.starts_with('/') {
            return None;
        }
        let shared = self.shared();
        let origin = shared.get().unwrap_or(&self.place.origin);
        // A proxy may show the API elsewhere than where the controller believes that it is.
        let url = match (shared.get(), place::below_api(path)) {
            (Some(base), Some(below)) => base.join(&format!("./{below}")),
            _ => origin.join(path),
        };
        // What looks like a path can lead elsewhere ("//host", "/\\host"), and our token with it.
        url.ok().filter(|url| url.origin() == origin.origin())
    }

    async fn send_below(
        &self,
        path: &str,
        query: &[(&str, &str)],
        sent: Sent<'_>,
    ) -> Result<Answer, ProviderError> {
        let base = self.base().await?;
        let mut url = base.join(path).map_err(|_| no_path())?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let refused = match self.send(url, &sent).await {
            Ok(answer) => return Ok(answer),
            Err(refused) => refused,
        };
        if refused.is_in_its_words && !self.is_there(&base).await {
            self.forget(&base);
            return Err(answer::not_by_the_controller(sent.what));
        }
        let is_away = refused.error.kind() == ErrorKind::Unavailable
            && matches!(refused.status, 404 | 301 | 302 | 303 | 307 | 308);
        if is_away {
            self.forget(&base);
        }
        Err(refused.error)
    }

    async fn send(&self, url: Url, sent: &Sent<'_>) -> Result<Answer, Refused> {
        let credential = self.credential()?;
        let first = self.send_as(&credential, url.clone(), sent).await;
        let Err(refused) = &first else {
            return first;
        };
        if refused.status != 401 {
            return first;
        }
        // It may have been rotated since.
        self.auth.secret().doubt();
        let now = self.credential()?;
        if secret(&now) == secret(&credential) || sent.intent() == Intent::Writes {
            return first;
        }
        self.send_as(&now, url, sent).await
    }

    async fn send_as(
        &self,
        credential: &SecretString,
        url: Url,
        sent: &Sent<'_>,
    ) -> Result<Answer, Refused> {
        let (intent, what) = (sent.intent(), sent.what);
        let make = |http: &reqwest::Client| {
            let request = http.request(sent.method.clone(), url);
            let mut request = self.authorized(request, credential);
            if let Some(body) = sent.body {
                request = request.json(body);
            }
            if let Some(timeout) = sent.timeout {
                request = request.timeout(timeout);
            }
            request
        };
        let asked = self.clock.now();
        let response = self.pool.send(make).await.map_err(|error| {
            let said = answer::transport(&error, intent, what);
            if self.place.is_assumed && error.cause.tls {
                let advice = format!(
                    "the URL names no scheme, so https:// was assumed; {}",
                    said.advice()
                );
                return said.with_advice(advice);
            }
            said
        })?;
        if let Some(theirs) = date(response.headers(), &header::DATE) {
            self.skew.note(asked, theirs, self.clock.now());
        }
        answer::read(response, intent, what, |text| {
            self.redact(&sent.secrets.redact(text))
        })
        .await
    }

    fn credential(&self) -> Result<SecretString, ProviderError> {
        self.auth.credential().map_err(|error| {
            let (kind, text) = (ErrorKind::Unauthorized, error.to_string());
            ProviderError::new(Effect::NotSent, kind, text)
        })
    }

    fn authorized(&self, request: RequestBuilder, credential: &SecretString) -> RequestBuilder {
        match &self.auth {
            Auth::Token(_) => request.bearer_auth(secret(credential)),
            Auth::Basic { username, .. } => request.basic_auth(username, Some(secret(credential))),
        }
    }

    /// Without our own credentials, should a server repeat them.
    pub(crate) fn redact(&self, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        self.auth.secret().redact(text)
    }

    /// Whether the controller answers under this root at this moment.
    async fn is_there(&self, base: &Url) -> bool {
        let Ok(ping) = base.join("ping/") else {
            return false;
        };
        let answer = self.send(ping, &Sent::get(PING, &ExtraVars::new())).await;
        answer.is_ok_and(|answer| answer.json::<Ping>().is_ok())
    }

    /// The first candidate whose ping answers like a controller.
    async fn discover(&self) -> Result<Url, ProviderError> {
        let mut first = None;
        let mut refused = None;
        for candidate in &self.place.candidates {
            match self.ping(candidate.clone()).await {
                Ok(base) => return Ok(base),
                // A gateway may refuse where it serves nothing, too.
                Err(error) if is_refusal(&error) => {
                    refused.get_or_insert((candidate, error));
                }
                // Only "there is no such path" is a reason to try the next one.
                Err(error) if is_elsewhere(&error) => {
                    first.get_or_insert(error);
                }
                Err(error) => return Err(not_sent(&error)),
            }
        }
        if let Some((at, error)) = refused {
            // Whoever refuses is there; what it lacks is not another address.
            let mut told = ProviderError::new(
                Effect::NotSent,
                error.kind(),
                format!("{} (at {at})", error.message()),
            )
            .with_advice(error.advice());
            if let Some(wait) = error.retry_after() {
                told = told.with_retry_after(wait);
            }
            return Err(told);
        }
        let mut tried: Vec<&str> = self.place.candidates.iter().map(Url::path).collect();
        tried.dedup();
        let (why, advice) = match &first {
            Some(error) if error.message().contains("redirected") => {
                (error.message(), error.advice())
            }
            Some(error) => (error.message(), ""),
            None => ("", ""),
        };
        let advice = if advice.is_empty() {
            "set the URL to the address of the AAP or AWX controller, or of its gateway: https://HOST, or \
             https://HOST/PREFIX where the API is at https://HOST/PREFIX/api/v2/"
        } else {
            advice
        };
        Err(ProviderError::new(
            Effect::NotSent,
            ErrorKind::Unavailable,
            format!(
                "no controller answers at {} under {} ({why})",
                self.place.origin,
                tried.join(" or ")
            ),
        )
        .with_advice(advice))
    }

    /// Where the ping of this root leads to a controller: there, or to another root of the same host.
    async fn ping(&self, mut base: Url) -> Result<Url, ProviderError> {
        for _ in 0..=MAX_REDIRECTS {
            let ping = base.join("ping/").map_err(|_| no_path())?;
            let answer = self
                .send(ping.clone(), &Sent::get(PING, &ExtraVars::new()))
                .await;
            let refused = match answer {
                Ok(answer) => {
                    let version = answer.json::<Ping>()?.version;
                    tracing::debug!(base = base.as_str(), version, "found the controller");
                    return Ok(base);
                }
                Err(refused) => refused,
            };
            let to = refused.location.as_deref();
            let to = to.and_then(|to| ping.join(to).ok());
            let to = to.filter(|to| is_same_or_safer(&ping, to) && to.path().ends_with("/ping/"));
            let Some(moved) = to.and_then(|to| to.join("../").ok()) else {
                return Err(refused.error);
            };
            tracing::warn!(
                from = base.as_str(),
                to = moved.as_str(),
                "the controller's API redirects: set the URL to the place that it redirects to"
            );
            base = moved;
        }
        Err(ProviderError::new(
            Effect::Rejected,
            ErrorKind::Unavailable,
            format!("{PING} is redirected again and again"),
        ))
    }
}

fn no_path() -> ProviderError {
    ProviderError::new(
        Effect::NotSent,
        ErrorKind::Invalid,
        "the path cannot be used in a URL",
    )
}

fn is_elsewhere(error: &ProviderError) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Protocol)
        || (error.kind() == ErrorKind::Unavailable && error.effect() == Effect::Rejected)
}

/// By an answer; a certificate of ours that was not accepted got none.
fn is_refusal(error: &ProviderError) -> bool {
    error.effect() == Effect::Rejected
        && matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::Forbidden)
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

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    // The controller translates its explanations.
    headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static("en"));
    headers
}

#[cfg(test)]
mod tests;
