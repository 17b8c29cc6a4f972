//! Configurations, as files and as variables of the environment: no error repeats what was found.
#![no_main]

use std::collections::BTreeMap;
use std::fmt::Display;

use provider_aap::AapConfig;
use provider_core::lifecycle::{Policy, PolicyConfig};
use provider_eda::{EdaConfig, ProviderConfig};
use provider_fuzz::{check_secret, check_text, text_of};
use serde::de::DeserializeOwned;

/// An error of a configuration; what a format adds to it is short.
fn check(error: &impl Display) {
    check_text(&error.to_string(), 700);
}

fn read<T: DeserializeOwned>(text: &str, found: impl Fn(T)) {
    if serde_json::from_str::<serde_json::Value>(text).is_ok() {
        match serde_json::from_str::<T>(text) {
            Ok(config) => found(config),
            Err(error) => check(&error),
        }
    }
    // What is no YAML is an error of the format.
    if serde_norway::from_str::<serde_norway::Value>(text).is_ok() {
        match serde_norway::from_str::<T>(text) {
            Ok(config) => found(config),
            Err(error) => check(&error),
        }
    }
}

fn aap(config: AapConfig) {
    let _ = (config.to_string(), format!("{config:?}"));
    if let Err(error) = provider_aap::fuzzing::checked(config) {
        check(&error);
    }
}

fn eda(config: EdaConfig) {
    let _ = (config.to_string(), format!("{config:?}"));
    if let Err(error) = provider_eda::fuzzing::checked(config) {
        check(&error);
    }
}

fn policy(config: PolicyConfig) {
    let written = serde_json::to_string(&config).expect("a policy is written");
    if config.jitter.is_finite() {
        let again: PolicyConfig = serde_json::from_str(&written).expect("it is read again");
        assert_eq!(again, config, "written as {written}");
    }
    if let Err(error) = Policy::new(config) {
        check(&error);
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some(text) = text_of(data) else {
        return;
    };
    // Settings name files, and some files have no end.
    if ["/dev", "/proc", "/sys"]
        .iter()
        .any(|place| text.contains(place))
    {
        return;
    }
    read(&text, aap);
    read(&text, eda);
    read(&text, |config| match config {
        ProviderConfig::Aap(config) => aap(*config),
        ProviderConfig::Eda(config) => eda(*config),
        _ => {}
    });
    read(&text, policy);
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let vars: BTreeMap<&str, &str> = lines.collect();
    let get = |name: &str| vars.get(name).map(|value| (*value).to_owned());
    match AapConfig::from_vars(get) {
        Ok(config) => aap(config),
        Err(error) => check(&error),
    }
    match EdaConfig::from_vars(get) {
        Ok(config) => eda(config),
        Err(error) => check(&error),
    }
    if let Err(error) = ProviderConfig::from_vars(get) {
        check(&error);
        check_secret(&format!("{error:?}"));
    }
});
