//! HMAC-SHA-256 as RFC 2104 writes it down, on purpose not by the library that senders use.

use base64::Engine;
use sha2::{Digest, Sha256};

use super::world::HmacCheck;

const BLOCK: usize = 64;

fn hmac(key: &[u8], body: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; BLOCK];
    if key.len() > BLOCK {
        for (to, from) in block.iter_mut().zip(Sha256::digest(key)) {
            *to = from;
        }
    } else {
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
    }
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(body)
        .finalize();
    Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

impl HmacCheck {
    /// The digest of a body, as it is written in the header.
    pub(super) fn digest(&self, body: &[u8]) -> String {
        let digest = hmac(self.secret.as_bytes(), body);
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
            hmac(key, body).iter().map(|b| format!("{b:02x}")).collect()
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
