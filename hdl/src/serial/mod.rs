//! The controller's streams over a narrow line (`cxlmem_protocol::serial`): frames, their repetition, and the reset that comes over the line.

pub mod arq;
pub mod collect;
pub mod decode;
pub mod deliver;
pub mod encode;
mod tables;
pub mod uart;

use crate::prim::{BlockRam, LutRam};
use arq::ArqEnd;
use collect::Collect;
use cxlmem_protocol::serial::Hello;
use decode::Decode;
use deliver::Deliver;
use encode::Encode;
use rust_hdl::prelude::*;

/// TLP frames of four beats that [`Deliver`] has room for.
pub const TLP_ROOM: u8 = 7;

/// Kind and length of a frame.
#[derive(Copy, Clone, Debug, Default, PartialEq, LogicStruct)]
pub struct Shape {
    pub kind: Bits<4>,
    pub length: Bits<7>,
}

/// Between bytes of a line and the pins of the controller, whose names its ports have. It is silent until it was reset over the line for the first time.
#[derive(LogicBlock, Default)]
pub struct SerialLink {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    /// Holds the controller in reset.
    pub core_reset: Signal<Out, Bit>,
    /// It was reset over the line.
    pub linked: Signal<Out, Bit>,
    // bytes from and to the line
    pub in_valid: Signal<In, Bit>,
    pub in_data: Signal<In, Bits<8>>,
    pub out_valid: Signal<Out, Bit>,
    pub out_data: Signal<Out, Bits<8>>,
    pub out_ready: Signal<In, Bit>,
    // to the controller
    pub rx_valid: Signal<Out, Bit>,
    pub rx_slot: Signal<Out, Bits<128>>,
    pub rx_sof: Signal<Out, Bit>,
    pub rx_crc: Signal<Out, Bits<16>>,
    pub tlp_rx_valid: Signal<Out, Bit>,
    pub tlp_rx_data: Signal<Out, Bits<128>>,
    pub tlp_rx_last: Signal<Out, Bit>,
    pub tlp_rx_ready: Signal<In, Bit>,
    pub cfg_bdf: Signal<Out, Bits<16>>,
    pub cfg_bme: Signal<Out, Bit>,
    pub cfg_msix_en: Signal<Out, Bit>,
    pub cfg_msix_mask: Signal<Out, Bit>,
    pub phy_down: Signal<Out, Bit>,
    // from the controller
    pub tx_valid: Signal<In, Bit>,
    pub tx_slot: Signal<In, Bits<128>>,
    pub tx_sof: Signal<In, Bit>,
    pub tx_crc: Signal<In, Bits<16>>,
    pub tx_ready: Signal<Out, Bit>,
    pub tlp_tx_valid: Signal<In, Bit>,
    pub tlp_tx_data: Signal<In, Bits<128>>,
    pub tlp_tx_last: Signal<In, Bit>,
    pub tlp_tx_ready: Signal<Out, Bit>,
    pub link_enabled: Signal<In, Bit>,
    pub phy_reinit: Signal<In, Bit>,
    decode: Decode,
    /// Two bodies: one is received while the other is delivered.
    bodies: BlockRam<Bits<8>, 8>,
    deliver: Deliver,
    arq: ArqEnd,
    collect: Collect,
    /// Frames without acknowledgement, and their kinds and lengths.
    frames: BlockRam<Bits<8>, 11>,
    shapes: LutRam<Shape, 4>,
    encode: Encode,
    /// The body that is received.
    receiving: DFF<Bit>,
    nonce: DFF<Bits<8>>,
    is_linked: DFF<Bit>,
    hello: DFF<Bit>,
    /// Cycles of reset that the controller is still to have: more than a memory outside it takes for what it has begun, and fewer than the answer over the
    /// line takes to reach the host.
    resetting: DFF<Bits<8>>,
    numbered: Signal<Local, Bit>,
    restart: Signal<Local, Bit>,
    clear: Signal<Local, Bit>,
    accept: Signal<Local, Bit>,
    read_at: Signal<Local, Bits<8>>,
    shape: Signal<Local, Shape>,
}

