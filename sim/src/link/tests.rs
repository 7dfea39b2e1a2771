//! The host's end alone, without a device.

use super::*;
use cxlmem_protocol::pack::S2mPacker;

fn link() -> HostLink {
    HostLink::new(Faults::default(), &mut Rng::new(1))
}

fn control(c: Control) -> Flit {
    c.flit(FlitHeader::default())
}

const INIT: Control = Control::InitParam {
    version: 2,
    llr_wrap: 9,
    signature: 0,
};

#[test]
fn trains_initialises_and_gives_credits_once() {
    let mut l = link();
    assert_eq!(l.next_flit(), Some(control(Control::RetryIdle)));
    assert_eq!(l.next_flit(), Some(control(Control::RetryIdle)));
    l.take(1, &control(Control::RetryIdle), &mut |_| {});
    let init = l.next_flit().unwrap();
    assert!(matches!(
        Control::unpack(init.slots[0]),
        Ok(Control::InitParam { version: 2, .. })
    ));
    assert!(!l.is_up());
    l.take(2, &control(INIT), &mut |_| {});
    assert!(l.is_up() && !l.take_restart());
    let mut granted = Credits::default();
    for _ in 0..100 {
        if let Some(flit) = l.next_flit() {
            assert!(
                matches!(Control::unpack(flit.slots[0]), Ok(Control::LlcrdAck { .. })),
                "INIT.Param goes out exactly once"
            );
            granted.add(flit.header().credits());
        }
    }
    assert_eq!(
        granted,
        Credits {
            req: 0,
            data: HOST_BUFFERS,
            rsp: HOST_BUFFERS
        }
    );
    assert_eq!(l.counters().ups, 1);
}

#[test]
fn a_damaged_flit_is_asked_for_again() {
    let mut l = link();
    l.take(1, &control(INIT), &mut |_| {});
    l.next_flit();
    assert!(l.is_up());
    let mut bad = control(Control::RetryIdle);
    flip(&mut bad, 300);
    l.take(2, &bad, &mut |_| {});
    assert!(!l.has_failed());
    let sent: Vec<_> = (0..6)
        .filter_map(|_| l.next_flit())
        .map(|f| Control::unpack(f.slots[0]))
        .collect();
    assert!(
        matches!(
            sent[5],
            Ok(Control::RetryReq {
                eseq: 1,
                num_retry: 1,
                ..
            })
        ),
        "{sent:?}"
    );
    l.take(3, &Flit::new([4; 4]), &mut |_| {});
    assert_eq!(l.counters().dropped_after_error, 1);
}

#[test]
fn a_second_init_gives_the_link_up() {
    let mut l = link();
    l.take(1, &control(INIT), &mut |_| {});
    l.next_flit();
    l.take(2, &control(INIT), &mut |_| {});
    assert!(l.has_failed() && !l.is_up());
    assert_eq!(l.next_flit(), None);
}

/// A link that is up, with BI-68 offered at this end.
fn up(signature: u16) -> HostLink {
    let mut l = link();
    l.offer_bi(true);
    let init = Control::InitParam {
        version: 2,
        llr_wrap: RETRY_ENTRIES,
        signature,
    };
    l.take(1, &control(init), &mut |_| {});
    assert!(l.next_flit().is_some() && l.is_up());
    l
}

#[test]
fn bi68_is_in_force_only_with_its_whole_signature() {
    for signature in [0, 8, 0xB161, 0xA168, 0xFFFF] {
        let l = up(signature);
        assert!(!l.has_bi() && !l.room_for_birsp(), "{signature:#x}");
        assert_eq!(l.packer.credits_owed().req, 0);
    }
    for signature in [0xB168, 0xB169] {
        let l = up(signature);
        assert!(l.has_bi() && l.room_for_birsp());
        assert_eq!(l.packer.credits_owed().req, SNOOP_BUFFERS);
    }
}

/// Snoops of a device, some of whose flits are damaged and sent again: each reaches the home agent once and gives its credit back.
#[test]
fn snoops_are_delivered_once_and_paid() {
    let mut l = up(0xB168);
    let mut device = S2mPacker::<8, 8>::new();
    device.set_bi68(true);
    let mut receiver = Receiver::new(
        Direction::M2s,
        Extensions {
            bi68: true,
            ..Default::default()
        },
    );
    let mut retry = Retry::new(RETRY_ENTRIES, Limits::default());
    // The device has sent its INIT.Param, and has the host's.
    retry.sent(true);
    retry.set_peer_entries(RETRY_ENTRIES);
    retry.receive(Arrival::Retryable);
    let mut kept = vec![Flit::default(); RETRY_ENTRIES.into()];
    let mut rng = Rng::new(3);
    let (mut queued, mut got) = (Vec::new(), Vec::new());
    let mut credits = Credits::default();
    for now in 0..4_000u64 {
        if now < 3_000 && rng.chance(0.3) {
            let snoop = S2mBiSnp {
                bi_tag: rng.below(4) as u16,
                address: rng.below(1 << 20) << 6,
                ..Default::default()
            };
            if device.push_bisnp(&snoop).is_ok() {
                queued.push(snoop);
            }
            let _ = device.push_ndr(&S2mNdr::default());
        }
        // Device to host, every eighth flit damaged.
        let flit = match retry.next(false) {
            Send::Control(c) => Some(control(c)),
            Send::Replay(entry) => Some(kept[usize::from(entry)]),
            Send::New { .. } if retry.free() >= RESERVE => device.next_flit().inspect(|flit| {
                kept[usize::from(retry.sent(true))] = *flit;
            }),
            _ => None,
        };
        if let Some(mut flit) = flit {
            if now < 3_000 && rng.chance(0.125) {
                flip(&mut flit, rng.below(528));
            }
            l.take(now, &flit, &mut |r| match r {
                Response::BiSnp(m) => got.push(m),
                Response::Ndr(_) => {}
                Response::Drs(..) => panic!("no data was sent"),
            });
        }
        // And back, undamaged.
        if let Some(flit) = l.next_flit() {
            let arrival = match Control::unpack(flit.slots[0]) {
                Ok(c) if flit.slots[0] & 1 == 1 && !c.retryable() => Arrival::Retry(c),
                _ => Arrival::Retryable,
            };
            if retry.receive(arrival) == Verdict::Deliver {
                device.owe_ack();
                receiver.accept(&flit.slots, |_, event| match event {
                    Event::Credits(c) => {
                        device.grant(c);
                        credits.add(c);
                    }
                    Event::Ack(n) => assert!(retry.acked(n)),
                    Event::Error(e) => panic!("{e}"),
                    _ => {}
                });
            }
        }
    }
    assert!(got.len() > 500, "{}", got.len());
    assert_eq!(got, queued);
    let c = l.counters();
    assert_eq!(c.bisnps, got.len() as u64);
    assert!(c.crc_errors > 50 && c.protocol_errors == 0, "{c:?}");
    assert_eq!(credits.req, SNOOP_BUFFERS + got.len() as u16);
    assert_eq!(device.credits().req, SNOOP_BUFFERS);
}
