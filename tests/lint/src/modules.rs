//! The module tree of one crate, read from its files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use syn::{Attribute, Expr, Item, Lit, Meta, MetaNameValue};

use crate::imports::{self, Imports, is_test_only};

/// A module's path from the crate root; the path of the root is empty.
pub(crate) type ModulePath = Vec<String>;

/// A module, with its file and its imports.
#[derive(Debug)]
pub(crate) struct Module {
    /// The file that contains the module; an inline module is in its parent's file.
    pub(crate) file: PathBuf,
    pub(crate) imports: Imports,
}

/// All modules of one crate except those compiled only for tests.
#[derive(Debug)]
pub(crate) struct CrateMap {
    pub(crate) modules: BTreeMap<ModulePath, Module>,
}

impl CrateMap {
    /// Reads the crate whose root file is `root`.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let mut map = Self {
            modules: BTreeMap::new(),
        };
        let folder = root.parent().context("the crate root is not in a folder")?;
        map.load_file(root, folder, Vec::new())?;
        Ok(map)
    }

    /// Loads a module from its file; `folder` contains the files of its child modules.
    fn load_file(&mut self, file: &Path, folder: &Path, path: ModulePath) -> Result<()> {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let parsed =
            syn::parse_file(&text).with_context(|| format!("{}: not Rust", file.display()))?;
        self.load_items(&parsed.items, file, folder, path)
    }

    fn load_items(
        &mut self,
        items: &[Item],
        file: &Path,
        folder: &Path,
        path: ModulePath,
    ) -> Result<()> {
        let mut children = Vec::new();
        for item in items {
            let Item::Mod(module) = item else { continue };
            if is_test_only(&module.attrs) {
                continue;
            }
            let name = module.ident.to_string();
            let mut child = path.clone();
            child.push(name.clone());
            let child_folder = folder.join(&name);
            if let Some((_, items)) = &module.content {
                self.load_items(items, file, &child_folder, child)?;
            } else if let Some(other) = path_attribute(&module.attrs) {
                let other = file.parent().unwrap_or(file).join(other);
                let other_folder = other.parent().unwrap_or(&other).to_path_buf();
                self.load_file(&other, &other_folder, child)?;
            } else {
                self.load_file(&module_file(folder, &name)?, &child_folder, child)?;
            }
            children.push(name);
        }
        let imports = imports::read(items, children);
        self.modules.insert(
            path,
            Module {
                file: file.to_path_buf(),
                imports,
            },
        );
        Ok(())
    }
}

/// Returns the file that `#[path = "…"]` names, relative to the folder of the file that contains
/// the attribute.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes
        .iter()
        .find_map(|attribute| match &attribute.meta {
            Meta::NameValue(MetaNameValue {
                path,
                value: Expr::Lit(value),
                ..
            }) if path.is_ident("path") => match &value.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        })
}

fn module_file(folder: &Path, name: &str) -> Result<PathBuf> {
    let candidates = [
        folder.join(format!("{name}.rs")),
        folder.join(name).join("mod.rs"),
    ];
    match candidates.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => bail!("no file for the module {name} in {}", folder.display()),
    }
}
