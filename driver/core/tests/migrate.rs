//! The migrator against a behavioural engine: data, per-page results, hand-over, faults, and random mixtures of all.

mod model;
#[path = "model/seed.rs"]
mod seed;

use cxlmem_driver_core::bringup::{bring_up, Coherence};
use cxlmem_driver_core::engine::{Opcode, Status};
use cxlmem_driver_core::{
    Direction, Error, Holder, IoError, Limits, Migrator, PageMove, PageResult, Ring, RingMemory,
    LIST_BYTES, PAGE_BYTES,
};
use cxlmem_protocol::regs;
use model::Model;
use proptest::prelude::*;

const BASE: u64 = 0x20_0000_0000;
const PAGE: usize = PAGE_BYTES as usize;
const LIMITS: Limits = Limits {
    command: 20_000,
    per_page: 100,
    idle: 5_000,
    slice: 500,
    ..Limits::SIMULATED
};

struct Bench {
    model: Model,
    ring: Ring,
    list: u64,
}

impl Bench {
    fn new(pages: usize) -> Bench {
        let mut model = Model::new(pages);
        bring_up(&mut model, BASE, false, Coherence::HostOnly, &LIMITS).unwrap();
        let memory = RingMemory {
            descriptors: model.alloc(RingMemory::descriptor_bytes(3)),
            completions: model.alloc(RingMemory::completion_bytes(3)),
            log2: 3,
        };
        let mut ring = Ring::new(memory, 0, LIMITS).unwrap();
        ring.start(&mut model).unwrap();
        let list = model.alloc(LIST_BYTES);
        Bench { model, ring, list }
    }

    /// Host pages, each filled with its own pattern.
    fn host_pages(&mut self, count: usize) -> Vec<u64> {
        let bus = self.model.alloc(count * PAGE);
        (0..count)
            .map(|n| {
                let at = bus + (n * PAGE) as u64;
                self.model
                    .host_access(at, PAGE, |part, _| part.fill(n as u8 ^ 0x5A))
                    .unwrap();
                at
            })
            .collect()
    }

    fn run(
        &mut self,
        pages: &mut [PageMove],
        direction: Direction,
        after: Holder,
    ) -> Result<(), Error> {
        let mut flush =
            |model: &mut Model, dpa, count: u32| model.flush(dpa, u64::from(count) * PAGE_BYTES);
        Migrator::new(pages, direction, after, self.list).run(
            &mut self.model,
            &mut self.ring,
            &mut flush,
        )
    }

    fn device_page(&self, dpa: u64) -> &[u8] {
        &self.model.dev[dpa as usize..dpa as usize + PAGE]
    }

    /// What the engine's table says about a page.
    fn holder(&self, dpa: u64) -> Holder {
        if self.model.device_owned[(dpa / PAGE_BYTES) as usize] {
            Holder::Device
        } else {
            Holder::Host
        }
    }
}

fn moves(host: &[u64], first: u64) -> Vec<PageMove> {
    host.iter()
        .zip(first..)
        .map(|(&host, n)| PageMove::new(host, n * PAGE_BYTES, Holder::Host))
        .collect()
}

#[test]
fn device_coherent_pages_are_copied_and_nothing_else() {
    let mut bench = Bench::new(8);
    let (caps, control) = (regs::Caps::OFFSET, regs::Hdm0Ctrl::OFFSET);
    let more = bench.model.regs[&caps] | regs::Caps::BACK_INVALIDATE.mask();
    bench.model.regs.insert(caps, more);
    bench.model.host_offers_bi = true;
    bring_up(&mut bench.model, BASE, false, Coherence::Device, &LIMITS).unwrap();
    assert!(regs::Hdm0Ctrl::BI.is_set(bench.model.regs[&control]));
    let host = bench.host_pages(3);
    let back = bench.model.alloc(3 * PAGE);
    let mut to_device = moves(&host, 0);
    // A line that the host has changed: it is overwritten at the device, not written back over the copy later.
    bench.model.line_write(BASE, &[9; 64]).unwrap();
    let homes: Vec<u64> = (0..3).map(|n| back + n * PAGE_BYTES).collect();
    for (pages, direction) in [
        (&mut to_device, Direction::ToDevice),
        (&mut moves(&homes, 0), Direction::ToHost),
    ] {
        let Bench { model, ring, list } = &mut bench;
        let mut flush = |_: &mut Model, _: u64, _: u32| panic!("nothing is flushed");
        Migrator::new(pages, direction, Holder::Device, *list)
            .without_owners()
            .run(model, ring, &mut flush)
            .unwrap();
        assert!(pages.iter().all(|page| page.result == PageResult::Done));
        assert!(pages.iter().all(|page| page.holder == Holder::Host));
    }
    assert_eq!(bench.model.host_page(back), bench.model.host_page(host[0]));
    let owners = |d: &&cxlmem_driver_core::engine::Descriptor| d.opcode == Opcode::SetOwner as u8;
    assert_eq!(bench.model.log.iter().filter(owners).count(), 0);
}

