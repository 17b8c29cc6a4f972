use super::*;

#[test]
fn durations_are_written_as_people_write_them_and_read_back() {
    let config = PolicyConfig::default().with(|config| {
        config.poll_interval = Some(SignedDuration::from_secs(90));
    });
    let written = serde_json::to_value(&config).unwrap();
    assert_eq!(written["pollInterval"], "1m 30s");
    assert_eq!(written["backoff"]["base"], "30s");
    assert_eq!(written["deadlines"]["queued"], "6h");
    assert_eq!(written["deletion"]["abandonAfter"], serde_json::Value::Null);
    let read: Policy = serde_json::from_value(written).unwrap();
    assert_eq!(read.config(), &config);
    let minus = PolicyConfig::default().with(|config| {
        config.cancel_retry = SignedDuration::from_secs(-1);
    });
    let refused = Policy::try_from(minus).unwrap_err().to_string();
    assert_eq!(refused, "cancelRetry is -1s; it must be zero or more");
    let nonsense = serde_json::from_str::<Policy>(r#"{"historyLength": 0}"#).unwrap_err();
    assert!(
        nonsense.to_string().contains("historyLength is 0"),
        "{nonsense}"
    );
}

#[test]
fn the_default_policy_is_valid() {
    assert_eq!(Policy::default().config(), &PolicyConfig::default());
}

/// Found by the fuzz target `config`.
#[test]
fn no_error_repeats_what_was_found_in_place_of_a_setting() {
    for member in [
        r#"{"purge": "s3cret"}"#,
        r#"{"cancelRetry": "s3cret"}"#,
        r#"{"s3cret": 1}"#,
        r#"{"jitter": "s3cret"}"#,
        r#"{"backoff": {"base": "s3cret"}}"#,
        r#"{"deadlines": "s3cret"}"#,
        r#"{"deletion": {"runningProvision": "s3cret"}}"#,
    ] {
        let error = serde_json::from_str::<PolicyConfig>(member).unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(error.to_string().contains("expected"), "{error}");
    }
}

#[test]
fn nonsense_is_refused_when_the_policy_is_made() {
    type Change = fn(&mut PolicyConfig);
    const MINUS: SignedDuration = SignedDuration::from_secs(-1);
    const ZERO: SignedDuration = SignedDuration::ZERO;
    let nonsense: [(&str, Change); 12] = [
        ("historyLength", |c| c.history_length = 0),
        ("maxFailures", |c| c.max_failures = Some(0)),
        ("actionTries", |c| c.action_tries = 0),
        ("jitter", |c| c.jitter = -0.1),
        ("jitter", |c| c.jitter = f64::NAN),
        ("pollInterval", |c| c.poll_interval = Some(MINUS)),
        ("pollInterval", |c| c.poll_interval = Some(ZERO)),
        ("cancelRetry", |c| c.cancel_retry = MINUS),
        ("backoff.base", |c| c.backoff.base = MINUS),
        ("backoff.cap", |c| c.backoff.cap = c.backoff.base / 2),
        ("deadlines.unknown", |c| c.deadlines.unknown = MINUS),
        ("deletion.abandonAfter", |c| {
            c.deletion.abandon_after = Some(MINUS);
        }),
    ];
    for (field, change) in nonsense {
        let config = PolicyConfig::default().with(change);
        let error = Policy::new(config).expect_err(field).to_string();
        assert!(error.starts_with(field), "{error}");
    }
}
