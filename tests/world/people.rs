//! What people do in a world, and when.

use std::time::Duration;

use serde_json::{Value, json};

use crate::dice::Dice;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Create,
    Edit,
    Delete,
    /// Asks for another try.
    Retry,
    /// Asks for a restart.
    Ask,
    /// Cancels its newest job at the controller.
    Cancel,
    /// Relaunches its newest job at the controller, where that has failed.
    Relaunch,
    /// Deletes its ended jobs at the controller.
    Purge,
    /// Says by the annotation how much is done without asking.
    Mode(&'static str),
    /// Another program writes the whole status, from a type without records.
    Overwrite,
    /// Takes the finalizers off by force.
    Strip,
}

/// One object, and all that is done with it.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) name: String,
    /// In the order of their times.
    pub(crate) deeds: Vec<(Duration, Deed)>,
}

impl Plan {
    pub(crate) fn new(n: u64, storm: Duration, dice: &Dice) -> Self {
        let second = |dice: &Dice, most: u64| Duration::from_secs(dice.below(most.max(1)));
        let most = storm.as_secs();
        let born = second(dice, most / 8);
        let dies = born + Duration::from_secs(1) + second(dice, most - born.as_secs());
        let mut deeds = vec![(born, Deed::Create), (dies, Deed::Delete)];
        let mut maybe = |percent: u64, deed: Deed| {
            if dice.percent(percent) {
                deeds.push((born + second(dice, most), deed));
            }
        };
        maybe(50, Deed::Edit);
        maybe(25, Deed::Edit);
        maybe(15, Deed::Retry);
        maybe(15, Deed::Ask);
        maybe(10, Deed::Ask);
        maybe(10, Deed::Cancel);
        maybe(10, Deed::Relaunch);
        maybe(8, Deed::Purge);
        maybe(2, Deed::Strip);
        maybe(10, Deed::Overwrite);
        for (percent, mode) in [
            (8, "paused"),
            (8, "manual"),
            (3, "unmanaged"),
            (3, "puased"),
        ] {
            if dice.percent(percent) {
                let from = born + second(dice, most);
                deeds.push((from, Deed::Mode(mode)));
                deeds.push((from + second(dice, 900), Deed::Mode("managed")));
            }
        }
        deeds.retain(|(at, _)| *at <= storm);
        deeds.sort_by_key(|(at, _)| *at);
        Self {
            name: format!("m{n}"),
            deeds,
        }
    }

    pub(crate) fn uid(&self) -> String {
        format!("uid-{}", self.name)
    }

    pub(crate) fn is_stripped(&self) -> bool {
        self.deeds.iter().any(|(_, deed)| *deed == Deed::Strip)
    }

    /// Whether nobody promises anything of what is left of it.
    pub(crate) fn is_let_alone(&self) -> bool {
        let unmanaged = Deed::Mode("unmanaged");
        self.is_stripped() || self.deeds.iter().any(|(_, deed)| *deed == unmanaged)
    }

    pub(crate) fn object(&self) -> Value {
        json!({
            "apiVersion": "example.com/v1", "kind": "Machine",
            "metadata": {
                "name": self.name, "namespace": "n", "uid": self.uid(), "generation": 1,
            },
            "spec": {"cores": 1},
        })
    }
}
