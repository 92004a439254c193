//! The parts that the scripts of all boot loaders share.

use recipes::{Label, Mac, Sha256};

/// The parameter in the kickstart's URL that names the image. The URL needs this parameter, because
/// a build may replace the image before the machine requests the kickstart.
pub(in crate::serve) const IMAGE_PARAMETER: &str = "image";

/// The time after which a kernel that panics restarts the machine, in seconds.
const PANIC_SECONDS: u32 = 60;

/// One installation.
#[derive(Debug, Clone, Copy)]
pub(in crate::serve) struct Install<'a> {
    pub(in crate::serve) node: &'a Label,
    /// This server's URL, with a trailing slash.
    pub(in crate::serve) server: &'a str,
    /// The installation tree, with a trailing slash.
    pub(in crate::serve) tree: &'a str,
    /// The image whose kickstart the machine must get, or `None` if the output has no release.
    pub(in crate::serve) image: Option<Sha256>,
    /// The token that proves that a report belongs to this attempt.
    pub(in crate::serve) token: &'a str,
    /// The number of this attempt, and the number of the last allowed attempt.
    pub(in crate::serve) attempt: (u32, u32),
    /// Additional words for the installer's kernel.
    pub(in crate::serve) append: &'a str,
}

#[cfg(test)]
impl<'a> Install<'a> {
    /// Returns an installation for the tests of the scripts.
    pub(super) fn example(node: &'a Label) -> Self {
        Self {
            node,
            server: "http://10.0.0.5:8080/",
            tree: "http://10.0.0.5/tree/",
            image: Some(Sha256::new([0xab; 32])),
            token: "abc",
            attempt: (2, 4),
            append: "console=ttyS0",
        }
    }
}

impl Install<'_> {
    /// Returns the message that the machine shows.
    pub(super) fn message(&self) -> String {
        let Self {
            node,
            attempt: (attempt, last),
            ..
        } = self;
        format!(
            "etcd-image: installing {node} onto this machine's disk (attempt {attempt} of {last})"
        )
    }

    /// Returns the kernel's arguments, except `BOOTIF`.
    ///
    /// `etcd-image.report` is for the kickstart's scripts. dracut appends a slash to the tree's URL
    /// (dracut/anaconda-netroot.sh). The argument therefore omits the URL's own slash, because not
    /// every server accepts two slashes. With `panic`, a kernel that panics restarts the machine,
    /// which then uses its next attempt. For example, the kernel panics if CentOS 7's grub starts
    /// it without the initrd, which can happen if a packet is lost.
    pub(super) fn kernel_words(&self) -> String {
        let Self {
            node,
            server,
            tree,
            image,
            token,
            append,
            ..
        } = self;
        let image = image.map_or_else(String::new, |image| format!("&{IMAGE_PARAMETER}={image}"));
        let stage2 = tree.trim_end_matches('/');
        let words = format!(
            "inst.ks={server}image/centos7.ks?node={node}{image} \
             etcd-image.report={server}report?node={node}&token={token} inst.stage2={stage2} ip=dhcp inst.nosave=all_ks panic={PANIC_SECONDS}"
        );
        [&words, *append].join(" ").trim_end().to_owned()
    }
}

/// Returns a string as one line, in which spaces replace the characters that are special to a boot
/// loader or are not ASCII.
pub(super) fn one_line(text: &str) -> String {
    let safe = |c: char| c.is_ascii_graphic() && !"${}|&;\\\"'".contains(c);
    text.chars()
        .map(|c| if safe(c) { c } else { ' ' })
        .collect()
}

/// Formats a MAC address as the kernel's argument `BOOTIF`, which begins with `01` for Ethernet.
pub(super) fn bootif(mac: Mac) -> String {
    format!("01-{}", mac.to_string().replace(':', "-"))
}
