//! Who we are.

use std::fmt;

use provider_core::settings::{as_token, line, tidied, without_line_end};
use provider_core::text::MASK;
use provider_core::{Secret, SecretString};
use serde::Deserialize;

use super::secret;
use crate::ConfigError;

/// Who we are at the controller.
#[derive(Clone, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
#[non_exhaustive]
pub enum Auth {
    /// A personal access token (AAP 2.5 and later: a token of the gateway), scope `write`.
    Token(Secret),
    /// A user with password, where the controller allows basic authentication.
    Basic {
        /// Login name.
        username: String,
        /// Password.
        password: Secret,
    },
}

impl Auth {
    /// A bearer token.
    #[must_use]
    pub fn token(token: impl Into<Secret>) -> Self {
        Self::Token(token.into())
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

provider_core::guarded_settings!(Auth);

impl Auth {
    /// What proves who we are, as it is now and as it is sent.
    pub(crate) fn credential(&self) -> Result<SecretString, ConfigError> {
        let (field, given) = match self {
            Self::Token(token) => ("auth.token", token),
            Self::Basic { password, .. } => ("auth.basic.password", password),
        };
        let text = given.read();
        let text = text.map_err(|error| ConfigError::new(field, &error.to_string()))?;
        let text = secret(&text);
        Ok(match self {
            Self::Token(_) => as_token(field, text)?.0.into(),
            Self::Basic { .. } => without_line_end(text).into(),
        })
    }

    pub(crate) const fn secret(&self) -> &Secret {
        let (Self::Token(secret)
        | Self::Basic {
            password: secret, ..
        }) = self;
        secret
    }

    pub(super) fn tidy(&mut self) -> Result<(), ConfigError> {
        self.credential()?;
        match self {
            Self::Token(token) => {
                let now = token.read();
                let now =
                    now.map_err(|error| ConfigError::new("auth.token", &error.to_string()))?;
                if as_token("auth.token", secret(&now))?.1 {
                    tracing::warn!(
                        setting = "auth.token",
                        "quotes or the word Bearer around the token were taken off"
                    );
                }
            }
            Self::Basic { username, .. } => {
                let field = "auth.basic.username";
                *username = tidied(field, username).to_owned();
                line(field, username)?;
                if username.is_empty() || username.contains(':') {
                    let what = "the user name is empty or holds a colon";
                    return Err(ConfigError::new(field, what));
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => write!(f, "token {MASK}"),
            Self::Basic { username, .. } => write!(f, "user {username:?} with password {MASK}"),
        }
    }
}
