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
    pub end: End,
    /// How many rows of a list it has.
    pub rows: usize,
    /// Whether something in front of the controller has said it, which knows nothing of its headers.
    pub by_front: bool,
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
            end: End::Answered,
            rows: 0,
            by_front: false,
        }
    }

    pub(super) fn detail(status: u16, text: &str) -> Self {
        Self::json(status, &json!({ "detail": text }))
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
            end: End::Answered,
            rows: 0,
            by_front: false,
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
            end: End::Answered,
            rows: 0,
            by_front: true,
        }
    }

    /// By the gateway of AAP 2.5, or whatever else is in front and speaks JSON.
    pub(super) fn gateway(status: u16) -> Self {
        let mut answer = Self::detail(
            status,
            match status {
                401 => "Authentication credentials were not provided.",
                403 => "RBAC: access denied",
                404 => "Not Found",
                _ => "upstream connect error or disconnect/reset before headers",
            },
        );
        answer.by_front = true;
        answer
    }

    pub(super) fn redirect(status: u16, location: &str) -> Self {
        let mut answer = Self::empty(status);
        answer.headers = vec![
            ("location", location.to_owned()),
            ("content-type", "text/html; charset=utf-8".to_owned()),
        ];
        answer
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
