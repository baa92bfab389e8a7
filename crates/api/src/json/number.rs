//! Integers as strings of decimal digits.

use core::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! text {
    ($(#[$doc:meta])* $name:ident($integer:ty) $pattern:literal $size_max:literal $expecting:literal $example:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
        pub struct $name(pub $integer);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Digits;

                impl Visitor<'_> for Digits {
                    type Value = $name;

                    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                        formatter.write_str($expecting)
                    }

                    fn visit_str<E: Error>(self, text: &str) -> Result<$name, E> {
                        let has_sign = text.starts_with('+');
                        let integer = text.parse().ok().filter(|_| !has_sign);
                        integer.map($name).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
                    }
                }

                deserializer.deserialize_str(Digits)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(SchemaType::Type(Type::String))
                    .pattern(Some($pattern))
                    .max_length(Some($size_max))
                    .description(Some($expecting))
                    .examples([$example])
                    .build()
                    .into()
            }
        }

        impl ToSchema for $name {}
    };
}

text! {
    /// An id, a key or an amount of minor units: 0 to 2^128 - 1.
    Amount(u128) "^[0-9]+$" 39 "a string of digits, such as \"1050\", of at most 128 bits" "1050"
}
text! {
    /// A balance or a bound in minor units: -2^127 to 2^127 - 1.
    SignedAmount(i128) "^-?[0-9]+$" 40 "a string of digits, such as \"-50000\", of at most 128 bits" "-50000"
}
text! {
    /// A key or a timestamp in nanoseconds since the Unix epoch: 0 to 2^64 - 1.
    Text64(u64) "^[0-9]+$" 20 "a string of digits, such as \"1700000000000000000\", of at most 64 bits" "1700000000000000000"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_integers_are_strings_and_never_numbers() {
        let largest = format!("\"{}\"", u128::MAX);
        let amount: Amount = serde_json::from_str(&largest).unwrap();
        assert_eq!(amount, Amount(u128::MAX));
        assert_eq!(serde_json::to_string(&amount).unwrap(), largest);
        let wrong = [
            "1050",
            "1.5",
            "\"\"",
            "\"-1\"",
            "\"+1\"",
            "\" 1\"",
            "\"1e3\"",
            "null",
            "\"0x1\"",
            "\"340282366920938463463374607431768211456\"",
        ];
        for text in wrong {
            let error = serde_json::from_str::<Amount>(text).unwrap_err().to_string();
            assert!(error.contains("a string of digits"), "{text}: {error}");
        }
        assert_eq!(serde_json::from_str::<SignedAmount>("\"-5\"").unwrap(), SignedAmount(-5));
    }
}
