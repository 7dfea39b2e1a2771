//! Configuration space: layout, write rules, BAR sizing, errors, and a driver's walk through it.

mod common;

use pcie_sim::config::regs::{self, aer, cap, ext_cap, pcie};
use pcie_sim::config::{
    AccessError, ConfigError, DvsecBody, PcieEndpoint, Severity, Uncorrectable,
};
use pcie_sim::{Bdf, ConfigAccess, ConfigSpace};

const HERE: Bdf = Bdf::new(1, 0, 0);

fn builder() -> pcie_sim::config::Builder {
    ConfigSpace::builder(0x1AF4, 0xC0DE, 0x05_0210)
}

#[test]
fn header_layout() {
    let config = common::config(true);
    assert_eq!(config.read(0x00), 0xC0DE_1AF4);
    assert_eq!(
        config.read(0x04),
        0x0010_0000,
        "capabilities list, everything off"
    );
    assert_eq!(config.read(0x08), 0x0502_1003);
    assert_eq!(config.read(0x0C), 0);
    assert_eq!(config.read(0x10), 0x0000_000C, "64-bit, prefetchable");
    assert_eq!(config.read(0x2C), 0x0001_1AF4);
    assert_eq!(config.read(0x34) & 0xFF, 0x40);
    assert_eq!(common::config(false).read(0x10), 0);
    assert_eq!(config.read(0xFFFF), 0);
    let functions = builder().multifunction().build().expect("legal");
    assert_eq!(functions.word(regs::HEADER_TYPE), 0x80);
    assert_eq!(functions.read(0x04) >> 16, 0, "no capabilities, no list");
}

#[test]
fn capability_lists() {
    let mut config = common::config(true);
    let ids: Vec<u8> = config
        .capabilities(HERE)
        .expect("a list")
        .iter()
        .map(|c| c.id)
        .collect();
    assert_eq!(ids, [cap::POWER, cap::MSIX, cap::PCIE]);
    let extended: Vec<u16> = config
        .extended_capabilities(HERE)
        .expect("a list")
        .iter()
        .map(|c| c.id)
        .collect();
    assert_eq!(extended, [ext_cap::AER, ext_cap::SERIAL, ext_cap::DVSEC]);
    assert_eq!(config.serial_number(HERE), Ok(Some(0x0123_4567_89AB_CDEF)));
    assert_eq!(
        config
            .find_msix(HERE)
            .map(|m| m.map(|(_, vectors)| vectors)),
        Ok(Some(8))
    );
    let at = config
        .find_capability(HERE, cap::MSIX)
        .expect("a list")
        .expect("there");
    assert_eq!(config.read(at) >> 16, 7);
    assert_eq!((config.read(at + 4), config.read(at + 8)), (0x8000, 0x9000));

    let mut bare = builder().build().expect("legal");
    assert_eq!(bare.capabilities(HERE), Ok(vec![]));
    assert_eq!(bare.extended_capabilities(HERE), Ok(vec![]));
    assert_eq!(bare.find_msix(HERE), Ok(None));
    assert_eq!(bare.serial_number(HERE), Ok(None));
    assert!(bare.msix_masked() && !bare.msix_enabled());
}

#[test]
fn pcie_capability_contents() {
    let choices = PcieEndpoint {
        max_payload_supported: 512,
        extended_tag: true,
        link_speed: 4,
        link_width: 8,
        ..PcieEndpoint::default()
    };
    let mut config = builder().pcie_endpoint(choices).build().expect("legal");
    let at = config
        .find_capability(HERE, cap::PCIE)
        .expect("a list")
        .expect("there");
    assert_eq!(config.read(at) >> 16, 2, "version 2, endpoint");
    assert_eq!(config.read(at + pcie::DEV_CAP) & 7, 2, "512 bytes");
    assert_eq!(
        config.word(at + pcie::LINK_STA),
        0x84,
        "16 GT/s on eight lanes"
    );
    assert_eq!(config.read(at + pcie::LINK_CAP2), 0b11110);
    assert_eq!(config.receive_limits().max_payload, 128);
    config
        .cfg_write16(HERE, at + pcie::DEV_CTL, 2 << 5)
        .expect("direct");
    assert_eq!(config.receive_limits().max_payload, 512);
    config
        .cfg_write16(HERE, at + pcie::DEV_CTL, 7 << 5)
        .expect("direct");
    assert_eq!(
        config.receive_limits().max_payload,
        4096,
        "a reserved code is no larger than the largest"
    );
    assert_eq!(config.read_completion_boundary(), 64);
    config
        .cfg_write16(HERE, at + pcie::LINK_CTL, pcie::LINK_CTL_RCB_128)
        .expect("direct");
    assert_eq!(config.read_completion_boundary(), 128);
}

