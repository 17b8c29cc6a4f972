//! The documentation of every setting says its default, and says it right.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that panics has failed"
)]

mod source;

use std::collections::BTreeMap;

use jiff::SignedDuration;
use provider_aap::{AapConfig, Auth, MonitorConfig, TargetTemplates, TemplateName, Templates};
use provider_core::Projection;
use provider_core::lifecycle::{
    Ambiguity, IncomparableVersion, NeverProvisioned, PolicyConfig, Purge, RunningProvision,
    Supersede,
};
use provider_eda::{
    Activation, Algorithm, AuditTracking, Completion, EdaConfig, Endpoints, Hmac, JobTracking,
    KindEndpoints, Pacing, RulebookWebhook, TargetEndpoints,
};
use provider_http::HttpConfig;

/// How the documentation says a value; none of one that has parts of its own.
trait Said {
    fn said(&self) -> Option<String>;
}

impl Said for SignedDuration {
    fn said(&self) -> Option<String> {
        Some(format!("{self:#}"))
    }
}

impl Said for bool {
    fn said(&self) -> Option<String> {
        Some(if *self { "on" } else { "off" }.to_owned())
    }
}

impl Said for String {
    fn said(&self) -> Option<String> {
        let is_empty = self.is_empty();
        Some(if is_empty {
            "empty".to_owned()
        } else {
            format!("`{self}`")
        })
    }
}

