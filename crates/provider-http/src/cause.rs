//! What is at the bottom of a failed connection.

use provider_core::text;
use rustls::{AlertDescription, CertificateError};

use crate::certificate::{Sort, described};

/// What the causes of an error tell. The outer texts of the HTTP client say little, and repeat the URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// The innermost cause, bounded.
    pub text: String,
    /// Whether the host's name could not be resolved.
    pub dns: bool,
    /// Whether it is about TLS.
    pub tls: bool,
    /// Whether the other side did not accept our certificate. Nothing that we send is ever read then.
    pub refused_certificate: bool,
    /// Whether the other side ended the handshake and named no reason.
    pub no_agreement: bool,
    /// What to do about it, where that is known.
    pub advice: Option<&'static str>,
}

impl Cause {
    /// What is at the bottom of this error.
    #[must_use]
    pub fn of(error: &reqwest::Error) -> Self {
        Self::of_error(error, &[])
    }

    /// The same, where these certificates were trusted beside the system's.
    pub(crate) fn of_error(error: &(dyn std::error::Error + 'static), trusted: &[Sort]) -> Self {
        let mut cause = Self::default();
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            cause.dns |= text.starts_with("dns error");
            if let Some(tls) = tls_error(error) {
                cause.tls = true;
                cause.refused_certificate |= is_about_our_certificate(tls);
                cause.no_agreement |= matches!(
                    tls,
                    rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)
                );
                cause.advice = advice(tls, trusted);
            }
            cause.text = text::bounded(&text, 200);
            next = error.source();
        }
        cause
    }
}

/// An I/O error shows the text of what it wraps, but does not name it as its source.
fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    tls_error(error.downcast_ref::<std::io::Error>()?.get_ref()?)
}

fn advice(error: &rustls::Error, trusted: &[Sort]) -> Option<&'static str> {
    match error {
        rustls::Error::InvalidMessage(_) => Some(
            "what answers there speaks no TLS: write http:// where it is to be so, or correct the port",
        ),
        rustls::Error::InvalidCertificate(why) => of_certificate(why, trusted),
        rustls::Error::General(text) if text.contains("No CA certificates") => Some(
            "this machine has no store of certificates: install it (ca-certificates), or set a CA file",
        ),
        error if is_about_our_certificate(error) => {
            Some("set the client certificate that the service expects")
        }
        _ => None,
    }
}

fn of_certificate(why: &CertificateError, trusted: &[Sort]) -> Option<&'static str> {
    match why {
        CertificateError::UnknownIssuer => Some(described(trusted).unwrap_or(
            "set a CA file with the certificate of the CA that issued the server's certificate",
        )),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Some("the server's certificate has expired: renew it there")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Some("the server's certificate is not valid yet: compare the clocks")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Some(
                "the server's certificate is one for other names: use a name that it holds in the URL",
            )
        }
        // A case of the library below, which has no name here.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => Some(
            "the server shows the certificate of a CA (CA:TRUE) as its own, which is refused even where the CA \
             file holds it; issue the server a certificate by that CA, or make the self-signed one with \
             CA:FALSE and put it into the CA file",
        ),
        _ => None,
    }
}

fn is_about_our_certificate(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                // Of a CA with the name of the right one.
                | AlertDescription::DecryptError
        )
    )
}
