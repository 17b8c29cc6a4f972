//! An example's controller as a process of its own: this test program, started again. So whatever builds
//! the test has built the controller, and never an older one.

use std::process::Stdio;
use tokio::process::{Child, Command};

const ARGUMENTS: &str = "CONTROLLER_ARGUMENTS";

/// Starts this program as the controller: as its test `the_controller`, which gets these arguments.
pub(crate) fn start(arguments: &[String]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_controller", "--nocapture"])
        .env(ARGUMENTS, serde_json::to_string(arguments).unwrap())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The command line of the controller; none when this is the test itself.
pub(crate) fn command_line() -> Option<Vec<String>> {
    let arguments = std::env::var(ARGUMENTS).ok()?;
    let mut line = vec!["controller".to_owned()];
    line.extend(serde_json::from_str::<Vec<String>>(&arguments).unwrap());
    Some(line)
}