#[test]
fn pages_go_there_and_back_in_list_commands() {
    let mut bench = Bench::new(1100);
    let host = bench.host_pages(1030);
    let mut pages = moves(&host, 7);
    bench
        .run(&mut pages, Direction::ToDevice, Holder::Device)
        .unwrap();
    assert!(pages
        .iter()
        .all(|page| page.result == PageResult::Done && page.holder == Holder::Device));
    let copies: Vec<u32> = bench
        .model
        .log
        .iter()
        .filter(|d| d.opcode == Opcode::CopyToDevice as u8)
        .map(|d| d.count)
        .collect();
    assert_eq!(copies, [512, 512, 6]);

    for &bus in &host {
        bench
            .model
            .host_access(bus, PAGE, |part, _| part.fill(0))
            .unwrap();
    }
    pages
        .iter_mut()
        .for_each(|page| page.result = PageResult::Pending);
    bench
        .run(&mut pages, Direction::ToHost, Holder::Device)
        .unwrap();
    for (n, page) in pages.iter().enumerate() {
        assert_eq!((page.result, page.holder), (PageResult::Done, Holder::Host));
        assert_eq!(bench.holder(page.device), Holder::Host, "handed back");
        assert_eq!(
            bench.model.host_bytes(page.host, PAGE),
            vec![n as u8 ^ 0x5A; PAGE]
        );
    }
    assert_eq!(bench.model.violations, [""; 0]);
}

#[test]
fn host_lines_are_flushed_before_the_hand_over() {
    let mut bench = Bench::new(8);
    let host = bench.host_pages(4);
    bench
        .model
        .line_write(BASE + 2 * PAGE_BYTES, &[1; 64])
        .unwrap();
    let mut pages = moves(&host, 1);
    bench
        .run(&mut pages, Direction::ToHost, Holder::Host)
        .unwrap();
    assert_eq!(bench.model.violations, [""; 0]);
    assert_eq!(
        bench.model.host_bytes(host[1], 64),
        [1; 64],
        "the dirty line went home with its page"
    );

    // Without the flush the model does see it: the check can fail.
    bench
        .model
        .line_write(BASE + 2 * PAGE_BYTES, &[2; 64])
        .unwrap();
    let mut pages = moves(&host, 1);
    let mut no_flush = |_: &mut Model, _: u64, _: u32| Ok(());
    Migrator::new(&mut pages, Direction::ToHost, Holder::Host, bench.list)
        .run(&mut bench.model, &mut bench.ring, &mut no_flush)
        .unwrap();
    assert!(!bench.model.violations.is_empty());
}

