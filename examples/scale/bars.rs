//! What is promised of the monitor, and whether these runs keep it.

use serde::Serialize;

use crate::measure::Cell;

#[derive(Debug, Serialize)]
pub(crate) struct Bar {
    /// How many jobs, and how they were watched.
    pub(crate) of: String,
    pub(crate) what: &'static str,
    pub(crate) is: f64,
    /// At least or at most.
    pub(crate) must_be: &'static str,
    pub(crate) bar: f64,
    pub(crate) met: bool,
}

impl Bar {
    fn at_most(cell: &Cell, what: &'static str, is: f64, bar: f64) -> Self {
        Self::of(of(cell), what, is, bar)
    }

    /// Whatever it is about: at most so much.
    pub(crate) fn of(of: String, what: &'static str, is: f64, bar: f64) -> Self {
        Self {
            of,
            what,
            is,
            must_be: "at most",
            bar,
            met: is <= bar,
        }
    }

    fn at_least(cell: &Cell, what: &'static str, is: f64, bar: f64) -> Self {
        Self {
            must_be: "at least",
            met: is >= bar,
            ..Self::at_most(cell, what, is, bar)
        }
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        let met = if self.met { "met   " } else { "MISSED" };
        format!(
            "{met} {}: {} {:.2} ({} {})",
            self.of, self.what, self.is, self.must_be, self.bar
        )
    }
}

fn of(cell: &Cell) -> String {
    let trouble = cell.trouble.as_ref();
    let trouble = trouble.map(|name| format!(", {name}")).unwrap_or_default();
    format!("{} jobs, {}{trouble}", cell.jobs, cell.way)
}

/// The bars that apply to these runs.
pub(crate) fn bars(cells: &[Cell]) -> Vec<Bar> {
    let ours = cells
        .iter()
        .filter(|cell| ["monitor", "push"].contains(&cell.way.as_str()));
    let mut bars = Vec::new();
    for cell in ours {
        let memory = if cell.jobs <= 10_000 { 150.0 } else { 1_024.0 };
        bars.push(Bar::at_most(
            cell,
            "peak RSS, MiB",
            cell.peak_rss_mib,
            memory,
        ));
        if cell.jobs == 10_000 {
            let requests = cell.requests_a_round as f64;
            bars.push(Bar::at_most(cell, "requests a round", requests, 60.0));
        }
        if let Some(before) = cell.peak_rate_before {
            // With few jobs there is less than a request a second, and two are a peak.
            if cell.jobs >= 10_000 {
                let what =
                    "requests in the busiest second since the trouble began, against before:";
                bars.push(Bar::at_most(cell, what, cell.peak_rate / before, 2.0));
            }
            continue;
        }
        let delay = if cell.way == "push" {
            1.0
        } else {
            cell.interval_s + 1.0
        };
        let what = "an end is known after (p99, s)";
        bars.push(Bar::at_most(cell, what, cell.delay_p99_s, delay));
        let is_get =
            |get: &&Cell| get.way == "get" && get.jobs == cell.jobs && get.trouble.is_none();
        // Of a hundred jobs nobody has to save anything.
        let get = cells.iter().find(is_get).filter(|_| cell.jobs >= 1_000);
        let Some(get) = get else { continue };
        let requests = get.requests as f64 / cell.requests as f64;
        bars.push(Bar::at_least(
            cell,
            "times fewer requests than one GET a job:",
            requests,
            20.0,
        ));
        let what = "times less processor time than one GET a job:";
        bars.push(Bar::at_least(cell, what, get.cpu_s / cell.cpu_s, 5.0));
    }
    bars
}
