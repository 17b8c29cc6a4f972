//! A request on its way through the front and the workers.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Uri, header};

use super::answer::Answer;
use super::control;
use super::routes::{self, Asked};
use super::server::Shared;
use super::web::Work;

/// A request as it came in.
pub(super) struct Received {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    fn asked(&self) -> Asked<'_> {
        let query = self.uri.query().unwrap_or_default();
        let authorization = self.headers.get(header::AUTHORIZATION);
        Asked {
            method: self.method.as_str(),
            path: self.uri.path(),
            query: url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            authorization: authorization.and_then(|value| value.to_str().ok()),
            body: &self.body,
        }
    }

    /// By what is in front, or, where requests cost something, by a worker.
    pub(super) async fn answer(self, shared: &Arc<Shared>) -> Answer {
        let line = format!("{} {}", self.method, self.uri);
        let (admitted, web) = {
            let (asked, now) = (self.asked(), shared.clock.now());
            let mut state = shared.lock();
            if asked.path.starts_with("/_sim/") {
                return control::answer(&mut state, &asked, now);
            }
            if state.record_requests {
                state.requests.push(line.clone());
            }
            match routes::admit(&mut state, &asked, now) {
                Ok(admitted) => match state.web.clone() {
                    Some(web) => (admitted, web),
                    None => return routes::serve(&mut state, &asked, admitted, now),
                },
                Err(answer) => return answer,
            }
        };
        let work = Work {
            route: admitted.route,
            writes: self.method != Method::GET,
            line,
            body: self.body.clone(),
        };
        let shared = Arc::clone(shared);
        let carry_out = move || {
            let now = shared.clock.now();
            routes::serve(&mut shared.lock(), &self.asked(), admitted, now)
        };
        web.serve(work, carry_out).await
    }
}
