//! Points in time in query strings.

use bezant_types::Nanos;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::parse_moment;

/// A point in time, in ns since the Unix epoch; not 0. The text is one of the forms of [`parse_moment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(pub Nanos);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment = parse_moment(&text).map_err(D::Error::custom)?;
        if moment.0 == 0 {
            return Err(D::Error::custom("the ledger has no time 0 (1970-01-01T00:00:00Z)"));
        }
        Ok(Self(moment))
    }
}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .description(Some("a date, a time with an offset, or nanoseconds since the Unix epoch"))
            .examples([serde_json::json!("2026-11-01"), serde_json::json!("2026-11-01T09:30:00Z")])
            .build()
            .into()
    }
}

impl ToSchema for Moment {}
