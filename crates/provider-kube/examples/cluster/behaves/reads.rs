//! What lists and watches tell.

use kube::ResourceExt;
use std::time::Duration;

use kube::api::{ListParams, PostParams, VersionMatch, WatchParams};
use serde_json::json;

use super::{Bench, FINALIZER, plain, version};

pub(super) async fn a_list_tells_where_to_watch_from(bench: &Bench) {
    bench.create("a", &[]).await;
    bench.create("b", &[FINALIZER]).await;
    let list = bench.0.list(&ListParams::default()).await.unwrap();
    let from = list.metadata.resource_version.clone().unwrap();
    assert_eq!(list.items.len(), 2);
    for item in &list.items {
        assert!(version(item) <= from.parse().unwrap());
        assert_eq!(bench.get(&item.name_any()).await.metadata, item.metadata);
    }
    let edited = bench
        .patch("a", json!({"spec": {"cores": 2}}))
        .await
        .unwrap();
    let created = bench.create("c", &[]).await;
    let deleting = bench.delete("b").await.unwrap();
    bench.delete("a").await;
    let told = bench.watch(&plain(), &from, 4).await;
    let expected = [
        ("MODIFIED", "a".to_owned(), version(&edited)),
        ("ADDED", "c".to_owned(), version(&created)),
        ("MODIFIED", "b".to_owned(), version(&deleting)),
    ];
    assert_eq!(told[..3], expected);
    assert_eq!((told[3].0, told[3].1.as_str()), ("DELETED", "a"));
    // From a version in the middle, only what comes after it.
    let told = bench
        .watch(&plain(), &version(&created).to_string(), 1)
        .await;
    assert_eq!(told[0], expected[2]);
}

pub(super) async fn a_watch_from_nowhere_begins_with_what_is_there(bench: &Bench) {
    bench.create("a", &[]).await;
    bench.create("b", &[]).await;
    let all = async || {
        let told = bench.watch(&plain(), "0", 2).await;
        told.into_iter()
            .map(|(kind, name, _)| (kind, name))
            .collect::<Vec<_>>()
    };
    let mut told = all().await;
    told.sort_unstable();
    assert_eq!(told, [("ADDED", "a".to_owned()), ("ADDED", "b".to_owned())]);
}

pub(super) async fn a_watch_from_long_ago_is_told_so(bench: &Bench) {
    bench.create("a", &[]).await;
    let told = bench.watch(&plain(), "1", 1).await;
    assert_eq!(told, [("ERROR", "Expired".to_owned(), 410)]);
}

pub(super) async fn a_watch_ends_when_its_time_is_over(bench: &Bench) {
    let from = bench.0.list(&ListParams::default()).await.unwrap();
    let from = from.metadata.resource_version.unwrap();
    let parameters = WatchParams {
        timeout: Some(1),
        ..plain()
    };
    assert_eq!(bench.watch(&parameters, &from, 9).await, []);
}

pub(super) async fn bookmarks_come_to_whoever_asks(bench: &Bench) {
    bench.create("a", &[]).await;
    for bookmarks in [false, true] {
        let from = bench.0.list(&ListParams::default()).await.unwrap();
        let from = from.metadata.resource_version.unwrap();
        let parameters = WatchParams {
            timeout: Some(6),
            bookmarks,
            ..WatchParams::default()
        };
        // Something changes that is no concern of this watch.
        let elsewhere = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let object = Bench::object(if bookmarks { "b" } else { "a" }, &[]);
            bench
                .1
                .create(&PostParams::default(), &object)
                .await
                .unwrap()
        };
        let watched = bench.watch(&parameters, &from, 9);
        let (told, other) = futures::future::join(watched, elsewhere).await;
        assert_eq!(told.is_empty(), !bookmarks, "{told:?}");
        for (kind, _, at) in told {
            assert_eq!(kind, "BOOKMARK");
            assert!(at >= version(&other));
            // It is a place to go on from.
            let cores = json!({"spec": {"cores": at}});
            let edited = bench.patch("a", cores).await.unwrap();
            let told = bench.watch(&plain(), &at.to_string(), 1).await;
            assert_eq!(told[0].2, version(&edited));
        }
    }
}

pub(super) async fn bookmarks_tell_of_nothing_new_when_there_is_none(bench: &Bench) {
    let object = bench.create("a", &[]).await;
    let parameters = WatchParams {
        timeout: Some(5),
        ..WatchParams::default()
    };
    let from = version(&object).to_string();
    assert_eq!(bench.watch(&parameters, &from, 9).await, []);
}

pub(super) async fn a_list_comes_in_pages_of_one_moment(bench: &Bench) {
    for name in ["a", "b", "c", "d", "e"] {
        bench.create(name, &[]).await;
    }
    let whole = bench.0.list(&ListParams::default()).await.unwrap();
    let mut parameters = ListParams::default().limit(2);
    let mut names = Vec::new();
    for n in 0..3 {
        let page = bench.0.list(&parameters).await.unwrap();
        names.extend(page.items.iter().map(ResourceExt::name_any));
        assert_eq!(
            page.metadata.resource_version,
            whole.metadata.resource_version
        );
        let token = page.metadata.continue_.filter(|token| !token.is_empty());
        assert_eq!(token.is_some(), n < 2);
        let left = page.metadata.remaining_item_count.unwrap_or(0);
        assert_eq!(left, [3, 1, 0][n]);
        let Some(token) = token else { break };
        parameters = ListParams::default().limit(2).continue_token(&token);
        // What changes meanwhile is no part of that moment.
        bench.create(&format!("f{n}"), &[]).await;
        if n == 0 {
            bench.delete("e").await;
        }
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
}

pub(super) async fn a_list_of_any_age_says_how_old_it_is(bench: &Bench) {
    let any = ListParams {
        resource_version: Some("0".to_owned()),
        version_match: Some(VersionMatch::NotOlderThan),
        limit: Some(500),
        ..ListParams::default()
    };
    let mut all = Vec::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let created = bench.create(name, &[]).await;
        all.push(("ADDED", name.to_owned(), version(&created)));
        let list = bench.0.list(&any).await.unwrap();
        let from = list.metadata.resource_version.unwrap();
        // Whatever it leaves out is told by the watch from there, and nothing else is.
        let known = list.items.len();
        for (item, (_, name, _)) in list.items.iter().zip(&all) {
            assert_eq!(&item.name_any(), name);
        }
        let missing = &all[known..];
        let told = bench.watch(&plain(), &from, missing.len()).await;
        assert_eq!(told, missing);
    }
}

pub(super) async fn labels_choose_from_a_list(bench: &Bench) {
    for (name, label) in [("a", "x"), ("b", "y"), ("c", "x")] {
        bench.create(name, &[]).await;
        let labels = json!({"metadata": {"labels": {"l": label}}});
        bench.patch(name, labels).await.unwrap();
    }
    for (selector, expected) in [
        ("l=x", vec!["a", "c"]),
        ("l!=x", vec!["b"]),
        ("m=x", vec![]),
    ] {
        let list = bench.0.list(&ListParams::default().labels(selector)).await;
        let names: Vec<String> = list.unwrap().iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, expected, "{selector}");
    }
}
