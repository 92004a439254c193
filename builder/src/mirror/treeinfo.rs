//! `.treeinfo`, which lists the files of an installation tree that are not packages.

use std::collections::BTreeMap;

use recipes::Sha256;

use super::metadata::ListedFile;
use super::path::RelativePath;

/// The installer's kernel and initrd, which iPXE loads from `builder serve`.
const BOOT: [&str; 2] = ["images/pxeboot/vmlinuz", "images/pxeboot/initrd.img"];
/// The installer's second stage, unless `.treeinfo` names another file (dracut/anaconda-lib.sh).
const STAGE2: &str = "LiveOS/squashfs.img";
/// Images that modify the installer. The installer fetches them if they exist
/// (dracut/anaconda-lib.sh).
const OPTIONAL: [&str; 2] = ["images/updates.img", "images/product.img"];

/// The contents of a `.treeinfo`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TreeInfo {
    /// The files that an installation needs.
    pub(super) files: Vec<ListedFile>,
    /// The digest that it lists for the tree's repomd.xml.
    pub(super) repomd_sha256: Option<Sha256>,
}

/// Reads a `.treeinfo`, which consists of sections with lines `key = value`.
pub(super) fn read(text: &str) -> Result<TreeInfo, String> {
    let (mut section, mut stage2) = ("", STAGE2);
    let mut digests: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name;
            continue;
        }
        let Some((key, value)) = line.split_once(['=', ':']) else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        match section {
            "stage2" if key == "mainimage" => stage2 = value,
            "checksums" => drop(digests.insert(key, value)),
            _ => {}
        }
    }
    let digest = |path: &str| -> Result<Option<Sha256>, String> {
        let Some(listed) = digests.get(path) else {
            return Ok(None);
        };
        let digits = listed.strip_prefix("sha256:").ok_or_else(|| {
            format!("{path} has the checksum {listed:?}: only sha256 is accepted")
        })?;
        let digest = digits.parse();
        digest.map(Some).map_err(|error| format!("{path}: {error}"))
    };
    let mut files = Vec::new();
    for (path, needed) in BOOT
        .into_iter()
        .chain([stage2])
        .map(|path| (path, true))
        .chain(OPTIONAL.map(|path| (path, false)))
    {
        let Some(sha256) = digest(path)? else {
            if needed {
                return Err(format!(
                    "[checksums] does not list {path}, which an installation needs: expected a 7.9 tree with images/ and LiveOS/"
                ));
            }
            continue;
        };
        let path: RelativePath = path.parse()?;
        // Packages and metadata have their own lists.
        if path.is_package() || path.names().next() == Some("repodata") {
            return Err(format!("{path} is not an image"));
        }
        files.push(ListedFile {
            path,
            sha256,
            size: None,
        });
    }
    Ok(TreeInfo {
        files,
        repomd_sha256: digest("repodata/repomd.xml").ok().flatten(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns a `.treeinfo` like that of CentOS 7.9's own tree.
    fn text() -> String {
        let sum = |path: &str| format!("{path} = sha256:{}\n", Sha256::of(path.as_bytes()));
        let sums: String = BOOT
            .into_iter()
            .chain([STAGE2, "images/efiboot.img", "repodata/repomd.xml"])
            .map(sum)
            .collect();
        format!(
            "[general]\nname = CentOS-7\nfamily = CentOS\ntimestamp = 1603729484.4\nvariant = \nversion = 7\npackagedir = \n\
             arch = x86_64\n\n[stage2]\nmainimage = {STAGE2}\n\n[images-x86_64]\nkernel = {}\ninitrd = {}\n\
             boot.iso = images/boot.iso\n\n[checksums]\n{sums}",
            BOOT[0], BOOT[1]
        )
    }

    #[test]
    fn the_files_of_an_installation_have_digests() {
        let found = read(&text()).unwrap();
        let paths: Vec<&str> = found.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, [BOOT[0], BOOT[1], STAGE2]);
        assert_eq!(found.files[2].sha256, Sha256::of(STAGE2.as_bytes()));
        assert_eq!(
            found.repomd_sha256,
            Some(Sha256::of(b"repodata/repomd.xml"))
        );
        let more = text() + "images/updates.img = sha256:" + &Sha256::of(b"u").to_string();
        assert_eq!(read(&more).unwrap().files.len(), 4);
    }

    #[test]
    fn a_tree_that_cannot_be_verified_is_refused() {
        for (from, to, words) in [
            (
                "[checksums]",
                "[sums]",
                "does not list images/pxeboot/vmlinuz",
            ),
            ("vmlinuz = sha256:", "vmlinuz = sha1:", "only sha256"),
            ("vmlinuz = sha256:", "vmlinuz = sha256:0", "65 characters"),
            (
                "mainimage = LiveOS/squashfs.img",
                "mainimage = LiveOS/other.img",
                "does not list LiveOS/other.img",
            ),
            (STAGE2, "../../squashfs.img", "leads out of its folder"),
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
                prop_assert!(found.files.iter().all(|file| file.path.names().all(|name| name != "..")));
            }
        }
    }
}
