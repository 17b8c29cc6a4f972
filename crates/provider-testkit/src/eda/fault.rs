//! What goes wrong between a sender and the service, by script or by seed.

use std::collections::VecDeque;

use provider_core::lifecycle::{Entropy, SeededEntropy};
use serde::{Deserialize, Serialize};

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// The connection closes before the request is looked at.
    DropBefore,
    /// The event is taken, and the connection closes without an answer.
    DropAfter,
    /// The event is not taken, and no answer ever comes.
    HangBefore,
    /// The event is taken, and no answer ever comes.
    HangAfter,
    /// An answer of this status by something in front; the event is not taken.
    Status(u16),
    /// The event is taken, and something in front answers this status.
    StatusAfter(u16),
    /// 429 with `Retry-After` in seconds; the event is not taken.
    RateLimited(u64),
    /// 200 with a login page of this many bytes; the event is not taken.
    LoginPage(usize),
    /// A redirect of this status to this location; the event is not taken.
    Redirect(u16, String),
    /// The event is taken, and its answer breaks off.
    Truncated,
    /// The event is taken and answered as ever, and then lost.
    Lose,
    /// An answer of this status that repeats the request, credentials and body; the event is not
    /// taken.
    Echo(u16),
}

/// Probabilities of trouble, in percent; all randomness comes from the seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", default, deny_unknown_fields)]
pub struct Weather {
    /// Where randomness starts.
    pub seed: u64,
    /// An event that is taken without its sender being told.
    pub lost_answers: u8,
    /// An event that is not taken: closed connection, 5xx, 429, 404, login page, redirect.
    pub refusals: u8,
    /// A request that is never answered; half of them are taken.
    pub hangs: u8,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            seed: 1,
            lost_answers: 0,
            refusals: 0,
            hangs: 0,
        }
    }
}

impl Weather {
    /// Every kind of trouble at once.
    #[must_use]
    pub fn stormy(seed: u64) -> Self {
        Self {
            seed,
            lost_answers: 15,
            refusals: 25,
            hangs: 3,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    /// What the next events meet; nothing, for some.
    script: VecDeque<Option<Fault>>,
    weather: Option<(Weather, SeededEntropy)>,
}

impl Faults {
    pub(super) fn script(&mut self, fault: &Fault, times: u32) {
        for _ in 0..times {
            self.script.push_back(Some(fault.clone()));
        }
    }

    /// So many events go well.
    pub(super) fn spare(&mut self, times: u32) {
        for _ in 0..times {
            self.script.push_back(None);
        }
    }

    pub(super) fn set_weather(&mut self, weather: Option<Weather>) {
        self.weather = weather.map(|weather| {
            let dice = SeededEntropy::new(weather.seed);
            (weather, dice)
        });
    }

    pub(super) fn clear(&mut self) {
        self.script.clear();
        self.weather = None;
    }

    /// The fault of this request: the first in the script, else by chance.
    pub(super) fn next(&mut self) -> Option<Fault> {
        if let Some(fault) = self.script.pop_front() {
            return fault;
        }
        let (weather, dice) = self.weather.as_ref()?;
        let mut roll = u8::try_from(dice.next() % 100).unwrap_or(0);
        let mut falls = |percent: u8| {
            let hit = roll < percent;
            roll = roll.saturating_sub(percent);
            hit
        };
        if falls(weather.lost_answers) {
            return Some(match dice.next() % 5 {
                0 => Fault::DropAfter,
                1 => Fault::StatusAfter(500),
                2 => Fault::StatusAfter(502),
                3 => Fault::StatusAfter(504),
                _ => Fault::Truncated,
            });
        }
        if falls(weather.refusals) {
            return Some(match dice.next() % 9 {
                0 => Fault::DropBefore,
                1 => Fault::Status(500),
                2 => Fault::Status(502),
                3 => Fault::Status(503),
                4 => Fault::RateLimited(1 + dice.next() % 20),
                5 => Fault::Status(404),
                6 => Fault::LoginPage(2_000),
                7 => Fault::Redirect(302, "https://login.example.com/".to_owned()),
                _ => Fault::Redirect(308, "?again=1".to_owned()),
            });
        }
        if falls(weather.hangs) {
            return Some(if dice.next() % 2 == 0 {
                Fault::HangAfter
            } else {
                Fault::HangBefore
            });
        }
        None
    }
}
