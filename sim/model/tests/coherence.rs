use cxlmem_model::coherence::*;
#[test]
fn probe() {
    let model = CoherenceModel::new(Config {
        cores: 1,
        ..Default::default()
    });
    let e = model.explore(3_000_000, 1);
    println!("{e:?}");
    let (r, u): (Vec<_>, Vec<_>) = model.cover.cells().partition(|c| c.1);
    println!("reached {} not {}", r.len(), u.len());
    for c in u {
        println!("- {:?}", c.0);
    }
}
