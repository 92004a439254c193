//! A minimal installation tree with its repositories: metadata as createrepo writes it, and text
//! files as packages.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use crate::base::hex;

/// The packages of 7.9's tree that the builder's kickstart can list or that anaconda needs.
pub const PACKAGES: [&str; 22] = [
    "NetworkManager",
    "authconfig",
    "btrfs-progs",
    "chrony",
    "curl",
    "efibootmgr",
    "firewalld",
    "grub2",
    "grub2-efi-x64",
    "grub2-tools",
    "iwl7260-firmware",
    "kernel",
    "openssh-server",
    "plymouth",
    "policycoreutils",
    "postfix",
    "selinux-policy-targeted",
    "shim-x64",
    "tar",
    "tmux",
    "vim-enhanced",
    "xfsprogs",
];

/// The tree's kernel, initrd and installer image.
pub const IMAGES: [&str; 3] = [
    "images/pxeboot/vmlinuz",
    "images/pxeboot/initrd.img",
    "LiveOS/squashfs.img",
];

/// Returns the path of a package in its repository.
pub fn package_path(name: &str) -> String {
    format!("Packages/{name}-1-1.el7.x86_64.rpm")
}

/// Writes `.treeinfo`, the images and the repository of a tree with these packages. Returns the
/// digest of the tree's repomd.xml.
pub fn write_tree(folder: &Path, packages: &[&str]) -> Result<String> {
    let mut info = "[general]\nfamily = CentOS\nversion = 7.9.2009\narch = x86_64\n\n[stage2]\nmainimage = LiveOS/squashfs.img\n\n\
                    [images-x86_64]\nkernel = images/pxeboot/vmlinuz\ninitrd = images/pxeboot/initrd.img\n\n[checksums]\n"
        .to_owned();
    for path in IMAGES {
        // Each file is too large for a single read, so that tests can interrupt the download.
        let digest = write_file(&folder.join(path), path.repeat(5_000).as_bytes())?;
        let _ = writeln!(info, "{path} = sha256:{digest}");
    }
    let repomd = write_repository(folder, packages)?;
    let _ = writeln!(info, "repodata/repomd.xml = sha256:{repomd}");
    fs::write(folder.join(".treeinfo"), info)?;
    Ok(repomd)
}

/// Writes a file, creates its parent folders, and returns the file's digest.
fn write_file(path: &Path, bytes: &[u8]) -> Result<String> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(hex(&Sha256::digest(bytes)))
}

/// Writes a repository with these packages. Returns the digest of the repository's repomd.xml.
pub fn write_repository(folder: &Path, packages: &[&str]) -> Result<String> {
    let repodata = folder.join("repodata");
    fs::create_dir_all(&repodata).with_context(|| format!("cannot make {}", repodata.display()))?;
    let mut primary = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata xmlns=\"http://linux.duke.edu/metadata/common\" packages=\"{}\">\n",
        packages.len()
    );
    for package in packages {
        let (path, bytes) = (package_path(package), format!("the package {package}\n"));
        let digest = write_file(&folder.join(&path), bytes.as_bytes())?;
        let _ = writeln!(
            primary,
            "<package type=\"rpm\">\n  <name>{package}</name>\n  <arch>x86_64</arch>\n  \
             <checksum type=\"sha256\" pkgid=\"YES\">{digest}</checksum>\n  <size package=\"{}\"/>\n  \
             <location href=\"{path}\"/>\n</package>",
            bytes.len()
        );
    }
    primary += "</metadata>\n";
    let comps = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<comps>\n  <group>\n    <id>core</id>\n  </group>\n  <group>\n    \
                 <id>base</id>\n  </group>\n</comps>\n";
    let mut repomd =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<repomd xmlns=\"http://linux.duke.edu/metadata/repo\">\n"
            .to_owned();
    for (kind, file, text) in [
        ("primary", "primary.xml.gz", primary.as_str()),
        ("group", "comps.xml.gz", comps),
    ] {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(text.as_bytes())?;
        let bytes = gzip.finish()?;
        let digest = hex(&Sha256::digest(&bytes));
        fs::write(repodata.join(file), bytes)?;
        let _ = writeln!(
            repomd,
            "  <data type=\"{kind}\">\n    <checksum type=\"sha256\">{digest}</checksum>\n    <location href=\"repodata/{file}\"/>\n  </data>"
        );
    }
    repomd += "</repomd>\n";
    fs::write(repodata.join("repomd.xml"), &repomd)?;
    Ok(hex(&Sha256::digest(repomd.as_bytes())))
}
