"""Prints what pykickstart's handler for RHEL 7 and an XML parser read in the builder's rendered files.

    read.py FOLDER...

Each folder was made by `builder plan --files`, and also contains tree.ks and disk.ks, which %pre makes.
Prints a JSON list with an object for each folder. `error` contains a parser's error.
"""
import json
import os
import sys
import warnings
import xml.etree.ElementTree as tree

from pykickstart.commands.firewall import F28_Firewall
from pykickstart.commands.sshkey import F22_SshKey, F22_SshKeyData
from pykickstart.errors import KickstartError
from pykickstart.parser import KickstartParser
from pykickstart.version import makeVersion

# Deprecated commands are not errors, because CentOS 7.9's own handler accepts them.
warnings.simplefilter("ignore")


def read(folder):
    handler = makeVersion("RHEL7")
    # The pykickstart of CentOS 7.9 supports sshkey and firewall --use-system-defaults (branch rhel7-branch,
    # handlers/control.py and commands/firewall.py). The RHEL7 handler of the installed pykickstart supports neither.
    handler.registerCommand("firewall", F28_Firewall)
    handler.registerCommand("sshkey", F22_SshKey)
    handler.SshKeyData = F22_SshKeyData
    with open(os.path.join(folder, "centos7.ks")) as file:
        text = file.read()
    for name in ("tree.ks", "disk.ks"):
        text = text.replace("%include /tmp/" + name, "%include " + os.path.join(folder, name))
    parser = KickstartParser(handler)
    parser.readKickstartFromString(text)
    zone = tree.parse(os.path.join(folder, "overlay/etc/firewalld/zones/etcd.xml")).getroot()
    return {
        "password": handler.rootpw.password if handler.rootpw.isCrypted else None,
        "locked": handler.rootpw.lock,
        "keys": [key.key for key in handler.sshkey.sshUserList],
        "users": [[user.name, user.uid, user.gid, user.shell, user.lock] for user in handler.user.userList],
        "timezone": handler.timezone.timezone,
        "lang": handler.lang.lang,
        "keyboard": handler.keyboard.vc_keymap,
        "selinux": handler.selinux.selinux,
        "url": handler.url.url,
        "repos": [repo.name for repo in handler.repo.repoList],
        "packages": handler.packages.packageList,
        "groups": [group.name for group in handler.packages.groupList],
        "excluded": handler.packages.excludedList,
        "disk": handler.ignoredisk.onlyuse,
        "append": handler.bootloader.appendLine,
        "parts": [[part.mountpoint, part.fstype, part.label, part.fsopts, part.size] for part in
                  handler.partition.partitions],
        "scripts": [script.script for script in handler.scripts],
        "rules": [[rule.get("family"), rule.find("source").get("address"), rule.find("port").get("port")]
                  for rule in zone.iter("rule")],
    }


def seen(folder):
    try:
        return read(folder)
    except (KickstartError, tree.ParseError, OSError) as error:
        return {"error": str(error)}


print(json.dumps([seen(folder) for folder in sys.argv[1:]]))
