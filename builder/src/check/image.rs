//! Checks a recipe, all files that are rendered from it, and the user's files.

use std::path::Path;

use anyhow::{Context as _, Result};
use recipes::recipe::{AuthorityFiles, Etcd, Tls};
use recipes::{Diagnostic, Recipe, Severity};
use time::OffsetDateTime;

use super::checker::check_with_bash;
use super::file::{File, Kind};
use super::finding::Finding;
use super::origin;
use super::report::{CheckedFile, Report};
use crate::files::{self, UserFile};
use crate::pki::{self, Authority, Lifetimes};
use crate::{release, render, text_file};

/// A recipe that passed the checks.
#[derive(Debug)]
pub(crate) struct CheckedRecipe {
    /// The text of the recipe.
    pub(crate) text: String,
    pub(crate) recipe: Recipe,
    /// The files that the user adds.
    pub(crate) user_files: Vec<UserFile>,
}

/// Reads and checks a recipe, and prints all findings on standard error. Fails if a finding stops a
/// build.
pub(crate) fn checked_recipe(path: &Path, strict: bool) -> Result<CheckedRecipe> {
    let (report, checked) = check_recipe(path)?;
    report.show();
    report.verdict(strict, "nothing was built")?;
    checked.context("a recipe without errors could not be read; this is a bug")
}

/// Checks a recipe, all files that are rendered from it, and the user's files.
pub(super) fn check_recipe(path: &Path) -> Result<(Report, Option<CheckedRecipe>)> {
    let text = text_file::read(path, "a recipe; `builder init` writes one")?;
    let reading = recipes::recipe::read(&text);
    let mut recipe_findings = reading.findings;
    let (mut files, mut traced) = (Vec::new(), Vec::new());
    let mut checked = None;
    if let Some(recipe) = reading.recipe {
        let folder = path.parent().unwrap_or(Path::new(""));
        let (user_files, wrong) = files::read(&recipe, folder);
        recipe_findings.extend(wrong);
        recipe_findings.extend(authority(&recipe.tls, folder));
        recipe_findings.extend(digest(&recipe.etcd));
        recipe_findings.extend(render::contradictions(&recipe)?);
        (files, traced) = rendered(&recipe, &user_files, &mut recipe_findings)?;
        checked = Some(CheckedRecipe {
            text: text.clone(),
            recipe,
            user_files,
        });
    }
    let failed = recipe_findings
        .iter()
        .any(|finding| finding.severity == Severity::Error);
    let recipe_findings = recipe_findings.into_iter().map(|diagnostic| Finding {
        rule: "recipe",
        diagnostic,
    });
    let mut findings: Vec<Finding> = recipe_findings.chain(traced).collect();
    findings.sort_by_key(|finding| finding.diagnostic.span.start);
    files.insert(
        0,
        CheckedFile {
            shown: path.display().to_string(),
            text,
            findings,
        },
    );
    Ok((Report(files), checked.filter(|_| !failed)))
}

/// Checks the certificate file and the key file of the CA that the recipe names.
fn authority(tls: &Tls, folder: &Path) -> Vec<Diagnostic> {
    let (Some(AuthorityFiles { cert, key }), authority) =
        (&tls.authority, Authority::of(tls, folder))
    else {
        return Vec::new();
    };
    match authority.check(Lifetimes::from(tls), OffsetDateTime::now_utc()) {
        Ok(events) => {
            let warning =
                |event: pki::Event| Diagnostic::warning(cert.span.clone(), event.to_string());
            events.into_iter().map(warning).collect()
        }
        Err(error) => {
            let file = if error.path() == folder.join(&key.source) {
                key
            } else {
                cert
            };
            vec![Diagnostic::error(file.span.clone(), error.to_string())]
        }
    }
}

/// Checks the digest against the table of upstream's releases. The build refuses a digest that
/// contradicts this table.
fn digest(etcd: &Etcd) -> Option<Diagnostic> {
    let (version, known) = (etcd.settings.version, release::known(etcd.settings.version));
    let other = release::version_of(etcd.sha256).filter(|other| *other != version);
    if other.is_none() && known.is_none_or(|known| known == etcd.sha256) {
        return None;
    }
    let message = format!("`sha256` is not the digest that upstream publishes for etcd {version}");
    let mut finding = Diagnostic::error(etcd.sha256_span.clone(), message);
    if let Some(other) = other {
        finding = finding.label(format!("this is the digest of etcd {other}"));
    }
    Some(match known {
        Some(known) => finding.help(format!("write sha256 = \"{known}\"")),
        None => finding.help(format!(
            "copy the digest from upstream's SHA256SUMS for etcd-v{version}-linux-amd64.tar.gz"
        )),
    })
}

