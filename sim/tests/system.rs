//! The system as a driver sees it: configuration space, registers, DMA memory, the cache, and a device that misbehaves.

use cxlmem_protocol::identity::{CLASS, DEVICE_ID, DVSEC_VENDOR, VENDOR_ID};
use cxlmem_protocol::regs;
use cxlmem_sim::home::cache::{CacheShape, State};
use cxlmem_sim::home::golden::LINE;
use cxlmem_sim::home::HomeOptions;
use cxlmem_sim::pcie::{memory_bar_size, IoOptions, MEMORY_BAR};
use cxlmem_sim::rng::{seed_from_env, Rng};
use cxlmem_sim::{Access, Options, System, SystemError};
use pcie_sim::config::{AccessError, ConfigAccess};
use pcie_sim::host::{MmioAccess, RequestError};
use pcie_sim::Packet;

fn system(options: Options) -> System {
    let mut s = System::new("sim", options).unwrap();
    s.bring_up().unwrap();
    s
}

#[test]
fn enumeration_finds_the_function_and_its_capabilities() {
    for c in cxlmem_hdl::Config::all() {
        let mut s = System::new(c.name, Options::default()).unwrap();
        let f = s.function().clone();
        assert_eq!((f.vendor, f.device, f.class), (VENDOR_ID, DEVICE_ID, CLASS));
        assert_eq!(f.bar(0).unwrap().size, u64::from(regs::BAR0_SIZE));
        let memory = f.bar(MEMORY_BAR).unwrap();
        let size = memory_bar_size(c.capacity());
        assert_eq!((memory.size, memory.address % size), (size, 0));
        assert!(size >= c.capacity() && size % (1 << 28) == 0);
        let device = s.find_dvsec(f.bdf, DVSEC_VENDOR, 0).unwrap().unwrap();
        assert_eq!(
            s.config_read32(device.offset + 8).unwrap() >> 16 & 0b0110,
            0b0110,
            "io and mem capable"
        );
        let locator = s.find_dvsec(f.bdf, DVSEC_VENDOR, 8).unwrap().unwrap();
        assert_eq!(
            s.config_read32(locator.offset + 0x0C).unwrap(),
            0x0100,
            "component registers in BAR0"
        );
        assert_eq!(s.mmio_read32(regs::Id::OFFSET).unwrap(), regs::Id::RESET);
        assert_eq!(s.mmio_read32(regs::ConfigId::OFFSET).unwrap(), c.id);
        let low = s.mmio_read32(regs::CapacityLo::OFFSET).unwrap();
        let high = s.mmio_read32(regs::CapacityHi::OFFSET).unwrap();
        assert_eq!(u64::from(high) << 32 | u64::from(low), c.capacity());
    }
}

