//! Finding functions, placing BARs, setting MSI-X up: over TLPs, as an operating system would.

mod common;

use common::{Rig, CLASS, VENDOR};
use pcie_sim::config::regs::{self, msix};
use pcie_sim::host::Options;
use pcie_sim::root::{enumerate, setup_msix, EnumerateError, MsixError, MsixMessage, Plan, Window};
use pcie_sim::{
    Bdf, Blocking, Bus, ConfigAccess, ConfigSpace, Function, HostMemory, MmioAccess, Packet,
    RequestError, RootComplex,
};

fn plain(device: u16) -> pcie_sim::config::Builder {
    ConfigSpace::builder(VENDOR, device, CLASS)
}

fn function(number: u8, builder: pcie_sim::config::Builder) -> Function {
    Function::numbered(builder.build().expect("legal"), number)
}

/// Enumerates a bus of functions over TLPs.
fn enumerate_bus(
    bus: &mut Bus,
    plan: &Plan,
) -> Result<Vec<pcie_sim::root::FoundFunction>, EnumerateError> {
    let mut root = RootComplex::new(Options::default()).expect("legal");
    let mut mem = HostMemory::new(0, 4096);
    let mut now = 0;
    let device = |_, packet: Option<Packet>| {
        if let Some(packet) = packet {
            bus.receive_host(packet);
        }
        bus.send_host()
    };
    let found = enumerate(
        &mut Blocking::new(&mut root, &mut mem, &mut now, device),
        plan,
    );
    assert_eq!(root.outstanding(), 0);
    assert_eq!(root.counters().malformed, 0);
    found
}

#[test]
fn several_functions() {
    let mut bus = Bus::new(1);
    bus.attach(
        0,
        function(0, plain(1).multifunction().bar32(0, 0x1000, false)),
    )
    .expect("free");
    bus.attach(
        0,
        function(3, plain(2).bar64(0, 0x10_0000, true).bar32(2, 16, false)),
    )
    .expect("free");
    bus.attach(0, function(7, plain(3))).expect("free");
    bus.attach(5, function(0, plain(4).bar64(4, 1 << 30, true)))
        .expect("free");
    // Not found: function 0 of its device does not say that there are more.
    bus.attach(5, function(1, plain(5))).expect("free");
    // Not found: there is no function 0.
    bus.attach(9, function(2, plain(6))).expect("free");
    bus.attach(31, function(0, plain(7).bar64(1, 0x2000, false)))
        .expect("free");
    assert!(bus.attach(31, function(0, plain(8))).is_err());
    assert!(bus.attach(32, function(0, plain(8))).is_err());

    let plan = Plan {
        devices: 32,
        ..Plan::default()
    };
    let found = enumerate_bus(&mut bus, &plan).expect("room for all");
    let ids: Vec<(Bdf, u16)> = found.iter().map(|f| (f.bdf, f.device)).collect();
    let at = |device, function| Bdf::new(1, device, function);
    assert_eq!(
        ids,
        [
            (at(0, 0), 1),
            (at(0, 3), 2),
            (at(0, 7), 3),
            (at(5, 0), 4),
            (at(31, 0), 7)
        ]
    );
    assert_eq!(found[0].class, CLASS);

    let mut ranges = Vec::new();
    for f in &found {
        for bar in &f.bars {
            assert_eq!(
                bar.address % bar.size,
                0,
                "{} BAR{} is naturally aligned",
                f.bdf,
                bar.index
            );
            let window = if bar.prefetchable {
                plan.mem64.expect("given")
            } else {
                plan.mem32
            };
            assert!(
                bar.address >= window.base && bar.address + bar.size <= window.base + window.size
            );
            ranges.push((bar.address, bar.address + bar.size));
        }
    }
    assert_eq!(ranges.len(), 5);
    ranges.sort_unstable();
    assert!(
        ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0),
        "{ranges:x?} overlap"
    );

    // What was assigned is what the functions decode, and they are on.
    for (index, f) in [(0, &found[0]), (1, &found[1]), (3, &found[3])] {
        let function = bus.function(index).expect("attached");
        assert_eq!(function.bdf(), f.bdf);
        assert!(function.config().memory_enabled() && function.bus_master());
        for bar in &f.bars {
            let hit = function
                .config()
                .bar_hit(bar.address, 4)
                .map(|(b, offset)| (b.index, offset));
            assert_eq!(hit, Some((bar.index, 0)));
        }
    }
    assert!(
        !bus.function(4).expect("attached").bus_master(),
        "a function not found stays off"
    );
}

