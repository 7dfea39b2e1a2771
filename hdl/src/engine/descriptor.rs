//! A descriptor's fields, and the checks that need nothing but the descriptor (`docs/developer/interfaces.md` section 5).

use rust_hdl::prelude::*;

/// Takes the four beats of a descriptor and holds its fields. `status` is the first of BAD_OPCODE, BAD_FLAGS, BAD_COUNT and
/// MISALIGNED that applies, else 0: what the protocol's `Descriptor::check` says.
#[derive(LogicBlock, Default)]
pub struct Descriptor {
    pub clock: Signal<In, Clock>,
    pub load: Signal<In, Bit>,
    pub beat: Signal<In, Bits<2>>,
    pub data: Signal<In, Bits<128>>,
    pub id: Signal<Out, Bits<16>>,
    pub irq: Signal<Out, Bit>,
    pub list: Signal<Out, Bit>,
    pub host: Signal<Out, Bit>,
    pub is_nop: Signal<Out, Bit>,
    pub is_to_device: Signal<Out, Bit>,
    pub is_to_host: Signal<Out, Bit>,
    pub is_fill: Signal<Out, Bit>,
    pub is_sum: Signal<Out, Bit>,
    pub is_crc: Signal<Out, Bit>,
    pub is_chase: Signal<Out, Bit>,
    pub is_set_owner: Signal<Out, Bit>,
    pub is_add: Signal<Out, Bit>,
    pub is_swap: Signal<Out, Bit>,
    /// Which 64-bit word of the line.
    pub word: Signal<Out, Bits<3>>,
    /// CompareSwap: the new value.
    pub swap: Signal<Out, Bits<64>>,
    pub uses_device: Signal<Out, Bit>,
    pub uses_host: Signal<Out, Bit>,
    /// `count` is in pages.
    pub in_pages: Signal<Out, Bit>,
    pub count: Signal<Out, Bits<32>>,
    /// The range in lines; 1 for CHASE.
    pub lines: Signal<Out, Bits<16>>,
    pub device_line: Signal<Out, Bits<26>>,
    /// Device address bits above 31 are set.
    pub device_high: Signal<Out, Bit>,
    pub host_line: Signal<Out, Bits<58>>,
    /// LIST: index of the first entry in its line.
    pub host_first: Signal<Out, Bits<3>>,
    /// Host lines from `host_line` on that the descriptor names: the data, or the list; 1 for CHASE.
    pub host_span: Signal<Out, Bits<16>>,
    pub arg: Signal<Out, Bits<64>>,
    pub status: Signal<Out, Bits<8>>,
    opcode: DFF<Bits<8>>,
    flags: DFF<Bits<8>>,
    id_r: DFF<Bits<16>>,
    count_r: DFF<Bits<32>>,
    device: DFF<Bits<64>>,
    host_r: DFF<Bits<64>>,
    arg_r: DFF<Bits<64>>,
    /// Which sixteen-bit columns of the reserved bytes are not zero: joined later, as the beats come late in their cycle.
    reserved: DFF<Bits<8>>,
    op: Signal<Local, Bits<4>>,
    is_atomic: Signal<Local, Bit>,
    is_copy: Signal<Local, Bit>,
    is_reduce: Signal<Local, Bit>,
    bad_opcode: Signal<Local, Bit>,
    bad_flags: Signal<Local, Bit>,
    misaligned: Signal<Local, Bit>,
    bad_count: Signal<Local, Bit>,
    pages: Signal<Local, Bits<10>>,
    /// Pointers to fetch, rounded up to a line of eight, times eight.
    list_span: Signal<Local, Bits<16>>,
    columns: Signal<Local, Bits<8>>,
}

