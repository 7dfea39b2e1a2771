//! The register map as hardware: tables generated from the protocol's register list for one configuration.

use crate::config::{Backend, Config};
use cxlmem_protocol::regs::{self, Access, REGS};
use rust_hdl::prelude::*;
use std::fmt::Write;

macro_rules! reg_state {
    ($(($id:ident, $off:literal, $acc:ident, $reset:literal, $doc:literal,
        [$(($f:ident, $lsb:literal, $w:literal, $fd:literal)),*]))*) => {
        /// A register of the map; the index equals `cxlmem_protocol::regs::Reg`.
        #[derive(Copy, Clone, Debug, PartialEq, LogicState)]
        pub enum Reg {
            /// Unassigned offset.
            None,
            $(#[doc = $doc] $id,)*
        }
        /// Every register, indexed by its discriminant.
        const ALL: &[Reg] = &[Reg::None, $(Reg::$id),*];
    };
}
cxlmem_protocol::for_each_reg!(reg_state);

/// Registers held by `counters`, in its order.
const COUNTERS: &[regs::Reg] = &[
    regs::Reg::RxFlits,
    regs::Reg::RxCrcErrors,
    regs::Reg::RxProtocolErrors,
    regs::Reg::TxFlits,
    regs::Reg::ReqCount,
    regs::Reg::RwdCount,
    regs::Reg::NdrCount,
    regs::Reg::DrsCount,
    regs::Reg::NxmCount,
    regs::Reg::CreditStall,
    regs::Reg::IoErrors,
    regs::Reg::RetryRequests,
    regs::Reg::RetryReplays,
    regs::Reg::PhyReinits,
    regs::Reg::Snoops,
    regs::Reg::SnoopFailures,
];

/// What the hardware needs to know of one register.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// Bits that a write stores in the register RAM.
    mask: u32,
    /// Value after reset, in this configuration.
    reset: u32,
    /// HDM decoder registers: `8 * decoder + index` (0 base low, 1 base high, 2 size low, 3 size high, 4 control, 5 skip low, 6 skip high).
    hdm: Option<u8>,
    /// Index in the counter file.
    counter: Option<u8>,
}

fn row(reg: &regs::RegDef, config: &Config) -> Row {
    let id = regs::Reg::from_offset(reg.offset);
    let hdm = (reg.offset >= regs::Hdm0BaseLo::OFFSET && reg.offset <= regs::Hdm1SkipHi::OFFSET)
        .then(|| reg.offset - regs::Hdm0BaseLo::OFFSET)
        .map(|o| (o / regs::HDM_STRIDE * 8 + o % regs::HDM_STRIDE / 4) as u8);
    let absent = hdm.is_some_and(|h| usize::from(h / 8) >= config.hdm_decoders);
    let fields = reg.fields.iter().fold(0, |m, f| {
        m | regs::Field {
            lsb: f.lsb,
            width: f.width,
        }
        .mask()
    });
    use regs::Reg as R;
    let read_only = match id {
        R::Hdm0Ctrl | R::Hdm1Ctrl => {
            regs::Hdm0Ctrl::COMMITTED.mask() | regs::Hdm0Ctrl::ERROR.mask()
        }
        R::RasCapCtrl => regs::RasCapCtrl::FIRST_ERROR.mask(),
        R::EngCtrl => regs::EngCtrl::SOFT_RESET.mask(),
        // A soft reset clears it: it is read from the flip-flops that the engine uses.
        R::EngTail => u32::MAX,
        _ => 0,
    };
    let writable = match id {
        R::RasUncMask | R::RasUncSeverity => regs::RasUncMask::RESET,
        R::RasCorMask => regs::RasCorMask::RESET,
        _ if fields == 0 => u32::MAX,
        _ => fields,
    };
    let caps = || {
        let mut c = regs::Caps::FREE_RUNNING.mask()
            | regs::Caps::META0.mask()
            | regs::Caps::PARTIAL_WRITE.mask()
            | regs::Caps::MSIX.mask()
            | regs::Caps::LINK_RETRY.mask()
            | regs::Caps::RAS_LOG.mask();
        if config.coherent() {
            c |= regs::Caps::BACK_INVALIDATE.mask();
        }
        if config.engine {
            c |= regs::Caps::ENGINE.mask();
        }
        if config.name.starts_with("sim") {
            c |= regs::Caps::SIMULATED.mask();
        }
        if config.backend == Backend::External {
            c |= regs::Caps::EXTERNAL_MEMORY.mask();
        }
        c
    };
    Row {
        mask: if reg.access == Access::RW && !absent {
            writable & !read_only
        } else {
            0
        },
        reset: match id {
            _ if absent => 0,
            R::Caps => caps(),
            R::ConfigId => config.id,
            R::CapacityLo => config.capacity() as u32,
            R::CapacityHi => (config.capacity() >> 32) as u32,
            R::ClockKhz => config.clock_khz,
            R::Trackers => config.req_trackers as u32 | (config.rwd_trackers as u32) << 16,
            R::HdmCap => regs::HdmCap::COHERENCY_MODELS.with(
                regs::HdmCap::COUNT_CODE.with(reg.reset, config.hdm_decoders as u32 - 1),
                if config.coherent() { 3 } else { 2 },
            ),
            _ => reg.reset,
        },
        hdm: hdm.filter(|_| !absent),
        counter: COUNTERS.iter().position(|c| *c == id).map(|n| n as u8),
    }
}

