//! What it costs to watch many jobs, and how late their ends are seen.
//!
//!     cargo run --release --example scale -- --jobs 100,1000,10000 --interval 10s
//!     cargo run --release --example scale -- --jobs 10000 --json
//!     cargo run --release --example scale -- --jobs 10000 --interval 20s --trouble down
//!     cargo run --release --example scale -- --awxkit ~/venv/bin/python --plot scale.svg
//!
//! Every cell of the table has a simulated controller and a watcher to itself, each a process, so that
//! memory and processor time are the watcher's alone. All jobs run at once; after two intervals they
//! begin to end, evenly over eight more, one in fifty with a failure. Ways to watch:
//!
//! | `get` | one GET a job and interval, as other controllers do; nothing else but reading the answer |
//! | `monitor` | `AapProvider`, told of ends by `wake_ups`, and asked as seldom as its statuses say |
//! | `push` | the same with the controller's websocket |
//! | `awxkit` | the wait loop of the official client, a thread a job; up to a thousand jobs |
//!
//! With `--trouble` something goes wrong from the third interval on, and the interesting number is the
//! busiest second since then, against the busiest before, when jobs already ended: whoever was kept from
//! asking must not ask for everything at once afterwards. An end that is missed, or told otherwise than it
//! was, fails the run.
//!
//!     cargo run --release --example scale -- --jobs 70,1000 --trouble slow
//!
//! With `--trouble slow` nothing is watched: so many objects are created at once on a controller with five
//! workers that needs five seconds for a launch, on simulated time, and what is shown is whether each has got
//! its one job, how soon it knew it, and what that cost the controller.

mod bars;
mod load;
mod measure;
mod plot;
mod slow;
mod trouble;
mod watch;

#[path = "../support/lives.rs"]
mod lives;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::SignedDuration;
use measure::{Cell, Counts, Frame, Rates};
use provider_testkit::aap::ADMIN_TOKEN;
use support::Failure;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use trouble::Trouble;

/// Threads of the official client.
const MAX_THREADS: u64 = 1_000;
const WAIT_LOOP: &str = include_str!("wait.py");

#[derive(Debug, Parser)]
struct Flags {
    /// How many jobs are alive at once; several numbers make several rows. 100 and 1000, unless there is
    /// something to show without them.
    #[arg(long, value_delimiter = ',')]
    jobs: Vec<u64>,
    /// The poll interval.
    #[arg(long, default_value = "5s")]
    interval: SignedDuration,
    /// Ways to watch; all that can be had, unless some are named.
    #[arg(long, value_delimiter = ',')]
    ways: Vec<Way>,
    /// What goes wrong.
    #[arg(long)]
    trouble: Option<Trouble>,
    /// A Python that has awxkit, to compare with it.
    #[arg(long, value_name = "PYTHON")]
    awxkit: Option<PathBuf>,
    /// Draws the table, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// What an earlier run has said with --json: its cells are shown along with those of this one.
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// A line of JSON for each cell instead of a table.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    Get,
    Monitor,
    Push,
    Awxkit,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Monitor => "monitor",
            Self::Push => "push",
            Self::Awxkit => "awxkit",
        }
    }
}

/// What this program starts of itself.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum Part {
    /// The controller, with so many jobs.
    Load {
        jobs: u64,
        interval_ms: u64,
        trouble: Option<Trouble>,
    },
    /// Somebody who watches them.
    Watch(watch::Task),
}

/// A part that is killed when it is not needed any more.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    fn start(command: &mut Command) -> Result<Self, Failure> {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let out = child.stdout.take().ok_or("a part without output")?;
        let lines = BufReader::new(out).lines();
        Ok(Self { child, lines })
    }

    async fn line(&mut self) -> Result<String, Failure> {
        match self.lines.next_line().await? {
            Some(line) => Ok(line),
            None => {
                let status = self.child.wait().await?;
                Err(format!("a part ended early: {status}").into())
            }
        }
    }
}

impl Flags {
    fn ways(&self) -> Vec<Way> {
        if !self.ways.is_empty() {
            return self.ways.clone();
        }
        match self.trouble {
            Some(Trouble::LostHints) => return vec![Way::Push],
            Some(_) => return vec![Way::Monitor, Way::Push],
            None => {}
        }
        let with_awxkit = self.awxkit.is_some().then_some(Way::Awxkit);
        [Way::Get, Way::Monitor, Way::Push]
            .into_iter()
            .chain(with_awxkit)
            .collect()
    }

