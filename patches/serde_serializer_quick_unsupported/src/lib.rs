//! `serializer_unsupported!`: inside an `impl serde::Serializer`, writes the methods named, each of which refuses its
//! value. `serde_avro_fast` is built on a crate of this name that is under the LGPL; this one, written from serde's
//! own trait and from how the macro is called, takes its place (`[patch]` in the workspace's manifest).

/// Writes refusing methods, and the associated types of refused compounds, for these kinds of value:
/// `serializer_unsupported! { err = (EXPRESSION); bool i8 … struct_variant i128 u128 }`.
#[macro_export]
macro_rules! serializer_unsupported {
    (err = ($error:expr); $($kind:ident)*) => {
        $($crate::serializer_unsupported!(@one $kind, $error);)*
    };
    (@one bool, $error:expr) => { $crate::serializer_unsupported!(@value serialize_bool, bool, $error); };
    (@one i8, $error:expr) => { $crate::serializer_unsupported!(@value serialize_i8, i8, $error); };
    (@one i16, $error:expr) => { $crate::serializer_unsupported!(@value serialize_i16, i16, $error); };
    (@one i32, $error:expr) => { $crate::serializer_unsupported!(@value serialize_i32, i32, $error); };
    (@one i64, $error:expr) => { $crate::serializer_unsupported!(@value serialize_i64, i64, $error); };
    (@one i128, $error:expr) => { $crate::serializer_unsupported!(@value serialize_i128, i128, $error); };
    (@one u8, $error:expr) => { $crate::serializer_unsupported!(@value serialize_u8, u8, $error); };
    (@one u16, $error:expr) => { $crate::serializer_unsupported!(@value serialize_u16, u16, $error); };
    (@one u32, $error:expr) => { $crate::serializer_unsupported!(@value serialize_u32, u32, $error); };
    (@one u64, $error:expr) => { $crate::serializer_unsupported!(@value serialize_u64, u64, $error); };
    (@one u128, $error:expr) => { $crate::serializer_unsupported!(@value serialize_u128, u128, $error); };
    (@one f32, $error:expr) => { $crate::serializer_unsupported!(@value serialize_f32, f32, $error); };
    (@one f64, $error:expr) => { $crate::serializer_unsupported!(@value serialize_f64, f64, $error); };
    (@one char, $error:expr) => { $crate::serializer_unsupported!(@value serialize_char, char, $error); };
    (@one str, $error:expr) => { $crate::serializer_unsupported!(@value serialize_str, &str, $error); };
    (@one bytes, $error:expr) => { $crate::serializer_unsupported!(@value serialize_bytes, &[u8], $error); };
    (@one none, $error:expr) => {
        fn serialize_none(self) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($error)
        }
    };
    (@one some, $error:expr) => {
        fn serialize_some<T: ?Sized + serde::Serialize>(
            self,
            _: &T,
        ) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($error)
        }
    };
    (@one unit, $error:expr) => {
        fn serialize_unit(self) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($error)
        }
    };
    (@one unit_struct, $error:expr) => {
        $crate::serializer_unsupported!(@value serialize_unit_struct, &'static str, $error);
    };
    (@one unit_variant, $error:expr) => {
        fn serialize_unit_variant(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
        ) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($error)
        }
    };
    (@one newtype_struct, $error:expr) => {
        fn serialize_newtype_struct<T: ?Sized + serde::Serialize>(
            self,
            _: &'static str,
            _: &T,
        ) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($error)
        }
    };
    (@one newtype_variant, $error:expr) => {
        fn serialize_newtype_variant<T: ?Sized + serde::Serialize>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($error)
        }
    };
    (@one seq, $error:expr) => {
        $crate::serializer_unsupported!(@compound SerializeSeq, serialize_seq, $error, Option<usize>);
    };
    (@one map, $error:expr) => {
        $crate::serializer_unsupported!(@compound SerializeMap, serialize_map, $error, Option<usize>);
    };
    (@one tuple, $error:expr) => {
        $crate::serializer_unsupported!(@compound SerializeTuple, serialize_tuple, $error, usize);
    };
    (@one tuple_struct, $error:expr) => {
        $crate::serializer_unsupported!(
            @compound SerializeTupleStruct, serialize_tuple_struct, $error, &'static str, usize
        );
    };
    (@one struct, $error:expr) => {
        $crate::serializer_unsupported!(
            @compound SerializeStruct, serialize_struct, $error, &'static str, usize
        );
    };
    (@one tuple_variant, $error:expr) => {
        $crate::serializer_unsupported!(
            @compound SerializeTupleVariant, serialize_tuple_variant, $error,
            &'static str, u32, &'static str, usize
        );
    };
    (@one struct_variant, $error:expr) => {
        $crate::serializer_unsupported!(
            @compound SerializeStructVariant, serialize_struct_variant, $error,
            &'static str, u32, &'static str, usize
        );
    };
    (@value $method:ident, $type:ty, $error:expr) => {
        fn $method(self, _: $type) -> ::core::result::Result<Self::Ok, Self::Error> {
            ::core::result::Result::Err($error)
        }
    };
    (@compound $name:ident, $method:ident, $error:expr, $($type:ty),*) => {
        type $name = serde::ser::Impossible<Self::Ok, Self::Error>;
        fn $method(self, $(_: $type),*) -> ::core::result::Result<Self::$name, Self::Error> {
            ::core::result::Result::Err($error)
        }
    };
}

