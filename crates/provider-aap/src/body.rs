//! What the controller says about a job, as far as it means something to us.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::identity::Carried;
pub(crate) use crate::json::{lenient, time};
use crate::words::{Kind, Status};

/// A job. Ten thousand of them are kept, so what live ones seldom have is apart.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobBody {
    pub(crate) created: Option<Timestamp>,
    pub(crate) started: Option<Timestamp>,
    /// In seconds; neither negative nor longer than anything lasts.
    pub(crate) elapsed: Option<f64>,
    /// Its template.
    pub(crate) template: Option<u64>,
    pub(crate) id: Option<u64>,
    pub(crate) status: Status,
    pub(crate) kind: Option<Kind>,
    /// Whose launch it is, as its variables tell.
    pub(crate) carried: Carried,
    /// Whether a node has taken it up.
    pub(crate) was_at_work: bool,
    /// Whether the controller has counted all that it printed.
    pub(crate) is_counted: bool,
    /// Whether it says that at all.
    pub(crate) counts_events: bool,
    cancel: Cancel,
    more: Option<Box<More>>,
}

/// What is said of a request to stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Cancel {
    /// Nothing, or nothing that can be read.
    #[default]
    Untold,
    /// That there was none.
    Never,
    /// That there was one.
    Requested,
}

/// What live jobs seldom have.
#[derive(Debug, Clone, Default, PartialEq)]
struct More {
    explanation: String,
    traceback: String,
    finished: Option<Timestamp>,
    artifacts: Map<String, Value>,
}

impl JobBody {
    /// A job as it is written, with the token that it carries in this variable.
    pub(crate) fn read(text: &RawValue, variable: &str) -> Self {
        let mut members: Members<'_> = serde_json::from_str(text.get()).unwrap_or_default();
        let variables = members.extra_vars.take();
        let mut body = Self::from(members);
        body.carried = variables.map_or(Carried::Untold, |text| Carried::read(text, variable));
        body
    }

    fn more<'body, T>(&'body self, member: impl FnOnce(&'body More) -> T) -> Option<T> {
        self.more.as_deref().map(member)
    }

    pub(crate) fn explanation(&self) -> &str {
        self.more(|more| more.explanation.as_str())
            .unwrap_or_default()
    }

    pub(crate) fn traceback(&self) -> &str {
        self.more(|more| more.traceback.as_str())
            .unwrap_or_default()
    }

    pub(crate) fn finished(&self) -> Option<Timestamp> {
        self.more(|more| more.finished)?
    }

    /// Whether somebody has asked it to stop.
    pub(crate) fn is_canceling(&self) -> bool {
        self.cancel == Cancel::Requested
    }

    /// Whether the job itself has a text of why it ended.
    pub(crate) fn says_why(&self) -> bool {
        !self.explanation().trim().is_empty() || !self.traceback().trim().is_empty()
    }

    /// Whether it is said that nobody has.
    pub(crate) fn was_never_canceled(&self) -> bool {
        self.cancel == Cancel::Never
    }

    /// Whether it is `canceled`, and not told by whom.
    pub(crate) fn hides_who_canceled(&self) -> bool {
        &*self.status == "canceled" && self.cancel == Cancel::Untold
    }

    pub(crate) fn artifacts(&self) -> Map<String, Value> {
        self.more(|more| more.artifacts.clone()).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for JobBody {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Members::deserialize(from).map(Self::from)
    }
}

/// The members of a job as the controller writes them; everything may be missing, null or nonsense.
#[derive(Default)]
struct Members<'de> {
    id: Option<u64>,
    kind: Option<Kind>,
    status: Status,
    job_explanation: String,
    result_traceback: String,
    created: Option<Timestamp>,
    started: Option<Timestamp>,
    finished: Option<Timestamp>,
    canceled_on: Cancel,
    elapsed: Option<f64>,
    artifacts: Map<String, Value>,
    work_unit_id: bool,
    event_processing_finished: Option<bool>,
    unified_job_template: Option<u64>,
    extra_vars: Option<&'de RawValue>,
}

impl<'de> Members<'de> {
    /// Of a member that comes twice, the last one counts.
    fn take(&mut self, name: &str, text: &'de RawValue) {
        match name {
            "id" => self.id = value(text),
            "type" => self.kind = value(text),
            "status" => self.status = value(text),
            "job_explanation" => self.job_explanation = value(text),
            "result_traceback" => self.result_traceback = value(text),
            "created" => self.created = time_of(text),
            "started" => self.started = time_of(text),
            "finished" => self.finished = time_of(text),
            "canceled_on" => {
                self.canceled_on = match text.get() {
                    "null" => Cancel::Never,
                    _ if value::<String>(text).trim().is_empty() => Cancel::Untold,
                    _ => Cancel::Requested,
                };
            }
            "elapsed" => self.elapsed = seconds(value(text)),
            "artifacts" => self.artifacts = value(text),
            "work_unit_id" => self.work_unit_id = text.get().starts_with('"'),
            "event_processing_finished" => self.event_processing_finished = value(text),
            "unified_job_template" => self.unified_job_template = value(text),
            "extra_vars" => self.extra_vars = Some(text),
            _ => {}
        }
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a job")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members::default();
                while let Some(name) = map.next_key::<Name<'de>>()? {
                    members.take(&name.0, map.next_value()?);
                }
                Ok(members)
            }
        }
        from.deserialize_map(Each)
    }
}

/// Without a copy, where it can be.
#[derive(Deserialize)]
struct Name<'row>(#[serde(borrow)] Cow<'row, str>);

impl From<Members<'_>> for JobBody {
    fn from(members: Members<'_>) -> Self {
        let more = More {
            explanation: members.job_explanation,
            traceback: members.result_traceback,
            finished: members.finished,
            artifacts: members.artifacts,
        };
        Self {
            created: members.created,
            started: members.started,
            elapsed: members.elapsed,
            template: members.unified_job_template,
            id: members.id,
            status: members.status,
            kind: members.kind,
            carried: Carried::Untold,
            was_at_work: members.work_unit_id,
            is_counted: members.event_processing_finished == Some(true),
            counts_events: members.event_processing_finished.is_some(),
            cancel: members.canceled_on,
            more: (more != More::default()).then(|| Box::new(more)),
        }
    }
}

fn value<'de, T: Deserialize<'de> + Default>(text: &'de RawValue) -> T {
    serde_json::from_str(text.get()).unwrap_or_default()
}

fn time_of(text: &RawValue) -> Option<Timestamp> {
    time(&value::<String>(text))
}

/// Longer than anything lasts, and still no trouble to reckon with: ten years.
const LONGEST: f64 = 315_360_000.0;

fn seconds(told: Option<f64>) -> Option<f64> {
    told.filter(|seconds| (0.0..=LONGEST).contains(seconds))
}