#[test]
fn bar_placement() {
    let mut bus = Bus::new(1);
    // Small before large in BAR order: placing in that order would leave a gap and not fit.
    let builder = plain(1)
        .bar32(0, 0x10, false)
        .bar32(1, 0x8000, false)
        .bar64(2, 0x4000, false)
        .bar32(4, 0x2000, true);
    bus.attach(0, function(0, builder)).expect("free");
    let mem32 = Window {
        base: 0xF000_0000,
        size: 0xE010,
    };
    let found = enumerate_bus(
        &mut bus,
        &Plan {
            mem32,
            mem64: None,
            ..Plan::default()
        },
    )
    .expect("it fits exactly");
    let placed: Vec<(u8, u64)> = found[0].bars.iter().map(|b| (b.index, b.address)).collect();
    assert_eq!(
        placed,
        [
            (0, 0xF000_E000),
            (1, 0xF000_0000),
            (2, 0xF000_8000),
            (4, 0xF000_C000)
        ]
    );

    let tight = Plan {
        mem32: Window {
            size: 0xE00F,
            ..mem32
        },
        mem64: None,
        ..Plan::default()
    };
    let bdf = Bdf::new(1, 0, 0);
    assert_eq!(
        enumerate_bus(&mut bus, &tight),
        Err(EnumerateError::WindowFull {
            bdf,
            index: 0,
            size: 0x10
        })
    );
    assert!(
        !bus.function(0).expect("attached").config().memory_enabled(),
        "off after a failure"
    );
}

#[test]
fn a_64_bit_bar_finds_the_other_window() {
    let mem32 = Window {
        base: 0xE000_0000,
        size: 0x1000,
    };
    let mem64 = Some(Window {
        base: 0x1_0000_0000,
        size: 0x1000,
    });
    let plan = Plan {
        mem32,
        mem64,
        ..Plan::default()
    };
    let mut bus = Bus::new(1);
    bus.attach(
        0,
        function(0, plain(1).bar64(0, 0x1000, true).bar64(2, 0x1000, true)),
    )
    .expect("free");
    let found = enumerate_bus(&mut bus, &plan).expect("one in each");
    let addresses: Vec<u64> = found[0].bars.iter().map(|b| b.address).collect();
    assert_eq!(addresses, [0x1_0000_0000, 0xE000_0000]);

    let mut bus = Bus::new(1);
    bus.attach(
        0,
        function(0, plain(1).bar32(0, 0x1000, true).bar64(2, 0x1000, false)),
    )
    .expect("free");
    let found = enumerate_bus(&mut bus, &plan).expect("one in each");
    let addresses: Vec<u64> = found[0].bars.iter().map(|b| b.address).collect();
    assert_eq!(addresses, [0xE000_0000, 0x1_0000_0000]);
}

#[test]
fn windows_are_checked() {
    let mut bus = Bus::new(1);
    let with = |base, size| Plan {
        mem32: Window { base, size },
        ..Plan::default()
    };
    let high = |base, size| Plan {
        mem64: Some(Window { base, size }),
        ..Plan::default()
    };
    let mut error = |plan| enumerate_bus(&mut bus, &plan).expect_err("a bad window");
    assert!(matches!(
        error(with(0xF000_0000, 0x1000_0001)),
        EnumerateError::Window { .. }
    ));
    assert!(matches!(
        error(high(u64::MAX, 2)),
        EnumerateError::Window { .. }
    ));
    assert!(matches!(
        error(with(0xFEE0_0000, 0x1000)),
        EnumerateError::WindowHoldsInterrupts { .. }
    ));
    assert_eq!(
        enumerate_bus(&mut bus, &with(0xF000_0000, 0x0EE0_0000)),
        Ok(vec![]),
        "an empty bus"
    );
}

