//! TLP receive: memory requests become register accesses, completions go to the DMA reader, everything else is answered
//! Unsupported Request or dropped.

use rust_hdl::prelude::*;

#[derive(Copy, Clone, Debug, PartialEq, LogicState)]
enum State {
    /// The beat at hand is a header.
    Header,
    /// It is the payload of a register write.
    Payload,
    /// It belongs to a completion.
    Completion,
    /// Skip to the last beat.
    Skip,
    /// Register access of the first, then the second DW.
    Access,
    AccessSecond,
    /// A completion waits for the transmitter.
    Respond,
}

/// Receives TLPs, one at a time.
///
/// * Memory reads and writes of one DW, or of two naturally aligned DWs, with all bytes enabled: register bus, one DW at a time
///   (`bus_valid` is held until `bus_done`).
/// * Any other non-posted request: a completion with status Unsupported Request.
/// * Any other posted request, a poisoned or truncated register write, an unknown type: dropped.
/// * `ev_error` counts each TLP of the last two kinds.
/// * Completions: handed on beat by beat (`cpl_valid`, `cpl_header` on the first), without back-pressure.
///
/// Payload beyond what the header says is consumed to `last`; nothing here waits for a beat that its TLP does not have.
#[derive(LogicBlock, Default)]
pub struct Endpoint {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub tlp_rx_valid: Signal<In, Bit>,
    pub tlp_rx_data: Signal<In, Bits<128>>,
    pub tlp_rx_last: Signal<In, Bit>,
    pub tlp_rx_ready: Signal<Out, Bit>,
    pub bus_valid: Signal<Out, Bit>,
    pub bus_write: Signal<Out, Bit>,
    pub bus_address: Signal<Out, Bits<14>>,
    pub bus_wdata: Signal<Out, Bits<32>>,
    pub bus_rdata: Signal<In, Bits<32>>,
    pub bus_done: Signal<In, Bit>,
    pub cpl_valid: Signal<Out, Bit>,
    pub cpl_header: Signal<Out, Bit>,
    pub cpl_last: Signal<Out, Bit>,
    pub cpl_data: Signal<Out, Bits<128>>,
    /// Completion to send: header DW0, DW1 without the completer id, DW2, payload of `resp_two` + 1 DWs unless `resp_ur`.
    pub resp_valid: Signal<Out, Bit>,
    pub resp_ready: Signal<In, Bit>,
    pub resp_dw0: Signal<Out, Bits<32>>,
    pub resp_dw1: Signal<Out, Bits<16>>,
    pub resp_dw2: Signal<Out, Bits<32>>,
    pub resp_ur: Signal<Out, Bit>,
    pub resp_data: Signal<Out, Bits<64>>,
    pub ev_error: Signal<Out, Bit>,
    // the beat at hand
    full: DFF<Bit>,
    data: DFF<Bits<128>>,
    last: DFF<Bit>,
    state: DFF<State>,
    // the request at hand
    write: DFF<Bit>,
    two: DFF<Bit>,
    unsupported: DFF<Bit>,
    address: DFF<Bits<14>>,
    payload: DFF<Bits<64>>,
    requester: DFF<Bits<16>>,
    tag: DFF<Bits<8>>,
    traffic_class: DFF<Bits<3>>,
    attributes: DFF<Bits<2>>,
    byte_count: DFF<Bits<12>>,
    low_bits: DFF<Bits<2>>,
    // decode of a header
    beat: Signal<Local, Bits<128>>,
    take: Signal<Local, Bit>,
    fmt: Signal<Local, Bits<3>>,
    kind: Signal<Local, Bits<5>>,
    length: Signal<Local, Bits<10>>,
    first_be: Signal<Local, Bits<4>>,
    last_be: Signal<Local, Bits<4>>,
    end_be: Signal<Local, Bits<4>>,
    dw_address: Signal<Local, Bits<14>>,
    one_dw: Signal<Local, Bit>,
    shape_ok: Signal<Local, Bit>,
    is_memory: Signal<Local, Bit>,
    is_completion: Signal<Local, Bit>,
    is_non_posted: Signal<Local, Bit>,
    skip_low: Signal<Local, Bits<2>>,
    skip_high: Signal<Local, Bits<2>>,
}

