use super::*;

#[test]
fn of_the_verifiers_log_the_line_that_refuses_is_told() {
    let refused = "eBPF program weir_pod_in for tc: the BPF_PROG_LOAD syscall returned Permission denied (os error 13). \
                   Verifier output: Func#1 is safe for any args that match its prototype\n\
                   Validating weir_probe() func#2...\n\
                   1012: (63) *(u32 *)(r10 -4) = r3\n\
                   attempt to corrupt spilled pointer on stack\n\
                   verification time 7548 usec\n\
                   stack depth 0+8+8\n\
                   processed 438 insns (limit 1000000)\n\
                   : Permission denied (os error 13)";
    let expected = "eBPF program weir_pod_in for tc: the BPF_PROG_LOAD syscall returned Permission denied (os error 13): \
                    attempt to corrupt spilled pointer on stack";
    assert_eq!(one_line(refused), expected);
    let not_allowed = "the BPF_PROG_LOAD syscall returned Operation not permitted (os error 1). Verifier output: : Operation \
                       not permitted (os error 1)";
    assert_eq!(one_line(not_allowed), "the BPF_PROG_LOAD syscall returned Operation not permitted (os error 1)");
    assert_eq!(one_line("map WEIR_TABLE: not an array\nmore"), "map WEIR_TABLE: not an array");
}

#[test]
fn a_signal_while_programs_are_loaded_is_no_refusal() {
    let map = |kind: std::io::ErrorKind| CaptureError::Map { map: "WEIR_TABLE", source: kind.into() };
    assert!(interrupted(&map(std::io::ErrorKind::WouldBlock)));
    assert!(interrupted(&map(std::io::ErrorKind::Interrupted)));
    assert!(!interrupted(&map(std::io::ErrorKind::PermissionDenied)));
}
