//! The command ring against a behavioural engine.

mod model;

use cxlmem_driver_core::engine::{flags, Descriptor, Opcode, Status};
use cxlmem_driver_core::{DmaMem, Error, Limits, Ring, RingMemory};
use cxlmem_protocol::regs;
use model::Model;

fn ring_of(model: &mut Model, log2: u32) -> Ring {
    let descriptors = model.alloc(RingMemory::descriptor_bytes(log2));
    let completions = model.alloc(RingMemory::completion_bytes(log2));
    let mut ring = Ring::new(
        RingMemory {
            descriptors,
            completions,
            log2,
        },
        0,
        Limits::SIMULATED,
    )
    .unwrap();
    ring.start(model).unwrap();
    ring
}

fn nop(count: u32) -> Descriptor {
    Descriptor {
        opcode: Opcode::Nop as u8,
        flags: flags::IRQ,
        id: 0,
        count,
        dev_addr: 0,
        host_addr: 0,
        arg: 0,
    }
}

#[test]
fn completions_come_in_order_over_many_passes() {
    let mut model = Model::new(4);
    let mut ring = ring_of(&mut model, 2);
    assert_eq!(ring.capacity(), 3);
    let mut expected = 0;
    for batch in 0..200u32 {
        let size = 1 + batch % 3;
        let commands: Vec<_> = (0..size).map(|n| nop(1 + batch * 3 + n)).collect();
        ring.submit(&mut model, &commands).unwrap();
        for command in &commands {
            let record = ring.wait(&mut model, 10_000).unwrap();
            assert_eq!(
                (record.id, record.done, record.status),
                (expected, command.count, Status::Ok as u8)
            );
            expected += 1;
        }
        assert_eq!(ring.reap(&mut model).unwrap(), None);
    }
}

#[test]
fn a_full_ring_takes_nothing() {
    let mut model = Model::new(4);
    let mut ring = ring_of(&mut model, 2);
    assert_eq!(
        ring.submit(&mut model, &[nop(1); 4]),
        Err(Error::RingFull { capacity: 3 })
    );
    assert_eq!(ring.outstanding(), 0);
    ring.submit(&mut model, &[nop(1); 2]).unwrap();
    assert_eq!(
        ring.submit(&mut model, &[nop(1); 2]),
        Err(Error::RingFull { capacity: 3 })
    );
    assert_eq!(
        ring.run(&mut model, &nop(1), 100),
        Err(Error::RingFull { capacity: 3 })
    );
}

#[test]
fn a_lost_interrupt_costs_a_slice_only() {
    let mut model = Model::new(4);
    let mut ring = ring_of(&mut model, 2);
    model.faults.lose_irq = true;
    assert!(ring.run(&mut model, &nop(1), 100_000).is_ok());
    assert!(
        model.now < 2 * Limits::SIMULATED.slice,
        "{} ticks",
        model.now
    );
}

#[test]
fn a_missing_completion_ends_in_time_and_the_next_command_runs() {
    let mut model = Model::new(4);
    let mut ring = ring_of(&mut model, 3);
    ring.run(&mut model, &nop(1), 100).unwrap();
    model.faults.drop_completion = Some(1);
    let before = model.now;
    assert_eq!(
        ring.run(&mut model, &nop(1), 50_000),
        Err(Error::CommandTimeout {
            id: 1,
            ticks: 50_000
        })
    );
    assert!(model.now - before < 50_000 + 2 * Limits::SIMULATED.slice);
    ring.run(&mut model, &nop(1), 100).unwrap();
}

#[test]
fn a_stopped_engine_is_reset_and_a_stuck_one_is_never_used_again() {
    let mut model = Model::new(4);
    let mut ring = ring_of(&mut model, 2);
    model.faults.freeze_after = Some(0);
    assert!(matches!(
        ring.run(&mut model, &nop(1), 1000),
        Err(Error::CommandTimeout { .. })
    ));
    ring.run(&mut model, &nop(1), 1000).unwrap();

    model.faults.freeze_after = Some(1);
    model.faults.stuck = true;
    assert!(matches!(
        ring.run(&mut model, &nop(1), 1000),
        Err(Error::EngineStuck { .. })
    ));
    assert!(!ring.is_running());
    let before = model.writes.len();
    assert!(matches!(
        ring.submit(&mut model, &[nop(1)]),
        Err(Error::EngineStuck { .. })
    ));
    assert!(matches!(
        ring.start(&mut model),
        Err(Error::EngineStuck { .. })
    ));
    assert_eq!(model.writes.len(), before, "nothing touches a stuck engine");
}

#[test]
fn a_ring_outside_host_memory_is_an_engine_fault() {
    let mut model = Model::new(4);
    let descriptors = model.alloc(RingMemory::descriptor_bytes(2));
    let completions = model.alloc(RingMemory::completion_bytes(2));
    let mut ring = Ring::new(
        RingMemory {
            descriptors,
            completions,
            log2: 2,
        },
        0,
        Limits::SIMULATED,
    )
    .unwrap();
    ring.start(&mut model).unwrap();
    ring.submit(&mut model, &[nop(1)]).unwrap();
    model.free(descriptors, RingMemory::descriptor_bytes(2));
    let error = ring.wait(&mut model, 10_000).unwrap_err();
    assert!(
        matches!(error, Error::EngineFault { code, .. } if code == Status::DmaError as u8),
        "{error}"
    );
}

#[test]
fn an_overwritten_record_is_foreign() {
    let mut model = Model::new(4);
    let mut ring = ring_of(&mut model, 2);
    let at = u64::from(model.regs[&regs::EngCplLo::OFFSET])
        | u64::from(model.regs[&regs::EngCplHi::OFFSET]) << 32;
    ring.submit(&mut model, &[nop(1)]).unwrap();
    model.dma_write(at, &[0x77, 0x66, 0, 1]).unwrap();
    assert_eq!(
        ring.reap(&mut model),
        Err(Error::ForeignCompletion {
            at,
            expected: 0,
            found: 0x6677
        })
    );
}

#[test]
fn bad_rings_are_refused() {
    let good = RingMemory {
        descriptors: 4096,
        completions: 8192,
        log2: 4,
    };
    let new = |memory, vector| Ring::new(memory, vector, Limits::SIMULATED);
    assert!(new(good, 3).is_ok());
    for (memory, vector) in [
        (RingMemory { log2: 1, ..good }, 0),
        (RingMemory { log2: 11, ..good }, 0),
        (
            RingMemory {
                descriptors: 4097,
                ..good
            },
            0,
        ),
        (
            RingMemory {
                completions: 8208,
                ..good
            },
            0,
        ),
        (good, 4),
    ] {
        assert!(
            matches!(new(memory, vector), Err(Error::Parameter { .. })),
            "{memory:?} {vector}"
        );
    }
}

#[test]
fn a_record_of_before_a_restart_is_foreign() {
    let mut model = Model::new(4);
    let mut ring = ring_of(&mut model, 2);
    ring.run(&mut model, &nop(1), 1000).unwrap();
    let at = u64::from(model.regs[&regs::EngCplLo::OFFSET])
        | u64::from(model.regs[&regs::EngCplHi::OFFSET]) << 32;
    let late = model.host_bytes(at, 32);
    ring.start(&mut model).unwrap();
    ring.submit(&mut model, &[nop(1)]).unwrap();
    model.dma_write(at, &late).unwrap();
    let expected = Error::ForeignCompletion {
        at,
        expected: 1,
        found: 0,
    };
    assert_eq!(ring.reap(&mut model), Err(expected));
}
