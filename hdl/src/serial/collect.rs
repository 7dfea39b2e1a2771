//! What the controller sends to frames: flits, TLPs and pins, one at a time, into the memory of frames that are kept until they are acknowledged.

use rust_hdl::prelude::*;

#[derive(Copy, Clone, Debug, PartialEq, LogicState)]
enum State {
    Idle,
    /// Bytes of a slot.
    Slot,
    /// The next slot of the flit has not come yet.
    MoreSlots,
    CrcLow,
    CrcHigh,
    /// Bytes of a beat.
    Beat,
    MoreBeats,
    /// Byte 0 of a TLP frame, when all its beats are known.
    Flags,
}

/// Flits go first; of eight frames one is a TLP's if one waits (cxl-mem 8.5). A flit that the controller breaks off is forgotten.
#[derive(LogicBlock, Default)]
pub struct Collect {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    /// Someone listens.
    pub enable: Signal<In, Bit>,
    // flit slots
    pub tx_valid: Signal<In, Bit>,
    pub tx_slot: Signal<In, Bits<128>>,
    pub tx_sof: Signal<In, Bit>,
    pub tx_crc: Signal<In, Bits<16>>,
    pub tx_ready: Signal<Out, Bit>,
    // TLP beats
    pub tlp_valid: Signal<In, Bit>,
    pub tlp_data: Signal<In, Bits<128>>,
    pub tlp_last: Signal<In, Bit>,
    pub tlp_ready: Signal<Out, Bit>,
    // pins
    pub link_enabled: Signal<In, Bit>,
    pub phy_reinit: Signal<In, Bit>,
    pub phy_down: Signal<In, Bit>,
    /// How often the link was disabled.
    pub epoch: Signal<Out, Bits<4>>,
    // numbers
    pub has_room: Signal<In, Bit>,
    pub number: Signal<In, Bits<8>>,
    pub add: Signal<Out, Bit>,
    // memory of frames
    pub write: Signal<Out, Bit>,
    pub write_address: Signal<Out, Bits<11>>,
    pub write_data: Signal<Out, Bits<8>>,
    /// With `add`: kind and length of the frame.
    pub kind: Signal<Out, Bits<4>>,
    pub length: Signal<Out, Bits<7>>,
    state: DFF<State>,
    shift: DFF<Bits<128>>,
    crc: DFF<Bits<16>>,
    last: DFF<Bit>,
    /// Byte of the payload.
    at: DFF<Bits<7>>,
    /// Byte of the slot or beat.
    nth: DFF<Bits<4>>,
    /// Slots or beats so far, less one.
    parts: DFF<Bits<2>>,
    /// Flits since the last TLP.
    flits: DFF<Bits<3>>,
    /// Cycles that the transmitter gets to begin a flit before the next TLP.
    grace: DFF<Bits<3>>,
    enabled_before: DFF<Bit>,
    epoch_is: DFF<Bits<4>>,
    /// The pins that the host knows.
    told: DFF<Bits<8>>,
    pins: Signal<Local, Bits<8>>,
    tlp_turn: Signal<Local, Bit>,
    broken: Signal<Local, Bit>,
    at_next: Signal<Local, Bits<7>>,
}

