//! Checks that an executable file is for this system and machine, and that its loader exists.

use super::{PreflightError, missing};
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::macho::MachHeader;
use object::{Endianness, FileKind, elf, macho};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Checks the file that begins with `head`. What cannot be read or parsed is left to the kernel.
pub(super) fn check(program: &Path, head: &[u8]) -> Result<(), PreflightError> {
    let shown = program.display();
    if head.is_empty() {
        return Ok(());
    }
    match FileKind::parse(head) {
        Ok(FileKind::Elf64) => check_elf::<elf::FileHeader64<Endianness>>(program, head),
        Ok(FileKind::Elf32) => check_elf::<elf::FileHeader32<Endianness>>(program, head),
        Ok(FileKind::MachO64) => check_macho(program, head),
        Ok(FileKind::MachOFat32 | FileKind::MachOFat64) if cfg!(target_vendor = "apple") => Ok(()),
        Ok(kind) => Err(missing(format!(
            "{shown} is no program of this system ({kind:?}); build it for {} {}",
            std::env::consts::ARCH,
            std::env::consts::OS
        ))),
        Err(_) => Err(missing(format!(
            "{shown} is neither a program nor a script; a script needs a first line such as #!/bin/sh"
        ))),
    }
}

fn check_elf<Header: FileHeader<Endian = Endianness>>(
    program: &Path,
    head: &[u8],
) -> Result<(), PreflightError> {
    let Ok(header) = Header::parse(head) else {
        return Ok(());
    };
    let Ok(endian) = header.endian() else {
        return Ok(());
    };
    let machine = header.e_machine(endian);
    let name = match machine {
        elf::EM_X86_64 => "x86_64",
        elf::EM_AARCH64 => "aarch64",
        elf::EM_386 => "x86",
        elf::EM_ARM => "arm",
        elf::EM_RISCV => "riscv64",
        _ => "another machine",
    };
    check_machine(program, name, "linux")?;
    let loader = header
        .program_headers(endian, head)
        .ok()
        .and_then(|headers| {
            headers
                .iter()
                .find_map(|one| one.interpreter(endian, head).ok().flatten())
        });
    let Some(loader) = loader.map(|bytes| Path::new(OsStr::from_bytes(bytes))) else {
        return Ok(());
    };
    if loader.exists() {
        return Ok(());
    }
    Err(missing(format!(
        "{} needs the loader {}, which is not here: it was built for another C library; install that, or a build for this \
         system",
        program.display(),
        loader.display()
    )))
}

fn check_macho(program: &Path, head: &[u8]) -> Result<(), PreflightError> {
    let Ok(header) = macho::MachHeader64::<Endianness>::parse(head, 0) else {
        return Ok(());
    };
    let Ok(endian) = header.endian() else {
        return Ok(());
    };
    let name = match header.cputype(endian) {
        macho::CPU_TYPE_X86_64 => "x86_64",
        macho::CPU_TYPE_ARM64 => "aarch64",
        _ => "another machine",
    };
    check_machine(program, name, "macos")
}

/// Accepts programs for this machine; on x86_64 also those for x86, and on a Mac with Apple's processor also those for
/// Intel's where Rosetta is installed.
fn check_machine(program: &Path, machine: &str, system: &str) -> Result<(), PreflightError> {
    use std::env::consts::{ARCH, OS};
    let shown = program.display();
    if OS != system {
        return Err(missing(format!(
            "{shown} is a program for {system}, and this is {OS}; build it for {ARCH} {OS}"
        )));
    }
    let translated = OS == "macos" && ARCH == "aarch64" && machine == "x86_64";
    if machine == ARCH || (ARCH == "x86_64" && machine == "x86") {
        return Ok(());
    }
    if translated {
        let rosetta = Path::new("/Library/Apple/usr/libexec/oah/libRosettaRuntime");
        if rosetta.exists() {
            return Ok(());
        }
        return Err(missing(format!(
            "{shown} is a program for Intel's processors; `softwareupdate --install-rosetta`"
        )));
    }
    Err(missing(format!(
        "{shown} is a program for {machine}, and this machine is {ARCH}; install a build for {ARCH}"
    )))
}
