//! What an API server does, as far as controllers rely on it: one list, which is gone through on a real server
//! (`scripts/test-kube.sh`) and on the one within the process that simulations have (`tests/world` of the
//! workspace).

mod reads;
mod writes;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::future::LocalBoxFuture;
use futures::{FutureExt, StreamExt};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
    WatchEvent, WatchParams,
};
use kube::{Client, CustomResource, CustomResourceExt, ResourceExt};
use provider_kube::{ProvisioningStatus, guarded};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

fn zone() -> String {
    "a".to_owned()
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, CustomResource)]
#[kube(
    group = "behaves.example.com",
    version = "v1",
    kind = "Probe",
    namespaced,
    status = "ProvisioningStatus"
)]
pub(crate) struct ProbeSpec {
    pub(crate) cores: u32,
    #[serde(default = "zone")]
    pub(crate) zone: String,
}

/// The kind that the behaviours are tried with: with defaults, records and the rule that keeps them.
pub(crate) fn definition() -> CustomResourceDefinition {
    guarded(Probe::crd()).unwrap()
}

/// What the API server refuses of an event.
pub(crate) fn wrong_in_event(event: &Value) -> Vec<&'static str> {
    let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or("");
    let mut wrong = Vec::new();
    for (member, most) in [
        ("/action", 128),
        ("/reason", 128),
        ("/reportingController", 128),
        ("/reportingInstance", 128),
        ("/regarding/name", 253),
        ("/eventTime", 64),
    ] {
        if text(member).is_empty() || text(member).len() > most {
            wrong.push(member);
        }
    }
    if text("/note").len() > 1_024 {
        wrong.push("/note");
    }
    if !["Normal", "Warning"].contains(&text("/type")) {
        wrong.push("/type");
    }
    if text("/metadata/namespace") != text("/regarding/namespace") {
        wrong.push("/metadata/namespace");
    }
    wrong
}

/// The objects of one behaviour, in a namespace of their own; and another namespace.
struct Bench(Api<DynamicObject>, Api<DynamicObject>);

const FINALIZER: &str = "example.com/held";
const OTHER: &str = "example.com/other";

fn code<T>(answer: kube::Result<T>) -> u16 {
    match answer {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(other) => panic!("{other}"),
    }
}

