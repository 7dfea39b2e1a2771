//! The agent by itself: its interface, what goes wrong, and checks that must be able to fail.

use super::bench::Bench;
use super::cache::CoreState;
use super::cuts::{self, Cuts};
use super::model_device::{DeviceOptions, ModelDevice, Speeds};
use super::shadow::Shadow;
use super::{
    word, Agent, AgentError, AgentOptions, CoreOp, Endpoint, FromDevice, Line, Loss, Port, Ticket,
};
use crate::rng::{seed_from_env, Rng};
use cxlmem_protocol::hdm_db::host::{Held, Row};
use cxlmem_protocol::hdm_db::{Dir, Policy};
use cxlmem_protocol::msg::{
    M2sBiRsp, M2sReq, M2sReqOpcode, M2sRwd, MetaField, MetaValue, S2mBiSnp, S2mBiSnpOpcode, S2mDrs,
    S2mDrsOpcode, S2mNdr, S2mNdrOpcode,
};

/// Takes everything, answers nothing.
#[derive(Default)]
struct Sink {
    req: Vec<M2sReq>,
    rwd: Vec<M2sRwd>,
    birsp: Vec<M2sBiRsp>,
}

impl Port for Sink {
    fn room_for_req(&self) -> bool {
        true
    }
    fn room_for_rwd(&self) -> bool {
        true
    }
    fn room_for_birsp(&self) -> bool {
        true
    }
    fn send_req(&mut self, req: &M2sReq) {
        self.req.push(*req);
    }
    fn send_rwd(&mut self, header: &M2sRwd, _: &Line, _: u64) {
        self.rwd.push(*header);
    }
    fn send_birsp(&mut self, birsp: &M2sBiRsp) {
        self.birsp.push(*birsp);
    }
}

fn agent() -> Agent {
    Agent::new(AgentOptions::default())
}

fn ndr(tag: u16, opcode: S2mNdrOpcode) -> FromDevice {
    FromDevice::Ndr(S2mNdr {
        opcode,
        tag,
        ..S2mNdr::default()
    })
}

fn drs(tag: u16, opcode: S2mDrsOpcode, poison: bool) -> FromDevice {
    let header = S2mDrs {
        opcode,
        tag,
        poison,
        ..S2mDrs::default()
    };
    FromDevice::Drs(header, [7; 64])
}

fn snoop(opcode: S2mBiSnpOpcode, address: u64) -> FromDevice {
    FromDevice::BiSnp(S2mBiSnp {
        opcode,
        bi_id: 0,
        bi_tag: 3,
        address,
    })
}

/// A core writes a line that the device grants at once.
fn own(agent: &mut Agent, port: &mut Sink, address: u64) {
    let ticket = agent.store(0, 0, address, &[1; 8]).expect("idle");
    agent.pump(1, port);
    let tag = port.req.last().expect("a MemRd").tag;
    agent.receive(2, &ndr(tag, S2mNdrOpcode::CmpE));
    agent.receive(2, &drs(tag, S2mDrsOpcode::MemData, false));
    assert!(matches!(agent.poll(ticket), Some(Ok(_))));
}

#[test]
fn coherent_agent_refuses_what_it_cannot_do() {
    let mut a = agent();
    assert_eq!(a.load(0, 9, 0, 8), Err(AgentError::NoCore(9, 4)));
    let bad = [(60, 8), (0, 0), (0, 65), (1 << 52, 8)];
    for (address, len) in bad {
        let what = "load";
        let error = AgentError::BadAddress { what, address, len };
        assert_eq!(a.load(0, 0, address, len), Err(error));
    }
    assert!(a.store(0, 0, 0, &[0; 100]).is_err());
    assert!(a.fetch_add(0, 0, 4, 1).is_err());
    let ticket = a.load(0, 0, 0, 8).expect("idle");
    assert_eq!(a.load(0, 0, 0, 8), Err(AgentError::Busy(0)));
    assert_eq!(a.poll(ticket), None);
    let stranger = Ticket {
        core: 1,
        number: 77,
    };
    assert_eq!(a.poll(stranger), Some(Err(AgentError::UnknownTicket(77))));
}

