//! The fields of one row of an import, by name. A row is parsed whole or refused: a duplicate key, a value of
//! the wrong JSON type and an unknown field name are errors, never dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// An integer with a range that an error can name.
pub(crate) trait Integer: FromStr {
    /// The least and the greatest value, as text.
    const RANGE: &str;
}

macro_rules! integers {
    ($($integer:ty: $range:literal),*) => {
        $(impl Integer for $integer { const RANGE: &str = $range; })*
    };
}

integers! {
    u16: "0 to 65535",
    u32: "0 to 4294967295",
    u64: "0 to 18446744073709551615",
    u128: "0 to 340282366920938463463374607431768211455"
}

/// The fields of a row; an empty one counts as not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(BTreeMap<String, String>);

impl Fields {
    /// Fields whose names are known to differ, as those of a CSV file do.
    pub(crate) fn new(fields: impl Iterator<Item = (String, String)>) -> Result<Self, String> {
        let fields: BTreeMap<String, String> = fields.collect();
        for (name, value) in &fields {
            check_text(name, value)?;
        }
        Ok(Self(fields))
    }

    /// Reads an object of strings, integers and `null`; flags may also be a list of strings. An integer of
    /// more than 64 bits must be a string: as a number many programs would round it.
    pub(crate) fn from_json(text: &str) -> Result<Self, String> {
        let Object(entries) = serde_json::from_str(text).map_err(|error| {
            let what = error.to_string();
            let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
            format!("this is no JSON object, at column {}: {what}; write one object a line", error.column())
        })?;
        let mut fields = BTreeMap::new();
        for (name, cell) in entries {
            let value = cell.text(&name)?;
            check_text(&name, &value)?;
            if fields.insert(name.clone(), value).is_some() {
                return Err(format!("{name} is given twice: a row has each field once"));
            }
        }
        Ok(Self(fields))
    }

    /// The text of a field; `None` = not given or empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// Every name with its value, in the order of the names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The integer in a field that may be left out.
    pub(crate) fn integer<T: Integer>(&self, name: &str, otherwise: T) -> Result<T, String> {
        if self.text(name).is_none() { Ok(otherwise) } else { self.required(name) }
    }

    /// The integer in a required field: digits alone.
    pub(crate) fn required<T: Integer>(&self, name: &str) -> Result<T, String> {
        let text = self.text(name).ok_or_else(|| format!("{name} is missing"))?;
        let is_digits = text.bytes().all(|letter| letter.is_ascii_digit());
        let integer = text.parse().ok().filter(|_| is_digits);
        integer.ok_or_else(|| {
            format!("{name} is {text:?}, which is no integer from {}: write digits alone", T::RANGE)
        })
    }

    /// An error unless every field is one of `known`.
    pub(crate) fn check_names(&self, known: &[&str]) -> Result<(), String> {
        self.0.keys().try_for_each(|name| check_name(name, known))
    }
}

/// An error unless there is a field of that name.
pub(crate) fn check_name(name: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&name) {
        return Ok(());
    }
    Err(format!("there is no field {name:?}; the fields are {}", known.join(", ")))
}

/// An error if the value holds a control character: a line break comes from an unclosed quote, a NUL from
/// another encoding.
fn check_text(name: &str, value: &str) -> Result<(), String> {
    match value.chars().find(|letter| letter.is_control()) {
        None => Ok(()),
        Some(letter) => Err(format!(
            "{name} holds the control character {letter:?}: is a quote not closed, or the file damaged?"
        )),
    }
}

/// The keys and values of an object, duplicates included.
struct Object(Vec<(String, Cell)>);

/// A value of an object.
enum Cell {
    Empty,
    Text(String),
    Integer(String),
    List(Vec<Self>),
    /// A value that no field accepts: its name for an error text.
    Other(&'static str),
}

impl Cell {
    /// The value of the field `name` as CSV would have it.
    fn text(self, name: &str) -> Result<String, String> {
        match self {
            Self::Empty => Ok(String::new()),
            Self::Text(text) | Self::Integer(text) => Ok(text),
            Self::List(names) if name == "flags" => {
                let names: Option<Vec<String>> = names.into_iter().map(Self::flag).collect();
                names.map(|names| names.join(",")).ok_or_else(|| {
                    "flags is a list of something else than names: write [\"linked\", \"pending\"]".to_owned()
                })
            }
            Self::List(_) => {
                Err(format!("{name} is a list: write a string or an integer of at most 64 bits"))
            }
            Self::Other(what) => {
                Err(format!("{name} is {what}: write a string or an integer of at most 64 bits"))
            }
        }
    }

