//! Named explorations: what a test, or a user with more time, runs.

use super::{Config, Relax};
use cxlmem_protocol::hdm_db::host::Row;
use cxlmem_protocol::hdm_db::{Local, Policy};

/// Requests that move a line about: enough for two lines at once.
const MOVES: &[Row] = &[
    Row::RdA,
    Row::RdS,
    Row::RdData,
    Row::WrA,
    Row::WrI,
    Row::ClnEvct,
];

/// The fewest that take a line from every state to every other.
const FEW: &[Row] = &[Row::RdA, Row::RdS, Row::WrI, Row::ClnEvct];

/// One line, everything that a host and a device may do, under each of the four policies of G-05: what coverage counts.
pub fn one_line() -> Vec<(&'static str, Config)> {
    let policy = |shared_gets_e, any_gets_e| Config {
        policy: Policy {
            shared_gets_e,
            any_gets_e,
        },
        storm: true,
        ..Config::default()
    };
    vec![
        ("one line, S and E (default policy)", policy(false, true)),
        ("one line, S and S", policy(false, false)),
        ("one line, E and E", policy(true, true)),
        ("one line, E and S", policy(true, false)),
    ]
}

/// What must hold in a short run, besides [`one_line`].
pub fn quick() -> Vec<(&'static str, Config)> {
    let one = Config::default();
    let two = Config {
        lines: 2,
        cores: 1,
        depth: 1,
        reorder: false,
        rows: MOVES,
        ..one
    };
    let few = Config {
        rows: FEW,
        locals: &[Local::ReadData, Local::Write],
        storm: true,
        ..two
    };
    let any_order = Config {
        depth: 2,
        reorder: true,
        trackers: 2,
        ..few
    };
    let in_order = Config {
        depth: 1,
        reorder: false,
        ..one
    };
    let timeouts = Config {
        timeouts: true,
        ..one
    };
    let stubborn = Config {
        stubborn: true,
        ..one
    };
    let cautious = Config {
        cautious: true,
        ..one
    };
    let both = Config {
        stubborn: true,
        ..timeouts
    };
    let more = Config {
        rows: MOVES,
        locals: &Local::ALL,
        storm: false,
        ..any_order
    };
    let one_entry = Config {
        entries: 1,
        storm: true,
        ..two
    };
    let one_entry_any_order = Config {
        entries: 1,
        storm: true,
        ..more
    };
    vec![
        ("one line, channels of one in order", in_order),
        ("one line, snoops time out", timeouts),
        (
            "one line, a host that keeps what it should give up",
            stubborn,
        ),
        ("one line, both of these", both),
        (
            "one line, a host that sends BIConflict to be sure",
            cautious,
        ),
        ("two lines, one tracker, channels of one in order", two),
        ("two lines, any order", more),
        ("two lines, any order, fewer requests, storms", any_order),
        ("two lines, one directory entry", one_entry),
        (
            "two lines, one directory entry, any order",
            one_entry_any_order,
        ),
    ]
}

/// What takes minutes and gigabytes, besides [`quick`].
pub fn long() -> Vec<(&'static str, Config)> {
    let two = Config {
        lines: 2,
        cores: 1,
        rows: MOVES,
        trackers: 2,
        ..Config::default()
    };
    let two_cores = Config { cores: 2, ..two };
    let storms = Config { storm: true, ..two };
    let timeouts = Config {
        timeouts: true,
        ..two
    };
    vec![
        ("two lines, any order, storms", storms),
        ("two lines, any order, time-outs", timeouts),
        ("two lines, any order, two cores", two_cores),
    ]
}

/// Each rule left out, and the property that must then fail; without [`Config::relax`] the same configuration must pass.
pub fn broken() -> Vec<(Config, &'static str)> {
    let one = Config {
        rows: &[
            Row::RdA,
            Row::RdS,
            Row::RdData,
            Row::RdKeep,
            Row::InvA,
            Row::WrA,
            Row::WrI,
            Row::ClnEvct,
        ],
        ..Config::default()
    };
    let relax = |relax| Config {
        relax: Some(relax),
        ..one
    };
    let stubborn = Config {
        stubborn: true,
        ..relax(Relax::KeptTakenAsInvalid)
    };
    let storm = |left_out| Config {
        storm: true,
        ..relax(left_out)
    };
    let requests_first = Config {
        rows: &[Row::RdS, Row::RdKeep],
        ..storm(Relax::RequestsFirst)
    };
    let from_modified = Config {
        rows: &[Row::RdA, Row::RdKeep, Row::WrI],
        ..relax(Relax::RequestFromModified)
    };
    let one_entry = |left_out| Config {
        lines: 2,
        cores: 1,
        entries: 1,
        rows: &[Row::RdA, Row::WrI],
        locals: &[Local::ReadCurrent],
        ..storm(left_out)
    };
    let timeouts = Config {
        timeouts: true,
        cores: 1,
        rows: &[Row::RdA, Row::WrI],
        locals: &[Local::Write],
        ..relax(Relax::SnoopWhileOverdue)
    };
    vec![
        (relax(Relax::UpgradeByMemInv), "data value"),
        (from_modified, "nothing to log"),
        (relax(Relax::ForgottenCleanEvict), "single writer"),
        (relax(Relax::ForgottenDirtyEvict), "data value"),
        (stubborn, "single writer"),
        (relax(Relax::DirectoryBehindGrant), "single writer"),
        (relax(Relax::AckPassesCompletion), "single writer"),
        (relax(Relax::NotWrittenBackAgain), "data value"),
        (relax(Relax::NoHandshake), "single writer"),
        (relax(Relax::WriteWaits), "completes"),
        (relax(Relax::SharedPool), "completes"),
        (storm(Relax::SnoopBeforeStalled), "no request starves"),
        (requests_first, "no device access starves"),
        (one_entry(Relax::RoomWhileSnooped), "the directory has room"),
        (one_entry(Relax::SnoopBeforeRoom), "no request starves"),
        (timeouts, "single writer"),
    ]
}
