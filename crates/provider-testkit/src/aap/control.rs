//! `/_sim/…`: what a test in another process, or a person, tells the simulator.
//!
//! | request | does |
//! |---|---|
//! | `GET /_sim/journal` | what really ran, a list of [`Run`](super::Run) |
//! | `GET /_sim/counts` | requests by route |
//! | `POST /_sim/faults` | a [`ScriptedFault`]: `{"route": "launch", "fault": "drop_after", "times": 1}` |
//! | `DELETE /_sim/faults` | fair weather from now on |
//! | `POST /_sim/weather` | a [`Weather`] |
//! | `POST /_sim/max_page_size` | a number: no page has more rows (`MAX_PAGE_SIZE`) |
//! | `POST /_sim/jobs/ID/break` | a [`Broken`], `"in_lists"` or `"everywhere"`: every answer with its row is a 500; `null` mends it |
//! | `POST /_sim/costs` | [`Costs`] |
//! | `DELETE /_sim/costs` | as fast as this machine from now on |
//! | `GET /_sim/load` | what the workers have done since, [`Load`](super::Load) |
//! | `POST /_sim/templates` | adds a [`Template`] |
//! | `POST /_sim/plans` | a [`ScriptedPlan`]: `{"template": NAME, "plan": {…}}` |
//! | `POST /_sim/jobs/ID/end` | an [`Ending`], `"successful"` for one: the job ends so, now |
//! | `POST /_sim/jobs/ID/purge`, `…/reap`, `…/cancel` | what the clean-up, the reaper, a person does |

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::answer::Answer;
use super::fault::Weather;
use super::jobs::Broken;
use super::plan::Ending;
use super::routes::Asked;
use super::script::{ScriptedFault, ScriptedPlan};
use super::state::State;
use super::web::{Costs, Web};
use super::world::Template;

fn read<T: DeserializeOwned>(asked: &Asked<'_>) -> Result<T, Answer> {
    serde_json::from_slice(asked.body).map_err(|error| Answer::detail(400, &error.to_string()))
}

pub(super) fn answer(state: &mut State, asked: &Asked<'_>, now: Timestamp) -> Answer {
    state.jobs.advance(now);
    try_answer(state, asked, now).unwrap_or_else(|answer| answer)
}

fn try_answer(state: &mut State, asked: &Asked<'_>, now: Timestamp) -> Result<Answer, Answer> {
    let segments: Vec<&str> = asked
        .path
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let done = Ok(Answer::json(200, &json!({"done": true})));
    match (asked.method, segments.as_slice()) {
        ("GET", ["_sim", "journal"]) => {
            let runs: Vec<_> = state.jobs.journal.values().collect();
            Ok(Answer::json(
                200,
                &serde_json::to_value(runs).unwrap_or_default(),
            ))
        }
        ("GET", ["_sim", "counts"]) => Ok(Answer::json(
            200,
            &serde_json::to_value(&state.counts).unwrap_or(Value::Null),
        )),
        ("POST", ["_sim", "faults"]) => {
            read::<ScriptedFault>(asked)?.happen(state);
            done
        }
        ("DELETE", ["_sim", "faults"]) => {
            state.faults.clear();
            done
        }
        ("POST", ["_sim", "weather"]) => {
            state.faults.set_weather(Some(read::<Weather>(asked)?));
            done
        }
        ("POST", ["_sim", "costs"]) => {
            let costs = read::<Costs>(asked)?;
            state.set_costs(Some(costs));
            done
        }
        ("DELETE", ["_sim", "costs"]) => {
            state.set_costs(None);
            done
        }
        ("GET", ["_sim", "load"]) => {
            let load = state.web.as_deref().map(Web::load).unwrap_or_default();
            let load = serde_json::to_value(load).unwrap_or_default();
            Ok(Answer::json(200, &load))
        }
        ("POST", ["_sim", "templates"]) => {
            let id = state.jobs.add_template(read::<Template>(asked)?);
            Ok(Answer::json(200, &json!({ "id": id })))
        }
        ("POST", ["_sim", "plans"]) => {
            read::<ScriptedPlan>(asked)?.happen(state);
            done
        }
        ("POST", ["_sim", "max_page_size"]) => {
            state.max_page_size = read::<usize>(asked)?.max(1);
            done
        }
        ("POST", ["_sim", "jobs", id, what]) => {
            let id = id.parse().unwrap_or(0);
            let ok = match *what {
                "end" => state.jobs.end(id, &read::<Ending>(asked)?, now),
                "purge" => state.jobs.purge(id),
                "reap" => state.jobs.reap(id, now),
                "break" => {
                    let broken = read::<Option<Broken>>(asked)?;
                    state.jobs.break_row(id, broken)
                }
                "cancel" => {
                    state.jobs.cancel(id, now);
                    true
                }
                _ => false,
            };
            if ok {
                done
            } else {
                Err(Answer::detail(409, "the job is not in such a state"))
            }
        }
        _ => Err(Answer::detail(
            404,
            "no such control; see the documentation of provider-testkit",
        )),
    }
}
