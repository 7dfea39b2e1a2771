//! Requests on their way out: tag, codes, data, and what the agent holds afterwards.

use super::agent::Agent;
use super::cache::{room, Pending, Pool};
use super::op::CoreOp;
use super::{Line, Port, LINE};
use cxlmem_protocol::hdm_db::host::{self, Row};
use cxlmem_protocol::hdm_db::Op;
use cxlmem_protocol::msg::{M2sReq, M2sReqOpcode, M2sRwd};

impl Agent {
    /// True if the port and the tags have room for a core's request, or an eviction, of this row.
    pub(super) fn room_for(&self, row: Row, port: &impl Port) -> bool {
        let pool = if row >= Row::WrA {
            Pool::Rwd
        } else {
            Pool::Req
        };
        room(port, &self.tags, pool)
    }

    /// Sends a request for which there is room; a write-back or an eviction leaves the agent with what it keeps.
    pub(super) fn send(
        &mut self,
        now: u64,
        n: usize,
        row: Row,
        core: Option<u8>,
        whole: bool,
        port: &mut impl Port,
    ) {
        let flushes = self.table.entries[n].snoop.is_some();
        let (held, line) = (self.table.entries[n].held, self.table.entries[n].line);
        let request = row.request();
        if !host::may_issue(request, held, whole) {
            let what = format!("agent: {row:?} from {held:?} is not allowed");
            return self.violation(now, line, what);
        }
        self.counters.rows[row as usize] += 1;
        let pool = match (row >= Row::WrA, flushes) {
            (false, _) => Pool::Req,
            (true, false) => Pool::Rwd,
            (true, true) => Pool::Snoop,
        };
        let address = line * LINE;
        let tag = if row == Row::SpecRd {
            0
        } else {
            let Some(tag) = self.tags.take(pool, n) else {
                return self.violation(now, line, "agent: no tag for a request".into());
            };
            self.table.entries[n].pending = Some(Pending {
                row,
                core,
                tag,
                sent: now,
                ndr: None,
                data: false,
                poison: false,
                nxm: false,
            });
            self.outstanding += 1;
            tag
        };
        match request.op {
            Op::Req(opcode) => {
                // The two differ in nothing that a directory sees.
                let streaming = opcode == M2sReqOpcode::MemInv && self.rng.chance(0.25);
                port.send_req(&M2sReq {
                    opcode: if streaming {
                        M2sReqOpcode::MemInvNt
                    } else {
                        opcode
                    },
                    snp_type: request.snp_type,
                    meta_field: request.meta_field,
                    meta_value: request.meta_value,
                    tag,
                    address,
                    ..M2sReq::default()
                });
                if row == Row::ClnEvct {
                    self.drop_all(n);
                }
            }
            Op::Rwd(opcode) => {
                let (data, enables) = self.written(n, row, core);
                let header = M2sRwd {
                    opcode,
                    snp_type: request.snp_type,
                    meta_field: request.meta_field,
                    meta_value: request.meta_value,
                    tag,
                    address,
                    ..M2sRwd::default()
                };
                port.send_rwd(&header, &data, enables);
            }
        }
    }

    /// The data of a write, and the agent's state after it was sent.
    fn written(&mut self, n: usize, row: Row, core: Option<u8>) -> (Line, u64) {
        if let (Row::WrNew | Row::WrPtl, Some(core)) = (row, core) {
            let active = self.cores[usize::from(core)].active;
            if let Some((a, CoreOp::Store(bytes))) = active.map(|a| (a, a.op)) {
                let mut data = [0; 64];
                let (offset, len) = (a.offset(), usize::from(a.len));
                data[offset..offset + len].copy_from_slice(&bytes[..len]);
                let enables = (u64::MAX >> (64 - len)) << offset;
                return (data, enables);
            }
        }
        self.pull(n);
        let data = self.table.entries[n].data;
        let keeps = (row != Row::WrKeep).then_some(row.request().meta_value);
        self.hold(n, host::after_write_back(keeps));
        (data, u64::MAX)
    }
}
