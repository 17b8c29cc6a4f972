//! What walks through a span of jobs have brought: the tokens of all rows, so that the next walk reads only
//! what is new.
//!
//! A job has its id, and its `created`, some time before its transaction ends and others see it; rows with
//! higher ids may be seen before it. So each walk looks once more at what was created within the
//! [margin](Memory::margin) before the one before it, leaving out the rows that it knows by name: such a
//! page is empty nearly always, and costs the controller next to nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provider_core::clock::Elapsed as _;
use provider_core::{Clock, Effect, ErrorKind, ProviderError, clock};
use tokio::time::Instant;

use super::row::{Carried, Doubt, Launched, Why, carried};
use crate::TemplateName;
use crate::client::Client;
use crate::walk::{ByItself, Pace, Range, Row, Step, Walk, by_itself, endless, no_row};

/// How many ids a question leaves out: a URL has its bounds.
const MAX_LEFT_OUT: usize = 200;
/// Bounds of what is kept.
const MAX_KEPT: usize = 50_000;
const MAX_UNSHOWN: usize = 50;
/// How long one walk may take; the next one goes on where it was.
const MAX_WALK: Duration = Duration::from_secs(120);

/// A moment as filters of the controller read it.
pub(super) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

pub(super) const WHAT: &str = "the list of jobs";

/// From when to when jobs were created, by the server's clock; without an end, up to the present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
}

impl Window {
    pub(super) fn holds(self, other: Self) -> bool {
        let from = self
            .from
            .is_none_or(|from| other.from.is_some_and(|at| from <= at));
        from && self.to.is_none_or(|to| other.to.is_some_and(|at| at <= to))
    }

    pub(super) fn contains(self, at: Timestamp) -> bool {
        self.from.is_none_or(|from| from <= at) && self.to.is_none_or(|to| at <= to)
    }

    pub(super) fn meets(self, other: Self) -> bool {
        let before =
            |a: Self, b: Self| matches!((a.to, b.from), (Some(to), Some(from)) if to < from);
        !before(self, other) && !before(other, self)
    }

    pub(super) fn joined(self, other: Self) -> Self {
        Self {
            from: self.from.and_then(|from| other.from.map(|at| from.min(at))),
            to: self.to.and_then(|to| other.to.map(|at| to.max(at))),
        }
    }
}

/// With what a walk goes.
pub(super) struct Means<'a> {
    pub(super) client: &'a Client,
    pub(super) pace: &'a Pace,
    pub(super) clock: &'a dyn Clock,
    pub(super) launch_type: &'static str,
    pub(super) token_variable: &'a str,
    /// How long a row may stay unseen after its `created`.
    pub(super) margin: Duration,
    /// Rows with these tokens are kept as they are.
    pub(super) wanted: HashSet<&'a str>,
}

/// The rows that a walk has read and that were waited for, by their tokens.
pub(super) type Fresh = HashMap<String, BTreeMap<u64, Arc<Launched>>>;

#[derive(Debug)]
pub(super) struct Index {
    pub(super) window: Window,
    tokens: HashMap<Box<str>, Vec<u64>>,
    kept: usize,
    /// Tokens of rows that have no name: whoever looks for one is told so.
    nameless: HashSet<Box<str>>,
    pub(super) doubts: BTreeMap<u64, Doubt>,
    /// Rows without an id of which nobody can say whose they are.
    is_anyones: bool,
    /// Rows that were young when they were read, and when they were created.
    young: BTreeMap<u64, Timestamp>,
    last: u64,
    /// All that could be seen then has been seen, as far as [`last`](Self::last).
    since: Option<Timestamp>,
    /// Whether that was the end.
    is_whole: bool,
    /// The templates whose jobs we have seen in every walk, as was proved afterwards each time.
    pub(super) proven: HashSet<TemplateName>,
    pub(super) used: u64,
    /// Whether the last walk has read anything.
    pub(super) has_read: bool,
}

