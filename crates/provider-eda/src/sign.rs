//! Signatures over a body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use provider_core::settings::without_line_end;
use ring::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512, Key};

use crate::{Algorithm, Encoding, Hmac, TransportKind};
use secrecy::ExposeSecret;

impl Hmac {
    /// The value of the signature's header for this body.
    #[must_use]
    pub fn signature(&self, transport: TransportKind, body: &[u8]) -> String {
        let (encoding, prefix) = self.form(transport);
        let algorithm = match self.algorithm {
            Algorithm::Sha1 => HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Algorithm::Sha256 => HMAC_SHA256,
            Algorithm::Sha384 => HMAC_SHA384,
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
            (TransportKind::RulebookWebhook, Algorithm::Sha1) => (Encoding::Hex, "sha1="),
            (TransportKind::RulebookWebhook, Algorithm::Sha256) => (Encoding::Hex, "sha256="),
            (TransportKind::RulebookWebhook, Algorithm::Sha384) => (Encoding::Hex, "sha384="),
            (TransportKind::RulebookWebhook, Algorithm::Sha512) => (Encoding::Hex, "sha512="),
        };
        (
            self.encoding.unwrap_or(encoding),
            self.prefix.as_deref().unwrap_or(prefix),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test case 2 of RFC 2202 and of RFC 4231.
    #[test]
    fn the_published_vectors_come_out_for_every_hash() {
        for (algorithm, expected) in [
            (
                Algorithm::Sha1,
                "sha1=effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            ),
            (
                Algorithm::Sha256,
                "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                Algorithm::Sha384,
                "sha384=af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e\
                 8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                Algorithm::Sha512,
                "sha512=164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
                 9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            let hmac = Hmac::new("Jefe").with_algorithm(algorithm);
            let body = b"what do ya want for nothing?";
            let hex = hmac.signature(TransportKind::RulebookWebhook, body);
            assert_eq!(hex, expected);
            let base64 = hmac.signature(TransportKind::EventStream, body);
            let digest = STANDARD.decode(base64).unwrap();
            let (_, hex) = hex.split_once('=').unwrap();
            assert_eq!(digest.len() * 2, hex.len());
            assert!(hex.starts_with(&format!("{:02x}", digest[0])));
        }
    }
}
