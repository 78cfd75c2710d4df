//! Enums whose variants are stored under numbers of their own, written down beside them: bundles outlive the order in
//! which this program's source lists its operators.

use serde::de::{DeserializeSeed, Deserializer, Error, Visitor};

/// Defines an enum with an explicit, stable number per variant, which is what bundles hold of it (formats for people
/// hold the name). A variant is a word, `Word { field: Copy type }` or `Word(field: type)`. Unknown numbers are refused
/// by name.
macro_rules! tagged {
    (
        $(#[$meta:meta])*
        pub enum $name:ident, $what:literal {$(
            $(#[$note:meta])*
            $variant:ident
            $({ $( $(#[$field_note:meta])* $field:ident: $type:ty ),+ $(,)? })?
            $(( $inner:ident: $inner_type:ty ))?
            = $tag:literal,
        )+}
    ) => {
        $(#[$meta])*
        pub enum $name {$(
            $(#[$note])*
            $variant $({ $( $(#[$field_note])* $field: $type ),+ })? $(($inner_type))?,
        )+}

        impl $name {
            /// Number and name of each variant. A number that was ever released keeps its meaning.
            pub const TAGS: &'static [(u32, &'static str)] = &[$( ($tag, stringify!($variant)) ),+];
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                match self {$(
                    Self::$variant $({ $($field),+ })? $(($inner))? => {
                        $crate::tagged::tagged!(@write to, $name, $tag, $variant $({ $($field: $type),+ })? $(($inner))?)
                    }
                )+}
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Tagged;
                impl<'de> serde::de::Visitor<'de> for Tagged {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(f, "a {}", $what)
                    }

                    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, data: A) -> Result<$name, A::Error> {
                        use serde::de::VariantAccess;
                        let known = $crate::tagged::Known { what: $what, tags: $name::TAGS };
                        match data.variant_seed(known)? {
                            $( ($tag, content) => $crate::tagged::tagged!(
                                @read content, $name, $variant $({ $($field: $type),+ })? $(($inner))?
                            ), )+
                            (other, _) => Err(known.refused(other)),
                        }
                    }
                }
                from.deserialize_enum(stringify!($name), &[$( stringify!($variant) ),+], Tagged)
            }
        }
    };
    (@write $to:ident, $name:ident, $tag:literal, $variant:ident) => {
        $to.serialize_unit_variant(stringify!($name), $tag, stringify!($variant))
    };
    (@write $to:ident, $name:ident, $tag:literal, $variant:ident { $($field:ident: $type:ty),+ }) => {{
        #[derive(serde::Serialize)]
        struct Fields { $($field: $type),+ }
        let fields = Fields { $($field: *$field),+ };
        $to.serialize_newtype_variant(stringify!($name), $tag, stringify!($variant), &fields)
    }};
    (@write $to:ident, $name:ident, $tag:literal, $variant:ident ($inner:ident)) => {
        $to.serialize_newtype_variant(stringify!($name), $tag, stringify!($variant), $inner)
    };
    (@read $content:ident, $name:ident, $variant:ident) => {
        $content.unit_variant().map(|()| $name::$variant)
    };
    (@read $content:ident, $name:ident, $variant:ident { $($field:ident: $type:ty),+ }) => {{
        #[derive(serde::Deserialize)]
        struct Fields { $($field: $type),+ }
        $content.newtype_variant().map(|Fields { $($field),+ }| $name::$variant { $($field),+ })
    }};
    (@read $content:ident, $name:ident, $variant:ident ($inner:ident)) => {
        $content.newtype_variant().map($name::$variant)
    };
}
pub(crate) use tagged;

/// The numbers and names that an enum knows: reads either as a number.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    pub(crate) what: &'static str,
    pub(crate) tags: &'static [(u32, &'static str)],
}

impl Known {
    /// The error of a number that is none of the enum's.
    pub(crate) fn refused<E: Error>(self, tag: u32) -> E {
        let newest = self.tags.iter().map(|&(tag, _)| tag).max().unwrap_or(0);
        E::custom(format!(
            "{} number {tag} is not known to this program, which knows numbers up to {newest}: install the matching release",
            self.what
        ))
    }
}

impl<'de> DeserializeSeed<'de> for Known {
    type Value = u32;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<u32, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Known {
    type Value = u32;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "number or name of a {}", self.what)
    }

    fn visit_u64<E: Error>(self, tag: u64) -> Result<u32, E> {
        Ok(u32::try_from(tag).unwrap_or(u32::MAX))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<u32, E> {
        let found = self.tags.iter().find(|(_, known)| *known == name);
        found.map(|&(tag, _)| tag).ok_or_else(|| E::custom(format!("there is no {} '{name}'", self.what)))
    }
}