#[test]
fn one_bad_page_does_not_fail_the_range() {
    for direction in [Direction::ToDevice, Direction::ToHost] {
        let mut bench = Bench::new(40);
        let host = bench.host_pages(32);
        let mut pages = moves(&host, 0);
        let bad = [0usize, 9, 10, 31];
        for &n in &bad {
            bench.model.faults.bad_host_pages.insert(host[n]);
        }
        bench.model.poison.insert(20 * PAGE_BYTES + 64);
        let mut expected = vec![PageResult::Done; 32];
        bad.iter().for_each(|&n| {
            expected[n] = PageResult::Failed {
                code: Status::DmaError as u8,
            }
        });
        if direction == Direction::ToHost {
            expected[20] = PageResult::Failed {
                code: Status::Poison as u8,
            };
        }
        bench.run(&mut pages, direction, Holder::Device).unwrap();
        let results: Vec<_> = pages.iter().map(|page| page.result).collect();
        assert_eq!(results, expected, "{direction:?}");
        for page in &pages {
            let stays = direction == Direction::ToDevice && page.result == PageResult::Done;
            assert_eq!(
                page.holder,
                if stays { Holder::Device } else { Holder::Host }
            );
            assert_eq!(bench.holder(page.device), page.holder);
        }
    }
}

#[test]
fn pages_out_of_range_misaligned_or_in_hdm_are_their_own_errors() {
    let mut bench = Bench::new(4);
    let host = bench.host_pages(4);
    let mut pages = moves(&host, 2);
    pages[1].host += 64;
    pages.push(PageMove::new(BASE, 0, Holder::Host));
    pages.push(PageMove::new(host[0], 100, Holder::Host));
    bench
        .run(&mut pages, Direction::ToDevice, Holder::Host)
        .unwrap();
    let results: Vec<_> = pages.iter().map(|page| page.result).collect();
    let failed = |status: Status| PageResult::Failed { code: status as u8 };
    let expected = [
        PageResult::Done,
        failed(Status::Misaligned),
        failed(Status::DeviceRange),
        failed(Status::DeviceRange),
        failed(Status::HostInHdm),
        failed(Status::Misaligned),
    ];
    assert_eq!(results, expected);
}

#[test]
fn a_page_whose_lines_cannot_be_flushed_stays() {
    let mut bench = Bench::new(8);
    let host = bench.host_pages(2);
    let mut pages = vec![
        PageMove::new(host[0], 0, Holder::Host),
        PageMove::new(host[1], 3 * PAGE_BYTES, Holder::Host),
    ];
    bench.model.faults.flush_fails = Some(0);
    bench
        .run(&mut pages, Direction::ToHost, Holder::Host)
        .unwrap();
    assert_eq!(pages[0].result, PageResult::FlushFailed(IoError::Timeout));
    assert_eq!(pages[1].result, PageResult::Done);
    assert_eq!(bench.holder(0), Holder::Host);
}

#[test]
fn an_engine_that_stops_leaves_the_pages_at_their_source() {
    for freeze_after in 0..5 {
        let mut bench = Bench::new(64);
        let host = bench.host_pages(40);
        let mut pages = moves(&host, 0);
        // Two commands: the extents do not touch.
        pages[20..]
            .iter_mut()
            .for_each(|page| page.device += 2 * PAGE_BYTES);
        bench.model.faults.freeze_after = Some(freeze_after);
        let result = bench.run(&mut pages, Direction::ToDevice, Holder::Host);
        if freeze_after < 4 {
            assert!(
                matches!(result, Err(Error::CommandTimeout { .. })),
                "{freeze_after}: {result:?}"
            );
        }
        assert!(
            bench.model.now < 10 * LIMITS.command_ticks(64 * PAGE_BYTES),
            "{} ticks",
            bench.model.now
        );
        for page in &pages {
            assert!(
                matches!(
                    page.result,
                    PageResult::Done | PageResult::Aborted | PageResult::NotTried
                ),
                "{page:?}"
            );
            if page.result == PageResult::Done {
                let source = bench.model.host_bytes(page.host, PAGE);
                assert_eq!(bench.device_page(page.device), source);
            }
            assert_eq!(
                (page.holder, bench.holder(page.device)),
                (Holder::Host, Holder::Host),
                "handed back after the abort"
            );
        }
        assert!(bench.ring.is_running(), "the next migration works");
        let mut again = moves(&host, 0);
        bench
            .run(&mut again, Direction::ToDevice, Holder::Host)
            .unwrap();
        assert!(again.iter().all(|page| page.result == PageResult::Done));
    }
}

