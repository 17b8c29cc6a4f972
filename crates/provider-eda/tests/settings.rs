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
    Algorithm, EdaConfig, EdaProvider, Encoding, Endpoints, RulebookWebhook, StreamAuth, Transport,
};
use provider_testkit::eda::{Stream, Webhook};
use serde_json::json;

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
            "EDA_TOKEN_FILE: cannot read the file that it names: entity not found",
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
    assert_eq!(config.completion.finalizers["Tenant"], "example.com/t");
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

/// What must be in no error: a text, and a number.
const CANARY: &str = "CANARY-7-of-the-mine";
const NUMBER: u64 = 918_273_645_546;

fn is_silent(error: &dyn std::error::Error, of: &str) {
    let mut next = Some(error);
    while let Some(error) = next {
        let text = format!("{error} {error:?}");
        for part in ["CANARY", "of-the-mine", "918273645"] {
            assert!(!text.contains(part), "{of}: {text}");
        }
        next = error.source();
    }
}

/// Everything that can be put in a wrong place.
fn wrong() -> Vec<serde_json::Value> {
    vec![
        json!(CANARY),
        json!(format!("{CANARY}\n{CANARY}")),
        json!(format!("https://{CANARY}@h/ {CANARY}")),
        json!(NUMBER),
        json!(-918_273_645_546_i64),
        json!(9.182_736_455e11),
        json!([CANARY]),
        json!({CANARY: CANARY}),
        json!({"file": CANARY}),
        json!({"file": [CANARY]}),
        json!({"token": CANARY, "x": NUMBER}),
    ]
}

/// Paths to everything in it.
fn places(value: &serde_json::Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                places(member, &format!("{at}/{name}"), into);
            }
        }
        serde_json::Value::Array(members) => {
            for (n, member) in members.iter().enumerate() {
                places(member, &format!("{at}/{n}"), into);
            }
        }
        _ => {}
    }
}

fn try_out<T: serde::de::DeserializeOwned>(
    whole: &serde_json::Value,
    build: impl Fn(T) -> Result<(), Box<dyn std::error::Error>>,
) {
    let right: T = serde_json::from_value(whole.clone()).unwrap();
    build(right).unwrap();
    let mut all = Vec::new();
    places(whole, "", &mut all);
    for place in all {
        for wrong in wrong() {
            let mut given = whole.clone();
            *given.pointer_mut(&place).unwrap() = wrong.clone();
            let of = format!("{place} as {wrong}");
            let text = given.to_string();
            if let Err(error) = serde_json::from_str::<T>(&text) {
                is_silent(&error, &of);
            }
            // JSON is YAML too, and its parser likes to show what it has read.
            if let Err(error) = serde_norway::from_str::<T>(&text) {
                is_silent(&error, &of);
            }
            match serde_json::from_value::<T>(given) {
                Err(error) => is_silent(&error, &of),
                Ok(config) => {
                    if let Err(error) = build(config) {
                        is_silent(&*error, &of);
                    }
                }
            }
        }
    }
}

// Without certificates to check, for speed: the machine's are not read for each of the thousands.
fn aap_settings() -> serde_json::Value {
    serde_json::json!({
        "url": "http://h", "name": "aap", "auth": {"token": "t"},
        "http": {"caFile": null, "insecure": true, "requestTimeout": "45s", "userAgent": "x",
                 "clientIdentity": null},
        "organization": "Default", "envelope": "a.b", "tokenVariable": "token", "diagnose": true,
        "templates": {"prefix": "osac", "create": "c", "delete": {"name": "d", "kind": "job_template"},
                      "kinds": {"Tenant": {"create": "t"}}},
        "extraVars": {"a": 1}, "timing": {"pollInterval": "15s"}, "monitor": {"batchFrom": 3},
        "projection": {},
    })
}

fn eda_settings(transport: &serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "transport": transport, "name": "eda", "envelope": "e", "refuseTemplates": true,
        "http": {"connectTimeout": "5s", "insecure": true}, "completion": {"finalizers": {"Tenant": "x/t"}},
        "pacing": {"maxInFlight": 2, "minInterval": "1s"}, "timing": {"inFlightWindow": "1m"},
        "activation": {"url": "http://h", "token": "t", "name": "a"},
        "tracking": {"audit": {"url": "http://h", "token": "t", "lookback": "1h"}},
    })
}

