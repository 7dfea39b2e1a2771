//! The coherence of HDM-DB, explored to the end.

use cxlmem_model::coherence::*;

/// States after which an exploration is given up, and its test with it.
const BOUND: usize = 400_000_000;

fn explore(name: &str, model: &CoherenceModel) -> Explored {
    let found = model.explore(BOUND, 1);
    println!(
        "{name}: {} states ({} steps, depth {}) in {:.1} s",
        found.states, found.generated, found.depth, found.seconds
    );
    found
}

fn holds(name: &str, model: &CoherenceModel) {
    let found = explore(name, model);
    assert!(found.complete, "{name}: not explored to the end");
    assert!(found.failed.is_empty(), "{name}: {:#?}", found.failed);
}

#[test]
fn a() {
    for (name, config) in suite::one_line().into_iter().chain(suite::quick()) {
        let f = explore(name, &CoherenceModel::new(config));
        println!("{:?}", f.failed);
    }
    for (config, p) in suite::broken() {
        let name = format!("{:?}", config.relax.unwrap());
        let found = explore(&name, &CoherenceModel::new(config));
        println!(
            "{p} in? {:?}",
            found.failed.iter().map(|f| f.property).collect::<Vec<_>>()
        );
        holds(
            &name,
            &CoherenceModel::new(Config {
                relax: None,
                ..config
            }),
        );
    }
}