#[test]
fn a_function_level_reset_is_asked_for_once_and_only_where_it_is_offered() {
    for function_level_reset in [false, true] {
        let choices = PcieEndpoint {
            function_level_reset,
            ..PcieEndpoint::default()
        };
        let mut config = builder().pcie_endpoint(choices).build().expect("legal");
        let at = config
            .find_capability(HERE, cap::PCIE)
            .expect("a list")
            .expect("there");
        let offered = config.read(at + pcie::DEV_CAP) & pcie::DEV_CAP_FLR != 0;
        assert_eq!(offered, function_level_reset);
        let start = u32::from(pcie::DEV_CTL_FLR);
        config.write(at + pcie::DEV_CTL, start, 0b1101);
        assert!(!config.take_reset_request(), "the byte is not enabled");
        config.write(at + pcie::DEV_CTL, start, 0b0010);
        assert_eq!(config.word(at + pcie::DEV_CTL) & pcie::DEV_CTL_FLR, 0);
        assert_eq!(config.take_reset_request(), function_level_reset);
        assert!(!config.take_reset_request(), "once");
    }
}

#[test]
fn dvsec_body_and_masks() {
    let mut config = common::config(true);
    let found = config
        .find_dvsec(HERE, 0x1E98, 7)
        .expect("a list")
        .expect("there");
    assert_eq!((found.length, found.revision), (16, 2));
    assert_eq!(config.find_dvsec(HERE, 0x1E98, 8), Ok(None));
    assert_eq!(config.find_dvsec(HERE, 0x1E99, 7), Ok(None));
    assert_eq!(config.read(found.offset + 4), 0x0102_1E98);
    assert_eq!(config.read(found.offset + 8), 0x2211_0007);
    assert_eq!(config.read(found.offset + 12), 0x6655_4433);
    for offset in [0, 4, 8, 12] {
        config.write(found.offset + offset, u32::MAX, 0xF);
    }
    assert_eq!(
        config.read(found.offset + 4),
        0x0102_1E98,
        "headers are read-only"
    );
    assert_eq!(
        config.read(found.offset + 8),
        0x2211_0007,
        "so is what no mask names"
    );
    assert_eq!(
        config.read(found.offset + 12),
        0x6655_00F3,
        "four bits written, 0x44 cleared"
    );
}

/// Writing ones to each BAR reads back its size, whatever is around it.
#[test]
fn bar_sizing() {
    for log2 in 4..=31u32 {
        let size = 1u64 << log2;
        let mut config = builder()
            .bar32(5, size, false)
            .bar64(0, size, true)
            .build()
            .expect("legal");
        config.write(0x24, u32::MAX, 0xF);
        assert_eq!(u64::from(config.read(0x24)), !(size - 1) & 0xFFFF_FFFF);
    }
    for log2 in 4..=63u32 {
        let size = 1u64 << log2;
        let mut config = builder().bar64(2, size, true).build().expect("legal");
        config.write(0x18, u32::MAX, 0xF);
        config.write(0x1C, u32::MAX, 0xF);
        let value = u64::from(config.read(0x18)) | u64::from(config.read(0x1C)) << 32;
        assert_eq!(value, !(size - 1) | 0xC);
        let bar = config.bars()[0];
        assert_eq!(config.bar_address(&bar), !(size - 1));
    }
}

