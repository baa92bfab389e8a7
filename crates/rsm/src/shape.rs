//! The shape of a value: its structure as serde reports it, without the scalars. Unlike postcard's bytes, the
//! shape shows that a field was skipped.
//!
//! postcard writes no field names and no markers. If `skip_serializing_if` skips a field, the reader takes
//! the bytes of the next field for it, and may read another value without an error. [`shape`] refuses a value
//! whose serializer reports a skipped field. A tuple struct does not report skipped fields; but then the
//! decoded value has another shape, because it has all fields.
//!
//! What always holds: equal values have equal shapes, in whatever order a map or set iterates. A value that
//! is nested deeper than the limit is not traversed further, so that the traversal fits on any thread's
//! stack. No bytes are written.

use core::fmt;

use serde_core::ser::{
    self, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

/// A sum over all compound values inside a value; the order does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape(u64);

/// Maximum depth of nested values in the arguments of a call.
pub(crate) const DEPTH_MAX: usize = 256;

/// The value has no shape: a field is skipped, it is nested too deep, or its serializer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shapeless;

impl fmt::Display for Shapeless {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field is skipped, or the value is nested too deep")
    }
}

impl core::error::Error for Shapeless {}

impl ser::Error for Shapeless {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// The shape of a value that is nested at most `depth_max` deep.
pub(crate) fn shape<T: Serialize>(value: &T, depth_max: usize) -> Result<Shape, Shapeless> {
    let mut tracer = Tracer { sum: 0, depth_left: depth_max };
    value.serialize(&mut tracer)?;
    Ok(Shape(tracer.sum))
}

struct Tracer {
    sum: u64,
    depth_left: usize,
}

/// Kind of a compound value.
#[derive(Clone, Copy)]
enum Kind {
    Some = 1,
    Newtype,
    Seq,
    Tuple,
    TupleStruct,
    Map,
    Struct,
    Variant,
}

impl Tracer {
    /// Adds one compound value to the sum. The mixing steps of `MurmurHash` make sums of different values
    /// differ.
    const fn count(&mut self, kind: Kind, variant: u32, parts: usize) {
        let mut mixed = (kind as u64) << 56 ^ (variant as u64) << 32 ^ parts as u64;
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        self.sum = self.sum.wrapping_add(mixed ^ mixed >> 33);
    }

    const fn enter(&mut self, kind: Kind, variant: u32, parts: usize) -> Result<(), Shapeless> {
        let Some(left) = self.depth_left.checked_sub(1) else { return Err(Shapeless) };
        self.depth_left = left;
        self.count(kind, variant, parts);
        Ok(())
    }

    const fn leave(&mut self) {
        self.depth_left += 1;
    }

    fn inside<T: Serialize + ?Sized>(
        &mut self,
        kind: Kind,
        variant: u32,
        value: &T,
    ) -> Result<(), Shapeless> {
        self.enter(kind, variant, 1)?;
        value.serialize(&mut *self)?;
        self.leave();
        Ok(())
    }
}

/// Scalars have no shape.
macro_rules! scalars {
    ($($name:ident: $kind:ty),*) => {
        $(fn $name(self, _: $kind) -> Result<(), Shapeless> {
            Ok(())
        })*
    };
}

impl<'tracer> Serializer for &'tracer mut Tracer {
    type Ok = ();
    type Error = Shapeless;
    type SerializeSeq = Parts<'tracer>;
    type SerializeTuple = Parts<'tracer>;
    type SerializeTupleStruct = Parts<'tracer>;
    type SerializeTupleVariant = Parts<'tracer>;
    type SerializeMap = Parts<'tracer>;
    type SerializeStruct = Parts<'tracer>;
    type SerializeStructVariant = Parts<'tracer>;

    scalars! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_i128: i128, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_u128: u128, serialize_f32: f32, serialize_f64: f64, serialize_char: char, serialize_str: &str,
        serialize_bytes: &[u8], serialize_unit_struct: &'static str
    }

