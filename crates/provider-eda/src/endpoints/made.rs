//! URLs that are made once.

use std::sync::{Mutex, PoisonError};

use provider_core::JobType;
use url::Url;

use super::{Addressee, Endpoints};
use crate::ConfigError;

/// URLs that were made before: to make one takes as long as to write a small event.
#[derive(Debug, Default)]
pub(crate) struct Made(Mutex<Vec<MadeUrl>>);

#[derive(Debug)]
struct MadeUrl {
    job_type: JobType,
    target: Option<String>,
    kind: String,
    url: Url,
}

/// More kinds than any operator has.
const MAX_MADE: usize = 64;

impl Made {
    /// The URL of an event, made once.
    pub(crate) fn url(
        &self,
        endpoints: &Endpoints,
        job_type: JobType,
        to: Addressee<'_>,
    ) -> Option<Result<Url, ConfigError>> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = made.iter().find(|made| {
            made.job_type == job_type && made.kind == to.kind && made.target.as_deref() == to.target
        });
        if let Some(known) = known {
            return Some(Ok(known.url.clone()));
        }
        let url = endpoints.url(job_type, to)?;
        if let Ok(url) = &url
            && made.len() < MAX_MADE
        {
            made.push(MadeUrl {
                job_type,
                target: to.target.map(str::to_owned),
                kind: to.kind.to_owned(),
                url: url.clone(),
            });
        }
        Some(url)
    }
}
