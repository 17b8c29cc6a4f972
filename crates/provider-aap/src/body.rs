//! What the controller says about a job, as far as it means something to us.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::words::{Kind, Status};

/// A job. Ten thousand of them are kept, so what live ones seldom have is apart.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "Members")]
pub(crate) struct JobBody {
    pub(crate) created: Option<Timestamp>,
    pub(crate) started: Option<Timestamp>,
    pub(crate) elapsed: Option<f64>,
    /// Its template.
    pub(crate) template: Option<u64>,
    pub(crate) id: Option<u64>,
    pub(crate) status: Status,
    pub(crate) kind: Option<Kind>,
    /// Whether a node has taken it up.
    pub(crate) was_at_work: bool,
    /// Whether the controller has counted all that it printed.
    pub(crate) is_counted: bool,
    more: Option<Box<More>>,
}

/// What live jobs seldom have.
#[derive(Debug, Clone, Default, PartialEq)]
struct More {
    explanation: String,
    traceback: String,
    finished: Option<Timestamp>,
    canceled_on: Option<Timestamp>,
    artifacts: Map<String, Value>,
}

impl JobBody {
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

    /// When somebody has asked it to stop.
    pub(crate) fn canceled_on(&self) -> Option<Timestamp> {
        self.more(|more| more.canceled_on)?
    }

    pub(crate) fn artifacts(&self) -> Map<String, Value> {
        self.more(|more| more.artifacts.clone()).unwrap_or_default()
    }
}

/// The members of a job as the controller writes them; everything may be missing, null or nonsense.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Members {
    #[serde(deserialize_with = "lenient")]
    id: Option<u64>,
    #[serde(rename = "type", deserialize_with = "lenient")]
    kind: Option<Kind>,
    #[serde(deserialize_with = "lenient")]
    status: Status,
    #[serde(deserialize_with = "lenient")]
    job_explanation: String,
    #[serde(deserialize_with = "lenient")]
    result_traceback: String,
    #[serde(deserialize_with = "lenient")]
    created: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    started: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    finished: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    canceled_on: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    elapsed: Option<f64>,
    #[serde(deserialize_with = "lenient")]
    artifacts: Map<String, Value>,
    #[serde(deserialize_with = "is_text")]
    work_unit_id: bool,
    #[serde(deserialize_with = "lenient")]
    event_processing_finished: bool,
    #[serde(deserialize_with = "lenient")]
    unified_job_template: Option<u64>,
}

impl From<Members> for JobBody {
    fn from(members: Members) -> Self {
        let more = More {
            explanation: members.job_explanation,
            traceback: members.result_traceback,
            finished: members.finished,
            canceled_on: members.canceled_on,
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
            was_at_work: members.work_unit_id,
            is_counted: members.event_processing_finished,
            more: (more != More::default()).then(|| Box::new(more)),
        }
    }
}

/// A value of another type counts as absent: one odd member must not hide the status.
pub(crate) fn lenient<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    // Two looks at the text are cheaper than a copy of the value in between.
    let raw = <&RawValue>::deserialize(from)?;
    Ok(serde_json::from_str(raw.get()).unwrap_or_default())
}

fn is_text<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    let raw = <&RawValue>::deserialize(from)?;
    Ok(raw.get().starts_with('"'))
}
