//! What a process cannot survive or undo, each in a process of its own: SIGBUS at poison, a forbidden userfaultfd.

mod common;

use common::{TestTransport, PAGE};
use cxlmem_driver::{CoherentRegion, Error, RegionOptions, Residency};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// Runs one of the tests below in a process of its own, which is expected to end in a certain way.
fn child(test: &str, part: &str) -> std::process::Output {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("CXLMEM_TEST_PART", part)
        .output()
        .unwrap()
}

fn part() -> Option<String> {
    std::env::var("CXLMEM_TEST_PART").ok()
}

#[test]
fn a_load_of_poison_or_of_a_dead_device_is_a_sigbus() {
    let Some(part) = part() else {
        for part in [
            "uffd,poison",
            "map,poison",
            "uffd,gone",
            "map,gone",
            "uffd,store",
            "map,store",
        ] {
            let output = child("a_load_of_poison_or_of_a_dead_device_is_a_sigbus", part);
            assert_eq!(
                output.status.signal(),
                Some(libc::SIGBUS),
                "{part}: {output:?}"
            );
            assert!(
                String::from_utf8_lossy(&output.stdout).contains("before the access"),
                "{part}: {output:?}"
            );
        }
        return;
    };
    let transport = TestTransport::new(8);
    let device = transport.open();
    let options = RegionOptions {
        uffd_poison: part.starts_with("uffd"),
        ..RegionOptions::default()
    };
    let mut region = CoherentRegion::with_options(&device, 3 * PAGE, &options).unwrap();
    region.as_mut_slice().fill(1);
    region.evict(0..3 * PAGE).unwrap();
    let Residency::Device { dpa } = region.residency(1).unwrap() else {
        panic!()
    };
    transport.lock().model.poison.insert(dpa + 3 * 64);
    // The neighbours are fine, and a page that became good again is, too.
    assert_eq!((region.as_slice()[0], region.as_slice()[2 * PAGE]), (1, 1));
    assert!(region.prefault(PAGE..2 * PAGE, false).is_err());
    transport.lock().model.poison.clear();
    region.evict(PAGE..2 * PAGE).unwrap();
    assert_eq!(region.as_slice()[PAGE], 1);
    region.evict(PAGE..2 * PAGE).unwrap();
    transport.lock().model.poison.insert(dpa);
    transport.lock().model.faults.gone = part.ends_with("gone");
    println!("before the access");
    if part.ends_with("store") {
        region.as_mut_slice()[PAGE] = 2;
    } else {
        std::hint::black_box(region.as_slice()[PAGE + 2000]);
    }
    println!("not reached");
}

/// Makes the kernel answer userfaultfd(2) with an error in this process from now on.
fn forbid_userfaultfd(errno: i32) {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7FFF_0000;
    const ERRNO: u32 = 0x0005_0000;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD, 0, 0, 0),
        step(JUMP_IF_EQUAL, 0, 1, libc::SYS_userfaultfd as u32),
        step(RETURN, 0, 0, ERRNO | errno as u32),
        step(RETURN, 0, 0, ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: PR_SET_NO_NEW_PRIVS takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(result, 0);
    // SAFETY: `program` and `filter` live during the call, which copies them.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_forbidden_userfaultfd_is_an_error_that_says_what_to_change() {
    let Some(part) = part() else {
        for (errno, text) in [
            (libc::EPERM, "vm.unprivileged_userfaultfd=1"),
            (libc::ENOSYS, "CONFIG_USERFAULTFD"),
        ] {
            let output = child(
                "a_forbidden_userfaultfd_is_an_error_that_says_what_to_change",
                &errno.to_string(),
            );
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.contains(text), "{output:?}");
        }
        return;
    };
    let transport = TestTransport::new(8);
    let device = transport.open();
    forbid_userfaultfd(part.parse().unwrap());
    let error = CoherentRegion::new(&device, PAGE).unwrap_err();
    assert!(matches!(
        error,
        Error::Userfaultfd {
            call: "userfaultfd",
            ..
        }
    ));
    println!("{error}");
    assert_eq!(device.free_bytes(), 8 * PAGE as u64, "nothing was taken");
}
