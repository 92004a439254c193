//! Checks the addresses in a `network` command. anaconda's initramfs writes these addresses to an
//! ifcfg file (anaconda 21.48.22.159, dracut/parse-kickstart, ksnet_to_ifcfg), or anaconda passes
//! them to NetworkManager (pyanaconda/network.py, _get_ip_setting_values_from_ksdata).

use std::net::Ipv6Addr;

use super::line::Line;
use crate::check::finding::Finding;

const RULE: &str = "kickstart/static-network";

pub(super) fn check(line: &Line<'_>, out: &mut Vec<Finding>) {
    ipv4(line, out);
    ipv6(line, out);
}

fn ipv4(line: &Line<'_>, out: &mut Vec<Finding>) {
    const OPTIONS: [&str; 3] = ["--ip", "--netmask", "--gateway"];
    // `dhcp` is pykickstart's default. pykickstart refuses any value that is not in the following
    // list.
    let bootproto = line.value("--bootproto").unwrap_or("dhcp");
    if !["dhcp", "bootp", "static", "query", "ibft"].contains(&bootproto) {
        return;
    }
    let why = format!("--bootproto is {bootproto}");
    if line.has("--noipv4") {
        ignored(
            line,
            &OPTIONS,
            "the line has --noipv4",
            "remove --noipv4",
            out,
        );
    } else if bootproto == "static" {
        incomplete(line, out);
    } else {
        ignored(line, &OPTIONS, &why, "write --bootproto=static", out);
    }
    if bootproto != "dhcp" {
        ignored(line, &["--dhcpclass"], &why, "write --bootproto=dhcp", out);
    }
}

fn incomplete(line: &Line<'_>, out: &mut Vec<Finding>) {
    for (missing, does) in [
        (
            "--ip",
            "anaconda writes an empty address, so the interface has no address",
        ),
        ("--netmask", "anaconda writes an empty netmask"),
        ("--device", "anaconda configures the boot interface"),
    ] {
        if !line.has(missing) {
            let message = format!("the static address has no {missing}=");
            let finding = Finding::warning(RULE, line.span(), message);
            out.push(finding.effect(does).fix(format!("add {missing}=")));
        }
    }
}

fn ipv6(line: &Line<'_>, out: &mut Vec<Finding>) {
    let given = line.find("--ipv6");
    if line.has("--noipv6") {
        let options = ["--ipv6", "--ipv6gateway"];
        ignored(
            line,
            &options,
            "the line has --noipv6",
            "remove --noipv6",
            out,
        );
        return;
    }
    let value = given.and_then(|given| given.value.as_deref());
    match (given, value.unwrap_or_default()) {
        (_, "" | "auto" | "dhcp") => {
            let why = "--ipv6 contains no address";
            ignored(
                line,
                &["--ipv6gateway"],
                why,
                "write --ipv6=ADDRESS/PREFIX",
                out,
            );
        }
        (Some(given), value) if !is_ipv6(value) => {
            let message = format!("`{value}` is neither `auto` nor `dhcp` nor an IPv6 address");
            let finding = Finding::error(RULE, given.span.clone(), message);
            out.push(
                finding
                    .effect("the interface does not get this address, or anaconda stops")
                    .fix("write an address and its prefix length, as in 2001:db8::1/64"),
            );
        }
        _ => {}
    }
}

/// Returns whether a value is an IPv6 address, with or without a prefix length.
fn is_ipv6(value: &str) -> bool {
    let (address, prefix) = value.split_once('/').unwrap_or((value, "64"));
    address.parse::<Ipv6Addr>().is_ok() && prefix.parse::<u8>().is_ok_and(|prefix| prefix <= 128)
}

/// Reports the options that anaconda ignores.
fn ignored(line: &Line<'_>, options: &[&str], why: &str, fix: &str, out: &mut Vec<Finding>) {
    for given in options.iter().filter_map(|name| line.find(name)) {
        let message = format!("anaconda ignores {}, because {why}", given.option.names[0]);
        let finding = Finding::error(RULE, given.span.clone(), message);
        out.push(finding.effect("the option has no effect").fix(fix));
    }
}
