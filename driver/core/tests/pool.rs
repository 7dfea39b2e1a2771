//! The page pool: its errors, and random sequences against a plain model.

#[path = "model/seed.rs"]
mod seed;

use cxlmem_driver_core::{Extent, Holder, PagePool, PageSlot, PoolError, PAGE_BYTES};
use proptest::prelude::*;

const fn page(n: u64) -> u64 {
    n * PAGE_BYTES
}

const fn extent(first: u64, pages: u32) -> Extent {
    Extent {
        dpa: page(first),
        pages,
    }
}

#[test]
fn extents_are_contiguous_and_run_out() {
    let mut pool = PagePool::new([PageSlot::Free; 8]);
    assert_eq!(pool.alloc(1, 3), Ok(extent(0, 3)));
    assert_eq!(pool.alloc(1, 3), Ok(extent(3, 3)));
    assert_eq!(
        pool.alloc(1, 3),
        Ok(extent(6, 2)),
        "the longest run, when none is long enough"
    );
    assert_eq!(
        pool.alloc(1, 1),
        Err(PoolError::NoSpace { wanted: 1, free: 0 })
    );
    pool.free(1, extent(1, 2)).unwrap();
    assert_eq!(pool.alloc(2, 2), Ok(extent(1, 2)));
    assert_eq!(
        (pool.owned_by(1), pool.owned_by(2), pool.free_pages()),
        (6, 2, 0)
    );
}

#[test]
fn errors_name_the_page() {
    let mut pool = PagePool::new([PageSlot::Free; 4]);
    pool.reserve(7, extent(1, 2)).unwrap();
    assert_eq!(
        pool.reserve(8, extent(0, 2)),
        Err(PoolError::AlreadyOwned {
            dpa: page(1),
            owner: 7
        })
    );
    assert_eq!(pool.slot(0), Ok(PageSlot::Free), "all or nothing");
    assert_eq!(
        pool.reserve(8, extent(3, 2)),
        Err(PoolError::OutOfRange { dpa: page(4) })
    );
    assert_eq!(
        pool.reserve(8, Extent { dpa: 64, pages: 1 }),
        Err(PoolError::Unaligned { dpa: 64 })
    );
    assert_eq!(
        pool.reserve(8, extent(0, 0)),
        Err(PoolError::Unaligned { dpa: 0 })
    );
    assert_eq!(
        pool.reserve(
            8,
            Extent {
                dpa: u64::MAX - PAGE_BYTES + 1,
                pages: 9
            }
        ),
        Err(PoolError::OutOfRange {
            dpa: u64::MAX - PAGE_BYTES + 1
        })
    );
    assert_eq!(
        pool.free(8, extent(1, 1)),
        Err(PoolError::NotOwner {
            dpa: page(1),
            owner: 7
        })
    );
    assert_eq!(
        pool.free(7, extent(0, 1)),
        Err(PoolError::DoubleFree { dpa: page(0) })
    );
    pool.set_holder(extent(1, 1), Holder::Device).unwrap();
    assert_eq!(
        pool.free(7, extent(1, 2)),
        Err(PoolError::DeviceHeld { dpa: page(1) })
    );
    pool.set_holder(extent(1, 1), Holder::Host).unwrap();
    pool.free(7, extent(1, 2)).unwrap();
    assert_eq!(
        pool.free(7, extent(1, 2)),
        Err(PoolError::DoubleFree { dpa: page(1) })
    );
}

#[test]
fn quarantined_pages_never_come_back() {
    let mut pool = PagePool::new([PageSlot::Free; 4]);
    let got = pool.alloc(1, 2).unwrap();
    pool.quarantine(got).unwrap();
    pool.quarantine(extent(1, 2)).unwrap();
    assert_eq!((pool.free_pages(), pool.quarantined_pages()), (1, 3));
    assert_eq!(pool.free(1, got), Err(PoolError::Quarantined { dpa: 0 }));
    assert_eq!(pool.alloc(1, 4), Ok(extent(3, 1)));
    assert_eq!(
        pool.alloc(1, 1),
        Err(PoolError::NoSpace { wanted: 1, free: 0 })
    );
}

#[derive(Clone, Debug)]
enum Op {
    Alloc(u32, u32),
    Free(u32, u64, u32),
    Reserve(u32, u64, u32),
    Quarantine(u64),
    Hold(u64, bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..3u32, 1..12u32).prop_map(|(owner, pages)| Op::Alloc(owner, pages)),
        4 => (0..3u32, 0..40u64, 1..8u32).prop_map(|(owner, first, pages)| Op::Free(owner, first, pages)),
        2 => (0..3u32, 0..40u64, 1..8u32).prop_map(|(owner, first, pages)| Op::Reserve(owner, first, pages)),
        1 => (0..40u64).prop_map(Op::Quarantine),
        1 => (0..40u64, any::<bool>()).prop_map(|(first, device)| Op::Hold(first, device)),
    ]
}

