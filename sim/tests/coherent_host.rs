//! Cores with caches as the home agent of a system, and a page that is held outside of them: what a region of the driver does, by hand.

use cxlmem_protocol::engine::PAGE_BYTES;
use cxlmem_protocol::regs;
use cxlmem_sim::port::{Keep, PortDone, PortError, PortOp};
use cxlmem_sim::{Access, Options, System, SystemError};
use std::sync::{Arc, Mutex};

type Line = [u8; 64];

/// A page outside the caches: the lines as they are there, and as they were fetched.
#[derive(Default)]
struct Page {
    held: Option<(u64, Vec<Line>, Vec<Line>)>,
    recalls: u64,
    refuses: bool,
}

impl Page {
    fn changed(&mut self) -> Vec<(u64, Line)> {
        let Some((base, now, before)) = self.held.take() else {
            return Vec::new();
        };
        let lines = now.into_iter().zip(before).enumerate();
        lines
            .filter(|(_, (new, old))| new != old)
            .map(|(n, (new, _))| (base + 64 * n as u64, new))
            .collect()
    }
}

struct Bench {
    s: System,
    page: Arc<Mutex<Page>>,
    base: u64,
}

impl Bench {
    fn new(config: &str) -> Bench {
        let options = Options {
            device_coherent: true,
            ..Options::default()
        };
        let mut s = System::new(config, options).unwrap();
        let page = Arc::new(Mutex::new(Page::default()));
        let outside = page.clone();
        s.use_coherent_host(Some(Box::new(move |at| {
            let mut page = outside.lock().unwrap();
            let here = |base: u64| (base..base + PAGE_BYTES).contains(&at);
            match &page.held {
                Some((base, ..)) if here(*base) && page.refuses => Err("the test keeps it".into()),
                Some((base, ..)) if here(*base) => {
                    page.recalls += 1;
                    Ok(page.changed())
                }
                _ => Ok(Vec::new()),
            }
        })));
        s.bring_up().unwrap();
        let base = s.hdm_window().0;
        Bench { s, page, base }
    }

    /// Fetches a page to hold it outside.
    fn hold(&mut self, at: u64) {
        let mut lines = vec![[0; 64]; 64];
        let poison = self
            .s
            .read_lines(at, Access::Exclusive, &mut lines)
            .unwrap();
        assert_eq!(poison, 0);
        self.page.lock().unwrap().held = Some((at, lines.clone(), lines));
    }

    /// Adds to the first word of a line of the page outside; what it was.
    fn add(&mut self, line: usize, add: u64) -> Option<u64> {
        let mut page = self.page.lock().unwrap();
        let (_, now, _) = page.held.as_mut()?;
        let word: &mut [u8] = &mut now[line][..8];
        let old = u64::from_le_bytes(word.try_into().unwrap());
        word.copy_from_slice(&old.wrapping_add(add).to_le_bytes());
        Some(old)
    }

    fn port(&mut self, line: u64, op: PortOp) -> PortDone {
        self.s.port_mut().issue(line, op);
        let mut done = None;
        let took = self.s.run_until(1_000_000, "the port's outcome", |s| {
            done = s.port_mut().poll();
            done.is_some()
        });
        took.unwrap();
        done.unwrap()
    }

    fn end(mut self) {
        self.s.run(300);
        assert_eq!(self.s.host_violation(), None);
        assert_eq!(
            self.s.mmio_read32(regs::RxProtocolErrors::OFFSET).unwrap(),
            0
        );
        assert_eq!(self.s.host_counters().lost_lines, 0);
    }
}

fn word(line: &Line) -> u64 {
    u64::from_le_bytes(line[..8].try_into().unwrap())
}

#[test]
fn a_page_outside_the_caches_comes_back_for_a_snoop() {
    for config in ["small", "full", "sim", "sim-ext"] {
        let mut b = Bench::new(config);
        let base = b.base;
        for n in 0..64 {
            b.s.write_line(base + 64 * n, &[0; 64]).unwrap();
        }
        let mut expected = 0;
        for round in 0..20 {
            b.hold(base);
            assert_eq!(b.add(3, 5), Some(expected), "{config}, round {round}");
            // Another line of the page, changed too: it stays with the host when line 3 goes.
            b.add(40, 1);
            let done = b.port(3, PortOp::FetchAdd { word: 0, add: 7 });
            assert_eq!((done.result, word(&done.data)), (Ok(()), expected + 5));
            assert!(
                b.page.lock().unwrap().held.is_none(),
                "the page was taken away"
            );
            expected += 12;
        }
        let (line, poison) = b.s.read_line(base + 40 * 64, Access::Shared).unwrap();
        assert_eq!((word(&line), poison), (20, false));
        let done = b.port(40, PortOp::Load(Keep::Nothing));
        assert_eq!(word(&done.data), 20);
        let host = b.s.host_counters();
        assert_eq!(b.page.lock().unwrap().recalls, 20);
        assert_eq!(host.lines_recalled, 40);
        b.end();
    }
}