#[test]
fn bar_hits() {
    let mut config = builder()
        .bar64(0, 0x1_0000, true)
        .bar32(2, 0x1000, false)
        .build()
        .expect("legal");
    config.write(0x10, 0x8765_0000, 0xF);
    config.write(0x14, 0x12, 0xF);
    config.write(0x18, 0xFFFF_F000, 0xF);
    let base = 0x12_8765_0000;
    let hit = |addr, bytes| {
        config
            .bar_hit(addr, bytes)
            .map(|(bar, offset)| (bar.index, offset))
    };
    assert_eq!(hit(base, 4), Some((0, 0)));
    assert_eq!(hit(base + 0xFFFC, 4), Some((0, 0xFFFC)));
    assert_eq!(hit(base + 0xFFFC, 8), None, "ends outside");
    assert_eq!(hit(base - 4, 4), None);
    assert_eq!(hit(base + 0x1_0000, 4), None);
    assert_eq!(hit(base & 0xFFFF_FFFF, 4), None, "the upper half counts");
    assert_eq!(hit(0xFFFF_FFFC, 4), Some((2, 0xFFC)));
    assert_eq!(hit(u64::MAX - 3, 4), None);
}

#[test]
fn byte_enables_and_write_rules() {
    let mut config = common::config(true);
    config.write(0x00, 0, 0xF);
    assert_eq!(config.read(0x00), 0xC0DE_1AF4, "read-only");
    config.write(0x10, 0xABCD_EF01, 0b0100);
    assert_eq!(config.read(0x10), 0x00CD_000C, "one byte");
    config.write(0x10, u32::MAX, 0);
    assert_eq!(config.read(0x10), 0x00CD_000C, "no byte");
    config.write(0x04, 0x0000_FFFF, 0b0011);
    assert_eq!(config.word(regs::COMMAND), 0x0546);
    config.reset();
    assert_eq!((config.read(0x04), config.read(0x10)), (0x0010_0000, 0xC));
    config.write(0xFFFE, u32::MAX, 0xF);
    config.poke(0xFFFE, u32::MAX);
}

/// Status bits that clear on one: setting Command with a 16-bit write leaves them, a read-modify-write of 32 bits would not.
#[test]
fn status_survives_a_command_write() {
    let mut config = common::config(true);
    config.record_error(Uncorrectable::Poisoned, [0; 4], false);
    assert_ne!(config.word(regs::STATUS) & regs::STATUS_PARITY_ERROR, 0);
    config.set_command(HERE, true, true).expect("direct");
    assert_ne!(config.word(regs::STATUS) & regs::STATUS_PARITY_ERROR, 0);
    assert!(config.memory_enabled() && config.bus_master());
    config
        .cfg_write16(HERE, regs::STATUS, regs::STATUS_PARITY_ERROR)
        .expect("direct");
    assert_eq!(config.word(regs::STATUS) & regs::STATUS_PARITY_ERROR, 0);
    assert_ne!(config.word(regs::STATUS) & regs::STATUS_CAPABILITIES, 0);
}

#[test]
fn power_state_turns_the_function_off() {
    let mut config = common::config(true);
    config.set_command(HERE, true, true).expect("direct");
    let at = config
        .find_capability(HERE, cap::POWER)
        .expect("a list")
        .expect("there");
    config
        .cfg_write16(HERE, at + regs::power::CONTROL, 3)
        .expect("direct");
    assert_eq!(
        (
            config.power_state(),
            config.memory_enabled(),
            config.bus_master()
        ),
        (3, false, false)
    );
    config
        .cfg_write16(HERE, at + regs::power::CONTROL, 0)
        .expect("direct");
    assert!(config.memory_enabled());
}

