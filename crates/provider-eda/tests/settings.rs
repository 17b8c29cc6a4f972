//! The configuration: from variables, from JSON, shown, and tried out.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that panics has failed"
)]

mod common;

use common::{config, setup, stream, webhook};
use provider_core::{Provider, Severity};
use provider_eda::{
    Algorithm, EdaConfig, Encoding, Endpoints, RulebookWebhook, StreamAuth, Transport,
};
use provider_testkit::eda::{Stream, Webhook};

fn vars(pairs: &[(&str, &str)]) -> Result<EdaConfig, provider_eda::ConfigError> {
    EdaConfig::from_vars(|name| {
        let found = pairs.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

const URLS: [(&str, &str); 2] = [
    ("EDA_CREATE_URL", "http://e:5000/create-{kind}"),
    ("EDA_DELETE_URL", "http://e:5000/delete-{kind}"),
];

fn with(more: &[(&'static str, &'static str)]) -> Result<EdaConfig, provider_eda::ConfigError> {
    vars(&[&URLS[..], more].concat())
}

#[test]
fn missing_and_unreadable_variables_are_named() {
    for (given, start) in [
        (vars(&[]), "EDA_TRANSPORT: set it"),
        (
            with(&[("EDA_TRANSPORT", "http")]),
            "EDA_TRANSPORT: expected",
        ),
        (
            vars(&[("EDA_TRANSPORT", "event-stream")]),
            "EDA_CREATE_URL: ",
        ),
        (with(&[("EDA_TRANSPORT", "event-stream")]), "EDA_TOKEN: "),
        (
            with(&[
                ("EDA_TRANSPORT", "rulebook-webhook"),
                ("EDA_HMAC_SECRET", "s"),
                ("EDA_HMAC_ALGORITHM", "md5"),
            ]),
            "EDA_HMAC_ALGORITHM: ",
        ),
        (
            with(&[
                ("EDA_TRANSPORT", "rulebook-webhook"),
                ("EDA_KIND_URLS", "Tenant=http://t/c"),
            ]),
            "EDA_KIND_URLS: ",
        ),
        (
            with(&[
                ("EDA_TRANSPORT", "rulebook-webhook"),
                ("EDA_INSECURE", "maybe"),
            ]),
            "EDA_INSECURE: expected true or false",
        ),
        (
            with(&[
                ("EDA_TRANSPORT", "rulebook-webhook"),
                ("EDA_MIN_INTERVAL", "long"),
            ]),
            "EDA_MIN_INTERVAL: expected a duration",
        ),
        (
            with(&[
                ("EDA_TRANSPORT", "rulebook-webhook"),
                ("EDA_MAX_IN_FLIGHT", "-1"),
            ]),
            "EDA_MAX_IN_FLIGHT: expected a whole number",
        ),
        (
            with(&[
                ("EDA_TRANSPORT", "rulebook-webhook"),
                ("EDA_HMAC_SECRET", "x"),
                ("EDA_HMAC_ENCODING", "HEX"),
            ]),
            "EDA_HMAC_ENCODING: ",
        ),
        (
            with(&[
                ("EDA_TRANSPORT", "rulebook-webhook"),
                ("EDA_TOKEN_FILE", "/nonexistent"),
            ]),
            "EDA_TOKEN_FILE: cannot read /nonexistent",
        ),
    ] {
        let error = given.unwrap_err().to_string();
        assert!(error.starts_with(start), "{error} / {start}");
    }
}

#[test]
fn the_environment_is_read_and_shown_without_secrets() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s3cret-of-file\n").unwrap();
    let path = file.path().to_str().unwrap();
    let pairs = [
        ("EDA_TRANSPORT", "rulebook-webhook"),
        ("EDA_TOKEN_FILE", path),
        ("EDA_HMAC_SECRET", "s3cret-hmac"),
        ("EDA_HMAC_ENCODING", "base64"),
        ("EDA_HMAC_PREFIX", ""),
        ("EDA_HMAC_ALGORITHM", "sha512"),
        ("EDA_BREAKER_FAILURES", "7"),
        ("EDA_BREAKER_PAUSE", "90s"),
        ("EDA_DEPROVISION_LIMIT", "3h"),
        ("EDA_KIND_URLS", r#"{"Tenant": {"create": "http://t/c"}}"#),
        ("EDA_NAME", "eda-lab"),
        ("EDA_MIN_INTERVAL", "2m"),
        ("EDA_MAX_IN_FLIGHT", "3"),
        ("EDA_FINALIZER", "example.com/{kind}"),
    ];
    let config = vars(&[&URLS[..], &pairs].concat()).unwrap();
    assert_eq!(config.name, "eda-lab");
    assert_eq!(config.pacing.min_interval.as_secs(), 120);
    assert_eq!(config.pacing.max_in_flight, 3);
    assert_eq!(config.pacing.breaker_failures, 7);
    assert_eq!(config.pacing.breaker_pause.as_secs(), 90);
    assert_eq!(config.timing.deprovision_limit.as_hours(), 3);
    let Transport::RulebookWebhook(hook) = &config.transport else {
        panic!("{config}");
    };
    let hmac = hook.hmac.as_ref().unwrap();
    assert_eq!(hmac.encoding, Some(Encoding::Base64));
    assert_eq!(hmac.prefix.as_deref(), Some(""));
    assert_eq!(hmac.algorithm, Algorithm::Sha512);
    let tenant = &hook.endpoints.kinds["Tenant"];
    assert_eq!(
        (tenant.create.as_deref(), &tenant.delete),
        (Some("http://t/c"), &None)
    );
    for text in [
        config.to_string(),
        format!("{config:?}"),
        format!("{:?}", config.transport),
    ] {
        assert!(!text.contains("s3cret"), "{text}");
        assert!(text.contains("***") || text.contains("REDACTED"), "{text}");
    }
    assert!(config.to_string().contains("http://e:5000/create-{kind}"));

    let stream = with(&[
        ("EDA_TRANSPORT", "event-stream"),
        ("EDA_USERNAME", "u"),
        ("EDA_PASSWORD", "s3cret"),
    ])
    .unwrap();
    assert!(format!("{stream:?}").contains("user \"u\""));
    assert!(!format!("{stream:?}").contains("s3cret"));
}

#[test]
fn a_query_in_a_url_is_not_shown() {
    let urls = Endpoints::one("https://h/x?key=s3cret");
    let config = EdaConfig::new(RulebookWebhook::new(urls));
    assert!(!config.to_string().contains("s3cret"));
}

#[test]
fn json_is_read_and_unknown_members_are_refused() {
    let config: EdaConfig = serde_json::from_str(
        r#"{
            "transport": {"eventStream": {
                "endpoints": {"create": "https://h/c", "kinds": {"Tenant": {"create": "https://h/t"}}},
                "auth": {"hmac": {"secret": "s3cret", "encoding": "hex", "prefix": "sha256="}}
            }},
            "completion": {"finalizers": {"Tenant": "example.com/t"}},
            "timing": {"inFlightWindow": "PT5M"}
        }"#,
    )
    .unwrap();
    assert_eq!(config.timing.in_flight_window.as_mins(), 5);
    assert_eq!(config.completion.finalizer("Tenant"), "example.com/t");
    let typo = r#"{"transport": {"rulebookWebhook": {"tokn": "x"}}}"#;
    let error = serde_json::from_str::<EdaConfig>(typo)
        .unwrap_err()
        .to_string();
    assert!(error.contains("tokn"), "{error}");
}

#[tokio::test]
async fn preflight_says_what_is_right_and_what_cannot_be_told() {
    let kinds = ["ComputeInstance".to_owned()];
    let s = setup(Webhook::new().with_token("s3cret"), |sim| {
        config(webhook(sim).with_token("s3cret"))
    })
    .await;
    let report = s.eda.preflight(&kinds).await;
    assert!(report.is_ok(), "{report}");
    let text = report.to_string();
    assert!(text.contains("takes our token"), "{text}");
    assert!(
        text.contains("event.meta.endpoint == \"create-compute-instance\""),
        "{text}"
    );
    assert!(!text.contains("s3cret"));
    assert!(s.sim.journal().is_empty());

    let wrong = setup(Webhook::new().with_token("s3cret"), |sim| {
        config(webhook(sim).with_token("wrong"))
    })
    .await;
    let report = wrong.eda.preflight(&kinds).await;
    assert!(!report.is_ok() && report.to_string().contains("does not accept our token"));

    let events = setup(Stream::token("s3cret"), |sim| {
        config(stream(sim, StreamAuth::token("s3cret")))
    })
    .await;
    let report = events.eda.preflight(&kinds).await;
    assert!(report.is_ok(), "{report}");
    assert!(report.to_string().contains("loses them"), "{report}");

    let urls = Endpoints::one("http://nowhere.invalid/x");
    let absent = provider_eda::EdaProvider::new(config(RulebookWebhook::new(urls))).unwrap();
    let report = absent.preflight(&kinds).await;
    assert!(
        report.to_string().contains("only while an activation runs"),
        "{report}"
    );
    let errors = report
        .findings
        .iter()
        .filter(|f| f.severity == Severity::Error);
    assert_eq!(errors.count(), 1);

    let urls = Endpoints::default().with_kind("Tenant", "http://h/c", "http://h/d");
    let other = provider_eda::EdaProvider::new(config(RulebookWebhook::new(urls))).unwrap();
    let report = other.preflight(&kinds).await;
    assert!(
        report
            .to_string()
            .contains("no URL to create a ComputeInstance"),
        "{report}"
    );
}

/// The server's filter by name also finds longer names.
#[tokio::test]
async fn the_activation_behind_the_events_is_looked_at() {
    use provider_eda::Activation;
    use wiremock::matchers::{header, method, path, query_param};
    use wiremock::{Mock, MockServer, ResponseTemplate};
    let api = MockServer::start().await;
    let rows = serde_json::json!({"count": 3, "next": null, "results": [
        {"id": 1, "name": "osac-old", "status": "failed", "status_message": "older"},
        {"id": 2, "name": "osac", "status": "running", "status_message": "Container running"},
        {"id": 3, "name": "broken", "status": "failed", "status_message": "Missing credentials"},
    ]});
    Mock::given(method("GET"))
        .and(path("/api/eda/v1/activations/"))
        .and(header("authorization", "Bearer s3cret-api"))
        .respond_with(ResponseTemplate::new(200).set_body_json(rows))
        .mount(&api)
        .await;
    for (token, name, ok, part) in [
        ("s3cret-api", "osac", true, "it is running"),
        (
            "s3cret-api",
            "broken",
            false,
            "it is failed: Missing credentials",
        ),
        ("s3cret-api", "absent", false, "no activation of this name"),
        ("s3cret-other", "osac", false, "answered 404"),
    ] {
        let s = setup(Webhook::new(), |sim| {
            config(webhook(sim)).with_activation(Activation::new(api.uri(), token, name))
        })
        .await;
        let report = s.eda.preflight(&["ComputeInstance".to_owned()]).await;
        assert_eq!(report.is_ok(), ok, "{report}");
        assert!(report.to_string().contains(part), "{report}");
        assert!(!format!("{report} {:?}", s.eda).contains("s3cret"));
    }
    Mock::given(query_param("name", "osac"))
        .respond_with(ResponseTemplate::new(401))
        .mount(&api)
        .await;
    let s = setup(Webhook::new(), |sim| {
        config(webhook(sim)).with_activation(Activation::new(api.uri(), "wrong".to_owned(), "osac"))
    })
    .await;
    let report = s.eda.preflight(&[]).await;
    assert!(
        report
            .to_string()
            .contains("does not accept our credential"),
        "{report}"
    );
}

#[cfg(feature = "aap")]
#[test]
fn the_provider_is_chosen_by_one_variable() {
    use provider_eda::ProviderConfig;
    let read = |pairs: &[(&str, &str)]| {
        ProviderConfig::from_vars(|name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    };
    let aap = [
        ("PROVISIONING_PROVIDER", "aap"),
        ("AAP_URL", "https://aap.example.com"),
        ("AAP_TOKEN", "s3cret"),
    ];
    let eda = [
        ("PROVISIONING_PROVIDER", "eda"),
        ("EDA_TRANSPORT", "rulebook-webhook"),
        ("EDA_TOKEN", "s3cret"),
        URLS[0],
        URLS[1],
    ];
    for (pairs, name) in [(&aap[..], "aap"), (&eda[..], "eda")] {
        let config = read(pairs).unwrap();
        for text in [config.to_string(), format!("{config:?}")] {
            assert!(text.contains(name) && !text.contains("s3cret"), "{text}");
        }
        assert_eq!(config.build().unwrap().name(), name);
    }
    for (pairs, start) in [
        (&[][..], "PROVISIONING_PROVIDER: set it to aap or eda"),
        (
            &[("PROVISIONING_PROVIDER", "gcp")][..],
            "PROVISIONING_PROVIDER: expected aap or eda",
        ),
        (&aap[..2], "AAP_TOKEN: "),
        (&eda[..1], "EDA_TRANSPORT: "),
    ] {
        let error = read(pairs).unwrap_err().to_string();
        assert!(error.starts_with(start), "{error}");
    }
    let json =
        r#"{"eda": {"transport": {"rulebookWebhook": {"endpoints": {"create": "http://h/x"}}}}}"#;
    let config: ProviderConfig = serde_json::from_str(json).unwrap();
    assert_eq!(config.build().unwrap().name(), "eda");
}
