//! Source gate: what rust-hdl accepts in an `update()` and turns into hardware that differs from the Rust simulation.
//!
//! Only functions marked `#[hdl_gen]` are read: a hand-written `hdl()` is checked by comparing it with its model. Every rule here is a
//! case where rust-hdl 0.46 prints Verilog without complaint and simulators or synthesisers at most warn. See
//! `docs/developer/rust-hdl.md` for each with its cure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::{Attribute, BinOp, Block, Expr, ImplItem, Item, Member, Pat, Stmt, UnOp};

use super::{Finding, Gate, GateError};

/// Checks every `.rs` file below `dir`. An empty tree is an error: a gate that read nothing has not passed.
pub fn check_tree(dir: &Path) -> Result<Vec<Finding>, GateError> {
    let mut files = Vec::new();
    collect(dir, &mut files)?;
    files.sort();
    if files.is_empty() {
        return Err(GateError::NothingToCheck(dir.to_path_buf()));
    }
    let mut texts = Vec::new();
    for f in files {
        let text = std::fs::read_to_string(&f).map_err(|e| GateError::io("read", &f, e))?;
        texts.push((f.display().to_string(), text));
    }
    Ok(check_texts(&texts))
}

/// Checks sources given as (name, text). States (`#[derive(LogicState)]`) are known across all of them.
pub fn check_texts(texts: &[(String, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut parsed = Vec::new();
    let mut states = BTreeSet::new();
    for (name, text) in texts {
        match syn::parse_file(text) {
            Ok(file) => {
                collect_states(&file.items, &mut states);
                parsed.push((name, file));
            }
            Err(e) => findings.push(Finding {
                gate: Gate::Source,
                rule: "unreadable",
                place: format!("{name}:{}", e.span().start().line),
                message: format!("not Rust that this gate can parse: {e}"),
            }),
        }
    }
    for (name, file) in &parsed {
        visit_items(&file.items, &mut |block| {
            let mut c = Checker {
                file: name,
                states: &states,
                loops: Vec::new(),
                read: BTreeMap::new(),
                findings: &mut findings,
            };
            c.block(block);
        });
    }
    findings
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), GateError> {
    for entry in std::fs::read_dir(dir).map_err(|e| GateError::io("list", dir, e))? {
        let path = entry.map_err(|e| GateError::io("list", dir, e))?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn collect_states(items: &[Item], states: &mut BTreeSet<String>) {
    for item in items {
        match item {
            Item::Enum(e) if e.attrs.iter().any(|a| derives(a, "LogicState")) => {
                states.insert(e.ident.to_string());
            }
            Item::Mod(m) => {
                if let Some((_, items)) = &m.content {
                    collect_states(items, states);
                }
            }
            // A table macro may declare the enum.
            Item::Macro(m) => states_in_tokens(m.mac.tokens.clone(), &mut false, states),
            _ => {}
        }
    }
}

fn states_in_tokens(tokens: TokenStream, derived: &mut bool, states: &mut BTreeSet<String>) {
    let mut after_enum = false;
    for token in tokens {
        match token {
            TokenTree::Group(g) => states_in_tokens(g.stream(), derived, states),
            TokenTree::Ident(name) if name == "LogicState" => *derived = true,
            TokenTree::Ident(name) if name == "enum" => after_enum = true,
            TokenTree::Ident(name) if after_enum => {
                if std::mem::take(derived) {
                    states.insert(name.to_string());
                }
                after_enum = false;
            }
            _ => {}
        }
    }
}

fn derives(attr: &Attribute, what: &str) -> bool {
    let mut found = false;
    if attr.path().is_ident("derive") {
        // A derive that does not parse is the compiler's to report.
        let _ = attr.parse_nested_meta(|m| {
            found |= m.path.segments.last().is_some_and(|s| s.ident == what);
            Ok(())
        });
    }
    found
}

fn is_hdl(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|a| {
        a.path()
            .segments
            .last()
            .is_some_and(|s| s.ident == "hdl_gen")
    })
}

fn visit_items(items: &[Item], f: &mut dyn FnMut(&Block)) {
    for item in items {
        match item {
            Item::Impl(i) => {
                for member in &i.items {
                    if let ImplItem::Fn(func) = member {
                        if is_hdl(&func.attrs) {
                            f(&func.block);
                        }
                        visit_nested(&func.block, f);
                    }
                }
            }
            Item::Mod(m) => {
                if let Some((_, items)) = &m.content {
                    visit_items(items, f);
                }
            }
            Item::Fn(func) => visit_nested(&func.block, f),
            _ => {}
        }
    }
}

/// Blocks declared inside a function body, as tests often do.
fn visit_nested(block: &Block, f: &mut dyn FnMut(&Block)) {
    for stmt in &block.stmts {
        if let Stmt::Item(item) = stmt {
            visit_items(std::slice::from_ref(item), f);
        }
    }
}

/// What an expression contributes to the width that Verilog evaluates its surroundings at.
#[derive(Clone, Copy, Default)]
struct Facts {
    /// An operator whose result above the operand's width matters: `+ - * <<`, `!`, unary `-`.
    wraps: bool,
    /// An operand of another width: an integer literal (32 bits in the Verilog), a loop index, a narrowing cast.
    wide: bool,
    /// The left side of a `>>` wraps: harmless only while everything around has the same width.
    shifted_wrap: bool,
    /// `.index()`: the Rust value is a `usize`, the Verilog keeps the signal's width.
    usize_: bool,
}

impl Facts {
    fn or(self, o: Facts) -> Facts {
        Facts {
            wraps: self.wraps | o.wraps,
            wide: self.wide | o.wide,
            shifted_wrap: self.shifted_wrap | o.shifted_wrap,
            usize_: self.usize_ | o.usize_,
        }
    }
}

struct Checker<'a> {
    file: &'a str,
    states: &'a BTreeSet<String>,
    loops: Vec<String>,
    /// Signals of the block read before any assignment, and where; an assigned one has no place.
    read: BTreeMap<String, Option<String>>,
    findings: &'a mut Vec<Finding>,
}

impl Checker<'_> {
    fn report(&mut self, rule: &'static str, at: &impl Spanned, message: String) {
        let start = at.span().start();
        self.findings.push(Finding {
            gate: Gate::Source,
            rule,
            place: format!("{}:{}:{}", self.file, start.line, start.column + 1),
            message,
        });
    }

    fn block(&mut self, block: &Block) {
        for stmt in &block.stmts {
            // Anything else does not compile under #[hdl_gen].
            if let Stmt::Expr(e, _) = stmt {
                self.statement(e);
            }
        }
    }

    fn statement(&mut self, e: &Expr) {
        match e {
            Expr::Assign(a) => {
                let f = self.value(&a.right);
                self.root_assign(&a.right, f);
                self.assigned(&a.left);
            }
            Expr::If(i) => {
                let f = self.value(&i.cond);
                self.root_exact(&i.cond, f, "the condition");
                self.block(&i.then_branch);
                if let Some((_, e)) = &i.else_branch {
                    self.statement(e);
                }
            }
            Expr::Block(b) => self.block(&b.block),
            Expr::Match(m) => {
                let mut f = self.value(&m.expr);
                for arm in &m.arms {
                    if let Some((_, guard)) = &arm.guard {
                        self.report(
                            "match-guard",
                            guard,
                            "the guard of a match arm is dropped in the Verilog: write an `if` inside the arm".into(),
                        );
                    }
                    f.wide |= matches!(&arm.pat, Pat::Lit(_));
                    self.pattern(&arm.pat);
                    self.statement(&arm.body);
                }
                self.root_exact(&m.expr, f, "the matched value");
            }
            Expr::ForLoop(l) => {
                let name = match &*l.pat {
                    Pat::Ident(p) => p.ident.to_string(),
                    _ => String::new(),
                };
                self.loops.push(name);
                self.block(&l.body);
                self.loops.pop();
            }
            // `x.next.set_bit(i, v)` and `set_value_field(v)`.
            Expr::MethodCall(m) => {
                for a in &m.args {
                    let f = self.value(a);
                    self.root_exact(a, f, "the argument");
                }
            }
            _ => {}
        }
    }

    /// A signal gets its value in this function: it must not have been read above.
    fn assigned(&mut self, target: &Expr) {
        let Expr::Field(f) = target else { return };
        if !matches!(&f.member, Member::Named(n) if n == "next") {
            return;
        }
        let Some(signal) = own_signal(&f.base) else {
            return;
        };
        if let Some(Some(place)) = self.read.insert(signal.clone(), None) {
            self.findings.push(Finding {
                gate: Gate::Source,
                rule: "order",
                place,
                message: format!(
                    "`{signal}` is read here and assigned further down: the Verilog reads the value of the evaluation before; assign it first"
                ),
            });
        }
    }

    fn pattern(&mut self, pat: &Pat) {
        match pat {
            Pat::Ident(p) => self.report(
                "constant",
                p,
                format!(
                    "`{}` becomes an undeclared Verilog name in the case label: write the literal",
                    p.ident
                ),
            ),
            Pat::Path(p) => self.path(&p.path),
            _ => {}
        }
    }

    /// A path used as a value or a pattern is printed as a Verilog name; only states and loop indices exist there.
    fn path(&mut self, path: &syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        let ok = match names.as_slice() {
            [one] => one == "self" || self.loops.contains(one),
            [.., ty, _] => self.states.contains(ty),
            [] => true,
        };
        if !ok {
            self.report(
                "constant",
                path,
                format!(
                    "`{}` becomes an undriven wire in the Verilog: use a `Constant<..>` field, a literal, or a #[derive(LogicState)] variant",
                    names.join("::")
                ),
            );
        }
    }

    /// Walks a value, reports what is inside it, and returns what it contributes to the width of its surroundings.
    fn value(&mut self, e: &Expr) -> Facts {
        match e {
            Expr::Paren(p) => self.value(&p.expr),
            Expr::Group(g) => self.value(&g.expr),
            Expr::Lit(l) => Facts {
                wide: matches!(l.lit, syn::Lit::Int(_)),
                ..Facts::default()
            },
            Expr::Path(p) => {
                self.path(&p.path);
                Facts {
                    wide: p
                        .path
                        .get_ident()
                        .is_some_and(|i| self.loops.contains(&i.to_string())),
                    ..Facts::default()
                }
            }
            Expr::Field(_) => {
                self.nested_field(e);
                Facts::default()
            }
            Expr::Unary(u) => {
                let f = self.value(&u.expr);
                Facts {
                    wraps: f.wraps | matches!(u.op, UnOp::Not(_) | UnOp::Neg(_)),
                    ..f
                }
            }
            Expr::Binary(b) => self.binary(b),
            Expr::MethodCall(m) => self.method(m),
            Expr::Call(c) => self.call(c),
            _ => Facts::default(),
        }
    }

    fn binary(&mut self, b: &syn::ExprBinary) -> Facts {
        self.precedence(b);
        let l = self.value(&b.left);
        let r = self.value(&b.right);
        match b.op {
            BinOp::Eq(_)
            | BinOp::Ne(_)
            | BinOp::Lt(_)
            | BinOp::Le(_)
            | BinOp::Gt(_)
            | BinOp::Ge(_) => {
                self.root_exact(b, l.or(r), "the comparison");
                Facts::default()
            }
            BinOp::And(_) | BinOp::Or(_) => Facts::default(),
            BinOp::Shl(_) | BinOp::Shr(_) => {
                self.root_exact(&b.right, r, "the shift distance");
                let right = matches!(b.op, BinOp::Shr(_));
                Facts {
                    wraps: l.wraps | !right,
                    shifted_wrap: l.shifted_wrap | (right & l.wraps),
                    ..l
                }
            }
            BinOp::Add(_) | BinOp::Sub(_) | BinOp::Mul(_) => Facts {
                wraps: true,
                ..l.or(r)
            },
            _ => l.or(r),
        }
    }

    fn method(&mut self, m: &syn::ExprMethodCall) -> Facts {
        let name = m.method.to_string();
        match name.as_str() {
            "val" => {
                if let Some(signal) = own_signal(&m.receiver) {
                    let start = m.receiver.span().start();
                    let place = format!("{}:{}:{}", self.file, start.line, start.column + 1);
                    self.read.entry(signal).or_insert(Some(place));
                }
                self.value(&m.receiver)
            }
            "into" | "to_bits" => self.value(&m.receiver),
            "index" => {
                let f = self.value(&m.receiver);
                self.root_exact(&m.receiver, f, "the index");
                Facts {
                    usize_: true,
                    wide: f.wide,
                    ..Facts::default()
                }
            }
            "get_bit" | "get_bits" => {
                let f = self.value(&m.receiver);
                self.root_exact(&m.receiver, f, "the sliced value");
                if is_field_of_val(&m.receiver) {
                    self.report(
                        "slice-of-field",
                        m,
                        format!("`{name}` on a struct's field prints a slice of a slice, which is not Verilog: copy the field to a Local signal first"),
                    );
                }
                for a in &m.args {
                    let f = self.value(a);
                    self.root_exact(a, f, "the bit number");
                }
                Facts::default()
            }
            "any" | "all" | "xor" => {
                let f = self.value(&m.receiver);
                self.root_exact(&m.receiver, f, "the reduced value");
                if name == "all" && f.wide {
                    self.width(
                        m,
                        "`all()`",
                        "a literal or narrowing cast widens it with zeros",
                    );
                }
                Facts::default()
            }
            "replace_bit" => {
                self.value(&m.receiver);
                for a in &m.args {
                    let f = self.value(a);
                    self.root_exact(a, f, "the argument");
                }
                Facts::default()
            }
            _ => Facts::default(),
        }
    }

    fn call(&mut self, c: &syn::ExprCall) -> Facts {
        let Expr::Path(func) = &*c.func else {
            return Facts::default();
        };
        let Some(last) = func.path.segments.last() else {
            return Facts::default();
        };
        let mut inside = Facts::default();
        for a in &c.args {
            inside = inside.or(self.value(a));
        }
        if last.ident == "bit_cast" {
            let growth = cast_growth(last);
            if inside.wraps && growth != Some(false) {
                self.width(
                    c,
                    "the cast",
                    "Verilog computes the operand at the wider width, so carries and inverted high bits appear",
                );
            } else if inside.shifted_wrap && inside.wide {
                self.width(c, "the cast", "a literal widens it");
            }
            return Facts {
                wide: growth != Some(true),
                ..Facts::default()
            };
        }
        self.root_exact(c, inside, "the cast");
        Facts {
            wide: inside.wide,
            ..Facts::default()
        }
    }

    /// The right side of an assignment: only its low bits count, except behind a `>>`.
    fn root_assign(&mut self, at: &Expr, f: Facts) {
        if f.shifted_wrap && f.wide {
            self.width(
                at,
                "the value",
                "an integer literal (32 bits in the Verilog) keeps the carry that `>>` brings back",
            );
        }
    }

    /// A place where every bit counts.
    fn root_exact(&mut self, at: &impl Spanned, f: Facts, what: &str) {
        if f.usize_ {
            if f.wraps && !f.wide {
                self.width(
                    at,
                    what,
                    "`.index()` is a usize in Rust but keeps the signal's few bits in the Verilog",
                );
            }
        } else if (f.wraps || f.shifted_wrap) && f.wide {
            self.width(
                at,
                what,
                "an operand of another width (an integer literal is 32 bits in the Verilog) stops the arithmetic from wrapping as Bits<N> does",
            );
        }
    }

    fn width(&mut self, at: &impl Spanned, what: &str, why: &str) {
        self.report(
            "width",
            at,
            format!("{what} differs between Rust and Verilog: {why}. Assign the inner expression to a Local signal first"),
        );
    }

    /// rust-hdl prints operators without adding parentheses, and Verilog binds comparisons tighter than `& ^ |`.
    fn precedence(&mut self, b: &syn::ExprBinary) {
        let mine = verilog_precedence(&b.op);
        if let Expr::Binary(l) = &*b.left {
            if verilog_precedence(&l.op) < mine {
                self.report("precedence", l, PRECEDENCE.into());
            }
        }
        if let Expr::Binary(r) = &*b.right {
            if verilog_precedence(&r.op) <= mine {
                self.report("precedence", r, PRECEDENCE.into());
            }
        }
    }

    fn nested_field(&mut self, e: &Expr) {
        let Expr::Field(outer) = e else { return };
        if matches!(outer.member, Member::Named(_)) && is_field_of_val(&outer.base) {
            self.report(
                "nested-field",
                outer,
                "a field of a field prints invalid Verilog: keep hardware structs flat, or copy the inner struct to a Local signal".into(),
            );
        }
    }
}

const PRECEDENCE: &str = "Verilog groups this differently (there, comparisons bind tighter than `& ^ |`): put parentheses around it";

/// Higher binds tighter (IEEE 1364-2005, table 5-4).
fn verilog_precedence(op: &BinOp) -> u8 {
    match op {
        BinOp::Mul(_) => 10,
        BinOp::Add(_) | BinOp::Sub(_) => 9,
        BinOp::Shl(_) | BinOp::Shr(_) => 8,
        BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) => 7,
        BinOp::Eq(_) | BinOp::Ne(_) => 6,
        BinOp::BitAnd(_) => 5,
        BinOp::BitXor(_) => 4,
        BinOp::BitOr(_) => 3,
        BinOp::And(_) => 2,
        _ => 1,
    }
}

