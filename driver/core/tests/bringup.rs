//! Bring-up against a behavioural device: what it programs, and that each failure ends in bounded time with its own error.

mod model;

use cxlmem_driver_core::bringup::{
    bring_up, identify, program_decoder, program_msix, Coherence, Decoder, MsiMessage,
};
use cxlmem_driver_core::{Error, IoError, Limits};
use cxlmem_protocol::hdm::GRANULE;
use cxlmem_protocol::regs;
use model::Model;

const BASE: u64 = 0x20_0000_0000;
const LIMITS: Limits = Limits::SIMULATED;

#[test]
fn programs_the_decoder_and_reports_the_identity() {
    let mut model = Model::new(64);
    let (identity, decoder) =
        bring_up(&mut model, BASE, true, Coherence::HostOnly, &LIMITS).unwrap();
    assert_eq!(
        (identity.capacity, identity.clock_khz),
        (64 * 4096, 100_000)
    );
    assert!(identity.has(regs::Caps::ENGINE));
    assert!(matches!(
        identity.require(regs::Caps::BACK_INVALIDATE, "BI"),
        Err(Error::Missing { what: "BI", .. })
    ));
    assert_eq!(
        decoder,
        Decoder {
            index: 0,
            base: BASE,
            size: GRANULE,
            lock: true,
            coherence: Coherence::HostOnly,
        }
    );
    assert_eq!(model.hdm_base(), BASE);
    let control = model.regs[&regs::Hdm0Ctrl::OFFSET];
    assert!(regs::Hdm0Ctrl::COMMITTED.is_set(control) && regs::Hdm0Ctrl::LOCK.is_set(control));
    assert!(
        regs::Hdm0Ctrl::TARGET_TYPE.is_set(control),
        "host-only coherence"
    );
    assert!(regs::HdmGlobalCtrl::ENABLE.is_set(model.regs[&regs::HdmGlobalCtrl::OFFSET]));
}

#[test]
fn a_committed_decoder_is_kept_moved_or_named_locked() {
    let mut model = Model::new(4);
    let at = |base, lock| Decoder {
        index: 0,
        base,
        size: GRANULE,
        lock,
        coherence: Coherence::HostOnly,
    };
    program_decoder(&mut model, &at(BASE, false), &LIMITS).unwrap();
    let commits = |model: &Model| {
        model
            .writes
            .iter()
            .filter(|write| write.0 == regs::Hdm0Ctrl::OFFSET)
            .count()
    };
    program_decoder(&mut model, &at(BASE, false), &LIMITS).unwrap();
    assert_eq!(commits(&model), 1, "the same range is left alone");
    program_decoder(&mut model, &at(BASE + GRANULE, true), &LIMITS).unwrap();
    assert_eq!(model.hdm_base(), BASE + GRANULE);
    let error = program_decoder(&mut model, &at(BASE, true), &LIMITS).unwrap_err();
    assert!(
        matches!(
            error,
            Error::DecoderLocked {
                register: regs::Hdm0Ctrl::OFFSET,
                ..
            }
        ),
        "{error}"
    );
}

/// A model that has back-invalidate, at a host that offers it or not.
fn with_back_invalidate(offered: bool) -> Model {
    let mut model = Model::new(4);
    let caps = model.regs[&regs::Caps::OFFSET] | regs::Caps::BACK_INVALIDATE.mask();
    model.regs.insert(regs::Caps::OFFSET, caps);
    model.host_offers_bi = offered;
    model
}

#[test]
fn device_coherence_is_negotiated_and_programmed() {
    let mut model = with_back_invalidate(true);
    let up = bring_up(&mut model, BASE, false, Coherence::Device, &LIMITS);
    assert_eq!(up.unwrap().1.coherence, Coherence::Device);
    let control = model.regs[&regs::Hdm0Ctrl::OFFSET];
    assert!(regs::Hdm0Ctrl::BI.is_set(control) && !regs::Hdm0Ctrl::TARGET_TYPE.is_set(control));
    // The link was down in between, with the offer made, and came up again.
    let link: Vec<u32> = model
        .writes
        .iter()
        .filter(|write| write.0 == regs::LinkCtrl::OFFSET)
        .map(|write| write.1)
        .collect();
    let state = |value: &u32| {
        (
            regs::LinkCtrl::ENABLE.get(*value),
            regs::LinkCtrl::OFFER_BI.get(*value),
        )
    };
    assert_eq!(link.iter().map(state).collect::<Vec<_>>(), [(0, 1), (1, 1)]);
    // Again: nothing is restarted. Host-only over the same range: the decoder is released and committed anew.
    bring_up(&mut model, BASE, false, Coherence::Device, &LIMITS).unwrap();
    let restarts = |m: &Model| {
        m.writes
            .iter()
            .filter(|w| w.0 == regs::LinkCtrl::OFFSET)
            .count()
    };
    assert_eq!(restarts(&model), 2);
    bring_up(&mut model, BASE, false, Coherence::HostOnly, &LIMITS).unwrap();
    let control = model.regs[&regs::Hdm0Ctrl::OFFSET];
    assert!(!regs::Hdm0Ctrl::BI.is_set(control) && regs::Hdm0Ctrl::TARGET_TYPE.is_set(control));
}

