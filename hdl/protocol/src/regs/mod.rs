//! The register map of BAR0 (64 KiB), derived from one list.
//!
//! [`for_each_reg!`](crate::for_each_reg) holds the list. From it come, here, a unit struct per register with its `OFFSET`,
//! `RESET` and field constants, the enumeration [`Reg`], the table [`REGS`] and the generators in [`emit`]; the RTL takes its
//! address decode from the same list.
//!
//! Registers are 32 bits, little endian. Offsets that are in no list read zero.

pub mod emit;
#[macro_use]
mod list;

/// Size of BAR0 in bytes.
pub const BAR0_SIZE: u32 = 0x1_0000;
/// Offset of the MSI-X table in BAR0. Its entries are RAM-like: no registers of the list.
pub const MSIX_TABLE: u32 = 0x8000;
/// Offset of the MSI-X pending bit array in BAR0.
pub const MSIX_PBA: u32 = 0x9000;
/// Number of MSI-X vectors; each takes 16 bytes of the table.
pub const MSIX_VECTORS: u32 = 4;
/// Distance between the register blocks of two HDM decoders, bytes.
pub const HDM_STRIDE: u32 = 0x20;
/// Number of HDM decoders in the map.
pub const HDM_DECODERS: usize = 2;
/// Default of `EngTimeout`, cycles.
pub const ENG_TIMEOUT_DEFAULT: u32 = EngTimeout::RESET;

/// How software may use a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub enum Access {
    /// Read only; writes are ignored.
    RO,
    /// Read and write.
    RW,
    /// Read; writing one clears the bit.
    RW1C,
    /// Write only; reads zero.
    WO,
}

/// A bit field of a 32-bit register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Lowest bit.
    pub lsb: u32,
    /// Width in bits, 1 to 32.
    pub width: u32,
}

impl Field {
    /// The field's bits set, in place.
    pub const fn mask(self) -> u32 {
        (if self.width >= 32 {
            u32::MAX
        } else {
            (1 << self.width) - 1
        }) << self.lsb
    }
    /// The field's value in `reg`, right-aligned.
    pub const fn get(self, reg: u32) -> u32 {
        (reg & self.mask()) >> self.lsb
    }
    /// `reg` with the field set to `value`; bits of `value` that do not fit are dropped.
    pub const fn with(self, reg: u32, value: u32) -> u32 {
        (reg & !self.mask()) | ((value << self.lsb) & self.mask())
    }
    /// True if any bit of the field is set in `reg`.
    pub const fn is_set(self, reg: u32) -> bool {
        reg & self.mask() != 0
    }
}

/// One field in the table [`REGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FieldDef {
    /// Name in upper case.
    pub name: &'static str,
    /// Lowest bit.
    pub lsb: u32,
    /// Width in bits.
    pub width: u32,
    /// One line of documentation.
    pub doc: &'static str,
}

/// One register in the table [`REGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RegDef {
    /// Name in CamelCase, as in [`Reg`].
    pub name: &'static str,
    /// Byte offset in BAR0.
    pub offset: u32,
    /// What software may do.
    pub access: Access,
    /// Value after reset; 0 where the configuration decides.
    pub reset: u32,
    /// Named fields, lowest first; empty when the register is one number.
    pub fields: &'static [FieldDef],
    /// One line of documentation.
    pub doc: &'static str,
}

macro_rules! derive_regs {
    ($(($id:ident, $off:literal, $acc:ident, $reset:literal, $doc:literal,
        [$(($f:ident, $lsb:literal, $w:literal, $fd:literal)),*]))*) => {
        /// Every register, in address order; `None` stands for an unassigned offset.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        pub enum Reg {
            /// An offset that no register has.
            #[default]
            None,
            $(#[doc = $doc] $id,)*
        }

        impl Reg {
            /// The register at a byte offset of BAR0, [`Reg::None`] if there is none (an unaligned offset has none).
            pub const fn from_offset(offset: u32) -> Reg {
                match offset {
                    $($off => Reg::$id,)*
                    _ => Reg::None,
                }
            }
        }

        $(
            #[doc = $doc]
            #[derive(Clone, Copy, Debug)]
            pub struct $id;
            impl $id {
                /// Byte offset in BAR0.
                pub const OFFSET: u32 = $off;
                /// Value after reset.
                pub const RESET: u32 = $reset;
                $(
                    #[doc = $fd]
                    pub const $f: Field = Field { lsb: $lsb, width: $w };
                )*
            }
        )*

        /// The register map in address order.
        pub const REGS: &[RegDef] = &[$(RegDef {
            name: stringify!($id),
            offset: $off,
            access: Access::$acc,
            reset: $reset,
            fields: &[$(FieldDef { name: stringify!($f), lsb: $lsb, width: $w, doc: $fd }),*],
            doc: $doc,
        }),*];
    };
}
for_each_reg!(derive_regs);

impl Reg {
    /// The table entry, or `None` for [`Reg::None`].
    pub const fn def(self) -> Option<&'static RegDef> {
        match self as usize {
            0 => None,
            n => Some(&REGS[n - 1]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_is_ordered_aligned_and_inside_the_map() {
        for pair in REGS.windows(2) {
            assert!(
                pair[0].offset < pair[1].offset,
                "{} and {} are out of order",
                pair[0].name,
                pair[1].name
            );
        }
        for reg in REGS {
            assert!(
                reg.offset % 4 == 0 && reg.offset < MSIX_TABLE,
                "{}",
                reg.name
            );
            let mut used = 0u32;
            for field in reg.fields {
                assert!(
                    field.width >= 1 && field.lsb + field.width <= 32,
                    "{}.{}",
                    reg.name,
                    field.name
                );
                let mask = Field {
                    lsb: field.lsb,
                    width: field.width,
                }
                .mask();
                assert_eq!(used & mask, 0, "{}.{} overlaps", reg.name, field.name);
                used |= mask;
            }
        }
    }

    #[test]
    fn enum_offset_and_table_agree() {
        assert_eq!(Reg::from_offset(0x2001), Reg::None);
        assert_eq!(Reg::None.def(), None);
        for (n, def) in REGS.iter().enumerate() {
            let reg = Reg::from_offset(def.offset);
            assert_eq!(reg as usize, n + 1);
            assert_eq!(reg.def(), Some(def));
        }
    }

    #[test]
    fn identity_and_capability_chain() {
        assert_eq!(&Id::RESET.to_le_bytes(), b"CXLM");
        assert_eq!(CapHeader::COUNT.get(CapHeader::RESET), 3);
        for (cap, first) in [
            (CapRas::RESET, RasUncStatus::OFFSET),
            (CapHdm::RESET, HdmCap::OFFSET),
        ] {
            assert_eq!(0x1000 + CapRas::POINTER.get(cap), first);
        }
        assert_eq!(HDM_DECODERS, 1 << HdmCap::COUNT_CODE.get(HdmCap::RESET));
        assert_eq!(Hdm1BaseLo::OFFSET - Hdm0BaseLo::OFFSET, HDM_STRIDE);
    }
}
