//! Jobs by the operation token that they were launched with, or by a label.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provider_core::{
    ErrorKind, ExtraVars, FindRequest, JobRef, JobStatus, JobType, ProviderError, RelaunchQuery,
    Relaunched, Resource, clock,
};
use serde_json::Value;

use crate::scan::{self, NoObject};
use crate::search::{Answer, Launched, SLACK, Search, Want, Window};
use crate::walk::{Range, Step, Walk, no_row};
use crate::words::HIDDEN;
use crate::{AapProvider, TemplateName};

/// How long after its intent a launch may leave, as the engine has it.
const LEASE: Duration = Duration::from_secs(30);

impl AapProvider {
    pub(crate) async fn find(&self, query: &FindRequest) -> Result<Vec<JobStatus>, ProviderError> {
        let token = query.token.as_str();
        let (kind, target) = (query.resource.kind(), query.target.as_deref());
        let name = self.template_name(query.job_type, kind, target);
        let want = Want {
            tokens: vec![token.to_owned()],
            window: Window {
                from: query.not_before.map(earlier),
                to: query.not_after.map(|at| clock::add(at, SLACK)),
            },
            sent_by: query.not_after,
            templates: vec![name],
        };
        let found = Self::look(&self.launches, want).await?;
        let mut all = Vec::with_capacity(found.len());
        for (_, id, row) in found {
            let mut status = self.row_status(id, &row).await?;
            status.stray = !self.carries(&row, &query.resource, &query.extra_vars);
            all.push(status);
        }
        Ok(all)
    }

    /// Copies of our launches that people started.
    pub(crate) async fn relaunched(
        &self,
        query: &RelaunchQuery,
    ) -> Result<Vec<Relaunched>, ProviderError> {
        if query.tokens.is_empty() {
            return Ok(Vec::new());
        }
        let tokens = query.tokens.iter();
        let want = Want {
            tokens: tokens
                .clone()
                .map(|token| token.as_str().to_owned())
                .collect(),
            window: Window {
                from: query.not_before.map(earlier),
                to: None,
            },
            sent_by: None,
            templates: self.copied_from(query),
        };
        let found = Self::look(&self.relaunches, want).await?;
        let mut all = Vec::new();
        for (token, id, row) in found {
            match self.is_for(&row, &query.resource) {
                Ok(true) => {}
                // Somebody else's object was given our token.
                Ok(false) => continue,
                Err(NoObject) => return Err(no_row()),
            }
            let status = self.row_status(id, &row).await?;
            if let Some(token) = tokens.clone().find(|known| known.as_str() == token) {
                all.push(Relaunched::new(token.clone(), status));
            }
        }
        Ok(all)
    }

    /// The templates whose jobs a search for copies must see, each once: those of what was launched, or all that
    /// are used where that is not known.
    fn copied_from(&self, query: &RelaunchQuery) -> Vec<TemplateName> {
        let kind = query.resource.kind();
        let names: Vec<TemplateName> = if query.launched_for.is_empty() {
            let used = self.config.templates.uses(kind).into_iter();
            used.map(|used| self.placed(used.name)).collect()
        } else {
            let launched = query.launched_for.iter();
            // From what a newer version has launched its own types nobody here knows; a template that only
            // seems to be the one proves nothing, and its lack must not hold the object up.
            let known = launched.filter(|(job_type, _)| !matches!(job_type, JobType::Other(_)));
            known
                .map(|(job_type, target)| self.template_name(*job_type, kind, target.as_deref()))
                .collect()
        };
        let mut each = Vec::with_capacity(names.len());
        for name in names {
            if !each.contains(&name) {
                each.push(name);
            }
        }
        each
    }

    /// All jobs with this label, in the order of their launch, in whatever state: how jobs are
    /// found that something else launched on our behalf, a rulebook for one.
    ///
    /// With `holding`, only those whose variables hold this text. Jobs that a person relaunched carry
    /// the labels of the first job and are [listed apart](Self::find_relaunched_labelled). Reads only; may
    /// be repeated.
    ///
    /// # Errors
    /// When the controller's list cannot be read to its end.
    pub async fn find_labelled(
        &self,
        label: &str,
        holding: Option<&str>,
    ) -> Result<Vec<JobStatus>, ProviderError> {
        let found = self.labelled("manual", label, holding).await?;
        Ok(found.into_iter().map(|(_, status)| status).collect())
    }