/// The code and the reason of a refusal, and the name that it is about.
fn refusal<T>(answer: kube::Result<T>) -> (u16, String, String) {
    match answer {
        Err(kube::Error::Api(status)) => {
            let name = status.details.as_ref().map(|details| details.name.clone());
            (status.code, status.reason.clone(), name.unwrap_or_default())
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it is not refused"),
    }
}

fn refused(code: u16, reason: &str, name: &str) -> (u16, String, String) {
    (code, reason.to_owned(), name.to_owned())
}

fn version(object: &DynamicObject) -> u64 {
    object.resource_version().unwrap().parse().unwrap()
}

fn generation(object: &DynamicObject) -> i64 {
    object.metadata.generation.unwrap()
}

fn job(attempt: u64, state: &str) -> Value {
    json!({"attempt": attempt, "jobID": attempt.to_string(), "type": "provision", "state": state,
        "token": format!("t-{attempt}")})
}

/// An event of a watch in short: its type, and the name of its object.
type Seen = (&'static str, String, u64);

fn seen(event: WatchEvent<DynamicObject>) -> Seen {
    let of = |kind, object: &DynamicObject| (kind, object.name_any(), version(object));
    match event {
        WatchEvent::Added(object) => of("ADDED", &object),
        WatchEvent::Modified(object) => of("MODIFIED", &object),
        WatchEvent::Deleted(object) => of("DELETED", &object),
        WatchEvent::Bookmark(mark) => {
            let version = mark.metadata.resource_version.parse().unwrap();
            ("BOOKMARK", String::new(), version)
        }
        WatchEvent::Error(status) => ("ERROR", status.reason.clone(), u64::from(status.code)),
    }
}

impl Bench {
    fn object(name: &str, finalizers: &[&str]) -> DynamicObject {
        let object = json!({
            "apiVersion": "behaves.example.com/v1", "kind": "Probe",
            "metadata": {"name": name, "finalizers": finalizers},
            "spec": {"cores": 1},
        });
        serde_json::from_value(object).unwrap()
    }

    async fn create(&self, name: &str, finalizers: &[&str]) -> DynamicObject {
        let object = Self::object(name, finalizers);
        self.0
            .create(&PostParams::default(), &object)
            .await
            .unwrap()
    }

    async fn patch(&self, name: &str, body: Value) -> kube::Result<DynamicObject> {
        let patch = Patch::Merge(&body);
        self.0.patch(name, &PatchParams::default(), &patch).await
    }

    async fn patch_status(&self, name: &str, body: Value) -> kube::Result<DynamicObject> {
        let patch = Patch::Merge(&body);
        self.0
            .patch_status(name, &PatchParams::default(), &patch)
            .await
    }

    async fn get(&self, name: &str) -> DynamicObject {
        self.0.get(name).await.unwrap()
    }

    async fn delete(&self, name: &str) -> Option<DynamicObject> {
        let deleted = self.0.delete(name, &DeleteParams::default()).await;
        deleted.unwrap().left()
    }

    /// The first events of a watch from a version on.
    async fn watch(&self, parameters: &WatchParams, version: &str, most: usize) -> Vec<Seen> {
        let events = self.0.watch(parameters, version).await.unwrap();
        let mut events = pin!(events.take(most));
        let mut all = Vec::new();
        while let Some(event) = next(&mut events).await {
            all.push(seen(event.unwrap()));
        }
        all
    }
}

/// The next of a stream, which does not let wait for long.
async fn next<S: futures::Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    match tokio::time::timeout(Duration::from_secs(20), stream.next()).await {
        Ok(next) => next,
        Err(_) => panic!("nothing within 20 s"),
    }
}

fn plain() -> WatchParams {
    WatchParams {
        bookmarks: false,
        ..WatchParams::default()
    }
}

/// Whether the definition is not served yet.
#[allow(dead_code, reason = "a server within the process serves it at once")]
pub(crate) async fn is_away(client: &Client) -> bool {
    let all: Api<Probe> = Api::all(client.clone());
    all.list(&ListParams::default()).await.is_err()
}

async fn held<F: Future<Output = ()>>(name: &'static str, behaviour: F) -> Option<&'static str> {
    let held = AssertUnwindSafe(behaviour).catch_unwind().await;
    held.is_err().then_some(name)
}

/// Goes through the list, where the definition is served already. How many behaviours there are, and
/// those that this server has otherwise; the panics say how.
pub(crate) fn differences(client: &Client) -> LocalBoxFuture<'_, (usize, Vec<&'static str>)> {
    all_differences(client).boxed_local()
}

async fn all_differences(client: &Client) -> (usize, Vec<&'static str>) {
    let resource = ApiResource::erase::<Probe>(&());
    let (mut count, mut differ) = (0, Vec::new());
    macro_rules! all {
        ($($from:ident::$name:ident),* $(,)?) => {$(
            count += 1;
            let namespace = format!("behaves-{count}");
let [own, other] = [namespace.clone(), format!("{namespace}-other")]
                .map(|name| Api::namespaced_with(client.clone(), &name, &resource));
            let bench = Bench(own, other);
            differ.extend(held(stringify!($name), Box::pin($from::$name(&bench))).await);
        )*};
    }
    all!(
        writes::a_life_begins_with_what_the_server_gives_it,
        writes::a_name_is_given_once_at_a_time,
        writes::what_is_not_there_is_not_found,
        writes::versions_grow_with_every_write,
        writes::a_write_on_an_old_version_is_a_conflict,
        writes::a_write_meant_for_another_life_is_refused,
        writes::of_writers_at_one_version_one_wins,
        writes::each_endpoint_writes_its_own_part,
        writes::a_generation_is_one_of_what_is_wanted,
        writes::a_write_that_changes_nothing_is_none,
        writes::a_null_takes_a_member_away,
        writes::what_nobody_holds_goes_at_once,
        writes::what_is_held_goes_with_its_last_finalizer,
        writes::who_takes_all_finalizers_off_beforehand_keeps_nothing,
        writes::no_finalizer_is_added_to_what_is_being_deleted,
        writes::a_deletion_is_not_taken_back,
        writes::a_whole_object_is_written_with_its_version_only,
        writes::the_schema_shapes_what_is_stored,
        writes::nonsense_is_refused_and_changes_nothing,
        writes::records_are_kept_by_the_rule_of_the_definition,
        reads::a_list_tells_where_to_watch_from,
        reads::a_watch_from_nowhere_begins_with_what_is_there,
        reads::a_watch_from_long_ago_is_told_so,
        reads::a_watch_ends_when_its_time_is_over,
        reads::bookmarks_come_to_whoever_asks,
        reads::bookmarks_tell_of_nothing_new_when_there_is_none,
        reads::a_list_comes_in_pages_of_one_moment,
        reads::a_list_of_any_age_says_how_old_it_is,
        reads::labels_choose_from_a_list,
    );
    (count, differ)
}
