//! Signatures over a body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use provider_core::settings::without_line_end;
use ring::hmac::{self, HMAC_SHA256, HMAC_SHA512, Key};

use crate::{Algorithm, Encoding, Hmac, TransportKind};
use secrecy::ExposeSecret;

impl Hmac {
    /// The value of the signature's header for this body.
    #[must_use]
    pub fn signature(&self, transport: TransportKind, body: &[u8]) -> String {
        let (encoding, prefix) = self.form(transport);
        let algorithm = match self.algorithm {
            Algorithm::Sha256 => HMAC_SHA256,
            Algorithm::Sha512 => HMAC_SHA512,
        };
        let secret = self.secret.now();
        let key = Key::new(
            algorithm,
            without_line_end(secret.expose_secret()).as_bytes(),
        );
        let digest = hmac::sign(&key, body);
        let digest = digest.as_ref();
        let mut value = prefix.to_owned();
        match encoding {
            Encoding::Hex => {
                for byte in digest {
                    for nibble in [byte >> 4, byte & 15] {
                        value.extend(char::from_digit(u32::from(nibble), 16));
                    }
                }
            }
            Encoding::Base64 => STANDARD.encode_string(digest, &mut value),
        }
        value
    }

    /// Encoding and prefix, as configured or by the default of the other side: the webhook source
    /// takes hex with or without its prefix, the credential type "HMAC" of event streams base64
    /// and exactly the prefix it is configured with, by default none.
    fn form(&self, transport: TransportKind) -> (Encoding, &str) {
        let (encoding, prefix) = match (transport, self.algorithm) {
            (TransportKind::EventStream, _) => (Encoding::Base64, ""),
            (TransportKind::RulebookWebhook, Algorithm::Sha256) => (Encoding::Hex, "sha256="),
            (TransportKind::RulebookWebhook, Algorithm::Sha512) => (Encoding::Hex, "sha512="),
        };
        (
            self.encoding.unwrap_or(encoding),
            self.prefix.as_deref().unwrap_or(prefix),
        )
    }
}
