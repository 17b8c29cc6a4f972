//! A script that goes wrong, made smaller for as long as it goes wrong in the same way.

use std::fmt::Write;

use crate::Outcome;
use crate::people::Deed;
use crate::script::{Mischief, Script};

/// The smallest script that was found, and how it goes wrong.
#[derive(Debug)]
pub(crate) struct Shrunk {
    pub(crate) script: Script,
    pub(crate) violation: String,
    /// How many worlds it took.
    pub(crate) runs: u32,
}

/// What went wrong, without names and numbers.
fn kind(violation: &str) -> String {
    let what = violation.lines().next().unwrap_or_default();
    let what = what.split(": ").next().unwrap_or_default();
    what.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// What a script can do without. Whatever a person reads of the rest has nothing to do with it.
const SIMPLER: [fn(&mut Script); 19] = [
    |script| fewer_replicas(script, 1),
    |script| fewer_replicas(script, 2),
    |script| script.weather.lost_answers = 0,
    |script| script.weather.late_commits = 0,
    |script| script.weather.refusals = 0,
    |script| script.weather.lost_events = 0,
    |script| script.weather.failures = 0,
    |script| script.weather.lying_cancels = 0,
    |script| script.weather.slow_cancels = 0,
    |script| script.trouble.refused = 0,
    |script| script.trouble.lost = 0,
    |script| script.trouble.astray = 0,
    |script| script.trouble.watches_closed = 0,
    |script| script.trouble.watches_gone = 0,
    |script| script.has_push = false,
    |script| script.clocks_differ = false,
    |script| script.workflow = false,
    |script| script.page = None,
    |script| script.costs = false,
];

/// What befalls the others befalls these.
fn fewer_replicas(script: &mut Script, most: usize) {
    script.replicas = script.replicas.min(most);
    for (_, mischief) in &mut script.mischief {
        if let Mischief::Crash(one) | Mischief::Start(one) = mischief {
            *one %= most;
        }
    }
}

struct Search<R> {
    best: Shrunk,
    kind: String,
    most: u32,
    run: R,
}

impl<R: FnMut(&Script) -> Outcome> Search<R> {
    /// Whether this one goes wrong in the same way; then it is the best so far.
    fn try_one(&mut self, script: Script) -> bool {
        if self.best.runs >= self.most {
            return false;
        }
        self.best.runs += 1;
        match (self.run)(&script) {
            Err(violation) if kind(&violation) == self.kind => {
                self.best.violation = violation;
                self.best.script = script;
                true
            }
            _ => false,
        }
    }

    /// Leaves out of a list whatever it can do without: halves first, single ones at last.
    fn thin<T: Clone>(&mut self, list: impl Fn(&mut Script) -> &mut Vec<T>) {
        let mut size = list(&mut self.best.script).len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            loop {
                let mut script = self.best.script.clone();
                let all = list(&mut script);
                if at >= all.len() {
                    break;
                }
                all.drain(at..(at + size).min(all.len()));
                if !self.try_one(script) {
                    at += size;
                }
            }
            size /= 2;
        }
    }

    fn round(&mut self) {
        self.thin(|script| &mut script.plans);
        self.thin(|script| &mut script.mischief);
        for simpler in SIMPLER {
            let mut script = self.best.script.clone();
            simpler(&mut script);
            if format!("{script:?}") != format!("{:?}", self.best.script) {
                self.try_one(script);
            }
        }
        for n in 0..self.best.script.plans.len() {
            for at in (0..self.best.script.plans[n].deeds.len()).rev() {
                let mut script = self.best.script.clone();
                let (_, deed) = script.plans[n].deeds.remove(at);
                // Without those there is no life, or no end of it.
                if !matches!(deed, Deed::Create | Deed::Delete) {
                    self.try_one(script);
                }
            }
        }
    }
}

/// Tries parts of the script, in this many worlds at most.
pub(crate) fn shrink(
    script: &Script,
    violation: &str,
    most: u32,
    run: impl FnMut(&Script) -> Outcome,
) -> Shrunk {
    let mut search = Search {
        best: Shrunk {
            script: script.clone(),
            violation: violation.to_owned(),
            runs: 0,
        },
        kind: kind(violation),
        most,
        run,
    };
    loop {
        let before = format!("{:?}", search.best.script);
        search.round();
        if search.best.runs >= most || before == format!("{:?}", search.best.script) {
            return search.best;
        }
    }
}

impl Shrunk {
    /// For a person: how to see it again, what is left of the world, and what happened in it.
    pub(crate) fn report(&self) -> String {
        let script = &self.script;
        let mut text = format!(
            "WORLD_SEED={} goes wrong; {} worlds later this much of it still does:\n",
            script.seed, self.runs
        );
        let crashes = script.mischief.iter();
        let crashes = crashes.filter(|(_, mischief)| matches!(mischief, Mischief::Crash(_)));
        let _ = writeln!(
            text,
            "{} objects, {} processes that crash {} times, {} other mischiefs; workflows: {}, push: {}, pages from \
             {} jobs on, clocks differ: {}, longest page {:?}, costs: {}\n{:?}\n{:?}\n{:?}",
            script.plans.len(),
            script.replicas,
            crashes.clone().count(),
            script.mischief.len() - crashes.count(),
            script.workflow,
            script.has_push,
            script.batch_from,
            script.clocks_differ,
            script.page,
            script.costs,
            script.weather,
            script.trouble,
            script.policy,
        );
        text + &self.violation
    }
}