#[test]
fn no_error_of_a_configuration_repeats_what_it_could_not_read() {
    use provider_aap::{AapConfig, AapProvider, Auth, HttpConfig};
    use provider_eda::{ClientIdentity, EdaProvider};
    let aap = |config| Ok(AapProvider::new(config).map(drop)?);
    let eda = |config| Ok(EdaProvider::new(config).map(drop)?);
    let mut given = aap_settings();
    try_out::<AapConfig>(&given, aap);
    given["auth"] = json!({"basic": {"username": "u", "password": "p"}});
    try_out::<AapConfig>(&given, aap);
    try_out::<Auth>(&json!({"token": "t"}), |_| Ok(()));
    try_out::<HttpConfig>(&given["http"], |_| Ok(()));
    try_out::<ClientIdentity>(&json!({"pem": "p"}), |_| Ok(()));
    try_out::<ClientIdentity>(&json!({"files": {"certificate": "c", "key": "k"}}), |_| {
        Ok(())
    });
    let urls = json!({"create": "http://h/c", "kinds": {"Tenant": {"delete": "http://h/d"}}});
    let hmac = json!({"secret": "s", "algorithm": "sha512", "encoding": "hex", "prefix": "p"});
    let hook = json!({"endpoints": urls, "token": "t", "hmac": hmac});
    try_out::<EdaConfig>(&eda_settings(&json!({"rulebookWebhook": hook})), eda);
    let url = format!("https://h{}", Stream::token("").path());
    for auth in [
        json!({"token": "t"}),
        json!({"token": {"token": "t", "header": "X-Token"}}),
        json!({"hmac": "s"}),
        json!({"hmac": hmac}),
        json!({"basic": {"username": "u", "password": "p"}}),
    ] {
        let stream = json!({"endpoints": {"create": url}, "auth": auth});
        try_out::<EdaConfig>(&eda_settings(&json!({"eventStream": stream})), eda);
    }
    #[cfg(feature = "aap")]
    {
        use provider_eda::ProviderConfig;
        let build = |config: ProviderConfig| Ok(config.build().map(drop)?);
        try_out::<ProviderConfig>(&json!({"aap": aap_settings()}), build);
        let mut tracked = eda_settings(&json!({"rulebookWebhook": hook}));
        tracked["tracking"] = json!({"jobs": {"aap": aap_settings(), "label": "l-{token}"}});
        try_out::<ProviderConfig>(&json!({"eda": tracked}), build);
    }
}

type Base<'a> = &'a [(&'a str, &'a str)];

