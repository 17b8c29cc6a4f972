//! One pool of connections, which is made anew when it is no good any more.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use provider_core::ConfigError;
use provider_core::settings::Print;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Client, ClientBuilder, RequestBuilder, Response};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use crate::certificate::{Sort, sort};
use crate::{Carrier, Cause, ClientIdentity, HttpConfig, SendError, SendFailure, std_duration};

/// After so many requests in a row that nobody answered, the connections are given up. A connection that
/// was swallowed on the way looks like a slow server, and a new pool costs one handshake.
const MOST_SILENT: u32 = 3;

/// Whoever gives a request up after so long has waited in vain, as if the request had timed out. Less than
/// any timer of ours around requests, and more than an answer usually takes: a program that ends gives up
/// requests that were sent just now, which say nothing of their connections.
const GIVEN_UP: Duration = Duration::from_secs(4);

/// A connection that has not been used for so long is closed: web servers close theirs after 65 s and
/// more, and whatever is sent at that moment is in doubt.
const IDLE: Duration = Duration::from_secs(30);

/// What differs between the pools of a program.
#[derive(Debug, Clone)]
pub struct Manner {
    /// Sent with every request.
    pub headers: HeaderMap,
    /// Where the settings name no other.
    pub user_agent: &'static str,
    /// Whether connections are to become something else than HTTP, and so begin as HTTP/1.1.
    pub upgrades: bool,
    /// Whether everything is sent in clear, so that a machine without a store of certificates will do.
    pub plain: bool,
}

/// The connections to one service.
///
/// Files of certificates are looked at before each request, and read again when they have changed. While
/// they cannot be used, because one of a pair has been replaced and the other has not, the connections stay
/// as they are.
#[derive(Debug)]
pub struct Pool {
    config: HttpConfig,
    manner: Manner,
    given_up: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    client: Client,
    trusted: Vec<Sort>,
    /// Counts the clients, so that requests of a former one say nothing of this one.
    age: u64,
    silent: u32,
    prints: Vec<Option<Print>>,
}

/// A request on its way. Who sent it may have a timer of their own, shorter than ours, and drop it.
struct Awaited<'a> {
    pool: &'a Pool,
    age: u64,
    since: Instant,
    is_over: bool,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if !self.is_over && self.since.elapsed() >= self.pool.given_up {
            let mut state = self.pool.lock();
            self.pool.unanswered(&mut state, self.age);
        }
    }
}

impl Pool {
    /// Connections by these settings; none is made yet.
    ///
    /// # Errors
    /// When a setting cannot work; the error names it.
    pub fn new(config: &HttpConfig, manner: Manner) -> Result<Self, ConfigError> {
        let prints = prints(config);
        let (client, trusted) = build(config, &manner)?;
        Ok(Self {
            config: config.clone(),
            manner,
            given_up: GIVEN_UP,
            state: Mutex::new(State {
                client,
                trusted,
                age: 0,
                silent: 0,
                prints,
            }),
        })
    }

    /// With another time after which a request that is dropped without an answer counts as one that timed
    /// out; 4 s by default.
    #[must_use]
    pub fn with_given_up_after(mut self, time: Duration) -> Self {
        self.given_up = time;
        self
    }

