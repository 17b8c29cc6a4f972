//! The objects of one kind as an API server keeps them: versions, the status subresource, finalizers,
//! conflicts, and the changes that watches tell. What the real one does is measured by
//! `scripts/test-kube.sh`, by the same list of behaviours (`behaves.rs`).

use std::collections::{BTreeMap, VecDeque};

use axum::body::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::schema::Schema;

/// How many changes are kept for watches and lists that come late.
const KEPT: usize = 200;
/// How many lists may be read on, page by page.
const LISTS: usize = 20;

/// What an API server answers.
pub(crate) type Answer = (u16, Value);

#[derive(Debug)]
struct Change {
    version: u64,
    key: String,
    before: Option<Value>,
    /// As watches tell it.
    line: Bytes,
}

#[derive(Debug)]
pub(crate) struct Objects {
    group: String,
    kind: String,
    plural: String,
    schema: Schema,
    /// By `namespace/name`.
    all: BTreeMap<String, Value>,
    version: u64,
    /// Changes up to this version are forgotten.
    forgotten: u64,
    changes: VecDeque<Change>,
    /// The rest of lists that are read in pages, by their tokens.
    lists: VecDeque<(String, u64, Vec<Value>)>,
    lives: u64,
}

pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(members) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in members {
        let target = target.as_object_mut().unwrap();
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// An answer of a server that does not do what it is asked.
pub(crate) fn status(code: u16, reason: &str, message: &str) -> Answer {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "message": message, "reason": reason,
    });
    (code, body)
}

/// What clients ask about objects by labels: `a=b,c!=d`.
fn selects(selector: &str, object: &Value) -> bool {
    let label = |name: &str| {
        object["metadata"]["labels"][name]
            .as_str()
            .unwrap_or("")
            .to_owned()
    };
    let mut parts = selector.split(',').filter(|part| !part.is_empty());
    parts.all(|part| match part.split_once("!=") {
        Some((name, value)) => label(name) != value,
        None => {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            label(name) == value.trim_start_matches('=')
        }
    })
}

/// An event of a watch, as it is sent.
pub(crate) fn line(event: &Value) -> Bytes {
    Bytes::from(format!("{event}\n"))
}

fn is_in(key: &str, namespace: Option<&str>) -> bool {
    namespace.is_none_or(|namespace| key.split('/').next() == Some(namespace))
}

fn finalizers(object: &Value) -> Vec<Value> {
    let all = object["metadata"]["finalizers"].as_array();
    all.cloned().unwrap_or_default()
}

fn without(object: &Value, names: &[&str]) -> Value {
    let mut object = object.clone();
    for name in names {
        object.as_object_mut().unwrap().remove(*name);
    }
    object
}

impl Objects {
    /// None yet, of the kind that this definition defines.
    pub(crate) fn new(definition: &Value) -> Self {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            group: format!(
                "{}/{}",
                text(&spec["group"]),
                text(&spec["versions"][0]["name"])
            ),
            kind: text(&spec["names"]["kind"]),
            plural: text(&spec["names"]["plural"]),
            schema: Schema::new(spec["versions"][0]["schema"]["openAPIV3Schema"].clone()),
            all: BTreeMap::new(),
            // Other kinds have changed before.
            version: 1_000,
            forgotten: 1_000,
            changes: VecDeque::new(),
            lists: VecDeque::new(),
            lives: 0,
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// `group/version`, and the name in paths.
    pub(crate) fn place(&self) -> (&str, &str) {
        (&self.group, &self.plural)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.all.get(key)
    }

    /// What there is in a namespace, or in all of them.
    pub(crate) fn all(&self, namespace: Option<&str>) -> Vec<Value> {
        let all = self.all.iter();
        let within = all.filter(|(key, _)| is_in(key, namespace));
        within.map(|(_, object)| object.clone()).collect()
    }

    fn about(&self, key: &str, code: u16, reason: &str, message: &str) -> Answer {
        let name = key.rsplit('/').next().unwrap_or_default();
        let group = self.group.split('/').next().unwrap_or_default();
        let message = format!("{}.{group} \"{name}\" {message}", self.plural);
        let (code, mut body) = status(code, reason, &message);
        body["details"] = json!({"name": name, "group": group, "kind": self.plural});
        (code, body)
    }

    pub(crate) fn not_found(&self, key: &str) -> Answer {
        self.about(key, 404, "NotFound", "not found")
    }

    fn conflict(&self, key: &str) -> Answer {
        let what = "the object has been modified; please apply your changes to the latest version";
        self.about(key, 409, "Conflict", what)
    }

    fn invalid(&self, key: &str, what: &str) -> Answer {
        self.about(key, 422, "Invalid", &format!("is invalid: {what}"))
    }

    fn put(&mut self, key: &str, mut object: Value, kind: &'static str) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let before = if kind == "DELETED" {
            self.all.remove(key)
        } else {
            self.all.insert(key.to_owned(), object.clone())
        };
        self.changes.push_back(Change {
            version: self.version,
            key: key.to_owned(),
            before,
            line: line(&json!({"type": kind, "object": object})),
        });
        while self.changes.len() > KEPT {
            let oldest = self.changes.pop_front();
            self.forgotten = oldest.map_or(self.forgotten, |change| change.version);
        }
        object
    }