impl<T> Said for Option<T>
where
    T: Said,
{
    fn said(&self) -> Option<String> {
        match self {
            Some(value) => value.said(),
            None => Some("none".to_owned()),
        }
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Said for $number {
            fn said(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}

macro_rules! choices {
    ($($choice:ty),*) => {$(
        impl Said for $choice {
            fn said(&self) -> Option<String> {
                Some(format!("`{self:?}`"))
            }
        }
    )*};
}

macro_rules! parts {
    ($($parts:ty),*) => {$(
        impl Said for $parts {
            fn said(&self) -> Option<String> {
                None
            }
        }
    )*};
}

numbers!(u32, usize, f64);
choices!(
    Ambiguity,
    IncomparableVersion,
    NeverProvisioned,
    Purge,
    RunningProvision,
    Supersede
);
parts!(
    provider_core::lifecycle::BackoffConfig,
    provider_core::lifecycle::DeadlinesConfig,
    provider_core::lifecycle::DeletionConfig,
    provider_aap::Envelope,
    provider_aap::TemplateKind,
    provider_aap::Timing,
    provider_eda::Encoding,
    provider_eda::Timing,
    provider_eda::Tracking,
    provider_core::Secret,
    provider_http::ClientIdentity,
    Activation,
    Completion,
    Endpoints,
    Hmac,
    HttpConfig,
    MonitorConfig,
    Pacing,
    Projection,
    TemplateName,
    Templates
);

impl Said for std::path::PathBuf {
    fn said(&self) -> Option<String> {
        self.display().to_string().said()
    }
}

impl Said for Algorithm {
    fn said(&self) -> Option<String> {
        Some(format!(
            "`{}`",
            serde_json::to_value(self).unwrap().as_str().unwrap()
        ))
    }
}

impl Said for std::sync::Arc<dyn provider_http::Carrier> {
    fn said(&self) -> Option<String> {
        None
    }
}

macro_rules! collections {
    ($($collection:ident<$($of:ident),*>),*) => {$(
        impl<$($of),*> Said for std::collections::$collection<$($of),*> {
            fn said(&self) -> Option<String> {
                self.is_empty().then(|| "none".to_owned())
            }
        }
    )*};
}

collections!(BTreeMap<K, V>, BTreeSet<T>);

impl<T> Said for Vec<T> {
    fn said(&self) -> Option<String> {
        self.is_empty().then(|| "none".to_owned())
    }
}

impl Said for serde_json::Map<String, serde_json::Value> {
    fn said(&self) -> Option<String> {
        self.is_empty().then(|| "none".to_owned())
    }
}

/// By `Struct.field`, how its default is said; none where it has parts of its own.
type Expected = BTreeMap<String, Option<String>>;

macro_rules! defaults {
    ($expected:ident, $name:ident = $value:expr, $($field:ident),+ $(,)?) => {
        let value = &$value;
        $(
            let key = format!("{}.{}", stringify!($name), stringify!($field));
            $expected.insert(key, value.$field.said());
        )+
    };
}

/// Every setting of the crate that may be left out says `Default: VALUE`, and all of them are expected.
fn check(package: &str, expected: &Expected) {
    let fields = source::optional_fields(package);
    let mut found = Vec::new();
    for field in fields {
        let (name, doc) = (field.name, field.doc);
        let Some(value) = expected.get(&name) else {
            panic!(
                "{name} ({package}) may be left out: add it to this test, and its default to its doc"
            );
        };
        let said = doc.split_once("Default: ").map(|(_, said)| said);
        let said = said.unwrap_or_else(|| panic!("the doc of {name} has no `Default: `: {doc}"));
        if let Some(value) = value {
            let rest = said.strip_prefix(value.as_str());
            let ends = rest.is_some_and(|rest| rest.starts_with(['.', ',', ';']));
            assert!(
                ends,
                "the default of {name} is {value}, and its doc says: {said}"
            );
        }
        found.push(name);
    }
    let unknown: Vec<_> = expected
        .keys()
        .filter(|name| !found.contains(name))
        .collect();
    assert!(
        unknown.is_empty(),
        "not found in the source of {package}: {unknown:?}"
    );
}

#[test]
fn core_says_its_defaults() {
    let mut expected = Expected::new();
    let policy = PolicyConfig::default();
    defaults!(
        expected,
        PolicyConfig = policy,
        poll_interval,
        cancel_poll_interval,
        jitter,
        backoff,
        deadlines,
        cancel_retry,
        deletion,
        purge,
        supersede,
        incomparable_version,
        ambiguity,
        history_length,
        max_failures,
        action_tries,
    );
    defaults!(expected, BackoffConfig = policy.backoff, base, cap);
    defaults!(
        expected,
        DeadlinesConfig = policy.deadlines,
        queued,
        running,
        canceling,
        unknown
    );
    defaults!(
        expected,
        DeletionConfig = policy.deletion,
        running_provision,
        never_provisioned,
        keep,
        escalate_after,
        abandon_after,
    );
    defaults!(
        expected,
        Projection = Projection::default(),
        status,
        managed_fields,
        without
    );
    check("provider-core", &expected);
}

#[test]
fn http_says_its_defaults() {
    let mut expected = Expected::new();
    defaults!(
        expected,
        HttpConfig = HttpConfig::default(),
        ca_file,
        client_identity,
        insecure,
        proxy_from_environment,
        connect_timeout,
        request_timeout,
        keep_alive,
        user_agent,
        carrier,
    );
    check("provider-http", &expected);
}

fn aap() -> AapConfig {
    AapConfig::new("https://aap.example.com", Auth::token("t"))
}

#[test]
fn aap_says_its_defaults() {
    let mut expected = Expected::new();
    let config = aap();
    defaults!(
        expected,
        AapConfig = config,
        name,
        http,
        organization,
        templates,
        envelope,
        projection,
        token_variable,
        extra_vars,
        diagnose,
        timing,
        max_launches,
        monitor,
        push,
    );
    defaults!(
        expected,
        Timing = config.timing,
        poll_interval,
        cancel_timeout,
        template_cache,
        visibility_window,
        confirm_window,
        confirm_limit,
    );
    defaults!(
        expected,
        MonitorConfig = config.monitor,
        batch_from,
        max_in_flight,
        breaker_failures,
        breaker_pause,
    );
    defaults!(
        expected,
        Templates = config.templates,
        prefix,
        create,
        delete,
        actions,
        used_actions,
        kinds,
        targets,
    );
    defaults!(
        expected,
        KindTemplates = provider_aap::KindTemplates::default(),
        create,
        delete,
        actions,
        used_actions,
    );
    defaults!(
        expected,
        TargetTemplates = TargetTemplates::default(),
        prefix,
        create,
        delete,
        actions,
        used_actions,
        kinds,
    );
    defaults!(
        expected,
        TemplateName = TemplateName::new("t"),
        organization,
        kind
    );
    check("provider-aap", &expected);
}

#[test]
fn eda_says_its_defaults() {
    let mut expected = Expected::new();
    let config = EdaConfig::new(RulebookWebhook::new(Endpoints::one("http://e/x")));
    defaults!(
        expected,
        EdaConfig = config,
        name,
        http,
        projection,
        envelope,
        refuse_templates,
        completion,
        pacing,
        timing,
        activation,
        tracking,
    );
    defaults!(
        expected,
        Completion = config.completion,
        version_annotation,
        operation_annotation,
        finalizer,
        finalizers,
    );
    defaults!(
        expected,
        Pacing = config.pacing,
        min_interval,
        max_in_flight,
        max_wait,
        breaker_failures,
        breaker_pause,
    );
    defaults!(
        expected,
        Timing = config.timing,
        poll_interval,
        in_flight_window,
        deprovision_limit,
    );
    defaults!(
        expected,
        Activation = Activation::new("https://e", "t", "a"),
        username
    );
    defaults!(
        expected,
        AuditTracking = AuditTracking::new("https://e", "t"),
        username,
        activations,
        lookback,
        settle,
    );
    defaults!(
        expected,
        JobTracking = JobTracking::new(aap()),
        label,
        settle
    );
    defaults!(
        expected,
        RulebookWebhook = RulebookWebhook::default(),
        endpoints,
        token,
        hmac
    );
    defaults!(
        expected,
        Hmac = Hmac::new("s"),
        algorithm,
        header,
        encoding,
        prefix
    );
    defaults!(
        expected,
        Endpoints = Endpoints::default(),
        create,
        delete,
        action,
        actions,
        kinds,
        targets,
    );
    defaults!(
        expected,
        KindEndpoints = KindEndpoints::default(),
        create,
        delete,
        action,
        actions
    );
    defaults!(
        expected,
        TargetEndpoints = TargetEndpoints::default(),
        create,
        delete,
        action,
        actions,
        kinds,
    );
    check("provider-eda", &expected);
}
