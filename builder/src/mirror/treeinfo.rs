//! `.treeinfo`, which lists the files of an installation tree that are not packages.

use std::collections::BTreeMap;

use recipes::Sha256;

use super::metadata::ListedFile;
use super::path::RelativePath;

/// The installer's kernel and initrd, which the boot loaders load.
const BOOT: [&str; 2] = ["images/pxeboot/vmlinuz", "images/pxeboot/initrd.img"];
/// The installer's second stage, unless `.treeinfo` names another file (dracut/anaconda-lib.sh).
const STAGE2: &str = "LiveOS/squashfs.img";
/// Images that modify the installer. The installer fetches these images if they exist
/// (dracut/anaconda-lib.sh).
const OPTIONAL: [&str; 2] = ["images/updates.img", "images/product.img"];

/// The contents of a `.treeinfo`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TreeInfo {
    /// The files that an installation fetches and whose digests are listed.
    pub(super) files: Vec<ListedFile>,
    /// The files that an installation needs and whose digests are not listed. CentOS 7's trees are
    /// made by lorax, which lists no digests; RHEL 7's trees are made by productmd, which lists
    /// digests.
    pub(super) unlisted: Vec<RelativePath>,
    /// The digest that `.treeinfo` lists for the tree's repomd.xml.
    pub(super) repomd_sha256: Option<Sha256>,
}

