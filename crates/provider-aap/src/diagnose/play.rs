//! Which of the failures among a job's events ended it.
//!
//! The event of a failure that a `rescue` handled is the same as that of one that ended the play; only the
//! statistics at the end count them apart, host by host (measured: ansible-core 2.19). After the failure
//! that ends a play for a host, only `always` sections run there. So of a host with two failures, one of
//! them rescued, the later one is the cause.

use std::collections::BTreeMap;

use provider_core::{ProviderError, text};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::said::{Said, is_hidden, said};
use crate::answer::{Answer, List};

/// What is asked for.
pub(super) const WANTED: &str = "runner_on_failed,runner_on_unreachable,playbook_on_stats";

/// How a host was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lost {
    Failed,
    Unreachable,
}

impl Lost {
    /// Where the statistics count it.
    const fn column(self) -> &'static str {
        match self {
            Self::Failed => "failures",
            Self::Unreachable => "dark",
        }
    }
}

#[derive(Debug)]
struct Failure {
    lost: Lost,
    task: String,
    host: String,
    /// What the module answered.
    res: Value,
}

/// The newest failures of a job, the newest one first.
#[derive(Debug, Default)]
pub(super) struct Events {
    failures: Vec<Failure>,
    /// How many tasks of each host came to what, where the play has come to its end.
    statistics: Option<Map<String, Value>>,
    hidden: bool,
}

impl Events {
    pub(super) fn read(answer: &Answer) -> Result<Self, ProviderError> {
        let rows = answer.json::<List<Box<RawValue>>>()?.results;
        Ok(Self::of(rows.iter().map(|row| row.get())))
    }

    pub(super) fn of<'row>(rows: impl Iterator<Item = &'row str>) -> Self {
        let mut events = Self::default();
        for row in rows {
            // One odd event hides no other.
            if let Ok(Value::Object(row)) = serde_json::from_str(row) {
                events.take(row);
            }
        }
        events
    }

    fn take(&mut self, mut row: Map<String, Value>) {
        let mut data = match row.remove("event_data") {
            Some(Value::Object(data)) => data,
            _ => Map::new(),
        };
        let lost = match row.get("event").and_then(Value::as_str) {
            Some("runner_on_failed") => Lost::Failed,
            Some("runner_on_unreachable") => Lost::Unreachable,
            Some("playbook_on_stats") => {
                self.statistics.get_or_insert(data);
                return;
            }
            _ => return,
        };
        let res = data.remove("res").unwrap_or_default();
        self.hidden |= is_hidden(&res);
        if data.get("ignore_errors").and_then(Value::as_bool) == Some(true) {
            return;
        }
        // The row has them too.
        let name = |ours: &str, theirs: &str| {
            let ours = data.get(ours).and_then(Value::as_str);
            let named = ours.filter(|name| !name.is_empty());
            let named = named.or_else(|| row.get(theirs).and_then(Value::as_str));
            named.unwrap_or_default().to_owned()
        };
        self.failures.push(Failure {
            lost,
            task: name("task", "task"),
            host: name("host", "host_name"),
            res,
        });
    }

    /// Whether the play has come to its end among them.
    pub(super) fn is_whole(&self) -> bool {
        self.statistics.is_some()
    }

    /// Whether the play has come to its end, and has lost no host: what failed in it was handled.
    pub(super) fn is_over(&self) -> bool {
        let lost = |statistics: &Map<String, Value>, lost: Lost| {
            let column = statistics.get(lost.column()).and_then(Value::as_object);
            column.is_some_and(|hosts| !hosts.is_empty())
        };
        self.statistics.as_ref().is_some_and(|statistics| {
            !lost(statistics, Lost::Failed) && !lost(statistics, Lost::Unreachable)
        })
    }

    /// Whether one of them must not be seen.
    pub(super) fn are_hidden(&self) -> bool {
        self.hidden
    }

    /// How many failures of this kind ended the play for this host.
    fn fatal(&self, failure: &Failure) -> u64 {
        let Some(statistics) = &self.statistics else {
            // Whatever comes last has not been rescued yet.
            return 1;
        };
        let column = statistics.get(failure.lost.column());
        let count = column.and_then(|column| column.get(&failure.host));
        count.and_then(Value::as_u64).unwrap_or(0)
    }

    /// The cause of the end: the first failure that nobody handled, of those that say something.
    pub(super) fn cause(&self, redact: &dyn Fn(&str) -> String) -> Option<String> {
        let mut met: BTreeMap<(Lost, &str), u64> = BTreeMap::new();
        let mut causes: Vec<&Failure> = Vec::new();
        for failure in &self.failures {
            let met = met.entry((failure.lost, &failure.host)).or_default();
            if *met < self.fatal(failure) {
                *met = met.saturating_add(1);
                causes.push(failure);
            }
        }
        if causes.is_empty() {
            // One that does not tell its host is counted nowhere.
            causes.extend(self.failures.iter().find(|failure| failure.host.is_empty()));
        }
        let mut all = causes
            .iter()
            .rev()
            .map(|failure| (failure, said(&failure.res, redact)));
        let first = causes.last()?;
        let telling = all.find(|(_, said)| *said != Said::Nothing);
        let (failure, said) = telling.unwrap_or((first, Said::Nothing));
        Some(failure.describe(&said, redact))
    }
}

impl Failure {
    fn describe(&self, said: &Said, redact: &dyn Fn(&str) -> String) -> String {
        let named = |name: &str, otherwise: &str, max| match text::bounded(&redact(name), max) {
            name if name.is_empty() => otherwise.to_owned(),
            name => name,
        };
        let task = match named(&self.task, "", 200) {
            name if name.is_empty() => "a task".to_owned(),
            name => format!("task \"{name}\""),
        };
        let host = named(&self.host, "a host", 100);
        let verb = match self.lost {
            Lost::Failed => "failed on",
            Lost::Unreachable => "could not reach",
        };
        match said {
            Said::Hidden => format!("{task} {verb} {host}; its output is hidden by no_log"),
            Said::Text(why) => format!("{task} {verb} {host}: {why}"),
            Said::Nothing => format!("{task} {verb} {host}"),
        }
    }
}