#[test]
fn errors_are_recorded_and_reported() {
    let mut config = common::config(true);
    let device = config
        .find_capability(HERE, cap::PCIE)
        .expect("a list")
        .expect("there");
    let errors = config
        .find_extended(HERE, ext_cap::AER)
        .expect("a list")
        .expect("there");
    let header = [1, 2, 3, 4];
    assert_eq!(
        config.record_error(Uncorrectable::Malformed, header, false),
        None,
        "reporting is off"
    );
    assert_eq!(config.word(device + pcie::DEV_STA), pcie::FATAL);
    assert_eq!(config.read(errors + aer::UNCORRECTABLE), 1 << 18);
    assert_eq!(config.read(errors + aer::CONTROL) & 0x1F, 18);
    let log: Vec<u32> = (0..4)
        .map(|n| config.read(errors + aer::HEADER_LOG + 4 * n))
        .collect();
    assert_eq!(log, header);

    let all = pcie::CORRECTABLE | pcie::NON_FATAL | pcie::FATAL | pcie::UNSUPPORTED;
    config
        .cfg_write16(HERE, device + pcie::DEV_CTL, all)
        .expect("direct");
    let got = config.record_error(Uncorrectable::UnsupportedRequest, [9; 4], false);
    assert_eq!(got, Some(Severity::NonFatal));
    assert_eq!(
        config.word(device + pcie::DEV_STA),
        pcie::FATAL | pcie::NON_FATAL | pcie::UNSUPPORTED
    );
    assert_eq!(
        config.read(errors + aer::HEADER_LOG),
        1,
        "the first error keeps the log"
    );
    assert_eq!(
        config.record_error(Uncorrectable::Malformed, header, false),
        Some(Severity::Fatal)
    );

    config.write(errors + aer::UNCORRECTABLE, u32::MAX, 0xF);
    assert_eq!(config.read(errors + aer::UNCORRECTABLE), 0, "RW1C");
    config
        .cfg_write16(HERE, device + pcie::DEV_STA, u16::MAX)
        .expect("direct");
    assert_eq!(config.word(device + pcie::DEV_STA), 0);

    // Advisory: correctable, silent and unlogged while masked, as after reset.
    assert_eq!(
        config.record_error(Uncorrectable::UnsupportedRequest, header, true),
        None
    );
    assert_eq!(config.read(errors + aer::CORRECTABLE), aer::ADVISORY);
    assert_eq!(config.read(errors + aer::UNCORRECTABLE), 0);
    config.write(errors + aer::CORRECTABLE_MASK, 0, 0xF);
    let got = config.record_error(Uncorrectable::UnsupportedRequest, header, true);
    assert_eq!(got, Some(Severity::Correctable));
    assert_eq!(config.read(errors + aer::UNCORRECTABLE), 1 << 20);

    // Severity and mask are software's.
    config.write(errors + aer::SEVERITY, 1 << 20, 0xF);
    let got = config.record_error(Uncorrectable::UnsupportedRequest, header, true);
    assert_eq!(got, Some(Severity::Fatal));
    config.write(errors + aer::UNCORRECTABLE_MASK, 1 << 20, 0xF);
    assert_eq!(
        config.record_error(Uncorrectable::UnsupportedRequest, header, true),
        None
    );
    config.write(errors + aer::UNCORRECTABLE_MASK, 0, 0xF);
    config
        .cfg_write16(HERE, device + pcie::DEV_CTL, all & !pcie::UNSUPPORTED)
        .expect("direct");
    assert_eq!(
        config.record_error(Uncorrectable::UnsupportedRequest, header, true),
        None
    );
}

