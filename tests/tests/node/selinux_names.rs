//! Tests that every name in the SELinux module for etcd, except in its optional block, exists in
//! CentOS 7's own policy. semodule refuses a module with an unknown name, and then the installation
//! fails. policy-el7.txt lists the source of each name.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Trial;
use tests::harness::trial;

const MODULE: &str = include_str!("../../../kickstart/overlay/usr/share/selinux/packages/etcd.cil");
const POLICY: &str = include_str!("policy-el7.txt");

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "the_selinux_module_uses_only_names_of_the_el7_policy",
            &[],
            module,
        ),
        trial("a_name_missing_from_the_el7_policy_is_found", &[], strange),
    ]
}

fn module() -> Result<()> {
    let absent = absent(MODULE)?;
    // The statements with the permission `map` are in an optional block of their own. If a name in
    // an optional block does not exist, semodule omits the block.
    ensure!(
        absent.optional == BTreeSet::from(["permission file map".to_owned()]),
        "{absent:?}"
    );
    ensure!(absent.needed.is_empty(), "{absent:?}");
    let named = MODULE.matches("(allow ").count();
    ensure!(named > 50, "only {named} rules were read");
    Ok(())
}

fn strange() -> Result<()> {
    for (text, name) in [
        ("(allow init_t etcd2_t (file (read)))", "type etcd2_t"),
        (
            "(allow init_t self (file (read map)))",
            "permission file map",
        ),
        ("(allow init_t self (bpf (prog_run)))", "class bpf"),
        (
            "(typeattributeset file_types (init_t))",
            "attribute file_types",
        ),
        ("(roletype staff_r init_t)", "role staff_r"),
        (
            "(filecon \"/a\" file (system_v object_r init_t ((s0) (s0))))",
            "user system_v",
        ),
    ] {
        let absent = absent(text)?.needed;
        ensure!(
            absent == BTreeSet::from([name.to_owned()]),
            "{text}: {absent:?}"
        );
    }
    ensure!(
        absent("(block own)").is_err(),
        "the parser accepts an unknown statement"
    );
    Ok(())
}

/// The names in the module that CentOS 7's policy does not contain. `optional` contains the names
/// from `(optional …)` blocks, and `needed` contains all other missing names.
#[derive(Debug, Default)]
struct Absent {
    needed: BTreeSet<String>,
    optional: BTreeSet<String>,
}

fn absent(module: &str) -> Result<Absent> {
    let mut known: BTreeSet<String> = BTreeSet::new();
    let mut classes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in POLICY.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind, name, _, rest @ ..] = words.as_slice() else {
            bail!("the table has {line:?}")
        };
        known.insert(format!("{kind} {name}"));
        if *kind == "class" {
            classes.insert(name, rest.iter().copied().collect());
        }
    }
    let statements = read(module)?;
    let own = statements
        .iter()
        .filter_map(|statement| match statement.list() {
            [Item::Word("type"), Item::Word(name)] => Some(format!("type {name}")),
            _ => None,
        });
    known.extend(own.collect::<Vec<_>>());
    known.insert("type self".to_owned());
    let mut absent = Absent::default();
    for statement in &statements {
        let (inside, out) = match statement.list() {
            [Item::Word("optional"), Item::Word(_), inside @ ..] => (inside, &mut absent.optional),
            _ => (std::slice::from_ref(statement), &mut absent.needed),
        };
        for name in inside
            .iter()
            .map(names)
            .collect::<Result<Vec<_>>>()?
            .concat()
        {
            let there = match name
                .strip_prefix("permission ")
                .and_then(|pair| pair.split_once(' '))
            {
                Some((class, permission)) => classes
                    .get(class)
                    .is_none_or(|known| known.contains(permission)),
                None => known.contains(&name),
            };
            if !there {
                out.insert(name);
            }
        }
    }
    Ok(absent)
}

/// Returns the names in a statement, each together with its kind.
fn names(statement: &Item) -> Result<Vec<String>> {
    use Item::Word;
    let words = |kind: &str, item: &Item| {
        item.words()
            .iter()
            .map(|word| format!("{kind} {word}"))
            .collect::<Vec<_>>()
    };
    let context = |context: &Item| match context.list() {
        [user, role, name, _] => Ok([
            words("user", user),
            words("role", role),
            words("type", name),
        ]
        .concat()),
        _ => bail!("no context: {context:?}"),
    };
    Ok(match statement.list() {
        [Word("type"), Word(_)] => vec![],
        [Word("roletype"), role, name] => [words("role", role), words("type", name)].concat(),
        [Word("typeattributeset"), attribute, types] => {
            [words("attribute", attribute), words("type", types)].concat()
        }
        [Word("typetransition"), from, to, class, name] => [
            words("type", from),
            words("type", to),
            words("class", class),
            words("type", name),
        ]
        .concat(),
        [Word("allow"), from, to, Item::List(rights)] => {
            let [class @ Word(of), permissions] = rights.as_slice() else {
                bail!("{statement:?}")
            };
            let permissions = words(&format!("permission {of}"), permissions);
            [
                words("type", from),
                words("type", to),
                words("class", class),
                permissions,
            ]
            .concat()
        }
        [Word("portcon" | "filecon"), _, _, name] => context(name)?,
        _ => bail!("this test cannot read the statement {statement:?}"),
    })
}

/// A word, or a list in parentheses.
#[derive(Debug, Clone)]
enum Item<'a> {
    Word(&'a str),
    List(Vec<Item<'a>>),
}

impl<'a> Item<'a> {
    fn list(&self) -> &[Item<'a>] {
        match self {
            Item::Word(_) => &[],
            Item::List(items) => items,
        }
    }

    fn words(&self) -> Vec<&'a str> {
        match self {
            Item::Word(word) => vec![word],
            Item::List(items) => items.iter().flat_map(Item::words).collect(),
        }
    }
}

/// Parses a module's statements. No string in the module contains a space, an unclosed parenthesis,
/// or a semicolon.
fn read(text: &str) -> Result<Vec<Item<'_>>> {
    let mut open = vec![Vec::new()];
    for line in text.lines() {
        let mut rest = line.split(';').next().unwrap_or_default();
        while let Some(first) = rest.trim_start().chars().next() {
            rest = rest.trim_start();
            let length = match first {
                '(' | ')' => 1,
                '"' => rest[1..].find('"').context("a string does not end")? + 2,
                _ => rest.find(['(', ')', ' ']).unwrap_or(rest.len()),
            };
            let (word, after) = rest.split_at(length);
            rest = after;
            match word {
                "(" => open.push(Vec::new()),
                ")" => {
                    let items = open.pop().context("there is an unmatched parenthesis")?;
                    open.last_mut()
                        .context("there is an unmatched parenthesis")?
                        .push(Item::List(items));
                }
                word => open
                    .last_mut()
                    .context("there is an unmatched parenthesis")?
                    .push(Item::Word(word)),
            }
        }
    }
    ensure!(open.len() == 1, "a parenthesis is not closed");
    open.pop().context("nothing")
}
