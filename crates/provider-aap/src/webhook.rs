//! Hints from the controller's webhook notifications.
//!
//! A notification is sent once, late by seconds, and not for every end (AWX 24.6.1: not for jobs that
//! are canceled while pending). It has no signature, so a header with a secret tells who sends it; and
//! it only ever makes a look come earlier.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::routing::post;
use provider_core::SecretString;
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use crate::AapProvider;
use crate::config::secret;

/// Notifications hold the job's variables and its hosts.
const MAX_BODY: usize = 4 << 20;

struct Receiver {
    provider: Arc<AapProvider>,
    header: HeaderName,
    secret: SecretString,
}

#[derive(Deserialize)]
struct Notification {
    id: u64,
}

impl AapProvider {
    /// A route to be mounted where the controller's webhook notifications are sent to (`POST`, at the
    /// path where it is nested). The notification template sets this header to this secret.
    ///
    /// Answers 204 whether or not the job is one of ours, 401 without the secret, 400 for anything
    /// that is no notification.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use provider_aap::AapProvider;
    /// # fn mount(provider: Arc<AapProvider>) -> axum::Router {
    /// let header = axum::http::HeaderName::from_static("x-provider-secret");
    /// axum::Router::new().nest("/aap", provider.notifications(header, "s3cret"))
    /// # }
    /// ```
    pub fn notifications(
        self: &Arc<Self>,
        header: HeaderName,
        expected: impl Into<SecretString>,
    ) -> Router {
        let receiver = Receiver {
            provider: Arc::clone(self),
            header,
            secret: expected.into(),
        };
        Router::new()
            .route("/", post(receive))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(Arc::new(receiver))
    }
}

async fn receive(
    State(receiver): State<Arc<Receiver>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let given = headers.get(&receiver.header).map(HeaderValue::as_bytes);
    // Digests of equal length are compared, so that the time tells nothing of the secret.
    let expected = digest(&SHA256, secret(&receiver.secret).as_bytes());
    let given = digest(&SHA256, given.unwrap_or_default());
    let differs = expected
        .as_ref()
        .iter()
        .zip(given.as_ref())
        .fold(0, |sum, (a, b)| sum | (a ^ b));
    if differs != 0 || secret(&receiver.secret).is_empty() {
        return StatusCode::UNAUTHORIZED;
    }
    match serde_json::from_slice::<Notification>(&body) {
        Ok(notification) => {
            receiver.provider.monitor.hint(notification.id);
            StatusCode::NO_CONTENT
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}