    /// Sends one request, made with the client that is in force; once, whatever comes back.
    ///
    /// Whoever drops this before an answer came has given the request up, which may have arrived.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn send(
        &self,
        make: impl FnOnce(&Client) -> RequestBuilder,
    ) -> Result<Response, SendError> {
        let (client, age) = self.client();
        if let Some(carrier) = &self.config.carrier {
            return self.carried(&**carrier, make(&client).build()?).await;
        }
        let mut awaited = Awaited {
            pool: self,
            age,
            since: Instant::now(),
            is_over: false,
        };
        let result = make(&client).send().await;
        awaited.is_over = true;
        let mut state = self.lock();
        let result = result.map_err(|error| {
            let cause = self.cause(&error, &state.trusted);
            SendError::with_cause(&error, cause)
        });
        match &result {
            Ok(_) if state.age == age => state.silent = 0,
            // Who cannot be connected to is no connection that was lost.
            Err(error) if error.failure == SendFailure::Timeout => {
                self.unanswered(&mut state, age);
            }
            Ok(_) | Err(_) => {}
        }
        result
    }

    /// Nobody answered a request of this client in time.
    fn unanswered(&self, state: &mut State, age: u64) {
        if state.age != age {
            return;
        }
        state.silent = state.silent.saturating_add(1);
        if state.silent >= MOST_SILENT {
            tracing::warn!(
                requests = state.silent,
                "nobody answered several requests in a row: connections are made anew"
            );
            self.renew(state);
        }
    }

    /// The client adds its headers and its time-out only to what it sends itself.
    async fn carried(
        &self,
        carrier: &dyn Carrier,
        mut request: reqwest::Request,
    ) -> Result<Response, SendError> {
        for (name, value) in headers(&self.config, &self.manner)
            .iter()
            .flat_map(HeaderMap::iter)
        {
            if !request.headers().contains_key(name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        let limit = request.timeout().copied();
        let limit = limit.unwrap_or_else(|| std_duration(self.config.request_timeout));
        tokio::time::timeout(limit, carrier.carry(request))
            .await
            .unwrap_or_else(|_| Err(SendError::new(SendFailure::Timeout, "operation timed out")))
    }

    /// What is at the bottom of an error of these connections.
    fn cause(&self, error: &reqwest::Error, trusted: &[Sort]) -> Cause {
        let mut cause = Cause::of_error(error, trusted);
        let is_set = self.config.client_identity.is_some();
        if !is_set && cause.refused_certificate {
            cause.advice = Some(
                "the service asks for a client certificate, and none is set: set http.clientIdentity to the \
                 certificate and its key",
            );
        } else if !is_set && cause.no_agreement {
            cause.advice = Some(
                "the service ended the handshake: it may ask for a client certificate, and none is set \
                 (http.clientIdentity)",
            );
        }
        cause
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> (Client, u64) {
        let mut state = self.lock();
        // A look at two or three files of a mounted Secret takes microseconds.
        let prints = prints(&self.config);
        if prints != state.prints {
            state.prints = prints;
            self.renew(&mut state);
        }
        (state.client.clone(), state.age)
    }

    fn renew(&self, state: &mut State) {
        state.silent = 0;
        match build(&self.config, &self.manner) {
            Ok((client, trusted)) => {
                state.client = client;
                state.trusted = trusted;
                state.age = state.age.saturating_add(1);
            }
            Err(error) => tracing::warn!(
                setting = error.field(),
                error = error.message(),
                "the certificates have changed and cannot be used; the former ones stay in force"
            ),
        }
    }
}

/// The files that connections are made from, as they are now.
fn prints(config: &HttpConfig) -> Vec<Option<Print>> {
    let identity = match &config.client_identity {
        Some(ClientIdentity::Files { certificate, key }) => [Some(certificate), Some(key)],
        Some(ClientIdentity::Pem(_)) | None => [None, None],
    };
    let files = std::iter::once(config.ca_file.as_ref()).chain(identity);
    files.flatten().map(|file| Print::of(file)).collect()
}

fn build(config: &HttpConfig, manner: &Manner) -> Result<(Client, Vec<Sort>), ConfigError> {
    // TLS needs a provider of cryptography for the process; an application that has chosen one
    // keeps it.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let (made, trusted) = builder(config, manner)?;
    let client = match made.build() {
        // Without the system's store; it is not needed.
        Err(_) if manner.plain && config.ca_file.is_none() => {
            builder(config, manner)?.0.tls_certs_only([]).build()
        }
        client => client,
    };
    match client {
        Ok(client) => Ok((client, trusted)),
        Err(error) => {
            let cause = Cause::of(&error);
            let advice = cause.advice.map(|advice| format!("; {advice}"));
            let message = format!(
                "no connections can be made: {}{}",
                cause.text,
                advice.unwrap_or_default()
            );
            Err(ConfigError::new("http", &message))
        }
    }
}

/// What is sent with every request.
fn headers(config: &HttpConfig, manner: &Manner) -> Result<HeaderMap, ConfigError> {
    let agent = config.user_agent.as_deref().unwrap_or(manner.user_agent);
    let agent = HeaderValue::from_str(agent)
        .map_err(|_| ConfigError::new("http.userAgent", "expected printable ASCII"))?;
    let mut headers = manner.headers.clone();
    headers.insert(USER_AGENT, agent);
    // Asking for gzip does not pay. A page of 200 jobs (763 kB) is packed tenfold in 3 ms and unpacked in 2 ms,
    // which is what 1 Gbit/s needs for it unpacked; AWX needs 2 s and more to make it, and its nginx has
    // gzip off (nothing varies by Accept-Encoding).
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(headers)
}

fn builder(
    config: &HttpConfig,
    manner: &Manner,
) -> Result<(ClientBuilder, Vec<Sort>), ConfigError> {
    let headers = headers(config, manner)?;
    let keep_alive = std_duration(config.keep_alive);
    let mut builder = Client::builder()
        .default_headers(headers)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .pool_idle_timeout(IDLE)
        .http2_keep_alive_interval(keep_alive)
        .http2_keep_alive_timeout(keep_alive / 2)
        .http2_keep_alive_while_idle(true)
        .connect_timeout(std_duration(config.connect_timeout))
        .timeout(std_duration(config.request_timeout))
        .tls_danger_accept_invalid_certs(config.insecure);
    if manner.upgrades {
        builder = builder.http1_only();
    }
    // What is carried within the process meets no certificate, and reading the system's takes milliseconds.
    if config.carrier.is_some() {
        builder = builder.tls_certs_only([]);
    }
    if !config.proxy_from_environment || nothing_by_proxy(|name| std::env::var(name).ok()) {
        builder = builder.no_proxy();
    }
    let mut trusted = Vec::new();
    if let Some(file) = &config.ca_file {
        let field = "http.caFile";
        let none = || {
            let what = "it holds no PEM certificate (-----BEGIN CERTIFICATE-----)";
            ConfigError::new(field, what)
        };
        let pem = read(field, file)?;
        let ders = rustls::pki_types::pem::PemObject::pem_slice_iter(&pem);
        let ders: Vec<rustls::pki_types::CertificateDer<'_>> = ders.flatten().collect();
        trusted = ders.iter().filter_map(|der| sort(der)).collect();
        let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| none())?;
        if certificates.is_empty() {
            return Err(none());
        }
        builder = builder.tls_certs_merge(certificates);
    }
    if let Some(identity) = &config.client_identity {
        builder = builder.identity(identity_of(identity)?);
    }
    Ok((builder, trusted))
}

fn identity_of(identity: &ClientIdentity) -> Result<reqwest::Identity, ConfigError> {
    let field = "http.clientIdentity";
    let pem = match identity {
        ClientIdentity::Pem(pem) => {
            let pem = pem.read();
            let pem = pem.map_err(|error| ConfigError::new(field, &error.to_string()))?;
            pem.expose_secret().as_bytes().to_vec()
        }
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
    reqwest::Identity::from_pem(&pem).map_err(|_| {
        let what = "expected a certificate and its unencrypted key in PEM";
        ConfigError::new(field, what)
    })
}

/// The path is not repeated: it may be a secret that was put in the wrong place.
fn read(field: &str, file: &Path) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(file).map_err(|error| {
        let message = format!("cannot read the file that it names: {}", error.kind());
        ConfigError::new(field, &message)
    })
}

/// `NO_PROXY=*`, which the HTTP client obeys for names of hosts and not for addresses.
fn nothing_by_proxy(vars: impl Fn(&str) -> Option<String>) -> bool {
    let list = vars("NO_PROXY").or_else(|| vars("no_proxy"));
    list.is_some_and(|list| list.split(',').any(|part| part.trim() == "*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_keeps_everything_from_proxies() {
        for (list, all) in [
            (None, false),
            (Some(""), false),
            (Some("example.com"), false),
            (Some("*"), true),
            (Some("example.com, *"), true),
            (Some("*.example.com"), false),
        ] {
            let vars = |name: &str| (name == "NO_PROXY").then(|| list.map(str::to_owned))?;
            assert_eq!(nothing_by_proxy(vars), all, "{list:?}");
        }
        assert!(nothing_by_proxy(
            |name| (name == "no_proxy").then(|| "*".to_owned())
        ));
    }
}
