//! Every rule that a finding can name, with its kind and its subject. The tests' corpus contains a
//! faulty input for each rule except `recipe`.

use serde::Serialize;

/// The basis of a rule: the programs of CentOS 7.9, or the judgement of this project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RuleKind {
    /// The program that reads the file refuses the text, ignores the text, or interprets the text
    /// differently from its apparent meaning. For a recipe, that program is the builder.
    Parser,
    /// The program accepts the text, but on CentOS 7.9 the text does not have its stated effect: a
    /// command, unit or file is missing, a later setting replaces the stated setting, or the kernel
    /// or SELinux forbids the effect.
    Effect,
    /// The text works as written, but it is wrong or risky on an etcd node.
    Advice,
}

#[derive(Debug)]
pub(super) struct Rule {
    /// The rule's name, as findings show it.
    pub(super) name: &'static str,
    pub(super) kind: RuleKind,
    /// The rule's subject, in a few words.
    pub(super) about: &'static str,
}

/// Returns the index of a rule in [`RULES`].
pub(super) fn index(name: &str) -> Option<usize> {
    RULES.binary_search_by_key(&name, |rule| rule.name).ok()
}

/// Returns the kind of the rule with this name. A test checks that every finding names a rule in
/// [`RULES`].
pub(super) fn kind(name: &str) -> RuleKind {
    index(name).map_or(RuleKind::Parser, |index| RULES[index].kind)
}

/// Builds the list of rules from entries that each consist of a kind, a name and a subject.
macro_rules! rules {
    ($($kind:ident $name:literal $about:literal)*) => {
        &[$(Rule { name: $name, kind: RuleKind::$kind, about: $about }),*]
    };
}

