//! Numbers, times, lengths and types that no controller should send: nothing of them stops a look, or the
//! reckoning with what it saw.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::body::time;
use crate::holds::look_at;
use crate::launch::Launched;

/// A value that no controller should send, as text.
pub(crate) fn hostile() -> impl Strategy<Value = String> {
    let words = [
        "null",
        "true",
        "1e19",
        "-1e19",
        "1e308",
        "-0.0",
        "1e-320",
        "18446744073709551616",
        "-1",
        "0",
        "9223372036854775807",
        "\"\"",
        "\"NaN\"",
        "[]",
        "[[[]]]",
        "{}",
        "{\"a\":1e400}",
        "\"9999-12-31T23:59:59Z\"",
        "\"-9999-01-01T00:00:00Z\"",
        "\"2026-01-01T00:00:00\"",
        "\"2026-01-01T00:00:00.123456789012Z\"",
        "\"2026-01-01T25:61:61Z\"",
        "\".\"",
        "\"é.é\"",
        "\"canceled\"",
        "\"successful\"",
        "\"failed\"",
        "\"running\"",
        "\"job\"",
        "\"workflow_job\"",
    ];
    prop_oneof![
        6 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => any::<f64>().prop_map(|number| json!(number).to_string()),
        1 => any::<u64>().prop_map(|number| number.to_string()),
        1 => "[ -~é.:TZ0-9+-]{0,200}".prop_map(|text| Value::from(text).to_string()),
    ]
}

const MEMBERS: [&str; 16] = [
    "id",
    "type",
    "status",
    "job_explanation",
    "result_traceback",
    "created",
    "started",
    "finished",
    "canceled_on",
    "elapsed",
    "artifacts",
    "work_unit_id",
    "event_processing_finished",
    "unified_job_template",
    "extra_vars",
    "url",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_member_of_a_body_stops_a_look(
        values in proptest::collection::vec((0..MEMBERS.len(), hostile()), 0..24),
        now in prop_oneof![Just(Timestamp::MIN), Just(Timestamp::MAX), Just(Timestamp::UNIX_EPOCH)],
    ) {
        // Some members come twice.
        let members = values.iter().map(|(at, value)| format!("\"{}\": {value}", MEMBERS[*at]));
        look_at(&format!("{{{}}}", members.collect::<Vec<_>>().join(", ")), now);
    }

    #[test]
    fn no_text_is_too_odd_a_time(text in "[0-9TZ:.+ -]{0,60}|\\PC{0,60}") {
        let _ = time(&text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_member_of_a_launch_answer_stops_its_reader(
        values in proptest::collection::vec(
            (proptest::sample::select(vec!["id", "type", "status", "url", "ignored_fields", "job"]), hostile()),
            0..10,
        ),
    ) {
        let members = values.iter().map(|(name, value)| format!("\"{name}\": {value}"));
        let text = format!("{{{}}}", members.collect::<Vec<_>>().join(", "));
        let _ = crate::json::read::<Launched>(text.as_bytes());
    }
}

#[test]
fn an_odd_status_or_url_does_not_put_a_launch_in_doubt() {
    for value in ["7", "null", "[]", "{}", "1e19"] {
        let text =
            format!("{{\"id\": 7, \"type\": \"job\", \"status\": {value}, \"url\": {value}}}");
        let launched: Launched = crate::json::read(text.as_bytes()).unwrap();
        assert_eq!((launched.id, launched.kind.as_str()), (7, "job"));
    }
}

#[test]
fn a_success_that_took_longer_than_anything_lasts_does_not_stop_the_worker() {
    for elapsed in ["1e19", "1.8e19", "1e308", "-1", "315360001"] {
        let text = format!(
            "{{\"id\": 7, \"type\": \"job\", \"status\": \"successful\", \"unified_job_template\": 9, \
             \"elapsed\": {elapsed}}}"
        );
        look_at(&text, Timestamp::UNIX_EPOCH);
    }
}