#[test]
fn device_coherence_that_is_not_there_is_named_before_anything_changes() {
    let mut model = Model::new(4);
    let error = bring_up(&mut model, BASE, false, Coherence::Device, &LIMITS).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    assert!(error.to_string().contains("back-invalidate"), "{error}");
    assert!(model.writes.is_empty());

    let mut model = with_back_invalidate(false);
    let error = bring_up(&mut model, BASE, false, Coherence::Device, &LIMITS).unwrap_err();
    assert!(matches!(error, Error::NotAgreed { .. }), "{error}");
    assert_eq!(error.register(), Some(regs::LinkStatus::OFFSET));
    assert!(error.to_string().ends_with(error.next_step()), "{error}");
}

#[test]
fn bad_decoder_parameters_are_named() {
    let good = Decoder {
        index: 0,
        base: BASE,
        size: GRANULE,
        lock: false,
        coherence: Coherence::HostOnly,
    };
    for bad in [
        Decoder { index: 2, ..good },
        Decoder {
            base: BASE + 4096,
            ..good
        },
        Decoder { size: 0, ..good },
        Decoder {
            size: GRANULE + 1,
            ..good
        },
        Decoder {
            base: 0u64.wrapping_sub(GRANULE),
            ..good
        },
    ] {
        let mut model = Model::new(4);
        let error = program_decoder(&mut model, &bad, &LIMITS).unwrap_err();
        assert!(
            matches!(error, Error::Parameter { .. } | Error::DecoderRange(_)),
            "{bad:?}: {error}"
        );
        assert!(model.writes.is_empty());
    }
}

/// Each fault, the register its error names, and a part of its text.
#[test]
fn every_failure_is_bounded_and_names_its_register() {
    type Inject = fn(&mut Model);
    let cases: [(&str, Inject, u32, &str); 8] = [
        (
            "foreign identity",
            |m| {
                m.faults
                    .override_read
                    .extend([(regs::Id::OFFSET, 0x1234_5678)])
            },
            regs::Id::OFFSET,
            "0x12345678, expected",
        ),
        (
            "all ones",
            |m| {
                m.faults
                    .override_read
                    .extend([(regs::Id::OFFSET, u32::MAX)])
            },
            regs::Id::OFFSET,
            "nothing answers",
        ),
        (
            "other map",
            |m| {
                m.faults
                    .override_read
                    .extend([(regs::Version::OFFSET, 9 << 16)])
            },
            regs::Version::OFFSET,
            "major version 9",
        ),
        (
            "media",
            |m| m.faults.media_down = true,
            regs::MediaStatus::OFFSET,
            "MediaStatus",
        ),
        (
            "link",
            |m| m.faults.link_down = true,
            regs::LinkStatus::OFFSET,
            "LinkStatus",
        ),
        (
            "decoder refuses",
            |m| m.faults.decoder_error = true,
            regs::Hdm0Ctrl::OFFSET,
            "did not commit",
        ),
        (
            "decoder silent",
            |m| m.faults.decoder_silent = true,
            regs::Hdm0Ctrl::OFFSET,
            "Hdm0Ctrl",
        ),
        (
            "link, and no clock",
            |m| {
                m.faults.link_down = true;
                m.faults.clock_stopped = true
            },
            regs::LinkStatus::OFFSET,
            "ticks",
        ),
    ];
    for (name, inject, register, text) in cases {
        let mut model = Model::new(4);
        inject(&mut model);
        let error = bring_up(&mut model, BASE, false, Coherence::HostOnly, &LIMITS).unwrap_err();
        assert_eq!(error.register(), Some(register), "{name}: {error}");
        assert!(error.to_string().contains(text), "{name}: {error}");
        assert!(
            error.to_string().ends_with(error.next_step()),
            "{name}: {error}"
        );
        assert!(
            model.now <= LIMITS.media + LIMITS.link + LIMITS.commit,
            "{name}: {} ticks",
            model.now
        );
    }
}

#[test]
fn a_device_that_is_gone_is_an_error_at_once() {
    let mut model = Model::new(4);
    model.faults.gone = true;
    let error = identify(&mut model).unwrap_err();
    assert_eq!(
        error,
        Error::Io {
            at: regs::Id::OFFSET.into(),
            source: IoError::Gone
        }
    );
}

#[test]
fn msix_entries_are_written_and_unmasked() {
    let mut model = Model::new(4);
    let message = MsiMessage {
        address: 0x1_FEE0_0000,
        data: 0x55,
    };
    program_msix(&mut model, 2, message).unwrap();
    let entry = regs::MSIX_TABLE + 32;
    assert_eq!(
        model.writes,
        [
            (entry, 0xFEE0_0000),
            (entry + 4, 1),
            (entry + 8, 0x55),
            (entry + 12, 0)
        ]
    );
    assert!(matches!(
        program_msix(&mut model, regs::MSIX_VECTORS, message),
        Err(Error::Parameter { .. })
    ));
}

#[test]
fn sizes_are_rounded_up_to_the_granule() {
    assert_eq!(Decoder::covering(0, 1, false).size, GRANULE);
    assert_eq!(Decoder::covering(0, GRANULE + 1, false).size, 2 * GRANULE);
    assert_eq!(Decoder::covering(0, 0, false).size, GRANULE);
}