    fn serialize_none(self) -> Result<(), Shapeless> {
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), Shapeless> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, at: u32, _: &'static str) -> Result<(), Shapeless> {
        self.count(Kind::Variant, at, 0);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Shapeless> {
        self.inside(Kind::Some, 0, value)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Shapeless> {
        self.inside(Kind::Newtype, 0, value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        at: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Shapeless> {
        self.inside(Kind::Variant, at, value)
    }

    fn serialize_seq(self, count: Option<usize>) -> Result<Self::SerializeSeq, Shapeless> {
        Parts::of(self, Kind::Seq, 0, count)
    }

    fn serialize_tuple(self, count: usize) -> Result<Self::SerializeTuple, Shapeless> {
        Parts::of(self, Kind::Tuple, 0, Some(count))
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        count: usize,
    ) -> Result<Self::SerializeTupleStruct, Shapeless> {
        Parts::of(self, Kind::TupleStruct, 0, Some(count))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        at: u32,
        _: &'static str,
        count: usize,
    ) -> Result<Self::SerializeTupleVariant, Shapeless> {
        Parts::of(self, Kind::Variant, at, Some(count))
    }

    fn serialize_map(self, count: Option<usize>) -> Result<Self::SerializeMap, Shapeless> {
        Parts::of(self, Kind::Map, 0, count)
    }

    fn serialize_struct(self, _: &'static str, count: usize) -> Result<Self::SerializeStruct, Shapeless> {
        Parts::of(self, Kind::Struct, 0, Some(count))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        at: u32,
        _: &'static str,
        count: usize,
    ) -> Result<Self::SerializeStructVariant, Shapeless> {
        Parts::of(self, Kind::Variant, at, Some(count))
    }

    /// The same answer as postcard's serializer gives, because a type may serialize differently in a
    /// human-readable format.
    fn is_human_readable(&self) -> bool {
        false
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<(), Shapeless> {
        Ok(())
    }
}

/// Serializes the parts of a compound value.
struct Parts<'tracer>(&'tracer mut Tracer);

impl<'tracer> Parts<'tracer> {
    /// An unknown number of parts (serde's `flatten`) is an error, because postcard cannot write it.
    fn of(
        tracer: &'tracer mut Tracer,
        kind: Kind,
        variant: u32,
        count: Option<usize>,
    ) -> Result<Self, Shapeless> {
        tracer.enter(kind, variant, count.ok_or(Shapeless)?)?;
        Ok(Self(tracer))
    }

    #[expect(clippy::unnecessary_wraps, reason = "serde's traits require it")]
    const fn end(self) -> Result<(), Shapeless> {
        self.0.leave();
        Ok(())
    }
}

/// Implements serde's traits for compound values, which differ only in names.
macro_rules! parts {
    ($($of:ident $name:ident ($($key:ty)?) $($skip:ident)?),*) => {
        $(impl $of for Parts<'_> {
            type Ok = ();
            type Error = Shapeless;

            fn $name<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> Result<(), Shapeless> {
                value.serialize(&mut *self.0)
            }

            $(fn $skip(&mut self, _: &'static str) -> Result<(), Shapeless> {
                Err(Shapeless)
            })?

            fn end(self) -> Result<(), Shapeless> {
                Parts::end(self)
            }
        })*
    };
}

parts! {
    SerializeSeq serialize_element (),
    SerializeTuple serialize_element (),
    SerializeTupleStruct serialize_field (),
    SerializeTupleVariant serialize_field (),
    SerializeStruct serialize_field (&'static str) skip_field,
    SerializeStructVariant serialize_field (&'static str) skip_field
}

impl SerializeMap for Parts<'_> {
    type Ok = ();
    type Error = Shapeless;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Shapeless> {
        key.serialize(&mut *self.0)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Shapeless> {
        value.serialize(&mut *self.0)
    }

    fn end(self) -> Result<(), Shapeless> {
        Parts::end(self)
    }
}
