//! From a BAR0 that answers to a device that serves memory: identity, media, link, HDM decoder, interrupt vector.
//!
//! The order is that of [`bring_up`]; each step can be called alone. All waits are bounded by [`Limits`].

use crate::error::Error;
use crate::io::{field, read, read64, wait_register, write, write64, Hw};
use crate::limits::Limits;
use cxlmem_protocol::{hdm, regs};

/// Major version of the register map that this driver knows: that of the map it was built with.
pub const MAP_MAJOR: u32 = regs::Version::MAJOR.get(regs::Version::RESET);

/// What the identity registers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Version of the register map, major and minor.
    pub version: (u16, u16),
    /// Capability word; see the fields of [`regs::Caps`].
    pub caps: u32,
    /// Number of the named configuration.
    pub config_id: u32,
    /// Memory, bytes.
    pub capacity: u64,
    /// Clock that the configuration states, kHz.
    pub clock_khz: u32,
    /// Req that can be outstanding.
    pub req_trackers: u16,
    /// RwD that can be outstanding.
    pub rwd_trackers: u16,
}

impl Identity {
    /// Whether the configuration has a capability, for example `regs::Caps::ENGINE`.
    pub fn has(&self, capability: regs::Field) -> bool {
        capability.is_set(self.caps)
    }

    /// As [`Identity::has`], as an error.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn require(&self, capability: regs::Field, what: &'static str) -> Result<(), Error> {
        if self.has(capability) {
            Ok(())
        } else {
            Err(Error::Missing {
                register: regs::Caps::OFFSET,
                what,
            })
        }
    }
}

/// Reads and checks the identity registers.
///
/// # Errors
/// [`Error::Gone`], [`Error::Identity`], [`Error::Version`], [`Error::Io`].
pub fn identify(hw: &mut (impl Hw + ?Sized)) -> Result<Identity, Error> {
    let id = read(hw, regs::Id::OFFSET)?;
    if id != regs::Id::RESET {
        return Err(Error::Identity {
            register: regs::Id::OFFSET,
            expected: regs::Id::RESET,
            found: id,
        });
    }
    let version = read(hw, regs::Version::OFFSET)?;
    let major = regs::Version::MAJOR.get(version);
    if major != MAP_MAJOR {
        return Err(Error::Version {
            register: regs::Version::OFFSET,
            supported: MAP_MAJOR,
            found: major,
        });
    }
    let trackers = read(hw, regs::Trackers::OFFSET)?;
    Ok(Identity {
        version: (major as u16, regs::Version::MINOR.get(version) as u16),
        caps: read(hw, regs::Caps::OFFSET)?,
        config_id: read(hw, regs::ConfigId::OFFSET)?,
        capacity: read64(hw, regs::CapacityLo::OFFSET, regs::CapacityHi::OFFSET)?,
        clock_khz: read(hw, regs::ClockKhz::OFFSET)?,
        req_trackers: regs::Trackers::REQ.get(trackers) as u16,
        rwd_trackers: regs::Trackers::RWD.get(trackers) as u16,
    })
}

/// Waits until the memory is swept and usable.
///
/// # Errors
/// [`Error::Timeout`] on `MediaStatus`, [`Error::Io`].
pub fn media_ready(hw: &mut (impl Hw + ?Sized), limits: &Limits) -> Result<(), Error> {
    wait_register(
        hw,
        regs::MediaStatus::OFFSET,
        limits.media,
        limits.slice,
        |value| regs::MediaStatus::READY.is_set(value),
    )
    .map(drop)
}

/// Enables the link and waits until both sides have initialised.
///
/// # Errors
/// [`Error::Timeout`] on `LinkStatus` (the host side never sent INIT.Param), [`Error::Io`].
pub fn link_up(hw: &mut (impl Hw + ?Sized), limits: &Limits) -> Result<(), Error> {
    let control = read(hw, regs::LinkCtrl::OFFSET)?;
    if !regs::LinkCtrl::ENABLE.is_set(control) {
        write(
            hw,
            regs::LinkCtrl::OFFSET,
            regs::LinkCtrl::ENABLE.with(control, 1),
        )?;
    }
    wait_register(
        hw,
        regs::LinkStatus::OFFSET,
        limits.link,
        limits.slice,
        |value| regs::LinkStatus::UP.is_set(value),
    )
    .map(drop)
}

