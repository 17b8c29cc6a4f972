//! Numbers that JSON has no word for: `serde_json` writes them as `null` without a word.

use std::fmt::{self, Display};

use serde::ser::{
    Error, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// Where a value holds a number that is not finite.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Here: the fields on the way to it, innermost first.
    NotFinite(Vec<&'static str>),
    /// The value cannot be serialised at all; whoever does it in earnest will say why.
    Other,
}

impl Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::NotFinite(path) = self else {
            return f.write_str("it cannot be serialised");
        };
        f.write_str("a number is NaN or infinite, which JSON cannot say")?;
        for (n, field) in path.iter().rev().enumerate() {
            f.write_str(if n == 0 { ", at " } else { "." })?;
            f.write_str(field)?;
        }
        Ok(())
    }
}

impl std::error::Error for Trouble {}

impl Error for Trouble {
    fn custom<T: Display>(_: T) -> Self {
        Self::Other
    }
}

/// The first number in a value that is not finite.
pub(crate) fn not_finite<T: Serialize + ?Sized>(value: &T) -> Option<Trouble> {
    let trouble = value.serialize(Look).err()?;
    matches!(trouble, Trouble::NotFinite(_)).then_some(trouble)
}

/// Looks at every number of a value, and writes nothing.
#[derive(Clone, Copy)]
struct Look;

type Seen = Result<(), Trouble>;

fn number(is_finite: bool) -> Seen {
    if is_finite {
        Ok(())
    } else {
        Err(Trouble::NotFinite(Vec::new()))
    }
}

fn field<T: Serialize + ?Sized>(name: &'static str, value: &T) -> Seen {
    value.serialize(Look).map_err(|trouble| match trouble {
        Trouble::NotFinite(mut path) => {
            path.push(name);
            Trouble::NotFinite(path)
        }
        Trouble::Other => Trouble::Other,
    })
}

macro_rules! harmless {
    ($($name:ident($($kind:ty),*);)*) => {
        $(fn $name(self, $(_: $kind),*) -> Seen { Ok(()) })*
    };
}

macro_rules! compound {
    ($($name:ident($($kind:ty),*);)*) => {
        $(fn $name(self, $(_: $kind),*) -> Result<Self, Trouble> { Ok(self) })*
    };
}

impl Serializer for Look {
    type Ok = ();
    type Error = Trouble;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    harmless! {
        serialize_bool(bool);
        serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8); serialize_u16(u16); serialize_u32(u32); serialize_u64(u64);
        serialize_u128(u128);
        serialize_char(char); serialize_str(&str); serialize_bytes(&[u8]);
        serialize_none(); serialize_unit(); serialize_unit_struct(&'static str);
        serialize_unit_variant(&'static str, u32, &'static str);
    }

    compound! {
        serialize_seq(Option<usize>);
        serialize_tuple(usize);
        serialize_tuple_struct(&'static str, usize);
        serialize_tuple_variant(&'static str, u32, &'static str, usize);
        serialize_map(Option<usize>);
        serialize_struct(&'static str, usize);
        serialize_struct_variant(&'static str, u32, &'static str, usize);
    }

    fn serialize_f32(self, value: f32) -> Seen {
        number(value.is_finite())
    }

    fn serialize_f64(self, value: f64) -> Seen {
        number(value.is_finite())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Seen {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Seen {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Seen {
        field(name, value)
    }

    fn collect_str<T: Display + ?Sized>(self, _: &T) -> Seen {
        Ok(())
    }
}

macro_rules! elements {
    ($($of:ident::$name:ident;)*) => {
        $(impl $of for Look {
            type Ok = ();
            type Error = Trouble;

            fn $name<T: Serialize + ?Sized>(&mut self, value: &T) -> Seen {
                value.serialize(*self)
            }

            fn end(self) -> Seen {
                Ok(())
            }
        })*
    };
}

elements! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

macro_rules! fields {
    ($($of:ident;)*) => {
        $(impl $of for Look {
            type Ok = ();
            type Error = Trouble;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Seen {
                field(name, value)
            }

            fn end(self) -> Seen {
                Ok(())
            }
        })*
    };
}

fields! {
    SerializeStruct;
    SerializeStructVariant;
}

impl SerializeMap for Look {
    type Ok = ();
    type Error = Trouble;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Seen {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Seen {
        value.serialize(*self)
    }

    fn end(self) -> Seen {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    enum Shape {
        Plain,
        Of(f64),
        Pair(f32, u8),
        Named { ratio: Option<f64> },
    }

    #[derive(Serialize)]
    struct Spec {
        shapes: Vec<Shape>,
        more: BTreeMap<String, (f64, &'static str)>,
    }

    fn said(shape: Shape, other: f64) -> Option<String> {
        let spec = Spec {
            shapes: vec![Shape::Plain, shape],
            more: BTreeMap::from([("k".to_owned(), (other, "text"))]),
        };
        not_finite(&spec).map(|trouble| trouble.to_string())
    }

    #[test]
    fn every_number_is_looked_at_wherever_it_is() {
        assert_eq!(said(Shape::Of(1.0), f64::MAX), None);
        assert_eq!(said(Shape::Named { ratio: None }, 0.0), None);
        for (shape, other, place) in [
            (Shape::Of(f64::NAN), 0.0, "at shapes.Of"),
            (Shape::Pair(f32::INFINITY, 1), 0.0, "at shapes"),
            (
                Shape::Named {
                    ratio: Some(f64::NEG_INFINITY),
                },
                0.0,
                "at shapes.ratio",
            ),
            (Shape::Plain, f64::NAN, "at more"),
        ] {
            let said = said(shape, other).unwrap();
            assert!(said.ends_with(place), "{said}");
        }
    }

    /// What cannot be serialised for another reason is not called a number.
    #[test]
    fn other_trouble_is_left_to_others() {
        struct Bad;
        impl Serialize for Bad {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(S::Error::custom("no"))
            }
        }
        assert!(not_finite(&Bad).is_none());
    }
}