/// Returns the path of the installer's second stage, according to the text of a `.treeinfo`.
pub(crate) fn stage2(text: &str) -> &str {
    let mut section = "";
    for line in text.lines().map(str::trim) {
        if let Some((name, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            section = name;
        } else if let ("stage2", Some((key, value))) = (section, line.split_once('='))
            && key.trim() == "mainimage"
        {
            // dracut uses the first `mainimage` (dracut/anaconda-lib.sh, config_get).
            return value.trim();
        }
    }
    STAGE2
}

/// Reads a `.treeinfo`, which consists of sections with lines `key = value`.
pub(super) fn read(text: &str) -> Result<TreeInfo, String> {
    let mut section = "";
    let mut has_sections = false;
    let mut digests: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some((name, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            (section, has_sections) = (name, true);
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        match section {
            "checksums" if *digests.entry(key).or_insert(value) != value => {
                return Err(format!("{key} is listed twice, with different digests"));
            }
            _ => {}
        }
    }
    if !has_sections {
        return Err("it is not a .treeinfo file, because it has no section".to_owned());
    }
    let needed = BOOT.into_iter().chain([stage2(text)]);
    let (mut files, mut unlisted) = (Vec::new(), Vec::new());
    for (path, is_needed) in needed
        .map(|path| (path, true))
        .chain(OPTIONAL.map(|path| (path, false)))
    {
        let sha256 = digest(&digests, path)?;
        let path: RelativePath = path.parse()?;
        // Packages and metadata have their own lists.
        if path.is_package() || path.names().next() == Some("repodata") {
            return Err(format!("{path} is not an image"));
        }
        match sha256 {
            Some(sha256) => files.push(ListedFile {
                path,
                sha256,
                size: None,
            }),
            None if is_needed => unlisted.push(path),
            None => {}
        }
    }
    Ok(TreeInfo {
        files,
        unlisted,
        repomd_sha256: digest(&digests, "repodata/repomd.xml").ok().flatten(),
    })
}

/// Returns the listed digest of a file.
fn digest(digests: &BTreeMap<&str, &str>, path: &str) -> Result<Option<Sha256>, String> {
    let Some(listed) = digests.get(path) else {
        return Ok(None);
    };
    let digits = listed
        .strip_prefix("sha256:")
        .ok_or_else(|| format!("{path} has the checksum {listed:?}: only sha256 is accepted"))?;
    let digest = digits.parse();
    digest.map(Some).map_err(|error| format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns a `.treeinfo` like lorax's for CentOS 7.
    fn centos() -> String {
        format!(
            "[general]\nname = CentOS-7\nfamily = CentOS\ntimestamp = 1603729484.4\nvariant = \nversion = 7\npackagedir = \n\
             arch = x86_64\n\n[stage2]\nmainimage = {STAGE2}\n\n[images-x86_64]\nkernel = {}\ninitrd = {}\n\
             boot.iso = images/boot.iso\n\n[images-xen]\nkernel = {0}\ninitrd = {1}\n",
            BOOT[0], BOOT[1]
        )
    }

    /// Returns a `.treeinfo` with digests like productmd's.
    fn text() -> String {
        let sum = |path: &str| format!("{path} = sha256:{}\n", Sha256::of(path.as_bytes()));
        let sums: String = BOOT
            .into_iter()
            .chain([STAGE2, "images/efiboot.img", "repodata/repomd.xml"])
            .map(sum)
            .collect();
        format!("{}\n[checksums]\n{sums}", centos())
    }

    #[test]
    fn the_files_of_an_installation_are_listed_with_their_digests() {
        let found = read(&text()).unwrap();
        let paths: Vec<&str> = found.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, [BOOT[0], BOOT[1], STAGE2]);
        assert_eq!(found.files[2].sha256, Sha256::of(STAGE2.as_bytes()));
        assert_eq!(found.unlisted, []);
        assert_eq!(
            found.repomd_sha256,
            Some(Sha256::of(b"repodata/repomd.xml"))
        );
        let more = text() + "images/updates.img = sha256:" + &Sha256::of(b"u").to_string();
        assert_eq!(read(&more).unwrap().files.len(), 4);
    }

    #[test]
    fn a_tree_made_by_lorax_lists_no_digests() {
        let found = read(&centos()).unwrap();
        let unlisted: Vec<&str> = found.unlisted.iter().map(RelativePath::as_str).collect();
        assert_eq!(unlisted, [BOOT[0], BOOT[1], STAGE2]);
        assert_eq!((found.files, found.repomd_sha256), (vec![], None));
        let other = centos().replace(STAGE2, "images/other.img");
        assert_eq!(
            read(&other).unwrap().unlisted[2].as_str(),
            "images/other.img"
        );
        for (path, words) in [
            ("../../squashfs.img", "lead out of its folder"),
            ("repodata/repomd.xml", "is not an image"),
        ] {
            let error = read(&centos().replace(STAGE2, path)).unwrap_err();
            assert!(error.contains(words), "{path}: {error}");
        }
    }

    #[test]
    fn the_first_mainimage_is_used_as_in_the_installer() {
        let stage2 = |lines: &str| {
            let text = text().replace(&format!("mainimage = {STAGE2}"), lines);
            let more = format!("images/a.img = sha256:{}\n", Sha256::of(b"a"));
            read(&(text + &more)).unwrap().files[2].path.to_string()
        };
        // The results are those of config_get in dracut/anaconda-lib.sh of anaconda 21.48.22.159.
        for (lines, found) in [
            ("mainimage=images/a.img", "images/a.img"),
            ("mainimage = images/a.img\nmainimage = x", "images/a.img"),
            ("mainimage: images/a.img", STAGE2),
            ("#mainimage = images/a.img", STAGE2),
            (";mainimage = images/a.img", STAGE2),
            ("[x]\nmainimage = images/a.img", STAGE2),
            (
                "[x]\n[stage2] # y\nmainimage = images/a.img",
                "images/a.img",
            ),
        ] {
            assert_eq!(stage2(lines), found, "{lines}");
        }
    }

    #[test]
    fn two_different_digests_of_a_file_are_refused() {
        let text = text() + "images/pxeboot/vmlinuz = sha256:" + &Sha256::of(b"x").to_string();
        let error = read(&text).unwrap_err();
        assert!(error.contains("is listed twice"), "{error}");
    }

    #[test]
    fn a_tree_that_cannot_be_verified_is_refused() {
        for (from, to, words) in [
            ("vmlinuz = sha256:", "vmlinuz = sha1:", "only sha256"),
            ("vmlinuz = sha256:", "vmlinuz = sha256:0", "65 characters"),
            (STAGE2, "../../squashfs.img", "lead out of its folder"),
            (STAGE2, "/squashfs.img", "is absolute"),
            (STAGE2, "x.rpm", "is not an image"),
        ] {
            let error = read(&text().replace(from, to)).unwrap_err();
            assert!(error.contains(words), "{to}: {error}");
        }
        assert!(read("<html>").is_err());
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic_or_leads_out(text in "(\\[(checksums|stage2)\\]\n|[a-z./]{0,12} ?[=:] ?(sha256:)?[0-9a-f./]{0,12}\n|.{0,20}\n){0,12}") {
            if let Ok(found) = read(&text) {
                let mut paths = found.files.iter().map(|file| &file.path).chain(&found.unlisted);
                prop_assert!(paths.all(|path| path.names().all(|name| name != "..")));
            }
        }
    }
}