#[test]
fn coherent_agent_names_a_lost_response_and_recovers() {
    let (mut a, mut port) = (agent(), Sink::default());
    let first = a.load(0, 0, 0x1040, 8).expect("idle");
    let second = a.load(0, 1, 0x1048, 8).expect("idle");
    let timeout = a.options.timeout;
    for now in 0..3 * timeout {
        a.pump(now, &mut port);
    }
    assert_eq!(port.req.len(), 1, "one request a line");
    for ticket in [first, second] {
        match a.poll(ticket) {
            Some(Err(
                e @ AgentError::Timeout {
                    address, message, ..
                },
            )) => {
                assert_eq!((address, message), (0x1040, Some(Row::RdS)));
                assert!(e.to_string().contains("0x1040") && e.to_string().contains("link_reset"));
            }
            other => panic!("{other:?}"),
        }
    }
    // The line stays unusable, and the rest does not.
    let again = a.load(3 * timeout, 0, 0x1040, 8).expect("idle");
    own_with_core_1(&mut a, &mut port);
    assert!(matches!(
        a.poll(again),
        Some(Err(AgentError::Timeout { .. }))
    ));
    let cut = a.load(3 * timeout, 0, 0x1040, 8).expect("idle");
    assert_eq!(a.link_reset(Loss::Link), []);
    let (what, address) = ("load", 0x1040);
    let error = AgentError::LinkReset { what, address };
    assert_eq!(a.poll(cut), Some(Err(error)));
    let sent = port.req.len();
    assert!(a.load(0, 0, 0x1040, 8).is_ok());
    a.pump(4 * timeout, &mut port);
    assert_eq!(port.req.len(), sent + 1);
    // The late answer to the first request is none to this one.
    let late = port.req[0].tag;
    assert_ne!(late, port.req[sent].tag);
}

fn own_with_core_1(a: &mut Agent, port: &mut Sink) {
    let now = 3 * a.options.timeout;
    let ticket = a.load(now, 1, 0x2000, 8).expect("idle");
    a.pump(now, port);
    let tag = port.req.last().expect("a request").tag;
    a.receive(now, &drs(tag, S2mDrsOpcode::MemData, false));
    a.receive(now, &ndr(tag, S2mNdrOpcode::CmpS));
    assert!(matches!(a.poll(ticket), Some(Ok(done)) if done.word() == 0x0707_0707_0707_0707));
}

#[test]
fn coherent_agent_reports_poison_and_missing_memory() {
    for (opcode, poison) in [
        (S2mDrsOpcode::MemData, true),
        (S2mDrsOpcode::MemDataNxm, false),
    ] {
        let (mut a, mut port) = (agent(), Sink::default());
        let ticket = a.load(0, 0, 0x80, 8).expect("idle");
        a.pump(0, &mut port);
        let tag = port.req[0].tag;
        a.receive(1, &drs(tag, opcode, poison));
        if poison {
            a.receive(1, &ndr(tag, S2mNdrOpcode::CmpS));
        }
        let (what, address) = ("load", 0x80);
        let error = if poison {
            AgentError::Poison { what, address }
        } else {
            AgentError::NoMemory { what, address }
        };
        assert_eq!(a.poll(ticket), Some(Err(error)));
        assert!(a.is_idle() && a.audit() == Ok(()));
    }
}

#[test]
fn coherent_agent_keeps_the_tag_of_a_late_conflict_until_its_ack() {
    let (mut a, mut port) = (agent(), Sink::default());
    let ticket = a.store(0, 0, 0x40, &[1; 8]).expect("idle");
    a.pump(0, &mut port);
    let tag = port.req[0].tag;
    a.receive(1, &snoop(S2mBiSnpOpcode::BiSnpInv, 0x40));
    a.pump(1, &mut port);
    assert_eq!(port.rwd[0].tag, tag);
    a.receive(2, &ndr(tag, S2mNdrOpcode::CmpE));
    a.receive(2, &drs(tag, S2mDrsOpcode::MemData, false));
    a.pump(2, &mut port);
    assert!(matches!(a.poll(ticket), Some(Ok(_))) && port.birsp.is_empty());
    a.receive(3, &ndr(tag, S2mNdrOpcode::BiConflictAck));
    a.pump(3, &mut port);
    // Dirty data goes first.
    assert!(port.rwd.len() == 2 && port.birsp.is_empty());
    a.receive(4, &ndr(port.rwd[1].tag, S2mNdrOpcode::Cmp));
    a.pump(4, &mut port);
    assert_eq!((port.birsp.len(), port.birsp[0].bi_tag), (1, 3));
    assert!(a.is_idle() && a.first_violation().is_none());
    // A second ack answers nothing.
    a.receive(5, &ndr(tag, S2mNdrOpcode::BiConflictAck));
    assert!(a.first_violation().is_some());
}

