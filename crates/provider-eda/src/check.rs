//! What the other side would reject, drop or change, found while the event is written.

use std::cell::RefCell;

use provider_core::{Effect, ErrorKind, ProviderError};
use serde::ser::{Error, Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;

use crate::{TransportKind, yaml};

/// Levels of nesting. The parsers on the other side work by recursion; this is far below where
/// they end and far above what objects have.
const MAX_DEPTH: usize = 100;

/// An event that is not sent.
pub(crate) fn refuse(message: impl AsRef<str>, advice: &str) -> ProviderError {
    ProviderError::new(Effect::NotSent, ErrorKind::Invalid, message).with_advice(advice)
}

/// The rules of one transport, and what broke them first.
pub(crate) struct Check {
    stream: bool,
    templates: bool,
    refusal: RefCell<Option<ProviderError>>,
}

impl Check {
    pub(crate) fn new(kind: TransportKind, templates: bool) -> Self {
        Self {
            stream: kind == TransportKind::EventStream,
            templates,
            refusal: RefCell::new(None),
        }
    }

    /// Why the event could not be written.
    pub(crate) fn refusal(self) -> ProviderError {
        let refusal = self.refusal.into_inner();
        refusal.unwrap_or_else(|| refuse("the object cannot be written as JSON", ""))
    }

    /// Breaks the writing off.
    fn fail<E: Error>(&self, message: impl AsRef<str>, advice: &str) -> E {
        *self.refusal.borrow_mut() = Some(refuse(message, advice));
        E::custom("refused")
    }

    /// Lets a value be written, if it may be.
    pub(crate) fn value<'a>(&'a self, value: &'a Value, depth: usize) -> Checked<'a> {
        Checked {
            check: self,
            value,
            depth,
        }
    }

    pub(crate) fn key<E: Error>(&self, name: &str) -> Result<(), E> {
        if name.is_empty() {
            // The library that a rulebook reads paths with (dpath) raises at it, and that ends the task of
            // the queue: the process lives, logs nothing, and takes and loses the events of everybody.
            return Err(self.fail(
                "the event has a member with an empty name, which would stop the whole rulebook",
                "name that member, in the object or in the extra variables, or exclude what holds it in \
                 the projection",
            ));
        }
        if self.stream && yaml::key_length(name) > yaml::MAX_KEY {
            let message = format!(
                "the object has a member name longer than the {} characters that an event stream \
                 reads",
                yaml::MAX_KEY
            );
            return Err(self.fail(message, "exclude that member in the projection"));
        }
        self.text(name)
    }

    fn text<E: Error>(&self, text: &str) -> Result<(), E> {
        if !self.templates && (text.contains("{{") || text.contains("{%")) {
            return Err(self.fail(
                "the object holds a text with \"{{\" or \"{%\", which a playbook could execute",
                "remove it, or allow templates when the rulebook starts job templates only",
            ));
        }
        Ok(())
    }
}

/// A value that is looked at while it is written.
pub(crate) struct Checked<'a> {
    check: &'a Check,
    value: &'a Value,
    depth: usize,
}

impl Serialize for Checked<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            check,
            value,
            depth,
        } = *self;
        if depth > MAX_DEPTH {
            return Err(check.fail(
                format!("the object is nested deeper than {MAX_DEPTH} levels"),
                "exclude the deep member in the projection",
            ));
        }
        match value {
            Value::String(text) => {
                check.text(text)?;
                serializer.serialize_str(text)
            }
            Value::Array(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(&check.value(item, depth + 1))?;
                }
                list.end()
            }
            Value::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, item) in members {
                    check.key(name)?;
                    map.serialize_entry(name, &check.value(item, depth + 1))?;
                }
                map.end()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.serialize(serializer),
        }
    }
}
