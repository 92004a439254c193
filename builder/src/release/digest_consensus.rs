//! Compares the three sources of a release's digest: the recipe, the project's table, and the
//! SHA256SUMS of a mirror or of the operator. All sources that state a digest must agree.

use std::fmt;

use recipes::{EtcdVersion, Sha256};

/// The digest that the SHA256SUMS file of a mirror or of the operator states for the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatedDigest {
    /// The URL or path of the SHA256SUMS.
    pub(crate) place: String,
    /// The stated digest.
    pub(crate) sha256: Sha256,
}

/// A disagreement between the sources. The message contains all digests, the outlier if there is
/// one, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disagreement {
    version: EtcdVersion,
    recipe: Sha256,
    known: Option<Sha256>,
    sums: Option<StatedDigest>,
}

/// The source that contradicts the other sources, as far as the digests show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outlier {
    /// The recipe contradicts the table and SHA256SUMS.
    Recipe,
    /// The project's table contradicts the recipe and SHA256SUMS.
    Table,
    /// SHA256SUMS contradicts the recipe and the table.
    Sums,
    /// Only the recipe and the table state a digest, and they differ.
    RecipeOrTable,
    /// Only the recipe and SHA256SUMS state a digest, and they differ.
    RecipeOrSums,
    /// All three sources differ.
    All,
}

/// Compares the stated digests. The table may lack the version, and there may be no SHA256SUMS. A
/// source without a digest does not contradict the other sources.
pub(crate) fn compare(
    version: EtcdVersion,
    recipe: Sha256,
    known: Option<Sha256>,
    sums: Option<&StatedDigest>,
) -> Result<(), Box<Disagreement>> {
    if known.is_none_or(|known| known == recipe) && sums.is_none_or(|voice| voice.sha256 == recipe)
    {
        return Ok(());
    }
    Err(Box::new(Disagreement {
        version,
        recipe,
        known,
        sums: sums.cloned(),
    }))
}

impl Disagreement {
    /// Returns the source that contradicts the other sources, as far as the digests show this.
    pub(crate) fn outlier(&self) -> Outlier {
        let sums = self.sums.as_ref().map(|voice| voice.sha256);
        match (self.known, sums) {
            (Some(known), Some(sums)) if known == sums => Outlier::Recipe,
            (Some(known), Some(_)) if known == self.recipe => Outlier::Sums,
            (Some(_), Some(sums)) if sums == self.recipe => Outlier::Table,
            (Some(_), Some(_)) => Outlier::All,
            (None, _) => Outlier::RecipeOrSums,
            (_, None) => Outlier::RecipeOrTable,
        }
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (who, remedy) = match self.outlier() {
            Outlier::Recipe => (
                "the recipe differs from the two other sources",
                "correct [etcd] sha256 in the recipe: it may belong to another version or architecture",
            ),
            Outlier::Table => (
                "the builder's own table differs from the two other sources",
                "upstream may have replaced this release: ask upstream before you trust either \
                 digest, or use another version",
            ),
            Outlier::Sums => (
                "SHA256SUMS differs from the two other sources",
                "this SHA256SUMS is not upstream's: if it is from a mirror, remove the mirror from \
                 [etcd] mirrors, and inform its owner",
            ),
            Outlier::RecipeOrTable => (
                "the recipe and the builder's own table differ",
                "compare [etcd] version and sha256 in the recipe with upstream's SHA256SUMS of that version",
            ),
            Outlier::RecipeOrSums => (
                "the recipe and SHA256SUMS differ",
                "compare [etcd] version and sha256 in the recipe with upstream's SHA256SUMS from another mirror",
            ),
            Outlier::All => (
                "all three sources differ",
                "correct the recipe first, then try another mirror",
            ),
        };
        writeln!(
            f,
            "the digests of etcd {} linux-amd64 disagree: {who}",
            self.version
        )?;
        writeln!(f, "  {}  the recipe", self.recipe)?;
        match self.known {
            Some(known) => writeln!(
                f,
                "  {known}  the table of upstream digests in this builder"
            )?,
            None => writeln!(
                f,
                "  (the table of upstream digests in this builder does not contain this version)"
            )?,
        }
        match &self.sums {
            Some(voice) => writeln!(f, "  {}  {}", voice.sha256, voice.place)?,
            None => writeln!(f, "  (no SHA256SUMS was consulted)")?,
        }
        write!(f, "the release was not used; {remedy}")
    }
}

impl std::error::Error for Disagreement {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_names_the_source_that_differs() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|text| Sha256::of(text));
        for (known, sums, odd) in [
            (None, None, None),
            (Some(a), None, None),
            (None, Some(a), None),
            (Some(a), Some(a), None),
            (Some(b), None, Some(Outlier::RecipeOrTable)),
            (None, Some(b), Some(Outlier::RecipeOrSums)),
            (Some(b), Some(a), Some(Outlier::Table)),
            (Some(a), Some(b), Some(Outlier::Sums)),
            (Some(b), Some(b), Some(Outlier::Recipe)),
            (Some(b), Some(c), Some(Outlier::All)),
        ] {
            let voice = sums.map(|sha256| StatedDigest {
                place: "http://mirror.test/SHA256SUMS".to_owned(),
                sha256,
            });
            let result = compare("3.6.14".parse().unwrap(), a, known, voice.as_ref());
            assert_eq!(
                result.as_ref().err().map(|error| error.outlier()),
                odd,
                "{known:?} {sums:?}"
            );
            if let Err(disagreement) = result {
                let text = disagreement.to_string();
                for value in [Some(a), known, sums].into_iter().flatten() {
                    assert!(text.contains(&value.to_string()), "{text}");
                }
            }
        }
    }
}
