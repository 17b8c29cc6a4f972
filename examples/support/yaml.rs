//! YAML as it means itself, as far as JSON has words for it: anything else is refused by its line. Plain
//! conversion would lose numbers (`.nan` becomes null), keep the last of two members, and send `<<`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
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
        let mut merged = None;
        while let Some(name) = members.next_key::<String>()? {
            let Strict(value) = members.next_value()?;
            if name == "<<" {
                if merged.replace(value).is_some() {
                    return Err(A::Error::custom("\"<<\" is there twice"));
                }
            } else if all.contains_key(&name) {
                return Err(A::Error::custom(format!("member {name:?} is there twice")));
            } else {
                all.insert(name, value);
            }
        }
        // What is merged gives way to what is written, and of several the first counts.
        let sources = match merged {
            None => Vec::new(),
            Some(Value::Array(sources)) => sources,
            Some(source) => vec![source],
        };
        for source in sources {
            let Value::Object(source) = source else {
                return Err(A::Error::custom("\"<<\" merges mappings alone"));
            };
            for (name, value) in source {
                all.entry(name).or_insert(value);
            }
        }
        Ok(all.into())
    }
}
