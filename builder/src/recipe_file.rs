//! The recipe of a long-running program, which rereads the recipe when the recipe's file changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use recipes::Recipe;

use crate::check;
use crate::text_file::{Fingerprint, fingerprint};

/// A recipe and its file. In this recipe, the nodes generate their own keys.
#[derive(Debug)]
pub(crate) struct RecipeFile {
    path: PathBuf,
    read: Mutex<(Fingerprint, Arc<Recipe>)>,
}

impl RecipeFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        // The fingerprint is taken before the content is read, so that the next call detects a
        // change between these two steps.
        let fingerprint = fingerprint(path);
        let recipe = read(path)?;
        let fingerprint = fingerprint.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            read: Mutex::new((fingerprint, Arc::new(recipe))),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the current recipe. If the file has changed and cannot be used, `report` receives
    /// the error once, and the earlier recipe stays in use. The earlier recipe also stays in use
    /// until `built` returns true for the changed recipe.
    pub(crate) fn current(
        &self,
        built: impl FnOnce(&Recipe) -> bool,
        report: impl FnOnce(&anyhow::Error),
    ) -> Arc<Recipe> {
        let mut kept = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        // Keep the earlier recipe if the file is missing, because an editor may be replacing the
        // file.
        let Some(found) = fingerprint(&self.path)
            .ok()
            .filter(|found| *found != kept.0)
        else {
            return Arc::clone(&kept.1);
        };
        match read(&self.path) {
            // No build has used the changed recipe yet, so the next call reads the file again.
            Ok(recipe) if !built(&recipe) => return Arc::clone(&kept.1),
            Ok(recipe) => kept.1 = Arc::new(recipe),
            Err(error) => report(&error.context(format!(
                "{} has changed and cannot be used: the earlier recipe stays in use",
                self.path.display()
            ))),
        }
        kept.0 = found;
        Arc::clone(&kept.1)
    }
}

fn read(path: &Path) -> Result<Recipe> {
    let recipe = check::checked_recipe(path, false)?.recipe;
    ensure!(
        !recipe.tls.keys.is_document(),
        "{}: the builder generates the keys of this cluster's nodes. Set `keys = \"node\"` in [tls] to let the nodes generate them",
        path.display()
    );
    Ok(recipe)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_changed_recipe_is_read_again_and_a_broken_recipe_is_reported_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        let text = |name: &str| {
            let text = include_str!("../../recipes/single-node.toml");
            format!("{text}\n[tls]\nkeys = \"node\"\n").replacen("etcd-1", name, 1)
        };
        fs::write(&path, text("etcd-1")).unwrap();
        let file = RecipeFile::open(&path).unwrap();
        let now = || {
            let mut errors = Vec::new();
            let recipe = file.current(|_| true, |error| errors.push(format!("{error:#}")));
            (recipe, errors)
        };
        let (first, errors) = now();
        assert!(errors.is_empty());
        assert!(
            Arc::ptr_eq(&first, &now().0),
            "the recipe is read for each request"
        );

        fs::write(&path, text("etcd-one")).unwrap();
        let unbuilt = file.current(|_| false, |error| panic!("{error:#}"));
        assert!(
            Arc::ptr_eq(&first, &unbuilt),
            "the changed recipe is used before its build"
        );
        assert_eq!(now().0.nodes[0].name.as_str(), "etcd-one");
        for broken in ["", include_str!("../../recipes/single-node.toml")] {
            fs::write(&path, broken).unwrap();
            let (recipe, errors) = now();
            assert_eq!(recipe.nodes[0].name.as_str(), "etcd-one");
            assert!(errors[0].contains("the earlier recipe stays"), "{errors:?}");
            assert!(now().1.is_empty(), "the error is reported again");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(now().0.nodes[0].name.as_str(), "etcd-one");
        fs::write(&path, text("etcd-two")).unwrap();
        assert_eq!(now().0.nodes[0].name.as_str(), "etcd-two");
    }
}
