//! What a cell of the table holds, and where its numbers are read.

use std::fmt::Write as _;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::support::Failure;
use crate::trouble::Trouble;
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
        let status = std::fs::read_to_string("/proc/self/status")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: f64 = peak
            .and_then(|text| text.split_whitespace().next())
            .ok_or("no VmHWM in /proc/self/status")?
            .parse()?;
        let used = clock_gettime(ClockId::ProcessCPUTime);
        Ok(Self {
            cpu_s: used.tv_sec as f64 + used.tv_nsec as f64 / 1e9,
            peak_rss_mib: kib / 1_024.0,
        })
    }
}

/// Seconds of processor time that this process has used.
pub(crate) fn cpu_of(process: u32) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name of the program is in brackets, and may hold anything.
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
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

    /// Looks on, for as long as it is let. The first round finds everything new, and none has ended in
    /// the second.
    pub(crate) async fn watch(
        &self,
        began: Instant,
        interval: Duration,
        trouble: Option<Trouble>,
        rates: &mut Rates,
    ) -> Result<(), Failure> {
        tokio::time::sleep_until(began + interval).await;
        let before = self.now().await?;
        tokio::time::sleep_until(began + interval * 2).await;
        let mut last = (Instant::now(), self.now().await?);
        rates.a_round = last.1.saturating_sub(before);
        let begins = trouble.map(|_| began + Trouble::begins(interval));
        loop {
            tokio::time::sleep_until(last.0 + Duration::from_secs(1)).await;
            let now = (Instant::now(), self.now().await?);
            let took = now.0.duration_since(last.0).as_secs_f64();
            let peak = if begins.is_some_and(|begins| last.0 < begins) {
                &mut rates.peak_before
            } else {
                &mut rates.peak
            };
            *peak = peak.max(now.1.saturating_sub(last.1) as f64 / took);
            last = now;
        }
    }
}

/// Requests over time.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// In the second round, when all jobs are alive.
    pub(crate) a_round: u64,
    /// In the busiest second after it, when jobs end.
    pub(crate) peak: f64,
    /// The same before the trouble began; the other is since then.
    pub(crate) peak_before: f64,
}

/// One way to watch so many jobs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) way: String,
    pub(crate) jobs: u64,
    pub(crate) interval_s: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trouble: Option<String>,
    pub(crate) requests: u64,
    /// In the second round, when all jobs are alive.
    pub(crate) requests_a_round: u64,
    pub(crate) requests_a_job: f64,
    /// Requests a second in that round, and in the busiest second after it, when jobs end.
    pub(crate) steady_rate: f64,
    pub(crate) peak_rate: f64,
    /// The same before the trouble began; the other is since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peak_rate_before: Option<f64>,
    pub(crate) delay_p50_s: f64,
    pub(crate) delay_p99_s: f64,
    pub(crate) cpu_s: f64,
    /// A poll of a job: to know where it stands, once per interval of its life.
    pub(crate) cpu_s_per_10k_polls: f64,
    /// What the simulated controller has used to serve it.
    pub(crate) controller_cpu_s: f64,
    pub(crate) peak_rss_mib: f64,
    /// Looks that were answered with an error.
    pub(crate) failed_looks: u64,
    #[serde(skip)]
    pub(crate) wrong: u64,
}

/// A cell, before anything is known of it.
pub(crate) struct Frame {
    pub(crate) way: &'static str,
    pub(crate) jobs: u64,
    pub(crate) interval: Duration,
    pub(crate) trouble: Option<Trouble>,
}

impl Frame {
    pub(crate) fn filled(
        self,
        requests: u64,
        rates: &Rates,
        controller_cpu_s: f64,
        mut watched: Watched,
    ) -> Cell {
        watched.delays.sort_by(f64::total_cmp);
        let percentile = |percent: usize| {
            let at =
                (watched.delays.len() * percent / 100).min(watched.delays.len().saturating_sub(1));
            watched.delays.get(at).copied().unwrap_or_default()
        };
        let (jobs, interval_s) = (self.jobs, self.interval.as_secs_f64());
        // Lives last from two to ten intervals.
        let polls = jobs as f64 * 6.0;
        Cell {
            way: self.way.to_owned(),
            jobs,
            interval_s,
            trouble: self.trouble.map(|trouble| trouble.name().to_owned()),
            requests,
            requests_a_round: rates.a_round,
            requests_a_job: requests as f64 / jobs as f64,
            steady_rate: rates.a_round as f64 / interval_s,
            peak_rate: rates.peak,
            peak_rate_before: self.trouble.map(|_| rates.peak_before),
            delay_p50_s: percentile(50),
            delay_p99_s: percentile(99),
            cpu_s: watched.usage.cpu_s,
            cpu_s_per_10k_polls: watched.usage.cpu_s / polls * 10_000.0,
            controller_cpu_s,
            peak_rss_mib: watched.usage.peak_rss_mib,
            failed_looks: watched.failures,
            wrong: watched.wrong + jobs - watched.delays.len() as u64,
        }
    }
}

/// For people.
pub(crate) fn table(cells: &[Cell]) -> String {
    let mut text = format!(
        "{:>7} {:<8} {:>11} {:>9} {:>16} {:>9} {:>9} {:>9} {:>13} {:>9}\n",
        "jobs",
        "way",
        "req./round",
        "req./job",
        "req./s (peak)",
        "p50 late",
        "p99 late",
        "cpu",
        "cpu/10k polls",
        "peak RSS"
    );
    for cell in cells {
        let rates = format!("{:.1} ({:.1})", cell.steady_rate, cell.peak_rate);
        let _ = writeln!(
            text,
            "{:>7} {:<8} {:>11} {:>9.3} {:>16} {:>7.2} s {:>7.2} s {:>7.2} s {:>11.3} s {:>5.0} MiB",
            cell.jobs,
            cell.way,
            cell.requests_a_round,
            cell.requests_a_job,
            rates,
            cell.delay_p50_s,
            cell.delay_p99_s,
            cell.cpu_s,
            cell.cpu_s_per_10k_polls,
            cell.peak_rss_mib,
        );
    }
    text.truncate(text.trim_end().len());
    text
}
