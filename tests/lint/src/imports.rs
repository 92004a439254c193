//! The names that a module uses from other modules: its `use` items and every path in its code.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, Macro, Meta, UseTree};

/// The segments of a path as written in the code, such as `["super", "files", "write"]`.
pub(crate) type Segments = Vec<String>;

/// The names that a module brings into scope and the paths that it uses.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    pub(crate) children: BTreeSet<String>,
    /// Maps each local name to the path in its `use` item.
    pub(crate) aliases: BTreeMap<String, Segments>,
    pub(crate) globs: Vec<Segments>,
    pub(crate) used: BTreeSet<Segments>,
}

/// Reads the imports of a module from its items. Leaves out inline child modules, because each
/// inline module is read as a separate module.
pub(crate) fn read(items: &[Item], children: Vec<String>) -> Imports {
    let mut reader = Reader {
        imports: Imports {
            children: children.into_iter().collect(),
            ..Imports::default()
        },
    };
    for item in items {
        reader.visit_item(item);
    }
    reader.imports
}

struct Reader {
    imports: Imports,
}

impl Reader {
    fn add_use(&mut self, tree: &UseTree, prefix: &[String]) {
        let with = |name: &str| {
            let mut path = prefix.to_vec();
            path.push(name.to_owned());
            path
        };
        match tree {
            UseTree::Path(path) => self.add_use(&path.tree, &with(&path.ident.to_string())),
            UseTree::Group(group) => group
                .items
                .iter()
                .for_each(|item| self.add_use(item, prefix)),
            UseTree::Glob(_) => self.imports.globs.push(prefix.to_vec()),
            UseTree::Name(name) if name.ident == "self" => {
                let Some(last) = prefix.last() else { return };
                self.imports.aliases.insert(last.clone(), prefix.to_vec());
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                self.add_alias(name.clone(), with(&name));
            }
            UseTree::Rename(rename) => {
                let path = if rename.ident == "self" {
                    prefix.to_vec()
                } else {
                    with(&rename.ident.to_string())
                };
                self.add_alias(rename.rename.to_string(), path);
            }
        }
    }

    fn add_alias(&mut self, name: String, path: Segments) {
        self.imports.used.insert(path.clone());
        // `use x as _` brings a trait's methods into scope, but no name.
        if name != "_" {
            self.imports.aliases.insert(name, path);
        }
    }

    /// Treats each run of `name :: name` as a path, because a macro's arguments are only tokens.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Segments = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.add_path(std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.add_path(std::mem::take(&mut path));
                    colons = 0;
                    self.add_tokens(group.stream());
                }
                _ => {
                    self.add_path(std::mem::take(&mut path));
                    colons = 0;
                }
            }
        }
        self.add_path(path);
    }

    fn add_path(&mut self, path: Segments) {
        if !path.is_empty() {
            self.imports.used.insert(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_test_only(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, _: &'ast ItemMod) {}

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_use(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add_path(
            path.segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect(),
        );
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.add_path(
            call.path
                .segments
                .iter()
                .map(|segment| segment.ident.to_string())
                .collect(),
        );
        self.add_tokens(call.tokens.clone());
    }
}

/// Returns whether an item has the attribute `#[cfg(test)]`.
pub(crate) fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}