#[test]
fn builder_refuses() {
    let error =
        |b: pcie_sim::config::Builder| b.build().map(|_| ()).expect_err("an illegal layout");
    assert_eq!(
        error(builder().bar32(6, 64, false)),
        ConfigError::BarIndex { index: 6 }
    );
    assert_eq!(
        error(builder().bar64(5, 64, false)),
        ConfigError::BarIndex { index: 5 }
    );
    assert_eq!(
        error(builder().bar32(255, 64, false)),
        ConfigError::BarIndex { index: 255 }
    );
    let overlap = builder().bar64(0, 64, false).bar32(1, 64, false);
    assert_eq!(error(overlap), ConfigError::BarIndex { index: 1 });
    for size in [0, 8, 48, 1 << 32] {
        assert_eq!(
            error(builder().bar32(0, size, false)),
            ConfigError::BarSize { index: 0, size }
        );
    }
    let msix = |vectors, table, pending| {
        builder()
            .bar32(0, 0x1000, false)
            .msix(vectors, 0, table, pending)
    };
    assert!(msix(64, 0, 0x400).build().is_ok());
    assert!(matches!(error(msix(0, 0, 0x400)), ConfigError::Msix { .. }));
    assert!(matches!(
        error(msix(2049, 0, 0x400)),
        ConfigError::Msix { .. }
    ));
    assert!(matches!(
        error(msix(64, 4, 0x400)),
        ConfigError::Msix { .. }
    ));
    assert!(
        matches!(error(msix(64, 0, 0x3F8)), ConfigError::Msix { .. }),
        "overlap"
    );
    assert!(
        matches!(error(msix(64, 0, 0x1000)), ConfigError::Msix { .. }),
        "beyond the BAR"
    );
    assert!(
        matches!(error(builder().msix(1, 0, 0, 16)), ConfigError::Msix { .. }),
        "no BAR"
    );
    assert!(
        matches!(
            error(msix(1, 0, 16).msix(1, 0, 0, 16)),
            ConfigError::Msix { .. }
        ),
        "twice"
    );
    let endpoint = |max_payload_supported, link_speed, link_width| {
        let choices = PcieEndpoint {
            max_payload_supported,
            link_speed,
            link_width,
            ..PcieEndpoint::default()
        };
        error(builder().pcie_endpoint(choices))
    };
    assert!(matches!(
        endpoint(100, 3, 4),
        ConfigError::Pcie {
            field: "max_payload_supported",
            value: 100,
            ..
        }
    ));
    assert!(matches!(
        endpoint(128, 0, 4),
        ConfigError::Pcie {
            field: "link_speed",
            ..
        }
    ));
    assert!(matches!(
        endpoint(128, 3, 3),
        ConfigError::Pcie {
            field: "link_width",
            ..
        }
    ));
    let dvsec = |revision, body, writable| DvsecBody {
        vendor: 1,
        revision,
        id: 2,
        body: vec![0; body],
        writable: vec![0; writable],
        ..DvsecBody::default()
    };
    assert!(matches!(
        error(builder().dvsec(dvsec(16, 2, 0))),
        ConfigError::Dvsec { .. }
    ));
    assert!(matches!(
        error(builder().dvsec(dvsec(0, 2, 3))),
        ConfigError::Dvsec { .. }
    ));
    assert!(matches!(
        error(builder().dvsec(dvsec(0, 4096, 0))),
        ConfigError::Dvsec { .. }
    ));
    assert!(matches!(
        error(builder().dvsec(dvsec(0, 4000, 0))),
        ConfigError::Full { limit: 0x1000, .. }
    ));
    assert!(
        builder().dvsec(dvsec(0, 3840 - 10, 0)).build().is_ok(),
        "exactly full"
    );
    let mut many = builder();
    for _ in 0..30 {
        many = many.power_management();
    }
    assert!(matches!(
        error(many),
        ConfigError::Full { limit: 0x100, .. }
    ));
}

#[test]
fn broken_lists_end() {
    let mut config = common::config(true);
    let first = config.capabilities(HERE).expect("a list")[0];
    config.poke(
        first.offset,
        u32::from(first.id) | u32::from(first.offset) << 8,
    );
    assert!(matches!(
        config.capabilities(HERE),
        Err(AccessError::BrokenList {
            reason: "a loop",
            ..
        })
    ));
    config.poke(first.offset, 0x1000 | u32::from(first.id));
    assert!(matches!(
        config.capabilities(HERE),
        Err(AccessError::BrokenList { at: 0x10, .. })
    ));
    config.poke(0x100, 0x1001_0001);
    assert!(matches!(
        config.extended_capabilities(HERE),
        Err(AccessError::BrokenList {
            reason: "a loop",
            ..
        })
    ));
    config.poke(0x100, 0x0401_0001);
    assert!(matches!(
        config.extended_capabilities(HERE),
        Err(AccessError::BrokenList { at: 0x40, .. })
    ));
}