    /// A life begins. Whoever runs a world names it.
    pub(crate) fn create(&mut self, key: &str, object: &Value, now: Timestamp) -> Answer {
        if self.all.contains_key(key) {
            return self.about(key, 409, "AlreadyExists", "already exists");
        }
        let mut object = without(object, &["status"]);
        if let Err(what) = self.schema.admit(&mut object, None) {
            return self.invalid(key, &what);
        }
        self.lives += 1;
        let (namespace, name) = key.split_once('/').unwrap_or(("", key));
        let life = format!("00000000-0000-4000-8000-{:012}", self.lives);
        let metadata = object["metadata"].as_object_mut().unwrap();
        let given = metadata.get("uid").is_some_and(Value::is_string);
        if !given {
            metadata.insert("uid".to_owned(), json!(life));
        }
        for (member, value) in [
            ("name", json!(name)),
            ("namespace", json!(namespace)),
            ("generation", json!(1)),
            ("creationTimestamp", json!(seconds(now))),
        ] {
            metadata.insert(member.to_owned(), value);
        }
        metadata.remove("deletionTimestamp");
        metadata.retain(|_, value| !value.is_null() && *value != json!([]));
        object["apiVersion"] = json!(self.group);
        object["kind"] = json!(self.kind);
        (201, self.put(key, object, "ADDED"))
    }

    /// A write to one of the two endpoints, which both write their own part.
    fn update(&mut self, key: &str, before: &Value, asked: &Value, is_status: bool) -> Answer {
        let mut after = if is_status {
            let mut after = before.clone();
            after["status"] = asked["status"].clone();
            after
        } else {
            let mut after = asked.clone();
            after["status"] = before["status"].clone();
            // What the server itself writes stays; of these, two may not even be asked to change.
            for member in ["uid", "deletionTimestamp"] {
                let (old, new) = (&before["metadata"][member], &asked["metadata"][member]);
                if !new.is_null() && new != old {
                    return self.invalid(key, &format!("metadata.{member}: field is immutable"));
                }
            }
            for member in [
                "uid",
                "name",
                "namespace",
                "resourceVersion",
                "generation",
                "creationTimestamp",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
            ] {
                after["metadata"][member] = before["metadata"][member].clone();
            }
            after
        };
        let held = finalizers(&after);
        let metadata = after["metadata"].as_object_mut().unwrap();
        metadata.retain(|_, value| !value.is_null() && *value != json!([]));
        if after["status"].is_null() {
            after.as_object_mut().unwrap().remove("status");
        }
        let is_deleted = !before["metadata"]["deletionTimestamp"].is_null();
        let known = finalizers(before);
        if is_deleted && held.iter().any(|one| !known.contains(one)) {
            let what = "metadata.finalizers: Forbidden: no new finalizers can be added if the object \
                is being deleted";
            return self.invalid(key, what);
        }
        if let Err(what) = self.schema.admit(&mut after, Some(before)) {
            return self.invalid(key, &what);
        }
        if after == *before {
            return (200, after);
        }
        let own = |object: &Value| without(object, &["metadata", "status"]);
        if own(&after) != own(before) {
            let generation = before["metadata"]["generation"].as_i64().unwrap_or(0);
            after["metadata"]["generation"] = json!(generation + 1);
        }
        if is_deleted && held.is_empty() {
            // The answer is the object as it was at last; its end has a version of its own.
            self.put(key, after.clone(), "DELETED");
            return (200, after);
        }
        (200, self.put(key, after, "MODIFIED"))
    }

