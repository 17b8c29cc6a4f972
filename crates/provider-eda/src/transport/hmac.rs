//! How a body is signed.

use std::fmt;

use provider_core::Secret;
use provider_core::settings::{guarded, tidied, without_line_end};
use provider_core::text::MASK;
use serde::{Deserialize, Deserializer, Serialize};

use super::{header_name, printable, read, secret};
use crate::ConfigError;

/// A signature over the body.
#[derive(Clone, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
pub struct Hmac {
    /// The secret that both sides know.
    pub secret: Secret,
    /// The hash. Default: `sha256`.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// The header that carries the signature. Default: `X-Hub-Signature-256`.
    #[serde(default = "signature_header")]
    pub header: String,
    /// How the digest is written. Default: none, which is hex at a webhook and base64 at a stream.
    #[serde(default)]
    pub encoding: Option<Encoding>,
    /// What stands before the digest, such as `sha256=`; empty for nothing. Default: none, which is that of
    /// the algorithm (`sha256=`) at a webhook, and nothing at a stream.
    #[serde(default)]
    pub prefix: Option<String>,
}

fn signature_header() -> String {
    "X-Hub-Signature-256".to_owned()
}

/// The hash of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Algorithm {
    /// SHA-1, for receivers that know nothing better.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// How a digest is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Lower-case hexadecimal; upper case is refused by the webhook source.
    Hex,
    /// Base64 of the standard alphabet with padding.
    Base64,
}

/// A secret by itself, or among settings that say more.
impl<'de> Deserialize<'de> for Hmac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        guarded(deserializer, |tree| match tree.as_text() {
            Some(secret) => Ok(Self::new(secret)),
            None => Self::deserialize(tree),
        })
    }
}

impl Hmac {
    /// A signature with the transport's defaults.
    #[must_use]
    pub fn new(secret: impl Into<Secret>) -> Self {
        Self {
            secret: secret.into(),
            algorithm: Algorithm::default(),
            header: signature_header(),
            encoding: None,
            prefix: None,
        }
    }

    /// A signature as GitHub sends it: `sha256=` and hex.
    #[must_use]
    pub fn github(secret: impl Into<Secret>) -> Self {
        Self::new(secret)
            .with_encoding(Encoding::Hex)
            .with_prefix("sha256=")
    }

    /// In another header.
    #[must_use]
    pub fn with_header(mut self, header: impl Into<String>) -> Self {
        self.header = header.into();
        self
    }

    /// In this encoding.
    #[must_use]
    pub fn with_encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = Some(encoding);
        self
    }

    /// With this before the digest; empty for nothing.
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// With another hash.
    #[must_use]
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    pub(super) fn tidy(&mut self, field: &str) {
        let Self {
            secret: _,
            algorithm: _,
            header,
            encoding: _,
            prefix,
        } = self;
        *header = tidied(field, header).to_owned();
        // Blanks and quotes may belong to it.
        if let Some(prefix) = prefix {
            *prefix = without_line_end(prefix).to_owned();
        }
    }

    pub(super) fn validate(&self, field: &str) -> Result<(), ConfigError> {
        if secret(&read(field, &self.secret)?).is_empty() {
            return Err(ConfigError::new(field, "the secret is empty"));
        }
        header_name(field, &self.header)?;
        let prefix = self.prefix.as_deref().unwrap_or_default();
        printable(field, prefix, "the prefix")
    }
}

impl fmt::Debug for Hmac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "HMAC {:?} with secret {MASK} in {}",
            self.algorithm, self.header
        )?;
        if let Some(encoding) = self.encoding {
            write!(f, " as {encoding:?}")?;
        }
        match &self.prefix {
            Some(prefix) => write!(f, " with prefix {prefix:?}"),
            None => Ok(()),
        }
    }
}