impl Logic for Descriptor {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, opcode, flags, id_r, count_r, device, host_r, arg_r, reserved);
        self.columns.next = 0.into();
        self.columns.next = self
            .columns
            .val()
            .replace_bit(0, self.data.val().get_bits::<16>(0).any());
        self.columns.next = self
            .columns
            .val()
            .replace_bit(1, self.data.val().get_bits::<16>(16).any());
        self.columns.next = self
            .columns
            .val()
            .replace_bit(2, self.data.val().get_bits::<16>(32).any());
        self.columns.next = self
            .columns
            .val()
            .replace_bit(3, self.data.val().get_bits::<16>(48).any());
        self.columns.next = self
            .columns
            .val()
            .replace_bit(4, self.data.val().get_bits::<16>(64).any());
        self.columns.next = self
            .columns
            .val()
            .replace_bit(5, self.data.val().get_bits::<16>(80).any());
        self.columns.next = self
            .columns
            .val()
            .replace_bit(6, self.data.val().get_bits::<16>(96).any());
        self.columns.next = self
            .columns
            .val()
            .replace_bit(7, self.data.val().get_bits::<16>(112).any());
        if self.load.val() {
            match self.beat.val().index() {
                0 => {
                    self.opcode.d.next = self.data.val().get_bits::<8>(0);
                    self.flags.d.next = self.data.val().get_bits::<8>(8);
                    self.id_r.d.next = self.data.val().get_bits::<16>(16);
                    self.count_r.d.next = self.data.val().get_bits::<32>(32);
                    self.device.d.next = self.data.val().get_bits::<64>(64);
                    self.reserved.d.next = 0.into();
                }
                1 => {
                    self.host_r.d.next = self.data.val().get_bits::<64>(0);
                    self.arg_r.d.next = self.data.val().get_bits::<64>(64);
                }
                _ => {
                    self.reserved.d.next = self.reserved.q.val() | self.columns.val();
                }
            }
        }
        self.op.next = self.opcode.q.val().get_bits::<4>(0);
        self.is_nop.next = self.op.val() == 0;
        self.is_to_device.next = self.op.val() == 1;
        self.is_to_host.next = self.op.val() == 2;
        self.is_fill.next = self.op.val() == 3;
        self.is_sum.next = self.op.val() == 4;
        self.is_crc.next = self.op.val() == 5;
        self.is_chase.next = self.op.val() == 6;
        self.is_set_owner.next = self.op.val() == 7;
        self.is_add.next = self.op.val() == 8;
        self.is_swap.next = self.op.val() == 9;
        self.is_atomic.next = self.is_add.val() | self.is_swap.val();
        self.word.next = self.device.q.val().get_bits::<3>(3);
        self.swap.next = self.host_r.q.val();
        self.is_copy.next = self.is_to_device.val() | self.is_to_host.val();
        self.is_reduce.next = self.is_sum.val() | self.is_crc.val();
        self.irq.next = self.flags.q.val().get_bit(0);
        self.list.next = self.flags.q.val().get_bit(1);
        self.host.next = self.flags.q.val().get_bit(2);
        self.id.next = self.id_r.q.val();
        self.count.next = self.count_r.q.val();
        self.device_line.next = self.device.q.val().get_bits::<26>(6);
        self.device_high.next = self.device.q.val().get_bits::<32>(32).any();
        self.host_line.next = self.host_r.q.val().get_bits::<58>(6);
        self.host_first.next = self.host_r.q.val().get_bits::<3>(3);
        self.arg.next = self.arg_r.q.val();
        self.uses_device.next = self.is_copy.val()
            | self.is_fill.val()
            | self.is_set_owner.val()
            | self.is_atomic.val()
            | ((self.is_reduce.val() | self.is_chase.val()) & !self.host.val());
        self.uses_host.next = self.is_copy.val() | self.host.val();
        self.in_pages.next = self.list.val() | self.is_set_owner.val();
        self.pages.next = self.count_r.q.val().get_bits::<10>(0);
        self.lines.next = self.count_r.q.val().get_bits::<16>(6);
        if self.in_pages.val() {
            self.lines.next = bit_cast::<16, 10>(self.pages.val()) << 6;
        }
        self.list_span.next =
            bit_cast::<16, 10>(self.pages.val()) + bit_cast::<16, 3>(self.host_first.val()) + 7;
        self.host_span.next = self.count_r.q.val().get_bits::<16>(6);
        if self.list.val() {
            self.host_span.next = self.list_span.val() >> 3;
        }
        if self.is_atomic.val() {
            self.lines.next = 1.into();
        }
        if self.is_chase.val() {
            self.lines.next = 1.into();
            self.host_span.next = 1.into();
        }

        self.bad_opcode.next = self.opcode.q.val() > 9;
        self.bad_flags.next = self.flags.q.val().get_bits::<5>(3).any()
            | (self.list.val() & !self.is_copy.val())
            | (self.host.val() & !self.is_reduce.val() & !self.is_chase.val())
            | self.reserved.q.val().any();
        self.misaligned.next = (self.uses_device.val()
            & (self.device.q.val().get_bits::<3>(0).any()
                | (!self.is_atomic.val() & self.device.q.val().get_bits::<3>(3).any())
                | (self.in_pages.val() & self.device.q.val().get_bits::<6>(6).any())))
            | (self.uses_host.val()
                & (self.host_r.q.val().get_bits::<3>(0).any()
                    | (!self.list.val() & self.host_r.q.val().get_bits::<3>(3).any())));
        // At most 2 MiB, 512 pages, 2^20 hops.
        self.bad_count.next = self.count_r.q.val().get_bits::<6>(0).any()
            | self.count_r.q.val().get_bits::<10>(22).any()
            | (self.count_r.q.val().get_bit(21) & self.count_r.q.val().get_bits::<15>(6).any());
        if self.in_pages.val() {
            self.bad_count.next = self.count_r.q.val().get_bits::<22>(10).any()
                | (self.count_r.q.val().get_bit(9) & self.count_r.q.val().get_bits::<9>(0).any());
        }
        if self.is_chase.val() {
            self.bad_count.next = self.count_r.q.val().get_bits::<11>(21).any()
                | (self.count_r.q.val().get_bit(20) & self.count_r.q.val().get_bits::<20>(0).any());
        }
        if self.is_atomic.val() {
            self.bad_count.next = self.count_r.q.val() != 1;
        }
        if !self.count_r.q.val().any() {
            self.bad_count.next = true;
        }
        self.status.next = 0.into();
        if self.misaligned.val() {
            self.status.next = 3.into();
        }
        if self.bad_count.val() & !self.is_nop.val() {
            self.status.next = 4.into();
        }
        if self.bad_flags.val() {
            self.status.next = 2.into();
        }
        if self.bad_opcode.val() {
            self.status.next = 1.into();
        }
    }
}
