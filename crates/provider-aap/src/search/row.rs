//! A row of the list of jobs, and what its variables say of its launch.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::body::{JobBody, lenient};
use crate::scan;
use crate::walk::{Lack, Row};
use crate::words::HIDDEN;

/// Variables that cannot be read are kept up to this size, to be looked through for other tokens.
const MAX_KEPT_TEXT: usize = 64 << 10;

/// A job, and how it came about; polls have no use for the latter.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) body: JobBody,
    pub(crate) url: Option<String>,
    pub(crate) launch_type: String,
    /// As the controller writes them: an object in JSON, or nearly. None where they are no text.
    pub(crate) variables: Option<String>,
    /// When it was read, by the server's clock.
    pub(crate) date: Timestamp,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Members {
    #[serde(deserialize_with = "lenient")]
    url: Option<String>,
    #[serde(deserialize_with = "lenient")]
    launch_type: String,
    #[serde(deserialize_with = "text_or_object")]
    extra_vars: Option<String>,
}

fn text_or_object<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let raw = <&RawValue>::deserialize(from)?.get();
    Ok(match raw.as_bytes().first() {
        Some(b'"') => scan::string(raw),
        Some(b'{') => Some(raw.to_owned()),
        _ => None,
    })
}

impl Launched {
    /// None when it is no row at all.
    pub(crate) fn read(row: &Row, date: Timestamp) -> Option<Self> {
        let text = row.text.get();
        let members: Members = serde_json::from_str(text).ok()?;
        Some(Self {
            body: serde_json::from_str(text).ok()?,
            url: members.url,
            launch_type: members.launch_type,
            variables: members.extra_vars,
            date,
        })
    }
}

/// What the variables of a job say of its launch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// It was launched under this token.
    Token(String),
    /// It was not launched by us.
    Nothing,
    /// Nobody is shown.
    Hidden,
    /// Nobody knows.
    Unreadable,
}

pub(super) fn carried(variables: Option<&str>, token_variable: &str) -> Carried {
    let Some(text) = variables else {
        return Carried::Unreadable;
    };
    match scan::member(text, token_variable) {
        Ok(None) => Carried::Nothing,
        Ok(Some(value)) if !value.starts_with('"') => Carried::Nothing,
        Ok(Some(value)) => match scan::string(value) {
            Some(token) if token == HIDDEN => Carried::Hidden,
            Some(token) => Carried::Token(token),
            None => Carried::Unreadable,
        },
        Err(scan::NoObject) if text.trim().is_empty() || text.trim() == "---" => Carried::Nothing,
        Err(scan::NoObject) => Carried::Unreadable,
    }
}

/// Whether somebody's token is among the variables.
#[cfg(fuzzing)]
pub(crate) fn is_carried(variables: Option<&str>, token_variable: &str) -> bool {
    matches!(carried(variables, token_variable), Carried::Token(_))
}

/// A row that may be that of a launch, for all that it says.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) why: Why,
    pub(super) template: Option<u64>,
    pub(super) created: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) enum Why {
    /// It cannot be had.
    Lacking(Lack),
    /// The controller hides the value of our variable.
    Hidden,
    /// Its variables cannot be read. Their text, where it is small enough.
    Unreadable(Option<Box<str>>),
}

impl Why {
    pub(super) fn unreadable(text: Option<&str>) -> Self {
        let text = text.filter(|text| text.len() <= MAX_KEPT_TEXT);
        Self::Unreadable(text.map(Box::from))
    }

    /// Whether the row may carry this token.
    pub(super) fn may_carry(&self, token: &str) -> bool {
        match self {
            Self::Unreadable(Some(text)) => {
                // Our own tokens are written as they are; others may be written in other ways.
                let is_plain = token.bytes().all(|byte| byte.is_ascii_alphanumeric());
                !is_plain || text.contains(token) || text.contains(HIDDEN)
            }
            _ => true,
        }
    }

    pub(super) fn words(&self) -> &'static str {
        match self {
            Self::Lacking(Lack::Unshown) => "the controller cannot show it",
            Self::Lacking(Lack::TooLarge) => "its row alone is larger than what is read at once",
            Self::Hidden => "the controller hides its operation token",
            Self::Unreadable(_) => "its variables cannot be read",
        }
    }

    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Lacking(Lack::TooLarge) => {
                "look at the variables and artifacts of that job; when it is none of ours, delete it once it \
                 has ended, and keep large values out of what its template is given"
            }
            Self::Lacking(Lack::Unshown) => {
                "open that job at the controller, and see in the controller's log why it cannot be shown"
            }
            Self::Hidden => {
                "make the survey question of that variable one of the type text, or remove it; look at \
                 that job"
            }
            Self::Unreadable(_) => "look at the variables of that job",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_say_nothing_are_told_from_those_that_cannot_be_read() {
        let of = |text: Option<&str>| carried(text, "t");
        assert_eq!(
            of(Some(r#"{"x": NaN, "t": "a1"}"#)),
            Carried::Token("a1".to_owned())
        );
        assert_eq!(of(Some(r#"{"t": "$encrypted$"}"#)), Carried::Hidden);
        for nothing in ["{}", r#"{"x": {"t": "a1"}}"#, "", "---\n", r#"{"t": 7}"#] {
            assert_eq!(of(Some(nothing)), Carried::Nothing, "{nothing}");
        }
        for unreadable in [
            None,
            Some("t: a1"),
            Some(r#"{"t": "a1"#),
            Some(r#"{"t": "\ud800"}"#),
        ] {
            assert_eq!(of(unreadable), Carried::Unreadable, "{unreadable:?}");
        }
        let doubt = Why::unreadable(Some("t: a1"));
        assert!(doubt.may_carry("a1") && !doubt.may_carry("b2"));
        assert!(Why::unreadable(None).may_carry("b2"));
    }
}
