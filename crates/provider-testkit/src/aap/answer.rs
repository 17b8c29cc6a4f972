//! An answer, and how its connection fares.

use serde_json::{Value, json};

use super::query::{Page, Refusal};

/// What goes back.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    pub json: bool,
    pub by: By,
    pub end: End,
    /// How many rows of a list it has.
    pub rows: usize,
}

/// Whose answer it is, which its headers tell (AWX 24.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// A view of the controller: with the product, the node and the time.
    View,
    /// The controller before any view: with the total time and the request's id alone.
    Controller,
    /// What is in front of it.
    Gateway,
}

/// How the connection fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    Closed,
    Silent,
}

impl Answer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: serde_json::to_vec(body).unwrap_or_default(),
            json: true,
            by: By::View,
            end: End::Answered,
            rows: 0,
        }
    }

    pub(super) fn detail(status: u16, text: &str) -> Self {
        Self::json(status, &json!({ "detail": text }))
    }

    /// What the controller says of a path that it does not have.
    pub(super) fn no_such_path() -> Self {
        Self {
            by: By::Controller,
            ..Self::detail(404, "The requested resource could not be found.")
        }
    }

    pub(super) fn page<R>(page: Page<R>, write: impl FnMut(R) -> Value) -> Self {
        let rows = page.rows.len();
        let mut answer = Self::json(200, &page.into_json(write));
        answer.rows = rows;
        answer
    }

    pub(super) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            json: false,
            by: By::View,
            end: End::Answered,
            rows: 0,
        }
    }

    pub(super) fn html(status: u16, size: usize) -> Self {
        let mut body = b"<html><head><title>502 Bad Gateway</title></head><body>".to_vec();
        body.resize(size.max(body.len()), b'x');
        Self {
            status,
            headers: vec![("content-type", "text/html".to_owned())],
            body,
            json: false,
            by: By::Gateway,
            end: End::Answered,
            rows: 0,
        }
    }

    /// By the gateway of AAP 2.5, or whatever else is in front and speaks JSON.
    pub(super) fn gateway(status: u16) -> Self {
        Self::detail(
            status,
            match status {
                401 => "Authentication credentials were not provided.",
                403 => "RBAC: access denied",
                404 => "Not Found",
                _ => "upstream connect error or disconnect/reset before headers",
            },
        )
        .by(By::Gateway)
    }

    pub(super) fn redirect(status: u16, location: &str) -> Self {
        let mut answer = Self::empty(status);
        answer.by = By::Controller;
        answer.headers = vec![
            ("location", location.to_owned()),
            ("content-type", "text/html; charset=utf-8".to_owned()),
        ];
        answer
    }

    /// The same, said by somebody else.
    pub(super) fn by(mut self, by: By) -> Self {
        self.by = by;
        self
    }

    pub(super) fn ends(mut self, end: End) -> Self {
        self.end = end;
        self
    }
}

impl From<Refusal> for Answer {
    fn from(Refusal(status, body): Refusal) -> Self {
        Self::json(status, &body)
    }
}
