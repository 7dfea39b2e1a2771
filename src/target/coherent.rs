//! Threads of this program, the controller's engine and an accelerator at its line port on the same pages of one region, against the RTL.
//!
//! Each check of shared data is a function that returns what is wrong. It is run twice: with the host as it is, and with one that answers
//! snoops without taking the page from the process ([`Hooks::keep_pages`]), where it has to find something wrong.

mod faults;
mod shared;

use super::SimTarget;
use cxlmem_driver::{
    ChangedLine, CoherentRegion, Device, Options, PageHolder, Residency, SharedRegion,
};
use cxlmem_sim::port::{PortDone, PortOp};
use cxlmem_sim::system::{self, System};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc, Mutex};
use std::time::{Duration, Instant};

const PAGE: usize = cxlmem_driver::transport::PAGE;
const LINE: usize = super::LINE;
/// Real time after which a check has failed.
const PATIENCE: Duration = Duration::from_secs(60);

type Act = Box<dyn FnOnce(&mut System) + Send>;

/// What a test does behind the driver's back.
#[derive(Clone, Default)]
pub struct Hooks {
    acts: Arc<Mutex<Vec<Act>>>,
    /// Fault: pages stay with the process when their lines are snooped.
    keep_pages: Arc<AtomicBool>,
}

impl Hooks {
    /// Between other uses of the device.
    pub fn run(&self, system: &mut System) {
        let acts = std::mem::take(&mut *self.acts.lock().unwrap());
        acts.into_iter().for_each(|act| act(system));
    }

    pub fn around(&self, pages: Arc<dyn PageHolder>) -> impl PageHolder {
        Keeper(pages, self.keep_pages.clone())
    }
}

struct Keeper(Arc<dyn PageHolder>, Arc<AtomicBool>);

impl PageHolder for Keeper {
    fn recall(&self, hpa: u64) -> Result<Vec<ChangedLine>, String> {
        match self.1.load(Ordering::Relaxed) {
            true => Ok(Vec::new()),
            false => self.0.recall(hpa),
        }
    }
}

/// An open device, and the simulation behind it.
struct Bench {
    device: Arc<Device>,
    hooks: Hooks,
}

fn coherent() -> Options {
    Options {
        device_coherent: true,
        ..Options::default()
    }
}

impl Bench {
    fn new(config: &str) -> Bench {
        Bench::with(config, &coherent())
    }

    fn with(config: &str, options: &Options) -> Bench {
        let target = SimTarget::new(config, system::Options::default()).unwrap();
        let hooks = target.hooks.clone();
        let device = Device::open(target, options).unwrap();
        Bench { device, hooks }
    }

    fn region(&self, pages: usize) -> CoherentRegion {
        CoherentRegion::new(&self.device, pages * PAGE).unwrap()
    }

    /// Does something to the simulation, between other uses of the device.
    fn system<T: Send + 'static>(&self, act: impl FnOnce(&mut System) -> T + Send + 'static) -> T {
        let (answer, result) = mpsc::channel();
        let act: Act = Box::new(move |system| drop(answer.send(act(system))));
        self.hooks.acts.lock().unwrap().push(act);
        self.device
            .with_transport(|transport| transport.now_cycles())
            .unwrap();
        result.recv().unwrap()
    }

    /// An operation of the accelerator on the line at a device address.
    fn port_at(&self, dpa: u64, op: PortOp) -> PortDone {
        self.system(move |system| {
            system.port_mut().issue(dpa / LINE as u64, op);
            for _ in 0..1_000_000 {
                system.cycle();
                if let Some(done) = system.port_mut().poll() {
                    return done;
                }
            }
            panic!("no answer from the line port");
        })
    }

    /// Nothing was against the rules, no value was lost.
    fn assert_clean(&self) {
        let (violation, counters) = self.system(|system| {
            (
                system.host_violation().map(String::from),
                system.host_counters(),
            )
        });
        assert_eq!(violation, None);
        assert_eq!(counters.lost_lines, 0, "{counters:?}");
    }
}

/// Device address of a byte of a region.
fn dpa(region: &CoherentRegion, offset: usize) -> u64 {
    match region.residency(offset / PAGE).unwrap() {
        Residency::Device { dpa } => dpa + (offset % PAGE) as u64,
        host => panic!("{host:?}"),
    }
}

/// Runs a check, which is to end before a time, on a good host, where it has to pass, and on one that keeps its pages, where it must not.
fn both(
    config: &str,
    pages: usize,
    check: impl Fn(SharedRegion<'_>, Instant) -> Result<(), String>,
) {
    for (keep, bound) in [(false, PATIENCE), (true, Duration::from_secs(2))] {
        let end = Instant::now() + bound;
        let bench = Bench::new(config);
        let mut region = bench.region(pages);
        bench.hooks.keep_pages.store(keep, Ordering::Relaxed);
        let result = check(region.share().unwrap(), end);
        let stats = region.stats();
        println!("keep {keep}: {result:?}, {stats:?}");
        // Lines whose ownership is gone cannot come back: where pages are kept, this may fail.
        let closed = region.close();
        if keep {
            assert!(result.is_err(), "a host that keeps its pages was not found");
            continue;
        }
        result.unwrap();
        closed.unwrap();
        assert!(
            stats.pages_recalled >= 5 && stats.write_faults >= 3,
            "{stats:?}"
        );
        bench.assert_clean();
        bench.device.close().unwrap();
    }
}

/// Waits for a condition, at most [`PATIENCE`].
fn wait(
    what: &str,
    end: Instant,
    mut done: impl FnMut() -> Result<bool, String>,
) -> Result<(), String> {
    while !done()? {
        if Instant::now() > end {
            return Err(format!("{what}: not in time"));
        }
        std::thread::yield_now();
    }
    Ok(())
}
