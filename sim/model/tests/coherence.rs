//! The coherence of HDM-DB, explored to the end.
//!
//! `CXLMEM_MODEL=long` adds the explorations that take minutes and gigabytes.

use cxlmem_model::coherence::*;
use cxlmem_protocol::hdm_db::host::Row;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Steps after which an exploration is given up, and its test with it.
const BOUND: usize = 1_000_000_000;

fn explore(name: &str, model: &CoherenceModel, until: Option<&'static str>) -> Explored {
    let found = model.explore(BOUND, 1, until);
    println!(
        "{name}: {} states ({} steps, depth {}) in {:.1} s",
        found.states, found.generated, found.depth, found.seconds
    );
    found
}

fn holds(name: &str, model: &CoherenceModel) {
    let found = explore(name, model, None);
    assert!(found.complete, "{name}: not explored to the end");
    assert!(found.failed.is_empty(), "{name}: {:#?}", found.failed);
}

#[test]
fn every_order_keeps_the_properties() {
    for (name, config) in suite::quick() {
        holds(name, &CoherenceModel::new(config));
    }
    if std::env::var("CXLMEM_MODEL").is_ok_and(|v| v == "long") {
        for (name, config) in suite::long() {
            holds(name, &CoherenceModel::new(config));
        }
    }
}

#[test]
fn each_rule_is_needed() {
    for (config, property) in suite::broken() {
        let name = format!("without {:?}", config.relax);
        let found = explore(&name, &CoherenceModel::new(config), Some(property));
        let failed: Vec<_> = found.failed.iter().map(|f| f.property).collect();
        println!("  fails: {failed:?}");
        assert!(failed.contains(&property), "{name}: {property} holds");
        let whole = Config {
            relax: None,
            ..config
        };
        holds("  with it", &CoherenceModel::new(whole));
    }
}

#[test]
fn every_reachable_cell_is_reached() {
    let cover = Arc::<Cover>::default();
    for (name, config) in suite::one_line() {
        let cover = cover.clone();
        holds(name, &CoherenceModel { config, cover });
    }
    let (mut reached, mut cells) = (0, 0);
    let mut reasons = BTreeMap::<_, usize>::new();
    let mut wrong = Vec::new();
    for (cell, is_reached) in cover.cells() {
        cells += 1;
        reached += usize::from(is_reached);
        match reachable(cell) {
            Ok(()) if !is_reached => wrong.push(format!("not reached: {cell:?}")),
            Err(why) if is_reached => wrong.push(format!("reached: {cell:?}, though {why}")),
            Err(why) => *reasons.entry(why).or_default() += 1,
            Ok(()) => {}
        }
    }
    println!("{cover}");
    println!("request x directory x race: {reached} of {cells} cells reached; the others:");
    for (why, count) in reasons {
        println!("  {count:3} {why}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(cells, Row::ALL.len() * 3 * Race::all().count());
}