/// Makes back-invalidate (BI-68) come into force: offers it, and restarts the link unless it is in force already. The host's end must offer it too.
///
/// # Errors
/// [`Error::NotAgreed`] when the link is up without it, [`Error::Timeout`] on `LinkStatus`, [`Error::Io`].
pub fn back_invalidate(hw: &mut (impl Hw + ?Sized), limits: &Limits) -> Result<(), Error> {
    use regs::{LinkCtrl, LinkStatus};
    let up = |value: u32| LinkStatus::UP.is_set(value);
    let status = read(hw, LinkStatus::OFFSET)?;
    if up(status) && LinkStatus::BI.is_set(status) {
        return Ok(());
    }
    let control = LinkCtrl::OFFER_BI.with(read(hw, LinkCtrl::OFFSET)?, 1);
    write(hw, LinkCtrl::OFFSET, LinkCtrl::ENABLE.with(control, 0))?;
    // The read comes back after the write: the link is down before it is enabled again.
    read(hw, LinkCtrl::OFFSET)?;
    write(hw, LinkCtrl::OFFSET, LinkCtrl::ENABLE.with(control, 1))?;
    let status = wait_register(hw, LinkStatus::OFFSET, limits.link, limits.slice, up)?;
    if LinkStatus::BI.is_set(status) {
        Ok(())
    } else {
        Err(Error::NotAgreed {
            register: LinkStatus::OFFSET,
            status,
        })
    }
}

/// Who keeps the host's caches and the device's own accesses coherent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coherence {
    /// Software: pages have an owner (HDM-H).
    #[default]
    HostOnly,
    /// The device, by back-invalidate (HDM-DB over BI-68).
    Device,
}

/// An HDM decoder's range. `size` is rounded up to the granule by [`Decoder::covering`]; DPA beyond the capacity answers NXM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoder {
    /// Which decoder, from 0. Decoders are committed in order.
    pub index: u32,
    /// First host physical address, a multiple of [`hdm::GRANULE`].
    pub base: u64,
    /// Bytes, a multiple of [`hdm::GRANULE`], not 0.
    pub size: u64,
    /// Read-only until the next reset once committed.
    pub lock: bool,
    /// Kind of coherence.
    pub coherence: Coherence,
}

impl Decoder {
    /// Decoder 0 over `capacity` bytes from `base`, host-only.
    pub fn covering(base: u64, capacity: u64, lock: bool) -> Decoder {
        let size = capacity
            .div_ceil(hdm::GRANULE)
            .max(1)
            .saturating_mul(hdm::GRANULE);
        Decoder {
            index: 0,
            base,
            size,
            lock,
            coherence: Coherence::HostOnly,
        }
    }

    fn register(&self, of_decoder_0: u32) -> u32 {
        of_decoder_0.saturating_add(self.index.saturating_mul(regs::HDM_STRIDE))
    }

    fn check(&self) -> Result<(), Error> {
        if self.index as usize >= regs::HDM_DECODERS {
            return Err(Error::Parameter {
                what: "HDM decoder",
                value: u64::from(self.index),
            });
        }
        let asked = hdm::Decoder {
            base: self.base,
            size: self.size,
            host_only: true,
            ..hdm::Decoder::default()
        };
        hdm::check_commit(&[asked], 0).map_err(Error::DecoderRange)
    }
}

