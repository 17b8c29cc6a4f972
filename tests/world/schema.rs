//! What a definition says of its objects: unknown members are dropped, defaults filled in, and nonsense is
//! refused. As far as the definitions of this workspace go; behaviours are compared with the real server's.

use serde_json::{Map, Value};

/// A structural schema.
#[derive(Debug, Clone)]
pub(crate) struct Schema(Value);

fn flag(schema: &Value, name: &str) -> bool {
    schema[name].as_bool().unwrap_or(false)
}

impl Schema {
    pub(crate) fn new(schema: Value) -> Self {
        Self(schema)
    }

    /// The object as it is stored; or what is wrong with it.
    pub(crate) fn admit(&self, object: &mut Value, before: Option<&Value>) -> Result<(), String> {
        let members = object.as_object_mut().ok_or("no object")?;
        // Those that every object has are no part of the schema.
        let own = ["apiVersion", "kind", "metadata"].map(|name| (name, members.remove(name)));
        shape(object, &self.0);
        let checked = check(object, &self.0, "");
        for (name, value) in own {
            if let Some(value) = value {
                object[name] = value;
            }
        }
        checked?;
        match before {
            Some(before) if self.0["x-kubernetes-validations"].is_array() => keeps(before, object),
            _ => Ok(()),
        }
    }
}

/// Drops what is unknown, and fills in what has a default.
fn shape(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(members) => {
            let no_members = Map::new();
            let known = schema["properties"].as_object().unwrap_or(&no_members);
            let others = &schema["additionalProperties"];
            if !flag(schema, "x-kubernetes-preserve-unknown-fields") && !others.is_object() {
                members.retain(|name, _| known.contains_key(name));
            }
            for (name, schema) in known {
                let nulled = members.get(name).is_some_and(Value::is_null);
                let default = &schema["default"];
                if !default.is_null() && (nulled || !members.contains_key(name)) {
                    members.insert(name.clone(), default.clone());
                }
            }
            for (name, value) in members {
                match known.get(name) {
                    Some(schema) => shape(value, schema),
                    None if others.is_object() => shape(value, others),
                    // All of what is kept unknown.
                    None => {}
                }
            }
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| shape(item, &schema["items"])),
        _ => {}
    }
}

fn check(value: &Value, schema: &Value, at: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{at}: Invalid value: {what}"));
    if value.is_null() {
        return match flag(schema, "nullable") || schema["type"].is_null() {
            true => Ok(()),
            false => wrong("null"),
        };
    }
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    if !fits {
        return wrong("another type");
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return wrong("none of the words");
    }
    let bound = |name: &str| schema[name].as_f64();
    let within = |size: f64, least: &str, most: &str| {
        bound(least).is_none_or(|least| size >= least)
            && bound(most).is_none_or(|most| size <= most)
    };
    #[allow(clippy::cast_precision_loss, reason = "lengths are small")]
    let length = |count: usize| count as f64;
    let inside = match value {
        Value::Number(number) => within(number.as_f64().unwrap_or_default(), "minimum", "maximum"),
        Value::String(text) => within(length(text.chars().count()), "minLength", "maxLength"),
        Value::Array(items) => within(length(items.len()), "minItems", "maxItems"),
        _ => true,
    };
    if !inside {
        return wrong("out of bounds");
    }
    match value {
        Value::Object(members) => {
            for name in schema["required"].as_array().into_iter().flatten() {
                if !members.contains_key(name.as_str().unwrap_or_default()) {
                    return Err(format!("{at}.{name}: Required value"));
                }
            }
            for (name, value) in members {
                let named = &schema["properties"][name];
                let others = &schema["additionalProperties"];
                let schema = if named.is_null() { others } else { named };
                check(value, schema, &format!("{at}.{name}"))?;
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                check(item, &schema["items"], &format!("{at}[{n}]"))?;
            }
            let keys = schema["x-kubernetes-list-map-keys"].as_array();
            for keys in keys.into_iter() {
                let name = |item: &Value| -> Vec<Value> {
                    let member = |key: &Value| item[key.as_str().unwrap_or_default()].clone();
                    keys.iter().map(member).collect()
                };
                let names: Vec<Vec<Value>> = items.iter().map(name).collect();
                let twice = names
                    .iter()
                    .enumerate()
                    .any(|(n, one)| names[..n].contains(one));
                if twice {
                    return Err(format!("{at}: Duplicate value"));
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// The one rule of `provider_kube::guarded`, in Rust: what may be alive stays on record, and so does the
/// newest record.
fn keeps(before: &Value, after: &Value) -> Result<(), String> {
    let records = |object: &Value| {
        object
            .pointer("/status/jobs")
            .and_then(Value::as_array)
            .cloned()
    };
    let now = records(after);
    for old in records(before).unwrap_or_default() {
        let number = |record: &Value| record["attempt"].as_u64().unwrap_or(0);
        if number(&old) == 0 {
            continue;
        }
        let Some(now) = &now else {
            return Err("status.jobs must keep its newest record".to_owned());
        };
        let newest = now.iter().any(|new| number(new) >= number(&old));
        let ended = ["Succeeded", "Failed", "Canceled"]
            .contains(&old["state"].as_str().unwrap_or(""))
            && !flag(&old, "doubtful");
        let text = |record: &Value, name: &str| record[name].as_str().unwrap_or("").to_owned();
        let kept = now.iter().any(|new| {
            number(new) == number(&old)
                && (text(&old, "jobID").is_empty() || !text(new, "jobID").is_empty())
                && (old["token"].is_null() || new["token"] == old["token"])
        });
        if !newest || !(ended || kept) {
            return Err("status.jobs must keep its newest record".to_owned());
        }
    }
    Ok(())
}
