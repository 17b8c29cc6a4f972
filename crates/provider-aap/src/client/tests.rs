//! Where a path that a server gave us leads.

use super::*;

fn client() -> Client {
    let config = AapConfig::new("https://h/api", Auth::token("abcd"));
    Client::new(&config, Arc::new(provider_core::SystemClock)).unwrap()
}

#[tokio::test]
async fn behind_a_proxy_that_rewrites_paths_a_job_is_where_the_proxy_shows_it() {
    for (base, path, expected) in [
        (
            "https://h/awx/api/v2/",
            "/api/v2/jobs/1/",
            "https://h/awx/api/v2/jobs/1/",
        ),
        (
            "https://h/awx/api/v2/",
            "/awx/api/v2/jobs/1/",
            "https://h/awx/api/v2/jobs/1/",
        ),
        (
            "https://h/api/controller/v2/",
            "/api/v2/jobs/1/",
            "https://h/api/controller/v2/jobs/1/",
        ),
        (
            "https://h/x/api/v2/",
            "/api/controller/v2/jobs/1/",
            "https://h/x/api/v2/jobs/1/",
        ),
        (
            "https://h/awx/api/v2/",
            "/elsewhere/1/",
            "https://h/elsewhere/1/",
        ),
    ] {
        let client = client();
        let at = Url::parse(base).unwrap();
        client.shared().get_or_make(async || Ok(at)).await.unwrap();
        assert_eq!(client.on_origin(path).unwrap().as_str(), expected);
        for elsewhere in [
            "/api/v2///evil/x",
            "/api/v2/https://evil/x",
            "/api/v2/\\\\evil/x",
        ] {
            let url = client.on_origin(elsewhere);
            assert!(
                url.is_none_or(|url| url.host_str() == Some("h")),
                "{elsewhere}"
            );
        }
    }
}

#[test]
fn a_path_from_an_answer_stays_on_the_origin() {
    let client = client();
    assert_eq!(
        client.on_origin("/api/v2/jobs/1/").unwrap().as_str(),
        "https://h/api/v2/jobs/1/"
    );
    assert_eq!(client.on_origin("https://evil/api/v2/jobs/1/"), None);
    for elsewhere in ["//evil/x", "/\\evil/x", "/\t/evil/x", "\\\\evil", "jobs/1/"] {
        assert_eq!(client.on_origin(elsewhere), None, "{elsewhere}");
    }
    assert_eq!(client.on_origin(&format!("/{}", "x".repeat(3_000))), None);
}
