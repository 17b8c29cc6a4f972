//! What a write does, and what it is refused for.

use kube::ResourceExt;
use kube::api::{DeleteParams, PostParams, Preconditions};
use serde_json::{Value, json};

use super::{Bench, FINALIZER, OTHER, code, generation, job, plain, refusal, refused, version};

pub(super) async fn a_life_begins_with_what_the_server_gives_it(bench: &Bench) {
    let mut object = Bench::object("a", &[]);
    object.data["status"] = json!({"observedGeneration": 7});
    object.metadata.generation = Some(9);
    let created = bench
        .0
        .create(&PostParams::default(), &object)
        .await
        .unwrap();
    assert!(created.uid().is_some_and(|uid| uid.len() > 8));
    assert!(created.creation_timestamp().is_some());
    assert_eq!(generation(&created), 1);
    assert!(created.data["status"].is_null(), "{created:?}");
    assert_eq!(bench.get("a").await, created);
}

pub(super) async fn a_name_is_given_once_at_a_time(bench: &Bench) {
    let first = bench.create("a", &[]).await;
    let again = Bench::object("a", &[]);
    let again = bench.0.create(&PostParams::default(), &again).await;
    assert_eq!(refusal(again), refused(409, "AlreadyExists", "a"));
    bench.delete("a").await;
    let second = bench.create("a", &[]).await;
    assert_ne!(first.uid(), second.uid());
    assert!(version(&second) > version(&first));
}

pub(super) async fn what_is_not_there_is_not_found(bench: &Bench) {
    let not_found = || refused(404, "NotFound", "nobody");
    assert_eq!(refusal(bench.0.get("nobody").await), not_found());
    let spec = json!({"spec": {"cores": 2}});
    assert_eq!(refusal(bench.patch("nobody", spec).await), not_found());
    let status = json!({"status": {"jobs": []}});
    assert_eq!(
        refusal(bench.patch_status("nobody", status).await),
        not_found()
    );
    let deleted = bench.0.delete("nobody", &DeleteParams::default()).await;
    assert_eq!(refusal(deleted), not_found());
}

pub(super) async fn versions_grow_with_every_write(bench: &Bench) {
    let mut last = version(&bench.create("a", &[FINALIZER]).await);
    for n in 2..5 {
        let spec = bench
            .patch("a", json!({"spec": {"cores": n}}))
            .await
            .unwrap();
        let status = json!({"status": {"observedGeneration": n}});
        let status = bench.patch_status("a", status).await.unwrap();
        assert!(version(&spec) > last && version(&status) > version(&spec));
        last = version(&status);
    }
    assert!(version(&bench.delete("a").await.unwrap()) > last);
}

pub(super) async fn a_write_on_an_old_version_is_a_conflict(bench: &Bench) {
    let old = bench.create("a", &[]).await;
    let newer = bench
        .patch("a", json!({"spec": {"cores": 2}}))
        .await
        .unwrap();
    let stale = json!({"resourceVersion": old.resource_version()});
    let conflict = || refused(409, "Conflict", "a");
    let spec = json!({"metadata": stale, "spec": {"cores": 3}});
    assert_eq!(refusal(bench.patch("a", spec).await), conflict());
    let status = json!({"metadata": stale, "status": {"observedGeneration": 3}});
    assert_eq!(refusal(bench.patch_status("a", status).await), conflict());
    let replaced = bench.0.replace("a", &PostParams::default(), &old).await;
    assert_eq!(refusal(replaced), conflict());
    let replaced = bench
        .0
        .replace_status("a", &PostParams::default(), &old)
        .await;
    assert_eq!(refusal(replaced), conflict());
    assert_eq!(bench.get("a").await, newer);
    let fresh = json!({"resourceVersion": newer.resource_version()});
    let spec = json!({"metadata": fresh, "spec": {"cores": 3}});
    assert_eq!(code(bench.patch("a", spec).await), 200);
}

