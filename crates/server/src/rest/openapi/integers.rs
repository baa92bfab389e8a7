//! Ranges of integers: the document gives every integer the range of its type in the code.
//!
//! OpenAPI has signed integers of 32 and of 64 bits, and generators map these two to types of their
//! languages. An unsigned type gets the smaller of the two that holds it, with its greatest value. An
//! unsigned integer of 64 bits gets `int64`, which cannot hold its upper half. It is a count or a position in
//! the log, and no program reaches that half; a number of 64 bits that can have any value is a string.

use serde_json::Value;

/// utoipa's formats of unsigned integers, the formats of OpenAPI that replace them, and the greatest values;
/// `None` = the format's own limit is enough.
const UNSIGNED: [(&str, &str, Option<u32>); 4] = [
    ("u-int8", "int32", Some(u8::MAX as u32)),
    ("u-int16", "int32", Some(u16::MAX as u32)),
    ("u-int32", "int64", Some(u32::MAX)),
    ("u-int64", "int64", None),
];

/// Gives every integer of the document its format and its range.
pub(super) fn add_ranges(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(add_ranges),
        Value::Object(fields) => {
            let format = fields.get("format").and_then(Value::as_str);
            let known = UNSIGNED.iter().find(|(own, ..)| Some(*own) == format);
            if let Some((_, format, maximum)) = known {
                fields.insert("format".to_owned(), (*format).into());
                fields.insert("minimum".to_owned(), 0.into());
                maximum.map(|maximum| fields.insert("maximum".to_owned(), maximum.into()));
            } else if fields.get("type").is_some_and(|kind| kind == "integer") && format.is_none() {
                fields.insert("format".to_owned(), "int64".into());
            }
            fields.values_mut().for_each(add_ranges);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    /// Collects every integer of the document, with the place where it stands.
    fn integers<'value>(value: &'value Value, place: &str, found: &mut Vec<(String, &'value Value)>) {
        let is_integer = |kind: &Value| {
            kind == "integer" || kind.as_array().is_some_and(|kinds| kinds.contains(&"integer".into()))
        };
        if value.get("type").is_some_and(is_integer) {
            found.push((place.to_owned(), value));
        }
        match value {
            Value::Array(values) => {
                values
                    .iter()
                    .enumerate()
                    .for_each(|(at, value)| integers(value, &format!("{place}/{at}"), found));
            }
            Value::Object(fields) => {
                fields.iter().for_each(|(name, value)| integers(value, &format!("{place}/{name}"), found));
            }
            _ => {}
        }
    }

    #[test]
    fn every_integer_fits_into_its_format() {
        let document: Value = serde_json::from_slice(&document()).unwrap();
        let mut found = Vec::new();
        integers(&document, "", &mut found);
        assert!(found.len() > 50, "{}", found.len());
        for (place, integer) in &found {
            let greatest = match integer["format"].as_str() {
                Some("int32") => i64::from(i32::MAX),
                Some("int64") => i64::MAX,
                other => panic!("{place}: {other:?}"),
            };
            let maximum = integer["maximum"].as_i64();
            assert!(maximum.is_none_or(|maximum| maximum <= greatest), "{place}: {integer}");
            assert!(integer["format"] == "int64" || maximum.is_some(), "{place}: {integer}");
        }
        let of = |place: &str| {
            let shape = format!("/components/schemas/{place}");
            let (_, integer) =
                found.iter().find(|(place, _)| *place == shape).expect("every shape has its integers");
            (integer["format"].as_str().unwrap(), integer["minimum"].as_i64(), integer["maximum"].as_i64())
        };
        assert_eq!(of("EventReply/properties/status_code"), ("int64", Some(0), Some(i64::from(u32::MAX))));
        assert_eq!(of("AccountBody/properties/code"), ("int32", Some(0), Some(65535)));
        assert_eq!(of("AccountBody/properties/ledger"), ("int64", Some(0), Some(i64::from(u32::MAX))));
        assert_eq!(of("AssetReply/properties/scale"), ("int32", Some(0), Some(255)));
        assert_eq!(of("ChangeReply/properties/number"), ("int64", Some(0), None));
    }
}
