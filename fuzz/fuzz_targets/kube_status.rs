//! The status of an object, whoever has written it; and specs that do not fit.
#![no_main]

use std::collections::BTreeMap;

use kube::api::DynamicObject;
use provider_fuzz::{check_text, text_of};
use provider_kube::{PROVISIONED, ProvisioningStatus};
use serde::Deserialize;
use serde_json::{Value, json};

/// A spec as people have them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only read")]
struct Spec {
    cores: u32,
    #[serde(default)]
    ratio: Option<f64>,
    #[serde(default)]
    tier: Option<Tier>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    pair: Option<(u8, char)>,
    #[serde(default)]
    at: Option<jiff::Timestamp>,
    #[serde(default)]
    any: Option<Either>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "only read")]
enum Tier {
    Gold,
    Silver(u8),
}

#[derive(Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only read")]
enum Either {
    Number(u64),
    Flags { on: bool },
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some(text) = text_of(data) else {
        return;
    };
    // From a text, as kube's guard reads it.
    if let Err(error) = serde_json::from_str::<Spec>(&text) {
        check_text(&provider_kube::fuzzing::unfit(&error.to_string()), 200);
    }
    let Ok(status) = serde_json::from_str::<Value>(&text) else {
        return;
    };
    let object = json!({
        "apiVersion": "v1", "kind": "K", "metadata": {"name": "n", "resourceVersion": "1"},
        "status": status,
    });
    let object: DynamicObject = serde_json::from_value(object).expect("an object");
    provider_kube::fuzzing::status(&object);
    if let Ok(ours) = serde_json::from_value::<ProvisioningStatus>(status) {
        let written = serde_json::to_string(&ours).expect("a status is written");
        let again: ProvisioningStatus = serde_json::from_str(&written).expect("it is read again");
        assert_eq!(again, ours, "written as {written}");
        let _ = ours.condition(PROVISIONED);
    }
});