/// One variable after the other holds what belongs into another.
fn try_out_variables<T>(
    base: Base<'_>,
    read: impl Fn(&dyn Fn(&str) -> Option<String>) -> Result<T, provider_eda::ConfigError>,
    build: impl Fn(T) -> Result<(), provider_eda::ConfigError>,
) -> usize {
    let names = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let value = |name: &str| {
        let found = base.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let asked = |name: &str| {
        names.borrow_mut().insert(name.to_owned());
        value(name)
    };
    build(read(&asked).map_err(|error| error.to_string()).unwrap()).unwrap();
    let names = names.into_inner();
    let texts = wrong();
    for name in &names {
        for text in texts
            .iter()
            .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
        {
            let vars = |asked: &str| {
                (asked == name)
                    .then(|| text.clone())
                    .or_else(|| value(asked))
            };
            let result = read(&vars).and_then(&build);
            if let Err(error) = result {
                is_silent(&error, &format!("{name}={text}"));
            }
        }
    }
    names.len()
}

#[test]
fn no_error_of_a_variable_repeats_it() {
    use provider_aap::{AapConfig, AapProvider};
    use provider_eda::EdaProvider;
    let aap = |config| AapProvider::new(config).map(drop);
    let eda = |config| EdaProvider::new(config).map(drop);
    let read_aap = |vars: &dyn Fn(&str) -> Option<String>| AapConfig::from_vars(vars);
    let read_eda = |vars: &dyn Fn(&str) -> Option<String>| EdaConfig::from_vars(vars);
    let (url, fast) = (("AAP_URL", "http://h"), ("AAP_INSECURE", "true"));
    let names = try_out_variables(&[url, fast, ("AAP_TOKEN", "t")], read_aap, aap);
    assert!(names > 25, "{names}");
    let basic = [url, fast, ("AAP_USERNAME", "u"), ("AAP_PASSWORD", "p")];
    try_out_variables(&basic, read_aap, aap);
    let hook = [
        ("EDA_TRANSPORT", "rulebook-webhook"),
        ("EDA_TOKEN", "t"),
        ("EDA_HMAC_SECRET", "s"),
        ("EDA_INSECURE", "true"),
    ];
    let api = [
        ("EDA_API_URL", "http://h"),
        ("EDA_API_TOKEN", "t"),
        ("EDA_ACTIVATION", "a"),
        ("EDA_TRACKING", "audit"),
    ];
    let names = try_out_variables(&[&URLS[..], &hook, &api].concat(), read_eda, eda);
    assert!(names >= 30, "{names}");
    let url = format!("https://h{}", Stream::token("").path());
    let stream = [
        ("EDA_TRANSPORT", "event-stream"),
        ("EDA_INSECURE", "true"),
        ("EDA_CREATE_URL", &*url),
        ("EDA_DELETE_URL", &*url),
    ];
    for auth in [
        &[("EDA_TOKEN", "t")][..],
        &[("EDA_HMAC_SECRET", "s")],
        &[("EDA_USERNAME", "u"), ("EDA_PASSWORD", "p")],
    ] {
        try_out_variables(&[&stream[..], auth].concat(), read_eda, eda);
    }
}

#[test]
fn no_error_of_a_file_repeats_what_is_in_it() {
    use provider_aap::{AapConfig, AapProvider, Auth};
    use provider_core::Secret;
    use provider_eda::{ClientIdentity, EdaProvider, EventStream, Hmac};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(CANARY);
    let key = format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n");
    for content in [
        Vec::new(),
        format!("{CANARY}\n{CANARY}\n").into_bytes(),
        format!("{CANARY} {CANARY}").into_bytes(),
        format!("{CANARY}\u{200b}").into_bytes(),
        [CANARY.as_bytes(), b"\xff"].concat(),
        key.into_bytes(),
        CANARY.repeat(10_000).into_bytes(),
    ] {
        std::fs::write(&path, &content).unwrap();
        let of = format!(
            "a file with {}",
            String::from_utf8_lossy(&content[..content.len().min(80)])
        );
        let secret = || Secret::of_file(&path);
        let aap = |auth| AapConfig::new("http://h", auth);
        let mut with_files = aap(Auth::token("t"));
        with_files.http.ca_file = Some(path.clone());
        let mut with_identity = aap(Auth::token("t"));
        with_identity.http.client_identity = Some(ClientIdentity::Files {
            certificate: path.clone(),
            key: path.clone(),
        });
        for config in [
            aap(Auth::token(secret())),
            aap(Auth::basic("u", secret())),
            with_files,
            with_identity,
        ] {
            if let Err(error) = AapProvider::new(config) {
                is_silent(&error, &of);
            }
        }
        let hook = || RulebookWebhook::new(Endpoints::one("http://h/x"));
        let url = format!("https://h{}", Stream::token("").path());
        let stream = |auth| EventStream::new(Endpoints::one(&url), auth);
        for config in [
            EdaConfig::new(hook().with_token(secret())),
            EdaConfig::new(hook().with_hmac(Hmac::new(secret()))),
            EdaConfig::new(stream(StreamAuth::token(secret()))),
            EdaConfig::new(stream(StreamAuth::basic("u", secret()))),
        ] {
            if let Err(error) = EdaProvider::new(config) {
                is_silent(&error, &of);
            }
        }
    }
}

/// All that is in force, but for secrets, which are read at each use.
fn in_force(config: EdaConfig) -> String {
    let eda = provider_eda::EdaProvider::new(config).unwrap();
    let c = eda.config();
    let of_events = (&c.name, &c.envelope, &c.transport, &c.projection, &c.http);
    format!(
        "{of_events:?} {:?} {:?} {:?}",
        c.completion, c.activation, c.tracking
    )
}

/// Values of Secrets and files end in a line feed, whichever setting they are for.
#[test]
fn no_setting_keeps_the_line_end_that_it_came_with() {
    use serde_json::{Value, json};
    // What is one of a few words, or a duration, is refused with anything around it.
    const WORDS: [&str; 6] = [
        "algorithm",
        "encoding",
        "lookback",
        "settle",
        "minInterval",
        "inFlightWindow",
    ];
    let api = || json!({"url": "http://h", "token": "t", "username": "u"});
    let with = |mut one: Value, more: Value| {
        for (name, value) in more.as_object().unwrap() {
            one[name] = value.clone();
        }
        one
    };
    let urls = json!({"create": "http://h/c", "delete": "http://h/d",
                      "kinds": {"Tenant": {"create": "http://h/t", "delete": "http://h/u"}}});
    let hmac = json!({"secret": "s", "algorithm": "sha512", "encoding": "hex", "header": "X-S",
                      "prefix": "p="});
    let stream = |auth: Value| {
        let url = format!("https://h{}", Stream::token("").path());
        json!({"eventStream": {"endpoints": {"create": url}, "auth": auth}})
    };
    let hook = json!({"endpoints": urls, "token": "t", "hmac": hmac});
    let audit = json!({"audit": with(api(), json!({"activations": ["a", "b"], "lookback": "1h",
                                                   "settle": "1m"}))});
    let mut trackings = vec![audit];
    if cfg!(feature = "aap") {
        let aap = json!({"url": "http://h", "auth": {"token": "t"}, "http": {"insecure": true}});
        trackings.push(json!({"jobs": {"aap": aap, "label": "l-{token}", "settle": "1m"}}));
    }
    let mut tried = 0;
    for transport in [
        json!({"rulebookWebhook": hook}),
        stream(json!({"token": {"token": "t", "header": "X-Token"}})),
        stream(json!({"hmac": hmac})),
        stream(json!({"basic": {"username": "u", "password": "p"}})),
    ] {
        for tracking in &trackings {
            let whole = json!({
                "transport": transport, "name": "eda", "envelope": "e",
                "http": {"insecure": true, "userAgent": "x"},
                "projection": {"without": ["/spec/a", "/spec/b"]},
                "completion": {"versionAnnotation": "x/v", "operationAnnotation": "x/o",
                               "finalizer": "x/f", "finalizers": {"Tenant": "x/t"}},
                "pacing": {"minInterval": "1s"}, "timing": {"inFlightWindow": "1m"},
                "activation": with(api(), json!({"name": "a"})), "tracking": tracking,
            });
            let right = in_force(serde_json::from_value(whole.clone()).unwrap());
            let mut all = Vec::new();
            places(&whole, "", &mut all);
            for place in all {
                let mut given = whole.clone();
                let value = given.pointer_mut(&place).unwrap();
                let Value::String(text) = value else { continue };
                text.push('\n');
                let Ok(config) = serde_json::from_value::<EdaConfig>(given) else {
                    let name = place.rsplit('/').next().unwrap();
                    assert!(WORDS.contains(&name), "{place} is refused");
                    continue;
                };
                assert_eq!(in_force(config), right, "{place}");
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn what_is_natural_to_write_is_read() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "Bearer s3cret-of-file\n").unwrap();
    let path = file.path().to_str().unwrap();
    let url = format!("  \"https://h{}\"\n", Stream::token("").path());
    for auth in [
        json!({"token": "s3cret"}),
        json!({"token": " Bearer s3cret\n"}),
        json!({"token": {"file": path}}),
        json!({"token": {"token": {"file": path}, "header": "X-Token\n"}}),
        json!({"hmac": "s3cret\n"}),
        json!({"hmac": {"secret": {"file": path}}}),
        json!({"basic": {"username": "u\n", "password": {"file": path}}}),
    ] {
        let stream = json!({"endpoints": {"create": url}, "auth": auth});
        let given = json!({"transport": {"eventStream": stream}}).to_string();
        for config in [
            serde_json::from_str::<EdaConfig>(&given).unwrap(),
            serde_norway::from_str::<EdaConfig>(&given).unwrap(),
        ] {
            let eda = provider_eda::EdaProvider::new(config).unwrap();
            assert!(!format!("{eda:?}").contains("s3cret"), "{eda:?}");
        }
    }
    // A number is not the text that it was written as.
    let given = r#"{"transport": {"rulebookWebhook": {"token": 7}}}"#;
    let error = serde_json::from_str::<EdaConfig>(given)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("token: expected a text in quotes"),
        "{error}"
    );
}

#[test]
fn the_environment_and_files_name_urls_of_actions_and_targets() {
    let vars = |name: &str| {
        let value = match name {
            "EDA_TRANSPORT" => "rulebook-webhook",
            "EDA_CREATE_URL" => "http://h/create",
            "EDA_DELETE_URL" => "http://h/delete",
            "EDA_ACTION_URL" => "http://h/{action}-{kind}",
            "EDA_OPERATION_ANNOTATION" => "example.com/done",
            "EDA_KIND_URLS" => r#"{"Tenant": {"actions": {"restart": "http://h/tenants"}}}"#,
            "EDA_TARGET_URLS" => r#"{"dns": {"create": "http://dns/create"}}"#,
            _ => return None,
        };
        Some(value.to_owned())
    };
    let read = EdaConfig::from_vars(vars).unwrap();
    assert_eq!(read.completion.operation_annotation, "example.com/done");
    let shown = read.to_string();
    for part in [
        "any action at http://h/{action}-{kind}",
        "1 kinds",
        "1 targets",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(EdaProvider::new(read).unwrap().capabilities().actions);
    for (name, value) in [
        (
            "EDA_KIND_URLS",
            r#"{"Tenant": {"actions": {"Restart It": "http://user:pass@h"}}}"#,
        ),
        ("EDA_TARGET_URLS", "[]"),
    ] {
        let bad = |asked: &str| (asked == name).then(|| value.to_owned()).or(vars(asked));
        let error = EdaConfig::from_vars(bad).unwrap_err();
        assert_eq!(error.field(), name);
        assert!(!error.to_string().contains("pass"), "{error}");
    }
    // What surrounds a URL in a file is taken off, wherever it stands.
    let quoted = "\" http://h/x \"\n";
    let urls: Endpoints = serde_json::from_value(json!({
        "create": quoted, "delete": quoted, "action": quoted, "actions": {"restart": quoted},
        "kinds": {"Tenant": {"action": quoted, "actions": {"restart": quoted}}},
        "targets": {"dns": {
            "create": quoted, "actions": {"restart": quoted},
            "kinds": {"Tenant": {"delete": quoted, "actions": {"restart": quoted}}},
        }},
    }))
    .unwrap();
    let eda = EdaProvider::new(config(RulebookWebhook::new(urls))).unwrap();
    let shown = format!("{:?}", eda.config().transport);
    assert!(
        !shown.contains("\\n") && shown.contains("http://h/x"),
        "{shown}"
    );
    for place in [
        json!({"actions": {"restart": "ftp://h/x"}}),
        json!({"action": "nonsense"}),
        json!({"kinds": {"Tenant": {"action": "ftp://h/x"}}}),
        json!({"targets": {"dns": {"create": "ftp://h/x"}}}),
        json!({"targets": {"dns": {"kinds": {"Tenant": {"actions": {"restart": "ftp://h"}}}}}}),
    ] {
        let urls: Endpoints = serde_json::from_value(place.clone()).unwrap();
        let refused = EdaProvider::new(config(RulebookWebhook::new(urls)));
        assert!(
            refused.unwrap_err().field().starts_with("endpoints."),
            "{place}"
        );
    }
}