#[cfg(test)]
mod tests {
    use serde::ser::Error as _;
    use serde::{Serialize, Serializer};

    type Refusal = serde::de::value::Error;

    /// Takes text and nothing else.
    struct TextOnly;

    impl Serializer for TextOnly {
        type Ok = String;
        type Error = Refusal;

        fn serialize_str(self, text: &str) -> Result<String, Refusal> {
            Ok(text.to_owned())
        }

        crate::serializer_unsupported! {
            err = (Refusal::custom("text only"));
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char bytes none some unit unit_struct
            unit_variant newtype_struct newtype_variant seq tuple tuple_struct tuple_variant map struct
            struct_variant i128 u128
        }
    }

    #[derive(Serialize)]
    enum Variants {
        Unit,
        Newtype(u8),
        Tuple(u8, u8),
        Struct { field: u8 },
    }

    #[derive(Serialize)]
    struct Unit;

    #[derive(Serialize)]
    struct Newtype(u8);

    #[derive(Serialize)]
    struct Tuple(u8, u8);

    #[derive(Serialize)]
    struct Named {
        field: u8,
    }

    #[track_caller]
    fn refused(value: impl Serialize) {
        let refusal = value.serialize(TextOnly).expect_err("only text is taken");
        assert_eq!(refusal, Refusal::custom("text only"));
    }

    #[test]
    fn what_is_not_named_is_taken() {
        assert_eq!("a".serialize(TextOnly), Ok("a".to_owned()));
    }

    #[test]
    fn every_kind_named_is_refused() {
        refused(true);
        refused((1_i8, 1_u8));
        refused(1_i8);
        refused(1_i16);
        refused(1_i32);
        refused(1_i64);
        refused(1_i128);
        refused(1_u8);
        refused(1_u16);
        refused(1_u32);
        refused(1_u64);
        refused(1_u128);
        refused(1.0_f32);
        refused(1.0_f64);
        refused('a');
        refused(None::<u8>);
        refused(Some(1_u8));
        refused(());
        refused(Unit);
        refused(Newtype(1));
        refused(Tuple(1, 2));
        refused(Named { field: 1 });
        refused(Variants::Unit);
        refused(Variants::Newtype(1));
        refused(Variants::Tuple(1, 2));
        refused(Variants::Struct { field: 1 });
        refused([1_u8].as_slice());
        refused(std::collections::BTreeMap::from([(1, 2)]));
        assert_eq!(TextOnly.serialize_bytes(b"a"), Err(Refusal::custom("text only")));
    }
}