/// All rules, in the order of their names.
pub(super) const RULES: &[Rule] = rules! {
    Parser "chrony/dead" "A directive that chrony 3.4 accepts and ignores"
    Parser "chrony/directive" "A directive that chrony 3.4 does not support"
    Effect "chrony/host" "A time source that is not a host"
    Parser "chrony/include" "An included file that chronyd might not find"
    Advice "chrony/no-source" "A chrony.conf without a time source"
    Parser "chrony/option" "An option that chrony 3.4 does not support or cannot parse"
    Effect "chrony/refclock" "A reference clock that chronyd accepts but cannot start"
    Parser "chrony/words" "A chrony directive with too few, too many or wrong words"
    Parser "firewalld/attribute" "An attribute that firewalld 0.6.3 does not support, or a missing attribute that firewalld requires"
    Effect "firewalld/binding" "An interface or a source that takes packets from the image's zone"
    Parser "firewalld/conf" "A line of firewalld.conf that firewalld 0.6.3 does not accept"
    Parser "firewalld/deprecated" "An attribute that firewalld 0.6.3 ignores"
    Parser "firewalld/element" "An element that firewalld 0.6.3 does not support"
    Parser "firewalld/entry" "An entry that its ipset does not accept"
    Parser "firewalld/family" "A rule whose family is missing, or does not match the address"
    Effect "firewalld/maxelem" "An ipset with more elements than its maxelem"
    Parser "firewalld/name" "A file name that firewalld refuses"
    Advice "firewalld/open" "An etcd port that is open to every host of a zone"
    Effect "firewalld/reference" "A service, an ICMP type or an ipset that the node does not have"
    Effect "firewalld/reject" "A TCP reset in a rule that does not match only TCP"
    Parser "firewalld/rule" "A rule or an element that firewalld does not accept"
    Parser "firewalld/twice" "An element or entry that is listed twice"
    Parser "firewalld/value" "A value that firewalld refuses"
    Parser "firewalld/xml" "A file that is not well-formed XML, or declares a wrong encoding"
    Advice "fstab/device-name" "A device name that differs between machines"
    Parser "fstab/fields" "A line of fstab with too few, too many or wrong fields"
    Effect "fstab/fsck" "A file system check at boot, which does nothing for XFS"
    Parser "fstab/mount-point" "A mount point that is invalid or not in its normal form"
    Advice "fstab/nobarrier" "A mount option that breaks the guarantee of fsync"
    Effect "fstab/only-at-first-mount" "An XFS option that has no effect on /"
    Parser "fstab/option" "A mount option that kernel 3.10 or systemd 219 refuses or ignores"
    Advice "fstab/swap" "Swap on an etcd node"
    Parser "fstab/twice" "Two lines for the same mount point"
    Advice "kickstart/abbreviation" "An abbreviated option"
    Effect "kickstart/absent-command" "A command that the installer does not have"
    Effect "kickstart/bash" "A script that bash cannot parse"
    Effect "kickstart/bootloader" "A boot loader setting that anaconda refuses"
    Effect "kickstart/carriage-return" "A line of a script that ends with a carriage return"
    Parser "kickstart/command" "A command that RHEL 7's kickstart does not support"
    Effect "kickstart/continuation" "A continued line, which kickstart does not support"
    Parser "kickstart/contradiction" "Commands or options that exclude each other"
    Effect "kickstart/deprecated" "An option that no longer has an effect"
    Advice "kickstart/disk-name" "A device name that the kernel assigns"
    Effect "kickstart/filesystem" "A file system or disk label that anaconda does not create"
    Advice "kickstart/firewall" "A firewall that is off, or that opens ssh to every host"
    Effect "kickstart/gone" "A server that no longer exists, or a command that anaconda no longer executes"
    Effect "kickstart/group-twice" "A group that is created twice"
    Effect "kickstart/hash" "A # that cuts off a word"
    Effect "kickstart/hash-kind" "A password hash that glibc 2.17 does not support"
    Advice "kickstart/ignore-missing" "An option that makes anaconda ignore missing packages"
    Effect "kickstart/ignored" "A word that pykickstart ignores"
    Parser "kickstart/include" "An %include without a file"
    Effect "kickstart/include-in-script" "An %include inside a script"
    Effect "kickstart/interpreter" "A script for an interpreter that the installer does not have"
    Effect "kickstart/module" "A module, which RHEL 7 does not support"
    Effect "kickstart/mount-options" "A mount option that is harmful or has no effect, or a missing size"
    Effect "kickstart/needed" "A missing command that an unattended installation needs"
    Parser "kickstart/needed-option" "A missing option that the command needs"
    Effect "kickstart/nontp" "A timezone command that disables chronyd"
    Parser "kickstart/not-closed" "A section without its %end"
    Parser "kickstart/option" "An option that the command does not have in RHEL 7"
    Parser "kickstart/option-value" "A value that the option does not accept"
    Effect "kickstart/overwritten" "A setting that the overlay overwrites"
    Parser "kickstart/quote" "An unclosed quote, or a backslash at the end of the file"
    Advice "kickstart/secret" "A secret in a world-readable file"
    Parser "kickstart/section" "A section that RHEL 7 does not have"
    Advice "kickstart/selinux" "SELinux switched off"
    Effect "kickstart/services" "A services command that has no effect"
    Effect "kickstart/static-network" "An incomplete static address, or an address that anaconda ignores"
    Effect "kickstart/storage" "A storage command that pykickstart accepts but anaconda refuses"
    Parser "kickstart/twice" "A second command for the same name, which makes anaconda stop or crash"
    Effect "kickstart/undefined" "A device that nothing in the kickstart creates"
    Advice "kickstart/unverified" "A download that nothing verifies"
    Advice "kickstart/waits" "An installer that waits for an operator after an error"
    Parser "kickstart/words" "A command with too few, too many or wrong words"
    Effect "place/masked" "A file that another file of the same name masks"
    Advice "place/mode" "Harmful permissions"
    Effect "place/network" "A file of a network service that CentOS 7 does not run"
    Effect "place/policies" "A policy, which firewalld 0.6.3 does not support"
    Advice "place/secret" "A private key in the image"
    Effect "place/sshd" "A file that OpenSSH 7.4 does not read"
    Effect "place/suffix" "A file that is ignored because of its name"
    Effect "place/sysusers" "A sysusers file, which CentOS 7 does not read"
    Effect "place/volatile" "A file in a folder whose files do not persist"
    Effect "preset/not-applied" "A preset for a unit to which the installer applies no presets"
    Effect "preset/off" "A unit that stays disabled"
    Effect "preset/pattern" "A line of a preset that does not name exactly one unit"
    Effect "preset/stops" "A unit or a preset that makes the installation fail"
    Effect "preset/too-late" "A preset that is read too late to have an effect"
    Parser "preset/verb" "A word that systemd 219 does not support in presets"
    Parser "recipe" "A mistake in the recipe"
    Parser "script/bash" "A script that bash cannot parse"
    Parser "script/carriage-return" "A line that ends with a carriage return"
    Effect "script/interpreter" "A script of [files] post that is not a shell script"
    Parser "sysctl/comment-behind" "A comment that becomes part of the value"
    Parser "sysctl/dash" "A `-` before a key, which systemd 219 does not support"
    Advice "sysctl/dirty" "Dirty ratios that contradict each other"
    Advice "sysctl/etcd-ports" "A local port range that includes etcd ports"
    Parser "sysctl/glob" "A pattern in a key, which systemd 219 does not support"
    Effect "sysctl/module" "A key that exists only while a kernel module is loaded"
    Effect "sysctl/modules-disabled" "A setting that keeps firewalld from loading its rules"
    Parser "sysctl/no-assignment" "A line that is not a setting"
    Advice "sysctl/not-rising" "Numbers that are not in ascending order"
    Effect "sysctl/overridden" "A setting that a later file changes"
    Effect "sysctl/tuned" "A setting that tuned also sets"
    Effect "sysctl/twice" "A key that is set twice"
    Parser "sysctl/unknown-key" "A key that kernel 3.10.0-1160 does not have"
    Parser "sysctl/value" "A value that the kernel refuses or ignores in part"
    Parser "tmpfiles/age" "An age that is not a time"
    Parser "tmpfiles/argument" "A missing argument, or an argument that the type of the line does not accept"
    Parser "tmpfiles/fields" "A line with too few fields or too many bytes"
    Parser "tmpfiles/mode" "Permissions that systemd 219 cannot parse, or reads as a different mode"
    Parser "tmpfiles/path" "A path that is not absolute"
    Effect "tmpfiles/specifier" "A specifier that systemd 219 does not support"
    Parser "tmpfiles/twice" "Two lines for the same path"
    Parser "tmpfiles/type" "A type or modifier that systemd 219 does not support"
    Parser "unit/calendar" "A calendar event in a form that systemd 219 does not support"
    Parser "unit/capability" "A capability that kernel 3.10 does not have"
    Effect "unit/capability-merge" "A line that restores the capabilities that another line removed"
    Parser "unit/comment-in-continuation" "A comment that becomes part of the value"
    Parser "unit/comment-swallows" "A comment that ends with a backslash, so that systemd ignores the next line"
    Parser "unit/compiled-out" "A directive that CentOS 7.9's systemd is built without"
    Parser "unit/continuation" "A continuation that systemd 219 ignores, or a continued line that systemd 219 drops"
    Effect "unit/enables-nothing" "An [Install] section that enables nothing, or a unit that has nothing to start"
    Parser "unit/environment" "A word of Environment= that is not an assignment"
    Parser "unit/exec-path" "A command that is not an absolute path"
    Parser "unit/exec-prefix" "A command prefix that systemd 219 does not support"
    Effect "unit/exec-shell" "A word that only a shell interprets"
    Advice "unit/forking" "A forking service whose main process systemd has to guess"
    Effect "unit/hidden-program" "A program in a folder that the unit's ProtectHome= hides"
    Advice "unit/include" "A line with .include, which later releases do not support"
    Effect "unit/labelled-program" "A program in a folder from which SELinux does not let services start programs"
    Parser "unit/no-assignment" "A line that is neither a section header nor an assignment"
    Effect "unit/no-effect" "A setting, a section or a file that has no effect"
    Parser "unit/no-section" "A setting outside of all sections"
    Effect "unit/ordering-cycle" "Units that wait for each other"
    Effect "unit/program-mode" "A program that is not executable"
    Parser "unit/quote" "A quote or a backslash at which systemd 219 stops reading the value"
    Parser "unit/refused" "Settings that together make systemd 219 refuse the unit"
    Parser "unit/relative-path" "A path that is not absolute"
    Effect "unit/requires-nothing" "A unit that requires a nonexistent unit"
    Parser "unit/second-command" "A second command where systemd 219 accepts only one"
    Parser "unit/section" "A section that files of this type do not have"
    Parser "unit/section-header" "A section header that makes systemd 219 refuse the unit"
    Effect "unit/specifier" "A specifier that systemd 219 does not expand"
    Parser "unit/unit-name" "A file name or a word that is not the name of a unit"
    Parser "unit/unknown-directive" "A directive that systemd 219 does not support"
    Parser "unit/unresolved-specifier" "A specifier that systemd 219 cannot resolve in this unit"
    Parser "unit/value-form" "A value in a form that systemd 219 does not accept"
    Parser "unit/value-word" "A word that systemd 219 does not accept for this directive"
    Parser "unit/wrong-section" "A directive that belongs to another section in systemd 219"
};
