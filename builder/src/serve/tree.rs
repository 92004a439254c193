//! The location from which the boot loaders load the installer.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use recipes::recipe::Base;

use crate::{mirror, text_file};

/// The size limit for `.treeinfo`. CentOS 7's file has about 1 KiB.
const MAX_TREEINFO_BYTES: u64 = 1 << 20;

/// The tree from which machines are installed: a folder that this server serves, or a URL.
#[derive(Debug, Clone)]
pub(super) enum InstallTree {
    Folder(PathBuf),
    Url(Base),
}

impl FromStr for InstallTree {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            return Err(
                "the usual iPXE builds do not support HTTPS, and iPXE loads the kernel and the \
                 initrd from the tree: expected an http:// URL or a folder. The recipe's `trees`, \
                 which provide the packages, can be https:// URLs"
                    .to_owned(),
            );
        }
        if text.starts_with("http://") {
            return text.parse().map(Self::Url);
        }
        let folder = PathBuf::from(text);
        let stage2 = stage2(&folder)?;
        for (what, name) in [
            ("kernel", "images/pxeboot/vmlinuz"),
            ("initrd", "images/pxeboot/initrd.img"),
            ("installer's second stage", &stage2),
        ] {
            let path = folder.join(name);
            match text_file::is_file(&path) {
                Ok(true) => {}
                Ok(false) => {
                    return Err(format!(
                        "the tree does not contain the {what}: {} is missing",
                        path.display()
                    ));
                }
                Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
            }
        }
        Ok(Self::Folder(folder))
    }
}

/// Returns the path of the installer's second stage in a tree: the path in `.treeinfo` or, if
/// `.treeinfo` is missing or does not contain the path, the installer's default.
fn stage2(folder: &Path) -> Result<String, String> {
    let path = folder.join(".treeinfo");
    match text_file::bytes(&path, MAX_TREEINFO_BYTES) {
        Ok(bytes) => Ok(mirror::stage2(&String::from_utf8_lossy(&bytes)).to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(mirror::stage2("").to_owned()),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_tree_without_one_of_the_installers_files_is_refused_with_the_files_name() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().to_str().unwrap();
        for missing in [
            "images/pxeboot/vmlinuz",
            "images/pxeboot/initrd.img",
            "LiveOS/squashfs.img",
        ] {
            let error = text.parse::<InstallTree>().unwrap_err();
            assert!(error.contains(&format!("{missing} is missing")), "{error}");
            let path = folder.path().join(missing);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        text.parse::<InstallTree>().unwrap();
    }

    #[test]
    fn the_second_stage_has_the_name_in_treeinfo() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().to_str().unwrap();
        fs::create_dir_all(folder.path().join("images/pxeboot")).unwrap();
        for name in ["pxeboot/vmlinuz", "pxeboot/initrd.img"] {
            fs::write(folder.path().join("images").join(name), "x").unwrap();
        }
        let info = "[stage2]\nmainimage = images/install.img\n";
        fs::write(folder.path().join(".treeinfo"), info).unwrap();
        let error = text.parse::<InstallTree>().unwrap_err();
        assert!(error.contains("images/install.img is missing"), "{error}");
        fs::write(folder.path().join("images/install.img"), "x").unwrap();
        text.parse::<InstallTree>().unwrap();
    }
}
