//! Pages of device-coherent memory in the process, and what happens to them when something fails. The test takes the part of the snoops.

mod common;

use common::{TestTransport, HDM_BASE, PAGE};
use cxlmem_driver::transport::LINE;
use cxlmem_driver::{CoherentRegion, Device, Error, Mapped, PageHolder, Residency};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

fn setup(
    pages: usize,
) -> (
    TestTransport,
    Arc<Device>,
    CoherentRegion,
    Arc<dyn PageHolder>,
) {
    let transport = TestTransport::new(16);
    let device = transport.open_coherent();
    assert!(device.info().device_coherent);
    let region = CoherentRegion::new(&device, pages * PAGE).unwrap();
    let holder = transport.lock().pages.clone().unwrap();
    (transport, device, region, holder)
}

fn dpa(region: &CoherentRegion, page: usize) -> u64 {
    match region.residency(page).unwrap() {
        Residency::Device { dpa } => dpa,
        host => panic!("{host:?}"),
    }
}

#[test]
fn a_recall_takes_the_page_of_any_line_and_its_changed_lines() {
    let (transport, _device, mut region, holder) = setup(2);
    let at = HDM_BASE + dpa(&region, 0);
    let shared = region.share().unwrap();
    // Nothing is held, or only for reading: nothing was changed.
    assert!(holder.recall(at).unwrap().is_empty());
    assert_eq!(shared.words()[0].load(Relaxed), 0);
    assert!(holder.recall(at + 5 * LINE as u64).unwrap().is_empty());
    assert_eq!(shared.pager().mapped(0).unwrap(), Mapped::Absent);
    assert_eq!(shared.pager().stats().pages_recalled, 1);

    shared.words()[9].store(0x55, Relaxed);
    shared.words()[511].store(0x66, Relaxed);
    shared.words()[512].store(0x77, Relaxed);
    let lines = holder.recall(at + 7 * LINE as u64).unwrap();
    let places: Vec<u64> = lines.iter().map(|(place, _)| place - at).collect();
    assert_eq!(places, [LINE as u64, 63 * LINE as u64]);
    assert_eq!((lines[0].1[8], lines[1].1[56]), (0x55, 0x66));
    assert!(holder.recall(at).unwrap().is_empty(), "it is gone");
    // The neighbour stays, and the content is what the host made of it.
    assert_eq!(shared.pager().mapped(1).unwrap(), Mapped::Owned);
    for (place, line) in &lines {
        let mut model = transport.lock();
        model.model.line_write(*place, line).unwrap();
    }
    assert_eq!(shared.words()[9].load(Relaxed), 0x55);
    let far = HDM_BASE + 15 * PAGE as u64;
    assert!(holder.recall(far).unwrap().is_empty());
    region.close().unwrap();
    assert!(holder.recall(at).unwrap().is_empty());
    transport.assert_clean();
}

#[test]
fn lines_that_cannot_be_returned_stay_in_the_page() {
    let (transport, device, mut region, holder) = setup(2);
    let at = HDM_BASE + dpa(&region, 0);
    let pager = region.pager();
    let shared = region.share().unwrap();
    shared.words()[1].store(1, Relaxed);
    transport.lock().write_fails = true;
    let refused = pager.evict(0..PAGE);
    assert!(
        matches!(refused, Err(Error::Transport { .. })),
        "{refused:?}"
    );
    assert_eq!(pager.mapped(0).unwrap(), Mapped::Owned);
    // Its protection is lifted by the next store, and a snoop gets all.
    shared.words()[2].store(2, Relaxed);
    let lines = holder.recall(at).unwrap();
    assert_eq!((lines.len(), lines[0].1[8], lines[0].1[16]), (1, 1, 2));
    transport.lock().write_fails = false;
    transport.lock().model.line_write(at, &lines[0].1).unwrap();

    // At the end the loss is an error, and the page is nobody's: a region that gets it later finds no trace of the first.
    shared.words()[3].store(3, Relaxed);
    transport.lock().write_fails = true;
    let error = region.close().unwrap_err();
    let lost = matches!(
        error,
        Error::Evict {
            failed: 1,
            first: 0,
            ..
        }
    );
    assert!(lost, "{error}");
    drop(pager);
    assert!(holder.recall(at).unwrap().is_empty());
    transport.lock().write_fails = false;
    let mut next = CoherentRegion::new(&device, 16 * PAGE).unwrap();
    let page = (0..16).find(|n| HDM_BASE + dpa(&next, *n) == at).unwrap();
    let words = next.share().unwrap().words();
    let word = &words[page * PAGE / 8 + 3];
    assert_eq!(word.load(Relaxed), 0);
    word.store(4, Relaxed);
    assert_eq!(holder.recall(at).unwrap()[0].1[24], 4);
    next.close().unwrap();
}

#[test]
fn poison_takes_the_page_and_a_snoop_finds_nothing() {
    let (transport, _device, mut region, holder) = setup(1);
    let page = dpa(&region, 0);
    let pager = region.pager();
    let shared = region.share().unwrap();
    assert_eq!(shared.words()[0].load(Relaxed), 0);
    assert_eq!(pager.mapped(0).unwrap(), Mapped::Shared);
    // The page is held for reading when its lines are asked for with ownership.
    transport.lock().model.poison.insert(page + 128);
    let poisoned = pager.prefault(0..PAGE, true);
    assert!(
        matches!(poisoned, Err(Error::Poison { dpa }) if dpa == page + 128),
        "{poisoned:?}"
    );
    assert_eq!(pager.mapped(0).unwrap(), Mapped::Poisoned);
    assert_eq!(pager.stats().bus_errors, 1);
    assert!(holder.recall(HDM_BASE + page).unwrap().is_empty());
    transport.lock().model.poison.clear();
    pager.evict(0..PAGE).unwrap();
    shared.words()[0].store(1, Relaxed);
    assert_eq!(shared.words()[0].load(Relaxed), 1);
    region.close().unwrap();
    transport.assert_clean();
}

#[test]
fn devices_and_hosts_that_cannot_are_refused() {
    // No capability: before anything else.
    let error = TestTransport::new(4).try_open_as(true).err().unwrap();
    assert!(error.to_string().contains("back-invalidate"), "{error}");
    // Opened without: no sharing.
    let transport = TestTransport::new(4);
    let device = transport.open();
    let mut region = CoherentRegion::new(&device, PAGE).unwrap();
    assert!(matches!(region.share(), Err(Error::HostOnly)));
}
