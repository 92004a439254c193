//! Every rule that a finding can name, with its kind and its subject. The corpus has a wrong input
//! for each.

use serde::Serialize;

/// What a rule speaks of: CentOS 7.9's own programs, or this project's judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RuleKind {
    /// The program that reads the file refuses or ignores the text, or reads it differently than it
    /// looks. Of a recipe, that program is the builder.
    Parser,
    /// The program reads the text, and on CentOS 7.9 it does not have the effect that it names: a
    /// command, unit or file is missing, a later setting replaces it, the kernel or SELinux does
    /// not allow it.
    Effect,
    /// The text works as written, and is wrong or risky on a node of etcd.
    Advice,
}

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    /// Its name, as findings have it.
    pub(super) name: &'static str,
    pub(super) kind: RuleKind,
    /// Its subject, in a few words.
    pub(super) about: &'static str,
}

const fn parser(name: &'static str, about: &'static str) -> Rule {
    Rule {
        name,
        kind: RuleKind::Parser,
        about,
    }
}

const fn effect(name: &'static str, about: &'static str) -> Rule {
    Rule {
        name,
        kind: RuleKind::Effect,
        about,
    }
}

const fn advice(name: &'static str, about: &'static str) -> Rule {
    Rule {
        name,
        kind: RuleKind::Advice,
        about,
    }
}

/// The index of a rule in [`RULES`].
pub(super) fn index(name: &str) -> Option<usize> {
    RULES.binary_search_by_key(&name, |rule| rule.name).ok()
}

/// The kind of a rule. A test proves that every finding names a rule of [`RULES`].
pub(super) fn kind(name: &str) -> RuleKind {
    index(name).map_or(RuleKind::Parser, |index| RULES[index].kind)
}

