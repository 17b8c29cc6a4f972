//! `/_sim/…`: what a test in another process, or a person, tells the simulator.
//!
//! | request | does |
//! |---|---|
//! | `GET /_sim/journal` | what was really taken, a list of [`Event`] |
//! | `GET /_sim/counts` | `{"requests": 3}`, those that were not taken among them |
//! | `POST /_sim/faults` | a [`ScriptedFault`]: `{"fault": "drop_after", "times": 1}` |
//! | `DELETE /_sim/faults` | fair weather from now on |
//! | `POST /_sim/weather` | a [`Weather`] |
//! | `POST /_sim/work_off` | `{"events": 1}`: the rulebook works off so many of its queue |

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::fault::{Faults, Weather};
use super::journal::Event;
use super::script::ScriptedFault;
use super::server::{Asked, Outcome};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkOff {
    events: usize,
}

/// What the controls reach.
pub(super) struct Reach<'a> {
    pub faults: &'a mut Faults,
    pub journal: &'a [Event],
    pub queued: &'a mut usize,
    pub requests: u64,
}

fn read<T: DeserializeOwned>(asked: &Asked<'_>) -> Result<T, Outcome> {
    serde_json::from_slice(asked.body).map_err(|error| Outcome::detail(400, &error.to_string()))
}

pub(super) fn answer(reach: &mut Reach<'_>, asked: &Asked<'_>) -> Outcome {
    try_answer(reach, asked).unwrap_or_else(|outcome| outcome)
}

fn try_answer(reach: &mut Reach<'_>, asked: &Asked<'_>) -> Result<Outcome, Outcome> {
    let done = Ok(Outcome::json(200, &json!({"done": true})));
    match (asked.method, asked.path) {
        ("GET", "/_sim/journal") => Ok(Outcome::json(200, &json!(reach.journal))),
        ("GET", "/_sim/counts") => Ok(Outcome::json(200, &json!({"requests": reach.requests}))),
        ("POST", "/_sim/faults") => {
            read::<ScriptedFault>(asked)?.happen(reach.faults);
            done
        }
        ("DELETE", "/_sim/faults") => {
            reach.faults.clear();
            done
        }
        ("POST", "/_sim/weather") => {
            reach.faults.set_weather(Some(read::<Weather>(asked)?));
            done
        }
        ("POST", "/_sim/work_off") => {
            let events = read::<WorkOff>(asked)?.events;
            *reach.queued = reach.queued.saturating_sub(events);
            done
        }
        _ => Err(Outcome::detail(
            404,
            "no such control; see the documentation of provider-testkit",
        )),
    }
}
