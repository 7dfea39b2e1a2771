//! Every header that a request can have, legal or not: what comes back is what the rules say, and a register for each one outside them.
//! Also: every register read, and credits without end.

use super::host::{Host, BASE, EIGHT, GRANULE};
use cxlmem_protocol::hdm_db::{self, Dir, Policy, Rule};
use cxlmem_protocol::hdm_h;
use cxlmem_protocol::msg::{M2sReq, M2sRwd, S2mDrsOpcode, S2mNdrOpcode};
use cxlmem_protocol::regs;

/// What a header says, each field a number as it travels.
#[derive(Clone, Copy, Debug)]
struct Header {
    opcode: u8,
    meta_field: u8,
    meta_value: u8,
    snp_type: u8,
    be: bool,
}

impl Header {
    /// Number `n` of all: 2048 of a Req, 4096 of an RwD, which may have byte enables.
    fn of(n: u16) -> Self {
        Self {
            opcode: n as u8 & 15,
            meta_field: (n >> 4) as u8 & 3,
            meta_value: (n >> 6) as u8 & 3,
            snp_type: (n >> 8) as u8 & 7,
            be: n >> 11 & 1 != 0,
        }
    }

    /// In place of what the message said: bits 1:4, 5:7, 8:9 and 10:11.
    fn into_message(self, message: u128) -> u128 {
        message & !0xFFE
            | u128::from(self.opcode) << 1
            | u128::from(self.snp_type) << 5
            | u128::from(self.meta_field) << 8
            | u128::from(self.meta_value) << 10
    }

    fn req_rule(self) -> Rule {
        hdm_db::req_rule(self.opcode, self.meta_field, self.meta_value, self.snp_type)
    }

    fn rwd_rule(self) -> Rule {
        let Self {
            opcode,
            meta_field,
            meta_value,
            snp_type,
            be,
        } = self;
        hdm_db::rwd_rule(opcode, meta_field, meta_value, snp_type, be)
    }
}

/// A host that keeps account of one line.
struct Sweep {
    h: Host,
    tag: u16,
    errors: u32,
    /// What the directory has of the line.
    dir: Dir,
    policy: Policy,
}

/// The line.
const LINE: u64 = BASE + 3 * 64;
/// MemRd for ownership (A, SnpInv), MemRd for sharing (S, SnpData), MemClnEvct.
const TO: [(Dir, u16); 3] = [
    (Dir::A, 1 | 2 << 6 | 3 << 8),
    (Dir::S, 1 | 3 << 6 | 1 << 8),
    (Dir::I, 10),
];

impl Sweep {
    fn host_only() -> Self {
        Self::new(Host::up("full", EIGHT, EIGHT))
    }

    fn coherent() -> Self {
        let mut h = Host::with_back_invalidate("full", EIGHT, EIGHT);
        assert_eq!(h.status(regs::LinkStatus::BI), 1);
        Self::new(h)
    }

    fn new(mut h: Host) -> Self {
        let errors = h.errors();
        Self {
            h,
            tag: 0,
            errors,
            dir: Dir::I,
            policy: Policy {
                shared_gets_e: false,
                any_gets_e: true,
            },
        }
    }

    /// Sends, and what came: NDR opcodes, reads by whether they are refused, and whether an error was counted.
    fn send(&mut self, header: Header, rwd: bool) -> (Vec<S2mNdrOpcode>, Vec<bool>, bool) {
        self.tag = self.tag.wrapping_add(1);
        self.h.ndrs.clear();
        self.h.reads.clear();
        if rwd {
            let m = M2sRwd {
                tag: self.tag,
                address: LINE,
                ..Default::default()
            };
            let enables = header.be.then_some(u64::MAX);
            self.h.write(header.into_message(m.pack()), 0x3C, enables);
        } else {
            let m = M2sReq {
                tag: self.tag,
                address: LINE,
                ..Default::default()
            };
            self.h.requests(&[header.into_message(m.pack())]);
        }
        assert!(self.h.ndrs.iter().all(|n| n.tag == self.tag), "{header:?}");
        assert!(self.h.reads.iter().all(|r| r.header.tag == self.tag));
        // A code of a flit header gives one of each, and what came is acknowledged.
        self.h.credits(9, 9);
        if self.tag % 8 == 0 {
            self.h.acknowledge();
        }
        let errors = self.h.errors();
        let more = errors.wrapping_sub(self.errors);
        self.errors = errors;
        assert!(more <= 1, "{header:?}: {more} errors");
        let ndrs = self.h.ndrs.iter().map(|n| n.opcode).collect();
        let reads = self.h.reads.iter();
        let refused = reads.map(|r| r.header.poison && r.data == [0xFF; 64]);
        (ndrs, refused.collect(), more == 1)
    }

    /// A header to the device-coherent line; what comes back is what the rules say.
    fn check(&mut self, header: Header, rwd: bool) {
        let rule = if rwd {
            header.rwd_rule()
        } else {
            header.req_rule()
        };
        let before = self.dir;
        let (ndrs, refused, error) = self.send(header, rwd);
        let what = format!(
            "{header:?}, RwD {rwd}, directory {before:?}, {:?}",
            self.policy
        );
        if rule.legal {
            // A conflict with no snoop, and a write-back of what the host does not own.
            let stray = rule.conflict || rule.owner && before != Dir::A;
            assert_eq!(error, stray, "{what}: an error");
            self.dir = hdm_db::settle(rule.next, before, self.policy);
        } else {
            assert!(error, "{what}: no error");
        }
        let ndr = match (rule.conflict, rule.legal && !rwd) {
            (true, _) => S2mNdrOpcode::BiConflictAck,
            (_, true) => hdm_db::grant(rule.next, self.dir),
            (_, false) => S2mNdrOpcode::Cmp,
        };
        let silent = !rwd && rule.silent;
        assert_eq!(ndrs, if silent { vec![] } else { vec![ndr] }, "{what}");
        let data = !rwd && !silent && rule.data;
        let want: &[bool] = if data { &[!rule.legal] } else { &[] };
        assert_eq!(refused, want, "{what}");
    }

