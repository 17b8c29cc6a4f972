//! Text that leaves the library: bounded, on one line, without control characters; and kinds as names have them.

/// The most bytes of text that a record or an error carries.
///
/// Objects in a Kubernetes API server are limited to about 1.5 MiB in all; a single 2 MiB error
/// page stored in a status made every later status write fail, and job ids were lost.
pub const MAX_TEXT: usize = 1024;

/// Makes foreign text fit for a record, an error or a log line.
///
/// Control characters, line breaks and runs of blanks become one blank, terminal colour codes
/// are removed, and what is longer than `max` bytes is cut at a character boundary and ends
/// in `…`. The result is never longer than `max` bytes (for `max >= 3`).
#[must_use]
pub fn bounded(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    let mut chars = text.chars();
    let mut blank = true; // swallow leading blanks
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            skip_escape(&mut chars);
            continue;
        }
        let c = if c.is_control() || c.is_whitespace() {
            ' '
        } else {
            c
        };
        if c == ' ' && blank {
            continue;
        }
        blank = c == ' ';
        if out.len() + c.len_utf8() > max {
            cut(&mut out, max);
            return out;
        }
        out.push(c);
    }
    out.truncate(out.trim_end().len());
    out
}

/// Skips what follows an escape character: `[…m` and its kin.
fn skip_escape(chars: &mut std::str::Chars<'_>) {
    let mut ahead = chars.clone();
    if ahead.next() != Some('[') {
        return;
    }
    *chars = ahead;
    // A control sequence ends at the first byte from '@' to '~'; bounded, text may be hostile.
    for _ in 0..32 {
        match chars.clone().next() {
            Some(c) if c.is_ascii() && !c.is_ascii_control() => {
                chars.next();
                if ('@'..='~').contains(&c) {
                    return;
                }
            }
            _ => return,
        }
    }
}

fn cut(out: &mut String, max: usize) {
    const MARK: char = '…';
    let mut keep = max.saturating_sub(MARK.len_utf8()).min(out.len());
    while !out.is_char_boundary(keep) {
        keep -= 1;
    }
    out.truncate(keep);
    if keep + MARK.len_utf8() <= max {
        out.push(MARK);
    }
}

/// What stands where a secret stood.
pub const MASK: &str = "***";

/// Replaces every occurrence of each secret in `text` by [`MASK`].
///
/// Secrets shorter than four bytes are left alone: masking each "a" hides nothing and ruins the
/// text. Longer secrets are masked first, so that one that contains another leaves no rest.
#[must_use]
pub fn redacted<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut forms: Vec<String> = Vec::new();
    for secret in secrets.into_iter().filter(|s| s.len() >= 4) {
        // As it is, and as it stands inside JSON, once and twice.
        let once = escaped(secret);
        forms.extend([secret.to_owned(), escaped(&once), once]);
    }
    forms.sort_unstable_by_key(|form| std::cmp::Reverse(form.len()));
    let mut out = text.to_owned();
    for form in forms {
        if out.contains(&form) {
            out = out.replace(&form, MASK);
        }
    }
    out
}

fn escaped(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    let inner = quoted.get(1..quoted.len().saturating_sub(1));
    inner.unwrap_or_default().to_owned()
}

/// A kind in kebab case, as names of templates and URLs have it: lower case, with a dash before each word.
///
/// `ComputeInstance` → `compute-instance`, `ExternalIP` → `external-ip`, `VMPool` → `vm-pool`.
#[must_use]
pub fn kebab(kind: &str) -> String {
    let mut out = String::with_capacity(kind.len() + 4);
    let mut before: Option<char> = None;
    let mut rest = kind.chars().peekable();
    while let Some(c) = rest.next() {
        if let Some(before) = before.filter(|_| c.is_uppercase()) {
            let begins_word = rest.peek().is_some_and(|next| !next.is_uppercase());
            if !before.is_uppercase() || begins_word {
                out.push('-');
            }
        }
        out.extend(c.to_lowercase());
        before = Some(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_become_kebab_case() {
        for (kind, expected) in [
            ("ComputeInstance", "compute-instance"),
            ("ExternalIP", "external-ip"),
            ("VMPool", "vm-pool"),
            ("Tenant", "tenant"),
            ("S3Bucket", "s3-bucket"),
            ("", ""),
        ] {
            assert_eq!(kebab(kind), expected);
        }
    }

    #[test]
    fn foreign_text_is_cut_at_a_character_and_kept_on_one_line() {
        assert_eq!(bounded("  a\n\tb\u{7}c ", 64), "a b c");
        assert_eq!(bounded("\u{1b}[0;31mfatal\u{1b}[0m: x", 64), "fatal: x");
        assert_eq!(bounded("ääää", 8), "ääää");
        assert_eq!(bounded("äääää", 8), "ää…");
        for max in 3..40 {
            assert!(bounded(&"é\u{1b}[1m🎉 x".repeat(20), max).len() <= max);
        }
    }

    #[test]
    fn an_unfinished_escape_does_not_swallow_the_text() {
        assert_eq!(bounded("\u{1b}", 10), "");
        assert_eq!(bounded("\u{1b}[é rest", 20), "é rest");
    }

    #[test]
    fn longer_secrets_go_first_and_short_ones_are_left() {
        assert_eq!(
            redacted("pass passphrase a", ["pass", "passphrase", "a"]),
            "*** *** a"
        );
    }

    #[test]
    fn a_secret_is_found_inside_json_too() {
        let secret = "pa\"ss\nword";
        let once = serde_json::json!({ "k": secret }).to_string();
        let twice = serde_json::json!({ "k": once }).to_string();
        for text in [once, twice] {
            let text = redacted(&text, [secret]);
            assert!(text.contains(MASK) && !text.contains("word"), "{text}");
        }
    }
}
