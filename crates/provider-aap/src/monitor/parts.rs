//! A page that cannot be had is asked for in parts.
//!
//! A controller that cannot show one row answers 500 to every list with it: the other jobs of the page are
//! not to be kept from being seen by it, nor is the controller to be taken for one that does not serve.

use std::sync::Arc;

use provider_core::{ErrorKind, ProviderError};

use crate::walk::is_about_the_page;
use crate::words::Lasting;

use super::{Rows, Source};

/// So many pages with a job fail in a row before they are asked for in parts: most failures pass.
pub(super) const SUSPICIOUS: u8 = 2;
/// How many questions one page may become: eight rows of two hundred that cannot be shown take as many.
const MOST_PARTS: usize = 100;

/// Whether it may be what was asked for that cannot be had, and nothing else.
pub(super) fn may_be_the_row(error: &ProviderError) -> bool {
    is_about_the_page(error) && error.kind() != ErrorKind::Timeout
}

/// What can be had of this page, of which the whole cannot.
pub(super) async fn in_parts(
    source: &dyn Source,
    ids: &[u64],
    but: Option<Lasting>,
    error: ProviderError,
) -> Result<Rows, ProviderError> {
    let mut parts = Vec::new();
    let halve = |parts: &mut Vec<Vec<u64>>, ids: &[u64]| {
        let (first, second) = ids.split_at(ids.len() / 2);
        // The last one is the next.
        parts.extend([second.to_vec(), first.to_vec()]);
    };
    halve(&mut parts, ids);
    let mut whole: Option<Rows> = None;
    let mut unlisted = Vec::new();
    let mut asked = 0;
    while let Some(part) = parts.pop() {
        asked += 1;
        if asked > MOST_PARTS {
            return Err(error);
        }
        match source.page(&part, but).await {
            Ok(rows) => match &mut whole {
                None => whole = Some(rows),
                Some(whole) => {
                    whole.rows.extend(rows.rows);
                    whole.unreadable = whole.unreadable.saturating_add(rows.unreadable);
                    // The oldest of them is as young as all are.
                    if rows.read.clock < whole.read.clock {
                        whole.read = Arc::clone(&rows.read);
                    }
                }
            },
            Err(error) if !may_be_the_row(&error) => return Err(error),
            Err(_) if part.len() > 1 => halve(&mut parts, &part),
            Err(_) => unlisted.extend(part),
        }
    }
    let mut rows = whole.ok_or(error)?;
    rows.unlisted = unlisted;
    Ok(rows)
}
