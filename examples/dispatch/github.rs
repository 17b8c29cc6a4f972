//! Requests to GitHub, as a provider over HTTP makes them: what an answer means, and nothing that
//! repeats it.

use std::time::Duration;

use provider_core::http::{Intent, Refused};
use provider_core::{Effect, ErrorKind, ProviderError};
use reqwest::header::{AUTHORIZATION, HeaderValue, USER_AGENT};
use reqwest::{ClientBuilder, RequestBuilder, redirect::Policy};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Answer;

/// More than a page of 100 runs has.
const MAX_BODY: usize = 8 << 20;

#[derive(Debug)]
pub(crate) struct GitHub {
    client: reqwest::Client,
    /// Marked as sensitive: no `Debug` shows it.
    authorization: HeaderValue,
    repository: String,
}

impl GitHub {
    /// For a repository, as `https://api.github.com/repos/OWNER/NAME`.
    pub(crate) fn new(client: ClientBuilder, repository: String, token: &str) -> Answer<Self> {
        let invalid = |what: &str| ProviderError::new(Effect::NotSent, ErrorKind::Invalid, what);
        let authorization = HeaderValue::try_from(format!("Bearer {token}"));
        let mut authorization = authorization.map_err(|_| invalid("the token is no header"))?;
        authorization.set_sensitive(true);
        // A redirected launch may be sent twice, and the token to somebody else.
        let client = client
            .redirect(Policy::none())
            .timeout(Duration::from_secs(30));
        Ok(Self {
            client: client
                .build()
                .map_err(|_| invalid("no client can be built"))?,
            authorization,
            repository,
        })
    }

    /// A request that changes something, with the one status that says so.
    pub(super) async fn post(
        &self,
        what: &str,
        path: &str,
        body: Option<Value>,
        good: u16,
    ) -> Answer<Vec<u8>> {
        let mut request = self.client.post(format!("{}{path}", self.repository));
        if let Some(body) = body {
            request = request.json(&body);
        }
        self.ask(what, request, Intent::Writes, good).await
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, what: &str, path: &str) -> Answer<T> {
        let request = self.client.get(format!("{}{path}", self.repository));
        let bytes = self.ask(what, request, Intent::Reads, 200).await?;
        serde_json::from_slice(&bytes).map_err(|_| {
            let text = format!("the answer to {what} is not what GitHub answers");
            ProviderError::new(Effect::Unreadable, ErrorKind::Protocol, text)
        })
    }

    /// No error holds a text of the backend, which may repeat what it was sent.
    async fn ask(
        &self,
        what: &str,
        request: RequestBuilder,
        intent: Intent,
        good: u16,
    ) -> Answer<Vec<u8>> {
        let failed = |error: reqwest::Error| {
            // Without a connection nothing was sent. Later, anything may have been carried out.
            let effect = match error.is_connect() {
                true => Effect::NotSent,
                false => intent.doubt(),
            };
            let text = format!("{what} has no answer");
            ProviderError::new(effect, ErrorKind::Unavailable, text)
        };
        let request = request.header(AUTHORIZATION, self.authorization.clone());
        let request = request.header(USER_AGENT, super::NAME);
        let mut response = request.send().await.map_err(failed)?;
        let headers = response.headers();
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let (wait, date) = (header("retry-after"), header("date"));
        let status = match response.status().as_u16() {
            403 if wait.is_some() => 429, // both are said of too many requests
            status => status,
        };
        if status != good {
            let refused = Refused::new(status, intent).with_retry_after(wait, date);
            return Err(match status {
                // GitHub looks at the inputs of a launch before it does anything.
                422 => refused.before_anything().error(what),
                _ => refused.error(what),
            });
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_BODY {
                let text = format!("the answer to {what} is too long");
                let (effect, kind) = (Effect::Unreadable, ErrorKind::Protocol);
                return Err(ProviderError::new(effect, kind, text));
            }
        }
        Ok(bytes)
    }
}
