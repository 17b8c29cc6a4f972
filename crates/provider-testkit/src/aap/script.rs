//! A whole course of trouble, as data: what a program in another language hands over.

use serde::{Deserialize, Serialize};

use super::fault::{Fault, Route, Weather};
use super::plan::RunPlan;
use super::state::State;
use super::web::Costs;

/// What is to go wrong, and what jobs are to do. All of it may be absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Faults of single requests, in this order.
    pub faults: Vec<ScriptedFault>,
    /// Trouble by chance, when the script has nothing to say.
    pub weather: Option<Weather>,
    /// The courses of the next jobs.
    pub plans: Vec<ScriptedPlan>,
    /// What requests cost, and how many are worked on at once.
    pub costs: Option<Costs>,
}

/// A fault of the next requests of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedFault {
    /// Of which requests.
    pub route: Route,
    /// What goes wrong.
    pub fault: Fault,
    /// How many such requests go well before.
    #[serde(default)]
    pub after: u32,
    /// How many meet it.
    #[serde(default = "one")]
    pub times: u32,
    /// How many of a hundred meet it, until so many have; the others go well.
    #[serde(default = "all")]
    pub percent: u8,
}

/// The course of the next job of a template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedPlan {
    /// The template's name.
    pub template: String,
    /// What the job does.
    pub plan: RunPlan,
}

const fn one() -> u32 {
    1
}

const fn all() -> u8 {
    100
}

impl ScriptedFault {
    pub(super) fn happen(&self, state: &mut State) {
        state.faults.spare(self.route, self.after);
        state
            .faults
            .script(self.route, &self.fault, self.times, self.percent);
    }
}

impl ScriptedPlan {
    pub(super) fn happen(self, state: &mut State) {
        let plans = state.plans.entry(self.template).or_default();
        plans.push_back(self.plan);
    }
}

impl Script {
    pub(super) fn happen(self, state: &mut State) {
        for fault in &self.faults {
            fault.happen(state);
        }
        if let Some(weather) = self.weather {
            state.faults.set_weather(Some(weather));
        }
        for plan in self.plans {
            plan.happen(state);
        }
        if self.costs.is_some() {
            state.set_costs(self.costs);
        }
    }
}