    /// The name of one flag in a list.
    fn flag(self) -> Option<String> {
        match self {
            Self::Text(name) if name.bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'_') => {
                Some(name).filter(|name| !name.is_empty())
            }
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Object;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Object(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyCell)
    }
}

/// Accepts every kind of value, so that the error about it can name the field.
struct AnyCell;

impl<'de> Visitor<'de> for AnyCell {
    type Value = Cell;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Cell, E> {
        Ok(Cell::Empty)
    }

    fn visit_str<E>(self, text: &str) -> Result<Cell, E> {
        Ok(Cell::Text(text.to_owned()))
    }

    fn visit_u64<E>(self, integer: u64) -> Result<Cell, E> {
        Ok(Cell::Integer(integer.to_string()))
    }

    fn visit_i64<E>(self, integer: i64) -> Result<Cell, E> {
        Ok(Cell::Integer(integer.to_string()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Cell, E> {
        Ok(Cell::Other("a number with a point or an exponent, or of more than 64 bits, which programs round"))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Cell, E> {
        Ok(Cell::Other("true or false"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Cell, A::Error> {
        let mut cells = Vec::new();
        while let Some(cell) = list.next_element()? {
            cells.push(cell);
        }
        Ok(Cell::List(cells))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Cell::Other("an object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_like_a_row_of_csv() {
        let row = Fields::from_json(r#"{"id":7,"name":null,"code":"3","flags":["linked","pending"],"x":-5}"#);
        let cells = [("id", "7"), ("name", ""), ("code", "3"), ("flags", "linked,pending"), ("x", "-5")];
        let cells = cells.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(row, Fields::new(cells));
        assert_eq!(row.unwrap().text("name"), None, "empty is not given");
    }

    #[test]
    fn errors_name_the_field() {
        for (text, words) in [
            (r#"{"amount":"1","amount":"2"}"#, "amount is given twice"),
            (r#"{"amount":"1","\u0061mount":"1"}"#, "amount is given twice"),
            (r#"{"name":null,"name":"alice"}"#, "name is given twice"),
            (r#"{"flags":[2]}"#, "flags is a list"),
            (r#"{"flags":[null]}"#, "flags is a list"),
            (r#"{"flags":[["pending"]]}"#, "flags is a list"),
            (r#"{"flags":[""]}"#, "flags is a list"),
            (r#"{"flags":["pending,linked"]}"#, "flags is a list"),
            (r#"{"flags":["2"]}"#, "flags is a list"),
            (r#"{"flags":{"pending":true}}"#, "flags is an object"),
            (r#"{"flags":true}"#, "flags is true or false"),
            (r#"{"amount":10.5}"#, "amount is a number"),
            (r#"{"amount":10.0}"#, "amount is a number"),
            (r#"{"amount":1e3}"#, "amount is a number"),
            (r#"{"id":340282366920938463463374607431768211455}"#, "id is a number"),
            (r#"{"amount":["10"]}"#, "amount is a list"),
            (r#"{"amount":{"value":"10"}}"#, "amount is an object"),
            (r#"{"name":"a\u0000b"}"#, "name holds"),
            (r#"{"name":"a\nb"}"#, "name holds"),
            ("[1]", "no JSON object"),
            ("{", "no JSON object"),
            (r#"{"id":"1"} {"id":"2"}"#, "no JSON object"),
            (r#"{"id":"1"},"#, "no JSON object"),
            ("7", "no JSON object"),
        ] {
            let error = Fields::from_json(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn integers_are_digits_alone() {
        for wrong in ["+7", "-7", "7.0", " 7", "0x7", "7e0", "65536", "1_000", "\u{667}"] {
            let row = Fields(BTreeMap::from([("code".to_owned(), wrong.to_owned())]));
            let error = row.integer::<u16>("code", 1).unwrap_err();
            assert!(error.contains("code is") && error.contains("0 to 65535"), "{wrong:?}: {error}");
        }
        let row = Fields(BTreeMap::from([("code".to_owned(), "7".to_owned())]));
        assert_eq!(row.integer::<u16>("code", 1), Ok(7));
        assert_eq!(row.integer::<u16>("flags", 1), Ok(1));
    }
}
