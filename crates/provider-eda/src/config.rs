//! All settings: where events go, who we are there, how the end of a job is seen.

use std::fmt;

use jiff::SignedDuration;
use provider_core::Projection;
use provider_core::settings::{line, tidied};
use provider_core::text::MASK;
use provider_http::HttpConfig;
use serde::Deserialize;

use crate::endpoints::shown;
use crate::{Activation, ConfigError, Tracking, Transport};

mod completion;

pub use completion::Completion;

/// All settings of an [`EdaProvider`](crate::EdaProvider).
///
/// Made by [`new`](Self::new) and the `with_…` functions, read from a file by serde, or from the
/// environment by [`from_env`](Self::from_env). `Debug` and `Display` show what is in force, with
/// secrets masked.
///
/// ```
/// use provider_eda::{EdaConfig, Endpoints, RulebookWebhook};
///
/// let urls = Endpoints::new("http://rulebook:5000/create-{kind}", "http://rulebook:5000/delete-{kind}");
/// let config = EdaConfig::new(RulebookWebhook::new(urls).with_token("s3cret-token"));
/// assert!(config.to_string().contains("rulebook webhook"));
/// assert!(!config.to_string().contains("s3cret"));
/// ```
#[derive(Clone, Deserialize)]
#[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
pub struct EdaConfig {
    /// The name of this provider in records and logs: at most 63 characters, and never changed
    /// while records exist. Default: `eda`.
    #[serde(default = "default_name")]
    pub name: String,
    /// Where events are sent, and how.
    pub transport: Transport,
    /// Connections. Default: those of [`HttpConfig`].
    #[serde(default)]
    pub http: HttpConfig,
    /// What of the object is sent. Default: all but its status and its managed fields.
    #[serde(default)]
    pub projection: Projection,
    /// The member of the payload that carries what is ours: action, token, version. Default: `providerEvent`.
    #[serde(default = "default_envelope")]
    pub envelope: String,
    /// Whether events with `{{` or `{%` in a text are refused: an action `run_playbook` of a
    /// rulebook executes such text of the object (ansible-core 2.19); `run_job_template` does not. Default: off.
    #[serde(default)]
    pub refuse_templates: bool,
    /// How the end of a job is seen on the object. Default: by names in the object's group, those of [`Completion`].
    #[serde(default)]
    pub completion: Completion,
    /// How often, and how many at once. Default: those of [`Pacing`].
    #[serde(default)]
    pub pacing: Pacing,
    /// Times. Default: those of [`Timing`], which suit a controller of usual size.
    #[serde(default)]
    pub timing: Timing,
    /// The activation behind the events, to be looked at before work begins. Default: none.
    #[serde(default)]
    pub activation: Option<Activation>,
    /// Where the jobs behind the events can be seen. Default: none, so that only the object tells of their ends.
    #[serde(default)]
    pub tracking: Option<Tracking>,
}

fn default_name() -> String {
    "eda".to_owned()
}

fn default_envelope() -> String {
    "providerEvent".to_owned()
}

/// How often, and how many at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct Pacing {
    /// The least time between two events of one action for one object, however the first went. Default: 30s.
    pub min_interval: SignedDuration,
    /// How many events are on their way at once. A rulebook that runs its actions one after the
    /// other takes 13 and then lets the senders hang (ansible-rulebook 1.3.2). Default: 10.
    pub max_in_flight: u32,
    /// How long an event waits for its turn before it is put off: 20s at most. Default: 10s.
    pub max_wait: SignedDuration,
    /// After so many sendings in a row that found no service, nothing is sent for a while. Default: 5.
    pub breaker_failures: u32,
    /// How long; then one event is let through to try. Default: 30s.
    pub breaker_pause: SignedDuration,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            min_interval: SignedDuration::from_secs(30),
            max_in_flight: 10,
            max_wait: SignedDuration::from_secs(10),
            breaker_failures: 5,
            breaker_pause: SignedDuration::from_secs(30),
        }
    }
}

