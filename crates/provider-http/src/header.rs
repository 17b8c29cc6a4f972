//! Headers that mean the same everywhere.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};

/// The time in a header such as `Date`.
#[must_use]
pub fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    provider_core::http::date(headers.get(name)?.to_str().ok()?)
}

/// How long `Retry-After` asks to wait, at most an hour: seconds, with or without a fraction, or a moment.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let date = headers.get(DATE).and_then(|date| date.to_str().ok());
    provider_core::http::retry_after(text, date)
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
