//! A whole course of trouble, as data: what a program in another language hands over.

use serde::{Deserialize, Serialize};

use super::fault::{Fault, Faults, Weather};

/// What is to go wrong. All of it may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Faults of the next events, in this order.
    pub faults: Vec<ScriptedFault>,
    /// Trouble by chance, when the script has nothing to say.
    pub weather: Option<Weather>,
}

/// A fault of the next events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptedFault {
    /// What goes wrong.
    pub fault: Fault,
    /// How many events go well before.
    #[serde(default)]
    pub after: u32,
    /// How many meet it.
    #[serde(default = "one")]
    pub times: u32,
}

const fn one() -> u32 {
    1
}

impl ScriptedFault {
    pub(super) fn happen(&self, faults: &mut Faults) {
        faults.spare(self.after);
        faults.script(&self.fault, self.times);
    }
}

impl Script {
    pub(super) fn happen(self, faults: &mut Faults) {
        for fault in &self.faults {
            fault.happen(faults);
        }
        if let Some(weather) = self.weather {
            faults.set_weather(Some(weather));
        }
    }
}
