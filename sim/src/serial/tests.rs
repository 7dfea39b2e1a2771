use super::*;
use crate::home::Op;
use crate::system::{Access, Options, System};
use cxlmem_protocol::regs;
use std::collections::VecDeque;

fn system(line: impl ByteLine + 'static, seed: u64) -> (System, LineState) {
    println!("the board is its {}", BOARD_SOURCE);
    let (dut, hello, state) = open(Box::new(line), seed as u8).unwrap();
    assert_eq!((hello.clock_khz, hello.divisor), (50_000, 4));
    (System::over(dut, Options::default()).unwrap(), state)
}

/// Writes, flushes and reads so many lines at random, beside register accesses; every value is compared.
fn exercise(system: &mut System, lines: u64, seed: u64) {
    system.bring_up().unwrap();
    let (base, _) = system.hdm_window();
    let mut rng = crate::rng::Rng::new(seed);
    let mut known = vec![[0u8; 64]; lines as usize];
    for (n, line) in known.iter_mut().enumerate() {
        *line = std::array::from_fn(|_| (rng.next_u64() & 3) as u8 * 85);
        system.write_line(base + 64 * n as u64, line).unwrap();
    }
    system.flush(base, 64 * lines).unwrap();
    for (n, value) in known.iter().enumerate() {
        let (line, poison) = system
            .read_line(base + 64 * n as u64, Access::Shared)
            .unwrap();
        assert_eq!((line, poison), (*value, false), "seed {seed}, line {n}");
        if n % 16 == 0 {
            let id = system.mmio_read32(regs::Id::OFFSET);
            assert_eq!(id.unwrap(), regs::Id::RESET, "seed {seed}");
        }
    }
}

fn seed() -> u64 {
    let given = std::env::var("CXLMEM_SEED").ok();
    let seed = given.and_then(|s| s.parse().ok()).unwrap_or(7);
    println!("CXLMEM_SEED={seed}");
    seed
}

#[test]
fn registers_lines_and_a_flush_over_the_pins_of_a_uart() {
    let line = BoardLine::new(Noise::default(), 1).unwrap();
    let (mut system, state) = system(line, 1);
    exercise(&mut system, 64, 1);
    assert_eq!(state.error(), None);
    let counters = state.counters();
    println!("{counters:?}, {} cycles", system.now());
    assert!(counters.received > 80 && counters.sent > 80, "{counters:?}");
    let troubles = (counters.damaged, counters.repeated, counters.timeouts);
    assert_eq!(troubles, (0, 0, 0));
}

#[test]
fn slow_noise_and_lost_bytes_lose_nothing() {
    let seed = seed();
    // Ten times the rate that a line may have.
    let noise = Noise {
        bit: 1e-4,
        lose: 2e-4,
    };
    let line = BoardLine::new(noise, seed).unwrap();
    let (mut system, state) = system(line, seed);
    exercise(&mut system, 96, seed);
    let counters = state.counters();
    println!("{counters:?}, {} cycles", system.now());
    assert_eq!(state.error(), None);
    assert!(
        counters.damaged > 5 && counters.repeated > 5,
        "{counters:?}"
    );
}

#[test]
fn a_reset_over_the_line_starts_everything_anew() {
    let line = BoardLine::new(Noise::default(), 1).unwrap();
    let (mut system, state) = system(line, 250);
    for round in 0..3 {
        exercise(&mut system, 4, round);
        system.mmio_write32(regs::EngTimeout::OFFSET, 77).unwrap();
        assert_eq!(system.mmio_read32(regs::EngTimeout::OFFSET).unwrap(), 77);
        system.reset().unwrap();
        let timeout = system.mmio_read32(regs::EngTimeout::OFFSET).unwrap();
        assert_eq!(timeout, regs::EngTimeout::RESET);
    }
    assert_eq!(state.error(), None);
}

#[test]
fn a_link_that_is_disabled_and_enabled_starts_anew() {
    let line = BoardLine::new(Noise::default(), 1).unwrap();
    let (mut system, state) = system(line, 1);
    for round in 0..3 {
        exercise(&mut system, 4, round);
        system.mmio_write32(regs::LinkCtrl::OFFSET, 0).unwrap();
        let enable = regs::LinkCtrl::RESET;
        system.mmio_write32(regs::LinkCtrl::OFFSET, enable).unwrap();
        // The link goes down, and comes up again.
        let left = system.run_until(100_000, "a link that is up", |s| !s.link().is_up());
        left.unwrap();
        system
            .run_until(100_000, "a link that is up", |s| s.link().is_up())
            .unwrap();
        assert_eq!(system.link().first_error(), None);
        assert!(!system.link().has_failed());
    }
    assert_eq!(state.error(), None);
}

/// A line without a board: what is sent comes back, or nothing, or something else.
struct Other {
    echo: bool,
    noise: bool,
    queue: Vec<u8>,
}

