//! One search for all launches in doubt.
//!
//! The controller refuses to filter by `extra_vars` (AWX 24.6.1: 403, or 400 on the unified list), so the
//! jobs launched since are listed and compared here. Seventy launches whose answers were lost are seventy
//! questions about the same rows: those who ask while a walk is on its way share the next one, and a walk
//! reads only what is new since the one before it.

mod doubt;
mod index;
mod rights;
mod row;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use provider_core::clock::Elapsed as _;
use provider_core::{Clock, ProviderError};
use tokio::time::Instant;

pub(crate) use doubt::unshown;
pub(crate) use index::Window;
pub(crate) use row::Launched;
#[cfg(fuzzing)]
pub(crate) use row::is_carried;

use crate::TemplateName;
use crate::client::Client;
use crate::monitor::Monitor;
use crate::walk::Pace;
use index::{Fresh, Index, Means};
use rights::Rights;

/// How far the controller's clock may be from that of whoever launched: launches are refused when they
/// are further apart than a minute less.
pub(crate) const SLACK: Duration = Duration::from_secs(600);
/// Spans of jobs that are remembered.
const MAX_INDEXES: usize = 4;
/// So many walks in a row are not held back.
const AT_ONCE: u32 = 4;
/// A walk is followed by a pause of so many times its length, at most a poll interval.
const REST: u32 = 32;

/// What somebody looks for.
#[derive(Debug)]
pub(crate) struct Want {
    /// Launches with one of these tokens.
    pub(crate) tokens: Vec<String>,
    /// Created in this window.
    pub(crate) window: Window,
    /// The last moment, by our clock, at which the launch can have been sent.
    pub(crate) sent_by: Option<Timestamp>,
    /// From one of these templates.
    pub(crate) templates: Vec<TemplateName>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The rows, read just now, in the order of the launches.
    pub(crate) rows: Vec<(String, u64, Arc<Launched>)>,
    /// Why it cannot be said that there is no other.
    pub(crate) trouble: Option<ProviderError>,
}

/// Who waits, by number.
#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    places: BTreeMap<u64, Place>,
}

/// What somebody waits for, and what came of it.
#[derive(Debug)]
struct Place {
    want: Arc<Want>,
    answer: Option<Answer>,
}

/// A place among those who wait, until it is given up.
struct Ticket<'a> {
    waiting: &'a Mutex<Waiting>,
    number: u64,
}