#[test]
fn the_filters_evictions_take_pages_back_too() {
    // 4096 entries: 64 pages fit. The 65th takes lines of another.
    let mut b = Bench::new("sim");
    let base = b.base;
    b.hold(base);
    b.add(0, 77);
    let mut lines = [[0; 64]; 64];
    let mut pages = 1;
    while b.page.lock().unwrap().recalls == 0 {
        assert!(pages < 80, "no eviction");
        let at = base + pages * PAGE_BYTES;
        b.s.read_lines(at, Access::Exclusive, &mut lines).unwrap();
        pages += 1;
    }
    assert!(pages > 64, "{pages} pages fit");
    assert_eq!(word(&b.port(0, PortOp::Load(Keep::All)).data), 77);
    b.end();
}

#[test]
fn a_line_that_is_snooped_while_a_page_is_fetched_is_fetched_again() {
    let mut b = Bench::new("full");
    let base = b.base;
    for round in 1..=20u64 {
        // Accesses of the device to the first and to the last line, which go on while the page is fetched.
        for line in [0, 63, 0, 63, 0, 63] {
            b.s.port_mut()
                .issue(line, PortOp::FetchAdd { word: 0, add: 1 });
        }
        b.s.run(17 * round % 200);
        b.hold(base);
        b.s.run(5_000);
        while let Some(done) = b.s.port_mut().poll() {
            assert_eq!(done.result, Ok(()));
        }
        for line in [0, 63] {
            let done = b.port(line, PortOp::Load(Keep::All));
            assert_eq!(word(&done.data), 3 * round, "line {line}, round {round}");
        }
    }
    b.end();
}

#[test]
fn a_host_that_does_not_answer_fails_the_device_and_nothing_else() {
    let mut b = Bench::new("small");
    let base = b.base;
    b.s.mmio_write32(regs::SnoopTimeout::OFFSET, 2_000).unwrap();
    b.hold(base);
    b.add(0, 1);
    b.s.set_silent_to_snoops(true);
    let done = b.port(0, PortOp::FetchAdd { word: 0, add: 1 });
    assert_eq!(done.result, Err(PortError::NotReleased));
    assert!(done.finished - done.started <= 4_100, "{done:?}");
    b.s.set_silent_to_snoops(false);
    b.s.run(2_000);
    let done = b.port(0, PortOp::FetchAdd { word: 0, add: 1 });
    assert_eq!((done.result, word(&done.data)), (Ok(()), 1));
    // The failure is counted, and the late answer logged.
    assert_eq!(b.s.mmio_read32(regs::SnoopFailures::OFFSET).unwrap(), 1);
    assert_eq!(b.s.host_violation(), None);
}

#[test]
fn a_page_that_is_refused_is_asked_for_again() {
    let mut b = Bench::new("small");
    let base = b.base;
    b.hold(base);
    b.add(0, 9);
    b.page.lock().unwrap().refuses = true;
    b.s.port_mut()
        .issue(0, PortOp::FetchAdd { word: 0, add: 1 });
    b.s.run(5_000);
    assert!(b.s.port_mut().poll().is_none());
    assert!(b.s.host_counters().put_off > 1);
    assert_eq!(b.s.host_violation(), Some("the test keeps it"));
    b.page.lock().unwrap().refuses = false;
    b.s.run(3_000);
    assert_eq!(word(&b.s.port_mut().poll().unwrap().data), 9);
}

#[test]
fn lines_come_back_without_a_snoop_and_only_if_they_are_the_hosts() {
    let mut b = Bench::new("small");
    let base = b.base;
    b.hold(base);
    b.add(2, 3);
    let lines = b.page.lock().unwrap().changed();
    assert_eq!(lines.len(), 1);
    let before = b.s.now();
    b.s.return_lines(&lines).unwrap();
    assert_eq!(b.s.now(), before);
    b.s.flush(base, PAGE_BYTES).unwrap();
    assert_eq!(word(&b.port(2, PortOp::Load(Keep::All)).data), 3);
    assert!(matches!(
        b.s.return_lines(&lines),
        Err(SystemError::NotOwned(at)) if at == base + 128
    ));
    assert_eq!(word(&b.port(2, PortOp::Load(Keep::All)).data), 3);
    b.end();
}