#[test]
fn an_engine_that_never_idles_quarantines_both_pages() {
    let mut bench = Bench::new(64);
    let host = bench.host_pages(20);
    let mut pages = moves(&host, 0);
    pages[10..]
        .iter_mut()
        .for_each(|page| page.device += 2 * PAGE_BYTES);
    bench.model.faults.freeze_after = Some(1);
    bench.model.faults.stuck = true;
    let error = bench
        .run(&mut pages, Direction::ToDevice, Holder::Host)
        .unwrap_err();
    assert!(matches!(error, Error::EngineStuck { .. }), "{error}");
    assert!(pages[..10]
        .iter()
        .all(|page| page.result == PageResult::Quarantined));
    assert!(pages[10..]
        .iter()
        .all(|page| page.result == PageResult::NotTried));
    assert!(!bench.ring.is_running());
    // What comes after that never reached the engine: it is free to be used otherwise.
    let mut later = moves(&host, 0);
    let again = bench.run(&mut later, Direction::ToDevice, Holder::Host);
    assert!(matches!(again, Err(Error::EngineStuck { .. })));
    assert!(later.iter().all(|page| page.result == PageResult::NotTried));
}

#[test]
fn a_completion_that_never_arrives_ends_in_time() {
    for dropped in 0..2 {
        let mut bench = Bench::new(8);
        let host = bench.host_pages(4);
        let mut pages = moves(&host, 0);
        bench.model.faults.drop_completion = Some(dropped);
        let error = bench
            .run(&mut pages, Direction::ToDevice, Holder::Host)
            .unwrap_err();
        let expected = matches!(
            error,
            Error::CommandTimeout { .. } | Error::ForeignCompletion { .. }
        );
        assert!(expected, "{error}");
        assert!(pages.iter().all(|page| page.result == PageResult::Aborted));
        assert!(bench.ring.is_running());
    }
}

#[test]
fn a_device_that_is_gone_or_a_clock_that_stops_ends_in_bounded_steps() {
    let mut bench = Bench::new(8);
    let host = bench.host_pages(4);
    let mut pages = moves(&host, 0);
    bench.model.faults.gone = true;
    let error = bench
        .run(&mut pages, Direction::ToDevice, Holder::Host)
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Io {
                source: IoError::Gone,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        pages
            .iter()
            .all(|page| page.result == PageResult::Quarantined),
        "nothing confirms that DMA has stopped"
    );

    let mut bench = Bench::new(8);
    let host = bench.host_pages(4);
    let mut pages = moves(&host, 0);
    bench.model.faults.freeze_after = Some(0);
    bench.model.faults.clock_stopped = true;
    assert!(bench
        .run(&mut pages, Direction::ToDevice, Holder::Host)
        .is_err());
    assert!(pages.iter().all(|page| page.result == PageResult::Aborted));
}

#[test]
fn a_page_that_the_engine_does_not_take_over_stays() {
    let mut bench = Bench::new(8);
    let host = bench.host_pages(4);
    let mut pages = moves(&host, 0);
    bench.model.faults.owner_fails = Some(2 * PAGE_BYTES);
    bench
        .run(&mut pages, Direction::ToDevice, Holder::Device)
        .unwrap();
    let results: Vec<_> = pages.iter().map(|page| page.result).collect();
    let failed = PageResult::Failed {
        code: Status::HostOwned as u8,
    };
    assert_eq!(
        results,
        [PageResult::Done, PageResult::Done, failed, PageResult::Done]
    );
    assert_eq!(pages[2].holder, Holder::Host);
}

#[derive(Clone, Debug)]
struct Plan {
    /// Per page: gap before it on the device, bad host page, poison, device-held before, cached line.
    pages: Vec<(u8, bool, bool, bool, bool)>,
    to_device: bool,
    after_device: bool,
    freeze_after: Option<u32>,
    stuck: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    let odds = |percent: u32| (0..100u32).prop_map(move |n| n < percent);
    let page = (
        prop_oneof![6 => Just(0u8), 1 => 1..3u8],
        odds(8),
        odds(8),
        odds(30),
        odds(30),
    );
    (
        prop::collection::vec(page, 1..40),
        any::<bool>(),
        any::<bool>(),
        prop::option::weighted(0.3, 0..12u32),
        odds(30),
    )
        .prop_map(
            |(pages, to_device, after_device, freeze_after, stuck)| Plan {
                pages,
                to_device,
                after_device,
                freeze_after,
                stuck,
            },
        )
}

