//! Frames to bytes of the line: header, payload, CRC, COBS.

use super::tables::{CrcByte, Kinds};
use crate::prim::{BlockRam, Param};
use rust_hdl::prelude::*;

#[derive(Copy, Clone, Debug, PartialEq, LogicState)]
enum State {
    Idle,
    /// A byte of the header each cycle.
    Header,
    /// The address of a byte of payload is out; its byte comes.
    Fetch,
    Payload,
    CheckHigh,
    CheckLow,
    /// The last code of COBS.
    Close,
    /// The address of a byte for the line is out; the byte waits until the line takes it.
    Read,
    Line,
    Stop,
}

/// One frame at a time. What to send is chosen while nothing is being sent: the answer to a reset, a negative acknowledgement, the frame at the cursor, an
/// acknowledgement.
#[derive(LogicBlock, Default)]
pub struct Encode {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub hello: Signal<In, Bit>,
    pub nonce: Signal<In, Bits<8>>,
    pub hello_taken: Signal<Out, Bit>,
    pub wants_repeat: Signal<In, Bit>,
    pub owes_ack: Signal<In, Bit>,
    pub told: Signal<Out, Bit>,
    pub to_send: Signal<In, Bit>,
    pub cursor: Signal<In, Bits<8>>,
    pub sent: Signal<Out, Bit>,
    pub expected: Signal<In, Bits<8>>,
    pub taken: Signal<In, Bits<8>>,
    /// Kind and length of the frame at the cursor.
    pub frame_kind: Signal<In, Bits<4>>,
    pub frame_length: Signal<In, Bits<7>>,
    // its bytes, a cycle later
    pub read: Signal<Out, Bit>,
    pub read_address: Signal<Out, Bits<11>>,
    pub read_data: Signal<In, Bits<8>>,
    // to the line
    pub valid: Signal<Out, Bit>,
    pub data: Signal<Out, Bits<8>>,
    pub ready: Signal<In, Bit>,
    image: BlockRam<Bits<8>, 7>,
    kinds: Kinds,
    crc: CrcByte,
    state: DFF<State>,
    kind: DFF<Bits<4>>,
    number: DFF<Bits<8>>,
    ack: DFF<Bits<8>>,
    taken_is: DFF<Bits<8>>,
    greeting: DFF<Bits<64>>,
    length: DFF<Bits<7>>,
    count: DFF<Bits<7>>,
    sum: DFF<Bits<16>>,
    code_at: DFF<Bits<7>>,
    code: DFF<Bits<8>>,
    at: DFF<Bits<7>>,
    count_next: Signal<Local, Bits<7>>,
    put: Signal<Local, Bit>,
    put_value: Signal<Local, Bits<8>>,
    starts: Signal<Local, Bit>,
    greeting_is: Param<Bits<64>>,
}

impl Encode {
    /// `greeting`: payload of the answer to a reset.
    pub fn new(greeting: [u8; 8]) -> Self {
        Self {
            greeting_is: Param::new(u64::from_le_bytes(greeting).into()),
            ..Default::default()
        }
    }
}

