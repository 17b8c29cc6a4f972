//! What a cell of the table holds, and where its numbers are read.

use std::fmt::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::support::Failure;
use crate::watch::Watched;

/// What a process has used up.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) cpu_s: f64,
    pub(crate) peak_rss_mib: f64,
}

impl Usage {
    /// The processor time since then; the peak is of the whole.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu_s: self.cpu_s - before.cpu_s,
            ..self
        }
    }

    /// From `/proc`: Linux alone.
    pub(crate) fn of_this_process() -> Result<Self, Failure> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        // The name of the program is in brackets, and may hold anything.
        let fields = stat.rsplit(") ").next().unwrap_or_default();
        let ticks: u64 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum();
        let status = std::fs::read_to_string("/proc/self/status")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: f64 = peak
            .and_then(|text| text.split_whitespace().next())
            .ok_or("no VmHWM in /proc/self/status")?
            .parse()?;
        Ok(Self {
            cpu_s: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
            peak_rss_mib: kib / 1_024.0,
        })
    }
}

/// As the provider's: kept connections, no proxy.
pub(crate) fn client() -> Result<reqwest::Client, Failure> {
    // An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(reqwest::Client::builder().no_proxy().build()?)
}

/// The controller's own count of requests.
pub(crate) struct Counts {
    client: reqwest::Client,
    url: String,
}

impl Counts {
    pub(crate) fn of(url: &str) -> Result<Self, Failure> {
        let url = format!("{url}/_sim/counts");
        Ok(Self {
            client: client()?,
            url,
        })
    }

    pub(crate) async fn now(&self) -> Result<u64, Failure> {
        let counts: Value = self.client.get(&self.url).send().await?.json().await?;
        let counts = counts.as_object().ok_or("no counts")?;
        Ok(counts.values().filter_map(Value::as_u64).sum())
    }
}

/// One way to watch so many jobs.
#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) way: &'static str,
    pub(crate) jobs: u64,
    pub(crate) interval_s: f64,
    pub(crate) requests: u64,
    /// In the second round, when all jobs are alive.
    pub(crate) requests_a_round: u64,
    pub(crate) requests_a_job: f64,
    pub(crate) delay_p50_s: f64,
    pub(crate) delay_p99_s: f64,
    pub(crate) cpu_s: f64,
    /// A poll of a job: to know where it stands, once per interval of its life.
    pub(crate) cpu_s_per_10k_polls: f64,
    pub(crate) peak_rss_mib: f64,
    #[serde(skip)]
    pub(crate) wrong: u64,
}

impl Cell {
    pub(crate) fn new(
        way: &'static str,
        jobs: u64,
        interval: Duration,
        (requests, requests_a_round): (u64, u64),
        mut watched: Watched,
    ) -> Self {
        watched.delays.sort_by(f64::total_cmp);
        let percentile = |percent: usize| {
            let at =
                (watched.delays.len() * percent / 100).min(watched.delays.len().saturating_sub(1));
            watched.delays.get(at).copied().unwrap_or_default()
        };
        // Lives last from two to ten intervals.
        let polls = jobs as f64 * 6.0;
        Self {
            way,
            jobs,
            interval_s: interval.as_secs_f64(),
            requests,
            requests_a_round,
            requests_a_job: requests as f64 / jobs as f64,
            delay_p50_s: percentile(50),
            delay_p99_s: percentile(99),
            cpu_s: watched.usage.cpu_s,
            cpu_s_per_10k_polls: watched.usage.cpu_s / polls * 10_000.0,
            peak_rss_mib: watched.usage.peak_rss_mib,
            wrong: watched.wrong + jobs - watched.delays.len() as u64,
        }
    }
}

/// For people.
pub(crate) fn table(cells: &[Cell]) -> String {
    let mut text = format!(
        "{:>7} {:<8} {:>12} {:>12} {:>9} {:>9} {:>13} {:>9}\n",
        "jobs",
        "way",
        "req./round",
        "req./job",
        "p50 late",
        "p99 late",
        "cpu/10k polls",
        "peak RSS"
    );
    for cell in cells {
        let _ = writeln!(
            text,
            "{:>7} {:<8} {:>12} {:>12.3} {:>7.2} s {:>7.2} s {:>11.3} s {:>5.0} MiB",
            cell.jobs,
            cell.way,
            cell.requests_a_round,
            cell.requests_a_job,
            cell.delay_p50_s,
            cell.delay_p99_s,
            cell.cpu_s_per_10k_polls,
            cell.peak_rss_mib,
        );
    }
    for ours in cells
        .iter()
        .filter(|cell| ["monitor", "push"].contains(&cell.way))
    {
        let get = cells
            .iter()
            .find(|cell| cell.way == "get" && cell.jobs == ours.jobs);
        if let Some(get) = get {
            let _ = writeln!(
                text,
                "{} jobs, {}: {:.0} × fewer requests and {:.1} × less processor time than one GET a job",
                ours.jobs,
                ours.way,
                get.requests as f64 / ours.requests.max(1) as f64,
                get.cpu_s / ours.cpu_s.max(0.01),
            );
        }
    }
    text.truncate(text.trim_end().len());
    text
}
