//! How connections are made.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::SignedDuration;
use provider_core::settings::tidied;
use provider_core::text::MASK;
use provider_core::{ConfigError, Secret};
use serde::Deserialize;

use crate::Carrier;

/// How connections are made.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct HttpConfig {
    /// A PEM file with certificates to trust beside the system's; read again when it changes. Default: none.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, where the other side asks for one. Default: none.
    pub client_identity: Option<ClientIdentity>,
    /// Trust any certificate. Everything sent can then be read and changed by others on the way. Default: off.
    pub insecure: bool,
    /// Use the proxies that the environment names (`HTTPS_PROXY`, `NO_PROXY`, …). Default: on.
    pub proxy_from_environment: bool,
    /// How long the making of a connection may take. Default: 10s.
    pub connect_timeout: SignedDuration,
    /// How long a request may take. What it has started may be carried out much later, so this is not a
    /// way to take it back. Default: 30s.
    pub request_timeout: SignedDuration,
    /// How often an HTTP/2 connection is tried out while nothing else is on it. One that has not answered
    /// after half of that is given up. Default: 10s.
    pub keep_alive: SignedDuration,
    /// The `User-Agent`. Default: none, which sends the name and version of the library.
    pub user_agent: Option<String>,
    /// What carries the requests instead of connections: for tests. No configuration can name one. Default: none.
    #[serde(skip)]
    pub carrier: Option<Arc<dyn Carrier>>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            ca_file: None,
            client_identity: None,
            insecure: false,
            proxy_from_environment: true,
            connect_timeout: SignedDuration::from_secs(10),
            request_timeout: SignedDuration::from_secs(30),
            keep_alive: SignedDuration::from_secs(10),
            user_agent: None,
            carrier: None,
        }
    }
}

/// A certificate and its key, in PEM.
#[derive(Clone, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum ClientIdentity {
    /// Both in one text.
    Pem(Secret),
    /// In files, which may be the same one; read again when one of them changes.
    Files {
        /// The certificate, with its chain.
        certificate: PathBuf,
        /// The key, not encrypted.
        key: PathBuf,
    },
}

provider_core::guarded_settings!(HttpConfig, ClientIdentity);

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pem(_) => f.write_str(MASK),
            Self::Files { certificate, key } => {
                write!(f, "{} with key {}", certificate.display(), key.display())
            }
        }
    }
}

impl HttpConfig {
    /// Takes blanks and line ends off the texts, and refuses times that cannot work. Names of settings
    /// begin with `http.`.
    ///
    /// # Errors
    /// When a setting cannot work; the error names it.
    pub fn tidy(&mut self) -> Result<(), ConfigError> {
        if let Some(file) = &mut self.ca_file {
            tidy_path("http.caFile", file);
        }
        if let Some(ClientIdentity::Files { certificate, key }) = &mut self.client_identity {
            tidy_path("http.clientIdentity", certificate);
            tidy_path("http.clientIdentity", key);
        }
        if let Some(agent) = &mut self.user_agent {
            *agent = tidied("http.userAgent", agent).to_owned();
        }
        for (field, value) in [
            ("http.connectTimeout", self.connect_timeout),
            ("http.requestTimeout", self.request_timeout),
            ("http.keepAlive", self.keep_alive),
        ] {
            if value < SignedDuration::from_millis(1) {
                return Err(ConfigError::new(field, "expected more than no time"));
            }
        }
        Ok(())
    }
}

fn tidy_path(field: &str, path: &mut PathBuf) {
    if let Some(text) = path.to_str() {
        *path = PathBuf::from(tidied(field, text));
    }
}
