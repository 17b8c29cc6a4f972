//! URLs as text.

use url::Url;

use crate::ConfigError;

pub(super) fn parse(field: &str, given: &str) -> Result<Url, ConfigError> {
    let refuse = |what: &str| ConfigError::new(field, what);
    let url = Url::parse(given.trim()).map_err(|error| {
        refuse(&format!(
            "it is not a URL ({error}); expected https://host/path"
        ))
    })?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refuse("expected http:// or https:// and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse(
            "it holds a user name or password; set them as credentials instead",
        ));
    }
    if url.fragment().is_some() {
        return Err(refuse("it holds a fragment (#…), which is never sent"));
    }
    Ok(url)
}

/// Scheme, host and path; a query may hold secrets.
pub(crate) fn shown(given: &str) -> String {
    let plain = given.split(['?', '#']).next().unwrap_or_default();
    let plain = match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => plain.rsplit('@').next().unwrap_or_default().to_owned(),
    };
    provider_core::text::bounded(&plain, 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_work_is_refused_with_the_reason() {
        for (given, part) in [
            ("", "not a URL"),
            ("ftp://h/x", "expected http"),
            ("https://user:pass@h/x", "set them as credentials"),
            ("https://h/x#y", "fragment"),
        ] {
            let error = parse("endpoints.create", given).unwrap_err().to_string();
            assert!(
                error.contains(part) && !error.contains("pass@"),
                "{given}: {error}"
            );
        }
        assert_eq!(shown("https://u:p@h:1/a?token=x#f"), "https://h:1/a");
        assert_eq!(
            shown("http://e:5000/create-{kind}"),
            "http://e:5000/create-{kind}"
        );
    }
}
