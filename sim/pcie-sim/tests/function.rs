//! What reaches the device and what does not.

mod common;

use common::{Answer, Rig, BAR, MEMORY_BASE};
use pcie_sim::config::regs::{self, aer, cap, ext_cap, pcie};
use pcie_sim::host::{Event, Options};
use pcie_sim::tlp::{Completion, Status};
use pcie_sim::{Bdf, ConfigAccess, Function, Packet, RequestError, Tlp};

#[test]
fn routing_id_is_captured_from_configuration_writes() {
    let mut rig = Rig::new(Options {
        link_bus: 0x42,
        ..Options::default()
    });
    let target = Bdf::new(0x42, 0, 0);
    let id = rig.root.cfg_read(rig.now, target, 0).expect("a free tag");
    assert!(rig.wait(id).is_ok());
    assert_eq!(rig.function.bdf(), Bdf::default(), "a read does not tell");
    let id = rig
        .root
        .cfg_write(rig.now, target, 0x3C, 0x7, 0x1)
        .expect("a free tag");
    assert!(rig.wait(id).is_ok());
    assert_eq!(rig.function.bdf(), target);
    rig.function.reset();
    assert_eq!(rig.function.bdf(), Bdf::default());
    assert_eq!(rig.function.config().read(0x3C), 0);
}

#[test]
fn other_functions_and_type_1_are_refused() {
    let mut rig = Rig::brought_up(Options::default());
    for target in [Bdf::new(1, 0, 1), Bdf::new(2, 0, 0)] {
        let id = rig.root.cfg_read(rig.now, target, 0).expect("a free tag");
        assert_eq!(rig.wait(id), Err(RequestError::UnsupportedRequest));
        let id = rig
            .root
            .cfg_write(rig.now, target, 0x10, 0, 0xF)
            .expect("a free tag");
        assert_eq!(rig.wait(id), Err(RequestError::UnsupportedRequest));
    }
    assert_eq!(rig.function.bdf(), Bdf::new(1, 0, 0));
    assert_ne!(rig.function.config().read(0x14), 0, "BAR0 was not touched");
}

#[test]
fn only_bar_hits_reach_the_device() {
    let mut rig = Rig::brought_up(Options::default());
    rig.device.answer = Answer::Nothing;
    for addr in [BAR - 4, BAR + 0x1_0000, 0x1000, u64::MAX - 3] {
        let id = rig.root.mem_read(rig.now, addr, 4).expect("a free tag");
        assert_eq!(
            rig.wait(id),
            Err(RequestError::UnsupportedRequest),
            "{addr:#x}"
        );
        rig.root.mem_write(addr, &[1; 4]).expect("legal");
    }
    rig.run(10);
    assert_eq!(rig.function.counters().unsupported, 8);
    // Memory space off: nothing hits, configuration still works.
    let id = rig
        .root
        .cfg_write(rig.now, rig.device.bdf, 4, 4, 0x3)
        .expect("a free tag");
    assert!(rig.wait(id).is_ok());
    let id = rig.root.mem_read(rig.now, BAR, 4).expect("a free tag");
    assert_eq!(rig.wait(id), Err(RequestError::UnsupportedRequest));
    assert!(rig.device.registers.iter().all(|&b| b == 0));
}

#[test]
fn bus_master_enable_gates_the_device() {
    let mut rig = Rig::brought_up(Options::default());
    let id = rig
        .root
        .cfg_write(rig.now, rig.device.bdf, 4, 2, 0x3)
        .expect("a free tag");
    assert!(rig.wait(id).is_ok());
    assert!(!rig.function.bus_master());
    rig.device.dma_read(3, MEMORY_BASE, 64);
    rig.device.dma_write(MEMORY_BASE, &[9; 4]);
    rig.device.dma_write(0xFEE0_0000, &[1, 0, 0, 0]);
    rig.run(10);
    assert_eq!(
        rig.device.arrived.remove(&3),
        Some(Err(Status::UnsupportedRequest))
    );
    assert_eq!(rig.mem.slice(MEMORY_BASE, 4), Ok(&[0; 4][..]));
    assert_eq!(rig.root.take_interrupt(), None);
    assert_eq!(rig.function.counters().blocked, 3);
    // Completions are not requests: registers answer.
    let id = rig.root.mem_read(rig.now, BAR, 4).expect("a free tag");
    assert!(rig.wait(id).is_ok());
}

