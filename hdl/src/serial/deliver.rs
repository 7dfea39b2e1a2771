//! Frames that arrived to the controller's pins: slots without gaps, TLP beats through a FIFO, pins.

use crate::prim::{Fifo, LutRam};
use rust_hdl::prelude::*;

#[derive(Copy, Clone, Debug, PartialEq, LogicState)]
enum State {
    Idle,
    /// The address of a byte of payload is out; its byte comes.
    Fetch,
    Take,
    /// The slots of a flit, one a cycle.
    Slots,
}

/// A TLP beat, whether the TLP ends with it, and whether its frame does.
#[derive(Copy, Clone, Debug, Default, PartialEq, LogicStruct)]
pub struct TlpBeat {
    pub data: Bits<128>,
    pub last: Bit,
    pub frame_ends: Bit,
}

/// Takes a frame while `ready`. There is always room for TLP beats: the other end sends no more frames than [`super::TLP_ROOM`] ahead of `taken`.
#[derive(LogicBlock, Default)]
pub struct Deliver {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    /// A frame is in the buffer: its kind and length.
    pub take: Signal<In, Bit>,
    pub kind: Signal<In, Bits<4>>,
    pub length: Signal<In, Bits<7>>,
    pub ready: Signal<Out, Bit>,
    // its bytes, a cycle later
    pub read: Signal<Out, Bit>,
    /// Byte of the payload.
    pub read_index: Signal<Out, Bits<7>>,
    pub read_data: Signal<In, Bits<8>>,
    // flit slots
    pub rx_valid: Signal<Out, Bit>,
    pub rx_slot: Signal<Out, Bits<128>>,
    pub rx_sof: Signal<Out, Bit>,
    pub rx_crc: Signal<Out, Bits<16>>,
    // TLP beats
    pub tlp_valid: Signal<Out, Bit>,
    pub tlp_data: Signal<Out, Bits<128>>,
    pub tlp_last: Signal<Out, Bit>,
    pub tlp_ready: Signal<In, Bit>,
    /// TLP frames that the controller has taken.
    pub taken: Signal<Out, Bits<8>>,
    // pins
    pub epoch: Signal<In, Bits<4>>,
    pub cfg_bdf: Signal<Out, Bits<16>>,
    pub cfg_bme: Signal<Out, Bit>,
    pub cfg_msix_en: Signal<Out, Bit>,
    pub cfg_msix_mask: Signal<Out, Bit>,
    pub phy_down: Signal<Out, Bit>,
    slots: LutRam<Bits<128>, 2>,
    beats: Fifo<TlpBeat, 5>,
    state: DFF<State>,
    kind_is: DFF<Bits<4>>,
    length_is: DFF<Bits<7>>,
    at: DFF<Bits<7>>,
    nth: DFF<Bits<4>>,
    part: DFF<Bits<2>>,
    shift: DFF<Bits<128>>,
    crc: DFF<Bits<16>>,
    flags: DFF<Bits<8>>,
    bdf: DFF<Bits<16>>,
    pins: DFF<Bits<8>>,
    taken_is: DFF<Bits<8>>,
    at_next: Signal<Local, Bits<7>>,
    shifted: Signal<Local, Bits<128>>,
    beat: Signal<Local, TlpBeat>,
    ends: Signal<Local, Bit>,
}

