//! YAML as it means itself, as far as JSON has words for it: anything else is refused by its line. Plain
//! conversion would lose numbers (`.nan` becomes null), keep the last of two members, and send `<<`.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads one document of YAML or JSON.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    // Editors of some systems put it there.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let read: Result<Strict, _> = serde_norway::from_str(text);
    read.map(|strict| strict.0)
        .map_err(|error| error.to_string())
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Strict)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has a word for")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        number.map(Value::Number).ok_or_else(|| {
            E::custom(
                "a number that is infinite or none (.inf, .nan) cannot be sent; write it as a text",
            )
        })
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        let mut merged: Option<Vec<Map<String, Value>>> = None;
        while let Some(name) = members.next_key_seed(Key(&all, merged.is_some()))? {
            if name == "<<" {
                let Sources(sources) = members.next_value()?;
                merged = Some(sources);
            } else {
                let Strict(value) = members.next_value()?;
                all.insert(name, value);
            }
        }
        // What is merged gives way to what is written, and of several the first counts.
        for (name, value) in merged.into_iter().flatten().flatten() {
            all.entry(name).or_insert(value);
        }
        Ok(all.into())
    }
}

/// The name of a member, beside those that are known: refused here, a second one is named by its own line.
struct Key<'a>(&'a Map<String, Value>, bool);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<String, E> {
        if self.0.contains_key(name) || (name == "<<" && self.1) {
            return Err(E::custom(format!("member {name:?} is there twice")));
        }
        Ok(name.to_owned())
    }
}

/// What `<<` merges: a mapping, or several.
struct Sources(Vec<Map<String, Value>>);

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourcesReader).map(Sources)
    }
}

struct SourcesReader;

impl<'de> Visitor<'de> for SourcesReader {
    type Value = Vec<Map<String, Value>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping to merge, or a list of mappings")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        match Reader.visit_map(members)? {
            Value::Object(members) => Ok(vec![members]),
            _ => Ok(Vec::new()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Sources(sources)) = items.next_element()? {
            all.extend(sources);
        }
        Ok(all)
    }
}
