//! The parts of a value, each bounded and watched as the value is.

use serde::ser::{self, Serialize};

use super::{Pass, Turn, Watched};
use crate::codec::proofs::Place;

/// The parts of a sequence, map, tuple or struct.
pub(super) struct Parts<'p, P> {
    pub(super) inner: P,
    pub(super) pass: &'p Pass,
    pub(super) level: u8,
    /// The place of the type whose parts these are.
    pub(super) of_type: Place,
    /// Parts so far, where they have no name.
    pub(super) number: usize,
}

impl<'p, P> Parts<'p, P> {
    #[inline]
    fn part<'a, T: ?Sized>(&self, value: &'a T, place: Place) -> Watched<'a, T>
    where
        'p: 'a,
    {
        Watched {
            value,
            pass: self.pass,
            level: self.level,
            place,
            in_some: false,
        }
    }
}

impl<S: ser::SerializeSeq> ser::SerializeSeq for Parts<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    #[inline]
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        self.pass.fill(1)?;
        let element = self.part(value, self.of_type.to(Turn::Seq));
        self.inner.serialize_element(&element)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}

macro_rules! numbered {
    ($($part:ident $method:ident;)*) => {$(
        impl<S: ser::$part> ser::$part for Parts<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                let part = self.part(value, self.of_type.nth(Turn::Tuple, self.number));
                self.number += 1;
                self.inner.$method(&part)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

numbered! {
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

impl<S: ser::SerializeMap> ser::SerializeMap for Parts<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        self.pass.fill(1)?;
        let key = self.part(key, self.of_type.to(Turn::Key));
        self.inner.serialize_key(&key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let value = self.part(value, self.of_type.to(Turn::Value));
        self.inner.serialize_value(&value)
    }

    #[inline]
    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), S::Error> {
        self.pass.fill(1)?;
        let key = self.part(key, self.of_type.to(Turn::Key));
        let value = self.part(value, self.of_type.to(Turn::Value));
        self.inner.serialize_entry(&key, &value)
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        self.inner.end()
    }
}

macro_rules! named {
    ($($part:ident)*) => {$(
        impl<S: ser::$part> ser::$part for Parts<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            #[inline]
            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                let field = self.part(value, self.of_type.field(name));
                self.inner.serialize_field(name, &field)
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), S::Error> {
                if !self.pass.names_fields {
                    return Err(left_out(name));
                }
                self.pass.take(self.of_type.field(name).to(Turn::LeftOut));
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                self.inner.end()
            }
        }
    )*};
}

named! { SerializeStruct SerializeStructVariant }

/// The reader of a format without names would take the next field's bytes for this field, and now and then they fit.
fn left_out<E: ser::Error>(field: &str) -> E {
    E::custom(format_args!(
        "field `{field}` is left out (`skip_serializing_if`), which this format cannot express; `MsgPack` and `Json`, \
         which name each field, can where the field has a default"
    ))
}
