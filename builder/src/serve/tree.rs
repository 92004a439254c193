//! The location from which the boot loaders load the installer.

use std::path::PathBuf;
use std::str::FromStr;

use recipes::recipe::Base;

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
        let kernel = folder.join("images/pxeboot/vmlinuz");
        if kernel.is_file() {
            Ok(Self::Folder(folder))
        } else {
            Err(format!(
                "the tree does not contain a kernel: {} is missing",
                kernel.display()
            ))
        }
    }
}
