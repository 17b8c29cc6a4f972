//! What a task that failed has said, where it says it.

use provider_core::text;
use serde_json::Value;

/// Bounds a look into results within results.
const DEEPEST: u8 = 4;

/// The most of a reason that is told.
const MAX: usize = 500;

/// What is to be told of a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It has an answer that must not be seen.
    Hidden,
    Text(String),
    Nothing,
}

/// Whether the result is of a task with `no_log`, or holds one.
pub(super) fn is_hidden(res: &Value) -> bool {
    let own = |res: &Value| {
        res.get("_ansible_no_log").and_then(Value::as_bool) == Some(true)
            || res.get("censored").is_some()
    };
    let items = res.get("results").and_then(Value::as_array);
    own(res) || items.is_some_and(|items| items.iter().any(own))
}

/// Messages that only say that there is another one elsewhere (Ansible, of several versions).
fn says_nothing(message: &str) -> bool {
    let message = message.trim();
    let whole = [
        "",
        "One or more items failed",
        "All items completed",
        "non-zero return code",
        "(traceback unavailable)",
    ];
    let begins = ["MODULE FAILURE", "Module result deserialization failed"];
    let refers = message.to_ascii_lowercase().contains("see stdout/stderr");
    whole.contains(&message) || begins.iter().any(|begin| message.starts_with(begin)) || refers
}

/// What ssh says when all is over, after what the module has said.
fn is_noise(line: &str) -> bool {
    (line.starts_with("Shared connection to ") || line.starts_with("Connection to "))
        && line.ends_with(" closed.")
}

/// The last line that tells something.
fn last_line(text: &str, redact: &dyn Fn(&str) -> String) -> Option<String> {
    let text = redact(text);
    let lines = text.lines().rev().map(|line| text::bounded(line, MAX));
    lines
        .into_iter()
        .find(|line| !line.is_empty() && !is_noise(line))
}

/// A message as one text: modules also give lists, and mappings.
fn as_text(message: &Value, depth: u8) -> Option<String> {
    let deeper = depth.checked_sub(1)?;
    match message {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let parts: Vec<String> = parts
                .iter()
                .filter_map(|one| as_text(one, deeper))
                .collect();
            (!parts.is_empty()).then(|| parts.join("; "))
        }
        Value::Object(members) => {
            let named = ["msg", "message", "error", "detail", "reason", "text"];
            let named = named
                .iter()
                .find_map(|name| as_text(members.get(*name)?, deeper));
            named.or_else(|| (!members.is_empty()).then(|| message.to_string()))
        }
        Value::Null => None,
        Value::Bool(_) | Value::Number(_) => Some(message.to_string()),
    }
}

/// Why a task failed, by the answer of its module.
pub(super) fn said(res: &Value, redact: &dyn Fn(&str) -> String) -> Said {
    within(res, redact, DEEPEST)
}

