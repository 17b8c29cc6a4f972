//! Where the API of a controller may be, from the URL that a person has given.

use url::Url;

use crate::ConfigError;

pub(crate) const CONTROLLER: &str = "api/v2/";
pub(crate) const GATEWAY: &str = "api/controller/v2/";

/// What a URL says.
#[derive(Debug)]
pub(crate) struct Place {
    /// Scheme, host, and what comes before `/api/`, with a slash at the end.
    pub(crate) origin: Url,
    /// API roots to try, most likely first.
    pub(crate) candidates: Vec<Url>,
    /// Whether `https` was assumed.
    pub(crate) is_assumed: bool,
}

/// How paths of the web interface begin, which people copy from their browsers (AWX 24, AAP 2.5).
const PAGES: [&str; 15] = [
    "access",
    "administration",
    "analytics",
    "content",
    "decisions",
    "execution",
    "home",
    "jobs",
    "lightspeed",
    "login",
    "overview",
    "quick-starts",
    "settings",
    "templates",
    "ui_next",
];

impl Place {
    /// Takes the URL apart that a person has given.
    pub(crate) fn of(given: &str) -> Result<Self, ConfigError> {
        let refuse = |what: &str| ConfigError::new("url", what);
        let given = given.trim();
        let is_assumed = !given.contains("://");
        let with_scheme = if is_assumed {
            format!("https://{given}")
        } else {
            given.to_owned()
        };
        let mut url = Url::parse(&with_scheme).map_err(|error| {
            refuse(&format!("it is not a URL ({error}); expected https://host"))
        })?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(refuse("expected http:// or https:// and a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse(
                "it holds a user name or password; set them as credentials instead",
            ));
        }
        url.set_query(None);
        url.set_fragment(None);
        let path = url.path().to_owned();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let at = |wanted: &dyn Fn(&&str) -> bool| parts.iter().position(wanted);
        let api = at(&|part| *part == "api");
        let order = match api.map(|api| parts.get(api.saturating_add(1)).copied()) {
            // Beside the controller, the gateway serves itself and others.
            Some(Some("controller" | "gateway" | "eda" | "galaxy")) => [GATEWAY, CONTROLLER],
            _ => [CONTROLLER, GATEWAY],
        };
        let mut origins = vec![root(&url, parts.get(..api.unwrap_or(parts.len())))];
        if let (None, Some(page)) = (api, at(&|part| PAGES.contains(part))) {
            origins.push(root(&url, parts.get(..page)));
        }
        let candidates = origins.iter().flat_map(|origin| {
            let below = |path: &&str| origin.join(path).ok();
            order.iter().filter_map(below).collect::<Vec<_>>()
        });
        Ok(Self {
            candidates: candidates.collect(),
            origin: origins.pop().unwrap_or(url),
            is_assumed,
        })
    }
}

/// The URL with this path.
fn root(url: &Url, parts: Option<&[&str]>) -> Url {
    let mut root = url.clone();
    let path = parts.unwrap_or_default().join("/");
    let slash = if path.is_empty() { "" } else { "/" };
    root.set_path(&format!("/{path}{slash}"));
    root
}

/// The URL without user name, password, query and fragment, all of which may hold secrets.
pub(crate) fn shown(url: &str) -> String {
    // Without its scheme, "user:password@host" would be read as a URL of the scheme "user".
    let with_scheme = if url.contains("://") {
        url.to_owned()
    } else {
        format!("https://{url}")
    };
    match url::Url::parse(&with_scheme) {
        Ok(mut url) => {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.set_fragment(None);
            url.to_string()
        }
        Err(_) => {
            let place = url.split(['?', '#']).next().unwrap_or_default();
            provider_core::text::bounded(place.rsplit('@').next().unwrap_or_default(), 200)
        }
    }
}

/// What a path of the controller's names below its API's root, wherever it believes that to be.
pub(crate) fn below_api(path: &str) -> Option<&str> {
    [CONTROLLER, GATEWAY].iter().find_map(|root| {
        let (before, below) = path.split_once(root)?;
        before.ends_with('/').then_some(below)
    })
}

/// Below what the websocket's path is: the gateway's API, or else what comes before the API's root.
#[cfg(any(feature = "push", test))]
pub(crate) fn websockets_of(base: &Url) -> Url {
    let mut at = base.clone();
    if !base.path().ends_with(GATEWAY) {
        at.set_path(base.path().strip_suffix(CONTROLLER).unwrap_or("/"));
    }
    at
}