/// Address decode (`address`, in DWs, to `reg`) and the properties of register number `index`.
#[derive(LogicBlock, Default)]
pub struct RegTable {
    pub address: Signal<In, Bits<14>>,
    pub reg_id: Signal<Out, Reg>,
    /// Index of a register: what `Reg` is as a number.
    pub index: Signal<In, Bits<7>>,
    pub mask: Signal<Out, Bits<32>>,
    pub reset_value: Signal<Out, Bits<32>>,
    pub is_hdm: Signal<Out, Bit>,
    pub hdm: Signal<Out, Bits<4>>,
    pub is_counter: Signal<Out, Bit>,
    pub counter: Signal<Out, Bits<4>>,
    _rows: Vec<Row>,
}

impl RegTable {
    /// The table of one configuration.
    pub fn new(config: &Config) -> Self {
        let mut rows = vec![Row::default()];
        rows.extend(REGS.iter().map(|r| row(r, config)));
        Self {
            _rows: rows,
            ..Self::default()
        }
    }
}

impl Logic for RegTable {
    fn update(&mut self) {
        let offset = self.address.val().to_u16() as u32 * 4;
        self.reg_id.next = ALL[regs::Reg::from_offset(offset) as usize];
        let r = self
            ._rows
            .get(self.index.val().index())
            .copied()
            .unwrap_or_default();
        self.mask.next = u64::from(r.mask).into();
        self.reset_value.next = u64::from(r.reset).into();
        self.is_hdm.next = r.hdm.is_some();
        self.hdm.next = u64::from(r.hdm.unwrap_or(0)).into();
        self.is_counter.next = r.counter.is_some();
        self.counter.next = u64::from(r.counter.unwrap_or(0)).into();
    }
    fn connect(&mut self) {
        self.reg_id.connect();
        self.mask.connect();
        self.reset_value.connect();
        self.is_hdm.connect();
        self.hdm.connect();
        self.is_counter.connect();
        self.counter.connect();
    }
    fn hdl(&self) -> Verilog {
        let mut v = String::from("always @(*) begin\n   case (address)\n");
        for (n, r) in REGS.iter().enumerate() {
            let _ = writeln!(
                v,
                "   14'h{:x}: reg_id = 7'd{}; // {}",
                r.offset / 4,
                n + 1,
                r.name
            );
        }
        v.push_str("   default: reg_id = 7'd0;\n   endcase\nend\n");
        v.push_str("always @(*) begin\n   mask = 0;\n   reset_value = 0;\n   is_hdm = 0;\n   hdm = 0;\n   is_counter = 0;\n   counter = 0;\n   case (index)\n");
        for (n, r) in self._rows.iter().enumerate() {
            let mut s = String::new();
            if r.mask != 0 {
                let _ = write!(s, " mask = 32'h{:x};", r.mask);
            }
            if r.reset != 0 {
                let _ = write!(s, " reset_value = 32'h{:x};", r.reset);
            }
            if let Some(h) = r.hdm {
                let _ = write!(s, " is_hdm = 1'b1; hdm = 4'd{h};");
            }
            if let Some(c) = r.counter {
                let _ = write!(s, " is_counter = 1'b1; counter = 4'd{c};");
            }
            if !s.is_empty() {
                let _ = writeln!(v, "   7'd{n}: begin{s} end");
            }
        }
        v.push_str("   default: ;\n   endcase\nend\n");
        Verilog::Custom(v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_index_is_the_protocols_index() {
        assert_eq!(ALL.len(), REGS.len() + 1);
        assert_eq!(
            Reg::BITS,
            7,
            "RegTable::index and the register RAM are 7 bits"
        );
        for (n, r) in ALL.iter().enumerate().skip(1) {
            assert_eq!(format!("{r:?}"), REGS[n - 1].name);
        }
    }

    #[test]
    fn rows_follow_the_configuration() {
        let of = |name: &str, id: regs::Reg| row(id.def().unwrap(), Config::by_name(name).unwrap());
        assert_eq!(of("small", regs::Reg::Hdm1Ctrl).mask, 0);
        assert_eq!(of("full", regs::Reg::Hdm1SkipHi).hdm, Some(14));
        assert_eq!(of("full", regs::Reg::CapacityLo).reset, 256 << 10);
        assert_eq!(of("full", regs::Reg::Id).mask, 0);
        assert_eq!(of("full", regs::Reg::EngCtrl).mask, 1);
        assert_eq!(of("sim", regs::Reg::HdmCap).reset & 15, 1);
        assert_eq!(of("tiny", regs::Reg::Caps).reset & 1, 0);
    }
}