/// All rules, in the order of their names.
pub(super) const RULES: &[Rule] = &[
    parser(
        "chrony/dead",
        "A directive of chrony that has no meaning any more",
    ),
    parser(
        "chrony/directive",
        "A directive that chrony 3.4 does not know",
    ),
    effect("chrony/host", "A source of time that is not a host"),
    parser(
        "chrony/include",
        "A file that chronyd needs and may not find",
    ),
    advice(
        "chrony/no-source",
        "A chrony.conf in which nobody tells the time",
    ),
    parser(
        "chrony/option",
        "An option that chrony 3.4 does not know or cannot read",
    ),
    effect(
        "chrony/refclock",
        "A reference clock that chronyd takes and cannot start",
    ),
    parser(
        "chrony/words",
        "A directive of chrony with too few, too many or wrong words",
    ),
    parser(
        "firewalld/attribute",
        "An attribute that firewalld 0.6.3 does not know, or needs",
    ),
    parser(
        "firewalld/conf",
        "A line of firewalld.conf that 0.6.3 does not take",
    ),
    parser(
        "firewalld/deprecated",
        "An attribute without a meaning in 0.6.3",
    ),
    parser(
        "firewalld/element",
        "An element that firewalld 0.6.3 does not know",
    ),
    parser("firewalld/entry", "An entry that its ipset does not take"),
    parser(
        "firewalld/family",
        "A rule whose family does not fit its addresses",
    ),
    parser(
        "firewalld/name",
        "A name that a file of firewalld cannot have",
    ),
    advice("firewalld/open", "A port of etcd that is open to everyone"),
    parser("firewalld/rule", "A rule that firewalld leaves out"),
    parser("firewalld/twice", "Something that is there already"),
    parser("firewalld/value", "A value that firewalld refuses"),
    parser("firewalld/xml", "A text that is not XML"),
    advice(
        "fstab/device-name",
        "A disk by a name that differs from machine to machine",
    ),
    parser(
        "fstab/fields",
        "A line of fstab with too few or too many fields",
    ),
    effect("fstab/fsck", "A check at boot that XFS does not have"),
    parser(
        "fstab/mount-point",
        "A mount point that is none, or is written oddly",
    ),
    advice(
        "fstab/nobarrier",
        "A mount option that breaks the promise of fsync",
    ),
    effect(
        "fstab/only-at-first-mount",
        "An XFS option that has no effect on /",
    ),
    parser(
        "fstab/option",
        "A mount option that kernel 3.10 or systemd 219 does not know",
    ),
    advice("fstab/swap", "Swap on a node of etcd"),
    parser("fstab/twice", "Two lines for one mount point"),
    advice(
        "kickstart/abbreviation",
        "An option that is not written out",
    ),
    effect(
        "kickstart/absent-command",
        "A command that the installer has not",
    ),
    effect("kickstart/bash", "A script that bash cannot read"),
    effect(
        "kickstart/bootloader",
        "A boot loader setting that anaconda refuses",
    ),
    parser(
        "kickstart/command",
        "A command that 7's kickstart does not know",
    ),
    effect(
        "kickstart/continuation",
        "A continued line, which kickstart does not have",
    ),
    parser(
        "kickstart/contradiction",
        "Commands or options that exclude each other",
    ),
    effect(
        "kickstart/deprecated",
        "A word that has no meaning any more",
    ),
    advice(
        "kickstart/disk-name",
        "A disk by a name that the kernel gives out",
    ),
    effect(
        "kickstart/filesystem",
        "A file system or disk label that anaconda does not make",
    ),
    advice(
        "kickstart/firewall",
        "A firewall that is open to more than it should be",
    ),
    effect(
        "kickstart/gone",
        "A server that is gone, or a command that anaconda no longer carries out",
    ),
    effect("kickstart/group-twice", "A group that is made twice"),
    effect("kickstart/hash", "A # that cuts a word off"),
    effect(
        "kickstart/hash-kind",
        "A password hash that glibc 2.17 does not know",
    ),
    advice(
        "kickstart/ignore-missing",
        "A missing package that nobody would notice",
    ),
    effect("kickstart/ignored", "A word that pykickstart ignores"),
    parser("kickstart/include", "An %include of nothing"),
    effect(
        "kickstart/include-in-script",
        "An %include that a script did not mean",
    ),
    effect(
        "kickstart/interpreter",
        "A script for an interpreter that the installer has not",
    ),
    effect("kickstart/module", "A module, which 7 does not have"),
    effect(
        "kickstart/mount-options",
        "Mount options that do harm or nothing",
    ),
    effect(
        "kickstart/needed",
        "A command that an unattended installation needs",
    ),
    parser(
        "kickstart/needed-option",
        "An option that its command needs",
    ),
    effect(
        "kickstart/nontp",
        "A clock that anaconda leaves without chronyd",
    ),
    parser("kickstart/not-closed", "A section without its %end"),
    parser(
        "kickstart/option",
        "An option that the command does not have on 7",
    ),
    parser(
        "kickstart/option-value",
        "A value that the option does not take",
    ),
    effect(
        "kickstart/overwritten",
        "A setting that the overlay overwrites",
    ),
    parser(
        "kickstart/quote",
        "A quote that is not closed, or a backslash before nothing",
    ),
    advice("kickstart/secret", "A secret in a file that all can read"),
    parser("kickstart/section", "A section that 7 does not know"),
    advice("kickstart/selinux", "SELinux switched off"),
    effect(
        "kickstart/services",
        "A services command that cannot do what it says",
    ),
    effect(
        "kickstart/static-network",
        "A static address that says too little",
    ),
    parser(
        "kickstart/twice",
        "A second command for one name, which pykickstart does not survive",
    ),
    effect(
        "kickstart/undefined",
        "A device that nothing in the kickstart makes",
    ),
    advice("kickstart/unverified", "A download that nothing checks"),
    advice(
        "kickstart/waits",
        "An installer that waits for somebody after an error",
    ),
    parser(
        "kickstart/words",
        "A command with too few, too many or wrong words",
    ),
    advice("place/mode", "Permissions that do harm"),
    effect(
        "place/network",
        "A file of a network service that CentOS 7 does not run",
    ),
    effect(
        "place/policies",
        "A policy, which firewalld 0.6.3 does not have",
    ),
    advice("place/secret", "A private key in the image"),
    effect("place/sshd", "A file that OpenSSH 7.4 does not read"),
    effect("place/suffix", "A file whose name its reader passes over"),
    effect(
        "place/sysusers",
        "A file of sysusers, which CentOS 7 does not have",
    ),
    effect(
        "place/volatile",
        "A file in a folder that is empty after each start",
    ),
    effect("preset/off", "A unit that stays off"),
    effect("preset/pattern", "A preset that names no unit"),
    effect(
        "preset/too-late",
        "A preset that is read when all is decided",
    ),
    parser(
        "preset/verb",
        "A word that systemd 219 does not know in presets",
    ),
    parser("recipe", "A mistake in the recipe"),
    parser("script/bash", "A script that bash cannot read"),
    parser(
        "sysctl/comment-behind",
        "A comment that becomes part of the value",
    ),
    parser("sysctl/dash", "A - before a key, which came later"),
    advice("sysctl/dirty", "Dirty ratios that contradict each other"),
    advice("sysctl/etcd-ports", "Local ports that include etcd's"),
    parser("sysctl/glob", "A pattern in a key, which came later"),
    effect("sysctl/module", "A key that is there only with a module"),
    parser("sysctl/no-assignment", "A line that is not a setting"),
    advice("sysctl/not-rising", "Numbers that must rise and do not"),
    effect(
        "sysctl/overridden",
        "A setting that a later file sets again",
    ),
    effect("sysctl/tuned", "A setting that tuned sets, too"),
    effect("sysctl/twice", "A key that is set twice"),
    parser(
        "sysctl/unknown-key",
        "A key that kernel 3.10.0-1160 has not",
    ),
    parser("sysctl/value", "A value that the kernel refuses"),
    parser("tmpfiles/age", "An age that is not a time"),
    parser(
        "tmpfiles/argument",
        "An argument that a line of tmpfiles.d needs, or cannot have",
    ),
    parser("tmpfiles/fields", "A line that says too little"),
    parser("tmpfiles/mode", "Permissions that systemd 219 cannot read"),
    parser("tmpfiles/path", "A path that does not begin at the root"),
    effect(
        "tmpfiles/specifier",
        "A specifier that systemd 219 does not know",
    ),
    parser("tmpfiles/twice", "Two lines for one path"),
    parser(
        "tmpfiles/type",
        "A type or modifier that systemd 219 does not know",
    ),
    parser(
        "unit/calendar",
        "A time in a form that came after systemd 219",
    ),
    parser("unit/capability", "A capability that kernel 3.10 has not"),
    effect(
        "unit/capability-merge",
        "A line that gives back the capabilities that another took",
    ),
    parser(
        "unit/comment-in-continuation",
        "A comment that becomes part of the value",
    ),
    parser(
        "unit/comment-swallows",
        "A comment that swallows the next line",
    ),
    parser(
        "unit/compiled-out",
        "A directive that the systemd of CentOS 7.9 is built without",
    ),
    parser(
        "unit/continuation",
        "A continued line that systemd 219 does not continue, or drops",
    ),
    effect(
        "unit/enables-nothing",
        "An [Install] or a timer that starts nothing",
    ),
    parser(
        "unit/environment",
        "A word of Environment= that is not an assignment",
    ),
    parser("unit/exec-path", "A command that is not an absolute path"),
    parser(
        "unit/exec-prefix",
        "A prefix of a command that came after systemd 219",
    ),
    effect(
        "unit/exec-shell",
        "A word that means something only to a shell",
    ),
    advice(
        "unit/forking",
        "A forking service whose main process has to be guessed",
    ),
    effect(
        "unit/hidden-program",
        "A program that its own protection hides",
    ),
    advice("unit/include", "A way to include that is gone"),
    effect(
        "unit/labelled-program",
        "A program where SELinux lets no service start it",
    ),
    parser(
        "unit/no-assignment",
        "A line that makes systemd 219 refuse the unit",
    ),
    effect(
        "unit/no-effect",
        "A setting or a file that has no effect where it stands",
    ),
    parser("unit/no-section", "A setting outside of all sections"),
    effect("unit/ordering-cycle", "Units that wait for each other"),
    parser(
        "unit/quote",
        "A quote or a backslash at which systemd 219 stops reading the value",
    ),
    parser(
        "unit/refused",
        "Settings that together make systemd 219 refuse the unit",
    ),
    parser(
        "unit/relative-path",
        "A path that does not begin at the root",
    ),
    effect(
        "unit/requires-nothing",
        "A unit that requires one which is not there",
    ),
    parser(
        "unit/second-command",
        "A second command where systemd 219 takes one",
    ),
    parser(
        "unit/section",
        "A section that the kind of unit does not have",
    ),
    parser(
        "unit/section-header",
        "A section header that makes systemd 219 refuse the unit",
    ),
    effect(
        "unit/specifier",
        "A specifier that systemd 219 does not expand",
    ),
    parser("unit/unit-name", "A word that is not a name of a unit"),
    parser(
        "unit/unknown-directive",
        "A directive that systemd 219 does not know",
    ),
    parser(
        "unit/unresolved-specifier",
        "A specifier that systemd 219 cannot resolve in this unit",
    ),
    parser(
        "unit/value-form",
        "A value in a form that systemd 219 does not take",
    ),
    parser(
        "unit/value-word",
        "A word that systemd 219 does not know for this directive",
    ),
    parser(
        "unit/wrong-section",
        "A directive that systemd 219 has in another section",
    ),
];