#[test]
fn random_migrations_keep_every_page_somewhere() {
    let check = |plan: Plan| {
        let mut bench = Bench::new(160);
        let host = bench.host_pages(plan.pages.len());
        let mut pages = Vec::new();
        let mut dpa = 0;
        for (n, &(gap, bad, poison, device_held, cached)) in plan.pages.iter().enumerate() {
            dpa += u64::from(gap) * PAGE_BYTES;
            bench.model.dev[dpa as usize..dpa as usize + PAGE].fill(0xC0 ^ n as u8);
            if bad {
                bench.model.faults.bad_host_pages.insert(host[n]);
            }
            if poison {
                bench.model.poison.insert(dpa + 128);
            }
            if cached && !device_held {
                bench
                    .model
                    .line_write(BASE + dpa, &[0xC0 ^ n as u8; 64])
                    .unwrap();
            }
            bench.model.device_owned[(dpa / PAGE_BYTES) as usize] = device_held;
            pages.push(PageMove::new(
                host[n],
                dpa,
                if device_held {
                    Holder::Device
                } else {
                    Holder::Host
                },
            ));
            dpa += PAGE_BYTES;
        }
        bench.model.faults.freeze_after = plan.freeze_after;
        bench.model.faults.stuck = plan.stuck;
        let direction = if plan.to_device {
            Direction::ToDevice
        } else {
            Direction::ToHost
        };
        let after = if plan.after_device {
            Holder::Device
        } else {
            Holder::Host
        };
        let result = bench.run(&mut pages, direction, after);
        let froze = plan.freeze_after.is_some() && bench.model.faults.freeze_after.is_none();

        prop_assert_eq!(result.is_err(), froze, "{:?}", result);
        prop_assert_eq!(&bench.model.violations, &Vec::<String>::new());
        for (n, page) in pages.iter().enumerate() {
            let (_, bad, poison, ..) = plan.pages[n];
            let on_host = vec![n as u8 ^ 0x5A; PAGE];
            let on_device = vec![0xC0 ^ n as u8; PAGE];
            match page.result {
                PageResult::Done if plan.to_device => {
                    prop_assert_eq!(bench.device_page(page.device), &on_host[..])
                }
                PageResult::Done => {
                    prop_assert_eq!(&bench.model.host_bytes(page.host, PAGE), &on_device)
                }
                PageResult::Failed { code } => {
                    let cause = if bad {
                        Status::DmaError
                    } else {
                        Status::Poison
                    };
                    prop_assert!(
                        bad || (poison && !plan.to_device),
                        "page {} failed with {}",
                        n,
                        code
                    );
                    // A page with both faults has either error, whichever line comes first.
                    prop_assert!(code == cause as u8 || poison);
                }
                PageResult::Aborted | PageResult::NotTried => prop_assert!(froze),
                PageResult::Quarantined => prop_assert!(froze && plan.stuck),
                PageResult::Pending | PageResult::FlushFailed(_) => {
                    prop_assert!(false, "page {}: {:?}", n, page)
                }
            }
            if page.result != PageResult::Done {
                // The source is intact.
                if plan.to_device {
                    prop_assert_eq!(bench.model.host_bytes(page.host, PAGE), on_host);
                } else {
                    prop_assert_eq!(&bench.device_page(page.device)[64..], &on_device[64..]);
                }
            }
            if !froze {
                let stays = plan.to_device && plan.after_device && page.result == PageResult::Done;
                prop_assert_eq!(
                    page.holder,
                    if stays { Holder::Device } else { Holder::Host }
                );
            }
            // `holder` may say Device for a page that the engine did not take; never the other way round.
            prop_assert!(
                page.holder == Holder::Device || bench.holder(page.device) == Holder::Host
            );
        }
        Ok(())
    };
    seed::runner(400).run(&plan(), check).unwrap();
}
