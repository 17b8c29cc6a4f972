//! HMAC as RFC 2104 writes it down, on purpose not by the library that senders use.

use base64::Engine;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::world::{HmacCheck, HmacHash};

/// `block` is the length of the hash's blocks.
fn hmac(hash: fn(&[u8]) -> Vec<u8>, block: usize, key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut padded = if key.len() > block {
        hash(key)
    } else {
        key.to_vec()
    };
    padded.resize(block, 0);
    let with = |byte: u8, text: &[u8]| -> Vec<u8> {
        let mut all: Vec<u8> = padded.iter().map(|one| one ^ byte).collect();
        all.extend(text);
        all
    };
    hash(&with(0x5c, &hash(&with(0x36, body))))
}

fn sha1(text: &[u8]) -> Vec<u8> {
    use sha1::Digest;
    Sha1::digest(text).to_vec()
}

fn sha2<D: Digest>(text: &[u8]) -> Vec<u8> {
    D::digest(text).to_vec()
}

impl HmacHash {
    /// As the other side's settings write it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

impl HmacCheck {
    /// The digest of a body, as it is written in the header.
    pub(super) fn digest(&self, body: &[u8]) -> String {
        let key = self.secret.as_bytes();
        let digest = match self.hash {
            HmacHash::Sha1 => hmac(sha1, 64, key, body),
            HmacHash::Sha256 => hmac(sha2::<Sha256>, 64, key, body),
            HmacHash::Sha384 => hmac(sha2::<Sha384>, 128, key, body),
            HmacHash::Sha512 => hmac(sha2::<Sha512>, 128, key, body),
        };
        if self.base64 {
            base64::engine::general_purpose::STANDARD.encode(digest)
        } else {
            digest.iter().map(|byte| format!("{byte:02x}")).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digest: &[u8]) -> String {
        digest.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Test case 2 of RFC 2202, and 2 and 6 of RFC 4231.
    #[test]
    fn the_published_vectors_come_out() {
        let first = hmac(sha1, 64, b"Jefe", b"what do ya want for nothing?");
        assert_eq!(hex(&first), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        let hex = |key: &[u8], body: &[u8]| hex(&hmac(sha2::<Sha256>, 64, key, body));
        assert_eq!(
            hex(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First"
            ),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }
}
