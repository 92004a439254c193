//! Finds files of one crate that import each other in a cycle.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::imports::Segments;
use crate::modules::{CrateMap, ModulePath};

/// The names that each file imports from every other file.
type Graph = BTreeMap<PathBuf, BTreeMap<PathBuf, BTreeSet<String>>>;

/// A set of files that import each other in a cycle, directly or through other files.
#[derive(Debug)]
pub(crate) struct Cycle {
    /// The imports between the cycle's files.
    graph: Graph,
}

impl Cycle {
    /// Describes the cycle: each of its imports, with the names that are imported.
    pub(crate) fn describe(&self, workspace: &Path) -> String {
        let shown = |path: &Path| {
            path.strip_prefix(workspace)
                .unwrap_or(path)
                .display()
                .to_string()
        };
        let mut text = format!("{} files import each other in a cycle:", self.graph.len());
        for (file, targets) in &self.graph {
            for (target, names) in targets {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let _ = write!(
                    text,
                    "\n  {} imports {} from {}",
                    shown(file),
                    names.join(", "),
                    shown(target)
                );
            }
        }
        text
    }
}

/// Finds every cycle in the crate, with all files that are part of the cycle.
pub(crate) fn find(map: &CrateMap) -> Vec<Cycle> {
    let mut graph = graph(map);
    let mut cycles = Vec::new();
    while let Some((start, _)) = graph.first_key_value() {
        let start = start.clone();
        let reached = reachable(&graph, &start);
        let files: BTreeSet<PathBuf> = reached
            .iter()
            .filter(|file| reachable(&graph, file).contains(&start))
            .cloned()
            .collect();
        if !files.is_empty() {
            cycles.push(Cycle {
                graph: within(&graph, &files),
            });
        }
        graph.retain(|file, _| *file != start && !files.contains(file));
    }
    cycles
}

/// Returns only those imports whose two files are both in this set.
fn within(graph: &Graph, files: &BTreeSet<PathBuf>) -> Graph {
    let kept = graph.iter().filter(|(file, _)| files.contains(*file));
    kept.map(|(file, targets)| {
        let targets = targets.iter().filter(|(target, _)| files.contains(*target));
        (
            file.clone(),
            targets
                .map(|(target, names)| (target.clone(), names.clone()))
                .collect(),
        )
    })
    .collect()
}

fn reachable(graph: &Graph, from: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut todo = vec![from.to_path_buf()];
    while let Some(file) = todo.pop() {
        for target in graph.get(&file).into_iter().flat_map(BTreeMap::keys) {
            if found.insert(target.clone()) {
                todo.push(target.clone());
            }
        }
    }
    found
}

fn graph(map: &CrateMap) -> Graph {
    let mut graph = Graph::new();
    for (path, module) in &map.modules {
        for used in module.imports.used.iter().chain(&module.imports.globs) {
            let Some((target, name)) = resolve(map, path, used, 0) else {
                continue;
            };
            let file = &map.modules[&target].file;
            if *file != module.file {
                graph
                    .entry(module.file.clone())
                    .or_default()
                    .entry(file.clone())
                    .or_default()
                    .insert(name);
            }
        }
    }
    graph
}

/// Finds the definition to which the path `used` refers in the module `from`. Returns the module
/// that contains the definition, and the definition's name there. Returns `None` if the name comes
/// from another crate, or if `used` names a module and not a definition in a module.
fn resolve(
    map: &CrateMap,
    from: &ModulePath,
    used: &Segments,
    depth: usize,
) -> Option<(ModulePath, String)> {
    // Limit the depth, because two modules that re-export each other's names by globs would
    // otherwise cause an endless recursion.
    if depth > 16 {
        return None;
    }
    let (mut at, mut rest) = start(map, from, used)?;
    loop {
        let (name, after) = rest.split_first()?;
        let module = map.modules.get(&at)?;
        if module.imports.children.contains(name) {
            at.push(name.clone());
            rest = after.to_vec();
            continue;
        }
        let Some(alias) = module.imports.aliases.get(name) else {
            return Some((at, name.clone()));
        };
        let whole: Segments = alias.iter().chain(after).cloned().collect();
        return resolve(map, &at, &whole, depth + 1);
    }
}

/// Returns the module at which a path starts, and the rest of the path.
fn start(map: &CrateMap, from: &ModulePath, used: &Segments) -> Option<(ModulePath, Segments)> {
    let (first, rest) = used.split_first()?;
    let mut at = from.clone();
    match first.as_str() {
        "crate" => return Some((Vec::new(), rest.to_vec())),
        "self" => return Some((at, rest.to_vec())),
        "super" => {
            at.pop();
            let mut rest = rest.to_vec();
            while rest.first().is_some_and(|name| name == "super") {
                at.pop();
                rest.remove(0);
            }
            return Some((at, rest));
        }
        _ => {}
    }
    let imports = &map.modules.get(from)?.imports;
    // If an alias has the same name as the first segment of its path (`use anyhow::anyhow`), that
    // segment is the name of a different crate.
    let own = imports.children.contains(first)
        || imports
            .aliases
            .get(first)
            .is_some_and(|alias| alias[0] != *first);
    own.then(|| (at, used.clone()))
}