/// `x.val().field`
/// The name of `self.name`, a signal of the block itself.
fn own_signal(e: &Expr) -> Option<String> {
    let Expr::Field(f) = e else { return None };
    match (&*f.base, &f.member) {
        (Expr::Path(p), Member::Named(n)) if p.path.is_ident("self") => Some(n.to_string()),
        _ => None,
    }
}

fn is_field_of_val(e: &Expr) -> bool {
    match e {
        Expr::Paren(p) => is_field_of_val(&p.expr),
        Expr::Field(f) => match &*f.base {
            Expr::MethodCall(m) => m.method == "val",
            base => is_field_of_val(base),
        },
        _ => false,
    }
}

/// Whether `bit_cast::<M, N>` widens (`M > N`); `None` when the widths are not literals.
fn cast_growth(segment: &syn::PathSegment) -> Option<bool> {
    let syn::PathArguments::AngleBracketed(args) = &segment.arguments else {
        return None;
    };
    let widths: Vec<u64> = args.args.iter().filter_map(literal_arg).collect();
    match widths[..] {
        [to, from] => Some(to > from),
        _ => None,
    }
}

fn literal_arg(arg: &syn::GenericArgument) -> Option<u64> {
    match arg {
        syn::GenericArgument::Const(Expr::Lit(l)) => match &l.lit {
            syn::Lit::Int(i) => i.base10_parse().ok(),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests;
