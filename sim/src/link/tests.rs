//! The host's end alone, without a device.

use super::*;

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
