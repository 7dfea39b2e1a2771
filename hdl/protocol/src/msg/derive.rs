//! From a field list to `pack`, `unpack`, the table and JSON.

use super::{DecodeError, FieldValue};

/// The reference's name of a message.
macro_rules! message_name {
    (M2sReq) => {
        "M2S Req"
    };
    (M2sRwd) => {
        "M2S RwD"
    };
    (M2sBiRsp) => {
        "M2S BIRsp"
    };
    (S2mBiSnp) => {
        "S2M BISnp"
    };
    (S2mNdr) => {
        "S2M NDR"
    };
    (S2mDrs) => {
        "S2M DRS"
    };
}

/// The reference's name of a field.
macro_rules! field_name {
    (M2sReq opcode) => {
        "MemOpcode"
    };
    (M2sRwd opcode) => {
        "MemOpcode"
    };
    ($m:ident opcode) => {
        "Opcode"
    };
    ($m:ident valid) => {
        "Valid"
    };
    ($m:ident snp_type) => {
        "SnpType"
    };
    ($m:ident meta_field) => {
        "MetaField"
    };
    ($m:ident meta_value) => {
        "MetaValue"
    };
    ($m:ident tag) => {
        "Tag"
    };
    ($m:ident address) => {
        "Address"
    };
    ($m:ident poison) => {
        "Poison"
    };
    ($m:ident tc) => {
        "TC"
    };
    ($m:ident ld_id) => {
        "LD-ID"
    };
    ($m:ident bi_id) => {
        "BI-ID"
    };
    ($m:ident bi_tag) => {
        "BITag"
    };
    ($m:ident low_addr) => {
        "LowAddr"
    };
    ($m:ident dev_load) => {
        "DevLoad"
    };
    ($m:ident rsvd) => {
        "RSVD"
    };
}

/// The address bit that bit 0 of a field stands for.
macro_rules! field_shift {
    (M2sReq address) => {
        5
    };
    ($m:ident address) => {
        6
    };
    ($m:ident $f:ident) => {
        0
    };
}

/// The bits of one member; Valid and RSVD have no member.
macro_rules! get_member {
    ($self:ident $m:ident valid) => { 1u64 };
    ($self:ident $m:ident rsvd) => { 0u64 };
    ($self:ident $m:ident $f:ident) => { FieldValue::to_raw($self.$f) >> field_shift!($m $f) };
}

/// Stores the bits of one field in its member, or returns the error.
macro_rules! set_member {
    ($out:ident $m:ident valid $raw:expr) => {};
    ($out:ident $m:ident rsvd $raw:expr) => {};
    ($out:ident $m:ident $f:ident $raw:expr) => {
        $out.$f = match FieldValue::from_raw($raw << field_shift!($m $f)) {
            Some(value) if FieldValue::is_supported(value) => value,
            _ => return Err(refuse($m::DEF.name, field_name!($m $f), $raw, name_of_value($out.$f))),
        }
    };
}

/// The name function of a member's type.
pub(super) fn name_of_value<T: FieldValue>(_: T) -> Option<fn(u64) -> Option<&'static str>> {
    T::NAME_OF
}

#[cold]
pub(super) fn refuse(
    message: &'static str,
    field: &'static str,
    value: u64,
    name_of: Option<fn(u64) -> Option<&'static str>>,
) -> DecodeError {
    match name_of.and_then(|f| f(value)) {
        Some(name) => DecodeError::Unsupported {
            message,
            field,
            value,
            name,
        },
        None => DecodeError::Reserved {
            message,
            field,
            value,
        },
    }
}

/// The name function of a field, for the table.
macro_rules! member_names {
    ($m:ident valid) => {
        None
    };
    ($m:ident rsvd) => {
        None
    };
    ($m:ident opcode) => {
        opcode_names!($m)
    };
    ($m:ident snp_type) => {
        SnpType::NAME_OF
    };
    ($m:ident meta_field) => {
        MetaField::NAME_OF
    };
    ($m:ident meta_value) => {
        MetaValue::NAME_OF
    };
    ($m:ident dev_load) => {
        DevLoad::NAME_OF
    };
    ($m:ident $f:ident) => {
        None
    };
}
macro_rules! opcode_names {
    (M2sReq) => {
        M2sReqOpcode::NAME_OF
    };
    (M2sRwd) => {
        M2sRwdOpcode::NAME_OF
    };
    (M2sBiRsp) => {
        M2sBiRspOpcode::NAME_OF
    };
    (S2mBiSnp) => {
        S2mBiSnpOpcode::NAME_OF
    };
    (S2mNdr) => {
        S2mNdrOpcode::NAME_OF
    };
    (S2mDrs) => {
        S2mDrsOpcode::NAME_OF
    };
}

macro_rules! derive_message {
    ($name:ident; $($f:ident : $w:literal),*) => {
        impl $name {
            /// Size in bits.
            pub const BITS: u32 = 0 $(+ $w)*;
            /// Name and fields, for tools.
            pub const DEF: MessageDef = MessageDef {
                name: message_name!($name),
                bits: Self::BITS,
                fields: &{
                    let mut fields = [$(FieldBits {
                        name: field_name!($name $f),
                        member: stringify!($f),
                        lsb: 0,
                        width: $w,
                        shift: field_shift!($name $f),
                        name_of: member_names!($name $f),
                    }),*];
                    let mut n = 1;
                    while n < fields.len() {
                        fields[n].lsb = fields[n - 1].lsb + fields[n - 1].width;
                        n += 1;
                    }
                    fields
                },
            };

            /// The message in its bit layout, Valid set, reserved bits zero. Bits of a member beyond its width are dropped.
            #[inline]
            pub fn pack(&self) -> u128 {
                let mut raw = 0u128;
                let mut at = 0u32;
                $(
                    raw |= u128::from(get_member!(self $name $f) & ((1 << $w) - 1)) << at;
                    at += $w;
                )*
                debug_assert!(at == Self::BITS);
                raw
            }

            /// Reads a message; bits above its size and reserved bits are ignored. `Ok(None)` if Valid is 0.
            ///
            /// # Errors
            /// [`DecodeError`] for the first field with a reserved or unsupported encoding.
            #[inline]
            #[allow(unused_assignments)]
            pub fn unpack(raw: u128) -> Result<Option<Self>, DecodeError> {
                if raw & 1 == 0 {
                    return Ok(None);
                }
                let raw = Self::ignore_unused(raw);
                let mut out = Self::default();
                let mut at = 0u32;
                $(
                    set_member!(out $name $f (((raw >> at) as u64) & ((1 << $w) - 1)));
                    at += $w;
                )*
                Ok(Some(out))
            }
        }

        impl serde::Serialize for $name {
            /// An object with the reference's field names.
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                $(serialize_member!(self $name $f map);)*
                map.end()
            }
        }
    };
}
macro_rules! serialize_member {
    ($self:ident $m:ident valid $map:ident) => { $map.serialize_entry("Valid", &1)? };
    ($self:ident $m:ident rsvd $map:ident) => {};
    ($self:ident $m:ident $f:ident $map:ident) => { $map.serialize_entry(field_name!($m $f), &$self.$f)? };
}
