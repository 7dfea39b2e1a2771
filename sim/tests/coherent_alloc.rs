//! The coherent host, the shadow and the model device allocate nothing in the steady state. A test binary of its own: the allocator counts
//! for the whole process.

use cxlmem_sim::coherent::bench::Bench;
use cxlmem_sim::coherent::model_device::{DeviceOptions, ModelDevice, Speeds};
use cxlmem_sim::coherent::{AgentOptions, Choices, CoreOp, DeviceOp};
use cxlmem_sim::rng::Rng;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps this function's contract, which is the system allocator's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; `pointer` came from `alloc`, hence from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn coherent_steady_state_does_not_allocate() {
    const WARM: u64 = 50_000;
    let device = DeviceOptions {
        speed: Speeds::all(0.9),
        entries: Some(16),
        ..DeviceOptions::default()
    };
    let agent = AgentOptions {
        choices: Choices::ANYTHING,
        ..AgentOptions::default()
    };
    let mut bench = Bench::new(agent, ModelDevice::new(device), device.policy);
    let mut rng = Rng::new(1);
    let (cores, actors) = (bench.agent.cores(), bench.actors());
    let mut open = vec![false; actors];
    let (mut done, mut before) = (0, 0);
    while done < 4 * WARM {
        if done < WARM {
            before = ALLOCATIONS.load(Ordering::Relaxed);
        }
        for (actor, open) in open.iter_mut().enumerate() {
            if *open && bench.poll(actor).expect("no error").is_some() {
                *open = false;
                done += 1;
            }
            if *open {
                continue;
            }
            *open = true;
            let address = rng.below(device.lines) * 64;
            if actor >= cores {
                let add = DeviceOp::FetchAdd { word: 0, add: 1 };
                bench.port(actor - cores, address, add).expect("idle");
                continue;
            }
            let op = match rng.below(3) {
                0 => CoreOp::Load,
                1 => CoreOp::FetchAdd(1),
                _ => CoreOp::Store([7; 64]),
            };
            bench.core(actor, address, 8, op).expect("idle");
        }
        bench.cycle().expect("no error");
    }
    let during = ALLOCATIONS.load(Ordering::Relaxed) - before;
    println!("{during} allocations in {} operations", done - WARM);
    // The model's vectors and the shadow's sets may grow a last time.
    assert!(during < 100, "{during}");
}