impl ByteLine for Other {
    fn pass(&mut self, received: &mut Vec<u8>) -> io::Result<()> {
        received.append(&mut self.queue);
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.echo {
            self.queue.extend(bytes);
        }
        if self.noise {
            self.queue.extend(b"login: ");
        }
        Ok(bytes.len())
    }
}

#[test]
fn what_is_no_board_is_named() {
    let open = |echo, noise| {
        let queue = Vec::new();
        let line = Other { echo, noise, queue };
        open(Box::new(line), 1).err().unwrap()
    };
    assert_eq!(open(false, false), LineError::Silent);
    assert!(matches!(open(true, false), LineError::Garbage { .. }));
    assert!(matches!(open(false, true), LineError::Garbage { .. }));
    assert!(open(false, false).to_string().contains("board flash"));
}

/// A board whose line breaks.
struct Breaking {
    line: BoardLine,
    left: u32,
    silent: bool,
}

impl ByteLine for Breaking {
    fn pass(&mut self, received: &mut Vec<u8>) -> io::Result<()> {
        self.left = self.left.saturating_sub(1);
        match (self.left, self.silent) {
            (0, false) => Err(io::Error::other("unplugged")),
            (0, true) => Ok(()),
            _ => self.line.pass(received),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.send(bytes)
    }
}

#[test]
fn a_line_that_breaks_ends_what_is_under_way() {
    for silent in [false, true] {
        let line = Breaking {
            line: BoardLine::new(Noise::default(), 1).unwrap(),
            left: 300,
            silent,
        };
        let (mut system, state) = system(line, 1);
        let failed = (0..1000).any(|_| system.mmio_read32(regs::Id::OFFSET).is_err());
        assert!(failed, "an access to a board that is gone succeeded");
        let error = state.error();
        match silent {
            false => assert_eq!(error, Some(LineError::Io("unplugged".into()))),
            true => {
                system.run(u64::from(SILENCE));
                assert_eq!(state.error(), Some(LineError::Stopped), "{error:?}");
            }
        }
    }
}

#[test]
fn page_sized_reads_use_the_line() {
    let line = BoardLine::new(Noise::default(), 1).unwrap();
    let (mut system, state) = system(line, 1);
    system.bring_up().unwrap();
    // The bound: of five slots four are data, and of 68 bytes 64 are slots (cxl-mem 8.5).
    let share = |pages: u64, cycles: u64| {
        let bytes = cycles as f64 * f64::from(CYCLE_BYTES);
        pages as f64 * 4096.0 / bytes / (0.8 * 64.0 / 68.0)
    };
    let (base, _) = system.hdm_window();
    let mut lines = [[0u8; 64]; 64];
    let began = system.now();
    for page in 0..4 {
        let poison = system.read_lines(base + page * 4096, Access::Shared, &mut lines);
        assert_eq!(poison.unwrap(), 0);
    }
    let one = share(4, system.now() - began);

    // The next page is asked for while one is under way.
    let mut asked = VecDeque::new();
    let began = system.now();
    for page in 4..20 {
        let lines = (0..64).map(|n| base + page * 4096 + n * 64);
        asked.push_back(
            lines
                .map(|at| system.issue(at, Op::READ).unwrap())
                .collect::<Vec<_>>(),
        );
        let enough = if page == 19 { 0 } else { 1 };
        while asked.len() > enough {
            for ticket in asked.pop_front().unwrap() {
                assert!(!system.wait(ticket).unwrap().poison);
            }
        }
    }
    let two = share(16, system.now() - began);
    println!(
        "of the bound: one page at a time {:.1} %, two {:.1} %; {:?}",
        100.0 * one,
        100.0 * two,
        state.counters()
    );
    // What one lacks is the way there and back; what two lack, the 7 bytes of a frame that the bound does not have.
    assert!(one >= 0.80 && two >= 0.85, "{one} {two}");
}

#[test]
fn a_board_that_was_sent_garbage_still_answers() {
    let seed = seed();
    let mut rng = crate::rng::Rng::new(seed);
    let mut line = BoardLine::new(Noise::default(), seed).unwrap();
    let mut ignored = Vec::new();
    for _ in 0..300 {
        // Bytes of all values, zeros often: ends of frames.
        let junk: Vec<u8> = (0..16)
            .map(|_| match rng.below(4) {
                0 => 0,
                _ => rng.next_u64() as u8,
            })
            .collect();
        line.send(&junk).unwrap();
        line.pass(&mut ignored).unwrap();
    }
    assert_eq!(
        line.leds() & 1,
        0,
        "garbage passed for a reset, seed {seed}"
    );
    let (mut system, state) = system(line, seed);
    exercise(&mut system, 4, seed);
    assert_eq!(state.error(), None);
}
