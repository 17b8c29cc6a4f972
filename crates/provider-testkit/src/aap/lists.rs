//! Lists of jobs, templates and whatever else comes in pages.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer::Answer;
use super::jobs::Job;
use super::nodes::Other;
use super::query::{Context, NumberedTemplate, Page, Row, select};
use super::routes::{Asked, kind_of};
use super::rows::{self, View};
use super::state::State;

pub(super) fn list_values(
    state: &State,
    asked: &Asked<'_>,
    mut all: Vec<Value>,
) -> Result<Answer, Answer> {
    let after = asked.query.iter().find(|(name, _)| name == "id__gt");
    if let Some(after) = after.and_then(|(_, id)| id.parse::<u64>().ok()) {
        all.retain(|row| row.get("id").and_then(Value::as_u64) > Some(after));
    }
    let page = Page::cut(all, asked.path, &asked.query, state.max_page_size)?;
    Ok(Answer::page(page, |row| row))
}

fn of_type<R: Row>(rows: Vec<R>, asked: &Asked<'_>, kind: impl Fn(&R) -> &'static str) -> Vec<R> {
    let wanted = asked.query.iter().find(|(name, _)| name == "type");
    let Some((_, wanted)) = wanted else {
        return rows;
    };
    rows.into_iter()
        .filter(|row| wanted.split(',').any(|one| one == kind(row)))
        .collect()
}

pub(super) fn templates(
    state: &State,
    asked: &Asked<'_>,
    collection: &str,
    user: usize,
) -> Result<Answer, Answer> {
    let kind = kind_of(collection);
    let context = Context {
        jobs: &state.jobs,
        users: &state.users,
        unified: kind.is_none(),
    };
    let rows: Vec<NumberedTemplate<'_>> = state
        .jobs
        .templates
        .iter()
        .filter(|(_, template)| kind.is_none_or(|kind| template.kind == kind))
        .filter(|(id, _)| state.sees_template(**id, user))
        .map(|(id, template)| NumberedTemplate(*id, template))
        .collect();
    let rows = of_type(rows, asked, |row| row.1.kind.template_type());
    let page = Page::cut(
        select(rows, &asked.query, &context)?,
        asked.path,
        &asked.query,
        state.max_page_size,
    )?;
    Ok(Answer::page(page, |NumberedTemplate(id, template)| {
        rows::template(
            &state.jobs,
            id,
            template,
            state.may_launch(id, template, user),
        )
    }))
}

pub(super) fn jobs(
    state: &State,
    asked: &Asked<'_>,
    collection: &str,
    user: usize,
    now: Timestamp,
) -> Result<Answer, Answer> {
    let kind = kind_of(collection);
    let context = Context {
        jobs: &state.jobs,
        users: &state.users,
        unified: kind.is_none(),
    };
    let all = &state.jobs.jobs;
    let other = Other::of_collection(collection);
    let of_kind = |job: &&Job| {
        let is_job =
            other.is_none() && kind.is_none_or(|kind| job.kind == kind && job.other.is_none());
        let is_meant = is_job || (other.is_some() && job.other == other);
        is_meant && state.sees_job(job, user)
    };
    // Jobs that are asked for by number are looked up, so that a page costs the same among many.
    let named: Option<Vec<&Job>> = ids(asked).map(|ids| {
        let named = ids.iter().filter_map(|id| all.get(id));
        named.filter(of_kind).collect()
    });
    let rows = match named {
        Some(rows) if !rows.is_empty() => rows,
        // Without any row, the conditions could not be checked.
        _ => all.values().filter(of_kind).collect(),
    };
    let rows = of_type(rows, asked, |job| job.job_type());
    let view = if kind.is_none() {
        View::Unified
    } else {
        View::List
    };
    let page = Page::cut(
        select(rows, &asked.query, &context)?,
        asked.path,
        &asked.query,
        state.max_page_size,
    )?;
    if page.rows.iter().any(|job| job.broken.is_some()) {
        return Err(Answer::detail(500, "A server error has occurred."));
    }
    Ok(Answer::page(page, |job| {
        rows::job(&state.jobs, &state.users, job, view, now)
    }))
}

/// The numbers of a condition `id__in` that every row must meet.
fn ids(asked: &Asked<'_>) -> Option<BTreeSet<u64>> {
    let (_, ids) = asked.query.iter().find(|(name, _)| name == "id__in")?;
    ids.split(',').map(|id| id.parse().ok()).collect()
}

pub(super) fn stdout(asked: &Asked<'_>, text: &str) -> Answer {
    let get = |name: &str| {
        asked
            .query
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    };
    if get("format") != Some("json") {
        let mut answer = Answer::empty(200);
        answer
            .headers
            .push(("content-type", "text/plain".to_owned()));
        answer.body = text.as_bytes().to_vec();
        return answer;
    }
    let lines: Vec<&str> = text.lines().collect();
    let total = i64::try_from(lines.len()).unwrap_or(i64::MAX);
    let line = |name: &str, otherwise: i64| {
        let n: i64 = get(name).and_then(|n| n.parse().ok()).unwrap_or(otherwise);
        if n < 0 {
            (total + n).max(0)
        } else {
            n.min(total)
        }
    };
    let (start, end) = (line("start_line", 0), line("end_line", total));
    let content: String = lines
        .iter()
        .skip(usize::try_from(start).unwrap_or(0))
        .take(usize::try_from(end - start).unwrap_or(0))
        .flat_map(|line| [*line, "\n"])
        .collect();
    Answer::json(
        200,
        &json!({
            "range": {"start": start, "end": end, "absolute_end": total}, "content": content,
        }),
    )
}

impl<R: Row> Row for &R {
    const MODEL: &'static str = R::MODEL;

    fn cell(&self, field: &str, context: &Context<'_>) -> Option<super::query::Cell> {
        (**self).cell(field, context)
    }
}