/// Checks the kickstart and every file of the overlay. Returns the files that have findings, and
/// the findings whose cause is a key of the recipe, at the position of this key. A file that cannot
/// be added to the image is reported as a finding about the recipe.
fn rendered(
    recipe: &Recipe,
    user_files: &[UserFile],
    recipe_findings: &mut Vec<Diagnostic>,
) -> Result<(Vec<CheckedFile>, Vec<Finding>)> {
    let overlay = render::overlay(recipe)?;
    // The digest of the overlay is known only after the overlay is packed. A placeholder is
    // sufficient here, because every digest has the same form.
    let kickstart = render::kickstart(recipe, render::OverlayDigests::NONE)?;
    let mut files = vec![File {
        shown: "image/centos7.ks".into(),
        path: "centos7.ks".into(),
        text: &kickstart,
        mode: None,
    }];
    files.extend(overlay.iter().map(|file| File {
        shown: format!("image:/{}", file.path),
        path: format!("/{}", file.path),
        text: &file.content,
        mode: Some(file.mode),
    }));
    let rendered = files.len();
    let mut places = std::collections::BTreeSet::new();
    for file in user_files {
        let path = format!("/{}", file.path);
        recipe_findings.extend(conflict_findings(file, &path, &files, rendered));
        places.insert(path.clone());
        let text = match std::str::from_utf8(&file.bytes) {
            Ok(text) => text,
            Err(error) if Kind::of(&path).is_some() => {
                let message = format!(
                    "{} is not UTF-8 at byte {}",
                    file.source.display(),
                    error.valid_up_to()
                );
                recipe_findings.push(
                    Diagnostic::error(file.span.clone(), message).help("save the file as UTF-8"),
                );
                continue;
            }
            // A file that is not checked, such as a program, need not be UTF-8.
            Err(_) => "",
        };
        files.push(File {
            shown: file.source.display().to_string(),
            path,
            text,
            mode: Some(file.mode),
        });
    }
    let findings = check_with_bash(&files, true);
    Ok(traced(recipe, files, findings, rendered))
}

/// Separates the findings whose cause is a key of the recipe from the other findings. The first
/// `rendered` files in `files` are rendered from the recipe. See [`rendered`] for the result.
fn traced(
    recipe: &Recipe,
    files: Vec<File<'_>>,
    findings: Vec<Vec<Finding>>,
    rendered: usize,
) -> (Vec<CheckedFile>, Vec<Finding>) {
    let (mut checked, mut traced) = (Vec::new(), Vec::new());
    for (index, (file, mut findings)) in files.into_iter().zip(findings).enumerate() {
        if index < rendered {
            findings.retain_mut(|finding| {
                let Some(span) = origin::in_recipe(recipe, &file, finding) else {
                    return true;
                };
                finding.diagnostic.span = span;
                traced.push(finding.clone());
                false
            });
        }
        if !findings.is_empty() {
            checked.push(CheckedFile {
                shown: file.shown,
                text: file.text.to_owned(),
                findings,
            });
        }
    }
    (checked, traced)
}

