//! The EDA server's own API: what is read there, and what its answers mean.

use std::time::Duration;

use provider_core::http::{Intent, Refused};
use provider_core::{Effect, ErrorKind, ProviderError, Secret, text};
use provider_http::json;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;
use url::Url;

use crate::ConfigError;
use crate::client::Client;

/// The largest page that the EDA server gives.
const PAGE: usize = 200;
/// A bound on one list. Beyond it the answer is that nobody can tell.
const MAX_PAGES: usize = 50;
/// How long one look may take, so that a launch that waits for it keeps its lease.
pub(crate) const LOOK: Duration = Duration::from_secs(10);
/// How many requests of one look are on their way at once.
pub(crate) const AT_ONCE: usize = 8;

/// A place in the API of the EDA server at this URL, whose path is kept.
pub(crate) fn place(server: &str, path: &str, field: &str) -> Result<Url, ConfigError> {
    let refuse = |what: &str| ConfigError::new(field, what);
    let form = "expected https://host, or with the path that the API has there";
    let mut url = Url::parse(server.trim()).map_err(|_| refuse(form))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refuse(form));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let what = "it holds a user name or password; set them as credentials instead";
        return Err(refuse(what));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse(
            "it holds a query or a fragment, which would be lost",
        ));
    }
    let before = url.path().trim_end_matches('/');
    let before = before.strip_suffix("/api/eda/v1").unwrap_or(before);
    let path = format!("{before}/api/eda/v1/{path}");
    url.set_path(&path);
    Ok(url)
}

/// Where the API is, and who asks.
#[derive(Clone, Copy)]
pub(crate) struct Api<'a> {
    pub client: &'a Client,
    pub url: &'a str,
    pub token: &'a Secret,
    /// With a user, the token is its password.
    pub username: Option<&'a str>,
    /// The setting that holds the URL.
    pub field: &'static str,
}

#[derive(Deserialize)]
struct List {
    /// Each is read by itself, so that an odd one hides no other.
    results: Vec<Box<RawValue>>,
    /// Null on the last page. Without it nobody knows whether there is more.
    next: Value,
}

impl Api<'_> {
    fn place(&self, path: &str) -> Result<Url, ProviderError> {
        place(self.url, path, self.field).map_err(|error| {
            ProviderError::new(Effect::NotSent, ErrorKind::Invalid, error.to_string())
        })
    }

    /// One object of the API.
    pub(crate) async fn one<T: DeserializeOwned>(
        &self,
        path: &str,
        what: &str,
    ) -> Result<T, ProviderError> {
        self.read(&self.place(path)?, what).await
    }

    /// All rows of a list; the default for one that cannot be read. An error when the list has no end.
    pub(crate) async fn all<T: DeserializeOwned + Default>(
        &self,
        path: &str,
        filter: &[(&str, &str)],
        what: &str,
    ) -> Result<Vec<T>, ProviderError> {
        let mut rows = Vec::new();
        for page in 1..=MAX_PAGES {
            let list = self.page(path, filter, page, PAGE, what).await?;
            let empty = list.results.is_empty();
            rows.extend(list.results.iter().map(|row| self::row(row)));
            if empty || list.next.is_null() {
                return Ok(rows);
            }
        }
        let text = format!("the {what} has no end within {MAX_PAGES} pages");
        Err(
            ProviderError::new(Effect::Unreadable, ErrorKind::Unavailable, text)
                .with_advice("name the activations, or look back less far"),
        )
    }

    /// Whether the beginning of a list has anything, as a first look at it.
    pub(crate) async fn shows_any(&self, path: &str, what: &str) -> Result<bool, ProviderError> {
        let list = self.page(path, &[], 1, 1, what).await?;
        Ok(!list.results.is_empty())
    }

    async fn page(
        &self,
        path: &str,
        filter: &[(&str, &str)],
        page: usize,
        size: usize,
        what: &str,
    ) -> Result<List, ProviderError> {
        let mut url = self.place(path)?;
        url.query_pairs_mut()
            .extend_pairs(filter)
            .append_pair("page_size", &size.to_string())
            .append_pair("page", &page.to_string());
        self.read(&url, what).await
    }

    async fn read<T: DeserializeOwned>(&self, url: &Url, what: &str) -> Result<T, ProviderError> {
        let answer = self.client.get_json(url, self.token, self.username).await;
        let (status, body) = answer.map_err(|error| unanswered(&error))?;
        read(status, &body, what)
    }
}

