//! Just enough of certificates to say what a file holds.

/// What matters of a certificate when it is to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sort {
    /// Whether it names itself as a certificate authority (`CA:TRUE`).
    pub(crate) is_authority: bool,
    /// Whether its issuer is itself.
    pub(crate) is_self_signed: bool,
}

/// A value of DER: its tag, its content, and what comes after it.
fn value(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        let length = bytes.iter().try_fold(0_usize, |length, byte| {
            length.checked_mul(256)?.checked_add(usize::from(*byte))
        });
        (length?, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
/// `basicConstraints`, 2.5.29.19.
const CONSTRAINTS: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x13];
const TRUE: [u8; 3] = [0x01, 0x01, 0xff];

/// What sort of certificate this is; none where it cannot be read.
pub(crate) fn sort(der: &[u8]) -> Option<Sort> {
    let (SEQUENCE, certificate, _) = value(der)? else {
        return None;
    };
    let (SEQUENCE, signed, _) = value(certificate)? else {
        return None;
    };
    let (tag, _, after_version) = value(signed)?;
    let rest = if tag == VERSION {
        after_version
    } else {
        signed
    };
    let (_, _, rest) = value(rest)?; // serial number
    let (_, _, rest) = value(rest)?; // algorithm
    let (_, issuer, rest) = value(rest)?;
    let (_, _, rest) = value(rest)?; // validity
    let (_, subject, rest) = value(rest)?;
    let at = rest
        .windows(CONSTRAINTS.len())
        .position(|w| w == CONSTRAINTS);
    let is_authority = at
        .and_then(|at| rest.get(at.saturating_add(CONSTRAINTS.len())..))
        .is_some_and(|extension| {
            // First, if it is there, that the extension is critical.
            let inner = extension.strip_prefix(&TRUE).unwrap_or(extension);
            let octets = value(inner).and_then(|(_, octets, _)| value(octets));
            octets.is_some_and(|(_, constraints, _)| constraints.starts_with(&TRUE))
        });
    Some(Sort {
        is_authority,
        is_self_signed: issuer == subject,
    })
}

/// What a file of trusted certificates holds, in words, where that explains a refused server.
pub(crate) fn described(sorts: &[Sort]) -> Option<&'static str> {
    if sorts.is_empty() {
        return None;
    }
    if sorts
        .iter()
        .all(|sort| !sort.is_authority && !sort.is_self_signed)
    {
        return Some(
            "the CA file holds no certificate of a CA but a server's own; put that of the CA that issued it \
             into the file",
        );
    }
    Some("the CA file holds a CA, but not the one that issued the server's certificate")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    #[test]
    fn certificates_are_told_apart() {
        let key = KeyPair::generate().unwrap();
        let plain = CertificateParams::new(vec!["h".to_owned()]).unwrap();
        let mut authority = plain.clone();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let mut not_one = plain.clone();
        not_one.is_ca = IsCa::ExplicitNoCa;
        for (params, is_authority) in [(&plain, false), (&authority, true), (&not_one, false)] {
            let certificate = params.self_signed(&key).unwrap();
            let expected = Sort {
                is_authority,
                is_self_signed: true,
            };
            assert_eq!(sort(certificate.der()), Some(expected));
        }
        let mut named = authority.clone();
        named
            .distinguished_name
            .push(rcgen::DnType::CommonName, "of somebody");
        let issuer = Issuer::new(named, KeyPair::generate().unwrap());
        let leaf = plain.signed_by(&key, &issuer).unwrap();
        let sort_of_leaf = sort(leaf.der()).unwrap();
        assert!(!sort_of_leaf.is_authority && !sort_of_leaf.is_self_signed);
        for end in 0..leaf.der().len() {
            // Cut anywhere, it is no certificate, and no panic.
            let _ = sort(&leaf.der()[..end]);
        }
        assert_eq!(sort(b"-----BEGIN"), None);
    }
}
