//! What a status code alone tells.

/// Whether a code between 400 and 499 is said before a request is carried out: by a service before it does
/// anything, or by a proxy before it passes the request on. What any other code means is known to whoever
/// gave it: 460 is a load balancer whose client went away, after the request had gone through.
#[must_use]
pub const fn is_said_beforehand(status: u16) -> bool {
    matches!(
        status,
        400 | 401 | 403 | 404 | 405 | 407 | 411 | 413 | 414 | 415 | 421 | 425 | 429 | 431 | 451
    )
}
