//! What goes wrong with the controller while jobs are watched.

use std::time::Duration;

use clap::ValueEnum;
use provider_testkit::aap::{AapSim, Fault, Route, Script, ScriptedFault, Weather};
use tokio::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trouble {
    /// Half of the lists are answered with 500, to the end.
    Half,
    /// Nothing is answered for five minutes, and websockets are closed.
    Down,
    /// Everything is answered with 429 and Retry-After: 20 for a minute.
    Quiet,
    /// Half of the websocket's events are lost, to the end.
    LostHints,
    /// The controller has five workers, and everything is launched at once; on simulated time, and about
    /// launches instead of ends.
    Slow,
}

impl Trouble {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Half => "half",
            Self::Down => "down",
            Self::Quiet => "quiet",
            Self::LostHints => "lost-hints",
            Self::Slow => "slow",
        }
    }

    /// When it begins, from the start of all jobs.
    pub(crate) fn begins(interval: Duration) -> Duration {
        interval * 3
    }

    pub(crate) async fn happen(self, sim: &AapSim, began: Instant, interval: Duration) {
        let begins = began + Self::begins(interval);
        tokio::time::sleep_until(begins).await;
        let lasts = match self {
            Self::Half => {
                let fault = ScriptedFault {
                    route: Route::Jobs,
                    fault: Fault::Status(500),
                    after: 0,
                    times: u32::MAX,
                    percent: 50,
                };
                sim.play(Script {
                    faults: vec![fault],
                    ..Script::default()
                });
                return;
            }
            // It has a course of its own.
            Self::Slow => return,
            Self::LostHints => {
                sim.weather(Some(Weather {
                    lost_events: 50,
                    ..Weather::default()
                }));
                return;
            }
            Self::Down => {
                sim.fault(Route::Any, &Fault::DropBefore, u32::MAX);
                sim.hang_up();
                Duration::from_secs(300)
            }
            Self::Quiet => {
                sim.fault(Route::Any, &Fault::RateLimited(20), u32::MAX);
                Duration::from_secs(60)
            }
        };
        tokio::time::sleep_until(begins + lasts).await;
        sim.clear_faults();
    }
}