/// The same rules over a plain array.
fn apply(slots: &mut [PageSlot; 36], op: &Op, pool: &mut PagePool<Vec<PageSlot>>) {
    let range = |first: u64, pages: u32| first as usize..first as usize + pages as usize;
    let inside = |first: u64, pages: u32| range(first, pages).end <= 36;
    match *op {
        Op::Alloc(owner, pages) => {
            let free = slots.iter().filter(|slot| **slot == PageSlot::Free).count();
            match pool.alloc(owner, pages) {
                Ok(got) => {
                    let first = got.dpa / PAGE_BYTES;
                    let taken = &mut slots[range(first, got.pages)];
                    assert!(
                        taken.iter().all(|slot| *slot == PageSlot::Free),
                        "gave out a page twice"
                    );
                    taken.fill(PageSlot::Owned {
                        owner,
                        holder: Holder::Host,
                    });
                    let longest = slots_longest(slots, &range(first, got.pages));
                    assert!(
                        got.pages == pages || (got.pages < pages && got.pages as usize >= longest),
                        "{got:?}"
                    );
                }
                Err(error) => {
                    assert_eq!(
                        error,
                        PoolError::NoSpace {
                            wanted: pages.into(),
                            free: 0
                        }
                    );
                    assert_eq!(free, 0);
                }
            }
        }
        Op::Free(owner, first, pages) => {
            let ok = inside(first, pages)
                && slots[range(first, pages)].iter().all(|slot| {
                    *slot
                        == PageSlot::Owned {
                            owner,
                            holder: Holder::Host,
                        }
                });
            assert_eq!(pool.free(owner, extent(first, pages)).is_ok(), ok);
            if ok {
                slots[range(first, pages)].fill(PageSlot::Free);
            }
        }
        Op::Reserve(owner, first, pages) => {
            let ok = inside(first, pages)
                && slots[range(first, pages)]
                    .iter()
                    .all(|slot| *slot == PageSlot::Free);
            assert_eq!(pool.reserve(owner, extent(first, pages)).is_ok(), ok);
            if ok {
                slots[range(first, pages)].fill(PageSlot::Owned {
                    owner,
                    holder: Holder::Host,
                });
            }
        }
        Op::Quarantine(first) => {
            assert_eq!(pool.quarantine(extent(first, 1)).is_ok(), inside(first, 1));
            if inside(first, 1) {
                slots[first as usize] = PageSlot::Quarantined;
            }
        }
        Op::Hold(first, device) => {
            let side = if device { Holder::Device } else { Holder::Host };
            assert_eq!(
                pool.set_holder(extent(first, 1), side).is_ok(),
                inside(first, 1)
            );
            if let Some(PageSlot::Owned { holder, .. }) = slots.get_mut(first as usize) {
                *holder = side;
            }
        }
    }
}

/// The longest free run that was there before `taken` was taken.
fn slots_longest(slots: &[PageSlot; 36], taken: &std::ops::Range<usize>) -> usize {
    let free: Vec<bool> = (0..36)
        .map(|n| slots[n] == PageSlot::Free || taken.contains(&n))
        .collect();
    free.split(|free| !free)
        .map(<[bool]>::len)
        .max()
        .unwrap_or(0)
}

#[test]
fn random_sequences_agree_with_a_plain_model() {
    let check = |ops: Vec<Op>| {
        let mut slots = [PageSlot::Free; 36];
        let mut pool = PagePool::new(vec![PageSlot::Free; 36]);
        for op in &ops {
            apply(&mut slots, op, &mut pool);
            let count = |wanted: fn(&PageSlot) -> bool| {
                slots.iter().filter(|slot| wanted(slot)).count() as u64
            };
            prop_assert_eq!(pool.free_pages(), count(|slot| *slot == PageSlot::Free));
            prop_assert_eq!(
                pool.quarantined_pages(),
                count(|slot| *slot == PageSlot::Quarantined)
            );
            for (n, slot) in slots.iter().enumerate() {
                prop_assert_eq!(pool.slot(page(n as u64)), Ok(*slot));
            }
        }
        Ok(())
    };
    seed::runner(300)
        .run(&prop::collection::vec(op(), 1..60), check)
        .unwrap();
}
