//! How long the phases of jobs took, over several lives.

use std::fmt::Write;

use jiff::Timestamp;
use provider_core::JobRecord;
use serde_json::{Value, json};

/// One job: seconds from the launch to its start, from there to its end, and until we knew.
pub(crate) struct Phases {
    queued: Option<f64>,
    running: Option<f64>,
    total: f64,
}

impl Phases {
    /// Of the job of this record, whose end was seen at this moment.
    pub(crate) fn of(record: &JobRecord, launched: Timestamp, seen: Timestamp) -> Self {
        let between = |from: Option<Timestamp>, to: Option<Timestamp>| {
            Some(to?.duration_since(from?).as_secs_f64().max(0.0))
        };
        Self {
            queued: between(record.sent_at, record.started_at),
            running: between(record.started_at, record.finished_at),
            total: seen.duration_since(launched).as_secs_f64(),
        }
    }
}

/// The jobs of one provider and one action.
pub(crate) struct Row {
    pub(crate) provider: String,
    pub(crate) action: &'static str,
    pub(crate) jobs: Vec<Phases>,
}

const COLUMNS: [&str; 3] = ["queued", "running", "total"];

struct Summary {
    median: f64,
    least: f64,
    most: f64,
}

impl Row {
    fn columns(&self) -> [Option<Summary>; 3] {
        let of = |value: &dyn Fn(&Phases) -> Option<f64>| {
            let mut all: Vec<f64> = self.jobs.iter().filter_map(value).collect();
            all.sort_by(f64::total_cmp);
            let (least, most) = (*all.first()?, *all.last()?);
            let middle = all.len() / 2;
            let (low, high) = (all.get((all.len() - 1) / 2)?, all.get(middle)?);
            Some(Summary {
                median: f64::midpoint(*low, *high),
                least,
                most,
            })
        };
        [
            of(&|phases| phases.queued),
            of(&|phases| phases.running),
            of(&|phases| Some(phases.total)),
        ]
    }

    pub(crate) fn json(&self) -> Value {
        let mut row =
            json!({"provider": self.provider, "action": self.action, "jobs": self.jobs.len()});
        for (name, summary) in COLUMNS.iter().zip(self.columns()) {
            let seconds =
                summary.map(|s| json!({"median": s.median, "min": s.least, "max": s.most}));
            if let Value::Object(row) = &mut row {
                row.insert(format!("{name}Seconds"), seconds.into());
            }
        }
        row
    }
}

/// A table for people: the median, and the range where there are several.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = format!("\n{:<10} {:<8}", "provider", "action");
    for name in COLUMNS {
        let _ = write!(text, " {name:<26}");
    }
    for row in rows {
        let _ = write!(text, "\n{:<10} {:<8}", row.provider, row.action);
        for summary in row.columns() {
            let cell = match summary {
                None => "not seen".to_owned(),
                Some(s) if row.jobs.len() == 1 => format!("{:.1} s", s.median),
                Some(s) => format!("{:.1} s ({:.1} to {:.1})", s.median, s.least, s.most),
            };
            let _ = write!(text, " {cell:<26}");
        }
    }
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}