pub(super) async fn a_write_meant_for_another_life_is_refused(bench: &Bench) {
    let old = bench.create("a", &[]).await;
    bench.delete("a").await;
    let new = bench.create("a", &[]).await;
    let another = json!({"uid": old.uid(), "resourceVersion": old.resource_version()});
    let spec = json!({"metadata": another, "spec": {"cores": 3}});
    assert_eq!(
        refusal(bench.patch("a", spec).await),
        refused(409, "Conflict", "a")
    );
    let status = json!({"metadata": another, "status": {"observedGeneration": 3}});
    let status = bench.patch_status("a", status).await;
    assert_eq!(refusal(status), refused(409, "Conflict", "a"));
    // Without a version, only the main endpoint looks at the uid.
    let another = json!({"uid": old.uid()});
    let spec = json!({"metadata": another, "spec": {"cores": 3}});
    assert_eq!(code(bench.patch("a", spec).await), 422);
    assert_eq!(bench.get("a").await, new);
    let status = json!({"metadata": another, "status": {"observedGeneration": 3}});
    let written = bench.patch_status("a", status).await.unwrap();
    assert_eq!(written.uid(), new.uid());
}

pub(super) async fn of_writers_at_one_version_one_wins(bench: &Bench) {
    let object = bench.create("a", &[]).await;
    let write = |n: u64| {
        let body = json!({
            "metadata": {"resourceVersion": object.resource_version()},
            "status": {"observedGeneration": n},
        });
        async move { code(bench.patch_status("a", body).await) }
    };
    let mut answers = futures::future::join_all((1..=6).map(write)).await;
    answers.sort_unstable();
    assert_eq!(answers, [200, 409, 409, 409, 409, 409]);
}

pub(super) async fn each_endpoint_writes_its_own_part(bench: &Bench) {
    bench.create("a", &[FINALIZER]).await;
    let both = json!({
        "metadata": {"labels": {"l": "v"}, "finalizers": []},
        "spec": {"cores": 5},
        "status": {"observedGeneration": 5},
    });
    let status = bench.patch_status("a", both.clone()).await.unwrap();
    assert_eq!(status.data["status"]["observedGeneration"], 5);
    assert_eq!(status.data["spec"]["cores"], 1);
    assert_eq!(status.finalizers(), [FINALIZER]);
    assert!(status.labels().is_empty());
    let both = json!({
        "metadata": {"labels": {"l": "v"}},
        "spec": {"cores": 6},
        "status": {"observedGeneration": 6},
    });
    let main = bench.patch("a", both).await.unwrap();
    assert_eq!(main.data["status"]["observedGeneration"], 5);
    assert_eq!(main.data["spec"]["cores"], 6);
    assert_eq!(main.labels()["l"], "v");
}

pub(super) async fn a_generation_is_one_of_what_is_wanted(bench: &Bench) {
    bench.create("a", &[]).await;
    let metadata = json!({"metadata": {"annotations": {"a": "b"}, "finalizers": [FINALIZER]}});
    assert_eq!(generation(&bench.patch("a", metadata).await.unwrap()), 1);
    let status = json!({"status": {"observedGeneration": 1}});
    assert_eq!(
        generation(&bench.patch_status("a", status).await.unwrap()),
        1
    );
    let spec = json!({"spec": {"cores": 2}});
    assert_eq!(
        generation(&bench.patch("a", spec.clone()).await.unwrap()),
        2
    );
    assert_eq!(generation(&bench.patch("a", spec).await.unwrap()), 2);
    let given = json!({"metadata": {"generation": 9}});
    assert_eq!(generation(&bench.patch("a", given).await.unwrap()), 2);
    // Deletion is a wish as well.
    assert_eq!(generation(&bench.delete("a").await.unwrap()), 3);
    let spec = json!({"spec": {"cores": 3}});
    assert_eq!(generation(&bench.patch("a", spec).await.unwrap()), 4);
}

pub(super) async fn a_write_that_changes_nothing_is_none(bench: &Bench) {
    let object = bench.create("a", &[]).await;
    let spec = bench
        .patch("a", json!({"spec": {"cores": 1}}))
        .await
        .unwrap();
    let null = json!({"status": {"reconciledConfigVersion": null}});
    bench.patch_status("a", null.clone()).await.unwrap();
    let before = version(&bench.get("a").await);
    let status = bench.patch_status("a", null).await.unwrap();
    assert_eq!(
        (version(&spec), version(&status)),
        (version(&object), before)
    );
    let start = before.to_string();
    bench
        .patch("a", json!({"spec": {"cores": 2}}))
        .await
        .unwrap();
    let told = bench.watch(&plain(), &start, 1).await;
    assert_eq!(told[0].2, version(&bench.get("a").await));
}