    fn directory_to(&mut self, dir: Dir) {
        let (_, n) = TO.into_iter().find(|(d, _)| *d == dir).expect("all three");
        // From A, a read that shares grants what the policy says: over I.
        self.check(Header::of(TO[2].1), false);
        self.check(Header::of(n), false);
    }
}

#[test]
fn slow_every_header_gets_what_the_rules_of_hdm_db_say() {
    let mut s = Sweep::coherent();
    for n in 0..2048 {
        s.check(Header::of(n), false);
    }
    for n in 0..4096 {
        s.directory_to(Dir::A);
        s.check(Header::of(n), true);
    }
}

#[test]
fn every_header_gets_what_the_rules_of_hdm_h_say() {
    let mut s = Sweep::host_only();
    s.h.write(super::write(LINE, 1).pack(), 0x11, None);
    for n in 0..2048 {
        let h = Header::of(n);
        let rule = hdm_h::req_rule(h.opcode, h.meta_field, h.snp_type);
        let (ndrs, refused, error) = s.send(h, false);
        assert_eq!(error, !rule.legal, "{h:?}");
        let one = |answers: bool| usize::from(answers && !rule.silent);
        assert_eq!(
            (ndrs.len(), refused.len()),
            (one(!rule.data), one(rule.data)),
            "{h:?}"
        );
        assert!(refused.iter().all(|r| *r != rule.legal), "{h:?}");
    }
    for n in 0..4096 {
        let h = Header::of(n);
        let rule = hdm_h::rwd_rule(h.opcode, h.meta_field, h.snp_type, h.be);
        let (ndrs, refused, error) = s.send(h, true);
        assert_eq!((error, refused.len()), (!rule.legal, 0), "{h:?}");
        assert_eq!(ndrs, [S2mNdrOpcode::Cmp], "{h:?}");
    }
}

/// Each legal request from each directory state under each policy of grants.
#[test]
fn slow_every_grant_is_what_the_policy_says() {
    let mut s = Sweep::coherent();
    for code in 0..4u32 {
        let control = regs::CohCtrl::SHARED_GETS_E.with(0, code & 1);
        let control = regs::CohCtrl::ANY_GETS_E.with(control, code >> 1);
        s.h.write_register(regs::CohCtrl::OFFSET, control);
        s.policy = Policy {
            shared_gets_e: code & 1 != 0,
            any_gets_e: code >> 1 != 0,
        };
        for dir in Dir::ALL {
            for n in (0..2048).filter(|n| Header::of(*n).req_rule().legal) {
                s.directory_to(dir);
                s.check(Header::of(n), false);
            }
            for n in (0..4096).filter(|n| Header::of(*n).rwd_rule().legal) {
                s.directory_to(dir);
                s.check(Header::of(n), true);
            }
        }
    }
}

/// No read of the 64 KiB stays without an answer, and none changes anything that another read shows.
#[test]
fn every_register_is_read() {
    let mut h = Host::up("full", EIGHT, EIGHT);
    for offset in (0..regs::BAR0_SIZE).step_by(4) {
        let value = h.register(offset);
        if regs::Reg::from_offset(offset) == regs::Reg::None
            && !(regs::MSIX_TABLE..regs::MSIX_TABLE + 0x2000).contains(&offset)
        {
            assert_eq!(value, 0, "offset {offset:#x}");
        }
    }
    assert_eq!(h.register(regs::CapHeader::OFFSET), regs::CapHeader::RESET);
    assert_eq!(h.errors(), 0);
    // The first error has a number until it is cleared.
    let first =
        |h: &mut Host| regs::RasCapCtrl::FIRST_ERROR.get(h.register(regs::RasCapCtrl::OFFSET));
    assert_eq!(first(&mut h), 0);
    h.requests(&[super::read(LINE, 1).pack() & !(3 << 8) | 2 << 8]);
    assert_eq!(first(&mut h), 9);
    h.log();
    assert_eq!(first(&mut h), 0);
    // Poison is a correctable error, which is cleared by writing 1.
    h.write(
        M2sRwd {
            poison: true,
            ..super::write(LINE, 2)
        }
        .pack(),
        0,
        None,
    );
    let poison = regs::RasCorStatus::MEM_POISON;
    assert!(poison.is_set(h.register(regs::RasCorStatus::OFFSET)));
    h.write_register(regs::RasCorStatus::OFFSET, u32::MAX);
    assert_eq!(h.register(regs::RasCorStatus::OFFSET), 0);
}

/// Credits beyond what the counters hold: the counters stop at their end, and answers come.
#[test]
fn credits_without_end_are_not_forgotten() {
    let mut s = Sweep::coherent();
    for _ in 0..40 {
        s.h.credits(15, 15);
        s.h.snoop_credits(15);
        s.h.run(10);
    }
    for _ in 0..20 {
        s.directory_to(Dir::A);
    }
    // Decoder 1 begins above the memory.
    let read = s.h.read(BASE + u64::from(GRANULE), 7);
    assert_eq!(read.header.opcode, S2mDrsOpcode::MemDataNxm);
}