impl Index {
    pub(super) fn new(window: Window) -> Self {
        Self {
            window,
            tokens: HashMap::new(),
            kept: 0,
            nameless: HashSet::new(),
            doubts: BTreeMap::new(),
            is_anyones: false,
            young: BTreeMap::new(),
            last: 0,
            since: None,
            is_whole: false,
            proven: HashSet::new(),
            used: 0,
            has_read: false,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last == 0 && self.since.is_none()
    }

    pub(super) fn since(&self) -> Option<Timestamp> {
        self.since
    }

    pub(super) fn known(&self, token: &str) -> Result<&[u64], ProviderError> {
        if self.nameless.contains(token) || self.is_anyones {
            return Err(no_row());
        }
        Ok(self.tokens.get(token).map_or(&[], Vec::as_slice))
    }

    /// Reads those rows with wanted tokens again that are known from before. What is not shown any more is
    /// forgotten: it is gone, or hidden.
    pub(super) async fn refresh(
        &mut self,
        means: &Means<'_>,
        fresh: &mut Fresh,
    ) -> Result<(), ProviderError> {
        let mut stale = BTreeSet::new();
        for token in &means.wanted {
            let read = fresh.get(*token);
            let known = self.tokens.get(*token).into_iter().flatten();
            let known = known.filter(|id| !read.is_some_and(|rows| rows.contains_key(*id)));
            stale.extend(known);
        }
        let stale: Vec<u64> = stale.into_iter().collect();
        for chunk in stale.chunks(MAX_LEFT_OUT) {
            let ids: Vec<String> = chunk.iter().map(u64::to_string).collect();
            let ids = ids.join(",");
            let filter = [("id__in", ids.as_str())];
            let mut walk = Walk::new(means.client, means.pace, WHAT, &filter, Range::default());
            let mut missing: BTreeSet<u64> = chunk.iter().copied().collect();
            // All that can come has come when all have: there is no need to see the end.
            while !missing.is_empty() {
                let rows = match walk.next().await? {
                    Step::End => break,
                    Step::Rows(rows) => rows,
                    Step::Unshown(id, _) => match by_itself(means.client, id).await? {
                        ByItself::Row(row) => vec![row],
                        ByItself::Gone => continue,
                        ByItself::Unreadable(lack) => return Err(super::unshown(id, lack)),
                    },
                };
                self.has_read = true;
                let date = walk.date.unwrap_or_else(|| means.clock.now());
                for row in &rows {
                    missing.retain(|id| row.id != Some(*id));
                    self.note(means, row, fresh, date);
                }
                self.kept = self.kept.saturating_sub(rows.len());
            }
            for known in self.tokens.values_mut() {
                known.retain(|id| !missing.contains(id));
            }
        }
        Ok(())
    }

    /// Reads what is new; what could be read is known afterwards, also after an error.
    pub(super) async fn walk(
        &mut self,
        means: &Means<'_>,
        fresh: &mut Fresh,
    ) -> Result<(), ProviderError> {
        // What has no name is not known again, so all is read anew.
        if self.kept >= MAX_KEPT || self.is_anyones || !self.nameless.is_empty() {
            *self = Self {
                proven: std::mem::take(&mut self.proven),
                used: self.used,
                ..Self::new(self.window)
            };
        }
        self.has_read = false;
        let until = Instant::now() + MAX_WALK;
        self.look_at_unshown(means, fresh).await?;
        let over = |at: Option<Timestamp>| Some(clock::add(self.window.to?, means.margin) < at?);
        if self.is_whole && over(self.since) == Some(true) {
            // All that ever will be there has been read.
            self.has_read = true;
            return Ok(());
        }
        let mut begun = None;
        let late = self
            .since
            .map(|since| since.checked_sub(means.margin).unwrap_or(Timestamp::MIN));
        if let Some(late) = late {
            self.young.retain(|_, created| *created >= late);
            let young: Vec<u64> = self.young.keys().copied().collect();
            let mut after = 0;
            let chunks = young.chunks(MAX_LEFT_OUT);
            let count = chunks.len().max(1);
            let mut chunks = chunks.map(<[u64]>::to_vec).collect::<Vec<_>>();
            if chunks.is_empty() {
                chunks.push(Vec::new());
            }
            for (n, but) in chunks.into_iter().enumerate() {
                let end = match (n + 1 == count, self.is_whole) {
                    (true, true) => None,
                    (true, false) => Some(self.last),
                    (false, _) => but.last().copied(),
                };
                let range = Range {
                    after,
                    until: end,
                    but,
                };
                after = end.unwrap_or(after);
                // What was passed by is not known to be read when this breaks off.
                let was_whole = std::mem::replace(&mut self.is_whole, false);
                self.read(means, range, Some(late), fresh, until, &mut begun)
                    .await?;
                self.is_whole = was_whole;
            }
            if self.is_whole {
                self.since = begun.or(self.since);
                return Ok(());
            }
        }
        let range = Range {
            after: self.last,
            ..Range::default()
        };
        let read = self
            .read(means, range, None, fresh, until, &mut begun)
            .await;
        if begun.is_some() && (self.last > 0 || read.is_ok()) {
            self.since = begun;
        }
        self.is_whole = read.is_ok();
        read
    }

    async fn read(
        &mut self,
        means: &Means<'_>,
        range: Range,
        created_from: Option<Timestamp>,
        fresh: &mut Fresh,
        until: Instant,
        begun: &mut Option<Timestamp>,
    ) -> Result<(), ProviderError> {
        let from = created_from.max(self.window.from).map(moment);
        let to = self.window.to.map(moment);
        let mut filter = vec![
            ("type", "job,workflow_job"),
            ("launch_type", means.launch_type),
        ];
        filter.extend(from.as_deref().map(|from| ("created__gte", from)));
        filter.extend(to.as_deref().map(|to| ("created__lte", to)));
        let asked = means.clock.now();
        let mut walk = Walk::new(means.client, means.pace, WHAT, &filter, range);
        loop {
            let step = walk.next().await?;
            self.has_read = true;
            // Without a clock of the server's, ours counts, which may be ahead of it.
            let date = walk.date.unwrap_or_else(|| means.clock.now());
            begun.get_or_insert(
                walk.begun
                    .unwrap_or_else(|| asked.checked_sub(super::SLACK).unwrap_or(asked)),
            );
            match step {
                Step::Rows(rows) => {
                    for row in &rows {
                        self.note(means, row, fresh, date);
                    }
                }
                Step::Unshown(id, _) => self.unshown(means, id, fresh, date).await?,
                Step::End => return Ok(()),
            }
            if self.kept >= MAX_KEPT {
                return Err(endless(WHAT, self.kept));
            }
            if Instant::now() >= until {
                return Err(unfinished(self.kept));
            }
        }
    }

    fn note(&mut self, means: &Means<'_>, row: &Row, fresh: &mut Fresh, date: Timestamp) {
        self.kept += 1;
        let launched = Launched::read(row, date);
        let created = launched.as_ref().and_then(|row| row.body.created);
        let Some(id) = row.id else {
            self.nameless(means, launched.as_ref());
            return;
        };
        self.last = self.last.max(id);
        self.doubts.remove(&id);
        if created.is_none_or(|at| date.elapsed_since(at) <= means.margin) {
            self.young.insert(id, created.unwrap_or(date));
        }
        let variables = launched.as_ref().and_then(|row| row.variables.as_deref());
        let template = launched.as_ref().and_then(|row| row.body.template);
        // A server that does not know the filter shows others too.
        if let Some(row) = &launched
            && !row.launch_type.is_empty()
            && row.launch_type != means.launch_type
        {
            return;
        }
        let why = match carried(variables, means.token_variable) {
            Carried::Nothing => return,
            Carried::Hidden => Why::Hidden,
            Carried::Unreadable => Why::unreadable(variables),
            Carried::Token(token) => {
                if launched.as_ref().and_then(|row| row.body.kind).is_none() {
                    self.nameless.insert(token.into());
                    return;
                }
                let known = self.tokens.entry(token.as_str().into()).or_default();
                if !known.contains(&id) {
                    known.push(id);
                }
                if let (true, Some(row)) = (means.wanted.contains(token.as_str()), launched) {
                    fresh.entry(token).or_default().insert(id, Arc::new(row));
                }
                return;
            }
        };
        let doubt = Doubt {
            why,
            template,
            created,
        };
        self.doubts.insert(id, doubt);
    }

    /// Without its name a job that was looked for is not absent.
    fn nameless(&mut self, means: &Means<'_>, row: Option<&Launched>) {
        let variables = row.and_then(|row| row.variables.as_deref());
        match carried(variables, means.token_variable) {
            Carried::Nothing => {}
            Carried::Token(token) => {
                self.nameless.insert(token.into());
            }
            Carried::Hidden | Carried::Unreadable => self.is_anyones = true,
        }
    }

    async fn unshown(
        &mut self,
        means: &Means<'_>,
        id: u64,
        fresh: &mut Fresh,
        date: Timestamp,
    ) -> Result<(), ProviderError> {
        self.last = self.last.max(id);
        match by_itself(means.client, id).await? {
            ByItself::Row(row) => self.note(means, &row, fresh, date),
            ByItself::Gone => {}
            ByItself::Unreadable(lack) => {
                self.young.insert(id, date);
                let doubt = Doubt {
                    why: Why::Lacking(lack),
                    template: None,
                    created: None,
                };
                self.doubts.insert(id, doubt);
                let unshown = self.unshown_ids();
                if unshown.len() > MAX_UNSHOWN {
                    return Err(too_many(id));
                }
            }
        }
        Ok(())
    }

    fn unshown_ids(&self) -> BTreeSet<u64> {
        let unshown =
            |(id, doubt): (&u64, &Doubt)| matches!(doubt.why, Why::Lacking(_)).then_some(*id);
        self.doubts.iter().filter_map(unshown).collect()
    }

    /// What could not be shown may be, by now.
    async fn look_at_unshown(
        &mut self,
        means: &Means<'_>,
        fresh: &mut Fresh,
    ) -> Result<(), ProviderError> {
        for id in self.unshown_ids() {
            let filter = [("launch_type", means.launch_type)];
            let mut walk = Walk::new(means.client, means.pace, WHAT, &filter, Range::only(id));
            match walk.row().await? {
                ByItself::Row(row) => {
                    let date = walk.date.unwrap_or_else(|| means.clock.now());
                    self.note(means, &row, fresh, date);
                }
                ByItself::Gone => {
                    self.doubts.remove(&id);
                }
                ByItself::Unreadable(lack) => {
                    if let Some(doubt) = self.doubts.get_mut(&id) {
                        doubt.why = Why::Lacking(lack);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The next walk goes on where this one was.
fn unfinished(rows: usize) -> ProviderError {
    ProviderError::new(
        Effect::Unreadable,
        ErrorKind::Unavailable,
        format!("{WHAT} takes long to read: {rows} rows so far; the search goes on"),
    )
    .with_advice("check the load of the controller")
}

fn too_many(id: u64) -> ProviderError {
    ProviderError::new(
        Effect::Unreadable,
        ErrorKind::Protocol,
        format!("the controller cannot show more than {MAX_UNSHOWN} jobs, {id} among them"),
    )
    .with_advice("see in the controller's log why it cannot show them")
}
