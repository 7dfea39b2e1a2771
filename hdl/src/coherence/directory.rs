//! The directory's memory: what host caches may hold of each line, two bits a line (`cxl-mem` 2.4).
//!
//! Four ways of tags and states. A small memory has a full map: as many sets as lines, only way 0, no tags. A large one has a snoop
//! filter that is inclusive: a line without an entry is in no host cache.
//!
//! Codes of a state: those of `hdm_db::Dir` (0 = I, an unused entry; 2 = A; 3 = S), and 1 = I, but not to be reused: a snoop of the
//! line is out, and its answer may raise the record again.

use crate::config::{Config, Directory as Shape};
use crate::prim::{BlockRam, Param};
use rust_hdl::prelude::*;

/// Looks a line up: what it says of it comes one cycle after `look` and stays. Never write and look in the same cycle.
#[derive(LogicBlock, Default)]
pub struct Directory {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub look: Signal<In, Bit>,
    pub line: Signal<In, Bits<26>>,
    /// The line has an entry.
    pub hit: Signal<Out, Bit>,
    /// The line has one, or one is free for it.
    pub room: Signal<Out, Bit>,
    /// The entry's way, or the free one.
    pub way: Signal<Out, Bits<2>>,
    /// Stored code; 0 without an entry.
    pub state: Signal<Out, Bits<2>>,
    /// Whose line stands in way `victim_way` of the set.
    pub victim_way: Signal<In, Bits<2>>,
    pub victim: Signal<Out, Bits<26>>,
    pub write: Signal<In, Bit>,
    pub write_line: Signal<In, Bits<26>>,
    pub write_way: Signal<In, Bits<2>>,
    pub write_state: Signal<In, Bits<2>>,
    /// Every entry is I since the reset.
    pub swept: Signal<Out, Bit>,
    states: [BlockRam<Bits<2>, 26>; 4],
    tags: [BlockRam<Bits<16>, 26>; 4],
    looked: DFF<Bits<26>>,
    sweep: DFF<Bits<26>>,
    sweeping: DFF<Bit>,
    shifted: Signal<Local, Bits<26>>,
    tag: Signal<Local, Bits<16>>,
    write_tag: Signal<Local, Bits<26>>,
    used: Signal<Local, Bits<4>>,
    hits: Signal<Local, Bits<4>>,
    free: Signal<Local, Bits<4>>,
    chosen: Signal<Local, Bits<4>>,
    write_hot: Signal<Local, Bits<4>>,
    victim_tag: Signal<Local, Bits<16>>,
    set_bits: Param<Bits<5>>,
    set_mask: Param<Bits<26>>,
    last_set: Param<Bits<26>>,
    full_map: Param<Bit>,
}

impl Directory {
    pub fn new(config: &Config) -> Self {
        let (set_bits, full_map) = match config.directory {
            Shape::None => (1, true),
            Shape::FullMap => (config.line_bits, true),
            Shape::Filter { set_bits } => (set_bits, false),
        };
        let none = config.directory == Shape::None;
        Self {
            states: std::array::from_fn(|i| match (none, full_map && i > 0) {
                (false, false) => BlockRam::with_depth_bits(set_bits),
                _ => BlockRam::absent(),
            }),
            tags: std::array::from_fn(|_| match full_map {
                false => BlockRam::with_depth_bits(set_bits),
                true => BlockRam::absent(),
            }),
            set_bits: Param::new((set_bits as u64).into()),
            set_mask: Param::new(((1u64 << set_bits) - 1).into()),
            last_set: Param::new(((1u64 << set_bits) - 1).into()),
            full_map: Param::new(full_map),
            ..Default::default()
        }
    }
}

impl Logic for Directory {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, looked, sweep, sweeping);
        if self.look.val() {
            self.looked.d.next = self.line.val();
        }
        self.shifted.next = self.looked.q.val() >> self.set_bits.val();
        self.tag.next = self.shifted.val().get_bits::<16>(0);
        self.write_tag.next = self.write_line.val() >> self.set_bits.val();
        self.write_hot.next = 0.into();
        if self.write.val() {
            self.write_hot.next = bits::<4>(1) << self.write_way.val();
        }
        self.used.next = 0.into();
        self.hits.next = 0.into();
        for i in 0..4 {
            self.states[i].clock.next = self.clock.val();
            self.tags[i].clock.next = self.clock.val();
            self.states[i].read.next = self.look.val();
            self.states[i].read_address.next = self.line.val();
            self.tags[i].read.next = self.look.val();
            self.tags[i].read_address.next = self.line.val();
            self.states[i].write.next = self.write_hot.val().get_bit(i) | self.sweeping.q.val();
            self.states[i].write_address.next = self.write_line.val();
            self.states[i].write_data.next = self.write_state.val();
            if self.sweeping.q.val() {
                self.states[i].write_address.next = self.sweep.q.val();
                self.states[i].write_data.next = 0.into();
            }
            self.tags[i].write.next = self.write_hot.val().get_bit(i);
            self.tags[i].write_address.next = self.write_line.val();
            self.tags[i].write_data.next = self.write_tag.val().get_bits::<16>(0);
            self.used.next = self
                .used
                .val()
                .replace_bit(i, self.states[i].read_data.val().any());
            self.hits.next = self.hits.val().replace_bit(
                i,
                self.states[i].read_data.val().any()
                    & (self.tags[i].read_data.val() == self.tag.val()),
            );
        }
        self.free.next = !self.used.val();
        if self.full_map.val() {
            self.hits.next = 1.into();
        }
        self.hit.next = self.hits.val().any();
        self.room.next = self.hits.val().any() | self.free.val().any();
        self.chosen.next = self.hits.val();
        if !self.hits.val().any() {
            self.chosen.next = self.free.val();
        }
        self.way.next = 3.into();
        if self.chosen.val().get_bit(0) {
            self.way.next = 0.into();
        } else if self.chosen.val().get_bit(1) {
            self.way.next = 1.into();
        } else if self.chosen.val().get_bit(2) {
            self.way.next = 2.into();
        }
        self.state.next = 0.into();
        if self.hits.val().get_bit(0) {
            self.state.next = self.states[0].read_data.val();
        } else if self.hits.val().get_bit(1) {
            self.state.next = self.states[1].read_data.val();
        } else if self.hits.val().get_bit(2) {
            self.state.next = self.states[2].read_data.val();
        } else if self.hits.val().get_bit(3) {
            self.state.next = self.states[3].read_data.val();
        }
        self.victim_tag.next = self.tags[3].read_data.val();
        if self.victim_way.val() == 0 {
            self.victim_tag.next = self.tags[0].read_data.val();
        } else if self.victim_way.val() == 1 {
            self.victim_tag.next = self.tags[1].read_data.val();
        } else if self.victim_way.val() == 2 {
            self.victim_tag.next = self.tags[2].read_data.val();
        }
        self.victim.next = (bit_cast::<26, 16>(self.victim_tag.val()) << self.set_bits.val())
            | (self.looked.q.val() & self.set_mask.val());

        if self.sweeping.q.val() {
            self.sweep.d.next = self.sweep.q.val() + 1;
            if self.sweep.q.val() == self.last_set.val() {
                self.sweeping.d.next = false;
            }
        }
        self.swept.next = !self.sweeping.q.val();
        if self.reset.val() {
            self.sweep.d.next = 0.into();
            self.sweeping.d.next = true;
        }
    }
}