/// I/O and broken BARs, which no configuration space built here has.
#[test]
fn strange_bars() {
    struct Strange([u32; 6], [u32; 6]);
    impl ConfigAccess for Strange {
        fn cfg_read(&mut self, _: Bdf, offset: u16) -> Result<u32, pcie_sim::config::AccessError> {
            Ok(match offset {
                0x00 => 0x0001_1AF4,
                0x10..=0x24 => self.1[usize::from(offset - 0x10) / 4],
                _ => 0,
            })
        }
        fn cfg_write(
            &mut self,
            _: Bdf,
            offset: u16,
            value: u32,
            _: u8,
        ) -> Result<(), pcie_sim::config::AccessError> {
            if let 0x10..=0x24 = offset {
                let n = usize::from(offset - 0x10) / 4;
                self.1[n] = value & self.0[n] | self.0[n] & 0xF;
            }
            Ok(())
        }
    }
    let mut io = Strange([0xFFFF_FF01, 0, 0xFFFF_0000, 0, 0, 0], [0; 6]);
    let found = enumerate(&mut io, &Plan::default()).expect("I/O is left alone");
    assert_eq!(
        found[0]
            .bars
            .iter()
            .map(|b| (b.index, b.size))
            .collect::<Vec<_>>(),
        [(2, 0x1_0000)]
    );
    let bar_type = |mask: [u32; 6]| match enumerate(&mut Strange(mask, [0; 6]), &Plan::default()) {
        Err(EnumerateError::BarType { index, .. }) => Some(index),
        _ => None,
    };
    assert_eq!(
        bar_type([0, 0, 0xFFFF_FFF2, 0, 0, 0]),
        Some(2),
        "a reserved type"
    );
    assert_eq!(
        bar_type([0, 0, 0, 0, 0, 0xFFFF_FFF4]),
        Some(5),
        "64 bits in the last register"
    );
    assert_eq!(bar_type([4, 0, 0, 0, 0, 0]), Some(0), "no address bits");
}

#[test]
fn msix_from_enumeration_to_interrupt() {
    let mut rig = Rig::new(Options::default());
    let Rig {
        root,
        mem,
        function,
        device,
        now,
    } = &mut rig;
    let tick = |_, packet: Option<Packet>| {
        if let Some(packet) = packet {
            function.receive_host(packet);
        }
        let to_device = function.send_device();
        if let Some(packet) = device.tick(to_device) {
            function.receive_device(packet);
        }
        function.send_host()
    };
    let mut link = Blocking::new(root, mem, now, tick);
    let found = enumerate(&mut link, &Plan::default()).expect("one function");
    let f = &found[0];
    assert_eq!(found.len(), 1);
    assert_eq!(
        (f.vendor, f.revision, f.bars[0].size),
        (VENDOR, 3, 0x1_0000)
    );
    let bar = f.bars[0].address;
    link.write32(bar + 0x100, 0xDEAD_BEEF).expect("posted");
    assert_eq!(link.read32(bar + 0x100), Ok(0xDEAD_BEEF));
    assert_eq!(link.read(bar + 0x101, 2), Ok(vec![0xBE, 0xAD]));
    assert_eq!(
        link.read(bar + 0x1_0000, 4),
        Err(RequestError::UnsupportedRequest)
    );

    let messages: Vec<MsixMessage> = (40..48).map(MsixMessage::vector).collect();
    let too_many = [messages.clone(), messages.clone()].concat();
    let error = setup_msix(&mut link, f, &too_many);
    assert_eq!(
        error,
        Err(MsixError::TooFew {
            bdf: f.bdf,
            vectors: 8,
            asked: 16
        })
    );
    setup_msix(&mut link, f, &messages).expect("eight vectors");
    assert_eq!(
        link.root().counters().error_message,
        0,
        "a refused read is advisory and masked"
    );
    assert_eq!(rig.device.bdf, rig.function.bdf());
    assert!(rig.function.msix_enabled() && !rig.function.msix_masked());
    let entry = &rig.device.registers[0x8000 + 3 * 16..][..16];
    assert_eq!(
        entry,
        [0, 0, 0xE0, 0xFE, 0, 0, 0, 0, 43, 0, 0, 0, 0, 0, 0, 0]
    );

    // The device sends what its table says.
    let (address, data) = (0xFEE0_0000, entry[8..12].to_vec());
    rig.device.dma_write(address, &data);
    rig.run(4);
    let interrupt = rig.root.take_interrupt().expect("delivered");
    assert_eq!((interrupt.vector, interrupt.addr), (43, address));
    assert_eq!(rig.root.take_interrupt(), None);
    assert_eq!(rig.root.counters().interrupts, 1);
}