fn within(res: &Value, redact: &dyn Fn(&str) -> String, depth: u8) -> Said {
    let Some(deeper) = depth.checked_sub(1) else {
        return Said::Nothing;
    };
    if is_hidden(res) {
        return Said::Hidden;
    }
    let is_bad = |item: &&Value| {
        let is = |name| item.get(name).and_then(Value::as_bool) == Some(true);
        is("failed") || is("unreachable")
    };
    let items = res.get("results").and_then(Value::as_array);
    let bad = items.into_iter().flatten().filter(is_bad);
    let of_items = bad.map(|item| within(item, redact, deeper));
    if let Some(said) = of_items.into_iter().find(|said| *said != Said::Nothing) {
        return said;
    }
    let line = |name: &str| last_line(res.get(name)?.as_str()?, redact);
    if let Some(line) = line("module_stderr").or_else(|| line("module_stdout")) {
        return Said::Text(line);
    }
    let message = res.get("msg").and_then(|message| as_text(message, DEEPEST));
    let message = message.unwrap_or_default();
    if !says_nothing(&message) {
        return Said::Text(text::bounded(&redact(&message), MAX));
    }
    let code = res.get("rc").and_then(Value::as_i64);
    let of_command = line("stderr").or_else(|| line("stdout"));
    match (of_command, code) {
        (Some(line), Some(code)) => Said::Text(format!("return code {code}: {line}")),
        (Some(line), None) => Said::Text(line),
        (None, Some(code)) if !message.is_empty() => {
            Said::Text(format!("{} ({code})", text::bounded(&message, MAX)))
        }
        (None, _) => {
            let other = line("reason").or_else(|| line("exception"));
            let other = other.filter(|other| !says_nothing(other));
            let own = text::bounded(&redact(&message), MAX);
            match other.or_else(|| (!own.is_empty()).then_some(own)) {
                Some(text) => Said::Text(text),
                None => Said::Nothing,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(res: &Value) -> Said {
        said(res, &|text| text.replace("s3cret", "***"))
    }

    fn text(text: &str) -> Said {
        Said::Text(text.to_owned())
    }

    #[test]
    fn the_cause_is_where_the_module_has_put_it() {
        for (res, expected) in [
            (json!({"msg": "quota exceeded"}), "quota exceeded"),
            (
                json!({"results": [{"failed": false, "msg": "fine"}, {"failed": true, "msg": "disk b is too large"}],
                    "msg": "One or more items failed"}),
                "disk b is too large",
            ),
            (
                json!({"msg": "non-zero return code", "rc": 3, "stderr": "err1\nthe pool is full\n\n", "stdout": "o"}),
                "return code 3: the pool is full",
            ),
            (
                json!({"msg": "non-zero return code", "rc": 3, "stderr": "\n", "stdout": "a\nb s3cret\n"}),
                "return code 3: b ***",
            ),
            (
                json!({"msg": "non-zero return code", "rc": 3}),
                "non-zero return code (3)",
            ),
            (
                json!({"msg": "MODULE FAILURE\nSee stdout/stderr for the exact error", "rc": 1,
                    "module_stderr": "Shared connection to 10.0.0.1 closed.\r\n",
                    "module_stdout": "Traceback …\r\nRuntimeError: it went wrong\r\n"}),
                "RuntimeError: it went wrong",
            ),
            (
                json!({"msg": "Module result deserialization failed: No start of json char found",
                    "module_stderr": "Traceback\nRuntimeError: boom\n", "exception": "(traceback unavailable)"}),
                "RuntimeError: boom",
            ),
            (json!({"msg": ["first", "second"]}), "first; second"),
            (json!({"msg": {"code": 7, "text": "no more"}}), "no more"),
            (json!({"msg": {"code": 7}}), "{\"code\":7}"),
            (json!({"msg": 7}), "7"),
            (
                json!({"msg": "", "exception": "Traceback\nKeyError: 'x'"}),
                "KeyError: 'x'",
            ),
            (json!({"reason": "no such host"}), "no such host"),
        ] {
            assert_eq!(of(&res), text(expected), "{res}");
        }
        for nothing in [
            json!(null),
            json!({}),
            json!([]),
            json!("x"),
            json!({"msg": null}),
        ] {
            assert_eq!(of(&nothing), Said::Nothing, "{nothing}");
        }
    }

    #[test]
    fn what_is_hidden_stays_so_also_within_a_loop() {
        let words = "the output has been hidden due to the fact that 'no_log: true' was specified";
        for res in [
            json!({"censored": words}),
            json!({"_ansible_no_log": true, "msg": "s3cret"}),
            json!({"results": [{"failed": true, "censored": words, "msg": "s3cret"}], "msg": "One or more items failed"}),
            json!({"results": [{"failed": true, "msg": "a"}, {"_ansible_no_log": true}], "msg": "x"}),
        ] {
            assert_eq!(of(&res), Said::Hidden, "{res}");
        }
    }
}
