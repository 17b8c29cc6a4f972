//! The simulators as programs, for test-suites in any language.
//!
//! `provider-sim --help` says how; the language of fault scripts is in the crate's `docs/SIMULATORS.md`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program speaks"
)]

mod aap;
mod eda;
mod forward;
mod journal;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde::de::DeserializeOwned;
use serde_norway::with::singleton_map_recursive;

const EXAMPLES: &str = "\
Examples:
  provider-sim aap --template osac-create-compute-instance --run-ms 2000
  provider-sim aap --template work --listen 127.0.0.1:0 --faults faults.yaml --journal jobs.jsonl
  provider-sim aap --template work --seed 7            # every kind of trouble, the same again
  provider-sim eda --token s3cret --journal events.jsonl
  provider-sim eda stream --hmac-secret s3cret --faults faults.yaml

A fault script:
  faults:
    - {route: launch, fault: drop_after}              # the first launch: done, and not answered
    - {route: job, fault: {status: 502}, after: 1, times: 3}
  weather: {seed: 7, lost_answers: 10, refusals: 10}   # percent, when the script has nothing to say
  plans:
    - {template: work, plan: {run: 500, ending: {explained: no quota left}}}

The first line on standard output is the URL, once it serves. SIGINT or SIGTERM ends it.
Controls, for a test in another process: curl URL/_sim/journal, URL/_sim/counts,
  curl -X POST URL/_sim/faults -d '{\"route\": \"launch\", \"fault\": \"drop_after\"}'

`provider-sim aap --help` and `provider-sim eda --help` have more.";

/// Stateful simulators of the controller API of AAP (AWX 24.6.1) and of the two ways into
/// Event-Driven Ansible, with faults by script or by seed, and a journal of what really happened.
#[derive(Debug, Parser)]
#[command(name = "provider-sim", version, after_help = EXAMPLES)]
struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A controller: templates, launches, jobs, cancels, lists, events, the websocket.
    Aap(Box<aap::Options>),
    /// A service that takes events.
    Eda(Box<eda::Options>),
    /// A network in between, which swallows connections: neither side hears that nothing comes through.
    Forward(forward::Options),
}

/// What both have.
#[derive(Debug, Args)]
struct Common {
    /// Address to listen on; unless it is given, 127.0.0.1:8052 for aap and 127.0.0.1:5000 for eda.
    /// Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// A fault script, YAML or JSON; see docs/SIMULATORS.md of provider-testkit.
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
    /// Reads the script, says whether it is one, and ends.
    #[arg(long, requires = "faults")]
    check: bool,
    /// Where randomness starts, instead of the seed of the script's weather; without --faults it means
    /// every kind of trouble.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Writes what really happened, a line of JSON each; an old file is replaced.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

/// Why it does not serve.
struct Failure(u8, String);

impl Failure {
    /// Something that the caller said.
    fn usage(text: String) -> Self {
        Self(2, text)
    }

    /// Something that the machine said.
    fn io(text: String) -> Self {
        Self(1, text)
    }
}

/// YAML or JSON, with `{status: 502}` where a choice has a value.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, serde_norway::Error> {
    singleton_map_recursive::deserialize(serde_norway::Deserializer::from_str(text))
}

impl Common {
    /// The script, or an empty one.
    fn script<T: DeserializeOwned + Default>(&self) -> Result<T, Failure> {
        let Some(file) = &self.faults else {
            return Ok(T::default());
        };
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
        read(&text).map_err(|error| {
            Failure::usage(format!(
                "{shown} is no fault script: {error}; `provider-sim --help` shows one"
            ))
        })
    }

    /// Nothing but a check was asked for.
    fn is_checked(&self) -> bool {
        if self.check {
            println!("the script is fine");
        }
        self.check
    }

    fn journal(&self) -> Result<Option<journal::Journal>, Failure> {
        let open = |file: &PathBuf| {
            journal::Journal::create(file).map_err(|error| {
                Failure::io(format!("cannot write to {}: {error}", file.display()))
            })
        };
        self.journal.as_ref().map(open).transpose()
    }

    /// Where to listen: another port for each, so that both run side by side.
    fn listen(&self, usual_port: u16) -> SocketAddr {
        let usual = SocketAddr::from(([127, 0, 0, 1], usual_port));
        self.listen.unwrap_or(usual)
    }

    fn cannot_listen(at: SocketAddr, error: &std::io::Error) -> Failure {
        Failure::io(format!(
            "cannot listen on {at}: {error}; --listen 127.0.0.1:0 takes a free port"
        ))
    }

    /// Says that it serves, and under which seed.
    fn serves(url: &str, root: &str, seed: Option<u64>) {
        if let Some(seed) = seed {
            eprintln!("provider-sim: trouble by chance, seed {seed}");
        }
        println!("{url}");
        eprintln!("provider-sim: controls are under {root}/_sim/; stop with Ctrl-C");
    }
}

/// Done when somebody wants it to end; listens from the call on, so that a signal that follows the URL is
/// not missed.
fn stopped() -> impl Future<Output = ()> {
    #[cfg(unix)]
    let terminated = {
        use tokio::signal::unix::{SignalKind, signal};
        (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        )
    };
    async move {
        #[cfg(unix)]
        if let (Ok(mut terminated), Ok(mut interrupted)) = terminated {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            return;
        }
        let _ = tokio::signal::ctrl_c().await;
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Options::parse().what {
        What::Aap(options) => options.run().await,
        What::Eda(options) => options.run().await,
        What::Forward(options) => options.run().await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(code, text)) => {
            eprintln!("provider-sim: {text}");
            ExitCode::from(code)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

    use super::*;

    #[test]
    fn the_two_have_ports_of_their_own_and_a_flag_decides() {
        let at = |arguments: &[&str]| {
            let all = [&["provider-sim"], arguments].concat();
            let address = match Options::try_parse_from(all).unwrap().what {
                What::Aap(options) => options.listen(),
                What::Eda(options) => options.listen(),
                What::Forward(_) => unreachable!("not asked for"),
            };
            address.to_string()
        };
        assert_eq!(at(&["aap"]), "127.0.0.1:8052");
        for eda in [&["eda"][..], &["eda", "webhook"], &["eda", "stream"]] {
            assert_eq!(at(eda), "127.0.0.1:5000");
            let given = [eda, &["--listen", "127.0.0.1:9"]].concat();
            assert_eq!(at(&given), "127.0.0.1:9");
        }
    }
}