/// A question to the API that was not answered: nothing of an event, and nothing of a rulebook.
fn unanswered(error: &ProviderError) -> ProviderError {
    let api = "the API of the EDA server";
    let (message, advice) = match error.kind() {
        ErrorKind::Timeout => (
            format!("{api} did not answer in time"),
            "look at the load of the EDA server, and what is in front of it",
        ),
        ErrorKind::Unavailable => {
            let cause = error
                .message()
                .split_once(": ")
                .map_or("", |(_, cause)| cause);
            (
                format!("{api} cannot be reached: {cause}"),
                "check the URL of the API, and that the EDA server or its gateway runs; this is not \
                 the port of a rulebook",
            )
        }
        _ => (format!("{api}: {}", error.message()), error.advice()),
    };
    ProviderError::new(Effect::NotSent, error.kind(), message).with_advice(advice)
}

fn row<T: DeserializeOwned + Default>(row: &RawValue) -> T {
    json::read(row.get().as_bytes()).unwrap_or_default()
}

/// What the API answered.
fn read<T: DeserializeOwned>(status: u16, body: &[u8], what: &str) -> Result<T, ProviderError> {
    let failed = |kind, text: String, advice: &str| {
        ProviderError::new(Effect::Rejected, kind, text).with_advice(advice)
    };
    let about_url = "check the URL of the EDA server's API";
    match status {
        200 => json::read(body).ok_or_else(|| {
            let text = format!("the answer is not a {}", text::bounded(what, 60));
            failed(ErrorKind::Protocol, text, about_url)
        }),
        401 | 403 => Err(failed(
            ErrorKind::Unauthorized,
            format!("the EDA server does not accept our credential for its API ({status})"),
            "with AAP, use a token of the gateway: the EDA server takes no other; an EDA server without \
             a gateway knows no tokens: set the user name as well, and the password as the token",
        )),
        status => {
            let refused = Refused::new(status, Intent::Reads);
            let text = format!("the API of the EDA server answered {status}");
            let error = ProviderError::new(refused.effect(), refused.kind(), text);
            Err(error.with_advice(about_url))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Row {
        id: u64,
        name: String,
    }

    fn rows(body: &[u8]) -> Vec<(u64, String)> {
        let list: List = read(200, body, "list").unwrap();
        let rows = list.results.iter().map(|one| row::<Row>(one));
        rows.map(|row| (row.id, row.name)).collect()
    }

    #[test]
    fn a_list_is_not_lost_for_how_it_is_written() {
        for body in [
            r#"{"results": [{"id": 1, "name": "a"}], "next": null}"#,
            "\u{feff}{\"results\": [{\"id\": 1, \"name\": \"a\"}], \"next\": null}",
            r#"{"count": NaN, "results": [{"id": 1, "x": -Infinity, "name": "a"}], "next": null}"#,
            r#"{"results": [], "results": [{"id": 1, "name": "a"}], "next": null}"#,
            r#"{"results": [{"id": 1, "name": "b", "name": "a"}], "next": null}"#,
            r#"{"results": [{"id": 1, "name": "a", "x": "\ud83d"}], "next": null}"#,
        ] {
            assert_eq!(rows(body.as_bytes()), [(1, "a".to_owned())], "{body}");
        }
        let odd = r#"{"results": [{"id": "x", "name": "a"}, null, 7, {"id": 2, "name": "b"}], "next": null}"#;
        let none = (0, String::new());
        let expected = [none.clone(), none.clone(), none, (2, "b".to_owned())];
        assert_eq!(rows(odd.as_bytes()), expected);
        // Without "next" nobody knows whether there is more, and a page for people is none.
        for body in [r#"{"results": []}"#, "<html>", "[]", ""] {
            let error = read::<List>(200, body.as_bytes(), "list").err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Protocol, "{body}");
        }
    }

    #[test]
    fn the_path_of_the_api_is_kept_or_refused() {
        let at = |server: &str| place(server, "activations/", "activation.url");
        for (server, expected) in [
            ("https://h", "https://h/api/eda/v1/activations/"),
            ("https://h:8443/", "https://h:8443/api/eda/v1/activations/"),
            ("https://h/eda", "https://h/eda/api/eda/v1/activations/"),
            (
                "https://h/eda/api/eda/v1/",
                "https://h/eda/api/eda/v1/activations/",
            ),
            ("https://h/api/eda/v1", "https://h/api/eda/v1/activations/"),
        ] {
            assert_eq!(at(server).unwrap().as_str(), expected);
        }
        for server in [
            "h",
            "ftp://h",
            "https://u:p@h",
            "https://h/?a=b",
            "https://h/#x",
        ] {
            assert_eq!(
                at(server).unwrap_err().field(),
                "activation.url",
                "{server}"
            );
        }
    }
}
