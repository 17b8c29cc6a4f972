//! HMAC as RFC 2104 writes it down, on purpose not by the library that senders use.

use base64::Engine;
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::world::{HmacCheck, HmacHash};

/// `block` is the length of the hash's blocks.
fn hmac<D: Digest>(block: usize, key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut padded = if key.len() > block {
        D::digest(key).to_vec()
    } else {
        key.to_vec()
    };
    padded.resize(block, 0);
    let with = |byte: u8| -> Vec<u8> { padded.iter().map(|one| one ^ byte).collect() };
    let inner = D::new()
        .chain_update(with(0x36))
        .chain_update(body)
        .finalize();
    D::new()
        .chain_update(with(0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

impl HmacCheck {
    /// The digest of a body, as it is written in the header.
    pub(super) fn digest(&self, body: &[u8]) -> String {
        let key = self.secret.as_bytes();
        let digest = match self.hash {
            HmacHash::Sha256 => hmac::<Sha256>(64, key, body),
            HmacHash::Sha384 => hmac::<Sha384>(128, key, body),
            HmacHash::Sha512 => hmac::<Sha512>(128, key, body),
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

    /// Test cases 2 and 6 of RFC 4231.
    #[test]
    fn the_published_vectors_come_out() {
        let hex = |key: &[u8], body: &[u8]| -> String {
            let digest = hmac::<Sha256>(64, key, body);
            digest.iter().map(|b| format!("{b:02x}")).collect()
        };
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
