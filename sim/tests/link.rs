//! The host side against the Verilated controller: every read is compared with the golden memory.

use cxlmem_sim::home::golden::LINE;
use cxlmem_sim::rng::{seed_from_env, Rng};
use cxlmem_sim::{Op, Options, System};

fn system(config: &str, options: Options) -> System {
    let mut s = System::new(config, options).unwrap();
    s.bring_up().unwrap();
    s
}

#[test]
fn comes_up_and_remembers_a_line() {
    let mut s = system("sim", Options::default());
    let (base, _) = s.hdm_window();
    s.operate(base, Op::write([7; 64])).unwrap();
    let done = s.operate(base, Op::READ).unwrap();
    assert_eq!(done.data, Some([7; 64]));
    let latency = s.link().marks().response_start - s.link().marks().request_end;
    println!("read latency {latency}");
    let mut rng = Rng::new(seed_from_env(1));
    for n in 0..200 {
        s.post(base + n * LINE, Op::write(rng.line())).unwrap();
    }
    for n in 0..200 {
        s.post(base + n * LINE, Op::READ).unwrap();
    }
    s.run_until(20_000, "all done", |s| s.home().is_idle())
        .unwrap();
    assert_eq!(s.home().first_difference(), None);
    println!(
        "{:?} {:?} {:?}",
        s.home().counters(),
        s.link().counters(),
        s.now()
    );
}