impl SerialLink {
    /// `greeting` is what the device says of itself; `patience` the cycles without progress after which everything is sent again.
    pub fn new(greeting: Hello, patience: u32) -> Self {
        Self {
            arq: ArqEnd::new(patience),
            encode: Encode::new(greeting.bytes()),
            ..Default::default()
        }
    }
}

impl Logic for SerialLink {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, receiving, nonce, is_linked, hello, resetting);
        self.decode.clock.next = self.clock.val();
        self.bodies.clock.next = self.clock.val();
        self.deliver.clock.next = self.clock.val();
        self.arq.clock.next = self.clock.val();
        self.collect.clock.next = self.clock.val();
        self.frames.clock.next = self.clock.val();
        self.shapes.clock.next = self.clock.val();
        self.encode.clock.next = self.clock.val();

        // From the line.
        self.decode.reset.next = self.reset.val();
        self.decode.valid.next = self.in_valid.val();
        self.decode.data.next = self.in_data.val();
        self.bodies.write.next = self.decode.write.val();
        self.bodies.write_address.next = bit_cast::<8, 7>(self.decode.index.val())
            | (bit_cast::<8, 1>(self.receiving.q.val().into()) << 7);
        self.bodies.write_data.next = self.decode.value.val();

        // A reset: of a new nonce, else only its answer again.
        self.restart.next = self.decode.good.val()
            & (self.decode.kind.val() == 6)
            & ((self.decode.number.val() != self.nonce.q.val()) | !self.is_linked.q.val());
        if self.encode.hello_taken.val() {
            self.hello.d.next = false;
        }
        if self.decode.good.val() & (self.decode.kind.val() == 6) {
            self.nonce.d.next = self.decode.number.val();
            self.is_linked.d.next = true;
            self.hello.d.next = true;
        }
        self.linked.next = self.is_linked.q.val();
        self.clear.next = self.reset.val() | self.restart.val();
        if self.resetting.q.val() != 0 {
            self.resetting.d.next = self.resetting.q.val() - 1;
        }
        if self.clear.val() {
            self.resetting.d.next = 255.into();
        }
        self.core_reset.next = self.resetting.q.val() != 0;
        self.deliver.reset.next = self.clear.val();
        self.arq.reset.next = self.clear.val();
        self.collect.reset.next = self.clear.val() | (self.resetting.q.val() != 0);

        // Frames that arrived.
        self.numbered.next = self.decode.good.val()
            & ((self.decode.kind.val() == 1)
                | (self.decode.kind.val() == 2)
                | (self.decode.kind.val() == 3));
        self.arq.good.next = self.decode.good.val();
        self.arq.ack.next = self.decode.ack.val();
        self.arq.again.next = self.decode.kind.val() == 5;
        self.arq.arrived.next = self.numbered.val() & self.deliver.ready.val();
        self.arq.arrived_number.next = self.decode.number.val();
        self.arq.missed.next = (self.decode.done.val() & !self.decode.good.val())
            | (self.numbered.val() & !self.deliver.ready.val());
        self.accept.next = self.arq.deliver.val();
        if self.accept.val() {
            self.receiving.d.next = !self.receiving.q.val();
        }
        self.deliver.take.next = self.accept.val();
        self.deliver.kind.next = self.decode.kind.val();
        self.deliver.length.next = self.decode.length.val();
        self.bodies.read.next = self.deliver.read.val();
        // Behind the header, in the other body than the one that is received.
        self.read_at.next = bit_cast::<8, 7>(self.deliver.read_index.val()) + 5;
        self.bodies.read_address.next = self.read_at.val();
        if !self.receiving.q.val() {
            self.bodies.read_address.next = self.read_at.val() | 0x80;
        }
        self.deliver.read_data.next = self.bodies.read_data.val();
        self.deliver.epoch.next = self.collect.epoch.val();
        self.rx_valid.next = self.deliver.rx_valid.val();
        self.rx_slot.next = self.deliver.rx_slot.val();
        self.rx_sof.next = self.deliver.rx_sof.val();
        self.rx_crc.next = self.deliver.rx_crc.val();
        self.tlp_rx_valid.next = self.deliver.tlp_valid.val();
        self.tlp_rx_data.next = self.deliver.tlp_data.val();
        self.tlp_rx_last.next = self.deliver.tlp_last.val();
        self.deliver.tlp_ready.next = self.tlp_rx_ready.val();
        self.cfg_bdf.next = self.deliver.cfg_bdf.val();
        self.cfg_bme.next = self.deliver.cfg_bme.val();
        self.cfg_msix_en.next = self.deliver.cfg_msix_en.val();
        self.cfg_msix_mask.next = self.deliver.cfg_msix_mask.val();
        self.phy_down.next = self.deliver.phy_down.val();

        // What the controller sends.
        self.collect.enable.next = self.is_linked.q.val();
        self.collect.tx_valid.next = self.tx_valid.val();
        self.collect.tx_slot.next = self.tx_slot.val();
        self.collect.tx_sof.next = self.tx_sof.val();
        self.collect.tx_crc.next = self.tx_crc.val();
        self.tx_ready.next = self.collect.tx_ready.val();
        self.collect.tlp_valid.next = self.tlp_tx_valid.val();
        self.collect.tlp_data.next = self.tlp_tx_data.val();
        self.collect.tlp_last.next = self.tlp_tx_last.val();
        self.tlp_tx_ready.next = self.collect.tlp_ready.val();
        self.collect.link_enabled.next = self.link_enabled.val();
        self.collect.phy_reinit.next = self.phy_reinit.val();
        self.collect.phy_down.next = self.deliver.phy_down.val();
        self.collect.has_room.next = self.arq.has_room.val() & !self.arq.is_ahead.val();
        self.collect.number.next = self.arq.number.val();
        self.arq.add.next = self.collect.add.val();
        self.frames.write.next = self.collect.write.val();
        self.frames.write_address.next = self.collect.write_address.val();
        self.frames.write_data.next = self.collect.write_data.val();
        self.shapes.write.next = self.collect.add.val();
        self.shapes.write_address.next = self.arq.number.val().get_bits::<4>(0);
        self.shape.next.kind = self.collect.kind.val();
        self.shape.next.length = self.collect.length.val();
        self.shapes.write_data.next = self.shape.val();

        // To the line. A frame under way is finished: the other end sees it whole.
        self.encode.reset.next = self.reset.val();
        self.encode.hello.next = self.hello.q.val();
        self.encode.nonce.next = self.nonce.q.val();
        self.encode.wants_repeat.next = self.arq.wants_repeat.val();
        self.encode.owes_ack.next = self.arq.owes_ack.val();
        self.encode.to_send.next = self.arq.to_send.val();
        self.encode.cursor.next = self.arq.cursor.val();
        self.encode.expected.next = self.arq.expected.val();
        self.encode.taken.next = self.deliver.taken.val();
        self.shapes.read_address.next = self.arq.cursor.val().get_bits::<4>(0);
        self.encode.frame_kind.next = self.shapes.read_data.val().kind;
        self.encode.frame_length.next = self.shapes.read_data.val().length;
        self.arq.told.next = self.encode.told.val();
        self.arq.sent.next = self.encode.sent.val();
        self.frames.read.next = self.encode.read.val();
        self.frames.read_address.next = self.encode.read_address.val();
        self.encode.read_data.next = self.frames.read_data.val();
        self.out_valid.next = self.encode.valid.val();
        self.out_data.next = self.encode.data.val();
        self.encode.ready.next = self.out_ready.val();

        if self.reset.val() {
            self.is_linked.d.next = false;
            self.hello.d.next = false;
        }
    }
}