impl Logic for Encode {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clock, state, kind, number, ack, taken_is, greeting, length, count, sum, code_at,
            code, at
        );
        self.image.clock.next = self.clock.val();
        self.kinds.code.next = 0.into();
        self.kinds.of_kind.next = self.kind.q.val();
        self.hello_taken.next = false;
        self.told.next = false;
        self.sent.next = false;
        self.read.next = false;
        self.read_address.next = bit_cast::<11, 7>(self.count.q.val())
            | (bit_cast::<11, 4>(self.number.q.val().get_bits::<4>(0)) << 7);
        self.image.read.next = false;
        self.image.read_address.next = self.count.q.val();
        self.valid.next = false;
        self.data.next = self.image.read_data.val();
        self.put.next = false;
        self.put_value.next = 0.into();
        self.starts.next = false;
        self.count_next.next = self.count.q.val() + 1;
        match self.state.q.val() {
            State::Idle => {
                self.count.d.next = 0.into();
                self.ack.d.next = self.expected.val();
                self.taken_is.d.next = self.taken.val();
                self.length.d.next = 0.into();
                self.number.d.next = 0.into();
                self.greeting.d.next = self.greeting_is.val();
                if self.hello.val() {
                    self.starts.next = true;
                    self.hello_taken.next = true;
                    self.kind.d.next = 7.into();
                    self.number.d.next = self.nonce.val();
                    self.length.d.next = 8.into();
                } else if self.wants_repeat.val() {
                    self.starts.next = true;
                    self.told.next = true;
                    self.kind.d.next = 5.into();
                } else if self.to_send.val() {
                    self.starts.next = true;
                    self.sent.next = true;
                    self.kind.d.next = self.frame_kind.val();
                    self.number.d.next = self.cursor.val();
                    self.length.d.next = self.frame_length.val();
                } else if self.owes_ack.val() {
                    self.starts.next = true;
                    self.told.next = true;
                    self.kind.d.next = 4.into();
                }
                if self.starts.val() {
                    self.state.d.next = State::Header;
                }
            }
            State::Header => {
                self.put.next = true;
                self.count.d.next = self.count_next.val();
                if self.count.q.val() == 0 {
                    self.put_value.next = self.kinds.of_code.val().get_bits::<8>(0);
                } else if self.count.q.val() == 1 {
                    self.put_value.next = self.kinds.of_code.val().get_bits::<8>(8);
                } else if self.count.q.val() == 2 {
                    self.put_value.next = self.number.q.val();
                } else if self.count.q.val() == 3 {
                    self.put_value.next = self.ack.q.val();
                } else {
                    self.put_value.next = self.taken_is.q.val();
                    self.count.d.next = 0.into();
                    self.state.d.next = State::Fetch;
                    if self.length.q.val() == 0 {
                        self.state.d.next = State::CheckHigh;
                    }
                }
            }
            State::Fetch => {
                self.read.next = true;
                self.state.d.next = State::Payload;
            }
            State::Payload => {
                self.put.next = true;
                self.put_value.next = self.read_data.val();
                if self.kind.q.val() == 7 {
                    self.put_value.next = self.greeting.q.val().get_bits::<8>(0);
                }
                self.greeting.d.next = self.greeting.q.val() >> 8;
                self.count.d.next = self.count_next.val();
                self.state.d.next = State::Fetch;
                if self.count_next.val() == self.length.q.val() {
                    self.state.d.next = State::CheckHigh;
                }
            }
            State::CheckHigh => {
                self.put.next = true;
                self.put_value.next = self.sum.q.val().get_bits::<8>(8);
                self.state.d.next = State::CheckLow;
            }
            State::CheckLow => {
                self.put.next = true;
                self.put_value.next = self.sum.q.val().get_bits::<8>(0);
                self.state.d.next = State::Close;
            }
            State::Close => {
                self.count.d.next = 0.into();
                self.state.d.next = State::Read;
            }
            State::Read => {
                self.image.read.next = true;
                self.state.d.next = State::Line;
            }
            State::Line => {
                self.valid.next = true;
                if self.ready.val() {
                    self.count.d.next = self.count_next.val();
                    self.state.d.next = State::Read;
                    if self.count_next.val() == self.at.q.val() {
                        self.state.d.next = State::Stop;
                    }
                }
            }
            State::Stop => {
                self.valid.next = true;
                self.data.next = 0.into();
                if self.ready.val() {
                    self.state.d.next = State::Idle;
                }
            }
            _ => {
                self.state.d.next = State::Idle;
            }
        }

        // COBS: the place of a zero takes the distance to the next one.
        self.crc.sum.next = self.sum.q.val();
        self.crc.data.next = self.put_value.val();
        self.image.write.next = self.put.val() | (self.state.q.val() == State::Close);
        self.image.write_address.next = self.code_at.q.val();
        self.image.write_data.next = self.code.q.val();
        if self.put.val() {
            if (self.state.q.val() != State::CheckHigh) & (self.state.q.val() != State::CheckLow) {
                self.sum.d.next = self.crc.out.val();
            }
            self.at.d.next = self.at.q.val() + 1;
            if self.put_value.val() == 0 {
                self.code_at.d.next = self.at.q.val();
                self.code.d.next = 1.into();
            } else {
                self.image.write_address.next = self.at.q.val();
                self.image.write_data.next = self.put_value.val();
                self.code.d.next = self.code.q.val() + 1;
            }
        }
        if self.starts.val() {
            self.sum.d.next = 0xFFFF.into();
            self.code_at.d.next = 0.into();
            self.code.d.next = 1.into();
            self.at.d.next = 1.into();
        }
        if self.reset.val() {
            self.state.d.next = State::Idle;
        }
    }
}