impl Ticket<'_> {
    fn take(&self) -> Option<Answer> {
        lock(self.waiting)
            .places
            .get_mut(&self.number)?
            .answer
            .take()
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        lock(self.waiting).places.remove(&self.number);
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What walks have brought, and how soon the next one may go.
#[derive(Debug)]
struct Memory {
    indexes: Vec<Index>,
    rights: Rights,
    walks: u64,
    at_once: u32,
    /// When the last walk ended, by the timer and by the clock, and how long the next one waits.
    rested: Option<(Instant, Timestamp)>,
    rest: Duration,
}

/// The search of one provider for launches of one type.
pub(crate) struct Search {
    client: Arc<Client>,
    monitor: Monitor,
    clock: Arc<dyn Clock>,
    pace: Arc<Pace>,
    launch_type: &'static str,
    token_variable: String,
    margin: Duration,
    longest_rest: Duration,
    waiting: Mutex<Waiting>,
    memory: tokio::sync::Mutex<Memory>,
}

impl Search {
    pub(crate) fn new(
        launch_type: &'static str,
        config: &crate::AapConfig,
        client: Arc<Client>,
        monitor: Monitor,
        clock: Arc<dyn Clock>,
        pace: Arc<Pace>,
    ) -> Self {
        let std = crate::client::std_duration;
        Self {
            client,
            monitor,
            clock,
            pace,
            launch_type,
            token_variable: config.token_variable.clone(),
            // A `Date` has whole seconds.
            margin: std(config.timing.visibility_window) + Duration::from_secs(5),
            longest_rest: std(config.timing.poll_interval),
            waiting: Mutex::default(),
            memory: tokio::sync::Mutex::new(Memory {
                indexes: Vec::new(),
                rights: Rights::default(),
                walks: 0,
                at_once: AT_ONCE,
                rested: None,
                rest: Duration::ZERO,
            }),
        }
    }

    /// Looks, by a walk that begins after this question. One of those who wait goes; when it is given up,
    /// the next one goes.
    pub(crate) async fn ask(&self, want: Want) -> Answer {
        let ticket = {
            let mut waiting = lock(&self.waiting);
            waiting.last += 1;
            let number = waiting.last;
            let want = Arc::new(want);
            waiting.places.insert(number, Place { want, answer: None });
            Ticket {
                waiting: &self.waiting,
                number,
            }
        };
        let mut memory = self.memory.lock().await;
        if let Some(answer) = ticket.take() {
            return answer;
        }
        self.rest(&mut memory).await;
        // Those who ask at the same moment come along.
        tokio::task::yield_now().await;
        let asked: Vec<(u64, Arc<Want>)> = {
            let waiting = lock(&self.waiting);
            let open = waiting
                .places
                .iter()
                .filter(|(_, place)| place.answer.is_none());
            open.map(|(number, place)| (*number, Arc::clone(&place.want)))
                .collect()
        };
        let begun = Instant::now();
        let answers = self.walk(&mut memory, &asked).await;
        memory.rest = begun.elapsed().saturating_mul(REST).min(self.longest_rest);
        memory.rested = Some((Instant::now(), self.clock.now()));
        let mut waiting = lock(&self.waiting);
        for ((number, _), answer) in asked.iter().zip(answers) {
            if let Some(place) = waiting.places.get_mut(number) {
                place.answer = Some(answer);
            }
        }
        drop(waiting);
        drop(memory);
        ticket.take().unwrap_or_default()
    }

    /// Walks follow each other no faster than the controller can bear; the more it has to do, the more of
    /// those who wait share one.
    async fn rest(&self, memory: &mut Memory) {
        let Some((timer, at)) = memory.rested else {
            return;
        };
        // By whichever clock says more, as everywhere.
        let passed = timer.elapsed().max(self.clock.now().elapsed_since(at));
        match memory
            .rest
            .checked_sub(passed)
            .filter(|left| !left.is_zero())
        {
            None => memory.at_once = AT_ONCE,
            Some(_) if memory.at_once > 0 => memory.at_once -= 1,
            Some(left) => tokio::time::sleep(left).await,
        }
    }

    async fn walk(&self, memory: &mut Memory, asked: &[(u64, Arc<Want>)]) -> Vec<Answer> {
        memory.walks += 1;
        let admission = match self.monitor.admit() {
            Ok(admission) => admission,
            Err(error) => {
                return asked
                    .iter()
                    .map(|_| Answer {
                        trouble: Some(error.clone()),
                        ..Answer::default()
                    })
                    .collect();
            }
        };
        let groups = self.group(memory, asked);
        let mut answers: BTreeMap<usize, Answer> = BTreeMap::new();
        let (mut last, mut served) = (None, false);
        for (mut index, wants) in groups {
            let wanted = wants.iter().flat_map(|n| asked.get(*n));
            let wanted = wanted.flat_map(|(_, want)| want.tokens.iter().map(String::as_str));
            let means = self.means(wanted.collect());
            let mut fresh = Fresh::new();
            let mut trouble = match &last {
                None => index.walk(&means, &mut fresh).await.err(),
                Some(error) => Some(ProviderError::clone(error)),
            };
            // What is known of the jobs themselves is from some other moment.
            if index.has_read {
                let refreshed = index.refresh(&means, &mut fresh).await;
                trouble = trouble.or(refreshed.err());
            }
            let wants: Vec<(usize, &Arc<Want>)> = wants
                .into_iter()
                .filter_map(|n| Some((n, &asked.get(n)?.1)))
                .collect();
            let sights = self.sights(memory, &mut index, &wants).await;
            if let Err(error) = &sights {
                trouble.get_or_insert(error.clone());
            }
            let mut open = Vec::new();
            for (n, want) in wants {
                let answer = found(&index, want, &fresh);
                if answer.rows.is_empty() && answer.trouble.is_none() {
                    open.push((n, want));
                } else {
                    answers.insert(n, answer);
                }
            }
            for (n, want) in open {
                let why = match &trouble {
                    Some(error) => Some(error.clone()),
                    None => {
                        let doubt = self.doubt(memory, &mut index, want).await;
                        doubt.or_else(|| unseen(sights.as_ref().ok()?, want))
                    }
                };
                answers.insert(
                    n,
                    Answer {
                        trouble: why,
                        ..Answer::default()
                    },
                );
            }
            served |= index.has_read;
            last = last.or(trouble);
            index.used = memory.walks;
            memory.indexes.push(index);
        }
        admission.tell(last.as_ref().filter(|_| !served));
        memory
            .indexes
            .sort_by_key(|index| std::cmp::Reverse(index.used));
        memory.indexes.truncate(MAX_INDEXES);
        let all = 0..asked.len();
        all.map(|n| answers.remove(&n).unwrap_or_default())
            .collect()
    }

    fn means<'a>(&'a self, wanted: HashSet<&'a str>) -> Means<'a> {
        Means {
            client: &self.client,
            pace: &self.pace,
            clock: &*self.clock,
            launch_type: self.launch_type,
            token_variable: &self.token_variable,
            margin: self.margin,
            wanted,
        }
    }

    /// Who looks where. Launches that can still turn up are looked for up to the present, in one span; old
    /// ones where they were, or a search for one of yesterday would go through all that came since.
    fn group(&self, memory: &mut Memory, asked: &[(u64, Arc<Want>)]) -> Vec<(Index, Vec<usize>)> {
        let now = self.clock.now();
        let mut spans: Vec<(Window, Vec<usize>)> = Vec::new();
        for (n, (_, want)) in asked.iter().enumerate() {
            let mut window = want.window;
            // The slack for clocks has been added to it.
            window.to = window.to.filter(|to| *to < now);
            let mut wants = vec![n];
            // Spans that meet become one.
            spans.retain_mut(|(known, others)| {
                let meets = known.meets(window);
                if meets {
                    window = known.joined(window);
                    wants.append(others);
                }
                !meets
            });
            spans.push((window, wants));
        }
        let mut groups = Vec::new();
        for (window, wants) in spans {
            let holds = |index: &Index| index.window.holds(window);
            let index = match memory.indexes.iter().position(holds) {
                Some(at) => memory.indexes.swap_remove(at),
                None => Index::new(window),
            };
            // Whose jobs were not proved to be seen may have been passed by; and what lies before the span
            // is not worth reading on from.
            let names = || wants.iter().filter_map(|n| asked.get(*n));
            let mut names = names().flat_map(|(_, want)| &want.templates);
            let is_old = index
                .since()
                .zip(window.from)
                .is_some_and(|(since, from)| since < from);
            let index = if !index.is_empty()
                && (is_old || !names.all(|name| index.proven.contains(name)))
            {
                Index::new(window)
            } else {
                index
            };
            groups.push((index, wants));
        }
        groups
    }

    /// Whether we see the jobs that are looked for. What is proven is proven of every walk of the index.
    async fn sights(
        &self,
        memory: &mut Memory,
        index: &mut Index,
        wants: &[(usize, &Arc<Want>)],
    ) -> Result<HashMap<TemplateName, rights::Sight>, ProviderError> {
        // A walk that has read nothing has passed nothing by.
        if !index.has_read {
            return Ok(HashMap::new());
        }
        let proven = std::mem::take(&mut index.proven);
        let was_empty = proven.is_empty();
        let mut names: Vec<TemplateName> = proven.iter().cloned().collect();
        for name in wants.iter().flat_map(|(_, want)| &want.templates) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        let sent_by = wants.iter().filter_map(|(_, want)| want.sent_by).min();
        let look = memory
            .rights
            .look(&self.client, &*self.clock, &names, sent_by);
        let sights = look.await?;
        let seen = |name: &TemplateName| {
            !matches!(sights.get(name), None | Some(rights::Sight::Missing(_)))
        };
        index.proven = names
            .into_iter()
            .filter(|name| seen(name) && (was_empty || proven.contains(name)))
            .collect();
        Ok(sights)
    }
}

fn found(index: &Index, want: &Want, fresh: &Fresh) -> Answer {
    let mut answer = Answer::default();
    for token in &want.tokens {
        let known = match index.known(token) {
            Ok(known) => known,
            Err(error) => {
                answer.trouble = Some(error);
                continue;
            }
        };
        let read = fresh.get(token.as_str());
        for id in known {
            if let Some(row) = read.and_then(|rows| rows.get(id)) {
                answer.rows.push((token.clone(), *id, Arc::clone(row)));
            }
        }
    }
    answer.rows.sort_by_key(|(_, id, _)| *id);
    answer
}

fn unseen(sights: &HashMap<TemplateName, rights::Sight>, want: &Want) -> Option<ProviderError> {
    let missing = |name: &TemplateName| match sights.get(name) {
        Some(sight) => sight.covers(want.sent_by).err(),
        None => None,
    };
    want.templates.iter().find_map(missing)
}