    pub(crate) fn patch(&mut self, key: &str, is_status: bool, patch: &Value) -> Answer {
        let Some(before) = self.all.get(key).cloned() else {
            return self.not_found(key);
        };
        if !patch.is_object() {
            return status(400, "BadRequest", "no object");
        }
        let mut after = before.clone();
        merge(&mut after, patch);
        if after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"] {
            return self.conflict(key);
        }
        self.update(key, &before, &after, is_status)
    }

    pub(crate) fn replace(&mut self, key: &str, is_status: bool, object: &Value) -> Answer {
        let Some(before) = self.all.get(key).cloned() else {
            return self.not_found(key);
        };
        let (old, new) = (&before["metadata"], &object["metadata"]);
        if new["resourceVersion"].is_null() {
            let what = "metadata.resourceVersion: must be specified for an update";
            return self.invalid(key, what);
        }
        let is_another = !new["uid"].is_null() && new["uid"] != old["uid"];
        if is_another || new["resourceVersion"] != old["resourceVersion"] {
            return self.conflict(key);
        }
        self.update(key, &before, object, is_status)
    }

    /// A person changes it by hand, whatever others have written.
    pub(crate) fn edit(&mut self, key: &str, change: impl FnOnce(&mut Value)) {
        if let Some(before) = self.all.get(key).cloned() {
            let mut after = before.clone();
            change(&mut after);
            self.update(key, &before, &after, false);
        }
    }

    pub(crate) fn delete(&mut self, key: &str, options: &Value, now: Timestamp) -> Answer {
        let Some(before) = self.all.get(key).cloned() else {
            return self.not_found(key);
        };
        for member in ["uid", "resourceVersion"] {
            let wanted = &options["preconditions"][member];
            if !wanted.is_null() && *wanted != before["metadata"][member] {
                return self.conflict(key);
            }
        }
        if finalizers(&before).is_empty() {
            self.put(key, before, "DELETED");
            return (
                200,
                json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
            );
        }
        if !before["metadata"]["deletionTimestamp"].is_null() {
            return (200, before);
        }
        let mut after = before;
        let generation = after["metadata"]["generation"].as_i64().unwrap_or(0);
        after["metadata"]["generation"] = json!(generation + 1);
        after["metadata"]["deletionTimestamp"] = json!(seconds(now));
        after["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        (200, self.put(key, after, "MODIFIED"))
    }

    /// All objects as they were so many changes ago, and the version of that time.
    fn ago(&self, changes: usize) -> (u64, BTreeMap<String, Value>) {
        let (mut version, mut all) = (self.version, self.all.clone());
        for change in self.changes.iter().rev().take(changes) {
            match &change.before {
                Some(before) => all.insert(change.key.clone(), before.clone()),
                None => all.remove(&change.key),
            };
            version = change.version - 1;
        }
        (version, all)
    }

    /// A list of a namespace, or of all of them; in pages, where that is asked for. A cache may lag behind
    /// by so many changes: it is asked where no version is, or any will do.
    pub(crate) fn list(&mut self, namespace: Option<&str>, query: &Query, lag: usize) -> Answer {
        let limit: usize = query.number("limit").unwrap_or(0);
        let (version, mut items): (u64, Vec<Value>) = if let Some(token) = query.text("continue") {
            let known = self.lists.iter().find(|(known, _, _)| *known == token);
            let Some((_, version, items)) = known.cloned() else {
                let what = "The provided continue parameter is too old";
                return status(410, "Expired", what);
            };
            (version, items)
        } else {
            let any = query.text("resourceVersion").as_deref() == Some("0");
            let (version, all) = self.ago(if any { lag } else { 0 });
            let selector = query.text("labelSelector").unwrap_or_default();
            let items = all
                .into_iter()
                .filter(|(key, object)| is_in(key, namespace) && selects(&selector, object))
                .map(|(_, object)| object);
            (version, items.collect())
        };
        let mut metadata = json!({"resourceVersion": version.to_string(), "continue": ""});
        if limit > 0 && items.len() > limit {
            let rest = items.split_off(limit);
            self.lives += 1;
            let token = format!("page-{}", self.lives);
            metadata["continue"] = json!(token);
            metadata["remainingItemCount"] = json!(rest.len());
            self.lists.push_back((token, version, rest));
            while self.lists.len() > LISTS {
                self.lists.pop_front();
            }
        }
        let list = json!({
            "kind": format!("{}List", self.kind), "apiVersion": self.group,
            "metadata": metadata, "items": items,
        });
        (200, list)
    }

    /// The first change after this version in this namespace; or why there can be none.
    pub(crate) fn next(
        &self,
        namespace: Option<&str>,
        after: u64,
    ) -> Result<Option<(u64, Bytes)>, Value> {
        if after < self.forgotten {
            let what = format!("too old resource version: {after} ({})", self.forgotten + 1);
            let (_, status) = status(410, "Expired", &what);
            return Err(json!({"type": "ERROR", "object": status}));
        }
        let within = |change: &&Change| change.version > after && is_in(&change.key, namespace);
        let next = self.changes.iter().find(within);
        Ok(next.map(|change| (change.version, change.line.clone())))
    }

    /// How far a watch is that has told all.
    pub(crate) fn bookmark(&self, version: u64) -> Value {
        json!({"type": "BOOKMARK", "object": {
            "kind": self.kind, "apiVersion": self.group,
            "metadata": {"resourceVersion": version.to_string(), "creationTimestamp": null},
        }})
    }
}

fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap().to_string()
}

/// What stands behind the question mark of a request.
#[derive(Debug)]
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let named = |part: &str| {
            let (key, value) = part.split_once('=')?;
            (key == name).then(|| {
                value
                    .replace("%3D", "=")
                    .replace("%2C", ",")
                    .replace("%21", "!")
            })
        };
        self.0
            .split('&')
            .find_map(named)
            .filter(|text| !text.is_empty())
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }
}
