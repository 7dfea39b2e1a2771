//! Each rule on a snippet that must be found and on its corrected form.

use super::*;

/// Rules found in an `update()` with this body.
fn rules(body: &str) -> Vec<&'static str> {
    let text = format!(
        "#[derive(Copy, Clone, PartialEq, Debug, LogicState)] enum E {{ A, Busy }}\n\
         impl Logic for X {{ #[hdl_gen] fn update(&mut self) {{ {body} }} }}"
    );
    check_texts(&[("x.rs".into(), text)])
        .iter()
        .map(|f| f.rule)
        .collect()
}

#[test]
fn match_guard() {
    assert_eq!(
        rules("match self.s.q.val() { E::A if self.go.val() => { self.y.next = true; } _ => {} }"),
        ["match-guard"]
    );
    assert!(rules(
        "match self.s.q.val() { E::A => { if self.go.val() { self.y.next = true; } } _ => {} }"
    )
    .is_empty());
}

#[test]
fn guard_inside_nested_blocks() {
    assert_eq!(
        rules("if self.a.val() { for i in 0..4 { match self.s.q.val() { E::A if self.g[i].val() => { self.y.next = true; } _ => {} } } }"),
        ["match-guard"]
    );
}

#[test]
fn constant() {
    assert_eq!(rules("self.y.next = K.into();"), ["constant"]);
    assert_eq!(rules("self.y.next = self.a.val() + LIMIT;"), ["constant"]);
    assert_eq!(rules("self.y.next = N.into();"), ["constant"]);
    assert_eq!(rules("self.y.next = Self::K.into();"), ["constant"]);
    assert_eq!(rules("self.y.next = consts::K.into();"), ["constant"]);
    assert_eq!(
        rules("match self.s.q.val() { K => { self.y.next = true; } _ => {} }"),
        ["constant"]
    );
    assert!(rules(
        "self.s.d.next = E::Busy; self.y.next = self.limit.val(); self.z.next = 5.into();"
    )
    .is_empty());
    assert!(rules("for i in 0..N { self.y[i].next = self.a.val().get_bit(i); }").is_empty());
    assert!(rules("self.y.next = self.a.val().get_bits::<N>(0);").is_empty());
}

#[test]
fn struct_fields() {
    assert_eq!(rules("self.y.next = self.a.val().n.x;"), ["nested-field"]);
    assert_eq!(
        rules("self.y.next = self.a.val().addr.get_bits::<8>(0);"),
        ["slice-of-field"]
    );
    assert!(rules(
        "self.addr.next = self.a.val().addr; self.y.next = self.addr.val().get_bits::<8>(0);"
    )
    .is_empty());
}

#[test]
fn precedence() {
    assert_eq!(
        rules("if self.a.val() & self.m.val() == self.b.val() { self.y.next = true; }"),
        ["precedence"]
    );
    assert_eq!(
        rules("if self.b.val() == self.a.val() | self.m.val() { self.y.next = true; }"),
        ["precedence"]
    );
    assert!(
        rules("if (self.a.val() & self.m.val()) == self.b.val() { self.y.next = true; }")
            .is_empty()
    );
    assert!(
        rules("self.y.next = self.a.val() & self.b.val() | self.c.val() + self.d.val();")
            .is_empty()
    );
}

#[test]
fn literal_stops_wrap_in_comparison() {
    assert_eq!(
        rules("self.full.next = (self.wr.q.val() + 1) == self.rd.q.val();"),
        ["width"]
    );
    assert_eq!(
        rules("self.y.next = self.wr.q.val() - self.rd.q.val() == 5.into();"),
        ["width"]
    );
    assert_eq!(rules("self.y.next = !self.a.val() == 3.into();"), ["width"]);
    assert!(rules("self.y.next = self.a.val() + self.b.val() == self.c.val();").is_empty());
    assert!(rules("self.y.next = self.a.val() == 3.into();").is_empty());
    assert!(rules("self.next_wr.next = self.wr.q.val() + 1; self.full.next = self.next_wr.val() == self.rd.q.val();").is_empty());
}

#[test]
fn width_in_casts_shifts_and_slices() {
    assert_eq!(
        rules("self.y.next = bit_cast::<9, 8>(self.a.val() + self.b.val());"),
        ["width"]
    );
    assert_eq!(
        rules("self.y.next = bit_cast::<8, 1>((!self.a.val()).into());"),
        ["width"]
    );
    assert_eq!(
        rules("self.y.next = bit_cast::<M, N>(self.a.val() + 1);"),
        ["width"]
    );
    assert!(rules("self.y.next = bit_cast::<4, 8>(self.a.val() + self.b.val());").is_empty());
    assert!(rules("self.y.next = bit_cast::<8, 4>(self.a.val()) + self.b.val();").is_empty());
    assert_eq!(
        rules("self.y.next = (self.a.val() + 1) >> self.n.val();"),
        ["width"]
    );
    assert!(rules("self.y.next = (self.a.val() + self.b.val()) >> self.n.val();").is_empty());
    assert_eq!(
        rules("self.y.next = self.a.val().get_bit((self.i.val() + 1).index());"),
        ["width"]
    );
    assert!(rules("self.y.next = self.a.val().get_bit(self.i.val().index() + 1);").is_empty());
    assert_eq!(
        rules("self.y.next = self.a.val().get_bit(self.i.val().index() << self.j.val().index());"),
        ["width"]
    );
    assert_eq!(
        rules("self.y.next = bit_cast::<4, 8>(self.a.val()).all();"),
        ["width"]
    );
    assert!(rules("self.y.next = self.a.val().all() & !self.b.val().any();").is_empty());
}

#[test]
fn only_generated_blocks_are_read() {
    let text = "impl Logic for X { fn update(&mut self) { match a { B if c => {} _ => {} } } }";
    assert!(check_texts(&[("x.rs".into(), text.into())]).is_empty());
}

#[test]
fn nested_modules_and_functions_are_read() {
    let text = "mod t { fn f() { impl Logic for X { #[hdl_gen] fn update(&mut self) { self.y.next = K.into(); } } } }";
    let f = check_texts(&[("x.rs".into(), text.into())]);
    assert_eq!(f.len(), 1);
    assert!(f[0].place.starts_with("x.rs:1:"), "{}", f[0].place);
}

#[test]
fn states_declared_by_a_macro_are_known() {
    let text = "macro_rules! t { ($($id:ident)*) => { #[derive(Copy, LogicState)] pub enum Reg { $($id),* } } } \
                impl Logic for X { #[hdl_gen] fn update(&mut self) { self.r.next = Reg::A; self.q.next = Other::A; } }";
    let f = check_texts(&[("x.rs".into(), text.into())]);
    assert_eq!(f.len(), 1, "{f:?}");
    assert!(f[0].message.starts_with("`Other::A`"), "{f:?}");
}

#[test]
fn unparsable_source_is_a_finding() {
    assert_eq!(
        check_texts(&[("x.rs".into(), "fn (".into())])[0].rule,
        "unreadable"
    );
}

#[test]
fn empty_tree_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        check_tree(dir.path()),
        Err(GateError::NothingToCheck(_))
    ));
}

#[test]
fn order() {
    assert_eq!(
        rules("if self.wire.val() { self.y.next = true; } self.wire.next = self.a.val();"),
        ["order"]
    );
    assert_eq!(rules("self.wire.next = self.wire.val() + 1;"), ["order"]);
    assert!(rules(
        "self.wire.next = self.a.val(); if self.wire.val() { self.y.next = self.q.q.val(); self.q.d.next = self.y.val(); }"
    )
    .is_empty());
}
