//! Tries a configuration out without launching anything.
//!
//!     AAP_URL=https://aap.example.com AAP_TOKEN=… cargo run --example preflight -- --kind ComputeInstance

mod support;

use std::process::ExitCode;

use clap::Parser;
use support::{Backend, Failure, Options};

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    options: Options,
    /// A kind of objects whose templates are looked for; may be given several times.
    #[arg(long = "kind", default_value = "ComputeInstance")]
    kinds: Vec<String>,
}

#[allow(clippy::print_stdout, reason = "a program speaks")]
async fn run(flags: &Flags) -> Result<(), Failure> {
    let backend = Backend::start(&flags.options).await?;
    let report = backend.provider.preflight(&flags.kinds).await;
    if flags.options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    if report.is_ok() {
        Ok(())
    } else {
        Err("the configuration cannot work; see the errors above".into())
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    support::exit("preflight", run(&Flags::parse()).await)
}
