//! What the operator asked for, against what its manifest lets it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::proxy::Log;

const MANIFEST: &str = include_str!("../../../../examples/operator/manifests/rbac.yaml");

fn allowed() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for document in MANIFEST.split("\n---\n") {
        let document: Value = serde_norway::from_str(document).unwrap();
        for rule in document["rules"].as_array().into_iter().flatten() {
            let texts = |name: &str| -> Vec<String> {
                let list = rule[name].as_array().unwrap();
                list.iter()
                    .map(|v| v.as_str().unwrap().to_owned())
                    .collect()
            };
            for group in texts("apiGroups") {
                for resource in texts("resources") {
                    let verbs = texts("verbs").into_iter();
                    all.extend(verbs.map(|verb| format!("{verb} {group}/{resource}")));
                }
            }
        }
    }
    all
}

/// Fails when the operator needs a right that the manifest does not give; tells which it did not use.
pub(crate) fn compare(log: &Log) -> String {
    let allowed = allowed();
    // The definition is applied by kubectl, through the same proxy.
    let used: BTreeSet<String> = log
        .requests()
        .into_keys()
        .filter(|what| !what.contains("apiextensions.k8s.io/"))
        .collect();
    let missing: Vec<&String> = used.difference(&allowed).collect();
    assert!(missing.is_empty(), "rbac.yaml does not allow {missing:?}");
    let unused: Vec<&String> = allowed.difference(&used).collect();
    format!(
        "{} rights of the manifest were needed, none is missing; not needed here: {unused:?}",
        used.len()
    )
}
