//! A reader of settings whose errors repeat no value.

use std::fmt::{self, Display};

use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::tree::{Node, Tree};
use crate::text;

/// What is wrong, and where: `auth: token: expected a text`. Holds nothing of what was found there but
/// its sort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError(String);

impl Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingError {}

/// Of an error whose own text was dropped, where nothing else is known of it.
const UNSAID: &str = "it is not what is expected here";

/// Reads settings with `read` from whatever format, so that no error repeats a value. What the format
/// itself cannot read is its own error.
///
/// # Errors
/// When the format or `read` fails.
pub fn guarded<'de, T, D: Deserializer<'de>>(
    deserializer: D,
    read: impl FnOnce(Tree) -> Result<T, SettingError>,
) -> Result<T, D::Error> {
    read(Tree::deserialize(deserializer)?).map_err(de::Error::custom)
}

impl SettingError {
    /// An error of somebody who knows that the text holds no value.
    #[must_use]
    pub fn new(message: &str) -> Self {
        Self(text::bounded(message, 500))
    }

    fn expected(what: &dyn Expected) -> Self {
        Self::new(&format!("expected {what}"))
    }

    fn within(self, place: &str) -> Self {
        Self::new(&format!("{place}: {}", self.0))
    }
}

/// The name of a member, where it can be one of a setting and hardly a secret.
fn name(text: &str) -> Option<&str> {
    let is_word = text.len() <= 40 && text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    is_word.then_some(text)
}

fn one_of(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [name] => format!("`{name}`"),
        names => format!("one of `{}`", names.join("`, `")),
    }
}

