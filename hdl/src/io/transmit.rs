//! TLP transmit: header composition and arbitration of completions, interrupts, DMA reads and DMA writes.

use rust_hdl::prelude::*;

#[derive(Copy, Clone, Debug, PartialEq, LogicState)]
enum State {
    Header,
    /// One beat of payload that was captured with the header.
    Short,
    /// Beats of a DMA write, from `wr_data`.
    Stream,
}

/// The transmitter. Fixed priority: register completions, interrupts, DMA reads, DMA writes; the first three are one or two
/// beats and bounded in number, so none starves. A request is taken with its `ready`. Completions and posted writes never wait
/// on a DMA read: a read that the stream does not take can only hold the output register, for which everything waits.
///
/// A DMA write of `wr_beats` beats is taken when the client holds all of its payload; then one beat leaves with each `wr_pop`.
/// Attributes are zero (snooped, ordered). Addresses below 4 GiB use three-DW headers.
#[derive(LogicBlock, Default)]
pub struct Transmit {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub tlp_tx_valid: Signal<Out, Bit>,
    pub tlp_tx_data: Signal<Out, Bits<128>>,
    pub tlp_tx_last: Signal<Out, Bit>,
    pub tlp_tx_ready: Signal<In, Bit>,
    pub cfg_bdf: Signal<In, Bits<16>>,
    pub resp_valid: Signal<In, Bit>,
    pub resp_ready: Signal<Out, Bit>,
    pub resp_dw0: Signal<In, Bits<32>>,
    pub resp_dw1: Signal<In, Bits<16>>,
    pub resp_dw2: Signal<In, Bits<32>>,
    pub resp_ur: Signal<In, Bit>,
    pub resp_data: Signal<In, Bits<64>>,
    pub msi_valid: Signal<In, Bit>,
    pub msi_ready: Signal<Out, Bit>,
    pub msi_address: Signal<In, Bits<64>>,
    pub msi_data: Signal<In, Bits<32>>,
    pub rd_valid: Signal<In, Bit>,
    pub rd_ready: Signal<Out, Bit>,
    /// 64-byte line to read from; `rd_two` asks for two lines.
    pub rd_line: Signal<In, Bits<58>>,
    pub rd_two: Signal<In, Bit>,
    pub rd_tag: Signal<In, Bits<8>>,
    pub wr_valid: Signal<In, Bit>,
    pub wr_ready: Signal<Out, Bit>,
    /// In units of 32 bytes.
    pub wr_address: Signal<In, Bits<59>>,
    /// 2, 4 or 8.
    pub wr_beats: Signal<In, Bits<4>>,
    pub wr_data: Signal<In, Bits<128>>,
    pub wr_data_valid: Signal<In, Bit>,
    pub wr_pop: Signal<Out, Bit>,
    full: DFF<Bit>,
    data: DFF<Bits<128>>,
    last: DFF<Bit>,
    state: DFF<State>,
    short: DFF<Bits<64>>,
    beats: DFF<Bits<4>>,
    free: Signal<Local, Bit>,
    address: Signal<Local, Bits<64>>,
    length: Signal<Local, Bits<6>>,
    tag: Signal<Local, Bits<8>>,
    write: Signal<Local, Bit>,
    high: Signal<Local, Bits<32>>,
    dw0: Signal<Local, Bits<32>>,
    dw1: Signal<Local, Bits<32>>,
    dw2: Signal<Local, Bits<32>>,
    dw3: Signal<Local, Bits<32>>,
    send: Signal<Local, Bit>,
    send_data: Signal<Local, Bits<128>>,
    send_last: Signal<Local, Bit>,
}

