//! Events, outputs and nodes that no controller should send: nothing of them stops a diagnosis, and what it
//! says is bounded.

use proptest::prelude::*;
use provider_core::text;
use serde_json::{Value, json};

use super::flow::Node;
use super::inquiry::Row;
use super::output::Output;
use super::play::Events;
use super::said::{Said, said};
use crate::hostile::hostile;

const NAMES: [&str; 24] = [
    "event",
    "event_data",
    "task",
    "host",
    "host_name",
    "res",
    "ignore_errors",
    "failures",
    "dark",
    "rescued",
    "msg",
    "stderr",
    "stdout",
    "rc",
    "results",
    "failed",
    "module_stderr",
    "module_stdout",
    "exception",
    "reason",
    "_ansible_no_log",
    "h0",
    "",
    "message",
];

fn leaf() -> impl Strategy<Value = String> {
    let words = [
        "runner_on_failed",
        "runner_on_unreachable",
        "playbook_on_stats",
        "h0",
    ];
    prop_oneof![
        4 => hostile(),
        2 => proptest::sample::select(words.to_vec()).prop_map(|word| format!("\"{word}\"")),
        1 => "\\PC{0,40}".prop_map(|text| Value::from(text.repeat(100)).to_string()),
    ]
}

/// JSON of any shape, with names that the readers look for.
fn any_json() -> impl Strategy<Value = String> {
    leaf().prop_recursive(5, 40, 6, |inner| {
        let member = (proptest::sample::select(NAMES.to_vec()), inner.clone());
        prop_oneof![
            1 => proptest::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            4 => proptest::collection::vec(member, 0..6).prop_map(|members| {
                let members = members.iter().map(|(name, value)| format!("\"{name}\":{value}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

/// An event as far as it has the members of one.
fn event() -> impl Strategy<Value = String> {
    let kinds = [
        "runner_on_failed",
        "runner_on_unreachable",
        "playbook_on_stats",
        "x",
    ];
    let kind = proptest::sample::select(kinds.to_vec());
    (kind, any_json(), any_json()).prop_map(|(kind, data, res)| {
        format!(
            "{{\"event\":\"{kind}\",\"event_data\":{{\"task\":\"t\",\"host\":\"h0\",\"res\":{res},\
             \"failures\":{data},\"dark\":{{\"h0\":{data}}}}}}}"
        )
    })
}

fn is_bounded(said: &str) -> bool {
    said.len() <= text::MAX_TEXT && !said.chars().any(char::is_control)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_event_stops_the_search_for_the_cause(
        rows in proptest::collection::vec(prop_oneof![event(), any_json()], 0..8),
    ) {
        let events = Events::of(rows.iter().map(String::as_str));
        let cause = events.cause(&str::to_owned);
        prop_assert!(cause.as_deref().is_none_or(is_bounded), "{cause:?}");
        let _ = (events.is_over(), events.is_whole(), events.are_hidden());
    }

    #[test]
    fn a_hidden_result_says_nothing_whatever_else_it_has(other in any_json(), by in 0..3_u8) {
        let other: Value = serde_json::from_str(&other).unwrap_or_default();
        let hidden = match by {
            0 => json!({"censored": "hidden", "msg": other}),
            1 => json!({"_ansible_no_log": true, "stderr": other, "results": [other]}),
            _ => json!({"results": [{"failed": true, "msg": other}, {"censored": "hidden"}], "msg": other}),
        };
        prop_assert_eq!(said(&hidden, &str::to_owned), Said::Hidden);
    }

    #[test]
    fn no_output_is_too_odd(text in "(\\PC|\u{1b}|\r|\n|\\[ERROR\\]: |fatal: \\[|PLAY RECAP ){0,300}") {
        let output = Output::of(text);
        for said in [output.line(), output.end()].into_iter().flatten() {
            prop_assert!(is_bounded(&said), "{said:?}");
        }
    }

    #[test]
    fn no_node_and_no_job_of_one_stops_the_search(
        values in proptest::collection::vec(
            (proptest::sample::select(vec![
                "id", "identifier", "summary_fields", "job", "do_not_run", "failure_nodes", "always_nodes",
                "status", "timed_out", "extra_vars", "job_explanation", "result_traceback",
            ]), prop_oneof![hostile(), any_json()]),
            0..14,
        ),
    ) {
        // Of members that come twice, none is read.
        let mut seen = std::collections::BTreeSet::new();
        let values = values.iter().filter(|(name, _)| seen.insert(*name));
        let members = values.map(|(name, value)| format!("\"{name}\": {value}"));
        let text = format!("{{{}}}", members.collect::<Vec<_>>().join(", "));
        let node: Node = serde_json::from_str(&text).unwrap();
        let _ = node.own_name();
        let row: Row = serde_json::from_str(&text).unwrap();
        let _ = row.timed_out;
    }
}