    /// The same for jobs that people started as copies of those.
    ///
    /// # Errors
    /// When the controller's list cannot be read to its end.
    pub async fn find_relaunched_labelled(
        &self,
        label: &str,
        holding: Option<&str>,
    ) -> Result<Vec<JobStatus>, ProviderError> {
        let found = self.labelled("relaunch", label, holding).await?;
        Ok(found.into_iter().map(|(_, status)| status).collect())
    }

    /// The same as [`find_labelled`](Self::find_labelled), each with the number of its template, where that is
    /// told: a job of the same template repeats the one before it, a job of another one is a further step.
    ///
    /// # Errors
    /// When the controller's list cannot be read to its end.
    pub async fn find_labelled_by_template(
        &self,
        label: &str,
        holding: Option<&str>,
    ) -> Result<Vec<(Option<u64>, JobStatus)>, ProviderError> {
        self.labelled("manual", label, holding).await
    }

    /// Whether the controller has this job. A list without it is no proof: it leaves out what our user may
    /// not read, while the job itself says that it is hidden. Reads only; may be repeated.
    ///
    /// # Errors
    /// When that cannot be told, for want of the right to read the job for one.
    pub async fn has_job(&self, job: &JobRef) -> Result<bool, ProviderError> {
        match self.read(job).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn labelled(
        &self,
        launch_type: &str,
        label: &str,
        holding: Option<&str>,
    ) -> Result<Vec<(Option<u64>, JobStatus)>, ProviderError> {
        let _turn = self.monitor.turn().await;
        let admission = self.monitor.admit()?;
        let filter = [
            ("type", "job,workflow_job"),
            ("launch_type", launch_type),
            ("labels__name", label),
        ];
        let what = "the list of jobs";
        let mut walk = Walk::new(
            &self.client,
            &self.page_pace,
            what,
            &filter,
            Range::default(),
        );
        let mut found = Vec::new();
        let mut trouble = None;
        loop {
            match walk.next().await {
                Ok(Step::End) => break,
                Ok(Step::Unshown(id, lack)) => trouble = Some(crate::search::unshown(id, lack)),
                Ok(Step::Rows(rows)) => {
                    let now = walk.date.unwrap_or_else(|| self.clock.now());
                    found.extend(rows.into_iter().map(|row| (row, now)));
                }
                Err(error) => {
                    trouble = Some(error);
                    break;
                }
            }
        }
        admission.tell(trouble.as_ref().filter(|_| walk.begun.is_none()));
        let mut all = Vec::new();
        for (row, now) in found {
            // It may be the one that is looked for.
            let launched = Launched::read(&row, now).ok_or_else(no_row)?;
            let holds = |text| {
                launched
                    .variables
                    .as_deref()
                    .is_none_or(|vars| vars.contains(text))
            };
            if launched.launch_type == launch_type && holding.is_none_or(holds) {
                let id = row.id.ok_or_else(no_row)?;
                let status = self.row_status(id, &launched).await?;
                all.push((launched.body.template, status));
            }
        }
        match trouble {
            // What was found is there, whatever else is.
            Some(error) if all.is_empty() => Err(error),
            _ => Ok(all),
        }
    }

    /// What a search finds. Nothing is found only when there is nothing.
    async fn look(
        search: &Search,
        want: Want,
    ) -> Result<Vec<(String, u64, Arc<Launched>)>, ProviderError> {
        let Answer { rows, trouble } = search.ask(want).await;
        match trouble {
            Some(error) if rows.is_empty() => Err(error),
            _ => Ok(rows),
        }
    }

    async fn row_status(&self, id: u64, row: &Launched) -> Result<JobStatus, ProviderError> {
        // It is one that was looked for; without its name it is not absent.
        let kind = row.body.kind.ok_or_else(no_row)?;
        let mut job = JobRef::new(&self.config.name, kind.word(), id.to_string());
        if let Some(url) = row
            .url
            .as_deref()
            .and_then(|url| self.client.on_origin(url))
        {
            job = job.with_url(url);
        }
        self.judge(&row.body, job, row.date).await
    }

    /// Whether a job was given what its launch carried: our object in its place, and the caller's
    /// variables. A template that does not prompt for variables drops those that its survey does not know, or
    /// has values of its own for them. The variables of our configuration are no part of it: whoever launched
    /// may have had another one, and a template that dropped them would have dropped these as well.
    fn carries(&self, row: &Launched, resource: &Resource, extra_vars: &ExtraVars) -> bool {
        // Its token was read, or its row would not be here.
        let Some(variables) = &row.variables else {
            return true;
        };
        let path = self.config.envelope.path();
        let has = |(name, sent): (&String, &Value)| match scan::member(variables, name) {
            Ok(None) => false,
            // The token, or our object, is put over it.
            Ok(Some(_)) if *name == self.config.token_variable => true,
            // What cannot be read cannot be compared.
            Ok(Some(there)) => serde_json::from_str(there)
                .map_or(true, |there| is_as_sent(sent, &there, below(&path, name))),
            Err(NoObject) => true,
        };
        self.is_for(row, resource).unwrap_or(true) && extra_vars.expose().iter().all(has)
    }

    /// Whether the object in a job's variables is this one.
    fn is_for(&self, row: &Launched, resource: &Resource) -> Result<bool, NoObject> {
        let variables = row.variables.as_deref().ok_or(NoObject)?;
        let path = self.config.envelope.path();
        let Some(object) = scan::at_path(variables, &path)? else {
            return Ok(false);
        };
        // What is not sent cannot be compared.
        let sent = resource.projection(&self.config.projection);
        let sent = |name: &str| sent.get("metadata")?.get(name)?.as_str().map(str::to_owned);
        let there = |name: &str| -> Result<Option<String>, NoObject> {
            Ok(scan::at_path(object, &["metadata", name])?.and_then(scan::string))
        };
        for name in ["uid", "name", "namespace"] {
            let Some(ours) = sent(name).filter(|text| !text.is_empty()) else {
                continue;
            };
            if there(name)?.as_deref() != Some(ours.as_str()) {
                return Ok(false);
            }
            if name == "uid" {
                break;
            }
        }
        Ok(true)
    }
}

/// What is left of the way to our object below this member, where it is on it.
fn below<'a, 'b>(path: &'a [&'b str], name: &str) -> Option<&'a [&'b str]> {
    let (first, rest) = path.split_first()?;
    (*first == name).then_some(rest)
}

