//! Tests the text that the kickstart reader accepts and refuses.

use anyhow::{Result, bail};

use super::{Kickstart, Kind};

fn parse(text: &str) -> Result<Kickstart> {
    Kickstart::parse(text, &|file| bail!("there is no {file}"))
}

fn refused(text: &str) -> String {
    match parse(text) {
        Ok(kickstart) => format!("not refused: {kickstart:?}"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn sections_and_commands_are_distinguished() -> Result<()> {
    let kickstart = parse(
        "# a comment\ntext\nuser --name=etcd --uid 900 # its own\n\
         %packages --nobase\n@core\n-postfix\n%end\n\
         %post --nochroot --log=/tmp/p.log --erroronfail --interpreter /bin/bash\n# kept\necho 50% ; %include x\n%end\n",
    )?;
    let [text, user] = kickstart.commands.as_slice() else {
        bail!("{:?}", kickstart.commands)
    };
    assert_eq!(
        (text.name.as_str(), text.place.as_str()),
        ("text", "kickstart:2")
    );
    assert_eq!(
        (user.option("--name"), user.option("--uid")),
        (Some("etcd"), Some("900"))
    );
    let [packages, post] = kickstart.sections.as_slice() else {
        bail!("{:?}", kickstart.sections)
    };
    assert_eq!(
        (packages.kind, packages.body.as_str()),
        (Kind::Packages, "@core\n-postfix\n")
    );
    assert_eq!(post.body, "# kept\necho 50% ; %include x\n");
    assert!(post.has("--nochroot") && post.has("--erroronfail"));
    assert_eq!(post.options["--log"], "/tmp/p.log");
    assert_eq!(post.options["--interpreter"], "/bin/bash");
    Ok(())
}

#[test]
fn a_section_must_end() {
    assert_eq!(
        refused("%post\necho\n"),
        "kickstart:1: Section %post does not end with %end."
    );
    assert_eq!(
        refused("\n%pre\necho\n%post\n%end\n"),
        "kickstart:2: Section %pre does not end with %end."
    );
}

#[test]
fn commands_and_options_that_centos_7_lacks_are_refused() {
    assert_eq!(
        refused("zipl --secure-boot"),
        "kickstart:1: CentOS 7 has no command zipl"
    );
    assert_eq!(
        refused("user --name=a --sshkey=b"),
        "kickstart:1: user has no option --sshkey on CentOS 7"
    );
    assert_eq!(
        refused("%pre --nochroot\n%end"),
        "kickstart:1: %pre has no option --nochroot"
    );
    assert_eq!(
        refused("%certificate\n%end"),
        "kickstart:1: CentOS 7 has no section %certificate"
    );
}

#[test]
fn an_unambiguous_abbreviation_of_an_option_is_accepted() {
    assert!(parse("logvol / --fsoption=noatime --vgname=a --name=b").is_ok());
    assert!(refused("part / --fs=xfs").contains("no option --fs"));
}

#[test]
fn an_included_file_replaces_its_line() -> Result<()> {
    let kickstart = Kickstart::parse("text\n%include /tmp/disk\nreboot\n", &|file| {
        Ok((file == "/tmp/disk").then(|| "zerombr\nclearpart --all\n".into()))
    })?;
    let places: Vec<_> = kickstart
        .commands
        .iter()
        .map(|command| command.place.as_str())
        .collect();
    assert_eq!(
        places,
        ["kickstart:1", "/tmp/disk:1", "/tmp/disk:2", "kickstart:3"]
    );
    assert!(refused("%include /tmp/disk").contains("cannot include /tmp/disk"));
    Ok(())
}

#[test]
fn a_file_that_includes_itself_is_an_error() {
    let endless = Kickstart::parse("%include /a", &|_| Ok(Some("%include /a".into())));
    assert!(endless.is_err());
}