    fn watcher(&self, way: Way, jobs: u64, load: &load::Ready) -> Result<Command, Failure> {
        let interval = self.interval.as_millis().to_string();
        let (jobs, first) = (jobs.to_string(), load.first.to_string());
        let mut command = if way == Way::Awxkit {
            let python = self.awxkit.as_ref();
            let python = python.ok_or("--ways awxkit needs --awxkit PYTHON")?;
            let mut command = Command::new(python);
            command.args(["-c", WAIT_LOOP]).args(["awxkit", &load.url]);
            command
        } else {
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["watch", way.name(), &load.url]);
            command
        };
        command.args([&first, &jobs, &interval, ADMIN_TOKEN]);
        if self.trouble.is_some() && way != Way::Awxkit {
            command.arg("--trouble");
        }
        Ok(command)
    }

    /// One way to watch so many jobs, from their start to the last end.
    async fn cell(&self, way: Way, jobs: u64, bar: &ProgressBar) -> Result<Cell, Failure> {
        let interval = Duration::try_from(self.interval)?;
        let mut load = Command::new(std::env::current_exe()?);
        let millis = interval.as_millis().to_string();
        load.args(["load", &jobs.to_string(), &millis]);
        load.args(self.trouble.map(Trouble::name));
        let mut load = Process::start(&mut load)?;
        let ready: load::Ready = serde_json::from_str(&load.line().await?)?;
        // The launch of all jobs is nobody's cost.
        let controller = load.child.id().ok_or("the controller ended early")?;
        let used_before = measure::cpu_of(controller)?;
        let began = tokio::time::Instant::now();
        let mut watcher = Process::start(&mut self.watcher(way, jobs, &ready)?)?;
        bar.set_length(jobs);
        bar.set_position(0);
        bar.set_message(format!("{} jobs, {}", jobs, way.name()));
        let counts = Counts::of(&ready.url)?;
        let mut rates = Rates::default();
        let watched = async {
            loop {
                let line = watcher.line().await?;
                match line.parse::<u64>() {
                    Ok(seen) => bar.set_position(seen),
                    Err(_) => return Ok::<watch::Watched, Failure>(serde_json::from_str(&line)?),
                }
            }
        };
        let watched = tokio::select! {
            watched = watched => watched?,
            ended = counts.watch(began, interval, self.trouble, &mut rates) => {
                ended?;
                return Err("the counting of requests ended early".into());
            }
        };
        let requests = counts.now().await?;
        let frame = Frame {
            way: way.name(),
            jobs,
            interval,
            trouble: self.trouble,
        };
        let used = measure::cpu_of(controller)? - used_before;
        let cell = frame.filled(requests, &rates, used, watched);
        if cell.wrong > 0 {
            return Err(format!("{} of {jobs} ends were not told as they were", cell.wrong).into());
        }
        Ok(cell)
    }

    /// Launches instead of ends.
    async fn slow(&self) -> Result<(), Failure> {
        tokio::time::pause();
        let usual: &[u64] = &[70, 1_000];
        let jobs = if self.jobs.is_empty() {
            usual
        } else {
            &self.jobs
        };
        let runs = jobs
            .iter()
            .flat_map(|jobs| [(*jobs, 0), (*jobs, jobs.div_ceil(3))]);
        for (jobs, lost) in runs {
            let slow = slow::run(jobs, lost).await?;
            if self.json {
                support::print(&serde_json::to_string(&slow)?);
            } else {
                support::print(&format!("{slow:#?}"));
            }
            for bar in slow.bars() {
                if self.json {
                    support::print(&serde_json::to_string(&bar)?);
                } else {
                    support::print(&bar.line());
                }
            }
        }
        Ok(())
    }

    async fn run(&self) -> Result<(), Failure> {
        if self.trouble == Some(Trouble::Slow) {
            return self.slow().await;
        }
        let bar = ProgressBar::new(1);
        if self.json {
            bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        let style = "{spinner} [{bar:30}] {pos}/{len} ends seen · {wide_msg} {elapsed}";
        bar.set_style(ProgressStyle::with_template(style)?.progress_chars("=> "));
        bar.enable_steady_tick(Duration::from_millis(200));
        let mut cells: Vec<Cell> = Vec::new();
        for file in &self.with {
            let text = std::fs::read_to_string(file)?;
            // The other lines are about bars.
            let before = cells.len();
            let earlier = text
                .lines()
                .map(serde_json::from_str)
                .filter_map(Result::ok);
            cells.extend(earlier);
            if cells.len() == before {
                let file = file.display();
                return Err(format!("{file} holds nothing that --json has said").into());
            }
        }
        let usual: &[u64] = if cells.is_empty() { &[100, 1_000] } else { &[] };
        let jobs = if self.jobs.is_empty() {
            usual
        } else {
            &self.jobs
        };
        for jobs in jobs {
            for way in self.ways() {
                if way == Way::Awxkit && *jobs > MAX_THREADS {
                    continue;
                }
                let cell = self.cell(way, *jobs, &bar).await?;
                if self.json {
                    support::print(&serde_json::to_string(&cell)?);
                }
                cells.push(cell);
            }
        }
        bar.finish_and_clear();
        let bars = bars::bars(&cells);
        if self.json {
            for bar in &bars {
                support::print(&serde_json::to_string(bar)?);
            }
        } else {
            support::print(&measure::table(&cells));
            for bar in &bars {
                support::print(&bar.line());
            }
        }
        if let Some(file) = &self.plot {
            plot::draw(file, &cells)?;
        }
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    let result = match &flags.part {
        Some(Part::Load {
            jobs,
            interval_ms,
            trouble,
        }) => load::serve(*jobs, Duration::from_millis(*interval_ms), *trouble).await,
        Some(Part::Watch(task)) => task.run().await,
        None => flags.run().await,
    };
    support::exit("scale", result)
}
