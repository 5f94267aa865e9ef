//! The programs: loaded and attached.

use super::{CaptureError, chain};
use aya::maps::ProgramArray;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{
    BtfTracePoint, CgroupAttachMode, CgroupSock, LinkOrder, ProgramError, SchedClassifier, TcAttachType, tc,
};
use aya::sys::SyscallError;
use aya::util::KernelVersion;
use aya::{Btf, Ebpf};
use std::io;
use std::path::{Path, PathBuf};

pub(super) fn classifier<'a>(ebpf: &'a mut Ebpf, program: &str) -> Result<&'a mut SchedClassifier, ProgramError> {
    ebpf.program_mut(program).ok_or(ProgramError::NotLoaded)?.try_into()
}

pub(super) fn load_classifier(ebpf: &mut Ebpf, program: &str) -> Result<(), CaptureError> {
    classifier(ebpf, program)
        .and_then(SchedClassifier::load)
        .inspect_err(|error| {
            // The verifier's reason is at the end of its log, which no one line can hold.
            tracing::debug!(program, "{error}");
        })
        .map_err(|source| CaptureError::Program {
            program: program.to_owned(),
            hook: "tc".to_owned(),
            source: Box::new(source),
        })
}

/// A program at one hook of an interface: until it is dropped, or where it is pinned, until that is removed.
pub(super) struct Attachment {
    /// Where it is pinned, so that it outlives the process.
    pin: Option<PathBuf>,
    _link: Held,
}

/// What keeps a program attached.
enum Held {
    Tc { _link: SchedClassifierLink },
    Pinned { _link: PinnedLink },
}

impl Attachment {
    /// Detaches the program for good.
    pub(super) fn detach(self) {
        if let Some(pin) = &self.pin {
            // It may be gone already: that is what is wanted.
            let _ = std::fs::remove_file(pin);
        }
    }
}

/// Attaches a program to an interface, in the place of a predecessor's where `pin` names one: without a moment between.
pub(super) fn attach_classifier(
    ebpf: &mut Ebpf,
    program: &str,
    interface: &str,
    direction: TcAttachType,
    pin: Option<PathBuf>,
) -> Result<Attachment, ProgramError> {
    let program = classifier(ebpf, program)?;
    let tcx = KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0));
    if !tcx {
        // It may exist already, and be another's: it is left in place at exit.
        let _ = tc::qdisc_add_clsact(interface);
        let id = program.attach_with_options(
            interface,
            direction,
            TcAttachOptions::Netlink(tc::NlOptions { priority: 1, ..tc::NlOptions::default() }),
        )?;
        return Ok(Attachment { pin: None, _link: Held::Tc { _link: program.take_link(id)? } });
    }
    if let Some(pin) = &pin
        && let Some(link) = replace(program, pin)
    {
        return Ok(Attachment { pin: Some(pin.clone()), _link: Held::Tc { _link: link } });
    }
    // First, so that a packet that another program drops is still seen.
    let id = program.attach_with_options(interface, direction, TcAttachOptions::TcxOrder(LinkOrder::first()))?;
    let link = program.take_link(id)?;
    let Some(pin) = pin else { return Ok(Attachment { pin: None, _link: Held::Tc { _link: link } }) };
    let link = FdLink::try_from(link).map_err(|error| pinning(&error))?;
    let link = link.pin(&pin).map_err(|error| pinning(&error))?;
    Ok(Attachment { pin: Some(pin), _link: Held::Pinned { _link: link } })
}

/// Puts the program into a pinned link, if there is one that still holds to its interface.
fn replace(program: &mut SchedClassifier, pin: &Path) -> Option<SchedClassifierLink> {
    let pinned = PinnedLink::from_pin(pin).ok()?;
    let replaced = SchedClassifierLink::try_from(FdLink::from(pinned)).ok().and_then(|link| {
        let id = program.attach_to_link(link).ok()?;
        program.take_link(id).ok()
    });
    if replaced.is_none() {
        // Of an interface that is gone, whose number was used again.
        let _ = std::fs::remove_file(pin);
    }
    replaced
}