pub(super) async fn a_null_takes_a_member_away(bench: &Bench) {
    bench.create("a", &[]).await;
    let version = |version: Value| json!({"status": {"reconciledConfigVersion": version}});
    let written = bench.patch_status("a", version(json!("v"))).await.unwrap();
    assert_eq!(written.data["status"]["reconciledConfigVersion"], "v");
    let written = bench.patch_status("a", version(Value::Null)).await.unwrap();
    assert!(
        written.data["status"]
            .get("reconciledConfigVersion")
            .is_none()
    );
}

pub(super) async fn what_nobody_holds_goes_at_once(bench: &Bench) {
    let object = bench.create("a", &[]).await;
    let other = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some("another".to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    assert_eq!(code(bench.0.delete("a", &other).await), 409);
    assert!(bench.delete("a").await.is_none());
    assert_eq!(code(bench.0.get("a").await), 404);
    let told = bench
        .watch(&plain(), &version(&object).to_string(), 1)
        .await;
    let (kind, name, at) = &told[0];
    assert_eq!((*kind, name.as_str()), ("DELETED", "a"));
    // The end is a change of its own.
    assert!(*at > version(&object));
}

pub(super) async fn what_is_held_goes_with_its_last_finalizer(bench: &Bench) {
    bench.create("a", &[FINALIZER, OTHER]).await;
    let deleted = bench.delete("a").await.unwrap();
    assert!(deleted.metadata.deletion_timestamp.is_some());
    // Once more changes nothing.
    assert_eq!(bench.delete("a").await.unwrap(), deleted);
    let status = json!({"status": {"observedGeneration": 2}});
    assert_eq!(code(bench.patch_status("a", status).await), 200);
    let one = json!({"metadata": {"finalizers": [OTHER]}});
    let one = bench.patch("a", one).await.unwrap();
    assert_eq!(bench.get("a").await, one);
    let none = json!({
        "metadata": {"finalizers": [], "resourceVersion": one.resource_version(), "uid": one.uid()},
    });
    let last = bench.patch("a", none.clone()).await.unwrap();
    assert!(last.finalizers().is_empty());
    assert_eq!(code(bench.0.get("a").await), 404);
    assert_eq!(code(bench.patch("a", none).await), 404);
    let told = bench.watch(&plain(), &version(&one).to_string(), 1).await;
    assert_eq!((told[0].0, told[0].1.as_str()), ("DELETED", "a"));
    assert!(told[0].2 > version(&one));
}

pub(super) async fn who_takes_all_finalizers_off_beforehand_keeps_nothing(bench: &Bench) {
    bench.create("a", &[FINALIZER]).await;
    let none = json!({"metadata": {"finalizers": null}});
    assert!(
        bench
            .patch("a", none)
            .await
            .unwrap()
            .finalizers()
            .is_empty()
    );
    assert!(bench.delete("a").await.is_none());
}

pub(super) async fn no_finalizer_is_added_to_what_is_being_deleted(bench: &Bench) {
    bench.create("a", &[FINALIZER]).await;
    let deleted = bench.delete("a").await.unwrap();
    let more = json!({"metadata": {"finalizers": [FINALIZER, OTHER]}});
    assert_eq!(
        refusal(bench.patch("a", more).await),
        refused(422, "Invalid", "a")
    );
    let another = json!({"metadata": {"finalizers": [OTHER]}});
    assert_eq!(code(bench.patch("a", another).await), 422);
    assert_eq!(bench.get("a").await, deleted);
}

pub(super) async fn a_deletion_is_not_taken_back(bench: &Bench) {
    bench.create("a", &[FINALIZER]).await;
    let at = |at: Value| json!({"metadata": {"deletionTimestamp": at}});
    let early = bench.patch("a", at(json!("2026-11-23T04:00:00Z"))).await;
    assert_eq!(code(early), 422);
    let deleted = bench.delete("a").await.unwrap();
    let kept = bench.patch("a", at(Value::Null)).await.unwrap();
    assert_eq!(
        kept.metadata.deletion_timestamp,
        deleted.metadata.deletion_timestamp
    );
    assert_eq!(version(&kept), version(&deleted));
}

pub(super) async fn a_whole_object_is_written_with_its_version_only(bench: &Bench) {
    let mut object = bench.create("a", &[]).await;
    object.data["spec"]["cores"] = json!(4);
    object.data["status"] = json!({"observedGeneration": 1});
    let written = bench
        .0
        .replace("a", &PostParams::default(), &object)
        .await
        .unwrap();
    assert_eq!(written.data["spec"]["cores"], 4);
    assert!(written.data["status"].is_null());
    let mut status = written.clone();
    status.data["spec"]["cores"] = json!(5);
    status.data["status"] = json!({"observedGeneration": 2});
    let written = bench
        .0
        .replace_status("a", &PostParams::default(), &status)
        .await
        .unwrap();
    assert_eq!(written.data["spec"]["cores"], 4);
    assert_eq!(written.data["status"]["observedGeneration"], 2);
    let mut anyone = written;
    anyone.metadata.resource_version = None;
    let replaced = bench.0.replace("a", &PostParams::default(), &anyone).await;
    assert_eq!(refusal(replaced), refused(422, "Invalid", "a"));
}

pub(super) async fn the_schema_shapes_what_is_stored(bench: &Bench) {
    let created = bench.create("a", &[]).await;
    assert_eq!(created.data["spec"]["zone"], "a");
    let body = json!({"spec": {"zone": null, "junk": 1}, "junk": 2});
    let written = bench.patch("a", body).await.unwrap();
    assert_eq!(written.data["spec"], json!({"cores": 1, "zone": "a"}));
    assert!(written.data.get("junk").is_none());
    assert_eq!(version(&written), version(&created));
    let mut record = job(1, "Running");
    record["fromTheFuture"] = json!({"kept": true});
    let body = json!({"status": {"jobs": [record], "junk": 1}});
    let written = bench.patch_status("a", body).await.unwrap();
    let status = &written.data["status"];
    assert!(status.get("junk").is_none());
    assert_eq!(status["jobs"][0]["fromTheFuture"]["kept"], true);
}

pub(super) async fn nonsense_is_refused_and_changes_nothing(bench: &Bench) {
    let created = bench.create("a", &[]).await;
    for spec in [
        json!({"cores": "two"}),
        json!({"cores": -1}),
        json!({"cores": null}),
    ] {
        let written = bench.patch("a", json!({"spec": spec})).await;
        assert_eq!(refusal(written), refused(422, "Invalid", "a"), "{spec}");
    }
    let mut records = vec![
        json!([job(1, "Runing")]),
        json!([job(1, "Running"), job(1, "Running")]),
    ];
    let mut long = job(1, "Running");
    long["message"] = json!("x".repeat(1_025));
    records.push(json!([long]));
    for records in records {
        let written = bench
            .patch_status("a", json!({"status": {"jobs": records}}))
            .await;
        assert_eq!(code(written), 422, "{records}");
    }
    assert_eq!(bench.get("a").await, created);
    let mut object = Bench::object("b", &[]);
    object.data["spec"] = json!({});
    assert_eq!(
        code(bench.0.create(&PostParams::default(), &object).await),
        422
    );
}

pub(super) async fn records_are_kept_by_the_rule_of_the_definition(bench: &Bench) {
    bench.create("a", &[FINALIZER]).await;
    let write = async |jobs: Value| {
        code(
            bench
                .patch_status("a", json!({"status": {"jobs": jobs}}))
                .await,
        )
    };
    assert_eq!(write(json!([job(1, "Running")])).await, 200);
    let mut nameless = job(1, "Running");
    nameless["jobID"] = json!("");
    let mut another = job(1, "Running");
    another["token"] = json!("another");
    for erased in [json!([]), Value::Null, json!([nameless]), json!([another])] {
        assert_eq!(write(erased.clone()).await, 422, "{erased}");
    }
    assert_eq!(write(json!([job(1, "Succeeded")])).await, 200);
    assert_eq!(write(json!([])).await, 422);
    assert_eq!(write(json!([job(2, "Running")])).await, 200);
    bench.delete("a").await;
    let last = json!({"metadata": {"finalizers": []}});
    assert_eq!(code(bench.patch("a", last).await), 200);
}
