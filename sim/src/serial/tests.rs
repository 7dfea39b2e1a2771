use super::*;
use crate::system::{Access, Options, System};
use cxlmem_protocol::regs;

fn system(noise: Noise, seed: u64) -> (System, LineState) {
    let line = BoardLine::new(noise, seed).unwrap();
    let (dut, hello, state) = open(Box::new(line), seed as u8).unwrap();
    assert_eq!(hello.clock_khz, 50_000);
    (System::over(dut, Options::default()).unwrap(), state)
}

#[test]
fn registers_lines_and_a_flush_over_the_pins_of_a_uart() {
    let (mut system, state) = system(Noise::default(), 1);
    let id = system.mmio_read32(regs::Id::OFFSET);
    println!("{:?} {:?}", state.counters(), state.error());
    assert_eq!(id.unwrap(), regs::Id::RESET);
    system.bring_up().unwrap();
    let (base, _) = system.hdm_window();
    for n in 0..8u64 {
        system.write_line(base + 64 * n, &[n as u8 + 1; 64]).unwrap();
    }
    system.flush(base, 512).unwrap();
    for n in 0..8u64 {
        let (line, poison) = system.read_line(base + 64 * n, Access::Shared).unwrap();
        assert_eq!((line, poison), ([n as u8 + 1; 64], false));
    }
    assert_eq!(state.error(), None);
    let counters = state.counters();
    println!("{counters:?}, {} cycles", system.now());
    assert_eq!((counters.damaged, counters.repeated, counters.timeouts), (0, 0, 0));
}