impl de::Error for SettingError {
    /// Others' texts are dropped: most repeat what they could not read. Those of this workspace do not.
    fn custom<T: Display>(message: T) -> Self {
        if std::any::type_name::<T>().contains("provider_") {
            return Self::new(&message.to_string());
        }
        Self(UNSAID.to_owned())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (found, advice) = match found {
            Unexpected::Bool(_) => ("true or false", "; a text is written in quotes"),
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => {
                ("a number", "; a text is written in quotes")
            }
            Unexpected::Str(_) | Unexpected::Char(_) => ("a text", ""),
            Unexpected::Bytes(_) => ("bytes", ""),
            Unexpected::Unit | Unexpected::Option => ("nothing", ""),
            Unexpected::Seq => ("a list", ""),
            Unexpected::Map => ("a map", ""),
            _ => ("something else", ""),
        };
        Self::new(&format!("expected {expected}, found {found}{advice}"))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::expected(expected)
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::expected(expected)
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(&format!("expected {}", one_of(expected)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let known = one_of(expected);
        Self::new(&match name(field) {
            Some(field) => format!("unknown field `{field}`, expected {known}"),
            None => format!("unknown field, expected {known}"),
        })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(&format!("`{field}` is missing"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(&format!("`{field}` is there twice"))
    }
}

/// What a visitor hopes for, as text: it is gone when its error comes.
fn hope<'de>(visitor: &impl Visitor<'de>) -> String {
    let expected: &dyn Expected = visitor;
    expected.to_string()
}

/// An error whose text was dropped says at least what was expected.
fn or_expected<T>(result: Result<T, SettingError>, hope: &str) -> Result<T, SettingError> {
    result.map_err(|error| {
        if error.0 == UNSAID {
            SettingError::new(&format!("expected {hope}"))
        } else {
            error
        }
    })
}

impl<'de> Deserializer<'de> for Tree {
    type Error = SettingError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingError> {
        let hope = hope(&visitor);
        let result = match self.0 {
            Node::Nothing => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(value),
            Node::Unsigned(value) => visitor.visit_u64(value),
            Node::Signed(value) => visitor.visit_i64(value),
            Node::Float(value) => visitor.visit_f64(value),
            Node::Text(value) => visitor.visit_string(value),
            Node::Bytes(value) => visitor.visit_byte_buf(value),
            Node::List(items) => visitor.visit_seq(Items(items.into_iter(), 0)),
            Node::Map(members) => visitor.visit_map(Members {
                rest: members.into_iter(),
                next: None,
            }),
        };
        or_expected(result, &hope)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SettingError> {
        match self.0 {
            Node::Nothing => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, SettingError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SettingError> {
        let (variant, content) = match self.0 {
            Node::Text(variant) => (variant, None),
            Node::Map(members) => match <[(Node, Node); 1]>::try_from(members) {
                Ok([(Node::Text(variant), content)]) => (variant, Some(Self(content))),
                _ => return Err(one_variant(variants)),
            },
            _ => return Err(one_variant(variants)),
        };
        // A variant that is known is no secret.
        let place = variants.iter().copied().find(|known| *known == variant);
        let result = visitor.visit_enum(Choice { variant, content });
        match place {
            Some(place) => result.map_err(|error| error.within(place)),
            None => result,
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

fn one_variant(variants: &'static [&'static str]) -> SettingError {
    SettingError::new(&format!("expected {} and no other", one_of(variants)))
}

struct Items(std::vec::IntoIter<Node>, usize);

impl<'de> SeqAccess<'de> for Items {
    type Error = SettingError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, SettingError> {
        let Some(item) = self.0.next() else {
            return Ok(None);
        };
        self.1 = self.1.saturating_add(1);
        let item = seed.deserialize(Tree(item));
        item.map(Some)
            .map_err(|error| error.within(&format!("item {}", self.1)))
    }
}

struct Members {
    rest: std::vec::IntoIter<(Node, Node)>,
    /// The name of the member whose value is next, where it may be shown, and the value.
    next: Option<(String, Node)>,
}

impl<'de> MapAccess<'de> for Members {
    type Error = SettingError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, SettingError> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        let shown = match &key {
            Node::Text(key) => name(key).unwrap_or_default().to_owned(),
            _ => String::new(),
        };
        self.next = Some((shown, value));
        seed.deserialize(Tree(key)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, SettingError> {
        let (name, value) = self.next.take().unwrap_or((String::new(), Node::Nothing));
        let value = seed.deserialize(Tree(value));
        if name.is_empty() {
            return value;
        }
        value.map_err(|error| error.within(&name))
    }
}

struct Choice {
    variant: String,
    content: Option<Tree>,
}

impl<'de> EnumAccess<'de> for Choice {
    type Error = SettingError;
    type Variant = Content;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Content), SettingError> {
        let variant = seed.deserialize(Tree(Node::Text(self.variant)))?;
        Ok((variant, Content(self.content)))
    }
}

struct Content(Option<Tree>);

impl Content {
    fn given(self) -> Tree {
        self.0.unwrap_or(Tree(Node::Nothing))
    }
}

impl<'de> VariantAccess<'de> for Content {
    type Error = SettingError;

    fn unit_variant(self) -> Result<(), SettingError> {
        // `clientCertificate:` with nothing after it says what the bare word says.
        match self.0 {
            None | Some(Tree(Node::Nothing)) => Ok(()),
            Some(_) => Err(SettingError::new("expected nothing more")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, SettingError> {
        seed.deserialize(self.given())
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, SettingError> {
        self.given().deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SettingError> {
        self.given().deserialize_any(visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ConfigError, Secret};
    use jiff::SignedDuration;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    #[serde(remote = "Self", rename_all = "camelCase", deny_unknown_fields)]
    struct Settings {
        name: String,
        #[serde(default)]
        wait: Option<SignedDuration>,
        #[serde(default)]
        count: Option<u32>,
        #[serde(default)]
        choice: Option<Choice>,
        #[serde(default)]
        secret: Option<Secret>,
        #[serde(default)]
        list: Vec<u8>,
        #[serde(default)]
        own: Option<Own>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
    #[expect(dead_code, reason = "only read")]
    enum Choice {
        Nothing,
        One(u32),
        Two { left: String },
    }

    #[derive(Debug, Deserialize)]
    #[serde(try_from = "String")]
    struct Own;

    impl TryFrom<String> for Own {
        type Error = ConfigError;

        fn try_from(_: String) -> Result<Self, ConfigError> {
            Err(ConfigError::new("own", "expected something of ours"))
        }
    }

    crate::guarded_settings!(Settings);

    const CANARY: &str = "CANARY-7-of-the-mine";

    #[test]
    fn no_error_repeats_a_value_and_every_error_names_its_place() {
        let number = 918_273_645_u32;
        for (member, value, place) in [
            ("name", json!([CANARY]), "name: expected a string"),
            (
                "name",
                json!(number),
                "name: expected a string, found a number; a text is written",
            ),
            ("wait", json!(CANARY), "wait: expected"),
            ("wait", json!(format!("5 {CANARY}")), "wait: expected"),
            ("count", json!(CANARY), "count: expected"),
            ("count", json!(-918_273_645), "count: expected"),
            ("count", json!(9.182_736_45e30), "count: expected"),
            ("choice", json!(CANARY), "choice: expected one of"),
            ("choice", json!({CANARY: 1}), "choice: expected one of"),
            ("choice", json!({"one": CANARY}), "choice: one: expected"),
            (
                "choice",
                json!({"two": {CANARY: 1}}),
                "choice: two: `left` is missing",
            ),
            ("choice", json!({"two": CANARY}), "choice: two: expected"),
            (
                "choice",
                json!({"nothing": CANARY}),
                "choice: nothing: expected",
            ),
            ("secret", json!(number), "secret: expected a text in quotes"),
            (
                "secret",
                json!({"fil": CANARY}),
                "secret: expected a text in quotes",
            ),
            ("list", json!([1, CANARY]), "list: item 2: expected"),
            ("own", json!(CANARY), "own: own: expected something of ours"),
            (CANARY, json!(1), "unknown field, expected one of"),
            ("typo", json!(1), "unknown field `typo`, expected one of"),
        ] {
            let mut given = json!({"name": "x"});
            given[member] = value.clone();
            for error in [
                serde_json::from_value::<Settings>(given.clone()).unwrap_err(),
                serde_json::from_str::<Settings>(&given.to_string()).unwrap_err(),
            ] {
                let text = format!("{error} {error:?}");
                assert!(error.to_string().starts_with(place), "{text} / {place}");
                for part in ["CANARY", "the-mine", "918273645", "182736"] {
                    assert!(!text.contains(part), "{member} {value}: {text}");
                }
            }
        }
    }

    #[test]
    fn what_is_right_is_read_as_before() {
        let given = json!({
            "name": "x", "wait": "45s", "count": 3, "choice": {"two": {"left": "l"}},
            "secret": "s3cret", "list": [1, 2],
        });
        let read: Settings = serde_json::from_value(given).unwrap();
        assert_eq!(read.wait, Some(SignedDuration::from_secs(45)));
        assert!(matches!(read.choice, Some(Choice::Two { .. })));
        assert_eq!(read.list, [1, 2]);
        let bare = json!({"name": "x", "choice": "nothing", "count": null});
        let read: Settings = serde_json::from_value(bare).unwrap();
        assert!(matches!(read.choice, Some(Choice::Nothing)));
    }
}
