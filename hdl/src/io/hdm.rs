//! One HDM decoder's registers and commit rules (`cxl-mem` 4.4), in units of 256 MiB.

use crate::prim::Param;
use rust_hdl::prelude::*;

/// One decoder. `select` is the register's index in its block: 0 base low, 1 base high, 2 size low, 3 size high, 4 control,
/// 5 skip low, 6 skip high.
///
/// A commit is checked in three cycles: the decoder before this one is committed, size is not zero, nothing beyond bit 51,
/// base + size stays below bit 52, not over or below the decoder before, no interleave, host-only without back-invalidate, or device-coherent with it if there is a
/// directory.
/// A committed decoder takes no write but the one that releases it, and not even that when locked or when the next decoder is
/// still committed.
#[derive(LogicBlock, Default)]
pub struct HdmDecoder {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub write: Signal<In, Bit>,
    pub select: Signal<In, Bits<3>>,
    pub data: Signal<In, Bits<32>>,
    /// The write at hand changes nothing.
    pub deny: Signal<Out, Bit>,
    pub prev_committed: Signal<In, Bit>,
    pub prev_limit: Signal<In, Bits<24>>,
    pub prev_dpa_end: Signal<In, Bits<24>>,
    pub next_committed: Signal<In, Bit>,
    pub committed: Signal<Out, Bit>,
    pub error: Signal<Out, Bit>,
    pub base: Signal<Out, Bits<24>>,
    pub limit: Signal<Out, Bits<24>>,
    pub dpa: Signal<Out, Bits<24>>,
    pub dpa_end: Signal<Out, Bits<24>>,
    /// Device-coherent (HDM-DB).
    pub db: Signal<Out, Bit>,
    base_r: DFF<Bits<24>>,
    size_r: DFF<Bits<24>>,
    skip_r: DFF<Bits<24>>,
    /// Address bits above 51 were written: base, size, skip.
    high_base: DFF<Bit>,
    high_size: DFF<Bit>,
    high_skip: DFF<Bit>,
    limit_r: DFF<Bits<25>>,
    dpa_r: DFF<Bits<25>>,
    dpa_end_r: DFF<Bits<25>>,
    lock: DFF<Bit>,
    shape_ok: DFF<Bit>,
    db_r: DFF<Bit>,
    step: DFF<Bits<2>>,
    bad: DFF<Bit>,
    committed_r: DFF<Bit>,
    error_r: DFF<Bit>,
    coherent: Param<Bit>,
}

impl HdmDecoder {
    /// `coherent`: the configuration has a directory.
    pub fn new(coherent: bool) -> Self {
        Self {
            coherent: Param::new(coherent),
            ..Default::default()
        }
    }
}

impl Logic for HdmDecoder {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            base_r,
            size_r,
            skip_r,
            high_base,
            high_size,
            high_skip,
            limit_r,
            dpa_r,
            dpa_end_r,
            lock,
            shape_ok,
            db_r,
            step,
            bad,
            committed_r,
            error_r
        );
        self.committed.next = self.committed_r.q.val();
        self.error.next = self.error_r.q.val();
        self.db.next = self.db_r.q.val();
        self.base.next = self.base_r.q.val();
        self.limit.next = self.limit_r.q.val().get_bits::<24>(0);
        self.dpa.next = self.dpa_r.q.val().get_bits::<24>(0);
        self.dpa_end.next = self.dpa_end_r.q.val().get_bits::<24>(0);

        self.deny.next = self.committed_r.q.val();
        if self.select.val() == 4 {
            self.deny.next = self.committed_r.q.val()
                & (self.lock.q.val() | self.data.val().get_bit(9) | self.next_committed.val());
        }
        if self.write.val() & !self.deny.val() {
            match self.select.val().index() {
                0 => {
                    self.base_r.d.next = (self.base_r.q.val() & 0xFF_FFF0)
                        | bit_cast::<24, 4>(self.data.val().get_bits::<4>(28));
                }
                1 => {
                    self.base_r.d.next = (self.base_r.q.val() & 0x00_000F)
                        | (bit_cast::<24, 20>(self.data.val().get_bits::<20>(0)) << 4);
                    self.high_base.d.next = self.data.val().get_bits::<12>(20).any();
                }
                2 => {
                    self.size_r.d.next = (self.size_r.q.val() & 0xFF_FFF0)
                        | bit_cast::<24, 4>(self.data.val().get_bits::<4>(28));
                }
                3 => {
                    self.size_r.d.next = (self.size_r.q.val() & 0x00_000F)
                        | (bit_cast::<24, 20>(self.data.val().get_bits::<20>(0)) << 4);
                    self.high_size.d.next = self.data.val().get_bits::<12>(20).any();
                }
                4 => {
                    self.lock.d.next = self.data.val().get_bit(8);
                    self.shape_ok.d.next = !self.data.val().get_bits::<8>(0).any()
                        & (self.data.val().get_bit(12) != self.data.val().get_bit(13))
                        & (self.data.val().get_bit(12) | self.coherent.val());
                    self.db_r.d.next = self.data.val().get_bit(13);
                    self.committed_r.d.next = false;
                    self.error_r.d.next = false;
                    if self.data.val().get_bit(9) {
                        self.step.d.next = 1.into();
                    }
                }
                5 => {
                    self.skip_r.d.next = (self.skip_r.q.val() & 0xFF_FFF0)
                        | bit_cast::<24, 4>(self.data.val().get_bits::<4>(28));
                }
                6 => {
                    self.skip_r.d.next = (self.skip_r.q.val() & 0x00_000F)
                        | (bit_cast::<24, 20>(self.data.val().get_bits::<20>(0)) << 4);
                    self.high_skip.d.next = self.data.val().get_bits::<12>(20).any();
                }
                _ => {}
            }
        }
        match self.step.q.val().index() {
            1 => {
                self.limit_r.d.next = bit_cast::<25, 24>(self.base_r.q.val())
                    + bit_cast::<25, 24>(self.size_r.q.val());
                self.dpa_r.d.next = bit_cast::<25, 24>(self.prev_dpa_end.val())
                    + bit_cast::<25, 24>(self.skip_r.q.val());
                self.step.d.next = 2.into();
            }
            2 => {
                self.dpa_end_r.d.next =
                    (self.dpa_r.q.val() & 0xFF_FFFF) + bit_cast::<25, 24>(self.size_r.q.val());
                self.bad.d.next = self.limit_r.q.val().get_bit(24)
                    | self.dpa_r.q.val().get_bit(24)
                    | !self.size_r.q.val().any()
                    | self.high_base.q.val()
                    | self.high_size.q.val()
                    | self.high_skip.q.val()
                    | !self.shape_ok.q.val()
                    | !self.prev_committed.val()
                    | (self.base_r.q.val() < self.prev_limit.val());
                self.step.d.next = 3.into();
            }
            3 => {
                self.committed_r.d.next = !self.bad.q.val() & !self.dpa_end_r.q.val().get_bit(24);
                self.error_r.d.next = self.bad.q.val() | self.dpa_end_r.q.val().get_bit(24);
                self.step.d.next = 0.into();
            }
            _ => {}
        }
        if self.reset.val() {
            self.base_r.d.next = 0.into();
            self.size_r.d.next = 0.into();
            self.skip_r.d.next = 0.into();
            self.high_base.d.next = false;
            self.high_size.d.next = false;
            self.high_skip.d.next = false;
            self.committed_r.d.next = false;
            self.error_r.d.next = false;
            self.step.d.next = 0.into();
        }
    }
}