#[test]
fn msix_setup_refuses() {
    let mut config = common::config(true);
    let at = config
        .find_msix(Bdf::default())
        .expect("a list")
        .expect("there")
        .0;
    let mut f = enumerate(&mut config, &Plan::default())
        .expect("one")
        .remove(0);
    struct Both(ConfigSpace);
    impl ConfigAccess for Both {
        fn cfg_read(&mut self, _: Bdf, offset: u16) -> Result<u32, pcie_sim::config::AccessError> {
            Ok(self.0.read(offset))
        }
        fn cfg_write(
            &mut self,
            _: Bdf,
            at: u16,
            value: u32,
            be: u8,
        ) -> Result<(), pcie_sim::config::AccessError> {
            self.0.write(at, value, be);
            Ok(())
        }
    }
    impl MmioAccess for Both {
        fn read32(&mut self, _: u64) -> Result<u32, pcie_sim::config::AccessError> {
            Ok(0)
        }
        fn write32(&mut self, _: u64, _: u32) -> Result<(), pcie_sim::config::AccessError> {
            panic!("nothing may be written where the table is not");
        }
    }
    let bdf = f.bdf;
    config.poke(at + msix::TABLE, 0xFFF8);
    let got = setup_msix(&mut Both(config.clone()), &f, &[MsixMessage::vector(1)]);
    assert_eq!(
        got,
        Err(MsixError::Table {
            bdf,
            bar: 0,
            offset: 0xFFF8
        })
    );
    config.poke(at + msix::TABLE, 0x8000);
    f.bars.clear();
    let got = setup_msix(&mut Both(config), &f, &[MsixMessage::vector(1)]);
    assert_eq!(
        got,
        Err(MsixError::Table {
            bdf,
            bar: 0,
            offset: 0x8000
        })
    );
    let bare = plain(1).build().expect("legal");
    assert_eq!(
        setup_msix(&mut Both(bare), &f, &[]),
        Err(MsixError::Absent(bdf))
    );
}

/// A function that is not ready at first, and one that never is.
#[test]
fn request_retry_status() {
    use pcie_sim::tlp::Status;
    let run = |retries: u32| {
        let mut root = RootComplex::new(Options {
            completion_timeout: 50,
            ..Options::default()
        })
        .expect("legal");
        let mut mem = HostMemory::new(0, 4096);
        let mut now = 0;
        let mut function = function(0, plain(1));
        let mut left = retries;
        let device = |_, packet: Option<Packet>| {
            let packet = packet?;
            if left > 0 {
                left -= 1;
                let tlp = packet
                    .decode(&pcie_sim::Limits::LARGEST)
                    .expect("well-formed");
                return pcie_sim::Tlp::refuse(&tlp, Bdf::new(1, 0, 0), Status::Retry)
                    .map(Packet::from);
            }
            function.receive_host(packet);
            function.send_host()
        };
        Blocking::new(&mut root, &mut mem, &mut now, device)
            .cfg_read(Bdf::new(1, 0, 0), regs::VENDOR)
    };
    assert_eq!(run(5), Ok(0x0001_1AF4));
    let error = run(u32::MAX).expect_err("never ready");
    assert!(error.to_string().contains("Retry"), "{error}");
}

/// A posted write has left when `write32` returns, and no sooner than what was queued before it.
#[test]
fn a_posted_write_has_left() {
    let mut root = RootComplex::new(Options::default()).expect("legal");
    let mut mem = HostMemory::new(0, 4096);
    let mut now = 0;
    for value in 1..=3u8 {
        root.mem_write(0x1000, &[value; 4]).expect("legal");
    }
    let mut seen = Vec::new();
    let device = |_, packet: Option<Packet>| {
        seen.extend(packet.map(|p| p.payload[0]));
        None
    };
    let mut link = Blocking::new(&mut root, &mut mem, &mut now, device);
    link.write32(0x1000, 4).expect("posted");
    assert_eq!(seen, [1, 2, 3, 4]);
}
