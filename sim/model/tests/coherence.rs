use cxlmem_model::coherence::*;
use cxlmem_protocol::hdm_db::host::Row::*;
use cxlmem_protocol::hdm_db::*;
#[test]
fn probe() {
    let run = |name: &str, config: Config| {
        let model = CoherenceModel::new(config);
        let e = model.explore(8_000_000, 1);
        println!("{name}: {e:?}");
    };
    let d = Config::default();
    run("1 core", Config { cores: 1, ..d });
    run("2 cores", d);
    run("2 cores storm", Config { storm: true, ..d });
    run(
        "fifo depth 1",
        Config {
            reorder: false,
            depth: 1,
            ..d
        },
    );
    run("depth 3", Config { depth: 3, ..d });
    for n in 0..4 {
        run(
            "policy",
            Config {
                policy: Policy {
                    shared_gets_e: n & 1 != 0,
                    any_gets_e: n & 2 != 0,
                },
                ..d
            },
        );
    }
    run(
        "timeouts",
        Config {
            timeouts: true,
            ..d
        },
    );
    run(
        "stubborn",
        Config {
            stubborn: true,
            ..d
        },
    );
    run(
        "stubborn timeouts",
        Config {
            stubborn: true,
            timeouts: true,
            ..d
        },
    );
    use Relax::*;
    for r in [
        UpgradeByMemInv,
        ForgottenCleanEvict,
        ForgottenDirtyEvict,
        KeptTakenAsInvalid,
        DirectoryBehindGrant,
        AckPassesCompletion,
        NotWrittenBackAgain,
        SharedPool,
        SnoopBeforeStalled,
        SnoopWhileOverdue,
    ] {
        run(
            &format!("{r:?}"),
            Config {
                relax: Some(r),
                stubborn: r == KeptTakenAsInvalid,
                timeouts: r == SnoopWhileOverdue,
                storm: r == SnoopBeforeStalled,
                ..d
            },
        );
    }
    let two = Config {
        lines: 2,
        cores: 1,
        depth: 1,
        reorder: false,
        rows: &[RdA, RdS, WrI, ClnEvct],
        locals: &[Local::ReadData, Local::Write],
        ..d
    };
    run("two", two);
    run(
        "two reorder depth 2",
        Config {
            reorder: true,
            depth: 2,
            ..two
        },
    );
    run("two 1 entry", Config { entries: 1, ..two });
    run(
        "two 1 entry 2 trackers storm",
        Config {
            entries: 1,
            trackers: 2,
            storm: true,
            ..two
        },
    );
    run(
        "two shared pool",
        Config {
            relax: Some(SharedPool),
            ..two
        },
    );
}