/// Whether requests may go to `to` instead of `from`, credentials and all: the same host, by the same
/// scheme and port, or by TLS instead of in clear.
pub(crate) fn is_same_or_safer(from: &Url, to: &Url) -> bool {
    let to_tls = from.scheme() == "http" && to.scheme() == "https";
    from.origin() == to.origin() || (to_tls && from.host_str() == to.host_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_url_names_one_origin() {
        for (given, origin, first) in [
            ("aap.example.com", "https://aap.example.com/", CONTROLLER),
            (
                "https://aap.example.com/",
                "https://aap.example.com/",
                CONTROLLER,
            ),
            ("http://h:8052/api", "http://h:8052/", CONTROLLER),
            ("https://h/api/", "https://h/", CONTROLLER),
            ("https://h/api/v2", "https://h/", CONTROLLER),
            ("https://h/api/v2/", "https://h/", CONTROLLER),
            ("https://h/api/controller", "https://h/", GATEWAY),
            ("https://h/api/controller/v2/", "https://h/", GATEWAY),
            ("https://h/awx/api/v2/", "https://h/awx/", CONTROLLER),
            (" https://h?x=1#y ", "https://h/", CONTROLLER),
            // As people paste them.
            (
                "https://h/api/v2/job_templates/7/launch/",
                "https://h/",
                CONTROLLER,
            ),
            ("https://h/api/v2/ping", "https://h/", CONTROLLER),
            (
                "https://h/awx/api/controller/v2/jobs/5/?x=1",
                "https://h/awx/",
                GATEWAY,
            ),
            ("https://h/api/gateway/v1", "https://h/", GATEWAY),
            ("https://h/api/eda/v1/", "https://h/", GATEWAY),
            (
                "https://h/#/templates/job_template/7",
                "https://h/",
                CONTROLLER,
            ),
            ("https://h/awx/#/jobs", "https://h/awx/", CONTROLLER),
        ] {
            let place = Place::of(given).unwrap();
            let expected = format!("{origin}{first}");
            assert_eq!(place.origin.as_str(), origin, "{given}");
            assert_eq!(place.candidates[0].as_str(), expected, "{given}");
            assert_eq!(place.candidates.len(), 2, "{given}");
        }
    }

    #[test]
    fn a_page_of_the_web_interface_leads_to_its_host_unless_the_api_is_below_it() {
        for (given, origins) in [
            (
                "https://h/execution/templates/job-template/7/details",
                [
                    "https://h/execution/templates/job-template/7/details/",
                    "https://h/",
                ],
            ),
            (
                "https://h/awx/ui_next/overview",
                ["https://h/awx/ui_next/overview/", "https://h/awx/"],
            ),
            ("h/login?next=/", ["https://h/login/", "https://h/"]),
        ] {
            let place = Place::of(given).unwrap();
            let tried: Vec<&str> = place.candidates.iter().map(Url::as_str).collect();
            let expected = origins.map(|o| [format!("{o}{CONTROLLER}"), format!("{o}{GATEWAY}")]);
            assert_eq!(tried, expected.concat(), "{given}");
            assert_eq!(place.origin.as_str(), origins[1]);
        }
        // A prefix of somebody's own is no page: another controller may be at the root.
        assert_eq!(Place::of("https://h/awx2").unwrap().candidates.len(), 2);
    }

    #[test]
    fn what_was_assumed_is_known() {
        assert!(Place::of("h:8052").unwrap().is_assumed);
        assert!(!Place::of("http://h:8052").unwrap().is_assumed);
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_with_the_reason() {
        for (given, part) in [
            ("", "not a URL"),
            ("ftp://h", "expected http"),
            ("https://user:pass@h", "set them as credentials"),
            ("https://h:notaport", "not a URL"),
        ] {
            let error = Place::of(given).unwrap_err().to_string();
            assert!(
                error.contains(part) && !error.contains("pass@"),
                "{given}: {error}"
            );
        }
    }

    #[test]
    fn credentials_stay_with_the_host_and_never_leave_tls() {
        let url = |text: &str| Url::parse(text).unwrap();
        for (from, to, fine) in [
            ("https://h/a", "https://h/b", true),
            ("http://h/a", "https://h/a", true),
            ("http://h:8080/a", "https://h:8443/a", true),
            ("https://h/a", "http://h/a", false),
            ("https://h/a", "https://h:8443/a", false),
            ("http://h/a", "http://h:81/a", false),
            ("https://h/a", "https://h.evil/a", false),
        ] {
            assert_eq!(is_same_or_safer(&url(from), &url(to)), fine, "{from} {to}");
        }
        for (base, at) in [
            ("https://h/api/v2/", "https://h/"),
            ("https://h/awx/api/v2/", "https://h/awx/"),
            (
                "https://h/x/api/controller/v2/",
                "https://h/x/api/controller/v2/",
            ),
            ("https://h/other/", "https://h/"),
        ] {
            assert_eq!(websockets_of(&url(base)).as_str(), at);
        }
    }
}
