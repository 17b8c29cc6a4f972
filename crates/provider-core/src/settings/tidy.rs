//! Texts as people and Secrets hand them over: with line ends, blanks, quotes, and words too many.

use super::ConfigError;

/// Without blanks and line ends around it: values of Secrets end in a line feed.
fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}' || c == '\0')
}

fn unquoted(text: &str) -> Option<&str> {
    ['"', '\''].iter().find_map(|quote| {
        let inner = text.strip_prefix(*quote)?.strip_suffix(*quote)?;
        // What is left of a lone quote, or of two texts side by side, is no text that was quoted.
        (!inner.is_empty() && !inner.contains(*quote)).then_some(inner)
    })
}

/// The text without blanks, line ends and quotes around it; a warning tells of quotes.
#[must_use]
pub fn tidied<'text>(field: &str, text: &'text str) -> &'text str {
    let text = trimmed(text);
    let Some(inner) = unquoted(text) else {
        return text;
    };
    tracing::warn!(
        setting = field,
        "the quotes around this setting were taken off"
    );
    trimmed(inner)
}

/// A token as it goes into a header, and whether more than blanks was taken off: quotes, or the word
/// `Bearer` before it.
///
/// # Errors
/// When there is none, or when what is left cannot be one.
pub fn as_token<'text>(field: &str, text: &'text str) -> Result<(&'text str, bool), ConfigError> {
    let given = trimmed(text);
    let mut token = unquoted(given).map_or(given, trimmed);
    for word in ["Authorization:", "Bearer ", "Bearer:"] {
        let (head, rest) = token.split_at_checked(word.len()).unwrap_or(("", token));
        if head.eq_ignore_ascii_case(word) {
            token = trimmed(rest);
        }
    }
    token = unquoted(token).map_or(token, trimmed);
    if token.is_empty() || token.eq_ignore_ascii_case("bearer") {
        return Err(ConfigError::new(field, "the token is empty"));
    }
    if token.contains(['\n', '\r']) {
        let what = "the token holds a line break; expected the token alone, on one line";
        return Err(ConfigError::new(field, what));
    }
    if let Some(strange) = token.chars().find(|c| !('!'..='~').contains(c)) {
        let what = if strange == ' ' {
            "the token holds a blank; expected the token alone"
        } else {
            "the token holds a character that no header can carry; copy it again, as plain text"
        };
        return Err(ConfigError::new(field, what));
    }
    Ok((token, token.len() != given.len()))
}

/// Without the line ends of a file; blanks may belong to a password.
#[must_use]
pub fn without_line_end(text: &str) -> &str {
    text.trim_end_matches(['\n', '\r'])
}

/// Refuses a setting with a line break or another control character inside of it.
///
/// # Errors
/// When there is one.
pub fn line(field: &str, text: &str) -> Result<(), ConfigError> {
    if text.chars().any(char::is_control) {
        let what = "it holds a line break or another control character; expected one line of text";
        return Err(ConfigError::new(field, what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_surrounds_a_token_is_taken_off_and_told() {
        for (given, token, told) in [
            ("abc", "abc", false),
            (" abc\r\n", "abc", false),
            ("\u{feff}abc\n", "abc", false),
            ("\"abc\"\n", "abc", true),
            ("'abc'", "abc", true),
            ("Bearer abc\n", "abc", true),
            ("bearer  abc", "abc", true),
            ("Authorization: Bearer abc", "abc", true),
            ("\"Bearer abc\"", "abc", true),
            ("Bearer \"abc\"", "abc", true),
            ("a\"bc\"", "a\"bc\"", false),
        ] {
            assert_eq!(as_token("t", given).unwrap(), (token, told), "{given:?}");
        }
    }

    #[test]
    fn what_is_left_and_cannot_be_a_token_is_said_without_it() {
        for (given, part) in [
            ("", "empty"),
            (" \n", "empty"),
            ("Bearer \n", "empty"),
            ("s3cret s3cret", "blank"),
            ("s3cret\ns3cret", "line break"),
            ("s3cret\u{200b}", "no header can carry"),
            ("s3cr\u{e9}t", "no header can carry"),
            ("s3cret\tx", "no header can carry"),
        ] {
            let error = as_token("auth.token", given).unwrap_err();
            assert!(error.message().contains(part), "{given:?}: {error}");
            assert!(!error.to_string().contains("s3c"), "{error}");
        }
    }

    #[test]
    fn texts_lose_their_surroundings_and_nothing_within() {
        for (given, text) in [
            (" osac\n", "osac"),
            ("\"Default\"", "Default"),
            ("say \"hi\"", "say \"hi\""),
            ("\"a\" and \"b\"", "\"a\" and \"b\""),
            ("\"", "\""),
            ("\"\"", "\"\""),
        ] {
            assert_eq!(tidied("x", given), text);
        }
        assert_eq!(without_line_end(" pass word \r\n"), " pass word ");
        assert!(line("x", "a\nb").is_err());
        assert!(line("x", "a b").is_ok());
    }
}
