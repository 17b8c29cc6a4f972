//! Rows that may be the one that is looked for.

use provider_core::{Effect, ErrorKind, ProviderError};

use super::index::{Index, WHAT, Window, moment};
use super::row::{Doubt, Why};
use super::{Memory, Search, Want};
use crate::walk::{ByItself, Lack, Range, Walk};

impl Search {
    /// A row that may be the one that is looked for, for all that can be told of it.
    pub(super) async fn doubt(
        &self,
        memory: &Memory,
        index: &mut Index,
        want: &Want,
    ) -> Option<ProviderError> {
        let mut templates = Vec::new();
        for name in &want.templates {
            // Of a template that nobody knows, every row may be.
            let Some(id) = memory.rights.id(name) else {
                templates.clear();
                break;
            };
            templates.push(id);
        }
        for (id, doubt) in &index.doubts {
            let may_carry = want.tokens.iter().any(|token| doubt.why.may_carry(token));
            let in_time = doubt.created.is_none_or(|at| want.window.contains(at));
            let of_ours = match doubt.template {
                Some(template) => templates.is_empty() || templates.contains(&template),
                None => true,
            };
            if !may_carry || !in_time || !of_ours {
                continue;
            }
            if matches!(doubt.why, Why::Lacking(_))
                && !self.may_be_of(*id, &templates, want.window).await
            {
                continue;
            }
            return Some(in_doubt(*id, doubt));
        }
        None
    }

    /// Whether a row that cannot be shown is of this time, and one of these templates, or of one that was
    /// deleted: filters come before what fails, so that the list is empty, and can be shown, when it is of
    /// another. Without templates it may be of any.
    async fn may_be_of(&self, id: u64, templates: &[u64], window: Window) -> bool {
        let ids: Vec<String> = templates.iter().map(u64::to_string).collect();
        let ids = ids.join(",");
        let (from, to) = (window.from.map(moment), window.to.map(moment));
        let mut time = Vec::new();
        time.extend(from.as_deref().map(|from| ("created__gte", from)));
        time.extend(to.as_deref().map(|to| ("created__lte", to)));
        let of: &[_] = if templates.is_empty() {
            &[None]
        } else {
            &[
                Some(("unified_job_template__in", ids.as_str())),
                Some(("unified_job_template__isnull", "true")),
            ]
        };
        for filter in of {
            let mut filter: Vec<(&str, &str)> = filter.iter().copied().collect();
            filter.extend(&time);
            let mut walk = Walk::new(&self.client, &self.pace, WHAT, &filter, Range::only(id));
            if !matches!(walk.row().await, Ok(ByItself::Gone)) {
                return true;
            }
        }
        false
    }
}

/// A row that cannot be had.
pub(crate) fn unshown(id: u64, lack: Lack) -> ProviderError {
    let doubt = Doubt {
        why: Why::Lacking(lack),
        template: None,
        created: None,
    };
    in_doubt(id, &doubt)
}

fn in_doubt(id: u64, doubt: &Doubt) -> ProviderError {
    ProviderError::new(
        Effect::Unreadable,
        ErrorKind::Protocol,
        format!(
            "job {id} of the controller's list may be the one that is looked for: {}",
            doubt.why.words()
        ),
    )
    .with_advice(doubt.why.advice())
}
