//! Headers that mean the same everywhere.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// Longer than this nobody is kept waiting.
const MOST: Duration = Duration::from_secs(3_600);

/// The time in a header such as `Date`.
#[must_use]
pub fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    let text = headers.get(name)?.to_str().ok()?;
    Some(jiff::fmt::rfc2822::parse(text).ok()?.timestamp())
}

/// How long `Retry-After` asks to wait, at most an hour: seconds, with or without a fraction, or a moment.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<f64>() {
        // Too many seconds for a duration are still too many.
        Ok(seconds) if seconds >= MOST.as_secs_f64() => MOST,
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => provider_core::clock::since(date(headers, &RETRY_AFTER)?, date(headers, &DATE)?),
    };
    Some(wait.min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn a_delay_is_read_in_every_form_and_bounded() {
        for (given, wait) in [
            ("7", Some(7_000)),
            (" 7 ", Some(7_000)),
            ("1.5", Some(1_500)),
            ("0.25", Some(250)),
            ("1e400", Some(3_600_000)),
            ("99999999999999999999", Some(3_600_000)),
            ("-1", None),
            ("NaN", None),
            ("soon", None),
            ("", None),
            ("Mon, 23 Nov 2026 04:00:09 GMT", Some(9_000)),
            ("Mon, 23 Nov 2026 03:00:00 GMT", Some(0)),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(given));
            let now = "Mon, 23 Nov 2026 04:00:00 GMT";
            headers.insert(DATE, HeaderValue::from_static(now));
            let expected = wait.map(Duration::from_millis);
            assert_eq!(retry_after(&headers), expected, "{given:?}");
        }
    }
}