#[test]
fn coherent_agent_says_which_dirty_lines_are_lost() {
    let (mut a, mut port) = (agent(), Sink::default());
    own(&mut a, &mut port, 0x40);
    // Nothing of it is under way: the directory still says that the host has it.
    assert_eq!(a.link_reset(Loss::Link), []);
    let lost = a.link_reset(Loss::Device);
    assert!(lost.len() == 1 && lost[0].address == 0x40 && lost[0].certain);
    assert!(a.is_idle() && a.table.used().count() == 0);
    own(&mut a, &mut port, 0x40);
    a.flush(3, 0, 0x40).expect("idle");
    a.pump(3, &mut port);
    let lost = a.link_reset(Loss::Link);
    assert!(lost.len() == 1 && !lost[0].certain, "{lost:?}");
}

#[test]
fn coherent_audit_sees_two_writers_and_differing_copies() {
    let with_two = |spoil: fn(&mut Agent)| {
        let (mut a, mut port) = (agent(), Sink::default());
        own(&mut a, &mut port, 0x40);
        a.load(3, 1, 0x40, 8).expect("idle");
        a.pump(3, &mut port);
        assert_eq!(a.audit(), Ok(()));
        spoil(&mut a);
        a.audit().expect_err("spoilt")
    };
    let two = with_two(|a| {
        for core in [0, 1] {
            let n = a.cores[core].cache.find(1).expect("cached");
            a.cores[core].cache.way_mut(n).state = CoreState::M;
        }
    });
    assert!(two.contains("other cores have it too"), "{two}");
    let differs = with_two(|a| {
        let n = a.cores[1].cache.find(1).expect("cached");
        a.cores[1].cache.way_mut(n).data[5] ^= 1;
    });
    assert!(differs.contains("differs"), "{differs}");
    let more = with_two(|a| a.table.entries[0].held = Held::I);
    assert!(more.contains("holds I"), "{more}");
}

#[test]
fn coherent_host_errors_are_seen_by_device_and_shadow() {
    let mut device = ModelDevice::new(DeviceOptions {
        speed: Speeds::all(1.0),
        ..DeviceOptions::default()
    });
    let mut shadow = Shadow::new(Policy::default());
    let bad = M2sReq {
        opcode: M2sReqOpcode::MemRd,
        meta_field: MetaField::Meta0State,
        meta_value: MetaValue::S,
        ..M2sReq::default()
    };
    shadow.send_req(&bad);
    device.send_req(&bad);
    device.step();
    device.step();
    assert!(device.host_violation().is_some() && shadow.first_error().is_some());
    let mut shadow = Shadow::new(Policy::default());
    shadow.send_birsp(&M2sBiRsp::default());
    assert!(shadow.first_error().is_some());
}

/// The link is cut, again and again, in the middle of whatever is under way.
#[test]
fn coherent_link_loss_keeps_every_line_that_is_not_named() {
    let seed = seed_from_env(0x10_55).expect("CXLMEM_SEED");
    let mut rng = Rng::new(seed);
    let mut all = Cuts::default();
    for _ in 0..60 {
        let options = DeviceOptions {
            lines: cuts::LINES,
            entries: Some(4),
            ports: cuts::PORTS,
            speed: Speeds::all(0.3),
            seed: rng.next_u64(),
            ..DeviceOptions::default()
        };
        let device = ModelDevice::new(options);
        let cut = |b: &mut Bench<ModelDevice>| {
            b.device.lose_link();
            Ok(())
        };
        match cuts::run(device, options.policy, 5, &mut rng, cut) {
            Ok(more) => all += more,
            Err(e) => panic!("CXLMEM_SEED={seed:#x}: {e}"),
        }
    }
    println!("{all:?}");
    assert!(all.named > 0 && all.old > 0, "{all:?}");
}

#[test]
fn coherent_directory_covers_what_the_host_holds() {
    let mut bench = Bench::new(
        AgentOptions::default(),
        ModelDevice::new(DeviceOptions::default()),
        Policy::default(),
    );
    bench.core(0, 0x40, 8, CoreOp::FetchAdd(1)).expect("idle");
    while bench.poll(0).expect("no error").is_none() {
        bench.cycle().expect("no error");
    }
    assert_eq!(bench.device.line(0x40).map(|l| l.1), Some(Dir::A));
    bench.core(0, 0x40, 8, CoreOp::Flush).expect("idle");
    while bench.poll(0).expect("no error").is_none() {
        bench.cycle().expect("no error");
    }
    let (data, dir) = bench.device.line(0x40).expect("in range");
    assert_eq!((word(&data, 0), dir), (1, Dir::I));
    assert!(bench.agent.is_idle());
    // Beyond the memory.
    bench.shadow = None;
    bench.core(0, 1 << 40, 8, CoreOp::Load).expect("idle");
    let error = loop {
        bench.cycle().expect("no error");
        match bench.poll(0) {
            Ok(None) => {}
            other => break other.expect_err("no memory there"),
        }
    };
    assert!(error.what.contains("MemData-NXM"), "{error}");
}