/// A program at a tracepoint, and what is attached there for it: see `bpf/relays.h`.
#[derive(Clone, Copy)]
pub(super) struct Traced {
    /// The program that counts.
    pub(super) program: &'static str,
    /// The program that is attached and goes on to it.
    relay: &'static str,
    /// The map by which it does.
    array: &'static str,
    hook: &'static str,
}

pub(super) const DROP: Traced =
    Traced { program: "weir_drop", relay: "weir_at_drop", array: "WEIR_AT_DROP", hook: "kfree_skb" };
pub(super) const ROUND_TRIP: Traced =
    Traced { program: "weir_round_trip", relay: "weir_at_round_trip", array: "WEIR_AT_ROUND_TRIP", hook: "tcp_probe" };
pub(super) const RETRANSMIT: Traced = Traced {
    program: "weir_retransmit",
    relay: "weir_at_retransmit",
    array: "WEIR_AT_RETRANSMIT",
    hook: "tcp_retransmit_skb",
};

/// Puts the program in a predecessor's place where there is one, without a moment between, and attaches it where there is none;
/// where `pin` is given, for a successor, too. Where that cannot be, a predecessor's is not left either.
pub(super) fn attach_tracepoint(ebpf: &mut Ebpf, traced: Traced, pin: Option<&Path>) -> Result<(), CaptureError> {
    place(ebpf, traced, pin).map_err(|source| {
        if let Some(pin) = pin {
            // There may be none: that is what is wanted.
            let _ = std::fs::remove_file(pin);
        }
        CaptureError::Program {
            program: traced.program.to_owned(),
            hook: format!("tracepoint {}", traced.hook),
            source: Box::new(source),
        }
    })
}

fn place(ebpf: &mut Ebpf, traced: Traced, pin: Option<&Path>) -> Result<(), ProgramError> {
    let btf = Btf::from_sys_fs()?;
    let counting = tracepoint(ebpf, traced.program)?;
    counting.load(traced.hook, &btf)?;
    let counting = counting.fd()?.try_clone()?;
    // First, so that what is attached finds it.
    let map = ebpf.map_mut(traced.array).ok_or(ProgramError::NotLoaded)?;
    ProgramArray::try_from(map)?.set(0, &counting, 0)?;
    if pin.is_some_and(|pin| PinnedLink::from_pin(pin).is_ok()) {
        return Ok(());
    }
    let relay = tracepoint(ebpf, traced.relay)?;
    relay.load(traced.hook, &btf)?;
    let id = relay.attach()?;
    let Some(pin) = pin else { return Ok(()) };
    // The pin keeps it.
    FdLink::from(relay.take_link(id)?).pin(pin).map_err(|error| pinning(&error))?;
    Ok(())
}

fn tracepoint<'a>(ebpf: &'a mut Ebpf, program: &str) -> Result<&'a mut BtfTracePoint, ProgramError> {
    ebpf.program_mut(program).ok_or(ProgramError::NotLoaded)?.try_into()
}

fn pinning(error: &dyn std::error::Error) -> ProgramError {
    ProgramError::SyscallError(SyscallError { call: "BPF_OBJ_PIN", io_error: io::Error::other(chain(error)) })
}

pub(super) fn attach_sockets(ebpf: &mut Ebpf) -> Result<(), String> {
    let mounts = std::fs::read_to_string("/proc/mounts").map_err(|error| error.to_string())?;
    let path = cgroup2(&mounts).ok_or("no cgroup2 file system is mounted")?;
    let cgroup = std::fs::File::open(path).map_err(|error| format!("{path}: {error}"))?;
    let program = ebpf.program_mut("weir_socket").ok_or("no such program")?;
    let program: &mut CgroupSock = program.try_into().map_err(|error: ProgramError| chain(&error))?;
    program.load().map_err(|error| chain(&error))?;
    program
        .attach(&cgroup, CgroupAttachMode::AllowMultiple)
        .or_else(|_| program.attach(&cgroup, CgroupAttachMode::Single))
        .map_err(|error| chain(&error))?;
    Ok(())
}

fn cgroup2(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let path = fields.nth(1)?;
        (fields.next()? == "cgroup2").then_some(path)
    })
}