impl Logic for Collect {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            state,
            shift,
            crc,
            last,
            at,
            nth,
            parts,
            flits,
            grace,
            enabled_before,
            epoch_is,
            told
        );
        self.enabled_before.d.next = self.link_enabled.val();
        if self.enabled_before.q.val() & !self.link_enabled.val() {
            self.epoch_is.d.next = self.epoch_is.q.val() + 1;
        }
        self.epoch.next = self.epoch_is.q.val();
        self.pins.next = bit_cast::<8, 1>(self.enabled_before.q.val().into())
            | (bit_cast::<8, 1>(self.phy_reinit.val().into()) << 1)
            | (bit_cast::<8, 4>(self.epoch_is.q.val()) << 4);
        self.tlp_turn.next = self.tlp_valid.val()
            & ((!self.tx_valid.val() & (self.grace.q.val() == 0)) | (self.flits.q.val() == 7));
        // No more of a flit may come.
        self.broken.next = !self.link_enabled.val() | self.phy_down.val() | self.phy_reinit.val();
        self.tx_ready.next = false;
        self.tlp_ready.next = false;
        self.add.next = false;
        self.write.next = false;
        self.write_address.next = bit_cast::<11, 7>(self.at.q.val())
            | (bit_cast::<11, 4>(self.number.val().get_bits::<4>(0)) << 7);
        self.write_data.next = self.shift.q.val().get_bits::<8>(0);
        self.kind.next = 1.into();
        self.length.next = self.at.q.val();
        self.at_next.next = self.at.q.val() + 1;
        match self.state.q.val() {
            State::Idle => {
                self.at.d.next = 0.into();
                self.nth.d.next = 0.into();
                self.parts.d.next = 0.into();
                if self.enable.val() & self.has_room.val() {
                    if self.told.q.val() != self.pins.val() {
                        self.write.next = true;
                        self.write_address.next =
                            bit_cast::<11, 4>(self.number.val().get_bits::<4>(0)) << 7;
                        self.write_data.next = self.pins.val();
                        self.told.d.next = self.pins.val();
                        self.kind.next = 3.into();
                        self.length.next = 1.into();
                        self.add.next = true;
                    } else if self.tlp_turn.val() {
                        self.tlp_ready.next = true;
                        self.shift.d.next = self.tlp_data.val();
                        self.last.d.next = self.tlp_last.val();
                        self.flits.d.next = 0.into();
                        // Byte 0 comes at the end.
                        self.at.d.next = 1.into();
                        self.state.d.next = State::Beat;
                    } else {
                        // The transmitter moves on only while it is ready for. The rest of a flit that was broken off is dropped.
                        self.tx_ready.next = true;
                        if self.grace.q.val() != 0 {
                            self.grace.d.next = self.grace.q.val() - 1;
                        }
                        if self.tx_valid.val() & self.tx_sof.val() {
                            self.shift.d.next = self.tx_slot.val();
                            self.state.d.next = State::Slot;
                        }
                    }
                }
            }
            State::Slot => {
                self.write.next = true;
                self.shift.d.next = self.shift.q.val() >> 8;
                self.at.d.next = self.at_next.val();
                self.nth.d.next = self.nth.q.val() + 1;
                if self.nth.q.val() == 15 {
                    self.state.d.next = State::MoreSlots;
                    if self.parts.q.val() == 3 {
                        self.state.d.next = State::CrcLow;
                    }
                }
            }
            State::MoreSlots => {
                self.tx_ready.next = true;
                if self.tx_valid.val() {
                    self.shift.d.next = self.tx_slot.val();
                    self.crc.d.next = self.tx_crc.val();
                    self.parts.d.next = self.parts.q.val() + 1;
                    self.state.d.next = State::Slot;
                    if self.tx_sof.val() {
                        self.at.d.next = 0.into();
                        self.parts.d.next = 0.into();
                    }
                } else if self.broken.val() {
                    self.state.d.next = State::Idle;
                }
            }
            State::CrcLow => {
                self.write.next = true;
                self.write_data.next = self.crc.q.val().get_bits::<8>(0);
                self.at.d.next = self.at_next.val();
                self.state.d.next = State::CrcHigh;
            }
            State::CrcHigh => {
                self.write.next = true;
                self.write_data.next = self.crc.q.val().get_bits::<8>(8);
                self.length.next = self.at_next.val();
                self.add.next = true;
                if self.flits.q.val() != 7 {
                    self.flits.d.next = self.flits.q.val() + 1;
                }
                self.state.d.next = State::Idle;
            }
            State::Beat => {
                self.write.next = true;
                self.shift.d.next = self.shift.q.val() >> 8;
                self.at.d.next = self.at_next.val();
                self.nth.d.next = self.nth.q.val() + 1;
                if self.nth.q.val() == 15 {
                    self.state.d.next = State::MoreBeats;
                    if self.last.q.val() | (self.parts.q.val() == 3) {
                        self.state.d.next = State::Flags;
                    }
                }
            }
            State::MoreBeats => {
                if self.tlp_valid.val() {
                    self.tlp_ready.next = true;
                    self.shift.d.next = self.tlp_data.val();
                    self.last.d.next = self.tlp_last.val();
                    self.parts.d.next = self.parts.q.val() + 1;
                    self.state.d.next = State::Beat;
                }
            }
            State::Flags => {
                self.write.next = true;
                self.write_address.next =
                    bit_cast::<11, 4>(self.number.val().get_bits::<4>(0)) << 7;
                self.write_data.next = bit_cast::<8, 1>(self.last.q.val().into())
                    | (bit_cast::<8, 2>(self.parts.q.val()) << 1);
                self.kind.next = 2.into();
                self.add.next = true;
                self.grace.d.next = 7.into();
                self.state.d.next = State::Idle;
            }
            _ => {
                self.state.d.next = State::Idle;
            }
        }
        if self.reset.val() {
            self.state.d.next = State::Idle;
            self.flits.d.next = 0.into();
            self.told.d.next = 0.into();
            self.epoch_is.d.next = 0.into();
            self.enabled_before.d.next = false;
        }
    }
}