/// Whether a variable has the value that was sent, or one with more to it. `ours` is the way from it to our
/// object, which is put over what a caller has sent there.
fn is_as_sent(sent: &Value, there: &Value, ours: Option<&[&str]>) -> bool {
    match (sent, there) {
        _ if ours.is_some_and(<[&str]>::is_empty) => true,
        (_, Value::String(text)) if text == HIDDEN => true,
        (Value::Object(sent), Value::Object(there)) => sent.iter().all(|(name, sent)| {
            let inner = ours.and_then(|path| below(path, name));
            let there = there.get(name);
            there.is_some_and(|there| is_as_sent(sent, there, inner))
        }),
        _ if ours.is_some() => true,
        (Value::Array(sent), Value::Array(there)) => {
            let mut pairs = sent.iter().zip(there);
            sent.len() == there.len() && pairs.all(|(sent, there)| is_as_sent(sent, there, None))
        }
        // 4 and 4.0 are one number.
        (Value::Number(sent), Value::Number(there)) => {
            sent == there || sent.as_f64() == there.as_f64()
        }
        (sent, there) => sent == there,
    }
}

fn earlier(at: Timestamp) -> Timestamp {
    at.checked_sub(SLACK).unwrap_or(at)
}

/// The last moment at which a launch can have been carried out that was sent at this one.
pub(crate) fn carried_out_by(sent: Timestamp, window: Duration) -> Timestamp {
    clock::add(sent, window.saturating_add(LEASE))
}