/// Times of the provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(
    remote = "Self",
    rename_all = "camelCase",
    default,
    deny_unknown_fields
)]
pub struct Timing {
    /// Proposed time between two looks at an object. Default: 15s.
    pub poll_interval: SignedDuration,
    /// How long the event of a provision or of an action without a sign of its end may still be at work:
    /// deletion waits so long. Counted by this process's own clock, from when it sent the event or first saw its
    /// record; a restart counts anew. Zero takes the risk that a delete event runs beside it or before it.
    /// Default: 15m.
    pub in_flight_window: SignedDuration,
    /// How long the automation's finalizer may stay after a deprovision event whose job cannot be
    /// seen before nobody can tell what became of it: longer than the longest deletion. Counted by this
    /// process's own clock, from when it sent the event or first asked about it; a restart counts anew. An
    /// event that was lost looks the same until then. What is still unknown when the engine's deadline for that has
    /// passed as well has failed, because the finalizer proves that nothing was removed, and is sent again.
    /// Default: 2h.
    pub deprovision_limit: SignedDuration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            poll_interval: SignedDuration::from_secs(15),
            in_flight_window: SignedDuration::from_mins(15),
            deprovision_limit: SignedDuration::from_hours(2),
        }
    }
}

provider_core::guarded_settings!(EdaConfig, Pacing, Timing);

impl EdaConfig {
    /// A configuration with defaults for everything else.
    #[must_use]
    pub fn new(transport: impl Into<Transport>) -> Self {
        Self {
            name: default_name(),
            transport: transport.into(),
            http: HttpConfig::default(),
            projection: Projection::default(),
            envelope: default_envelope(),
            refuse_templates: false,
            completion: Completion::default(),
            pacing: Pacing::default(),
            timing: Timing::default(),
            activation: None,
            tracking: None,
        }
    }

    /// Another name of the provider.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Other settings of connections.
    #[must_use]
    pub fn with_http(mut self, http: HttpConfig) -> Self {
        self.http = http;
        self
    }

    /// Another choice of what of the object is sent.
    #[must_use]
    pub fn with_projection(mut self, projection: Projection) -> Self {
        self.projection = projection;
        self
    }

    /// Another member of the payload for what is ours.
    #[must_use]
    pub fn with_envelope(mut self, member: impl Into<String>) -> Self {
        self.envelope = member.into();
        self
    }

    /// With texts refused that a rulebook could execute.
    #[must_use]
    pub fn with_templates_refused(mut self) -> Self {
        self.refuse_templates = true;
        self
    }

    /// Other signs of completion.
    #[must_use]
    pub fn with_completion(mut self, completion: Completion) -> Self {
        self.completion = completion;
        self
    }

    /// Another finalizer of the automation for one kind.
    #[must_use]
    pub fn with_finalizer(mut self, kind: impl Into<String>, finalizer: impl Into<String>) -> Self {
        self.completion
            .finalizers
            .insert(kind.into(), finalizer.into());
        self
    }

    /// Another pace.
    #[must_use]
    pub fn with_pacing(mut self, pacing: Pacing) -> Self {
        self.pacing = pacing;
        self
    }

    /// Other times.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// With the activation behind the events.
    #[must_use]
    pub fn with_activation(mut self, activation: Activation) -> Self {
        self.activation = Some(activation);
        self
    }

    /// With the jobs behind the events in sight.
    #[must_use]
    pub fn with_tracking(mut self, tracking: impl Into<Tracking>) -> Self {
        self.tracking = Some(tracking.into());
        self
    }

    /// As it is meant: without what surrounds texts that come from files and Secrets. Refuses what cannot
    /// work, before the first request.
    pub(crate) fn checked(mut self) -> Result<Self, ConfigError> {
        self.tidy()?;
        self.validate()?;
        Ok(self)
    }