/// Returns findings if a user's file has the path of one of the image's own files, or if the path
/// of one file is a folder in the path of another file. The first `rendered` files in `files` are
/// the image's own files.
fn conflict_findings(
    file: &UserFile,
    path: &str,
    files: &[File<'_>],
    rendered: usize,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    if files[..rendered]
        .iter()
        .any(|rendered_file| rendered_file.path == path)
    {
        let finding = Diagnostic::error(
            file.span.clone(),
            format!("{path} is one of the image's own files"),
        );
        findings.push(finding.help(separate_file(path)));
    }
    let below = |other: &str| {
        other.starts_with(&format!("{path}/")) || path.starts_with(&format!("{other}/"))
    };
    if let Some(other) = files
        .iter()
        .find(|other| other.path.starts_with('/') && below(&other.path))
    {
        let message = format!(
            "{path} and {} cannot both exist, because one is a folder in the path of the other",
            other.path
        );
        findings.push(Diagnostic::error(file.span.clone(), message));
    }
    findings
}

/// Returns advice on how to change settings without replacing the image's own file `path`.
fn separate_file(path: &str) -> String {
    let zone = path
        .strip_prefix("/etc/firewalld/zones/")
        .and_then(|name| name.strip_suffix(".xml"));
    match zone {
        // firewalld 0.6.3, core/fw.py, _loader.
        Some(zone) => format!(
            "add the file /etc/firewalld/zones/{zone}/NAME.xml, because firewalld combines the \
             files in that folder with {zone}.xml; or change [firewall] in the recipe"
        ),
        None => "add a separate file such as a drop-in, or change the setting through the \
                 sections of the recipe"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_for_a_file_of_the_image_names_a_file_that_works() {
        let help = |path: &str| {
            let own = File {
                shown: path.to_owned(),
                path: path.to_owned(),
                text: "",
                mode: None,
            };
            let file = UserFile {
                path: path.trim_start_matches('/').to_owned(),
                source: "own".into(),
                bytes: Vec::new(),
                mode: 0o644,
                owner: 0,
                span: 0..0,
            };
            let findings = conflict_findings(&file, path, &[own], 1);
            findings[0].help.clone().unwrap()
        };
        let zone = help("/etc/firewalld/zones/etcd.xml");
        assert!(
            zone.contains("/etc/firewalld/zones/etcd/NAME.xml"),
            "{zone}"
        );
        let unit = help("/etc/systemd/system/etcd.service");
        assert!(unit.contains("a drop-in"), "{unit}");
    }

    fn findings(version: &str, sha256: &str) -> Vec<String> {
        let text = include_str!("../../../recipes/single-node.toml").replace("3.6.14", version);
        let text: String = text
            .lines()
            .map(|line| {
                if line.starts_with("sha256") {
                    format!("sha256 = \"{sha256}\"\n")
                } else {
                    format!("{line}\n")
                }
            })
            .collect();
        let etcd = recipes::recipe::read(&text).recipe.unwrap().etcd;
        let shown = |finding: Diagnostic| {
            assert_eq!(&text[finding.span.clone()], format!("\"{sha256}\""));
            format!(
                "{} | {} | {}",
                finding.message,
                finding.label,
                finding.help.unwrap_or_default()
            )
        };
        digest(&etcd).map(shown).into_iter().collect()
    }

    #[test]
    fn a_digest_of_another_release_is_found() {
        let of = |version: &str| {
            release::known(version.parse().unwrap())
                .unwrap()
                .to_string()
        };
        assert_eq!(findings("3.6.14", &of("3.6.14")), [""; 0]);
        let wrong = findings("3.6.14", &of("3.6.13"));
        assert!(
            wrong[0].contains("not the digest that upstream publishes for etcd 3.6.14"),
            "{wrong:?}"
        );
        assert!(
            wrong[0].contains("| this is the digest of etcd 3.6.13 | write sha256 = \"ffe840ff"),
            "{wrong:?}"
        );
        let unknown = findings("3.6.14", &"7".repeat(64));
        assert!(
            unknown[0].contains("|  | write sha256 = \"ffe840ff"),
            "{unknown:?}"
        );
        // The table does not contain 3.5.1.
        assert_eq!(findings("3.5.1", &"7".repeat(64)), [""; 0]);
        let other = findings("3.5.1", &of("3.6.14"));
        assert!(
            other[0].contains(
                "this is the digest of etcd 3.6.14 | copy the digest from upstream's SHA256SUMS"
            ),
            "{other:?}"
        );
    }

    /// Returns the rules of the findings about the rendered files, each with the text of the recipe
    /// to which the finding points. Fails if a finding points to a rendered file.
    fn in_recipe(more: &str) -> Vec<(&'static str, String)> {
        let single = include_str!("../../../recipes/single-node.toml");
        let text = format!("{single}\n{more}");
        let reading = recipes::recipe::read(&text);
        let recipe = reading.recipe.expect("no errors");
        let (files, found) = rendered(&recipe, &[], &mut Vec::new()).unwrap();
        assert!(files.is_empty(), "{files:?}");
        let shown = |finding: Finding| (finding.rule, text[finding.diagnostic.span].to_owned());
        found.into_iter().map(shown).collect()
    }

    #[test]
    fn a_finding_that_a_key_of_the_recipe_causes_points_to_this_key() {
        for (line, rule, place) in [
            (
                "\"vm.swapiness\" = 1",
                "sysctl/unknown-key",
                "\"vm.swapiness\"",
            ),
            ("\"vm.swappiness\" = \"no\"", "sysctl/value", "\"no\""),
            // Each of these two findings compares the recipe's key with a key that the profile
            // sets.
            ("\"vm.dirty_ratio\" = 3", "sysctl/dirty", "3"),
            ("\"vm.dirty_background_ratio\" = 90", "sysctl/dirty", "90"),
        ] {
            let found = in_recipe(&format!(
                "[tuning.sysctl]\n\"kernel.pid_max\" = 99999\n{line}\n"
            ));
            assert_eq!(found, [(rule, place.to_owned())], "{line}");
        }
        let tuned = in_recipe("[install]\npackages = [\"tmux\", \"tuned\"]\n");
        assert!(!tuned.is_empty());
        for found in tuned {
            assert_eq!(found, ("sysctl/tuned", "\"tuned\"".to_owned()));
        }
        let module = in_recipe("[install]\npackages = [\"tmux\", \"@nodejs:12\"]\n");
        assert_eq!(module, [("kickstart/module", "\"@nodejs:12\"".to_owned())]);
        assert_eq!(in_recipe(""), []);
    }
}