#[test]
fn malformed_and_foreign_from_the_host() {
    let mut function = Function::new(common::config(true));
    function
        .config_mut()
        .set_command(Bdf::default(), true, true)
        .expect("direct");
    function.receive_host(Packet {
        header: [u32::MAX; 4],
        payload: vec![],
    });
    function.receive_host(pcie_sim::faults::foreign_packet());
    function.receive_host(
        Tlp::mem_write(Bdf::default(), 0, &[0; 256])
            .expect("legal")
            .encode(),
    );
    assert_eq!(function.counters().malformed, 3);
    function.receive_host(pcie_sim::faults::stray_completion());
    assert_eq!(function.counters().unexpected_completion, 1);
    assert_eq!(
        (function.send_device(), function.send_host()),
        (None, None),
        "nothing passes, nothing is reported unasked"
    );
    let errors = function
        .config_mut()
        .find_extended(Bdf::default(), ext_cap::AER)
        .expect("a list")
        .expect("there");
    assert_eq!(function.config().read(errors + aer::UNCORRECTABLE), 1 << 18);
    assert_eq!(function.config().read(errors + aer::HEADER_LOG), u32::MAX);
    assert_eq!(
        function.config().read(errors + aer::CORRECTABLE),
        aer::ADVISORY,
        "the unexpected completion"
    );
}

/// With reporting on, a dropped write sends ERR_NONFATAL and a malformed packet ERR_FATAL, and the root complex logs them.
#[test]
fn error_messages_reach_the_root() {
    let mut rig = Rig::brought_up(Options::default());
    let at = rig
        .function
        .config_mut()
        .find_capability(Bdf::default(), cap::PCIE)
        .expect("a list")
        .expect("there");
    let dw = u32::from(pcie::NON_FATAL | pcie::FATAL | pcie::UNSUPPORTED);
    let id = rig
        .root
        .cfg_write(rig.now, rig.device.bdf, at + pcie::DEV_CTL, dw, 0x3)
        .expect("a free tag");
    assert!(rig.wait(id).is_ok());
    rig.root.mem_write(0x5000, &[1; 4]).expect("legal");
    rig.run(5);
    rig.function
        .receive_host(pcie_sim::faults::foreign_packet());
    rig.run(5);
    let events: Vec<Event> = rig
        .root
        .take_log()
        .into_iter()
        .map(|entry| entry.event)
        .collect();
    let requester = Bdf::new(1, 0, 0);
    let message = |code| Event::ErrorMessage { requester, code };
    assert_eq!(events, [message(0x31), message(0x33)]);
}

#[test]
fn poison_passes_and_is_recorded() {
    let mut function = Function::new(common::config(true));
    function
        .config_mut()
        .set_command(Bdf::default(), true, true)
        .expect("direct");
    let mut write = Tlp::mem_write(Bdf::default(), 0x40, &[1; 4]).expect("legal");
    write.poisoned = true;
    let packet = write.encode();
    function.receive_host(packet.clone());
    assert_eq!(function.send_device(), Some(packet), "as it came");
    assert_eq!(function.counters().poisoned, 1);
    assert_ne!(
        function.config().word(regs::STATUS) & regs::STATUS_PARITY_ERROR,
        0
    );
}

#[test]
fn poisoned_configuration_write_is_refused() {
    let mut rig = Rig::brought_up(Options::default());
    rig.root
        .cfg_write(rig.now, rig.device.bdf, 0x3C, 0x55, 0x1)
        .expect("a free tag");
    let mut packet = rig.root.transmit(rig.now).expect("queued");
    packet.poison();
    rig.function.receive_host(packet);
    let answer = rig.function.send_host().expect("answered").kind();
    let refused = Status::UnsupportedRequest;
    assert!(
        matches!(answer, Ok(pcie_sim::Kind::Completion(Completion { status, .. })) if status == refused)
    );
    assert_eq!(rig.function.config().read(0x3C), 0);
}