#[test]
fn the_memory_bar_takes_no_tlp() {
    let mut s = system(Options::default());
    let (base, _) = s.hdm_window();
    let error = s.read32(base).unwrap_err();
    assert!(
        matches!(
            error,
            AccessError::Request {
                error: RequestError::UnsupportedRequest,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_device_that_hangs_times_out_everywhere() {
    let home = HomeOptions {
        timeout: 1_000,
        ..Default::default()
    };
    let io = IoOptions {
        completion_timeout: 1_000,
        ..Default::default()
    };
    let mut s = system(Options {
        home,
        io,
        ..Default::default()
    });
    let (base, _) = s.hdm_window();
    s.write_line(base, &[9; 64]).unwrap();
    s.set_hung(true);
    let error = s.mmio_read32(regs::Id::OFFSET).unwrap_err();
    assert!(
        matches!(
            error,
            AccessError::Request {
                error: RequestError::Timeout { .. },
                ..
            }
        ),
        "{error}"
    );
    s.mmio_write32(regs::Scratch::OFFSET, 1).unwrap();
    assert!(matches!(
        s.read_line(base + LINE, Access::Shared),
        Err(SystemError::Line(_))
    ));
    // A flush that fails keeps the data.
    assert!(s.flush(base, LINE).is_err());
    assert_eq!(s.cache().state(base), Some(State::M));
    assert!(!s.wait_irq(0, 100));
    s.set_hung(false);
    s.restart_link().unwrap();
    s.flush(base, LINE).unwrap();
    assert_eq!(s.read_line(base, Access::Shared).unwrap(), ([9; 64], false));
}

#[test]
fn foreign_and_broken_packets_are_survived() {
    let mut s = system(Options::default());
    let seed = seed_from_env(21).unwrap();
    println!("CXLMEM_SEED={seed}");
    let mut rng = Rng::new(seed);
    for _ in 0..300 {
        let header = [(); 4].map(|()| rng.next_u64() as u32);
        let payload = vec![0xA5; 4 * rng.below(34) as usize];
        s.inject_packet(Packet { header, payload });
        s.run(10);
    }
    s.run(1_000);
    assert_eq!(s.mmio_read32(regs::Id::OFFSET).unwrap(), regs::Id::RESET);
}

#[test]
fn the_cache_writes_back_what_it_must() {
    let seed = seed_from_env(22).unwrap();
    println!("CXLMEM_SEED={seed}");
    let mut rng = Rng::new(seed);
    let cache = CacheShape { sets: 4, ways: 2 };
    let mut s = system(Options {
        cache,
        forget_on_flush: false,
        ..Default::default()
    });
    let (base, _) = s.hdm_window();
    let mut model = vec![[0u8; 64]; 64];
    for (n, line) in model.iter_mut().enumerate() {
        *line = rng.line();
        s.write_line(base + n as u64 * LINE, line).unwrap();
    }
    for _ in 0..500 {
        let n = rng.below(64) as usize;
        let at = base + n as u64 * LINE;
        match rng.below(4) {
            0 => {
                model[n] = rng.line();
                s.write_line(at, &model[n]).unwrap();
            }
            1 => s.flush(at, LINE * (1 + rng.below(8))).unwrap(),
            _ => {
                let access = if rng.chance(0.5) {
                    Access::Shared
                } else {
                    Access::Exclusive
                };
                assert_eq!(s.read_line(at, access).unwrap(), (model[n], false));
            }
        }
    }
    let mut lines = [[0; 64]; 64];
    assert_eq!(s.read_lines(base, Access::Shared, &mut lines).unwrap(), 0);
    assert_eq!(lines[..], model[..]);
    s.flush(base, s.capacity()).unwrap();
    assert!(s.cache().addresses_in(0..u64::MAX).is_empty());
    assert_eq!(s.home().first_difference(), None);
}

#[test]
fn equal_options_give_equal_runs() {
    let run = || {
        let mut s = system(Options::default());
        let (base, _) = s.hdm_window();
        for n in 0..50 {
            s.post(base + n * LINE, cxlmem_sim::Op::write([n as u8; 64]))
                .unwrap();
        }
        s.run_until(10_000, "writes", |s| s.home().is_idle())
            .unwrap();
        (s.now(), s.link().counters())
    };
    assert_eq!(run(), run());
}

#[test]
fn dma_memory_and_reset() {
    let mut s = system(Options {
        host_mem_bytes: 1 << 16,
        ..Default::default()
    });
    let bus = s.dma_alloc(5000).unwrap();
    s.dma_write(bus + 4999, &[1]).unwrap();
    let mut byte = [0];
    s.dma_read(bus + 4999, &mut byte).unwrap();
    assert_eq!(byte, [1]);
    assert!(matches!(
        s.dma_alloc(1 << 20),
        Err(SystemError::OutOfDmaMemory(_))
    ));
    s.dma_free(bus, 5000).unwrap();
    assert!(s.dma_free(bus, 5000).is_err());
    assert!(s.dma_read(0, &mut byte).is_err());
    s.mmio_write32(regs::Scratch::OFFSET, 77).unwrap();
    assert_eq!(s.mmio_read32(regs::Scratch::OFFSET).unwrap(), 77);
    s.reset().unwrap();
    assert_eq!(s.mmio_read32(regs::Scratch::OFFSET).unwrap(), 0);
    s.bring_up().unwrap();
    let (base, _) = s.hdm_window();
    s.write_line(base, &[4; 64]).unwrap();
    s.flush(base, LINE).unwrap();
}

#[test]
fn unknown_configuration_is_named() {
    let error = System::new("huge", Options::default()).err().unwrap();
    assert!(
        error.to_string().contains("huge") && error.to_string().contains("sim-ext"),
        "{error}"
    );
}
