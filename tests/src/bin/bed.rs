//! Runs the tasks of the test bed that are started by hand: making an etcd release or the base
//! root, cleaning up after runs that were killed, and printing what the model of anaconda does with
//! a kickstart.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use tests::installer::{self, Disk, Hardware};
use tests::{base, etcd, run};

const USAGE: &str = "bed release VERSION [--out DIR]   make an etcd release in the mirror; print its sha256 and path
bed base                          make the base root; print its path
bed reap                          remove what killed runs left behind
bed anaconda FILE [efi] [gpt] [NAME=BYTES]…
                                  print what the stand-in's model of anaconda does with a kickstart on a machine with this
                                  hardware; included files are read from the folder of the kickstart";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match act(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bed: {error:?}");
            ExitCode::FAILURE
        }
    }
}

fn act(words: &[&str]) -> Result<()> {
    match words {
        ["release", version] => release(version, None),
        ["release", version, "--out", folder] => release(version, Some(PathBuf::from(folder))),
        ["base"] => {
            println!("{}", base::base()?.display());
            Ok(())
        }
        ["reap"] => run::reap(),
        ["anaconda", file, machine @ ..] => anaconda(file, machine),
        _ => bail!("no such task. Usage:\n{USAGE}"),
    }
}

fn release(version: &str, out: Option<PathBuf>) -> Result<()> {
    let made = etcd::release(version)?;
    let path = match out {
        None => made.tarball,
        Some(folder) => {
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            let path = folder.join(etcd::file_name(version));
            std::fs::copy(&made.tarball, &path)
                .with_context(|| format!("cannot write {}", path.display()))?;
            path
        }
    };
    println!("{}  {}", made.sha256, path.display());
    Ok(())
}

fn anaconda(file: &str, machine: &[&str]) -> Result<()> {
    let (mut hardware, mut words) = (Hardware::with([]), "");
    for word in machine {
        match word.split_once('=') {
            None if *word == "efi" => hardware.efi = true,
            None if *word == "gpt" => words = "inst.gpt",
            Some((name, bytes)) => hardware.disks.push(Disk::new(name, bytes.parse()?)),
            None => bail!("{word} is not efi, gpt or NAME=BYTES"),
        }
    }
    let path = PathBuf::from(file);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
    let included = |name: &str| {
        let name = name.rsplit('/').next().unwrap_or(name);
        std::fs::read_to_string(path.with_file_name(name)).ok()
    };
    print!(
        "{}",
        installer::model(&text, &|name| Ok(included(name)), &hardware, words)
    );
    Ok(())
}
