//! What the simulator costs: one cycle of the whole system, idle and under saturated reads, and the home agent with its link per line.

#![allow(missing_docs)] // criterion_group makes an undocumented function

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use cxlmem_sim::home::golden::LINE;
use cxlmem_sim::{Access, Op, Options, System};

fn system() -> System {
    let mut s = System::new("sim", Options::default()).expect("the sim configuration is built in");
    s.bring_up().expect("the link comes up");
    s
}

fn cycles(c: &mut Criterion) {
    let mut group = c.benchmark_group("cycle");
    group.throughput(Throughput::Elements(1));
    let mut s = system();
    group.bench_function("idle", |b| b.iter(|| s.cycle()));
    let (base, _) = s.hdm_window();
    let lines = s.capacity() / LINE;
    let mut n = 0;
    group.bench_function("saturated reads", |b| {
        b.iter(|| {
            while s.home().open() < 128 {
                s.post(base + n % lines * LINE, Op::READ)
                    .expect("the queue has room");
                n += 1;
            }
            s.cycle();
        });
    });
    group.finish();
}

fn lines(c: &mut Criterion) {
    let mut s = system();
    let (base, _) = s.hdm_window();
    s.write_line(base, &[1; 64]).expect("memory is there");
    c.bench_function("cached line read", |b| {
        b.iter(|| s.read_line(base, Access::Shared).expect("memory is there"))
    });
    c.bench_function("uncached line read", |b| {
        b.iter(|| s.operate(base + LINE, Op::READ).expect("memory is there"))
    });
}

criterion_group!(benches, cycles, lines);
criterion_main!(benches);