impl Logic for Transmit {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, full, data, last, state, short, beats);
        self.tlp_tx_valid.next = self.full.q.val();
        self.tlp_tx_data.next = self.data.q.val();
        self.tlp_tx_last.next = self.last.q.val();
        self.free.next = !self.full.q.val() | self.tlp_tx_ready.val();
        self.resp_ready.next = false;
        self.msi_ready.next = false;
        self.rd_ready.next = false;
        self.wr_ready.next = false;
        self.wr_pop.next = false;
        self.send.next = false;
        self.send_last.next = false;

        // Header of a memory request: the interrupt's, the read's or the write's.
        self.address.next = bit_cast::<64, 59>(self.wr_address.val()) << 5;
        self.length.next = bit_cast::<6, 4>(self.wr_beats.val()) << 2;
        self.tag.next = 0.into();
        self.write.next = true;
        if self.rd_valid.val() {
            self.address.next = bit_cast::<64, 58>(self.rd_line.val()) << 6;
            self.length.next = 16.into();
            if self.rd_two.val() {
                self.length.next = 32.into();
            }
            self.tag.next = self.rd_tag.val();
            self.write.next = false;
        }
        if self.msi_valid.val() {
            self.address.next = self.msi_address.val();
            self.length.next = 1.into();
            self.tag.next = 0.into();
            self.write.next = true;
        }
        self.high.next = self.address.val().get_bits::<32>(32);
        self.dw0.next = bit_cast::<32, 6>(self.length.val())
            | (bit_cast::<32, 1>(self.write.val().into()) << 30)
            | (bit_cast::<32, 1>(self.high.val().any().into()) << 29);
        self.dw1.next = (bit_cast::<32, 16>(self.cfg_bdf.val()) << 16)
            | (bit_cast::<32, 8>(self.tag.val()) << 8)
            | 0xFF;
        if self.msi_valid.val() {
            self.dw1.next = (bit_cast::<32, 16>(self.cfg_bdf.val()) << 16) | 0x0F;
        }
        self.dw2.next = self.address.val().get_bits::<32>(0);
        self.dw3.next = 0.into();
        if self.high.val().any() {
            self.dw2.next = self.high.val();
            self.dw3.next = self.address.val().get_bits::<32>(0);
        }
        if self.resp_valid.val() {
            self.dw0.next = self.resp_dw0.val();
            self.dw1.next = (bit_cast::<32, 16>(self.cfg_bdf.val()) << 16)
                | bit_cast::<32, 16>(self.resp_dw1.val());
            self.dw2.next = self.resp_dw2.val();
            self.dw3.next = 0.into();
        }
        self.send_data.next = bit_cast::<128, 32>(self.dw0.val())
            | (bit_cast::<128, 32>(self.dw1.val()) << 32)
            | (bit_cast::<128, 32>(self.dw2.val()) << 64)
            | (bit_cast::<128, 32>(self.dw3.val()) << 96);

        match self.state.q.val() {
            State::Header => {
                self.beats.d.next = self.wr_beats.val();
                self.short.d.next = bit_cast::<64, 32>(self.msi_data.val());
                if self.resp_valid.val() {
                    self.short.d.next = self.resp_data.val();
                    self.send.next = true;
                    self.resp_ready.next = self.free.val();
                    self.send_last.next = self.resp_ur.val();
                    if self.free.val() & !self.resp_ur.val() {
                        self.state.d.next = State::Short;
                    }
                } else if self.msi_valid.val() {
                    self.send.next = true;
                    self.msi_ready.next = self.free.val();
                    if self.free.val() {
                        self.state.d.next = State::Short;
                    }
                } else if self.rd_valid.val() {
                    self.send.next = true;
                    self.send_last.next = true;
                    self.rd_ready.next = self.free.val();
                } else if self.wr_valid.val() {
                    self.send.next = true;
                    self.wr_ready.next = self.free.val();
                    if self.free.val() {
                        self.state.d.next = State::Stream;
                    }
                }
            }
            State::Short => {
                self.send.next = true;
                self.send_last.next = true;
                self.send_data.next = bit_cast::<128, 64>(self.short.q.val());
                if self.free.val() {
                    self.state.d.next = State::Header;
                }
            }
            State::Stream => {
                self.send.next = self.wr_data_valid.val();
                self.send_data.next = self.wr_data.val();
                self.send_last.next = self.beats.q.val() == 1;
                if self.free.val() & self.wr_data_valid.val() {
                    self.wr_pop.next = true;
                    self.beats.d.next = self.beats.q.val() - 1;
                    if self.beats.q.val() == 1 {
                        self.state.d.next = State::Header;
                    }
                }
            }
            _ => {
                self.state.d.next = State::Header;
            }
        }
        if self.free.val() {
            self.full.d.next = self.send.val();
            self.data.d.next = self.send_data.val();
            self.last.d.next = self.send_last.val();
        }
        if self.reset.val() {
            self.full.d.next = false;
            self.state.d.next = State::Header;
        }
    }
}