/// Programs and commits a decoder (no interleave) and enables decoding. A decoder that is committed with the same range and coherence stays
/// as it is; another one is released first, unless it is locked.
///
/// # Errors
/// [`Error::Parameter`], [`Error::DecoderLocked`], [`Error::DecoderError`] (refused), [`Error::Timeout`] on its control register,
/// [`Error::Io`].
pub fn program_decoder(
    hw: &mut (impl Hw + ?Sized),
    decoder: &Decoder,
    limits: &Limits,
) -> Result<(), Error> {
    use regs::Hdm0Ctrl as Ctrl;
    decoder.check()?;
    let (base_lo, base_hi) = (
        decoder.register(regs::Hdm0BaseLo::OFFSET),
        decoder.register(regs::Hdm0BaseHi::OFFSET),
    );
    let (size_lo, size_hi) = (
        decoder.register(regs::Hdm0SizeLo::OFFSET),
        decoder.register(regs::Hdm0SizeHi::OFFSET),
    );
    let (skip_lo, skip_hi) = (
        decoder.register(regs::Hdm0SkipLo::OFFSET),
        decoder.register(regs::Hdm0SkipHi::OFFSET),
    );
    let register = decoder.register(Ctrl::OFFSET);

    let kind = match decoder.coherence {
        Coherence::HostOnly => field(Ctrl::TARGET_TYPE, 1),
        Coherence::Device => field(Ctrl::BI, 1),
    };

    let control = read(hw, register)?;
    let mut committed = Ctrl::COMMITTED.is_set(control);
    if committed {
        let same = read64(hw, base_lo, base_hi)? == decoder.base
            && read64(hw, size_lo, size_hi)? == decoder.size
            && control & (Ctrl::TARGET_TYPE.mask() | Ctrl::BI.mask()) == kind;
        if !same && Ctrl::LOCK.is_set(control) {
            return Err(Error::DecoderLocked { register, control });
        }
        if !same {
            write(hw, register, kind)?;
            wait_register(hw, register, limits.commit, limits.slice, |value| {
                !Ctrl::COMMITTED.is_set(value)
            })?;
            committed = false;
        }
    }
    if !committed {
        write64(hw, base_lo, base_hi, decoder.base)?;
        write64(hw, size_lo, size_hi, decoder.size)?;
        write64(hw, skip_lo, skip_hi, 0)?;
        let control = kind | field(Ctrl::LOCK, decoder.lock.into()) | field(Ctrl::COMMIT, 1);
        write(hw, register, control)?;
        let control = wait_register(hw, register, limits.commit, limits.slice, |value| {
            Ctrl::COMMITTED.is_set(value) || Ctrl::ERROR.is_set(value)
        })?;
        if !Ctrl::COMMITTED.is_set(control) {
            return Err(Error::DecoderError { register, control });
        }
    }
    let global = read(hw, regs::HdmGlobalCtrl::OFFSET)?;
    let wanted =
        regs::HdmGlobalCtrl::POISON_ON_ERROR.with(regs::HdmGlobalCtrl::ENABLE.with(global, 1), 1);
    write(hw, regs::HdmGlobalCtrl::OFFSET, wanted)
}

/// An MSI-X message: what the device writes, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiMessage {
    /// Bus address, 4-byte aligned.
    pub address: u64,
    /// Data.
    pub data: u32,
}

/// Writes and unmasks an entry of the MSI-X table. Only where no operating system owns the table.
///
/// # Errors
/// [`Error::Parameter`] for a vector that the table lacks, [`Error::Io`].
pub fn program_msix(
    hw: &mut (impl Hw + ?Sized),
    vector: u32,
    message: MsiMessage,
) -> Result<(), Error> {
    /// Bytes of an entry: address low, address high, data, control (bit 0 masks).
    const ENTRY: u32 = 16;
    if vector >= regs::MSIX_VECTORS {
        return Err(Error::Parameter {
            what: "MSI-X vector",
            value: u64::from(vector),
        });
    }
    let entry = regs::MSIX_TABLE.saturating_add(vector.saturating_mul(ENTRY));
    write64(hw, entry, entry.saturating_add(4), message.address)?;
    write(hw, entry.saturating_add(8), message.data)?;
    write(hw, entry.saturating_add(12), 0)
}

/// Brings the memory up: identity, media, link (for device coherence with back-invalidate), decoder. The engine's ring is
/// [`crate::Ring::start`]'s.
///
/// # Errors
/// Those of the steps; [`Error::Missing`] for device coherence where `Caps` has no back-invalidate, before anything is changed.
pub fn bring_up(
    hw: &mut (impl Hw + ?Sized),
    hdm_base: u64,
    lock: bool,
    coherence: Coherence,
    limits: &Limits,
) -> Result<(Identity, Decoder), Error> {
    let identity = identify(hw)?;
    if coherence == Coherence::Device {
        identity.require(regs::Caps::BACK_INVALIDATE, "back-invalidate (BI-68)")?;
    }
    media_ready(hw, limits)?;
    match coherence {
        Coherence::HostOnly => link_up(hw, limits)?,
        Coherence::Device => back_invalidate(hw, limits)?,
    }
    let decoder = Decoder {
        coherence,
        ..Decoder::covering(hdm_base, identity.capacity, lock)
    };
    program_decoder(hw, &decoder, limits)?;
    Ok((identity, decoder))
}