impl Logic for Deliver {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clock, state, kind_is, length_is, at, nth, part, shift, crc, flags, bdf, pins,
            taken_is
        );
        self.slots.clock.next = self.clock.val();
        self.beats.clock.next = self.clock.val();
        self.beats.reset.next = self.reset.val();
        self.ready.next = self.state.q.val() == State::Idle;
        self.read.next = false;
        self.read_index.next = self.at.q.val();
        self.at_next.next = self.at.q.val() + 1;
        self.ends.next = self.at_next.val() == self.length_is.q.val();
        self.shifted.next =
            (self.shift.q.val() >> 8) | (bit_cast::<128, 8>(self.read_data.val()) << 120);
        self.slots.write.next = false;
        self.slots.write_address.next = self.part.q.val();
        self.slots.write_data.next = self.shifted.val();
        self.slots.read_address.next = self.part.q.val();
        self.rx_valid.next = false;
        self.rx_slot.next = self.slots.read_data.val();
        self.rx_sof.next = false;
        self.rx_crc.next = self.crc.q.val();
        self.beats.write.next = false;
        self.beat.next.data = self.shifted.val();
        self.beat.next.last = self.ends.val() & self.flags.q.val().get_bit(0);
        self.beat.next.frame_ends = self.ends.val();
        self.beats.write_data.next = self.beat.val();

        match self.state.q.val() {
            State::Idle => {
                self.kind_is.d.next = self.kind.val();
                self.length_is.d.next = self.length.val();
                self.at.d.next = 0.into();
                self.nth.d.next = 0.into();
                self.part.d.next = 0.into();
                if self.take.val() & self.length.val().any() {
                    self.state.d.next = State::Fetch;
                }
            }
            State::Fetch => {
                self.read.next = true;
                self.state.d.next = State::Take;
            }
            State::Take => {
                self.at.d.next = self.at_next.val();
                self.shift.d.next = self.shifted.val();
                self.nth.d.next = self.nth.q.val() + 1;
                self.state.d.next = State::Fetch;
                if self.ends.val() {
                    self.state.d.next = State::Idle;
                }
                if self.kind_is.q.val() == 1 {
                    // The CRC is shifted in behind the slots.
                    self.crc.d.next =
                        (self.crc.q.val() >> 8) | (bit_cast::<16, 8>(self.read_data.val()) << 8);
                    if self.nth.q.val() == 15 {
                        self.slots.write.next = true;
                        self.part.d.next = self.part.q.val() + 1;
                    }
                    // Nothing but whole flits, and none that is for an earlier link.
                    if self.ends.val()
                        & (self.at.q.val() == 65)
                        & (self.pins.q.val().get_bits::<4>(4) == self.epoch.val())
                    {
                        self.part.d.next = 0.into();
                        self.state.d.next = State::Slots;
                    }
                } else if self.kind_is.q.val() == 2 {
                    if self.at.q.val() == 0 {
                        self.flags.d.next = self.read_data.val();
                        self.nth.d.next = 0.into();
                    } else if self.nth.q.val() == 15 {
                        self.beats.write.next = true;
                    }
                } else if self.kind_is.q.val() == 3 {
                    if self.at.q.val() == 2 {
                        self.pins.d.next = self.read_data.val();
                        self.bdf.d.next = self.shift.q.val().get_bits::<16>(112);
                    }
                }
            }
            State::Slots => {
                self.rx_valid.next = true;
                self.rx_sof.next = self.part.q.val() == 0;
                self.part.d.next = self.part.q.val() + 1;
                if self.part.q.val() == 3 {
                    self.state.d.next = State::Idle;
                }
            }
            _ => {
                self.state.d.next = State::Idle;
            }
        }

        self.tlp_valid.next = !self.beats.empty.val();
        self.tlp_data.next = self.beats.read_data.val().data;
        self.tlp_last.next = self.beats.read_data.val().last;
        self.beats.read.next = self.tlp_ready.val();
        self.taken.next = self.taken_is.q.val();
        if !self.beats.empty.val() & self.tlp_ready.val() & self.beats.read_data.val().frame_ends {
            self.taken_is.d.next = self.taken_is.q.val() + 1;
        }
        self.cfg_bdf.next = self.bdf.q.val();
        self.cfg_bme.next = self.pins.q.val().get_bit(0);
        self.cfg_msix_en.next = self.pins.q.val().get_bit(1);
        self.cfg_msix_mask.next = self.pins.q.val().get_bit(2);
        self.phy_down.next = self.pins.q.val().get_bit(3);
        if self.reset.val() {
            self.state.d.next = State::Idle;
            self.pins.d.next = 0.into();
            self.taken_is.d.next = 0.into();
        }
    }
}