    /// Takes parts apart by name, here and in them, so that a further setting does not compile until it is
    /// looked at.
    fn tidy(&mut self) -> Result<(), ConfigError> {
        let Self {
            name,
            transport,
            http,
            projection,
            envelope,
            refuse_templates: _,
            completion,
            pacing: _,
            timing: _,
            activation,
            tracking,
        } = self;
        http.tidy()?;
        transport.tidy()?;
        tidy_text("name", name)?;
        tidy_text("envelope", envelope)?;
        // A pointer that fits nothing would send what is meant to stay here.
        for pointer in &mut projection.without {
            tidy_text("projection.without", pointer)?;
        }
        completion.tidy()?;
        activation.as_mut().map_or(Ok(()), Activation::tidy)?;
        tracking.as_mut().map_or(Ok(()), Tracking::tidy)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field: &'static str, what: &str| Err(ConfigError::new(field, what));
        if self.name.is_empty() || self.name.len() > 63 {
            return refuse("name", "expected 1 to 63 characters");
        }
        let reserved = ["apiVersion", "kind", "metadata", "spec", "status"];
        if self.envelope.is_empty() || reserved.contains(&self.envelope.as_str()) {
            return refuse("envelope", "expected a member that objects do not have");
        }
        self.completion.validate()?;
        if self.pacing.max_in_flight == 0 || self.pacing.breaker_failures == 0 {
            return refuse("pacing", "expected counts of at least 1");
        }
        // The engine gives up the right to launch 30 s after it was written down.
        if self.pacing.max_wait > SignedDuration::from_secs(20) {
            return refuse("pacing.maxWait", "expected 20 s at most");
        }
        for (field, value, least) in [
            ("pacing.minInterval", self.pacing.min_interval, 0),
            ("pacing.maxWait", self.pacing.max_wait, 0),
            ("pacing.breakerPause", self.pacing.breaker_pause, 0),
            ("timing.pollInterval", self.timing.poll_interval, 1),
            ("timing.inFlightWindow", self.timing.in_flight_window, 0),
            ("timing.deprovisionLimit", self.timing.deprovision_limit, 1),
        ] {
            if value < SignedDuration::from_millis(least) {
                return refuse(
                    field,
                    "expected a duration that is not negative (time-outs: more than zero)",
                );
            }
        }
        if let Some(activation) = &self.activation {
            activation.validate()?;
        }
        if let Some(tracking) = &self.tracking {
            tracking.validate()?;
        }
        self.transport.validate(self.http.client_identity.is_some())
    }
}

/// Without blanks, line ends and quotes around it; one line.
pub(crate) fn tidy_text(field: &str, text: &mut String) -> Result<(), ConfigError> {
    let tidy = tidied(field, text);
    if tidy.len() != text.len() {
        *text = tidy.to_owned();
    }
    line(field, text)
}

impl fmt::Display for EdaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.name, self.transport.kind())?;
        let endpoints = self.transport.endpoints();
        for (action, url) in [("create", &endpoints.create), ("delete", &endpoints.delete)] {
            if let Some(url) = url {
                write!(f, ", {action} at {}", shown(url))?;
            }
        }
        for (name, url) in &endpoints.actions {
            write!(f, ", {name} at {}", shown(url))?;
        }
        if let Some(url) = &endpoints.action {
            write!(f, ", any action at {}", shown(url))?;
        }
        if !endpoints.kinds.is_empty() {
            write!(f, ", {} kinds with their own", endpoints.kinds.len())?;
        }
        if !endpoints.targets.is_empty() {
            write!(f, ", {} targets with their own", endpoints.targets.len())?;
        }
        match &self.transport {
            Transport::RulebookWebhook(webhook) => {
                if webhook.token.is_some() {
                    write!(f, "; token {MASK}")?;
                }
                if let Some(hmac) = &webhook.hmac {
                    write!(f, "; {hmac:?}")?;
                }
            }
            Transport::EventStream(stream) => write!(f, "; {:?}", stream.auth)?,
        }
        if let Some(identity) = &self.http.client_identity {
            write!(f, "; client certificate {identity:?}")?;
        }
        write!(f, "; applied when {}", self.completion.version_annotation)?;
        write!(f, ", removed without {}", self.completion.finalizer)?;
        if let Some(activation) = &self.activation {
            write!(
                f,
                "; activation {:?} at {}",
                activation.name,
                shown(&activation.url)
            )?;
        }
        match &self.tracking {
            None => {}
            #[cfg(feature = "aap")]
            Some(Tracking::Jobs(jobs)) => {
                write!(f, "; jobs seen by label {} at {}", jobs.label, jobs.aap)?;
            }
            Some(Tracking::Audit(audit)) => {
                write!(f, "; ends seen in the audit of {}", shown(&audit.url))?;
            }
        }
        if self.http.insecure {
            f.write_str("; INSECURE: certificates are not checked")?;
        }
        Ok(())
    }
}

impl fmt::Debug for EdaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EdaConfig({self}; {:?}; {:?})", self.pacing, self.timing)
    }
}