impl Logic for Endpoint {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            full,
            data,
            last,
            state,
            write,
            two,
            unsupported,
            address,
            payload,
            requester,
            tag,
            traffic_class,
            attributes,
            byte_count,
            low_bits
        );
        // Decode, as if the beat at hand were a header.
        self.beat.next = self.data.q.val();
        self.fmt.next = self.beat.val().get_bits::<3>(29);
        self.kind.next = self.beat.val().get_bits::<5>(24);
        self.length.next = self.beat.val().get_bits::<10>(0);
        self.first_be.next = self.beat.val().get_bits::<4>(32);
        self.last_be.next = self.beat.val().get_bits::<4>(36);
        self.dw_address.next = self.beat.val().get_bits::<14>(66);
        if self.fmt.val().get_bit(0) {
            self.dw_address.next = self.beat.val().get_bits::<14>(98);
        }
        self.one_dw.next = self.length.val() == 1;
        self.is_memory.next = (self.kind.val() == 0) & !self.fmt.val().get_bit(2);
        self.is_completion.next =
            (self.kind.val().get_bits::<4>(1) == 5) & !self.fmt.val().get_bit(2);
        // MRd; MRdLk, IO; configuration; atomics.
        self.is_non_posted.next = !self.fmt.val().get_bit(2)
            & (((self.kind.val() == 0) & !self.fmt.val().get_bit(1))
                | (self.kind.val() == 1)
                | (self.kind.val() == 2)
                | (self.kind.val().get_bits::<4>(1) == 2)
                | ((self.kind.val().get_bits::<3>(2) == 3)
                    & !self.kind.val().get_bits::<2>(0).all()));
        self.shape_ok.next = (self.first_be.val() == 15)
            & ((self.one_dw.val() & !self.last_be.val().any())
                | ((self.length.val() == 2)
                    & (self.last_be.val() == 15)
                    & !self.dw_address.val().get_bit(0)));
        // Bytes before the first and after the last enabled one, for the byte count of a refused read.
        self.end_be.next = self.last_be.val();
        if self.one_dw.val() {
            self.end_be.next = self.first_be.val();
        }
        self.skip_low.next = 0.into();
        if !self.first_be.val().get_bit(0) {
            if self.first_be.val().get_bit(1) {
                self.skip_low.next = 1.into();
            } else if self.first_be.val().get_bit(2) {
                self.skip_low.next = 2.into();
            } else if self.first_be.val().get_bit(3) {
                self.skip_low.next = 3.into();
            }
        }
        self.skip_high.next = 0.into();
        if !self.end_be.val().get_bit(3) {
            if self.end_be.val().get_bit(2) {
                self.skip_high.next = 1.into();
            } else if self.end_be.val().get_bit(1) {
                self.skip_high.next = 2.into();
            } else {
                self.skip_high.next = 3.into();
            }
        }

        self.take.next = false;
        self.ev_error.next = false;
        self.cpl_valid.next = false;
        self.cpl_header.next = false;
        self.cpl_last.next = self.last.q.val();
        self.cpl_data.next = self.beat.val();
        self.bus_valid.next = false;
        self.bus_write.next = self.write.q.val();
        self.bus_address.next = self.address.q.val();
        self.bus_wdata.next = self.payload.q.val().get_bits::<32>(0);
        self.resp_valid.next = false;

        match self.state.q.val() {
            State::Header => {
                if self.full.q.val() {
                    self.take.next = true;
                    self.requester.d.next = self.beat.val().get_bits::<16>(48);
                    self.tag.d.next = self.beat.val().get_bits::<8>(40);
                    self.traffic_class.d.next = self.beat.val().get_bits::<3>(20);
                    self.attributes.d.next = self.beat.val().get_bits::<2>(12);
                    self.address.d.next = self.dw_address.val();
                    self.two.d.next = !self.one_dw.val();
                    self.write.d.next = self.fmt.val().get_bit(1);
                    self.unsupported.d.next = false;
                    self.byte_count.d.next = 4.into();
                    self.low_bits.d.next = 0.into();
                    if self.is_completion.val() {
                        self.cpl_valid.next = true;
                        self.cpl_header.next = true;
                        if !self.last.q.val() {
                            self.state.d.next = State::Completion;
                        }
                    } else if self.is_memory.val()
                        & self.shape_ok.val()
                        & (self.fmt.val().get_bit(1) != self.last.q.val())
                        & !self.beat.val().get_bit(14)
                    {
                        self.byte_count.d.next = bit_cast::<12, 10>(self.length.val()) << 2;
                        if self.last.q.val() {
                            self.state.d.next = State::Access;
                        } else {
                            self.state.d.next = State::Payload;
                        }
                    } else {
                        self.ev_error.next = true;
                        self.unsupported.d.next = self.is_non_posted.val();
                        if self.is_memory.val() {
                            self.low_bits.d.next = self.skip_low.val();
                            self.byte_count.d.next = ((bit_cast::<12, 10>(self.length.val()) << 2)
                                - bit_cast::<12, 2>(self.skip_low.val()))
                                - bit_cast::<12, 2>(self.skip_high.val());
                        }
                        if !self.last.q.val() {
                            self.state.d.next = State::Skip;
                        } else if self.is_non_posted.val() {
                            self.state.d.next = State::Respond;
                        }
                    }
                }
            }
            State::Payload => {
                if self.full.q.val() {
                    self.take.next = true;
                    self.payload.d.next = self.beat.val().get_bits::<64>(0);
                    if self.last.q.val() {
                        self.state.d.next = State::Access;
                    } else {
                        self.ev_error.next = true;
                        self.state.d.next = State::Skip;
                    }
                }
            }
            State::Completion => {
                if self.full.q.val() {
                    self.take.next = true;
                    self.cpl_valid.next = true;
                    if self.last.q.val() {
                        self.state.d.next = State::Header;
                    }
                }
            }
            State::Skip => {
                if self.full.q.val() {
                    self.take.next = true;
                    if self.last.q.val() {
                        self.state.d.next = State::Header;
                        if self.unsupported.q.val() {
                            self.state.d.next = State::Respond;
                        }
                    }
                }
            }
            State::Access => {
                self.bus_valid.next = true;
                if self.bus_done.val() {
                    self.payload.d.next = (self.payload.q.val() >> 32)
                        | (bit_cast::<64, 32>(self.bus_rdata.val()) << 32);
                    if self.two.q.val() {
                        self.address.d.next = self.address.q.val() | 1;
                        self.state.d.next = State::AccessSecond;
                    } else if self.write.q.val() {
                        self.state.d.next = State::Header;
                    } else {
                        self.payload.d.next = bit_cast::<64, 32>(self.bus_rdata.val());
                        self.state.d.next = State::Respond;
                    }
                }
            }
            State::AccessSecond => {
                self.bus_valid.next = true;
                if self.bus_done.val() {
                    self.address.d.next = self.address.q.val() & 0x3FFE;
                    self.payload.d.next = (self.payload.q.val() >> 32)
                        | (bit_cast::<64, 32>(self.bus_rdata.val()) << 32);
                    self.state.d.next = State::Respond;
                    if self.write.q.val() {
                        self.state.d.next = State::Header;
                    }
                }
            }
            State::Respond => {
                self.resp_valid.next = true;
                if self.resp_ready.val() {
                    self.state.d.next = State::Header;
                }
            }
            _ => {
                self.state.d.next = State::Header;
            }
        }

        // Cpl (no data) or CplD of one or two DWs; traffic class and attributes are the request's.
        self.resp_ur.next = self.unsupported.q.val();
        self.resp_dw0.next = 0x4A00_0001.into();
        if self.two.q.val() {
            self.resp_dw0.next = 0x4A00_0002.into();
        }
        if self.unsupported.q.val() {
            self.resp_dw0.next = 0x0A00_0000.into();
        }
        self.resp_dw0.next = self.resp_dw0.val()
            | (bit_cast::<32, 3>(self.traffic_class.q.val()) << 20)
            | (bit_cast::<32, 2>(self.attributes.q.val()) << 12);
        self.resp_dw1.next = bit_cast::<16, 12>(self.byte_count.q.val());
        if self.unsupported.q.val() {
            self.resp_dw1.next = bit_cast::<16, 12>(self.byte_count.q.val()) | 0x2000;
        }
        self.resp_dw2.next = (bit_cast::<32, 16>(self.requester.q.val()) << 16)
            | (bit_cast::<32, 8>(self.tag.q.val()) << 8)
            | (bit_cast::<32, 5>(self.address.q.val().get_bits::<5>(0)) << 2)
            | bit_cast::<32, 2>(self.low_bits.q.val());
        self.resp_data.next = self.payload.q.val();

        self.tlp_rx_ready.next = !self.full.q.val() | self.take.val();
        if self.take.val() {
            self.full.d.next = false;
        }
        if self.tlp_rx_valid.val() & self.tlp_rx_ready.val() {
            self.full.d.next = true;
            self.data.d.next = self.tlp_rx_data.val();
            self.last.d.next = self.tlp_rx_last.val();
        }
        if self.reset.val() {
            self.full.d.next = false;
            self.state.d.next = State::Header;
            self.tlp_rx_ready.next = false;
        }
    }
}
